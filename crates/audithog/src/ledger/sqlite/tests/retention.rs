//! What retention may remove, and what it gives back.

use std::fs;
use std::time::Duration;

use super::{Place, open_at};
use crate::clock::Clock;
use crate::ledger::tests::{NOW, commit_rows, full_row};
use crate::ledger::{DeadLetter, Group, Removal, Settlement, Store, Straggler};
use crate::record::{Micros, Row};

const LATER: Micros = Micros(NOW.0 + 1);

pub(super) fn settle(store: &mut dyn Store, settlement: Settlement) {
    let group = Group {
        settlements: &[settlement],
        ..Group::default()
    };
    store.commit(&group).unwrap();
}

#[test]
fn what_a_configured_sink_still_needs_stays() {
    let place = Place::new();
    let mut store = place.open();
    store.register_sink("posthog").unwrap();
    let rows: Vec<Row> = (0..10).map(full_row).collect();
    commit_rows(&mut store, &rows);
    assert_eq!(store.prune(LATER, 100).unwrap(), 0);
    let straggler = Straggler {
        seq: 4,
        attempts: 1,
        since: NOW,
        next: NOW,
        reason: "503".to_owned(),
    };
    let settlement = Settlement {
        sink: "posthog",
        cursor: 7,
        delivered: 6,
        stragglers: vec![straggler],
        ..Settlement::default()
    };
    settle(&mut store, settlement);
    assert_eq!(store.prune(LATER, 100).unwrap(), 3);
    let resolved = Settlement {
        sink: "posthog",
        cursor: 7,
        delivered: 1,
        resolved: vec![4],
        ..Settlement::default()
    };
    settle(&mut store, resolved);
    assert_eq!(store.prune(LATER, 2).unwrap(), 2);
    assert_eq!(store.prune(LATER, 100).unwrap(), 2);
    assert_eq!(store.totals().pruned, 7);
}

#[test]
fn a_sink_that_is_not_configured_delays_nothing_and_its_books_stay_balanced() {
    let place = Place::new();
    let mut store = place.open();
    store.register_sink("posthog").unwrap();
    let rows: Vec<Row> = (0..10).map(full_row).collect();
    commit_rows(&mut store, &rows);
    let straggler = Straggler {
        seq: 2,
        attempts: 1,
        since: NOW,
        next: NOW,
        reason: "503".to_owned(),
    };
    let settlement = Settlement {
        sink: "posthog",
        cursor: 3,
        delivered: 2,
        stragglers: vec![straggler],
        ..Settlement::default()
    };
    settle(&mut store, settlement);
    store.close().unwrap();

    let mut store = place.open();
    assert_eq!(store.prune(LATER, 6).unwrap(), 6);
    let sink = store.register_sink("posthog").unwrap();
    // Row 2 and rows 4 to 6 were never delivered and are gone.
    assert_eq!((sink.began, sink.cursor), (0, 6));
    assert_eq!((sink.delivered, sink.held_back, sink.stragglers), (2, 4, 0));
    let newcomer = store.register_sink("postgres").unwrap();
    assert_eq!((newcomer.began, newcomer.cursor), (6, 6));
}

#[test]
fn a_row_dated_in_the_future_goes_with_its_neighbours() {
    let place = Place::new();
    let mut store = place.open();
    let mut row = full_row(1);
    row.ts = NOW.saturating_add(Duration::from_secs(1_000_000_000));
    commit_rows(&mut store, &[row, full_row(2)]);
    assert_eq!(store.prune(NOW, 100).unwrap(), 0);
    assert_eq!(store.prune(LATER, 100).unwrap(), 2);
}

/// Neither a caller's time nor a clock that was turned back makes a row older than its commit.
#[test]
fn only_the_time_of_the_commit_counts() {
    let place = Place::new();
    let mut store = place.open();
    let wild = [Micros::FIRST, Micros(0), NOW, Micros::LAST];
    let rows: Vec<Row> = (0..)
        .zip(wild)
        .map(|(n, ts)| Row { ts, ..full_row(n) })
        .collect();
    commit_rows(&mut store, &rows);
    let past = Clock::manual(NOW.saturating_sub(Duration::from_secs(1_000_000)));
    let (mut slow, _) = open_at(&place.path(), &past).unwrap();
    commit_rows(&mut slow, &[full_row(9)]);
    assert_eq!(store.plan_removal(NOW, i64::MAX).unwrap(), None);
    assert_eq!(store.prune(NOW, 100).unwrap(), 0);
    assert_eq!(store.prune(LATER, 100).unwrap(), 5);
}

