//! A project of PostHog, seen by its owner: asked, and set up.
//!
//! Everything here needs a personal key (`POSTHOG_PERSONAL_API_KEY`) and a project (`POSTHOG_PROJECT_ID`); the key that events are sent
//! with can read nothing. All calls block: they must not be made from an async task.
//!
//! ```no_run
//! use audithog::Logger;
//! use audithog::query::{Filter, Named};
//!
//! # fn main() -> Result<(), audithog::Error> {
//! let mut api = Logger::builder().posthog_api()?;
//! let answer = api.ask(&Named::Paths.question(None, Filter::all())?)?;
//! println!("{} endpoints had a 5xx", answer.lines.len());
//! # Ok(())
//! # }
//! ```

mod api;
mod pace;
#[cfg(all(test, feature = "testing"))]
mod tests;

pub use api::Api;
