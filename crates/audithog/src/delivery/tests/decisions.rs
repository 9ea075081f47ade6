use std::sync::Arc;
use std::time::Duration;

use super::desk::Scene;
use super::{START, row, tuning};
use crate::config::RetrySettings;
use crate::delivery::backoff::{self, Jitter};
use crate::delivery::breaker::{Breaker, Change, State};
use crate::delivery::line::Line;
use crate::delivery::request::{Origin, Request};
use crate::delivery::triggers::Triggers;
use crate::record::{Micros, Row, SharedRow, StoredRow};
use crate::sink::{Hold, HoldReason};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn jitter() -> Jitter {
    Jitter::new(7)
}

fn hold(reason: HoldReason) -> Hold {
    Hold {
        reason,
        detail: "said so".to_owned(),
    }
}

#[test]
fn a_trigger_fires_at_the_batch_size_or_after_the_interval() {
    type Heads = &'static [(i64, u64)];
    // (heads seen at which second, second of the check, fired up to)
    let table: &[(Heads, u64, i64)] = &[
        (&[], 100, 0),
        (&[(99, 0)], 29, 0),
        (&[(100, 0)], 0, 100),
        (&[(250, 0)], 0, 250),
        (&[(1, 0)], 29, 0),
        (&[(1, 0)], 30, 1),
        // The interval counts from the first pending row, not from the last.
        (&[(1, 0), (2, 29)], 30, 2),
        (&[(1, 10), (2, 20)], 39, 0),
    ];
    for (heads, check, fired) in table {
        let mut triggers = Triggers::new(100, 2_000, secs(30), 0);
        for (head, at) in *heads {
            triggers.observe(*head, secs(*at));
        }
        triggers.check(secs(*check));
        assert_eq!(triggers.fired(), *fired, "{heads:?} checked at {check}");
    }
}

#[test]
fn only_rows_that_were_never_sent_count_for_the_next_batch() {
    let mut triggers = Triggers::new(100, 2_000, secs(30), 0);
    triggers.observe(150, secs(0));
    triggers.check(secs(0));
    triggers.observe(249, secs(1));
    triggers.check(secs(1));
    assert_eq!(triggers.fired(), 150);
    assert_eq!(triggers.due(), Some(secs(31)));
    triggers.observe(250, secs(2));
    triggers.check(secs(2));
    assert_eq!(triggers.fired(), 250);
}

#[test]
fn batches_that_come_too_often_grow_instead() {
    let mut triggers = Triggers::new(100, 2_000, secs(30), 0);
    let mut head = 0;
    let mut step = |triggers: &mut Triggers, rows: i64, at: Duration| {
        head += rows;
        triggers.observe(head, at);
        triggers.check(at);
        triggers.fired() == head
    };
    // As fast as they come, for a while.
    let at_once = (0..100)
        .take_while(|_| step(&mut triggers, 100, secs(1)))
        .count();
    assert_eq!(at_once, 11);
    // The next one knows when it is due, and takes what has come until then.
    let due = triggers.due().unwrap();
    assert!(secs(1) < due && due <= secs(2), "{due:?}");
    assert!(!step(&mut triggers, 300, due - ms(1)));
    assert!(step(&mut triggers, 1, due));
    // A full request never waits.
    assert!(!step(&mut triggers, 1_999, due));
    assert!(step(&mut triggers, 1, due));
    // Nor does the first batch after a rest.
    assert!(step(&mut triggers, 100, secs(10)));
}

#[test]
fn delays_grow_under_their_ceiling_and_never_below_the_least() {
    let retry = RetrySettings {
        first: ms(250),
        max: secs(60),
        ..RetrySettings::default()
    };
    for (failures, ceiling) in [
        (0, ms(250)),
        (1, ms(250)),
        (2, ms(500)),
        (4, secs(2)),
        (9, secs(60)),
        (u32::MAX, secs(60)),
    ] {
        let mut jitter = jitter();
        let delays: Vec<_> = (0..1000)
            .map(|_| backoff::delay(&retry, failures, None, &mut jitter))
            .collect();
        let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(*least >= ms(100) && *most <= ceiling, "{failures}");
        // Full jitter: spread over the whole range.
        let range = ceiling - ms(100);
        assert!(*most > ms(100) + range * 9 / 10, "{failures}: {most:?}");
        assert!(*least < ms(100) + range / 10, "{failures}: {least:?}");
    }
}

