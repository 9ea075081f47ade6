//! Watching one request, without knowing which framework serves it.
//!
//! An integration translates. It calls [`Recorder::start`] when the server hands it a request, runs the
//! inner future and the body through [`Guard::run`], tells the [`Guard`] what it learns and ends it.
//! Everything a row says is decided here.
//!
//! # One row, whatever happens
//!
//! A request has one [`Watch`], and the watch has one flag. Whoever sets it makes the row: the integration at
//! the end of the exchange, the guard's `Drop` when the server dropped the future or the body, or
//! [`Recorder::finish_all`] at shutdown. A watch is in the registry of requests in progress from its start until its
//! row was accepted.
//!
//! # The request path
//!
//! No lock is held while a row is handed over, while the application's code runs or across an await; nothing
//! blocks, and nothing that a peer sends panics.

pub(crate) mod client_ip;
mod context;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod guarantee;
mod handle;
mod home;
mod ids;
mod known;
mod lines;
mod path;
mod promise;
mod recorder;
mod registry;
mod settings;
pub(crate) mod trace_context;
mod upgrade;
mod waits;
mod watch;

pub use context::{Scoped, current, set_actor};
pub use guarantee::Guarantee;
pub use handle::RequestHandle;
pub use upgrade::UpgradeGuard;

pub(crate) use guarantee::{Guarantees, RoutePattern};
pub(crate) use handle::Snapshot;
pub(crate) use lines::Headers;
pub(crate) use promise::{Instead, Promise, Release};
pub(crate) use recorder::{Arrival, Recorder, RowSink};
pub(crate) use settings::{CaptureSettings, Exclusion, MaskedParam, RequestIdPolicy};
pub(crate) use waits::Answers;
pub(crate) use watch::{Announcement, Guard};

#[cfg(test)]
pub(crate) mod collector;
#[cfg(test)]
mod tests;
