//! Open loop: requests are sent at fixed times, whether or not earlier ones are answered. One thread, which spins.

mod books;
mod connection;
mod run;

pub use books::Report;
pub use run::{Plan, run};
