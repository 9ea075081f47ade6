//! What a status says. Its JSON is documented in docs/reference/status.md.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

/// What a ledger's file says of its log. Times are RFC 3339 in UTC, ages are in seconds, sizes in
/// bytes.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The form of this structure as JSON: 1. Fields may be added without another number.
    pub format: u32,
    /// When it was taken, by this machine's clock.
    pub at: String,
    /// The file.
    pub file: FileStatus,
    /// The service of the latest run: shipments, looks at the log and work on dead letters are none of a service.
    pub service: Option<String>,
    /// Its environment.
    pub environment: Option<String>,
    /// Runs that have not ended, and the last few of services; the latest first.
    pub runs: Vec<RunStatus>,
    /// The rows.
    pub rows: RowsStatus,
    /// Rows that could not be kept, all runs, by reason.
    pub losses: Vec<Loss>,
    /// The sinks that this ledger has ever had, by name.
    pub sinks: Vec<SinkStatus>,
    /// The conservation rule, evaluated.
    pub equations: Vec<Equation>,
}

/// The file and its disk.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FileStatus {
    /// With symbolic links resolved.
    pub path: PathBuf,
    /// The version of its tables.
    pub schema: u32,
    /// How it was read.
    pub access: Access,
    /// Its size.
    pub bytes: u64,
    /// The size of SQLite's write-ahead log beside it.
    pub log_bytes: u64,
    /// Free on its disk, for this user; absent where that cannot be asked.
    pub disk_free_bytes: Option<u64>,
    /// The size of its disk.
    pub disk_bytes: Option<u64>,
    /// The disk was full, and the space that is kept back beside the ledger is in use: rows wait in memory.
    pub reserve_in_use: bool,
    /// Damaged files that were put aside beside it, oldest first.
    pub damaged: Vec<PathBuf>,
}

/// How a ledger's file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Access {
    /// Beside others that may write it.
    Shared,
    /// With its write-ahead log, and nobody else has it open.
    Alone,
    /// Without a write-ahead log: it was closed in good order, or it is a copy of the file only.
    Still,
}

/// One run of a process.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RunStatus {
    /// Its number in the ledger.
    pub run: i64,
    /// The service.
    pub service: String,
    /// Its environment.
    pub environment: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Which of its processes.
    pub instance: Option<String>,
    /// Its process id, where it ran.
    pub pid: u32,
    /// Whether it goes on.
    pub state: RunState,
    /// Its start.
    pub started: String,
    /// Its last sign of life; a run gives one at least every 20 s.
    pub sign: String,
    /// Age of the last sign of life.
    pub sign_age_seconds: f64,
    /// Its end, or when it was found dead.
    pub ended: Option<String>,
    /// Rows that its memory can hold before they are in the file: so many are gone at most if it dies. 0: it keeps none there.
    pub queue_capacity: u64,
    /// The process's own counts.
    pub books: Option<Books>,
    /// The last time that it could not write the ledger.
    pub trouble: Option<Trouble>,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// Its process runs on this machine.
    Alive,
    /// It has not ended, its process cannot be seen from here (another machine or container), and
    /// it has given a sign of life lately.
    Remote,
    /// The process is gone without an end, or has given no sign of life for long.
    Dead,
    /// It ended in good order.
    Ended,
    /// A later start found it dead.
    Killed,
}

/// A process's own counts, as it last wrote them: at most 20 s old while the process lives.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Books {
    /// As of then.
    pub at: String,
    /// Requests seen.
    pub requests_seen: u64,
    /// Requests without a row yet.
    pub requests_in_progress: u64,
    /// Requests whose row was accepted.
    pub requests_accepted: u64,
    /// Requests that get no row, because code excluded their route.
    pub requests_excluded: u64,
    /// Rows accepted.
    pub accepted: u64,
    /// Rows stored.
    pub stored: u64,
    /// Rows in memory, on their way to the file.
    pub queued: u64,
    /// Rows lost, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Responses that wait for their row.
    pub waiting: u64,
    /// Durable responses that went out at their time limit, before their row was committed.
    pub late: u64,
    /// Fail-closed requests that got 503 because a row was not committed in time.
    pub withheld: u64,
    /// Fail-closed responses whose connection was broken before their end, for the same reason.
    pub aborted: u64,
    /// Clients that left while the end of their response waited.
    pub abandoned: u64,
    /// Counts that this version does not know.
    #[serde(flatten)]
    pub others: BTreeMap<String, serde_json::Value>,
}

