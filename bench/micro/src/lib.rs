//! What the benches of `micro` share: the suite's service without a network.

pub mod service;
