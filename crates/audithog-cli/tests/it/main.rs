//! The built binary, as somebody at a terminal uses it.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

mod console;
mod dead_letters;
mod demo;
mod doctor;
mod export;
mod posthog;
mod program;
mod query;
mod shell;
mod ship;
mod shop;
mod show;
mod sql;
mod status;
mod tail;
