//! Is everything in place? Checks that an operator runs before a service does, or beside it.
//!
//! [`Builder::doctor`] looks at the settings, the ledger's place and file, the clock and PostHog. It sends no rows of
//! the log. With a personal key it sends one event of its own, `audit_doctor`, and reads it back: nothing else shows
//! that the project's key belongs to a project that keeps what it accepts.

mod file;
#[cfg(feature = "posthog")]
mod posthog;

use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::{Builder, Database};

/// What the checks came to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// In the order in which they were made; after a failure that makes others pointless those are absent.
    pub checks: Vec<Check>,
    /// The settings as they are resolved, without secrets; absent if they are wrong.
    pub settings: Option<serde_json::Value>,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What was looked at: `configuration`, `directory`, `ledger`, … (`docs/reference/doctor.md`).
    pub name: &'static str,
    /// How it is.
    pub outcome: Outcome,
    /// What was found, in a sentence without secrets.
    pub text: String,
    /// What to do; absent when nothing is to be done.
    pub remedy: Option<String>,
}

/// How a check came out, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and there is something to know or to improve.
    Warn,
    /// It does not work.
    Fail,
}

impl Report {
    /// The worst of the checks.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let worst = self.checks.iter().map(|check| check.outcome).max();
        worst.unwrap_or(Outcome::Ok)
    }
}

/// Gathers checks.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, name: &'static str, text: impl Into<String>) {
        self.push(name, Outcome::Ok, text, None);
    }

    fn warn(&mut self, name: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.push(name, Outcome::Warn, text, Some(remedy.into()));
    }

    fn fail(&mut self, name: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.push(name, Outcome::Fail, text, Some(remedy.into()));
    }

    fn push(
        &mut self,
        name: &'static str,
        outcome: Outcome,
        text: impl Into<String>,
        remedy: Option<String>,
    ) {
        self.0.push(Check {
            name,
            outcome,
            text: text.into(),
            remedy,
        });
    }
}

impl Builder {
    /// Makes all checks. Blocks: a few seconds, and with a personal key until an event was read back, at most
    /// `read_back_within`.
    ///
    /// Writes into the ledger's directory only an empty file that it removes again, and into the ledger only that its
    /// destination is verified.
    #[must_use]
    pub fn doctor(self, read_back_within: Duration) -> Report {
        let mut checks = Checks::default();
        let resolved = match self.resolve() {
            Ok(resolved) => resolved,
            Err(error) => {
                for problem in error.to_string().lines() {
                    checks.fail(
                        "configuration",
                        problem,
                        "correct it: docs/reference/variables.md has every variable with its bounds",
                    );
                }
                return Report {
                    checks: checks.0,
                    settings: None,
                };
            }
        };
        let settings = &resolved.settings;
        checks.ok(
            "configuration",
            format!(
                "service {}, every variable is known and valid",
                settings.run.service
            ),
        );
        let clock = Clock::system();
        let path = match &settings.database {
            Database::Off { max_rows } => {
                checks.warn(
                    "ledger",
                    format!("AUDITHOG_DB is off: at most {max_rows} rows are kept, in memory, and die with the process"),
                    "set AUDITHOG_DB to a file on a volume",
                );
                None
            }
            Database::File(path) => {
                file::examine(path, &clock, &mut checks);
                Some(path.as_path())
            }
        };
        #[cfg(feature = "posthog")]
        posthog::examine(settings, path, &clock, read_back_within, &mut checks);
        #[cfg(not(feature = "posthog"))]
        let _ = (path, read_back_within);
        Report {
            checks: checks.0,
            settings: Some(resolved.public()),
        }
    }
}
