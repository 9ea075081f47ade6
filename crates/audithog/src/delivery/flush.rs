//! Flushing: everything up to a row is settled, or the reason why not.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::breaker::State;
use super::course::{Course, Now};
use super::status::LeaseState;
use super::{Progress, Ticket};
use crate::sink::HoldReason;

/// Why a flush returned before everything was settled. The rows wait in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FlushBlock {
    /// Retrying cannot help until somebody acts.
    Hold(HoldReason),
    /// The destination is down and a slow probe goes on, or it wants no request before the deadline.
    BreakerOpen,
    /// Another process drives the destination with this ledger.
    LeaseElsewhere,
    /// The ledger cannot be written or read.
    LedgerNotWriting,
    /// All that is left are rows that were tried on their own and wait for another try.
    Stragglers,
    /// The deadline passed.
    Deadline,
    /// Delivery has ended.
    Stopped,
}

/// What a flush came to, for one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkFlush {
    pub(crate) sink: &'static str,
    /// None: everything up to the asked row is settled, and committed as such.
    pub(crate) block: Option<FlushBlock>,
    /// Rows that are not settled, younger ones included.
    pub(crate) pending: u64,
    /// Of them, stragglers.
    pub(crate) stragglers: u64,
    /// Requests under way whose outcome is not known.
    pub(crate) in_flight: usize,
}

/// Somebody waits until everything up to `upto` is settled.
pub(super) struct Flush {
    pub(super) upto: i64,
    /// Monotonic.
    pub(super) deadline: Duration,
    /// Delivery ends with this one.
    pub(super) last: bool,
    pub(super) answer: Answer,
}

/// What a flush is judged by.
pub(super) struct Situation<'a> {
    pub(super) course: Option<&'a Course>,
    pub(super) lease: LeaseState,
    pub(super) progress: Progress,
    /// The last settlement handed over.
    pub(super) ticket: Ticket,
    /// Reads of the ledger fail.
    pub(super) unreadable: bool,
    pub(super) now: Now,
}

impl Flush {
    /// Whether the flush has come to an end, and how.
    pub(super) fn verdict(&self, at: &Situation<'_>) -> Option<Option<FlushBlock>> {
        let late = at.now.monotonic >= self.deadline;
        let blocked = |block| Some(Some(block));
        let Some(course) = at.course else {
            return match at.lease {
                LeaseState::Elsewhere => blocked(FlushBlock::LeaseElsewhere),
                _ if late => blocked(FlushBlock::Deadline),
                _ if at.unreadable || at.progress.failing => blocked(FlushBlock::LedgerNotWriting),
                _ => None,
            };
        };
        let passed = course.line.cursor() >= self.upto;
        let settled = passed && course.stragglers.is_clear(self.upto);
        if settled && at.progress.settled >= at.ticket {
            return Some(None);
        }
        if late {
            return blocked(FlushBlock::Deadline);
        }
        // What is under way may still change everything.
        if course.in_flight() > 0 {
            return None;
        }
        match course.breaker.state() {
            State::Held { hold, .. } => return blocked(FlushBlock::Hold(hold.reason)),
            State::Open { .. } => return blocked(FlushBlock::BreakerOpen),
            State::Flowing | State::Failing { .. } => {}
        }
        if at.progress.failing || at.unreadable {
            return blocked(FlushBlock::LedgerNotWriting);
        }
        let idle = !course.stragglers.is_clear(self.upto)
            && !course.stragglers.wants_refill(at.now.wall)
            && !course.stragglers.is_busy(self.upto, at.now.wall);
        if passed && idle {
            return blocked(FlushBlock::Stragglers);
        }
        // Waiting would be in vain: a `Retry-After`, or a delay after failures, outlasts the flush.
        let in_vain = !settled && course.next_try(self.upto, at.now) >= self.deadline;
        match passed {
            _ if !in_vain => None,
            true => blocked(FlushBlock::Stragglers),
            false => blocked(FlushBlock::BreakerOpen),
        }
    }

    pub(super) fn answer(self, block: Option<FlushBlock>, course: Option<&Course>, pending: u64) {
        let sink = self.answer.sink;
        self.answer.send(SinkFlush {
            sink,
            block,
            pending: course.map_or(pending, Course::pending),
            stragglers: course.map_or(0, |course| course.stragglers.total()),
            in_flight: course.map_or(0, Course::in_flight),
        });
    }
}

type Callback = Box<dyn FnOnce(Vec<SinkFlush>) + Send>;

/// Gathers the answers of all sinks and calls back once, with the last of them.
struct Gathering {
    left: usize,
    answers: Vec<SinkFlush>,
    callback: Option<Callback>,
}

/// One sink's part of the answer. Dropped unanswered it says [`FlushBlock::Stopped`].
pub(super) struct Answer {
    sink: &'static str,
    gathering: Option<Arc<Mutex<Gathering>>>,
}

impl Answer {
    /// One for each of `sinks`. Without sinks there is nothing to wait for.
    pub(super) fn for_each(sinks: &[&'static str], callback: Callback) -> Vec<Self> {
        if sinks.is_empty() {
            callback(Vec::new());
            return Vec::new();
        }
        let gathering = Arc::new(Mutex::new(Gathering {
            left: sinks.len(),
            answers: Vec::with_capacity(sinks.len()),
            callback: Some(callback),
        }));
        let answer = |&sink| Self {
            sink,
            gathering: Some(gathering.clone()),
        };
        sinks.iter().map(answer).collect()
    }

    fn send(mut self, flush: SinkFlush) {
        if let Some(gathering) = self.gathering.take() {
            gather(&gathering, flush);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(gathering) = self.gathering.take() {
            let stopped = SinkFlush {
                sink: self.sink,
                block: Some(FlushBlock::Stopped),
                pending: 0,
                stragglers: 0,
                in_flight: 0,
            };
            gather(&gathering, stopped);
        }
    }
}

fn gather(gathering: &Mutex<Gathering>, flush: SinkFlush) {
    let mut guard = gathering.lock().unwrap_or_else(PoisonError::into_inner);
    guard.answers.push(flush);
    guard.left = guard.left.saturating_sub(1);
    if guard.left > 0 {
        return;
    }
    let answers = std::mem::take(&mut guard.answers);
    let callback = guard.callback.take();
    // The callback is somebody else's code: not under the lock.
    drop(guard);
    if let Some(callback) = callback {
        callback(answers);
    }
}

impl fmt::Display for FlushBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(reason) => write!(f, "held ({}): {}", reason.as_str(), reason.remedy()),
            Self::BreakerOpen => f.write_str("the destination does not answer"),
            Self::LeaseElsewhere => f.write_str("another process delivers from this ledger"),
            Self::LedgerNotWriting => f.write_str("the ledger cannot be written or read"),
            Self::Stragglers => f.write_str("some rows wait for another try"),
            Self::Deadline => f.write_str("the deadline passed"),
            Self::Stopped => f.write_str("delivery has ended"),
        }
    }
}
