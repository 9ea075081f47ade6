//! What one sink's delivery does next: decisions only, no I/O, no clock of its own.
//!
//! The loop asks [`Course::next`] for work, does it, and reports back with [`Course::feed`] and
//! [`Course::reply`]. What is settled leaves through [`Course::take_settlement`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::backoff::{self, Jitter};
use super::breaker::{Breaker, State};
use super::line::Line;
use super::request::{Origin, Request};
use super::status::{BreakerState, HoldStatus, SinkStatus};
use super::stragglers::Stragglers;
use super::triggers::Triggers;
use super::{Progress, Tuning};
use crate::ledger::{Settlement, SinkTotals, Straggler};
use crate::record::{Micros, StoredRow};
use crate::sink::Sink;

mod reply;

/// Rows read at a time: about as long as an audit thread may hold a core.
const READ_ROWS: usize = 200;
/// Slots in the line's window, per request in flight.
const SLOTS_PER_REQUEST: usize = 4;

pub(super) struct Course {
    sink: Arc<dyn Sink>,
    tuning: Tuning,
    pub(super) line: Line,
    pub(super) stragglers: Stragglers,
    pub(super) breaker: Breaker,
    pub(super) triggers: Triggers,
    /// Requests that are not under way.
    waiting: VecDeque<Request>,
    in_flight: usize,
    /// Of them, and of those waiting, requests made of stragglers.
    straggler_requests: usize,
    /// Requests of which some row was taken.
    successes: u64,
    /// Requests that failed as a whole.
    failed: u64,
    last_success: Option<Micros>,
    /// Requests that succeeded since one failed that was not a straggler's own.
    in_a_row: u32,
    /// Rows that were wanted once more since a request succeeded, as many as tell an outage.
    refused: BTreeSet<i64>,
    /// When a request last succeeded or was tried in another way, or the outage began.
    doubted: Duration,
    requests: u64,
    retries: u64,
    jitter: Jitter,
    /// The wall clock, when it was last looked at.
    wall: Micros,
    /// What became of stragglers since the last settlement.
    sum: Settlement,
    verified: bool,
}

/// The same moment on both scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Duration,
    pub(super) wall: Micros,
}

/// What the loop should do.
#[derive(Debug)]
pub(super) enum Step {
    Send(Request),
    /// Read these rows of the ledger and [`Course::feed`] them.
    Read {
        after: i64,
        upto: i64,
        limit: usize,
    },
    /// Read these rows and hand them to [`Course::feed_stragglers`].
    ReadStragglers(Vec<i64>),
    /// Wait until something happens, or until then.
    Wait(Option<Duration>),
}

impl Course {
    pub(super) fn new(
        sink: Arc<dyn Sink>,
        tuning: Tuning,
        totals: &SinkTotals,
        jitter: Jitter,
    ) -> Self {
        let slots = tuning.retry.in_flight.max(1) * SLOTS_PER_REQUEST;
        Self {
            line: Line::new(totals.cursor, slots),
            stragglers: Stragglers::new(totals.stragglers),
            breaker: Breaker::new(tuning.retry),
            triggers: Triggers::new(
                tuning.batch_size,
                sink.limits().rows,
                tuning.batch_interval,
                totals.cursor,
            ),
            sum: Settlement {
                sink: sink.name(),
                cursor: totals.cursor,
                ..Settlement::default()
            },
            verified: totals.verified,
            sink,
            tuning,
            waiting: VecDeque::new(),
            in_flight: 0,
            straggler_requests: 0,
            successes: 0,
            failed: 0,
            last_success: None,
            in_a_row: 0,
            refused: BTreeSet::new(),
            doubted: Duration::ZERO,
            requests: 0,
            retries: 0,
            jitter,
            wall: Micros(i64::MIN),
        }
    }

