//! Rows that the destination wants once more, in replies that are in order.

use std::time::Duration;

use super::desk::{Line, Scene, answer, block, once_more, status, unavailable, until};
use super::eager;
use crate::config::RetrySettings;
use crate::delivery::FlushBlock;
use crate::delivery::Tuning;
use crate::delivery::status::BreakerState;
use crate::record::StoredRow;
use crate::sink::{Hold, HoldReason, Reply, Verdict};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_row_that_is_wanted_once_more_every_time_is_no_outage() {
    let scene = Scene::new(eager());
    scene.author(|rows, _| once_more(rows, None));
    scene.desk.append(1);
    let delivery = scene.start();
    until("it was tried often", || {
        scene.clock.advance(secs(1));
        assert_eq!(status(&delivery).breaker, BreakerState::Closed);
        let paper = scene.desk.paper();
        paper.stragglers.get(&1).is_some_and(|row| row.attempts > 8)
    });
    scene.desk.append(100);
    let (callback, answered) = answer();
    delivery.shutdown(101, scene.clock.monotonic() + secs(20), callback);
    assert_eq!(block(&answered), Some(FlushBlock::Stragglers));
    assert_eq!(scene.desk.totals().delivered, 100);
}

#[test]
fn the_time_that_a_row_is_wanted_after_is_for_that_row_alone() {
    let scene = Scene::new(eager());
    scene.author(|rows, attempt| once_more(rows, (attempt.number == 1).then_some(secs(20))));
    scene.desk.append(1);
    let delivery = scene.start();
    until("it is a straggler", || scene.desk.totals().stragglers == 1);
    scene.desk.append(1);
    scene.wait_for_delivered(1);
    let (callback, answered) = answer();
    delivery.flush(2, secs(30), callback);
    assert_eq!(block(&answered), Some(FlushBlock::Stragglers));
    scene.desk.append(1);
    scene.wait_for_delivered(2);
    let tries = || scene.sent().iter().filter(|sent| sent.seqs == [1]).count();
    assert_eq!(tries(), 1);
    scene.clock.advance(secs(20));
    until("it is tried again", || tries() == 2);
}

#[test]
fn a_verdict_for_the_probe_ends_an_outage() {
    let scene = Scene::new(eager());
    scene.author(|rows, _| once_more(rows, None));
    scene.desk.append(1);
    let delivery = scene.start();
    until("it is a straggler", || scene.desk.totals().stragglers == 1);
    scene.author(|_, _| unavailable(None));
    until("the outage", || {
        scene.clock.advance(Duration::from_millis(100));
        status(&delivery).breaker == BreakerState::Open
    });
    scene.author(|rows, _| once_more(rows, None));
    until("its end", || {
        scene.clock.advance(secs(1));
        status(&delivery).breaker == BreakerState::Closed
    });
    assert_eq!(scene.desk.totals().stragglers, 1);
}

#[test]
fn a_verdict_for_the_probe_of_a_hold_asks_for_no_other_at_once() {
    let scene = Scene::new(eager());
    scene.author(|rows, _| once_more(rows, None));
    scene.desk.append(1);
    let delivery = scene.start();
    until("it is a straggler", || scene.desk.totals().stragglers == 1);
    scene.author(|_, _| {
        Line::Say(Reply::Hold {
            hold: Hold {
                reason: HoldReason::BadKey,
                detail: "API key invalid".to_owned(),
            },
            retry_after: None,
        })
    });
    until("the hold", || {
        scene.clock.advance(Duration::from_millis(100));
        status(&delivery).hold.is_some()
    });
    scene.author(|rows, _| once_more(rows, None));
    let before = scene.sent().len();
    scene.clock.advance(secs(30));
    scene.wait_for_requests(before + 1);
    until("its reply", || status(&delivery).in_flight == 0);
    let tries = scene.desk.paper().stragglers[&1].attempts;
    scene.clock.advance(secs(29));
    scene.let_it_look(&delivery);
    assert_eq!(scene.sent().len(), before + 1);
    assert_eq!(scene.desk.paper().stragglers[&1].attempts, tries);
}

/// More of them than tell an outage, but others are taken meanwhile.
#[test]
fn rows_that_are_wanted_once_more_beside_others_are_given_up() {
    let retry = RetrySettings {
        straggler_attempts: 6,
        ..RetrySettings::default()
    };
    let scene = Scene::new(Tuning { retry, ..eager() });
    scene.author(|rows, _| {
        let verdict = |row: &StoredRow| match row.seq {
            ..=6 => Verdict::Retry("not_persisted".to_owned()),
            _ => Verdict::Delivered,
        };
        Line::Say(Reply::Rows {
            verdicts: rows.iter().map(verdict).collect(),
            retry_after: None,
        })
    });
    scene.desk.append(7);
    let _delivery = scene.start();
    let mut rows = 7;
    until("they are given up", || {
        scene.clock.advance(secs(1));
        let totals = scene.desk.totals();
        if totals.delivered + 6 == rows {
            scene.desk.append(1);
            rows += 1;
        }
        totals.dead == 6
    });
}
