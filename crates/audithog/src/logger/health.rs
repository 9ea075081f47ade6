//! The books, for people and machines: one consistent look at where every row is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// A snapshot of the pipeline. The counts of one snapshot fit together:
///
/// ```text
/// requests_seen = requests_in_progress + requests_accepted + requests_excluded
/// accepted      = stored + queued + lost (all reasons)
/// ```
///
/// and, for each sink, from the row where it began:
///
/// ```text
/// ledger head - began = delivered + sampled_out + held_back + dead + pending
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Requests seen by this process.
    pub requests_seen: u64,
    /// Requests that have no row yet.
    pub requests_in_progress: u64,
    /// Requests whose row was accepted.
    pub requests_accepted: u64,
    /// Requests that get no row, because code excluded their route.
    pub requests_excluded: u64,
    /// Rows accepted by this process: requests, events and audithog's own.
    pub accepted: u64,
    /// Rows this process has stored in the ledger.
    pub stored: u64,
    /// Rows in memory on their way to the ledger.
    pub queued: u64,
    /// Rows that could not be kept, by reason; reasons without a loss are absent.
    pub lost: BTreeMap<String, u64>,
    /// Responses that wait for their row.
    pub guarantee: GuaranteeHealth,
    /// The ledger.
    pub ledger: LedgerHealth,
    /// The sinks, by name.
    pub sinks: BTreeMap<String, SinkHealth>,
}

/// What became of responses that wait for their row, in this process. All zero where the guarantee is best-effort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GuaranteeHealth {
    /// Responses that wait now.
    pub waiting: u64,
    /// Durable responses that went out at their time limit, before their row was committed.
    pub late: u64,
    /// Requests that got 503 before they were handled. Also the loss `refused`.
    pub refused: u64,
    /// Fail-closed requests that got 503 because a row was not committed in time.
    pub withheld: u64,
    /// Fail-closed responses whose connection was broken before their end, for the same reason.
    pub aborted: u64,
    /// Clients that left while the end of their response waited. The row says what they would have got.
    pub abandoned: u64,
}

/// The ledger's side of [`Health`]. Its counts cover all runs of all processes.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LedgerHealth {
    /// The file; absent for memory only.
    pub path: Option<PathBuf>,
    /// The last sequence number: how many rows were ever stored.
    pub head: u64,
    /// The last sequence number when this process started: rows after it are of this run.
    pub head_at_start: u64,
    /// The last row that an fsync covers.
    pub synced: u64,
    /// Rows up to here were removed by retention.
    pub pruned: u64,
    /// Requests seen, all runs.
    pub requests: u64,
    /// Rows lost, all runs, by reason. `unclean_stop`, `ledger_replaced` and `ledger_damaged` are
    /// upper bounds.
    pub lost: BTreeMap<String, u64>,
    /// Why nothing can be written now: commits fail, or one has hung for more than two seconds.
    /// Absent while all is well.
    pub trouble: Option<String>,
    /// Size of SQLite's write-ahead log, in bytes. It grows beyond 64 MiB only while a reader keeps it
    /// from being emptied.
    pub log_bytes: u64,
    /// Damaged ledgers that were put aside (`AUDITHOG_DB_DAMAGED`) and are still beside this one.
    /// Looked for at the start and once a minute.
    pub damaged: Vec<PathBuf>,
}

/// One sink's side of [`Health`].
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct SinkHealth {
    /// False for a sink that this ledger had before and this process was not given (no key): its
    /// rows are kept until it is configured again.
    pub configured: bool,
    /// The sink's first row is the one after this.
    pub began: u64,
    /// Every row up to here is settled or waits on its own.
    pub cursor: u64,
    /// Rows the destination took.
    pub delivered: u64,
    /// Rows left out by a sampling rule.
    pub sampled_out: u64,
    /// Rows older than the back-fill limit when the first key came.
    pub held_back: u64,
    /// Rows the destination refused for good.
    pub dead: u64,
    /// Rows that wait.
    pub pending: u64,
    /// Of these, rows that wait for another try on their own.
    pub stragglers: u64,
    /// Age of the oldest pending row, in seconds; absent when none waits.
    #[serde(rename = "oldest_pending_seconds", serialize_with = "seconds")]
    pub oldest_pending: Option<Duration>,
    /// Why sending stopped until somebody acts: `bad_key`, `forbidden`, `quota`.
    pub hold: Option<String>,
    /// What to do about the hold.
    pub remedy: Option<String>,
    /// `closed` (all is well), `failing` (quick retries) or `open` (an outage: one probe at a time).
    pub breaker: String,
    /// Another process drives this sink now.
    pub lease_elsewhere: bool,
    /// A row was read back from the destination: the key belongs to a project that keeps rows.
    pub verified: bool,
    /// Age of the last successful delivery, in seconds.
    #[serde(rename = "last_success_seconds", serialize_with = "seconds")]
    pub last_success: Option<Duration>,
}

impl Health {
    /// The equations of the type's documentation; `Err` names the first one that does not hold.
    ///
    /// # Errors
    ///
    /// A sentence with both sides of the equation.
    pub fn check(&self) -> Result<(), String> {
        let equal = |name: &str, left: u64, right: u64| {
            if left == right {
                Ok(())
            } else {
                Err(format!("{name}: {left} on the left, {right} on the right"))
            }
        };
        let lost: u64 = self.lost.values().sum();
        equal(
            "requests seen = in progress + accepted + excluded",
            self.requests_seen,
            self.requests_in_progress + self.requests_accepted + self.requests_excluded,
        )?;
        equal(
            "accepted = stored + queued + lost",
            self.accepted,
            self.stored + self.queued + lost,
        )?;
        for (name, sink) in &self.sinks {
            let settled = sink.delivered + sink.sampled_out + sink.held_back + sink.dead;
            let stored = self.ledger.head - sink.began;
            equal(
                &format!("{name}: stored = settled + pending"),
                stored,
                settled + sink.pending,
            )?;
        }
        Ok(())
    }
}

fn seconds<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}
