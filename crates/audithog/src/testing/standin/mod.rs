//! A PostHog stand-in: a real HTTP server on a loopback port that behaves like PostHog's capture service.
//!
//! It was written from PostHog's public sources and documentation and **has never been compared with PostHog Cloud**.
//! Where versions of the server differ, the newest public one is modelled and an older one can be chosen
//! ([`Behaviour::generation`]). It shares no code with audithog's own client: it is a second, independent reading of
//! the protocol.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use audithog::testing::PostHogStandIn;
//! use audithog::testing::standin::Fault;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let posthog = PostHogStandIn::start()?;
//! posthog.push_fault(Fault::status(503).header("retry-after", "1"));
//! // … point a client at posthog.url() and let it send one event …
//! posthog.wait_for(Duration::from_secs(5), |seen| seen.stored().len() == 1)?;
//! assert_eq!(posthog.requests().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What is modelled
//!
//! * **Capture v0**: `/batch`, `/i/v0/e`, `/e`, `/capture`, `/track`, `/engage`, with or without a trailing slash; GET,
//!   POST and OPTIONS; envelope, bare array and single object, also in a form or a `data` parameter; gzip and base64;
//!   all-or-nothing parsing; token shape; size limits; the rules for distinct ids, uuids and timestamps; what is
//!   dropped behind a 200 (quota, unknown project).
//! * **Capture v1**: `/i/v1/analytics/events` with its required headers, gzip, deflate, brotli and zstd, whole-request
//!   refusals, per-event verdicts, quota. It can be absent in the four ways older installations show.
//! * **Read-back**: `POST /api/projects/:id/query/` (and `environments`) for a few questions: which of these uuids, or how
//!   many, are stored; how many events each hour has; which events a time has, page by page. Any other query is a 400, unless it is
//!   answered by a script ([`PostHogStandIn::answer_queries`]).
//! * **The private API** of dashboards with tiles, insights and alerts, and of the key's owner: keys and scopes, lists by pages
//!   and search, the schema of trends and SQL queries. Dashboards and insights are deleted by `deleted`, alerts by DELETE.
//! * **De-duplication** as a reader of PostHog sees it after ClickHouse has merged: one event per (project, uuid, event,
//!   distinct id, UTC day), the newest copy.
//! * **Faults**, scripted or at random: see [`Fault`] and [`PostHogStandIn::judge`].
//!
//! # What is not
//!
//! TLS, HTTP/2, `lz64` bodies, person and group processing, ingestion after capture (GeoIP, 1 MB after processing),
//! rate limits (use a [`Fault`]), historical rerouting, feature flags, and the private API beyond that. Of
//! the "wide range of informal formats" for v0 timestamps RFC 3339, ISO 8601 without a zone, RFC 2822 and numbers are
//! read. A body over its limit is read to its end before the 413, so that the client always sees the reply.

mod behaviour;
mod connection;
mod decode;
mod event;
mod exchange;
mod fault;
mod faults;
mod private;
mod readback;
mod reply;
mod server;
mod shapes;
mod stand_in;
mod store;
mod times;
mod token;
mod v0;
mod v0_event;
mod v1;
mod v1_event;
mod v1_head;

#[cfg(test)]
mod tests;

pub use behaviour::{Behaviour, Generation, Limits, Quota, ScopedQuota, V1Route};
pub use event::CapturedEvent;
pub use exchange::{ReceivedRequest, Route};
pub use fault::Fault;
pub use faults::Verdict;
pub use stand_in::PostHogStandIn;
pub use store::{Counts, NotArrived, Seen};
