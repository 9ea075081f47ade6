//! What drives and what receives in the benchmark suite.
//!
//! * [`requests`]: the one list of requests that every load generator sends.
//! * [`generator`]: open loop at a fixed rate, latency from the scheduled time.
//! * [`receiver`]: takes PostHog batches (v0, v1) and OTLP logs, and counts what is in them.

pub mod generator;
pub mod http;
pub mod receiver;
pub mod requests;
