//! One audit row for every HTTP request.

mod books;
mod capture;
mod clock;
mod config;
mod delivery;
mod error;
mod ledger;
mod logger;
mod queue;
mod record;
mod sink;
#[cfg(feature = "testing")]
pub mod testing;
mod tower;

pub use books::LossReason;
pub use capture::{RequestHandle, Scoped, UpgradeGuard, current};
pub use config::Builder;
pub use error::Error;
pub use logger::{
    Blocked, Event, FlushReport, Health, LedgerHealth, Logger, ShutdownReport, SinkHealth,
};
pub use record::{Actor, ActorType, Row};
pub use tower::{AuditLayer, AuditService, ErrorCode, PeerAddr, ResponseBody, ResponseFuture};
#[cfg(feature = "axum")]
pub use tower::{MissingLayer, RouteTap, RouteTapLayer};
