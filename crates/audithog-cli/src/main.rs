//! The `audithog` command.
fn main() {}
