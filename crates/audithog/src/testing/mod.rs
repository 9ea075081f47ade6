//! The kit that audithog's own tests use, for yours.
//!
//! | part | what it is |
//! |---|---|
//! | [`recorder`] | a logger whose rows a test looks at: `rows.one("POST", "/agents").actor("u1")` |
//! | [`self_check`] | finds a layer that does not see every request of your own router |
//! | [`ManualClock`] | time that a test moves |
//! | [`standin`] | an HTTP server that behaves like PostHog's capture service |

mod clock;
mod rows;
mod self_check;
pub mod standin;

pub use clock::ManualClock;
pub use rows::{Found, Rows, recorder, recorder_with};
pub use self_check::{SelfCheck, SelfCheckError, self_check};
pub use standin::PostHogStandIn;
