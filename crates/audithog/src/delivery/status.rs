//! What health pages, metrics and reports say about a sink.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::Micros;
use crate::sink::HoldReason;

/// Distinct texts that are counted and logged on their own; a server may invent any number.
const DISTINCT_REASONS: usize = 64;
const OTHER_REASONS: &str = "other";

/// A snapshot of one sink's delivery, as handed over to the ledger (commits follow shortly).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SinkStatus {
    /// Rows that are not settled, stragglers included.
    pub(crate) pending: u64,
    pub(crate) stragglers: u64,
    /// Arrival of the oldest row that is not settled; for a straggler, when it became one.
    pub(crate) oldest_pending: Option<Micros>,
    /// Requests under way.
    pub(crate) in_flight: usize,
    pub(crate) hold: Option<HoldStatus>,
    pub(crate) breaker: BreakerState,
    pub(crate) lease: LeaseState,
    /// When the sink last took a row.
    pub(crate) last_success: Option<Micros>,
    /// Requests sent, every try counted.
    pub(crate) requests: u64,
    /// Tries of requests that had been sent before.
    pub(crate) retries: u64,
    /// Dead letters since the start, by reason; beyond a number of texts as `other`.
    pub(crate) dead: BTreeMap<String, u64>,
    /// Reads of the ledger that failed.
    pub(crate) read_errors: u64,
    /// Times the sink's loop panicked and was started again.
    pub(crate) panics: u64,
    /// A read-back has shown that the project keeps what it accepts.
    pub(crate) verified: bool,
}

/// Why a sink stopped sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HoldStatus {
    pub(crate) reason: HoldReason,
    /// What the server said.
    pub(crate) detail: String,
    /// How long it has lasted.
    pub(crate) lasted: Duration,
}

/// The circuit breaker. Closed is the good state: rows flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum BreakerState {
    #[default]
    Closed,
    /// The last requests failed; quick retries go on.
    Failing,
    /// An outage: one probe at a time.
    Open,
}

/// Who drives the sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum LeaseState {
    /// Not known yet.
    #[default]
    Asking,
    Ours,
    Elsewhere,
}

impl SinkStatus {
    /// Counts a dead letter. True when its reason is new: worth a line in the log.
    pub(super) fn count_dead(&mut self, reason: &str) -> bool {
        if let Some(count) = self.dead.get_mut(reason) {
            *count += 1;
            return false;
        }
        let known = self.dead.len() >= DISTINCT_REASONS;
        let key = if known { OTHER_REASONS } else { reason };
        *self.dead.entry(key.to_owned()).or_default() += 1;
        !known
    }
}

impl BreakerState {
    /// As written in pages and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failing => "failing",
            Self::Open => "open",
        }
    }
}
