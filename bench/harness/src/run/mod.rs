//! What starts, watches and ends processes.

pub(crate) mod closed;
pub(crate) mod instructions;
pub(crate) mod machine;
pub(crate) mod open;
pub(crate) mod parts;
pub(crate) mod process;
pub(crate) mod receiver;
pub(crate) mod service;
