//! The kit that audithog's own tests use, for yours.
//!
//! | part | what it is |
//! |---|---|
//! | [`recorder`] | a logger whose rows a test looks at: `rows.one("POST", "/agents").actor("u1")` |
//! | [`ManualClock`] | time that a test moves |
//! | [`standin`] | an HTTP server that behaves like PostHog's capture service |

mod clock;
mod rows;
pub mod standin;

pub use clock::ManualClock;
pub use rows::{Found, Rows, recorder, recorder_with};
pub use standin::PostHogStandIn;
