//! Rows that a response waits for, and the thread that ends the wait.
//!
//! A wait ends by the writer's answer or by its time limit, whichever comes first, and the response's task is woken
//! then, by the writer or by the task of another response (`relay.rs`): nothing polls. The time limit needs no runtime: one
//! thread, `audithog-deadline`, sleeps until the oldest row that nobody has answered for reaches its limit.
//!
//! A row stays open until the writer answers for it, whether or not its response still waits. So rows that are past their
//! limit show a disk that hangs, whatever the clients do, and the answer for them shows that it writes again.

mod relay;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use self::relay::{Lead, Relay};
use super::guarantee::Guarantee;
use super::watch::Watch;
use crate::books::{Waiter, wake};

/// Counts of responses that wait for their row, and of what became of them when it did not come in time.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) waiting: AtomicU64,
    /// Went out before its row was committed.
    pub(crate) late: AtomicU64,
    /// 503 in its place.
    pub(crate) withheld: AtomicU64,
    /// The connection was broken before its end.
    pub(crate) aborted: AtomicU64,
    /// The client left while it waited; its row says what it would have been.
    pub(crate) abandoned: AtomicU64,
    /// Requests are refused now, and it was said: fail-closed ones, and all others.
    refusing: [AtomicBool; 2],
}

impl Answers {
    /// By the names that the file has them under.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("waiting", count(&self.waiting)),
            ("late", count(&self.late)),
            ("withheld", count(&self.withheld)),
            ("aborted", count(&self.aborted)),
            ("abandoned", count(&self.abandoned)),
        ]
    }
}

/// What became of a row within the time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Committed with fsync.
    Kept,
    /// Not yet.
    Late,
    /// It never will be.
    Lost,
}

/// All waits of one recorder. Dropped, it ends the thread.
#[derive(Debug)]
pub(super) struct Waits {
    limit: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<Open>,
    changed: Condvar,
    /// Rows past their limit that nobody has answered for.
    overdue: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    /// By the end of the wait.
    slots: BTreeMap<Key, Arc<Slot>>,
    next: u64,
    /// When the thread looks next; none while it sleeps until somebody wakes it.
    looks_at: Option<Instant>,
    closed: bool,
    relay: Relay,
}

/// The end of the wait, and a number to tell equal ones apart.
type Key = (Instant, u64);

#[derive(Debug, Default)]
struct Slot(Mutex<SlotState>);

#[derive(Debug, Default)]
struct SlotState {
    verdict: Option<Verdict>,
    /// There may be room for the row; not yet told.
    room: bool,
    waker: Option<Waker>,
    /// Of the thread that polled last, if tasks of it wake one another.
    home: Option<usize>,
    /// Was woken, and has to wake others.
    leads: Option<Lead>,
    /// Has the row, while it waits for room.
    parked: Weak<Watch>,
    /// The limit is reached.
    over: bool,
}

/// One row's wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Wait(Arc<Slot>);

/// What a wait hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The queue may have room for the row.
    Room,
    /// The last word.
    Verdict(Verdict),
}

/// The writer's side. Dropped without an answer it says that the row is lost.
struct Answer {
    key: Key,
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    given: bool,
}

impl Answers {
    pub(super) fn refusing(&self, guarantee: Guarantee) -> &AtomicBool {
        &self.refusing[usize::from(guarantee == Guarantee::FailClosed)]
    }
}

// === impl Waits ===

