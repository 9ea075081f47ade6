//! One audit row for every HTTP request.

mod books;
mod capture;
mod clock;
mod config;
mod error;
mod ledger;
mod logger;
mod queue;
mod record;
mod sink;
#[cfg(feature = "testing")]
pub mod testing;

pub use books::LossReason;
pub use error::Error;
pub use logger::{Blocked, Event, FlushReport, Health, LedgerHealth, ShutdownReport, SinkHealth};
pub use record::{Actor, ActorType, Row};
