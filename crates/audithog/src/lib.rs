//! One audit row for every HTTP request.

mod books;
mod clock;
mod config;
mod error;
mod ledger;
mod queue;
mod record;
mod sink;

pub use error::Error;
pub use record::{Actor, ActorType, Row};
