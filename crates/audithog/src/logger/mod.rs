//! The logger: the cheap, clonable handle an application holds; the only way in for rows.

mod event;
mod health;
mod intake;
mod report;

pub use event::Event;
pub use health::{Health, LedgerHealth, SinkHealth};
pub use report::{Blocked, FlushReport, ShutdownReport};

pub(crate) use event::Context;
pub(crate) use intake::Intake;
