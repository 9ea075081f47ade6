//! Stragglers of an earlier process, and more of them than are kept in memory.

use std::time::Duration;

use super::desk::{Line, Scene, delivered, until};
use super::{START, tuning};
use crate::config::RetrySettings;
use crate::delivery::Tuning;
use crate::delivery::stragglers::{IN_MEMORY, REFILL, Stragglers};
use crate::ledger::Straggler;
use crate::record::{Micros, StoredRow};
use crate::sink::{Reply, Verdict};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn straggler(seq: i64, next: Micros) -> Straggler {
    Straggler {
        seq,
        attempts: 1,
        since: START,
        next,
        reason: "not_persisted".to_owned(),
    }
}

/// So many stragglers that are due, and nothing else.
fn scene(stragglers: usize, next: Micros) -> Scene {
    let retry = RetrySettings {
        straggler_attempts: 100_000,
        ..RetrySettings::default()
    };
    let scene = Scene::new(Tuning {
        batch_size: 1,
        retry,
        ..tuning()
    });
    scene.desk.append(stragglers);
    let mut paper = scene.desk.paper();
    paper.totals.cursor = paper.head();
    paper.totals.stragglers = stragglers as u64;
    let head = paper.head();
    paper.stragglers = (1..=head).map(|seq| (seq, straggler(seq, next))).collect();
    drop(paper);
    scene
}

/// Rows up to there are wanted once more every time.
fn stubborn(scene: &Scene, upto: i64) {
    scene.author(move |rows, _| {
        let verdict = |row: &StoredRow| match row.seq <= upto {
            true => Verdict::Retry("not_persisted".to_owned()),
            false => Verdict::Delivered,
        };
        Line::Say(Reply::Rows {
            verdicts: rows.iter().map(verdict).collect(),
            retry_after: None,
        })
    });
}

#[test]
fn stragglers_for_which_memory_has_no_room_have_their_turn() {
    let more = 200;
    let scene = scene(IN_MEMORY + more, START);
    stubborn(&scene, IN_MEMORY as i64 + 50);
    let _delivery = scene.start();
    until("all that would be taken are", || {
        scene.clock.advance(secs(1));
        scene.desk.totals().delivered == more as u64 - 50
    });
    assert_eq!(scene.desk.totals().stragglers, IN_MEMORY as u64 + 50);
}

#[test]
fn a_straggler_that_is_due_sooner_than_a_thousand_others_does_not_wait_for_them() {
    let scene = scene(IN_MEMORY, START.saturating_add(secs(1800)));
    let young = IN_MEMORY as i64 + 1;
    scene.author(move |rows, attempt| match attempt.number {
        1 => Line::Say(Reply::Rows {
            verdicts: vec![Verdict::Retry("not_persisted".to_owned()); rows.len()],
            retry_after: None,
        }),
        _ => delivered(rows),
    });
    let _delivery = scene.start();
    until("the stragglers are known", || {
        scene.desk.paper().straggler_reads > 0
    });
    scene.desk.append(1);
    until("it is a straggler", || {
        scene.desk.paper().stragglers.contains_key(&young)
    });
    scene.clock.advance(secs(20));
    scene.wait_for_delivered(1);
    assert_eq!(scene.sent()[1].seqs, [young]);
}

#[test]
fn a_straggler_of_a_clock_that_was_ahead_waits_no_longer_than_any() {
    let scene = scene(1, START.saturating_add(secs(24 * 3600)));
    let _delivery = scene.start();
    until("the straggler is known", || {
        scene.desk.paper().straggler_reads > 0
    });
    scene.clock.advance(secs(3600));
    scene.wait_for_delivered(1);
}

#[test]
fn the_ledger_is_asked_for_stragglers_only_when_it_may_have_one_that_is_due_first() {
    let at = |n: usize| START.saturating_add(secs(n as u64));
    let ledger: Vec<_> = (0..2 * REFILL)
        .map(|n| straggler(n as i64, at(n)))
        .collect();
    let total = ledger.len() as u64;
    let mut stragglers = Stragglers::new(total);
    assert!(stragglers.wants_refill(START));
    stragglers.refill(total, ledger[..REFILL].to_vec(), at(2 * REFILL));
    for now in [0, IN_MEMORY, 2 * REFILL] {
        assert!(
            !stragglers.wants_refill(at(now)),
            "those in memory come first"
        );
    }
    // All that are in memory were tried.
    loop {
        let taken = stragglers.take_due(at(IN_MEMORY - 1), false, usize::MAX);
        if taken.is_empty() {
            break;
        }
        for seq in taken {
            stragglers.put_back(straggler(seq, at(2 * REFILL)), false, START);
        }
    }
    assert_eq!(stragglers.next(), Some(at(IN_MEMORY)));
    assert!(!stragglers.wants_refill(at(IN_MEMORY - 1)));
    assert!(stragglers.wants_refill(at(IN_MEMORY)));
    // The ledger's list is as it was: what was tried is known by its number.
    stragglers.refill(total, ledger[..REFILL].to_vec(), at(2 * REFILL));
    assert!(!stragglers.wants_refill(at(IN_MEMORY)));
    let first = stragglers.take_due(at(IN_MEMORY), false, usize::MAX);
    assert_eq!(first, [IN_MEMORY as i64]);
    assert_eq!(stragglers.total(), total);
}

#[test]
fn in_doubt_one_of_those_that_travel_together_goes_alone() {
    let mut stragglers = Stragglers::new(3);
    let all = (1..=3).map(|seq| straggler(seq, START)).collect();
    stragglers.refill(3, all, START);
    assert_eq!(stragglers.take_due(START, true, 50), [1, 2, 3]);
    for seq in 1..=3 {
        // One travels alone for good; that is no answer to the doubt.
        stragglers.put_back(straggler(seq, START), seq == 1, START);
    }
    stragglers.feel();
    assert_eq!(stragglers.take_due(START, true, 50), [1]);
    assert_eq!(stragglers.take_due(START, true, 50), [2]);
    assert_eq!(stragglers.take_due(START, true, 50), [3]);
    stragglers.put_back(straggler(2, START), false, START);
    stragglers.put_back(straggler(3, START), false, START);
    assert_eq!(stragglers.take_due(START, true, 50), [2, 3]);
}
