//! The bounded hand-off between request tasks and the ledger's writer.
//!
//! One mutex guards the rows and the books, so that `accepted = stored + queued + lost` holds at
//! every moment it can be looked at. A push is a short critical section: no I/O, no allocation
//! beyond the buffer's own growth, and a wake-up only when the writer sleeps without a deadline,
//! which is once per burst, not once per row. Commands travel in a lane of their own, so that a
//! full queue cannot delay a flush. The last quarter of the queue is kept from a client that has more than half of
//! what is there (`clients.rs`).

mod clients;

use std::collections::BTreeMap;
use std::hint::cold_path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clients::{Place, Places, Shares};

use crate::books::{
    Episode, LossReason, Losses, Refusal, RoomCall, Unplaced, Waiter, tell, tell_all,
};
use crate::config::QueueSettings;
use crate::ledger::progress::Ticket;
use crate::ledger::{Settlement, SinkState, SinkTotals};
use crate::record::{Micros, Row};

/// How often a writer that somebody waits for lets others come in.
const GATHERINGS: usize = 3;

/// What delivery, flush and shutdown ask of the writer.
pub(crate) enum Command {
    /// Fsync what is committed.
    Sync,
    /// Commit with the next group.
    Settle(Settlement, Ticket),
    /// Note with the next commit, or by itself, what a sink is like.
    Report(SinkState),
    /// Take, renew or release the right to drive a sink, after what was handed over before it.
    Lease(LeaseRequest),
    /// Commit and fsync every row accepted before this, then answer with the head. The last flush
    /// of a run writes `audit_stopped` first, so that sinks get it too.
    Flush {
        last: bool,
        answer: Box<dyn FnOnce(i64) + Send>,
    },
    /// Commit everything, close the store, end the thread.
    /// Trying to write ends at the deadline. Answered with whether everything was kept and synced.
    Close {
        deadline: Instant,
        answer: Box<dyn FnOnce(bool) + Send>,
    },
}

impl Command {
    /// Whether somebody waits for it. The others go along with the next group: at full rate delivery sends several
    /// of them for each group, and a commit for each would cost more than the rows.
    fn is_pressing(&self) -> bool {
        !matches!(self, Self::Sync | Self::Settle(..) | Self::Report(_))
    }
}

/// A wish to drive a sink.
pub(crate) struct LeaseRequest {
    pub(crate) sink: &'static str,
    pub(crate) holder: String,
    pub(crate) until: Micros,
    /// Called with the sink's totals if it is the holder's. Dropped if the ledger could not say.
    pub(crate) answer: Box<dyn FnOnce(Option<SinkTotals>) + Send>,
}

/// What the writer takes in one go.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) rows: Vec<Row>,
    /// Index into `rows`, ascending.
    pub(crate) waiters: Vec<(usize, Waiter)>,
    pub(crate) commands: Vec<Command>,
    /// Losses not yet told of in the ledger, by reason.
    pub(crate) losses: Vec<Episode>,
}

/// The hand-off.
pub(crate) struct Queue {
    settings: QueueSettings,
    places: Places,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    rows: Vec<Row>,
    waiters: Vec<(usize, Waiter)>,
    bytes: usize,
    /// Bytes of the rows that the writer took last; they are in memory until it comes again.
    taken_bytes: usize,
    shares: Shares,
    commands: Vec<Command>,
    unreported: Vec<Episode>,
    counts: Counts,
    closed: bool,
    /// Who has a row and waits for room, in the order of the wishes.
    wishes: BTreeMap<u64, RoomCall>,
    next_wish: u64,
    /// The writer has ended: nobody takes anything any more.
    ended: bool,
    /// It ended before anybody closed the queue.
    failed: bool,
    /// The writer sleeps until somebody wakes it.
    idle: bool,
    /// The writer sleeps for a moment, for more rows. Only what is urgent wakes it.
    lingers: bool,
    /// No writer: rows stay until they are taken by hand (the recording logger).
    detached: bool,
}

