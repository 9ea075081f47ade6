//! How far the writer has come, for everyone who is not the writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Standing, StoreError, StoreErrorKind, Totals};

/// A call to the store that takes longer than this is called hung. Far above what a disk takes that
/// answers, and not above what a response waits for.
const HUNG_AFTER: Duration = Duration::from_secs(2);

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
    standing: Mutex<Standing>,
    /// Since when the writer is in the store, if it is.
    under_way: Mutex<Option<Instant>>,
    /// Since when another process keeps the ledger locked, if it does: each try comes back, and nothing is written.
    locked: Mutex<Option<Instant>>,
    hang_told: Mutex<Option<Instant>>,
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
            standing: Mutex::default(),
            under_way: Mutex::default(),
            locked: Mutex::default(),
            hang_told: Mutex::default(),
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

    /// How long the writer has been waiting for the disk, or for another process, if that is too long.
    pub(crate) fn hung_for(&self) -> Option<Duration> {
        let since = [*lock(&self.locked), *lock(&self.under_way)];
        let since = since.into_iter().flatten().min()?;
        Some(since.elapsed()).filter(|hung| *hung >= HUNG_AFTER)
    }

    /// Why nothing is written now: commits fail, or one does not come back.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let hung = self.hung_for().map(|hung| {
            format!(
                "the ledger has hung for {} s: its disk does not answer, or another process keeps it locked",
                hung.as_secs()
            )
        });
        match (hung, self.trouble()) {
            (Some(hung), Some(trouble)) => Some(format!("{hung}; before that: {trouble}")),
            (hung, trouble) => hung.or(trouble),
        }
    }

    /// Called once a second by a thread that does not touch the disk. Says once per episode that the
    /// disk hangs, and when it is over.
    pub(crate) fn watch_for_hang(&self) {
        let hung = self.hung_for();
        let mut told = lock(&self.hang_told);
        match (hung, *told) {
            (Some(hung), None) => {
                *told = Instant::now().checked_sub(hung);
                tracing::warn!(
                    seconds = hung.as_secs(),
                    "the audit ledger hangs: its disk does not answer, or another process keeps it locked; rows \
                     wait in memory"
                );
            }
            (None, Some(since)) => {
                *told = None;
                tracing::info!(
                    seconds = since.elapsed().as_secs(),
                    "the audit ledger answers again"
                );
            }
            _ => {}
        }
    }

    /// To be held while the writer is in the store.
    pub(super) fn under_way(&self) -> UnderWay<'_> {
        *lock(&self.under_way) = Some(Instant::now());
        UnderWay(self)
    }

    /// How the store stands.
    pub(crate) fn standing(&self) -> Standing {
        lock(&self.standing).clone()
    }

    pub(crate) fn stands(&self, standing: Standing) {
        *lock(&self.standing) = standing;
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
        *lock(&self.locked) = None;
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

    /// Called by the writer after a commit of its own rows, or of settlements alone, while others wait.
    pub(super) fn urgent(&self, totals: &Totals, synced: bool, settled: Ticket) {
        lock(&self.totals).clone_from(totals);
        self.progress.send_modify(|progress| {
            progress.head = totals.head;
            progress.settled = settled;
            if synced {
                progress.synced = totals.head;
            }
        });
    }

    /// Called by the writer when a try that began at `since` found the ledger locked. One episode, until a commit.
    pub(super) fn locked(&self, since: Instant) {
        lock(&self.locked).get_or_insert(since);
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
        let cause = error
            .source
            .as_ref()
            .map_or_else(String::new, |cause| format!(": {cause}"));
        if error.kind != StoreErrorKind::Busy {
            *lock(&self.locked) = None;
        }
        let trouble = format!("{error}{cause}; {}", error.kind.remedy());
        let first = lock(&self.trouble).replace(trouble).is_none();
        if first {
            tracing::error!(
                %error,
                cause = error.source.as_ref().map(tracing::field::display),
                remedy = error.kind.remedy(),
                "the audit ledger cannot be written; rows wait in memory and are written as soon as it can"
            );
            self.progress
                .send_modify(|progress| progress.failing = true);
        }
        // Last: whoever sees it sees the trouble too.
        self.failures.fetch_add(1, Ordering::Release);
    }
}

/// The writer is in the store until this is dropped.
pub(super) struct UnderWay<'a>(&'a Board);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        *lock(&self.0.under_way) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
