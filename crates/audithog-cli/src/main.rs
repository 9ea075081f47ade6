//! The `audithog` command: arguments in, exit code out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod access;
mod completions;
mod console;
mod dead_letters;
mod demo;
mod doctor;
mod export;
mod failure;
mod files;
mod filters;
mod ledger;
mod man;
mod output;
mod posthog;
mod query;
mod sheet;
mod ship;
mod show;
mod sql;
mod status;
mod tail;
mod user;
mod when;

const AFTER_HELP: &str = "\
Exit codes:
  0    done
  1    something went wrong while it ran
  2    it cannot start like this: an argument, a variable, a port or a file
  3    done as far as possible: what is left is printed
  130  stopped at once by a second Ctrl-C
`audithog status --check` has more.";

/// One audit row for every HTTP request: kept in a local append-only table, shipped to PostHog.
#[derive(Debug, Parser)]
#[command(name = "audithog", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Ship(ship::Args),
    Status(status::Args),
    DeadLetters(dead_letters::Args),
    Doctor(doctor::Args),
    Query(query::Args),
    Show(show::Args),
    Tail(tail::Args),
    Sql(sql::Args),
    Export(Box<export::Args>),
    Console(console::Args),
    Completions(completions::Args),
    Man(man::Args),
    Posthog(posthog::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(args).map(|()| ExitCode::SUCCESS),
        Command::Ship(args) => ship::run(&args),
        Command::Status(args) => status::run(&args).map(|()| ExitCode::SUCCESS),
        Command::DeadLetters(args) => dead_letters::run(args).map(|()| ExitCode::SUCCESS),
        Command::Doctor(args) => doctor::run(&args),
        Command::Query(args) => query::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Show(args) => show::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Tail(args) => tail::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Sql(args) => sql::run(&args),
        Command::Export(args) => export::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Console(args) => console::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Completions(args) => completions::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Man(args) => man::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Posthog(args) => posthog::run(&args),
    };
    match outcome {
        Ok(exit_code) => exit_code,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_fit_together() {
        Cli::command().debug_assert();
    }
}
