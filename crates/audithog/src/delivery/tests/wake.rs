//! When the loop is woken: as soon as something may go, and not before.

use std::sync::Arc;
use std::time::Duration;

use super::stragglers::straggler;
use super::{START, eager, row};
use crate::delivery::Progress;
use crate::delivery::backoff::Jitter;
use crate::delivery::course::{Course, Now, Step};
use crate::ledger::SinkTotals;
use crate::record::{Micros, StoredRow};
use crate::sink::{Admission, Attempt, BoxFuture, Reply, RequestLimits, Sink};

struct Plain;

impl Sink for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn admit(&self, _: &StoredRow) -> Admission {
        Admission::Send
    }

    fn weight(&self, _: &StoredRow) -> usize {
        1
    }

    fn limits(&self) -> RequestLimits {
        RequestLimits {
            rows: 100,
            bytes: 1_000,
        }
    }

    fn send<'a>(&'a self, _: &'a [StoredRow], _: Attempt) -> BoxFuture<'a, Reply> {
        unreachable!("the test answers itself")
    }
}

fn at(since: Duration) -> Now {
    Now {
        monotonic: since,
        wall: START.saturating_add(since),
    }
}

/// One straggler, and nothing else.
fn course(next: Micros, now: Now) -> Course {
    let totals = SinkTotals {
        cursor: 1,
        stragglers: 1,
        ..SinkTotals::default()
    };
    let mut course = Course::new(Arc::new(Plain), eager(), &totals, Jitter::new(7));
    course.refill_stragglers(1, vec![straggler(1, next)], now);
    course
}

#[test]
fn a_straggler_does_not_wait_for_a_clock_that_was_set_back() {
    let now = at(Duration::from_secs(100));
    let due = now.wall.saturating_add(Duration::from_secs(30));
    let mut course = course(due, now);
    let ledger = Progress {
        head: 1,
        synced: 1,
        ..Progress::default()
    };
    let wait = |step| match step {
        Step::Wait(Some(until)) => until,
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(course.next(&ledger, now)), Duration::from_secs(130));
    let day = Duration::from_secs(24 * 3600);
    let yesterday = Now {
        wall: Micros(START.0 - 24 * 3600 * 1_000_000),
        ..at(Duration::from_secs(101))
    };
    assert!(wait(course.next(&ledger, yesterday)) < day);
}

#[test]
fn the_line_does_not_wait_for_a_straggler_that_failed() {
    let begin = at(Duration::from_secs(100));
    let mut course = course(START, begin);
    // Rows come while the straggler's request is due, which goes first and gets no answer.
    let ledger = Progress {
        head: 4,
        synced: 4,
        ..Progress::default()
    };
    course.triggers.observe(4, begin.monotonic);
    let Step::ReadStragglers(seqs) = course.next(&ledger, begin) else {
        panic!("the straggler is due");
    };
    course.feed_stragglers(&seqs, vec![row(1)], begin);
    let Step::Send(request) = course.next(&ledger, begin) else {
        panic!("its request goes");
    };
    let silence = Reply::Retry {
        reason: "no answer".to_owned(),
        retry_after: None,
        suspect_rows: false,
    };
    course.reply(request, silence, begin);
    let Step::Wait(Some(until)) = course.next(&ledger, begin) else {
        panic!("a quick retry waits for a moment");
    };
    // Much earlier than the straggler is due again.
    assert_eq!(until, course.breaker.next());
    let then = at(until);
    assert!(matches!(course.next(&ledger, then), Step::Read { .. }));
}
