//! Rows by column: made while they are appended, or from what the file has; both are the same.

use rusqlite::Connection;

use super::super::digest::STRETCH;
use super::Place;
use crate::ledger::tests::{NOW, commit_rows, full_row};
use crate::ledger::{SqliteStore, Store};
use crate::query::tests::traffic;
use crate::record::{Micros, Row};

fn stretches(n: i64) -> usize {
    usize::try_from(n * STRETCH).unwrap()
}

fn pieces(connection: &Connection) -> Vec<(i64, Vec<u8>)> {
    let mut statement = connection
        .prepare("SELECT piece, data FROM audit_digests ORDER BY piece")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn digest_all(store: &mut SqliteStore) {
    while store.digest(true).unwrap() {}
}

fn append(store: &mut SqliteStore, rows: &[Row]) {
    for group in rows.chunks(300) {
        commit_rows(store, group);
        store.digest(false).unwrap();
    }
    while store.digest(false).unwrap() {}
}

/// The pieces, made from what the file has.
fn made_anew(place: &Place) -> Vec<(i64, Vec<u8>)> {
    place
        .raw()
        .execute("DELETE FROM audit_digests", [])
        .unwrap();
    digest_all(&mut place.open());
    pieces(&place.raw())
}

#[test]
fn what_is_noted_while_appending_is_what_the_rows_say() {
    let place = Place::new();
    let mut store = place.open();
    append(&mut store, &traffic(stretches(2) + 100, 1_000));
    let noted = pieces(&place.raw());
    assert_eq!(noted.len(), 2 * 16);
    store.close().unwrap();
    assert_eq!(made_anew(&place), noted);
}

/// A stretch that another process wrote a part of is read from its rows.
#[test]
fn two_writers_have_the_digests_that_one_has() {
    let rows = traffic(stretches(3), 1_000);
    let together = Place::new();
    let (mut one, mut other) = (together.open(), together.open());
    for (at, group) in rows.chunks(100).enumerate() {
        let store = if at % 3 == 0 { &mut other } else { &mut one };
        append(store, group);
    }
    assert!(pieces(&together.raw()).is_empty());
    digest_all(&mut one);
    assert_eq!(pieces(&together.raw()).len(), 3 * 16);
    assert!(!other.digest(true).unwrap(), "nothing is left to do");
}

/// Rows of a commit that was rolled back are in no digest, although others have their numbers now.
#[test]
fn rows_that_were_not_committed_are_not_counted() {
    let place = Place::new();
    let mut store = place.open();
    append(&mut store, &traffic(50, 1_000));
    let mut twice = full_row(1);
    twice.caller_id = true;
    commit_rows(&mut store, &[twice.clone()]);
    // A duplicate takes no number: the rows after it move up.
    let group = crate::ledger::Group {
        rows: &[full_row(2), twice, full_row(3)],
        ..crate::ledger::Group::default()
    };
    assert_eq!(store.commit(&group).unwrap().duplicates, [1]);
    append(&mut store, &traffic(stretches(1), 2_000));
    let noted = pieces(&place.raw());
    assert_eq!(noted.len(), 16);
    assert_eq!(made_anew(&place), noted);
}

/// With one part a round, lines would pile up where rounds are as large as stretches.
#[test]
fn rows_that_come_faster_than_parts_are_written_do_not_pile_up() {
    let place = Place::new();
    let mut store = place.open();
    let rows = traffic(stretches(8), 1_000);
    for round in rows.chunks(stretches(2)) {
        for group in round.chunks(300) {
            commit_rows(&mut store, group);
        }
        store.digest(false).unwrap();
        let held = store.collected();
        assert!(held < stretches(2), "{held} lines are held");
    }
    while store.digest(false).unwrap() {}
    let noted = pieces(&place.raw());
    assert_eq!(noted.len(), 8 * 16);
    store.close().unwrap();
    assert_eq!(made_anew(&place), noted);
}

/// A part of a digest is written at a time, and what is written is no digest before the last one.
#[test]
fn a_digest_that_was_begun_is_finished_by_whoever_comes_next() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &traffic(stretches(1), 1_000));
    assert!(store.digest(false).unwrap());
    let begun = pieces(&place.raw());
    assert!((1..16).contains(&begun.len()));
    // Rows of the next stretch come between its parts.
    commit_rows(&mut store, &traffic(100, 1_000));
    assert!(store.digest(false).unwrap());
    // A crash: what was collected is gone.
    let mut other = place.open();
    digest_all(&mut other);
    let finished = pieces(&place.raw());
    assert_eq!((finished.len(), &finished[..begun.len()]), (16, &*begun));
    assert_eq!(made_anew(&place), finished);
}

#[test]
fn a_ledger_of_an_older_version_gets_its_digests_by_and_by() {
    let place = Place::new();
    let mut store = place.open();
    append(&mut store, &traffic(stretches(2), 1_000));
    let noted = pieces(&place.raw());
    store.close().unwrap();
    place
        .raw()
        .execute_batch(
            "DROP TABLE audit_digests; DROP TABLE audit_verified; PRAGMA user_version = 2",
        )
        .unwrap();
    let mut store = place.open();
    assert!(store.digest(true).unwrap());
    assert_eq!(pieces(&place.raw()).len(), 16, "one stretch at a time");
    digest_all(&mut store);
    assert_eq!(pieces(&place.raw()), noted);
}

#[test]
fn digests_go_with_their_rows() {
    let place = Place::new();
    let mut store = place.open();
    append(&mut store, &traffic(stretches(3), 1_000));
    let end = Micros(NOW.0 + 1);
    let whole = stretches(1) + 100;
    assert_eq!(store.prune(end, whole).unwrap(), whole as u64);
    let left = pieces(&place.raw());
    assert_eq!((left.len(), left[0].0), (2 * 16, 32));
    // The stretch that lost some of its rows cannot be made anew.
    assert_eq!(made_anew(&place).len(), 16);
}

#[test]
fn nobody_changes_a_digest() {
    let place = Place::new();
    let mut store = place.open();
    append(&mut store, &traffic(stretches(1), 1_000));
    let refused = place
        .raw()
        .execute("UPDATE audit_digests SET data = x''", [])
        .unwrap_err();
    assert!(refused.to_string().contains("derived"), "{refused}");
}
