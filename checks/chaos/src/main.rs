//! A real service under load and faults, and an oracle that compares three books: what the clients saw answered, what
//! the ledger holds, and what PostHog's side holds. `cargo xtask chaos` builds and runs it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its output"
)]

mod load;
mod memory;
mod oracle;
mod process;
mod round;
mod sample;
mod schedule;
mod server;
mod soak;
mod standin;
mod suite;
mod time;

use std::process::ExitCode;

use clap::Parser;

/// What it is to be.
#[derive(Debug, Parser)]
#[command(about, version)]
enum Role {
    /// Plays rounds of faults and judges the books after each.
    Rounds(suite::Options),
    /// Every fault at least once, and one round at random: part of the tests.
    Short(suite::Files),
    /// Memory while very many rows wait for PostHog, and when they go.
    Memory(memory::Options),
    /// Memory, file handles and threads under load and faults, for long.
    Soak(soak::Options),
    /// The service under test; started by the rounds.
    #[command(hide = true)]
    Server,
    /// PostHog's side; started by the rounds.
    #[command(hide = true)]
    Standin,
}

fn main() -> ExitCode {
    let done = match Role::parse() {
        Role::Rounds(options) => suite::run(&options),
        Role::Short(files) => suite::short(&files),
        Role::Memory(options) => memory::run(&options),
        Role::Soak(options) => soak::run(&options),
        Role::Server => server::run(),
        Role::Standin => standin::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem:#}");
            ExitCode::FAILURE
        }
    }
}