    /// What to do next. Rows are read as far as the ledger is synced.
    pub(super) fn next(&mut self, ledger: &Progress, now: Now) -> Step {
        if now.wall < self.wall {
            // The clock was set back: what is dated by it would wait for as long.
            self.stragglers.bring_forward(self.latest_straggler(now));
        }
        self.wall = now.wall;
        if !self.breaker.is_probing() {
            self.triggers.check(now.monotonic);
        }
        if !self.breaker.allows(now.monotonic, self.in_flight) {
            return Step::Wait(self.wake(now));
        }
        // A probe goes with what there is, due or not.
        let probing = self.breaker.is_probing();
        if self.straggler_requests == 0 && !probing {
            let seqs = self.due_stragglers(now.wall, false);
            if !seqs.is_empty() {
                return Step::ReadStragglers(seqs);
            }
        }
        if let Some(request) = self.take_waiting(now.monotonic) {
            return Step::Send(self.launch(request));
        }
        if probing && self.triggers.fired() == self.line.read() {
            self.triggers.fire();
        }
        let upto = self.triggers.fired().min(ledger.synced);
        if self.line.read() < upto && self.line.has_room() {
            return Step::Read {
                after: self.line.read(),
                upto,
                limit: self.read_limit(),
            };
        }
        // With a sync under way the request waits for the rows it brings.
        let complete = self.line.read() >= self.triggers.fired() || ledger.failing;
        if (complete || !self.line.has_room())
            && let Some(request) = self.line.cut(now.wall)
        {
            return Step::Send(self.launch(request));
        }
        if probing && self.straggler_requests == 0 {
            let seqs = self.due_stragglers(now.wall, true);
            if !seqs.is_empty() {
                return Step::ReadStragglers(seqs);
            }
        }
        Step::Wait(self.wake(now))
    }

    /// Rows of the line, all there are up to `upto`.
    pub(super) fn feed(&mut self, rows: Vec<StoredRow>, upto: i64, now: Now) {
        let full = self.line.feed(rows, upto, &*self.sink, now.wall);
        self.waiting.extend(full);
    }

    /// The rows of the stragglers that [`Step::ReadStragglers`] named.
    pub(super) fn feed_stragglers(&mut self, seqs: &[i64], rows: Vec<StoredRow>, now: Now) {
        for &seq in seqs {
            if !rows.iter().any(|row| row.seq == seq) {
                self.bury_missing(seq);
            }
        }
        let limits = self.sink.limits();
        let mut together: Vec<StoredRow> = Vec::new();
        let mut bytes = 0_usize;
        for row in rows {
            let weight = self.sink.weight(&row);
            let fits = together.is_empty()
                || (bytes.saturating_add(weight) <= limits.bytes
                    && together.iter().all(|other| other.row.id != row.row.id));
            if fits {
                bytes = bytes.saturating_add(weight);
                together.push(row);
            } else {
                self.stragglers.release(row.seq);
            }
        }
        if !together.is_empty() {
            self.straggler_requests += 1;
            let mut request = Request::new(Origin::Stragglers, together, now.wall);
            request.attempt.number = self.tried(&request.rows);
            self.waiting.push_back(request);
        }
    }

    /// What the ledger has of stragglers, `total` in all: see [`Stragglers::refill`].
    pub(super) fn refill_stragglers(&mut self, total: u64, found: Vec<Straggler>, now: Now) {
        let latest = self.latest_straggler(now);
        self.stragglers.refill(total, found, latest);
    }

    /// No straggler is due after this, unless a clock was ahead.
    fn latest_straggler(&self, now: Now) -> Micros {
        let latest = backoff::straggler_ceiling(&self.tuning.retry);
        now.wall.saturating_add(latest)
    }

    /// The stragglers that [`Step::ReadStragglers`] named could not be read: they wait, and each is read alone then.
    pub(super) fn postpone_stragglers(&mut self, seqs: &[i64], until: Micros) {
        for &seq in seqs {
            if let Some(mut known) = self.stragglers.get(seq).cloned() {
                known.next = until;
                self.stragglers.put_back(known, true, until);
            }
        }
    }

    /// Sends what is pending up to the ledger's head now: once at least, without waiting for a quick
    /// retry's delay.
    pub(super) fn hasten(&mut self, upto: i64, now: Now) {
        self.triggers.observe(upto, now.monotonic);
        self.triggers.fire();
        self.breaker.hasten();
        for request in &mut self.waiting {
            request.due = request.floor;
        }
        self.stragglers.hasten(upto, now.wall);
    }

    /// What was settled since the last call.
    pub(super) fn take_settlement(&mut self) -> Option<Settlement> {
        let before = self.sum.cursor;
        self.line.settle(&mut self.sum);
        for straggler in &self.sum.stragglers {
            // Updates of known stragglers are in the sum too.
            if straggler.seq > before {
                self.stragglers.add(straggler.clone());
            }
        }
        self.stragglers.make_room();
        let sum = &self.sum;
        if sum.cursor == before && sum.resolved.is_empty() && sum.stragglers.is_empty() {
            return None;
        }
        let empty = Settlement {
            sink: sum.sink,
            cursor: sum.cursor,
            ..Settlement::default()
        };
        Some(std::mem::replace(&mut self.sum, empty))
    }

