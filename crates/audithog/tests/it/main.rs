//! audithog as its users see it: the public API only, real sockets, real files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod alerts;
mod bad_input;
mod guarantees;
mod lifecycle;
mod one_row;
mod pipeline;
mod privacy;
mod trouble;