#[test]
fn a_first_delay_below_the_least_is_raised() {
    let retry = RetrySettings {
        first: Duration::ZERO,
        ..RetrySettings::default()
    };
    assert_eq!(backoff::delay(&retry, 1, None, &mut jitter()), ms(100));
}

#[test]
fn retry_after_is_a_floor_and_a_hostile_one_is_cut() {
    let retry = RetrySettings::default();
    for (retry_after, least, most) in [
        (secs(0), ms(100), ms(250)),
        (secs(5), secs(5), secs(5)),
        (secs(86_400 * 365), retry.max, retry.max),
        (Duration::MAX, retry.max, retry.max),
    ] {
        let delay = backoff::delay(&retry, 1, Some(retry_after), &mut jitter());
        assert!(
            delay >= least && delay <= most,
            "{retry_after:?}: {delay:?}"
        );
    }
}

#[test]
fn probes_keep_their_distance_whatever_is_configured() {
    let hasty = RetrySettings {
        probe: secs(1),
        probe_max: secs(2),
        ..RetrySettings::default()
    };
    assert_eq!(backoff::first_probe(&hasty), secs(30));
    assert_eq!(backoff::next_probe(&hasty, secs(30)), secs(30));
    let retry = RetrySettings::default();
    let waits: Vec<_> = std::iter::successors(Some(secs(30)), |wait| {
        Some(backoff::next_probe(&retry, *wait))
    })
    .take(6)
    .collect();
    assert_eq!(waits, [30, 60, 120, 240, 300, 300].map(secs));
}

#[test]
fn quick_failures_open_the_breaker_and_a_success_closes_it() {
    let mut breaker = Breaker::new(RetrySettings::default());
    let mut jitter = jitter();
    for failures in 1..4 {
        let now = breaker.next();
        assert!(breaker.allows(now, 0));
        let launch = breaker.launch();
        assert_eq!(
            breaker.failure(launch, now, None, &mut jitter),
            Change::None
        );
        assert!(matches!(breaker.state(), State::Failing { failures: f, .. } if *f == failures));
        assert!(breaker.next() >= now + ms(100));
        assert!(!breaker.allows(now, 0), "not before the delay");
        assert!(!breaker.allows(breaker.next(), 1), "one at a time");
    }
    let now = breaker.next();
    let launch = breaker.launch();
    assert_eq!(
        breaker.failure(launch, now, None, &mut jitter),
        Change::Opened
    );
    assert_eq!(breaker.next(), now + secs(30));
    let launch = breaker.launch();
    let then = now + secs(30);
    assert_eq!(
        breaker.failure(launch, then, None, &mut jitter),
        Change::None
    );
    assert_eq!(breaker.next(), then + secs(60));
    let launch = breaker.launch();
    let end = then + secs(60);
    assert_eq!(breaker.success(launch, end), Change::Recovered(secs(90)));
    assert!(breaker.is_flowing() && breaker.allows(end, 3));
}

#[test]
fn requests_that_flew_together_are_one_failure() {
    let mut breaker = Breaker::new(RetrySettings::default());
    let launches: Vec<_> = (0..4).map(|_| breaker.launch()).collect();
    for launch in launches {
        breaker.failure(launch, secs(1), None, &mut jitter());
    }
    assert!(matches!(
        breaker.state(),
        State::Failing { failures: 1, .. }
    ));
}

#[test]
fn retry_after_pauses_the_sink_even_when_another_request_succeeds() {
    let mut breaker = Breaker::new(RetrySettings::default());
    let (first, second) = (breaker.launch(), breaker.launch());
    breaker.failure(first, secs(1), Some(secs(20)), &mut jitter());
    breaker.success(second, secs(2));
    assert!(breaker.is_flowing());
    assert!(!breaker.allows(secs(20), 0));
    assert!(breaker.allows(secs(21), 0));
    breaker.hasten();
    assert!(!breaker.allows(secs(20), 0), "a flush respects it too");
}

