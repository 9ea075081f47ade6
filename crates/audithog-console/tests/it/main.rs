//! The console as its users meet it: requests over HTTP, and pages in a browser.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

mod access;
mod browser;
mod links;
mod long;
mod many;
mod pages;
mod shop;
mod token;
mod weight;