    /// Rows that are not settled, as handed over.
    pub(super) fn pending(&self) -> u64 {
        let line = self.triggers.head() - self.line.cursor();
        line.max(0).unsigned_abs() + self.stragglers.total()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Fills in what the course knows.
    pub(super) fn describe(&self, status: &mut SinkStatus, now: Now) {
        status.pending = self.pending();
        status.stragglers = self.stragglers.total();
        status.in_flight = self.in_flight;
        status.last_success = self.last_success.or(status.last_success);
        status.requests = self.requests;
        status.retries = self.retries;
        status.verified = self.verified;
        status.breaker = match self.breaker.state() {
            State::Flowing | State::Held { .. } => BreakerState::Closed,
            State::Failing { .. } => BreakerState::Failing,
            State::Open { .. } => BreakerState::Open,
        };
        status.hold = match self.breaker.state() {
            State::Held { hold, since, .. } => Some(HoldStatus {
                reason: hold.reason,
                detail: hold.detail.clone(),
                lasted: now.monotonic.saturating_sub(*since),
            }),
            _ => None,
        };
    }

    fn launch(&mut self, mut request: Request) -> Request {
        request.attempt.number += 1;
        request.launch = self.breaker.launch();
        self.in_flight += 1;
        self.requests += 1;
        if request.attempt.number > 1 {
            self.retries += 1;
        }
        request
    }

    /// The next request that may go. While things fail, the one that was not tried for longest: one bad request
    /// does not make every probe.
    fn take_waiting(&mut self, now: Duration) -> Option<Request> {
        let probing = self.breaker.is_probing();
        let ready = self.waiting.iter().enumerate().filter(|(_, request)| {
            let due = if probing { request.floor } else { request.due };
            due <= now
        });
        let index = if self.breaker.is_flowing() {
            ready.map(|(index, _)| index).next()
        } else {
            ready
                .min_by_key(|(index, request)| (request.launch, *index))
                .map(|(index, _)| index)
        };
        self.waiting.remove(index?)
    }

    /// The most often that one of these stragglers was tried: their next request is a further try,
    /// under an id of its own because its rows are others.
    fn tried(&self, rows: &[StoredRow]) -> u32 {
        let known = rows.iter().filter_map(|row| self.stragglers.get(row.seq));
        known.map(|known| known.attempts).max().unwrap_or_default()
    }

    fn due_stragglers(&mut self, now: Micros, any: bool) -> Vec<i64> {
        self.stragglers.take_due(now, any, self.sink.limits().rows)
    }

    fn read_limit(&self) -> usize {
        let rows = self.sink.limits().rows.max(1);
        READ_ROWS.min(rows.saturating_mul(self.tuning.retry.in_flight.max(1)))
    }

    /// With nothing in flight: when something up to `upto` may be tried, at the earliest.
    pub(super) fn next_try(&self, upto: i64, now: Now) -> Duration {
        let at_once = self.line.is_loading(upto)
            || self.stragglers.wants_refill(now.wall)
            || self.stragglers.is_busy(upto, now.wall);
        let first = if at_once {
            None
        } else {
            let waiting = self.waiting.iter().map(|request| request.due).min();
            let stragglers = self.stragglers.next();
            let stragglers =
                stragglers.map(|next| now.monotonic.saturating_add(next.since(now.wall)));
            waiting.into_iter().chain(stragglers).min()
        };
        first.unwrap_or(now.monotonic).max(self.breaker.next())
    }

    /// When [`Course::next`] may have something else to say, if nothing happens before.
    fn wake(&self, now: Now) -> Option<Duration> {
        let first = if !self.breaker.has_room(self.in_flight) {
            None
        } else if self.breaker.is_probing() {
            Some(self.breaker.next())
        } else {
            let idle = self.straggler_requests == 0;
            let stragglers = self.stragglers.next().filter(|_| idle);
            // Rows of the line that are due wait for the way alone.
            let line = self.line.is_loading(self.triggers.fired());
            let work = [
                self.waiting.iter().map(|request| request.due).min(),
                line.then(|| self.breaker.next()),
                self.triggers.due(),
                stragglers.map(|next| now.monotonic.saturating_add(next.since(now.wall))),
            ];
            // One of them that waits for an event does not keep the others waiting.
            let work = work.into_iter().flatten();
            let work = work.map(|at| at.max(self.breaker.next()));
            work.filter(|at| *at > now.monotonic).min()
        };
        // What is due already waits for an event, not for time.
        first.filter(|first| *first > now.monotonic)
    }
}
