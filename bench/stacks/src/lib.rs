//! What the services under test have in common.
//!
//! * [`service`]: the routes and handlers, the same for all.
//! * [`process`]: arguments and environment, the ready line, SIGTERM, the last line.
//! * [`actor`]: the application's authentication, in place of a real one.
//! * [`audit`]: the middleware of the peers that have none: it makes a record with the 13 fields.

pub mod actor;
pub mod audit;
pub mod process;
pub mod service;
