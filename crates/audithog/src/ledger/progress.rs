//! How far the writer has come, for everyone who is not the writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use super::{StoreError, Totals};

/// How far the ledger's writer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Number of the last committed row.
    pub(crate) head: i64,
    /// Rows up to here are fsynced: they may be read and sent.
    pub(crate) synced: i64,
    /// Settlements up to here are committed.
    pub(crate) settled: Ticket,
    /// The last attempt to write failed.
    pub(crate) failing: bool,
    /// Grows when another ledger takes the place of the one before: numbers begin anew.
    pub(crate) ledger: u64,
}

/// Numbers settlements in the order in which they were handed over, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// Counts of the process that the writer does not make itself, by name, for the file.
pub(crate) type MoreCounts = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// Shared by the writer, delivery, flush and health.
pub(crate) struct Board {
    failures: AtomicU64,
    requests_seen: AtomicU64,
    requests_excluded: AtomicU64,
    progress: watch::Sender<Progress>,
    trouble: Mutex<Option<String>>,
    totals: Mutex<Totals>,
    head_at_start: i64,
    more: OnceLock<MoreCounts>,
}

impl Board {
    /// `totals`: what the ledger holds from earlier runs.
    pub(crate) fn new(totals: Totals) -> Self {
        Self {
            failures: AtomicU64::new(0),
            requests_seen: AtomicU64::new(0),
            requests_excluded: AtomicU64::new(0),
            progress: watch::Sender::default(),
            trouble: Mutex::default(),
            head_at_start: totals.head,
            more: OnceLock::new(),
            totals: Mutex::new(totals),
        }
    }

    /// From now on these are asked too, on the writer's thread. Once.
    pub(crate) fn count_more(&self, more: MoreCounts) {
        drop(self.more.set(more));
    }

    pub(super) fn more(&self) -> Vec<(&'static str, u64)> {
        self.more.get().map_or_else(Vec::new, |more| more())
    }

    pub(crate) fn request_seen(&self) {
        self.requests_seen.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_excluded(&self) {
        self.requests_excluded.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests seen by this process that get no row.
    pub(crate) fn requests_excluded(&self) -> u64 {
        self.requests_excluded.load(Ordering::Relaxed)
    }

    /// Requests seen by this process.
    pub(crate) fn requests_seen(&self) -> u64 {
        self.requests_seen.load(Ordering::Relaxed)
    }

    /// Where the writer is now.
    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Changes with each commit, sync and settlement.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Why commits fail, while they do.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// How often a try to write has failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// The persisted counters as of the last commit.
    pub(crate) fn totals(&self) -> Totals {
        lock(&self.totals).clone()
    }

    /// The last sequence number of earlier runs.
    pub(crate) fn head_at_start(&self) -> i64 {
        self.head_at_start
    }

    /// Called by the writer after a commit.
    pub(super) fn committed(&self, totals: &Totals, synced: bool, settled: Ticket) {
        lock(&self.totals).clone_from(totals);
        self.progress.send_modify(|progress| {
            progress.head = totals.head;
            progress.settled = settled;
            progress.failing = false;
            if synced {
                progress.synced = totals.head;
            }
        });
        if lock(&self.trouble).take().is_some() {
            tracing::info!("the audit ledger is written again");
        }
    }

    /// Called by the writer when another ledger is in the place of the one before.
    pub(super) fn replaced(&self, totals: &Totals) {
        lock(&self.totals).clone_from(totals);
        self.progress.send_modify(|progress| {
            progress.ledger += 1;
            progress.head = totals.head;
            progress.synced = 0;
        });
    }

    /// Says once per episode that commits fail.
    pub(super) fn failed(&self, error: &StoreError) {
        let first = lock(&self.trouble).replace(error.to_string()).is_none();
        if first {
            tracing::error!(
                %error,
                cause = error.source.as_ref().map(tracing::field::display),
                "the audit ledger cannot be written; rows wait in memory and are written as soon as it can"
            );
            self.progress
                .send_modify(|progress| progress.failing = true);
        }
        // Last: whoever sees it sees the trouble too.
        self.failures.fetch_add(1, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
