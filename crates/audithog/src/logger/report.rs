//! What flush and shutdown say when they return.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::health::{Health, SinkHealth};

/// Why a flush or a drain ended before everything was settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Blocked {
    /// The sink stopped until somebody acts; the text is the reason.
    Hold(String),
    /// An outage: behind the breaker one probe goes out at a time.
    BreakerOpen,
    /// Another process drives the sink and will deliver the rows.
    LeaseElsewhere,
    /// The ledger cannot be written; the text is the cause.
    LedgerNotWriting(String),
    /// All that is left are rows that wait for another try on their own.
    Stragglers,
    /// The deadline passed.
    Deadline,
    /// Delivery has ended.
    Stopped,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(reason) => write!(f, "on hold: {reason}"),
            Self::BreakerOpen => {
                f.write_str("the destination does not answer; it is probed from time to time")
            }
            Self::LeaseElsewhere => f.write_str("another process delivers from this ledger"),
            Self::LedgerNotWriting(cause) => write!(f, "the ledger cannot be written: {cause}"),
            Self::Stragglers => f.write_str("some rows wait for another try on their own"),
            Self::Stopped => f.write_str("delivery has ended"),
            Self::Deadline => f.write_str("the deadline passed"),
        }
    }
}

/// What [`Logger::flush`](crate::Logger::flush) did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[must_use = "a flush can end before everything is settled; `blocked` says why"]
pub struct FlushReport {
    /// Absent when every row accepted before the call is settled at every sink.
    pub blocked: Option<Blocked>,
    /// How long it took.
    #[serde(skip)]
    pub took: Duration,
    /// The books afterwards.
    pub health: Health,
}

/// What [`Logger::shutdown`](crate::Logger::shutdown) did. `Display` is the text an operator sees.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[must_use = "rows may be pending or lost; print or log the report"]
pub struct ShutdownReport {
    /// Absent when every row is settled and the ledger is closed in good order.
    pub blocked: Option<Blocked>,
    /// Requests that were still open and were recorded with `SERVER_SHUTDOWN`.
    pub requests_cut: u64,
    /// Where pending rows wait for the next start; absent for memory only.
    pub pending_in: Option<PathBuf>,
    /// The ledger was closed: everything accepted is committed and fsynced.
    pub closed: bool,
    /// How long it took.
    #[serde(skip)]
    pub took: Duration,
    /// The books afterwards.
    pub health: Health,
}

impl ShutdownReport {
    /// Rows that wait in the ledger for a configured sink, the largest number of all of them.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.health
            .sinks
            .values()
            .filter(|sink| sink.configured)
            .map(|sink| sink.pending)
            .max()
            .unwrap_or(0)
    }

    /// Rows that this process could not keep.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.health.lost.values().sum()
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = &self.health;
        let ended = if self.closed {
            "closed"
        } else {
            "NOT closed in good order"
        };
        writeln!(
            f,
            "audit log {ended} after {:.1} s",
            self.took.as_secs_f64()
        )?;
        writeln!(
            f,
            "  requests  {} seen, {} recorded, {} cut by the shutdown",
            books.requests_seen, books.requests_accepted, self.requests_cut
        )?;
        writeln!(
            f,
            "  rows      {} accepted = {} stored + {} still in memory + {} lost{}",
            books.accepted,
            books.stored,
            books.queued,
            self.lost(),
            reasons(&books.lost)
        )?;
        for (name, sink) in &books.sinks {
            write_sink(f, name, sink)?;
        }
        if let Some(blocked) = &self.blocked {
            writeln!(f, "  stopped   {blocked}")?;
        }
        if books.queued > 0 {
            writeln!(
                f,
                "  memory    {} rows are in no table and go with the process",
                books.queued
            )?;
        }
        match &self.pending_in {
            Some(path) if self.pending() > 0 => {
                write!(
                    f,
                    "  pending rows wait in {} and are sent at the next start",
                    path.display()
                )
            }
            Some(path) => write!(f, "  table     {}", path.display()),
            None if self.pending() > 0 => write!(
                f,
                "  table     none: memory only, the {} pending rows go with the process",
                self.pending()
            ),
            None => write!(f, "  table     none: memory only"),
        }
    }
}

fn write_sink(f: &mut fmt::Formatter<'_>, name: &str, sink: &SinkHealth) -> fmt::Result {
    if !sink.configured {
        let pending = sink.pending;
        return writeln!(
            f,
            "  {name:<9} not configured: {pending} rows are kept for it"
        );
    }
    writeln!(
        f,
        "  {name:<9} {} delivered, {} sampled out, {} held back, {} dead, {} pending",
        sink.delivered, sink.sampled_out, sink.held_back, sink.dead, sink.pending
    )
}

fn reasons(lost: &BTreeMap<String, u64>) -> String {
    if lost.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = lost
        .iter()
        .map(|(reason, n)| format!("{reason} {n}"))
        .collect();
    format!(" ({})", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logger::health::LedgerHealth;

    fn report(closed: bool, queued: u64, pending: u64) -> ShutdownReport {
        let sink = SinkHealth {
            configured: true,
            began: 0,
            cursor: 7 - pending,
            delivered: 7 - pending,
            sampled_out: 0,
            held_back: 0,
            dead: 0,
            pending,
            stragglers: 0,
            oldest_pending: None,
            hold: None,
            remedy: None,
            breaker: "closed".to_owned(),
            lease_elsewhere: false,
            verified: false,
            last_success: None,
        };
        ShutdownReport {
            blocked: None,
            requests_cut: 0,
            pending_in: Some("audit.db".into()),
            closed,
            took: Duration::ZERO,
            health: Health {
                requests_seen: 0,
                requests_in_progress: 0,
                requests_accepted: 0,
                requests_excluded: 0,
                accepted: 7 + queued,
                stored: 7,
                queued,
                lost: BTreeMap::new(),
                guarantee: Default::default(),
                ledger: LedgerHealth {
                    path: Some("audit.db".into()),
                    head: 7,
                    head_at_start: 0,
                    synced: 7,
                    pruned: 0,
                    requests: 0,
                    lost: BTreeMap::new(),
                    trouble: None,
                    log_bytes: 0,
                    damaged: Vec::new(),
                },
                sinks: BTreeMap::from([("posthog".to_owned(), sink)]),
            },
        }
    }

    #[track_caller]
    fn assert_shown(report: &ShutdownReport, first: &str, last: &[&str]) {
        report.health.check().unwrap();
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], first);
        // After the requests, the rows and the sink.
        assert_eq!(&lines[4..], last);
    }

    #[test]
    fn a_good_end_names_the_table_and_what_waits_in_it() {
        let closed = "audit log closed after 0.0 s";
        assert_shown(&report(true, 0, 0), closed, &["  table     audit.db"]);
        assert_shown(
            &report(true, 0, 2),
            closed,
            &["  pending rows wait in audit.db and are sent at the next start"],
        );
    }

    #[test]
    fn a_ledger_that_fails_is_not_said_to_hold_what_is_still_in_memory() {
        let open = "audit log NOT closed in good order after 0.0 s";
        let gone = "  memory    1 rows are in no table and go with the process";
        assert_shown(&report(false, 0, 0), open, &["  table     audit.db"]);
        assert_shown(&report(false, 1, 0), open, &[gone, "  table     audit.db"]);
        assert_shown(
            &report(false, 1, 2),
            open,
            &[
                gone,
                "  pending rows wait in audit.db and are sent at the next start",
            ],
        );
    }
}
