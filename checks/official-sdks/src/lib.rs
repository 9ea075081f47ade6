//! PostHog's own SDKs, unchanged, against the stand-in of `audithog::testing`.
//!
//! One author wrote both audithog's client and the stand-in; these clients are by others. Each sends the same events in
//! several batches, and every event must arrive once, before de-duplication, with the content that was sent.
//!
//! The tests are in `tests/sdks.rs`, what they run in `sdks/`. posthog-rs speaks capture v0 or, built with its
//! `capture-v1` feature, v1; for the second run the tests with `--features rs-capture-v1`.
