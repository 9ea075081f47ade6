//! `audithog posthog`.

use std::process::ExitCode;

use clap::Subcommand;

use crate::failure::Failure;

mod reconcile;
mod setup;

const AFTER_LONG_HELP: &str = "\
Both commands need a personal key (PostHog, user settings) and the project's number:
  POSTHOG_PERSONAL_API_KEY    phx_…; or POSTHOG_PERSONAL_API_KEY_FILE
  POSTHOG_PROJECT_ID          The number in the project's address
  AUDITHOG_POSTHOG_API_HOST   Only where POSTHOG_HOST does not lead to PostHog's web application

Exit codes:
  0  Done
  1  Something went wrong while it ran
  2  It cannot start like this: an argument, a variable
  3  reconcile: rows are missing";

/// Set a PostHog project up for the audit log, or compare it with a ledger
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_LONG_HELP, after_help = "See --help for variables and exit codes.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Setup(setup::Args),
    Reconcile(reconcile::Args),
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Setup(args) => setup::run(args).map(|()| ExitCode::SUCCESS),
        Command::Reconcile(args) => reconcile::run(args),
    }
}

/// A wrong variable is a command that cannot start.
fn failed(error: audithog::Error) -> Failure {
    let code = if error.is_config() || error.is_question() {
        2
    } else {
        1
    };
    Failure::new(code, error)
}
