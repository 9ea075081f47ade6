//! Failures of which nothing says whether the way or a row is to blame.

use std::time::Duration;

use super::desk::{Line, Scene, delivered, once_more, status, unavailable, until};
use super::tuning;
use crate::config::RetrySettings;
use crate::delivery::Tuning;
use crate::delivery::status::BreakerState;
use crate::record::StoredRow;
use crate::sink::{Reply, Verdict};

fn eager() -> Tuning {
    Tuning {
        batch_size: 1,
        retry: RetrySettings {
            straggler_attempts: 6,
            ..RetrySettings::default()
        },
        ..tuning()
    }
}

/// Something on the way swallows every request with one of these rows, and says nothing else.
fn swallowing(bad: &'static [i64]) -> Scene {
    let scene = Scene::new(eager());
    scene.author(
        move |rows, _| match rows.iter().any(|row| bad.contains(&row.seq)) {
            true => unavailable(None),
            false => delivered(rows),
        },
    );
    scene
}

fn wait_for(scene: &Scene, what: &str, delivered: u64) {
    until(what, || {
        scene.clock.advance(Duration::from_secs(1));
        scene.desk.totals().delivered == delivered
    });
}

#[test]
fn a_row_that_is_swallowed_on_the_way_blocks_no_other() {
    // In the middle, at the front, and most of the rows.
    let table: [(&[i64], u64); 3] = [
        (&[21], 40),
        (&[1, 2, 3], 38),
        (&[1, 2, 3, 5, 8, 13, 21], 34),
    ];
    for (bad, fine) in table {
        let scene = swallowing(bad);
        scene.desk.append(41);
        let _delivery = scene.start();
        wait_for(&scene, "all others are taken", fine);
        assert_eq!(scene.desk.totals().dead, 0);
    }
}

#[test]
fn a_row_that_is_swallowed_on_its_own_blocks_none_that_comes_later() {
    let scene = swallowing(&[1]);
    scene.desk.append(1);
    let delivery = scene.start();
    until("an outage is assumed", || {
        scene.clock.advance(Duration::from_millis(100));
        status(&delivery).breaker == BreakerState::Open
    });
    scene.desk.append(5);
    wait_for(&scene, "those that came later are taken", 5);
}

#[test]
fn a_row_that_is_swallowed_while_others_are_taken_is_given_up() {
    let scene = swallowing(&[2]);
    scene.desk.append(3);
    let _delivery = scene.start();
    wait_for(&scene, "the others are taken", 2);
    let mut rows = 3;
    until("it is given up", || {
        scene.clock.advance(Duration::from_secs(1));
        let totals = scene.desk.totals();
        if totals.delivered + 1 == rows {
            scene.desk.append(1);
            rows += 1;
        }
        totals.dead == 1
    });
    let letter = scene.desk.paper().dead[&2].clone();
    assert_eq!(letter.reason, "given up after 6 attempts: 503");
}

#[test]
fn an_outage_is_no_attempt_of_a_straggler() {
    let scene = Scene::new(eager());
    scene.author(|rows, _| once_more(rows, None));
    scene.desk.append(2);
    let _delivery = scene.start();
    scene.wait_for_delivered(1);
    scene.author(|_, _| unavailable(None));
    let before = scene.sent().len();
    until("it was tried often", || {
        scene.clock.advance(Duration::from_secs(1));
        scene.sent().len() >= before + 20
    });
    assert_eq!(scene.desk.totals().dead, 0);
    assert!(scene.desk.paper().stragglers[&1].attempts < 6);
}

/// Nothing else is sent meanwhile that would show the way to be open.
#[test]
fn stragglers_that_are_swallowed_together_are_tried_one_by_one() {
    let scene = Scene::new(eager());
    scene.author(|rows, _| {
        let verdict = |row: &StoredRow| match row.seq {
            11 => Verdict::Delivered,
            _ => Verdict::Retry("not_persisted".to_owned()),
        };
        Line::Say(Reply::Rows {
            verdicts: rows.iter().map(verdict).collect(),
            retry_after: None,
        })
    });
    scene.desk.append(11);
    let _delivery = scene.start();
    scene.wait_for_delivered(1);
    scene.author(|rows, _| match rows.iter().any(|row| row.seq == 5) {
        true => unavailable(None),
        false => delivered(rows),
    });
    wait_for(&scene, "all others are taken", 10);
    assert_eq!(scene.desk.totals().dead, 0);
}
