//! The oracle: three books, kept by three parties, compared.
//!
//! It shares no code with what it judges. It asks no process how it is: it reads the file with SQLite, what PostHog's
//! side stored, and what the clients wrote down.

mod answered;
mod delivered;
mod ledger;
mod losses;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use ledger::Ledger;

use crate::load::Asked;
use crate::standin::Book;

/// What a service promises of its answered requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Guarantee {
    BestEffort,
    Durable,
    FailClosed,
}

impl Guarantee {
    /// Those that a seed chooses from.
    pub(crate) const PLAYED: &[Self] = &[Self::BestEffort, Self::Durable, Self::FailClosed];

    /// As `AUDITHOG_GUARANTEE` takes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Durable => "durable",
            Self::FailClosed => "fail-closed",
        }
    }
}

/// One server process, as the driver knows it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) end: End,
    /// When the driver had seen it end, microseconds since 1970.
    pub(crate) ended_at: i64,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// By SIGKILL.
    Killed,
    /// By SIGKILL, and its unsynced writes are gone.
    PowerLost,
    /// By itself, and this is its shutdown report.
    Stopped(Box<Value>),
    /// It was told to stop, and had to be killed.
    Stuck,
    /// It ended without a report.
    Broken(String),
}

/// What the driver did that changes what may be expected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Injected {
    /// The servers' clock was stepped: times prove nothing.
    pub(crate) clock: bool,
    /// The ledger could not be written at times.
    pub(crate) ledger_trouble: bool,
    /// PostHog refused rows for good.
    pub(crate) refusals: bool,
}

/// All books of one round.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) guarantee: Guarantee,
    pub(crate) injected: Injected,
    pub(crate) servers: Vec<Server>,
    pub(crate) clients: Vec<Asked>,
    pub(crate) ledger: Ledger,
    pub(crate) posthog: Book,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule that is broken.
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Gathers findings; of many of one rule only the first few are told in full.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

/// Of one rule.
const TOLD: usize = 5;
/// Characters of one finding.
const LONGEST: usize = 600;

impl Findings {
    fn add(&mut self, rule: &'static str, what: impl Into<String>) {
        let mut what = what.into();
        if let Some((cut, _)) = what.char_indices().nth(LONGEST) {
            what.truncate(cut);
            what.push('…');
        }
        self.0.push(Finding { rule, what });
    }

    /// A finding unless `holds`.
    fn expect(&mut self, rule: &'static str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, what());
        }
    }

    fn told(self) -> Vec<Finding> {
        let mut told: Vec<Finding> = Vec::new();
        for finding in &self.0 {
            let same = |other: &&Finding| other.rule == finding.rule;
            match told.iter().filter(same).count() {
                n if n < TOLD => told.push(finding.clone()),
                TOLD => {
                    let all = self.0.iter().filter(same).count();
                    told.push(Finding {
                        rule: finding.rule,
                        what: format!("… {all} in all"),
                    });
                }
                _ => {}
            }
        }
        told
    }
}

/// Everything that is wrong; nothing when all books agree.
pub(crate) fn judge(books: &Books) -> Vec<Finding> {
    let mut findings = Findings::default();
    table::judge(books, &mut findings);
    losses::judge(books, &mut findings);
    answered::judge(books, &mut findings);
    delivered::judge(books, &mut findings);
    findings.told()
}
