//! Watching one request, without knowing which framework serves it.

pub(crate) mod client_ip;
pub(crate) mod trace_context;
