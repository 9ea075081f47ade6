//! One audit row for every HTTP request: kept in a local append-only table, shipped to PostHog.
//!
//! It is not a tracing or access-log library, and no general event pipeline. Limits: tower services
//! only (axum, hyper, tonic); a local disk for the table; bodies, query strings and other headers are
//! never recorded; and what a server answers before any layer runs gets no row.
//!
//! ```
//! use audithog::Logger;
//! use axum::{Router, routing::get};
//! # use axum::{body::{Body, to_bytes}, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let logger = Logger::builder().memory_only().start()?; // a service leaves out `memory_only`
//! let app = Router::new()
//!     .route("/agents", get(|| async { "[]" }))
//!     .layer(logger.layer()); // last, after all routes and the fallback
//!
//! // … serve `app` …
//! # let response = app.oneshot(Request::get("/agents").body(Body::empty())?).await?;
//! # to_bytes(response.into_body(), 1024).await?;
//!
//! let report = logger.shutdown(None).await;
//! assert_eq!(report.health.requests_accepted, 1);
//! assert_eq!(report.lost(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Types to hold in mind
//!
//! | type | what it is |
//! |---|---|
//! | [`Logger`] | the handle an application holds: [`layer`](Logger::layer), [`event`](Logger::event), [`flush`](Logger::flush), [`shutdown`](Logger::shutdown), [`health`](Logger::health) |
//! | [`Builder`] | settings: the environment over code over defaults |
//! | [`AuditLayer`] | the middleware that watches a request and makes its row |
//! | [`RequestHandle`] | what handlers and inner middleware say about the request: actor, error code, events |
//! | [`Actor`], [`ErrorCode`] | who did it, and why it failed |
//! | [`Event`] | a business event on its way to the log |
//! | [`Guarantee`], [`QueueFull`] | what a response waits for, and what happens when the ledger is too slow |
//! | [`Health`] | where every row is, and the equations that must hold |
//!
//! # Guarantees
//!
//! * Exactly one `api_request` row per request that reaches the layer: also for 404 and 405, panics, streams,
//!   clients that leave, and requests that are still open at [`shutdown`](Logger::shutdown).
//! * By default a response waits for nothing. Rows are committed within milliseconds, and fsynced at least once a second and before
//!   they are sent.
//! * A killed process loses what was in memory; a power loss also the commits since the last fsync. A later start
//!   records the loss of a killed process, with an upper bound.
//! * While the ledger or PostHog is away rows wait: in bounded memory, and on disk. What cannot be kept is
//!   counted by [`LossReason`] and recorded as an `audit_loss` row.
//! * With [`Guarantee::Durable`] the end of a response waits until its row is committed with fsync, with
//!   [`Guarantee::FailClosed`] there is no complete answer without: for all requests ([`Builder::guarantee`]) or by route
//!   ([`Builder::guarantee_for`]). [`Event::log_durable`] returns after the fsync. Without a
//!   ledger (`AUDITHOG_DB=off`) the guarantees are an error at the start, and it returns once the row is in memory.
//!
//! # Features
//!
//! | feature | default | adds | pulls in |
//! |---|---|---|---|
//! | `axum` | yes | route template, peer address, extractor, listener | axum with `http1` only |
//! | `posthog` | yes | the PostHog sink | hyper, hyper-rustls, ring |
//! | `zstd` | yes | zstd towards PostHog's capture v1 | zstd |
//! | `bundled-sqlite` | yes | SQLite, built in; without it the system's is linked | SQLite's C source |
//! | `opentelemetry` | no | the current OpenTelemetry trace where a request has no `traceparent` | opentelemetry |
//! | `testing` | no | the module `testing`: recording logger, self-check, manual clock, PostHog stand-in | axum, hyper, zstd, brotli |
//!
//! # Where else to read
//!
//! In the repository: `README.md`, `docs/tutorial.md`, `docs/reference/` (rows, variables, metrics), `docs/operations.md`,
//! `docs/stability.md`, `SECURITY.md`, and `ARCHITECTURE.md` for how it works inside.

#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench;
mod books;
mod capture;
mod clock;
mod config;
mod delivery;
pub mod doctor;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod inspect;
mod ledger;
mod logger;
#[cfg(feature = "posthog")]
pub mod posthog;
pub mod query;
mod queue;
mod record;
#[cfg_attr(
    not(feature = "posthog"),
    expect(
        dead_code,
        reason = "the one sink there is comes with the feature `posthog`"
    )
)]
mod sink;
#[cfg(feature = "testing")]
pub mod testing;
mod tower;

pub use books::LossReason;
pub use capture::{Guarantee, RequestHandle, Scoped, UpgradeGuard, current, set_actor};
pub use config::{AccessRows, Builder, QueueFull};
pub use error::Error;
pub use logger::{
    Blocked, Event, FlushReport, GuaranteeHealth, Health, LedgerHealth, Logger, ShutdownReport,
    SinkHealth, ship,
};
pub use record::{Actor, ActorType, Row};
pub use tower::{
    AuditConnectInfo, AuditIo, AuditLayer, AuditService, ErrorCode, PeerAddr, ResponseBody,
    ResponseFuture,
};
#[cfg(feature = "axum")]
pub use tower::{AuditListener, MissingLayer, RouteTap, RouteTapLayer};

/// The code in the repository's pages is compiled and run with the library's own examples.
#[cfg(all(doctest, feature = "axum", feature = "posthog", feature = "testing"))]
mod documentation {
    macro_rules! pages {
        ($($name:ident: $path:literal,)*) => {
            $(#[doc = include_str!(concat!("../../../", $path))] struct $name;)*
        };
    }

    pages! {
        Readme: "README.md",
        Tutorial: "docs/tutorial.md",
        BehindAProxy: "docs/how-to/behind-a-proxy.md",
        Guarantees: "docs/how-to/guarantees.md",
        ImportHistory: "docs/how-to/import-history.md",
        FromNestjs: "docs/how-to/migrate-from-nestjs-posthog-node.md",
        FromPosthogRs: "docs/how-to/migrate-from-posthog-rs.md",
        Systemd: "docs/how-to/systemd.md",
        TestYourService: "docs/how-to/test-your-service.md",
        Metrics: "docs/reference/metrics.md",
    }
}
