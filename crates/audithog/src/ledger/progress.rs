//! How far the writer has come, for everyone who is not the writer.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{StoreError, Totals};

/// Shared by the writer, delivery, flush and health.
pub(crate) struct Progress {
    requests_seen: AtomicU64,
    head: AtomicI64,
    synced: AtomicI64,
    writing: AtomicBool,
    trouble: Mutex<Option<String>>,
    totals: Mutex<Totals>,
    /// Counts commits, syncs and settlements; a change wakes delivery.
    changed: watch::Sender<u64>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            requests_seen: AtomicU64::new(0),
            head: AtomicI64::new(0),
            synced: AtomicI64::new(0),
            writing: AtomicBool::new(true),
            trouble: Mutex::default(),
            totals: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    pub(crate) fn request_seen(&self) {
        self.requests_seen.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests seen by this process.
    pub(crate) fn requests_seen(&self) -> u64 {
        self.requests_seen.load(Ordering::Relaxed)
    }

    /// The last committed row.
    pub(crate) fn head(&self) -> i64 {
        self.head.load(Ordering::Acquire)
    }

    /// The last row that an fsync covers.
    pub(crate) fn synced(&self) -> i64 {
        self.synced.load(Ordering::Acquire)
    }

    /// False while commits fail.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire)
    }

    /// Why commits fail, while they do.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// The persisted counters as of the last commit.
    pub(crate) fn totals(&self) -> Totals {
        lock(&self.totals).clone()
    }

    /// Changes with each commit, sync and settlement.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Called by the writer after a commit.
    pub(super) fn committed(&self, totals: &Totals, synced: bool) {
        self.head.store(totals.head, Ordering::Release);
        if synced {
            self.synced.store(totals.head, Ordering::Release);
        }
        lock(&self.totals).clone_from(totals);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Says once per episode that commits fail.
    pub(super) fn failed(&self, error: &StoreError) {
        let mut trouble = lock(&self.trouble);
        if trouble.replace(error.to_string()).is_none() {
            self.writing.store(false, Ordering::Release);
            tracing::error!(%error, cause = error.source.as_ref().map(tracing::field::display),
                "the audit ledger cannot be written; rows wait in memory and are written as soon as it can");
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Says once that they no longer do.
    pub(super) fn recovered(&self) {
        if self.is_writing() {
            return;
        }
        if lock(&self.trouble).take().is_some() {
            self.writing.store(true, Ordering::Release);
            tracing::info!("the audit ledger is written again");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
