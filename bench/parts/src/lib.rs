//! What the programs in `src/bin` share. Each measures one part and prints JSON lines on standard output, one a
//! figure; what it does meanwhile goes to standard error.

pub mod arguments;
pub mod compact;
pub mod cpu;
pub mod plain;
pub mod receiver;
pub mod report;
pub mod requests;
pub mod service;

/// What can go wrong in a program that measures: it ends with it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
