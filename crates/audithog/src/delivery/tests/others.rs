//! What other processes are told, and what they may do to a ledger whose sink is driven here.

use std::time::Duration;

use super::desk::{Line, Scene, delivered, status, unavailable, until};
use super::eager;
use crate::delivery::LeaseState;
use crate::ledger::Straggler;
use crate::sink::{Hold, HoldReason, Reply, Verdict};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What `audithog dead-letters replay` does: dead - 1, stragglers + 1.
fn replay(scene: &Scene, seq: i64) {
    let now = scene.clock.wall();
    let mut paper = scene.desk.paper();
    paper.dead.remove(&seq).expect("a dead letter");
    paper.stragglers.insert(
        seq,
        Straggler {
            seq,
            attempts: 0,
            since: now,
            next: now,
            reason: "sent again on request".to_owned(),
        },
    );
    paper.totals.dead -= 1;
    paper.totals.stragglers += 1;
}

#[test]
fn a_dead_letter_that_somebody_made_a_straggler_again_is_sent() {
    let scene = Scene::new(eager());
    let mut first = true;
    scene.author(move |rows, _| match std::mem::take(&mut first) {
        true => Line::Say(Reply::Rows {
            verdicts: vec![Verdict::Dead("invalid".to_owned())],
            retry_after: None,
        }),
        false => delivered(rows),
    });
    scene.desk.append(1);
    let delivery = scene.start();
    until("it died", || scene.desk.totals().dead == 1);
    until("its settlement is known", || status(&delivery).pending == 0);
    replay(&scene, 1);
    // The next renewal of the lease shows that there is one more.
    scene.clock.advance(secs(10));
    scene.wait_for_delivered(1);
    assert_eq!(scene.sent()[1].seqs, [1]);
    let totals = scene.desk.totals();
    assert_eq!((totals.dead, totals.stragglers), (0, 0));
    until("the books agree", || status(&delivery).pending == 0);
}

#[test]
fn others_are_told_of_a_hold_and_of_its_end() {
    let scene = Scene::new(eager());
    let mut first = true;
    scene.author(move |rows, _| match std::mem::take(&mut first) {
        true => Line::Say(Reply::Hold {
            hold: Hold {
                reason: HoldReason::BadKey,
                detail: "API key invalid".to_owned(),
            },
            retry_after: None,
        }),
        false => delivered(rows),
    });
    scene.desk.append(1);
    let _delivery = scene.start();
    let last = || scene.desk.paper().states.last().cloned();
    until("the hold is told", || {
        last().is_some_and(|state| state.hold.is_some())
    });
    let state = last().unwrap();
    let hold = state.hold.unwrap();
    assert_eq!((hold.reason, &*hold.detail), ("bad_key", "API key invalid"));
    assert_eq!(hold.remedy, HoldReason::BadKey.remedy());
    assert_eq!(hold.since, scene.clock.wall());
    let (at, error) = state.last_error.unwrap();
    assert_eq!((at, &*error), (hold.since, "bad_key: API key invalid"));
    assert_eq!(state.last_success, None);
    scene.clock.advance(secs(60));
    scene.wait_for_delivered(1);
    until("its end is told", || {
        last().is_some_and(|state| state.hold.is_none() && state.last_success.is_some())
    });
}

#[test]
fn others_are_told_of_an_outage_and_since_when() {
    let scene = Scene::new(eager());
    scene.author(|_, _| unavailable(None));
    scene.desk.append(1);
    let delivery = scene.start();
    until("the lease", || status(&delivery).lease == LeaseState::Ours);
    let last = || scene.desk.paper().states.last().cloned();
    until("the outage is told", || {
        scene.clock.advance(Duration::from_millis(100));
        last().is_some_and(|state| state.breaker == "open")
    });
    let state = last().unwrap();
    assert_eq!(state.breaker_since, Some(state.at));
    assert!(state.last_error.is_some());
}

#[test]
fn successes_are_told_in_moderation() {
    let scene = Scene::new(eager());
    let delivery = scene.start();
    until("the lease", || status(&delivery).lease == LeaseState::Ours);
    for n in 1..=60 {
        scene.desk.append(1);
        scene.wait_for_delivered(n);
        scene.clock.advance(Duration::from_millis(100));
    }
    // Six seconds: once besides the first word.
    until("it is told again", || scene.desk.paper().states.len() >= 2);
    assert_eq!(scene.desk.paper().states.len(), 2);
}