#[test]
fn a_hold_probes_slowly_and_ends_only_by_what_was_sent_after_it_began() {
    let mut breaker = Breaker::new(RetrySettings::default());
    let (first, second) = (breaker.launch(), breaker.launch());
    let bad_key = hold(HoldReason::BadKey);
    assert_eq!(
        breaker.hold(first, bad_key.clone(), secs(1), None),
        Change::Held
    );
    assert_eq!(breaker.success(second, secs(2)), Change::None);
    assert!(breaker.is_probing());
    assert_eq!(breaker.next(), secs(31));
    let probe = breaker.launch();
    assert_eq!(breaker.hold(probe, bad_key, secs(31), None), Change::None);
    assert_eq!(breaker.next(), secs(91));
    let probe = breaker.launch();
    let quota = hold(HoldReason::Quota);
    assert_eq!(
        breaker.hold(probe, quota, secs(91), None),
        Change::Held,
        "said anew"
    );
    let probe = breaker.launch();
    // A size problem says nothing about the key: the next probe, smaller, goes at once.
    assert_eq!(breaker.reached(probe, secs(300)), Change::None);
    assert!(breaker.is_probing() && breaker.allows(secs(300), 0));
    let probe = breaker.launch();
    assert_eq!(
        breaker.success(probe, secs(301)),
        Change::Recovered(secs(300))
    );
}

#[test]
fn a_probe_of_a_hold_waits_for_retry_after_up_to_the_ceiling() {
    for (retry_after, least) in [(1, 30), (45, 45), (86_400, 60)] {
        let mut breaker = Breaker::new(RetrySettings::default());
        let launch = breaker.launch();
        let quota = hold(HoldReason::Quota);
        breaker.hold(launch, quota, secs(1), Some(secs(retry_after)));
        assert_eq!(breaker.next(), secs(1 + least), "{retry_after}");
        // A size problem makes the next probe due, but not before that time.
        let probe = breaker.launch();
        breaker.reached(probe, secs(1));
        let least = least.min(retry_after);
        assert_eq!(breaker.next(), secs(1 + least), "{retry_after}");
    }
}

#[test]
fn halves_keep_every_row_in_order_and_balance_weight() {
    // (weights, rows in the first half)
    let table: &[(&[usize], usize)] = &[
        (&[1, 1], 1),
        (&[1, 1, 1], 2),
        (&[1, 1, 1, 1], 2),
        (&[9, 1, 1, 1], 1),
        (&[1, 1, 1, 9], 3),
        (&[0, 0], 1),
    ];
    for (weights, first) in table {
        let rows: Vec<_> = (0..weights.len()).map(|i| row(i as i64)).collect();
        let request = Request::new(Origin::Stragglers, rows.clone(), Micros(5));
        let whole = request.attempt;
        let halves = request.halves(|row| weights[row.seq as usize]);
        let [left, right] = halves.as_slice() else {
            panic!("{weights:?}: {} halves", halves.len());
        };
        assert_eq!(left.rows, rows[..*first], "{weights:?}");
        assert_eq!(right.rows, rows[*first..], "{weights:?}");
        assert_ne!(left.attempt.request, right.attempt.request);
        assert_ne!(left.attempt.request, whole.request);
        assert_eq!(left.attempt.created, whole.created);
    }
}

/// Rows that were read together lie together, and whoever holds one holds them all.
#[test]
fn a_sampled_row_does_not_hold_those_that_were_read_with_it() {
    // What is sampled out, and how many hold the rows then.
    let table: [(&[i64], usize); 3] = [(&[], 10), (&[5, 6], 8), (&[1, 2, 3, 4, 6, 7, 8, 9, 10], 0)];
    for (sampled_out, holders) in table {
        let scene = Scene::sampling(tuning(), sampled_out);
        let alone: Vec<StoredRow> = (1..=10).map(row).collect();
        let together: Vec<Row> = alone.iter().map(|stored| (*stored.row).clone()).collect();
        let together = Arc::new(together);
        let rows = alone.iter().enumerate().map(|(at, stored)| StoredRow {
            row: SharedRow::among(&together, at),
            ..stored.clone()
        });
        let mut line = Line::new(0, 1);
        assert!(
            line.feed(rows.collect(), 10, &*scene.script, START)
                .is_empty()
        );
        assert_eq!(Arc::strong_count(&together), 1 + holders, "{sampled_out:?}");
        let request = line.cut(START).unwrap();
        assert_eq!(request.rows.len(), 10 - sampled_out.len());
    }
}
