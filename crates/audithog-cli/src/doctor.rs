//! `audithog doctor`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use audithog::{
    Logger,
    doctor::{Outcome, Report},
};

use crate::{
    failure::Failure,
    output::{Format, written},
    when,
};

const LONG_ABOUT: &str = "\
Check that everything is in place for the audit log

Looks at the configuration in the environment, at the ledger's directory, disk, file, rows and books, at the clock, and at PostHog: \
name, connection, TLS, protocol, key. Sends no rows. Works before the first start, beside a live service, and on what a dead one left; \
run it as the service's user, with the service's environment.

With a personal key it also sends one event, audit_doctor, and reads it back: PostHog accepts any well-shaped key, and nothing else \
shows that the key's project keeps what it accepts. Then the ledger is marked, and status says verified.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog doctor
  POSTHOG_PERSONAL_API_KEY=phx_… POSTHOG_PROJECT_ID=12345 audithog doctor
  audithog doctor --format json | jq '.checks[] | select(.outcome != \"ok\")'

Exit codes:
  0  Nothing failed; there may be warnings
  1  A check failed
  2  An argument is wrong";

/// Check that everything is in place for the audit log
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// How long to wait for the event that is read back
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = when::span)]
    timeout: Duration,

    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let report = Logger::builder().doctor(args.timeout);
    let text = match args.format {
        Format::Text => text(&report),
        Format::Json => {
            let json = serde_json::to_string_pretty(&report);
            json.map_err(|error| Failure::new(1, error))? + "\n"
        }
    };
    let mut stdout = io::stdout();
    let shown = stdout.write_all(text.as_bytes());
    match shown.and_then(|()| stdout.flush()) {
        // Nobody reads any more: the exit code says it too.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(written(error)),
        _ => Ok(ExitCode::from(u8::from(report.outcome() == Outcome::Fail))),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let outcome = match check.outcome {
            Outcome::Ok => "ok  ",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
        };
        text += &format!("{outcome}  {:<13}  {}\n", check.name, check.text);
        if let Some(remedy) = &check.remedy {
            text += &format!("      {:<13}  → {remedy}\n", "");
        }
    }
    if let Some(settings) = report
        .settings
        .as_ref()
        .and_then(|settings| settings.as_object())
    {
        text += "\nsettings as resolved (secrets are not shown):\n";
        for (name, value) in settings {
            match value.as_object() {
                Some(inner) => {
                    for (inner, value) in inner {
                        text += &format!("  {name}.{inner} = {value}\n");
                    }
                }
                None => text += &format!("  {name} = {value}\n"),
            }
        }
    }
    text
}