#[test]
fn a_plan_says_what_will_go_and_changes_nothing() {
    let place = Place::new();
    let mut store = place.open();
    store.register_sink("posthog").unwrap();
    let rows: Vec<Row> = (0..10).map(full_row).collect();
    commit_rows(&mut store, &rows);
    let refused = |seq| DeadLetter {
        seq,
        ts: NOW,
        reason: "too large".to_owned(),
    };
    let settlement = Settlement {
        sink: "posthog",
        cursor: 8,
        delivered: 5,
        dead: vec![refused(2), refused(4), refused(7)],
        ..Settlement::default()
    };
    settle(&mut store, settlement);
    let planned = |upto, dead_letters| Removal {
        after: 0,
        upto,
        dead_letters,
    };
    let whole = store.plan_removal(LATER, i64::MAX).unwrap();
    assert_eq!(whole, Some(planned(8, 3)));
    assert_eq!(store.plan_removal(LATER, 4).unwrap(), Some(planned(4, 2)));
    assert_eq!(store.totals().pruned, 0);
    assert_eq!(store.prune(LATER, 100).unwrap(), 8);
    assert_eq!(store.plan_removal(LATER, i64::MAX).unwrap(), None);
    // The letters stay, and say of which rows they were.
    let letters = "SELECT count(*) FROM audit_dead_letters";
    let letters: i64 = place
        .raw()
        .query_row(letters, [], |row| row.get(0))
        .unwrap();
    assert_eq!(letters, 3);
}

/// One of two services has a key.
#[test]
fn a_sink_that_another_process_drives_is_waited_for() {
    let place = Place::new();
    let mut keyless = place.open();
    let mut with_key = place.open();
    with_key.register_sink("posthog").unwrap();
    commit_rows(&mut keyless, &[full_row(1), full_row(2)]);
    let minute = Duration::from_secs(60);
    let term = NOW.saturating_add(minute);
    assert!(with_key.lease("posthog", "a", NOW, term).unwrap());
    assert_eq!(keyless.prune(LATER, 100).unwrap(), 0);
    place.clock.advance(minute);
    assert_eq!(keyless.prune(LATER, 100).unwrap(), 2);
}

#[test]
fn a_caller_supplied_id_is_free_again_once_its_row_is_gone() {
    let place = Place::new();
    let mut store = place.open();
    let row = Row {
        caller_id: true,
        ..full_row(1)
    };
    commit_rows(&mut store, std::slice::from_ref(&row));
    let group = Group {
        rows: std::slice::from_ref(&row),
        ..Group::default()
    };
    assert_eq!(store.commit(&group).unwrap().duplicates, [0]);
    store.prune(LATER, 100).unwrap();
    commit_rows(&mut store, std::slice::from_ref(&row));
}

#[test]
fn space_is_given_back() {
    let place = Place::new();
    let mut store = place.open();
    let rows: Vec<Row> = (0..20_000).map(full_row).collect();
    commit_rows(&mut store, &rows);
    store.close().unwrap();
    let full = fs::metadata(place.path()).unwrap().len();
    let mut store = place.open();
    while store.prune(LATER, 1_000).unwrap() > 0 {}
    // Its checkpoints would be in the way of this one, which waits for a moment only.
    store.open.as_mut().unwrap().checkpointer.stop();
    // While it is open: the pages go with the next checkpoint.
    store.shorten_log().unwrap();
    let size = fs::metadata(place.path()).unwrap().len();
    assert!(size < full / 2, "{size} of {full} bytes are left");
    assert_eq!(store.size().unwrap().log, 0);
    store.close().unwrap();
    let size = fs::metadata(place.path()).unwrap().len();
    assert!(size < full / 2, "{size} of {full} bytes are left");
}