/// A time when the ledger could not be written.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Trouble {
    /// Why.
    pub text: String,
    /// Until then.
    pub until: String,
    /// How long ago that is.
    pub age_seconds: f64,
}

/// The rows of the log.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RowsStatus {
    /// The last sequence number: rows ever stored.
    pub head: u64,
    /// Rows up to here were removed by retention.
    pub pruned: u64,
    /// Rows in the file.
    pub kept: u64,
    /// Arrival of the first row in the file.
    pub first: Option<String>,
    /// Arrival of the last row.
    pub last: Option<String>,
    /// Its age.
    pub last_age_seconds: Option<f64>,
    /// Requests seen, all runs.
    pub requests: u64,
}

/// Rows that could not be kept, for one reason.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Loss {
    /// As in `audit_loss` rows.
    pub reason: String,
    /// How many, all runs.
    pub rows: u64,
    /// The number is an upper bound.
    pub upper_bound: bool,
    /// The last time it was counted; absent if only before schema 2.
    pub last: Option<String>,
    /// How long ago that is.
    pub last_age_seconds: Option<f64>,
}

/// One sink.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SinkStatus {
    /// `posthog`, …
    pub name: String,
    /// The latest run of a service has it.
    pub configured: bool,
    /// Some process drives it now.
    pub driven: bool,
    /// Its first row is the one after this.
    pub began: u64,
    /// Every row up to here is settled or a straggler.
    pub cursor: u64,
    /// Rows that wait.
    pub pending: u64,
    /// Of these, rows that wait for another try on their own.
    pub stragglers: u64,
    /// Age of the oldest of them: since its arrival; of a straggler since it first failed.
    pub oldest_pending_seconds: Option<f64>,
    /// Rows the destination took.
    pub delivered: u64,
    /// Rows that a sampling rule left out.
    pub sampled_out: u64,
    /// Rows older than the back-fill limit, or removed by retention while the sink was absent.
    pub held_back: u64,
    /// Dead letters.
    pub dead: u64,
    /// Of these, letters that somebody dismissed.
    pub dismissed: u64,
    /// Why nothing is sent until somebody acts.
    pub hold: Option<Hold>,
    /// `closed` (rows flow), `failing` (quick retries), `open` (an outage: one probe at a time);
    /// absent until a driver has said so.
    pub breaker: Option<String>,
    /// Since when.
    pub breaker_since: Option<String>,
    /// When it last took a row.
    pub last_success: Option<String>,
    /// How long ago that is.
    pub last_success_age_seconds: Option<f64>,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<String>,
    /// A row was read back from the destination.
    pub verified: bool,
    /// Rows that are left and that [`Builder::reconcile`](crate::Builder::reconcile) has compared: of these the destination has every one
    /// that it is to have.
    pub rows_verified: u64,
    /// Hold, breaker and times as of then.
    pub as_of: Option<String>,
}

/// Why a sink sends nothing until somebody acts.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Hold {
    /// `bad_key`, `forbidden`, `quota`.
    pub reason: String,
    /// Since when.
    pub since: Option<String>,
    /// What the server said.
    pub detail: String,
    /// What to do.
    pub remedy: String,
}

/// One equation of the conservation rule, with its numbers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Equation {
    /// What it is about: `run 3`, `posthog`.
    pub of: String,
    /// In words: `accepted = stored + queued + lost`.
    pub rule: String,
    /// With the numbers: `12 accepted = 10 stored + 2 queued + 0 lost`.
    pub sentence: String,
    /// The number on the left.
    pub left: u64,
    /// The sum on the right.
    pub right: u64,
    /// Whether it holds.
    pub holds: bool,
}
