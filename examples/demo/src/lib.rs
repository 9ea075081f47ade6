//! What `audithog demo` runs: an agents marketplace whose every request is in the audit log.
//!
//! | part | what it is |
//! |---|---|
//! | `marketplace` | the service, with audithog in it as in any service: the part to copy |
//! | [`run`] | start, serve, drain, report: the order that loses nothing |
//! | `traffic` | clients of its own, so that there is something to see |
//! | `live` | a line for each new row of the table, and for what the PostHog stand-in receives |

mod banner;
mod console;
mod error;
mod live;
mod marketplace;
mod run;
mod server;
mod signals;
mod traffic;

pub use error::Error;
pub use marketplace::app;
pub use run::{Options, run};
