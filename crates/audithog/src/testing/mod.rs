//! The kit that audithog's own tests use, for yours.
//!
//! | part | what it is |
//! |---|---|
//! | [`standin`] | an HTTP server that behaves like PostHog's capture service |

pub mod standin;

pub use standin::PostHogStandIn;
