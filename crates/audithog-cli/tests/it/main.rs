//! The built binary, as somebody at a terminal uses it.

mod demo;
mod program;
