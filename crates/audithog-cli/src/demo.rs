//! `audithog demo`.

use std::path::PathBuf;

use audithog_demo::Options;
use tokio::runtime::Runtime;

use crate::failure::Failure;

const LONG_ABOUT: &str = "\
Run an agents marketplace whose every request gets an audit row

A small JSON API on 127.0.0.1, built with the audithog library as any service would be: sign in, list, create, publish and \
delete agents, and routes that fail, panic or answer slowly. It makes light traffic of its own, prints a line for each row, \
says where the table is and which SQL shows it, and serves the log's console on the next port. The next start continues the same table.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog demo                         Rows into ./audit.db, a line for each
  audithog demo --posthog-standin       Also see what PostHog would receive; nothing leaves this machine
  POSTHOG_API_KEY=phc_… audithog demo   Ship to PostHog; POSTHOG_HOST chooses the region
  audithog demo --no-traffic --port 0   Only your own requests, on any free port

Environment:
  AUDITHOG_DB            The table's file [default: audit.db]; `off` keeps rows in memory only
  POSTHOG_API_KEY        Ships rows to PostHog; without it nothing leaves this machine
  POSTHOG_HOST           [default: https://app.posthog.com]
  LOG_BATCH_SIZE         Send when this many rows wait [default: 100]
  LOG_BATCH_INTERVAL_MS  Send when a row has waited this long [default: 30000]
  NO_COLOR               No colours
All other variables of the library work too.

Exit codes:
  0    Stopped and drained: Ctrl-C, SIGTERM, or the reader of its output is gone
  1    Something went wrong while it ran, or rows were lost
  2    It cannot start like this: a taken port, an unwritable directory, a wrong variable or argument
  130  Stopped at once by a second Ctrl-C; the next start reports what was in memory as a loss";

/// Run an agents marketplace whose every request gets an audit row
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// Port on 127.0.0.1, and the next one for the console; 0 takes any that are free
    #[arg(long, value_name = "PORT", default_value_t = 4747)]
    port: u16,

    /// File of the table, made if absent; goes before AUDITHOG_DB [default: AUDITHOG_DB, else ./audit.db]
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,

    /// Make no requests of its own
    #[arg(long)]
    no_traffic: bool,

    /// Print no line for each row
    #[arg(long, short)]
    quiet: bool,

    /// Ship to a stand-in for PostHog on this machine and print what arrives
    ///
    /// Goes before POSTHOG_API_KEY and POSTHOG_HOST. What the stand-in took counts as delivered: a real key that is set
    /// later ships the rows after it.
    #[arg(long)]
    posthog_standin: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let options = Options {
        port: args.port,
        database: args.db,
        traffic: !args.no_traffic,
        live: !args.quiet,
        posthog_standin: args.posthog_standin,
    };
    Runtime::new()
        .map_err(|error| Failure::new(1, error))?
        .block_on(audithog_demo::run(options))
        .map_err(|error| Failure::new(error.exit_code(), error))
}
