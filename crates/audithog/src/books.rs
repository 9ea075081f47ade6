//! The books: where every row is, at every moment (the conservation rule).
//!
//! ```text
//! accepted         = stored + queued + lost (by reason)
//! stored, per sink = delivered + sampled out + held back + dead + pending
//! ```
//!
//! One mutex guards them, the queue's own, so that a snapshot is consistent. See `queue.rs`.

mod losers;

use std::fmt;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::record::{Micros, Row};

pub(crate) use losers::{Losers, client};

/// Why a row could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// The queue was full; the newest rows are dropped.
    QueueFull,
    /// Logged after `shutdown`.
    AfterShutdown,
    /// The process ended without `shutdown`; an upper bound, marked inexact.
    UncleanStop,
    /// The ledger could not be written until the process ended.
    LedgerFailed,
    /// Memory only (`AUDITHOG_DB=off`): the store was full; the newest rows are dropped.
    MemoryFull,
    /// A caller-supplied id is in the ledger already; the row exists, this copy is refused.
    DuplicateId,
    /// The ledger's file was deleted or replaced under the process: what was in the old one, an upper bound,
    /// marked inexact. In the ledger's totals only: the rows were stored, and are counted as stored.
    LedgerReplaced,
    /// The request was answered with 503 before it was handled, because its rows could not have been kept.
    Refused,
    /// The ledger was damaged and put aside: what it held, an upper bound, marked inexact. In the
    /// ledger's totals only, like `LedgerReplaced`.
    LedgerDamaged,
}

impl LossReason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::QueueFull,
        Self::AfterShutdown,
        Self::UncleanStop,
        Self::LedgerFailed,
        Self::MemoryFull,
        Self::DuplicateId,
        Self::LedgerReplaced,
        Self::Refused,
        Self::LedgerDamaged,
    ];

    /// As written in rows and metrics: `queue_full`, `after_shutdown`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::AfterShutdown => "after_shutdown",
            Self::UncleanStop => "unclean_stop",
            Self::LedgerFailed => "ledger_failed",
            Self::MemoryFull => "memory_full",
            Self::DuplicateId => "duplicate_id",
            Self::LedgerReplaced => "ledger_replaced",
            Self::Refused => "refused",
            Self::LedgerDamaged => "ledger_damaged",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counts by [`LossReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses([u64; LossReason::ALL.len()]);

impl Losses {
    pub(crate) fn add(&mut self, reason: LossReason, n: u64) {
        self.0[reason as usize] += n;
    }

    pub(crate) fn get(&self, reason: LossReason) -> u64 {
        self.0[reason as usize]
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LossReason, u64)> {
        LossReason::ALL
            .into_iter()
            .zip(self.0)
            .filter(|(_, n)| *n > 0)
    }
}

/// Losses of one reason in one stretch of time; becomes one `audit_loss` row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Episode {
    pub(crate) reason: LossReason,
    pub(crate) count: u64,
    pub(crate) first: Micros,
    pub(crate) last: Micros,
    /// `count` is an upper bound.
    pub(crate) inexact: bool,
    /// Where a client's flood can be the reason: whose rows they were.
    pub(crate) losers: Losers,
    /// The file that has them still.
    pub(crate) file: Option<String>,
}

impl Episode {
    pub(crate) fn new(reason: LossReason, count: u64, at: Micros) -> Self {
        Self {
            reason,
            count,
            first: at,
            last: at,
            inexact: false,
            losers: Losers::default(),
            file: None,
        }
    }

    /// The last row counted was of this client.
    pub(crate) fn blame(&mut self, ip: Option<IpAddr>) {
        self.losers.add(ip, 1);
    }

    pub(crate) fn extend(&mut self, n: u64, now: Micros) {
        self.count += n;
        self.first = self.first.min(now);
        self.last = self.last.max(now);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.inexact |= other.inexact;
        self.losers.merge(&other.losers);
    }
}

/// Called once with the row's sequence number, or why there is none. Gives whom to [`wake`]: who tells several does that after
/// the last one, because a task that is woken may take the core at once.
pub(crate) type Waiter = Box<dyn FnOnce(Result<i64, Refusal>) -> Option<Waker> + Send>;

/// Tells one.
pub(crate) fn tell(waiter: Waiter, answer: Result<i64, Refusal>) {
    wake(waiter(answer));
}

/// Tells several, by their number.
pub(crate) fn tell_all(
    waiters: Vec<(usize, Waiter)>,
    mut answer: impl FnMut(usize) -> Result<i64, Refusal>,
) {
    let mut told = Told::default();
    for (number, waiter) in waiters {
        told.0.extend(waiter(answer(number)));
    }
}

/// Who was told and has to be woken, whatever becomes of the others.
#[derive(Default)]
struct Told(Vec<Waker>);

impl Drop for Told {
    fn drop(&mut self) {
        wake(std::mem::take(&mut self.0));
    }
}

/// Wakes tasks, on threads on which every other response depends, too: what an executor's code does here must not end them.
pub(crate) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        // The process's hook has told of the panic.
        drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
    }
}

/// Called once when there may be room in the queue.
pub(crate) type RoomCall = Box<dyn FnOnce() + Send>;

/// A row that comes back from a full queue. It counts as accepted nowhere.
pub(crate) struct Unplaced {
    pub(crate) row: Row,
    pub(crate) waiter: Option<Waiter>,
    /// To take back the wish for room.
    pub(crate) wish: u64,
}

/// Why a row was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) LossReason);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn several_are_woken_after_the_last_was_told_whatever_it_does() {
        for panics in [false, true] {
            let task = Arc::new(Task::default());
            let waiter = |n: usize| -> (usize, Waiter) {
                let task = Arc::clone(&task);
                let waiter = move |answer| {
                    assert_eq!(answer, Ok(7));
                    assert_eq!(task.0.load(Ordering::Relaxed), 0);
                    assert!(!panics || n < 2, "planned: a waiter");
                    Some(task.into())
                };
                (n, Box::new(waiter))
            };
            let waiters = (0..3).map(waiter).collect();
            let told = catch_unwind(AssertUnwindSafe(|| tell_all(waiters, |_| Ok(7))));
            assert_eq!(told.is_err(), panics);
            assert_eq!(task.0.load(Ordering::Relaxed), if panics { 2 } else { 3 });
        }
    }
}