impl Waits {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            shared: Arc::default(),
        }
    }

    /// Starts the thread; without it no wait has a limit.
    pub(super) fn keep_time(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name("audithog-deadline".to_owned())
            .spawn(move || shared.keep_time())
            .map(drop)
    }

    /// A wait, and who is to be told of the row.
    pub(super) fn open(&self) -> (Wait, Waiter) {
        let wait = Wait::default();
        let waiter = self.limit(&wait);
        (wait, waiter)
    }

    /// Gives a wait its limit. The answer ends it.
    pub(super) fn limit(&self, wait: &Wait) -> Waiter {
        let slot = &wait.0;
        let until = Instant::now() + self.limit;
        let mut open = self.shared.lock();
        let key = (until, open.next);
        open.next += 1;
        open.slots.insert(key, Arc::clone(slot));
        let sleeps = open.looks_at.is_none_or(|at| until < at);
        drop(open);
        if sleeps {
            self.shared.changed.notify_one();
        }
        let answer = Answer {
            key,
            slot: Arc::clone(slot),
            shared: Arc::clone(&self.shared),
            given: false,
        };
        Box::new(move |kept| {
            answer.give(match kept {
                Ok(_seq) => Verdict::Kept,
                Err(_refusal) => Verdict::Lost,
            })
        })
    }

    /// A row is past its limit and nobody has answered for it: the disk hangs, or nearly does.
    pub(super) fn overdue(&self) -> bool {
        self.shared.overdue.load(Ordering::Acquire) > 0
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

// === impl Shared ===

impl Shared {
    fn keep_time(&self) {
        let _until_it_ends = Keeping(self);
        let mut open = self.lock();
        open.relay.turn_on();
        while !open.closed {
            let now = Instant::now();
            let due: Vec<Arc<Slot>> = open.take_due(now);
            if !due.is_empty() {
                let before = self.overdue.fetch_add(due.len(), Ordering::AcqRel);
                drop(open);
                if before == 0 {
                    tracing::error!(
                        "rows wait for the audit ledger longer than AUDITHOG_GUARANTEE_TIMEOUT_MS; \
                         responses go out late, or not at all where the guarantee is fail-closed"
                    );
                }
                for slot in due {
                    slot.late();
                }
                open = self.lock();
                continue;
            }
            let left = open.relay.left();
            if !left.is_empty() {
                drop(open);
                wake(left);
                open = self.lock();
                continue;
            }
            let limit = open.slots.keys().next().map(|(until, _)| *until);
            let tick = open.relay.next_look().map(|tick| now + tick);
            open.looks_at = [limit, tick].into_iter().flatten().min();
            open = match open.looks_at {
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(open, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(open)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread of time limits. It may end by a panic of whoever listens to its diagnostics.
struct Keeping<'a>(&'a Shared);

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        let left = self.0.lock().relay.turn_off();
        wake(left);
    }
}

impl Open {
    fn take_due(&mut self, now: Instant) -> Vec<Arc<Slot>> {
        let mut due = Vec::new();
        while let Some(first) = self.slots.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }
}

// === impl Slot ===

impl Slot {
    /// The limit is reached. A row that still waits for room does so no longer, whether or not anybody polls its
    /// response.
    fn late(&self) {
        let parked = {
            let mut state = self.lock();
            state.over = true;
            std::mem::take(&mut state.parked)
        };
        if let Some(watch) = parked.upgrade() {
            watch.give_up();
        }
        let (waker, _) = self.lock().end(Verdict::Late);
        wake(waker);
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    /// Whom to wake, and its home. Only the first verdict counts.
    fn end(&mut self, verdict: Verdict) -> (Option<Waker>, Option<usize>) {
        if self.verdict.is_some() {
            return (None, None);
        }
        self.verdict = Some(verdict);
        (self.waker.take(), self.home)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(lead) = state.leads.take() {
            lead.pass_on();
        }
    }
}

impl Wait {
    /// `watch` keeps the row until there is room, or the limit is reached. False if it is already.
    pub(super) fn parks(&self, watch: Weak<Watch>) -> bool {
        let mut state = self.0.lock();
        state.parked = watch;
        !state.over
    }

    /// What a `RoomCall` does: the row is worth another try.
    pub(super) fn room(&self) {
        let waker = {
            let mut state = self.0.lock();
            state.room = true;
            state.waker.take()
        };
        wake(waker);
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Signal> {
        let mut state = self.0.lock();
        if let Some(verdict) = state.verdict {
            let lead = state.leads.take();
            drop(state);
            if let Some(lead) = lead {
                lead.pass_on();
            }
            return Poll::Ready(Signal::Verdict(verdict));
        }
        if std::mem::take(&mut state.room) {
            return Poll::Ready(Signal::Room);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
        state.home = relay::home_alone();
        Poll::Pending
    }
}

// === impl Answer ===

impl Answer {
    fn give(mut self, verdict: Verdict) -> Option<Waker> {
        self.given = true;
        self.settle(verdict)
    }

    /// Whom to wake.
    fn settle(&self, verdict: Verdict) -> Option<Waker> {
        let (woken, home) = self.slot.lock().end(verdict);
        let mut open = self.shared.lock();
        let in_time = open.slots.remove(&self.key).is_some();
        let (woken, leads) = match (woken, home) {
            (Some(waker), Some(home)) => {
                let woken = open.relay.leads(home, waker);
                let leads = woken.is_some().then_some(home);
                (woken, leads)
            }
            (woken, _) => (woken, None),
        };
        let must_tick = open.relay.must_tick();
        drop(open);
        if let Some(home) = leads {
            // If it was polled just now the end of this answer passes it on.
            self.slot.lock().leads = Some(Lead::new(&self.shared, home));
        }
        if must_tick {
            self.shared.changed.notify_one();
        }
        if !in_time && self.shared.overdue.fetch_sub(1, Ordering::AcqRel) == 1 {
            tracing::info!("no row waits too long for the audit ledger any more");
        }
        woken
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            wake(self.settle(Verdict::Lost));
        }
    }
}

#[cfg(test)]
mod tests;