/// The process's own books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) accepted_requests: u64,
    pub(crate) stored: u64,
    pub(crate) losses: Losses,
}

impl Counts {
    /// Rows in the queue or in the writer's hand. Asked for on request tasks, so it never panics:
    /// a mistake in the books shows in `Health::check` instead.
    pub(crate) fn queued(&self) -> u64 {
        self.accepted
            .saturating_sub(self.stored)
            .saturating_sub(self.losses.total())
    }
}

impl Queue {
    pub(crate) fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            places: Places::new(),
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// A queue that no writer empties.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn detached(settings: QueueSettings) -> Self {
        Self {
            settings,
            places: Places::new(),
            state: Mutex::new(State {
                detached: true,
                ..State::default()
            }),
            wake: Condvar::new(),
        }
    }

    /// Accepts a row or counts its loss. `now` is asked only when a loss has to be dated.
    pub(crate) fn push(&self, row: Row, waiter: Option<Waiter>, now: impl FnOnce() -> Micros) {
        // Without a wish for room nothing comes back.
        drop(self.offer(&mut Some(row), waiter, None, now));
    }

    /// The wish is void: nobody waits for room any more.
    pub(crate) fn forget(&self, wish: u64) {
        let room = self.lock().wishes.remove(&wish);
        // Not under the lock.
        drop(room);
    }

    /// Like [`push`](Self::push), but with `room` a row for which only room is missing comes back, and `room` is called
    /// once there may be some. The row is taken out of its place: it is large, and moved once.
    pub(crate) fn offer(
        &self,
        place: &mut Option<Row>,
        waiter: Option<Waiter>,
        room: Option<RoomCall>,
        now: impl FnOnce() -> Micros,
    ) -> Result<(), Box<Unplaced>> {
        let Some(row) = place else { return Ok(()) };
        row.measure();
        let (size, share) = (row.size(), self.places.of(row));
        let is_request = row.is_request();
        let mut state = self.lock();
        state.counts.accepted += 1;
        state.counts.accepted_requests += u64::from(is_request);
        if let Some(reason) = self.refuses(&state, size, share) {
            cold_path();
            return Self::turn_away(state, reason, place.take(), waiter, room, now);
        }
        let index = state.rows.len();
        state.rows.extend(place.take());
        state.bytes += size;
        state.shares.add(share, size);
        if state.detached {
            cold_path();
            drop(state);
            if let Some(waiter) = waiter {
                tell(waiter, Ok(i64::try_from(index + 1).unwrap_or(i64::MAX)));
            }
            return Ok(());
        }
        // Someone waits for the commit: the writer shall not linger for more rows.
        let wake = state.wakes(waiter.is_some());
        state.waiters.extend(waiter.map(|waiter| (index, waiter)));
        drop(state);
        if wake {
            cold_path();
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Gives the row back if only room is missing and somebody waits for that; otherwise it is lost.
    #[cold]
    fn turn_away(
        mut state: MutexGuard<'_, State>,
        reason: LossReason,
        row: Option<Row>,
        waiter: Option<Waiter>,
        room: Option<RoomCall>,
        now: impl FnOnce() -> Micros,
    ) -> Result<(), Box<Unplaced>> {
        let Some(row) = row else { return Ok(()) };
        if let Some(room) = room.filter(|_| reason == LossReason::QueueFull) {
            state.counts.accepted -= 1;
            state.counts.accepted_requests -= u64::from(row.is_request());
            let wish = state.wish(room);
            return Err(Box::new(Unplaced { row, waiter, wish }));
        }
        state.lose(reason, 1, now());
        if reason == LossReason::QueueFull {
            state.blame(reason, &row);
        }
        drop(state);
        if let Some(waiter) = waiter {
            tell(waiter, Err(Refusal(reason)));
        }
        Ok(())
    }

    fn refuses(&self, state: &State, size: usize, place: Option<Place>) -> Option<LossReason> {
        if state.failed {
            return Some(LossReason::LedgerFailed);
        }
        if state.closed {
            return Some(LossReason::AfterShutdown);
        }
        // What a writer in trouble has in its hand counts: the bound is of all that a crash can take.
        let waiting = usize::try_from(state.counts.queued()).unwrap_or(usize::MAX);
        // This row is accepted already, but in neither place.
        let bytes = state.bytes + state.taken_bytes + size;
        let full = waiting > self.settings.max_rows
            || bytes > self.settings.max_bytes
            || state
                .shares
                .are_too_large(place, waiting, bytes, self.settings);
        (full && !state.detached).then_some(LossReason::QueueFull)
    }

    /// A row that is pushed now would be refused, whatever its size.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        let waiting = usize::try_from(state.counts.queued()).unwrap_or(usize::MAX);
        let full = waiting >= self.settings.max_rows
            || state.bytes + state.taken_bytes >= self.settings.max_bytes;
        full && !state.detached
    }

    /// No row is accepted any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Counts a request that is not handled, as a row that is accepted and lost.
    pub(crate) fn refuse(&self, now: Micros) {
        let mut state = self.lock();
        state.counts.accepted += 1;
        state.counts.accepted_requests += 1;
        state.lose(LossReason::Refused, 1, now);
        let wake = std::mem::take(&mut state.idle);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Hands a command to the writer. Only the crate's own threads and callers of flush and shutdown
    /// send them. Dropped unanswered once the writer has ended.
    pub(crate) fn command(&self, command: Command) {
        let mut state = self.lock();
        if state.ended {
            // Whoever waits for the answer hears of it at once; not under the lock.
            drop(state);
            drop(command);
            return;
        }
        let wake = state.wakes(command.is_pressing());
        state.commands.push(command);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Refuses rows from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// The writer ends: rows that are still here, or in its hand, are lost, and whoever waits for
    /// an answer is told. Nothing is left after the end in good order; a panic leaves something.
    pub(crate) fn end(&self, now: Micros) {
        let mut state = self.lock();
        state.failed = !state.closed;
        state.closed = true;
        state.ended = true;
        let left = state.counts.queued();
        state.lose(LossReason::LedgerFailed, left, now);
        let mut rest = Work::default();
        state.hand_over(&mut rest);
        state.taken_bytes = 0;
        Self::grant(state);
        tell_all(rest.waiters, |_| Err(Refusal(LossReason::LedgerFailed)));
    }

    /// Waits until there is something to do or `deadline` has passed, then takes it all. When a
    /// row arrives the writer lingers for `linger`, so that a group gathers, unless a command or a
    /// waiter is there.
    pub(crate) fn take(&self, work: &mut Work, deadline: Option<Instant>, linger: Duration) {
        let mut state = self.lock();
        state.taken_bytes = 0;
        if !state.wishes.is_empty() {
            Self::grant(state);
            state = self.lock();
        }
        while state.is_empty() {
            state.idle = true;
            state = match self.wait(state, deadline) {
                Ok(state) => state,
                Err(mut state) => return state.hand_over(work),
            };
        }
        let until = Instant::now() + linger;
        while !state.is_urgent(self.settings) {
            // Not idle: a push does not wake a writer that wakes by itself in a moment.
            state.idle = false;
            state.lingers = true;
            state = match self.wait(state, Some(until)) {
                Ok(state) => state,
                Err(mut state) => return state.hand_over(work),
            };
        }
        self.gather(state).hand_over(work);
    }

    /// Lets others who are about to wait come in, so that they share the fsync. Where requests run on the writer's own
    /// core, they get it for that; on another core this is over at once.
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        // Nobody needs to wake the writer now.
        state.lingers = false;
        for _ in 0..GATHERINGS {
            let waiting = state.waiters.len();
            if waiting == 0 || state.is_pressed() {
                break;
            }
            drop(state);
            std::thread::yield_now();
            state = self.lock();
            if state.waiters.len() == waiting {
                break;
            }
        }
        state
    }

    /// `Err` once the deadline has passed.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> Result<MutexGuard<'a, State>, MutexGuard<'a, State>> {
        let Some(deadline) = deadline else {
            return Ok(self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(state);
        }
        Ok(self
            .wake
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0)
    }

    /// Books what became of rows that the writer took: one critical section, so that no snapshot
    /// sees a row twice or not at all.
    pub(crate) fn settle(
        &self,
        stored: u64,
        lost: impl IntoIterator<Item = (LossReason, u64)>,
        now: Micros,
    ) {
        let mut state = self.lock();
        state.counts.stored += stored;
        for (reason, n) in lost {
            state.lose(reason, n, now);
        }
        Self::grant(state);
    }

    /// Tells everyone who waits for room to try again.
    fn grant(mut state: MutexGuard<'_, State>) {
        let wishes = std::mem::take(&mut state.wishes);
        drop(state);
        for room in wishes.into_values() {
            room();
        }
    }

    /// Accepts rows that the writer itself makes; they are in its hand already.
    pub(crate) fn accept_own(&self, n: u64) {
        self.lock().counts.accepted += n;
    }

    /// Takes the commands once somebody waits for one of them, or at the deadline; for a writer that cannot write.
    pub(crate) fn take_commands(&self, commands: &mut Vec<Command>, deadline: Instant) {
        let mut state = self.lock();
        while !state.is_pressed() {
            state.idle = false;
            state.lingers = true;
            state = match self.wait(state, Some(deadline)) {
                Ok(state) => state,
                Err(mut state) => {
                    state.lingers = false;
                    commands.append(&mut state.commands);
                    return;
                }
            };
        }
        state.lingers = false;
        commands.append(&mut state.commands);
    }

    /// Takes what losses are not told of yet, and nothing else.
    pub(crate) fn take_losses(&self) -> Vec<Episode> {
        std::mem::take(&mut self.lock().unreported)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Takes the rows of a detached queue.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.lock().rows.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave half a change behind: every change is a
        // counter or a push.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wish(&mut self, room: RoomCall) -> u64 {
        let wish = self.next_wish;
        self.next_wish += 1;
        self.wishes.insert(wish, room);
        wish
    }

    fn is_empty(&self) -> bool {
        // A loss is something to tell of as soon as it can be.
        self.rows.is_empty() && self.commands.is_empty() && self.unreported.is_empty()
    }

    fn is_urgent(&self, settings: QueueSettings) -> bool {
        let half_full =
            self.rows.len() >= settings.max_rows / 2 || self.bytes >= settings.max_bytes / 2;
        self.is_pressed() || !self.waiters.is_empty() || half_full
    }

    fn is_pressed(&self) -> bool {
        self.commands.iter().any(Command::is_pressing)
    }

    /// Whether the writer has to be woken now that something comes in.
    fn wakes(&mut self, urgent: bool) -> bool {
        std::mem::take(&mut self.idle) || (urgent && std::mem::take(&mut self.lingers))
    }

    /// Swaps buffers, so that the lock is held for a moment whatever the number of rows.
    fn hand_over(&mut self, work: &mut Work) {
        self.idle = false;
        self.lingers = false;
        self.taken_bytes = std::mem::take(&mut self.bytes);
        self.shares.hand_over();
        std::mem::swap(&mut self.rows, &mut work.rows);
        std::mem::swap(&mut self.waiters, &mut work.waiters);
        std::mem::swap(&mut self.commands, &mut work.commands);
        work.losses.append(&mut self.unreported);
    }

    /// Whose row the last loss of this reason was.
    fn blame(&mut self, reason: LossReason, row: &Row) {
        let mut episodes = self.unreported.iter_mut();
        if let Some(episode) = episodes.find(|episode| episode.reason == reason) {
            episode.blame(row.client_ip());
        }
    }

    fn lose(&mut self, reason: LossReason, n: u64, now: Micros) {
        if n == 0 {
            return;
        }
        self.counts.losses.add(reason, n);
        match self
            .unreported
            .iter_mut()
            .find(|episode| episode.reason == reason)
        {
            Some(episode) => episode.extend(n, now),
            None => self.unreported.push(Episode::new(reason, n, now)),
        }
    }
}

#[cfg(test)]
mod tests;
