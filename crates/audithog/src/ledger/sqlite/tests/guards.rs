//! Triggers: accidents with the file are refused.

use rusqlite::Connection;

use super::Place;
use crate::ledger::tests::{NOW, commit_rows, full_row};
use crate::ledger::{Group, Settlement, Store, StoreErrorKind};
use crate::record::Micros;

fn refused(connection: &Connection, sql: &str) -> String {
    match connection.execute_batch(sql) {
        Ok(()) => panic!("accepted: {sql}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn rows_are_neither_changed_nor_deleted_nor_replaced() {
    let place = Place::new();
    let mut store = place.open();
    let rows: Vec<_> = (0..3).map(full_row).collect();
    // Twice, so that the dictionary has entries to guard.
    commit_rows(&mut store, &rows);
    commit_rows(&mut store, &[full_row(8), full_row(9)]);
    let raw = place.raw();
    for (sql, reason) in [
        (
            "UPDATE audit_rows SET user_id = 'x' WHERE seq = 2",
            "rows are never changed",
        ),
        (
            "DELETE FROM audit_rows WHERE seq = 2",
            "only retention removes rows",
        ),
        ("DELETE FROM audit_rows", "only retention removes rows"),
        (
            "INSERT OR REPLACE INTO audit_rows (seq, run, flags, id, ts, event)
             VALUES (2, 1, 0, x'00', 0, 'forged')",
            "only the service itself appends",
        ),
        (
            // The next number: it would be in the way of every later commit.
            "INSERT INTO audit_rows (seq, run, flags, id, ts, event)
             VALUES (6, 1, 0, x'00', 0, 'forged')",
            "only the service itself appends",
        ),
        ("UPDATE audit_head SET head = 1", "only moves forward"),
        ("UPDATE audit_head SET pruned = 99", "only moves forward"),
        ("DELETE FROM audit_head", "has one row"),
        (
            "INSERT OR REPLACE INTO audit_head VALUES (1, 0, 0, 0)",
            "has one row",
        ),
        ("UPDATE audit_names SET text = 'x'", "rows refer to it"),
        ("DELETE FROM audit_names", "rows refer to it"),
        ("UPDATE audit_runs SET service = 'x'", "rows refer to it"),
        ("DELETE FROM audit_runs", "rows refer to it"),
    ] {
        let message = refused(&raw, sql);
        assert!(message.contains(reason), "{sql}: {message}");
    }
    let seen = store.reader().unwrap().rows(0, 9, 9).unwrap();
    assert_eq!(seen.len(), 5);
}

#[test]
fn columns_are_typed() {
    let place = Place::new();
    place.open().close().unwrap();
    let raw = place.raw();
    crate::ledger::sqlite::open::triggers(&raw, false).unwrap();
    let message = refused(
        &raw,
        "INSERT INTO audit_rows (seq, run, flags, id, ts, event) VALUES (1, 1, 0, x'00', 'now', 'e')",
    );
    assert!(
        message.contains("cannot store TEXT value in INTEGER column"),
        "{message}"
    );
}

#[test]
fn retention_may_delete_and_numbers_do_not_come_again() {
    let place = Place::new();
    let mut store = place.open();
    let rows: Vec<_> = (0..4).map(full_row).collect();
    commit_rows(&mut store, &rows);
    assert_eq!(store.prune(Micros(NOW.0 + 1), 100).unwrap(), 4);
    store.close().unwrap();
    let mut store = place.open();
    assert_eq!((store.totals().head, store.totals().pruned), (4, 4));
    commit_rows(&mut store, &[full_row(5)]);
    let seen = store.reader().unwrap().rows(0, 100, 100).unwrap();
    assert_eq!(seen.iter().map(|row| row.seq).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_failed_group_leaves_nothing() {
    let place = Place::new();
    let mut store = place.open();
    store.register_sink("posthog").unwrap();
    commit_rows(&mut store, &[full_row(1)]);
    let before = store.totals().clone();
    // The settlement comes after the rows, and its table is missing.
    place
        .raw()
        .execute_batch("ALTER TABLE audit_sinks RENAME TO hidden")
        .unwrap();
    let settlement = Settlement {
        sink: "posthog",
        cursor: 1,
        delivered: 1,
        ..Settlement::default()
    };
    let rows = [full_row(2), full_row(3)];
    let group = Group {
        rows: &rows,
        settlements: &[settlement],
        requests: 2,
        ..Group::default()
    };
    store.commit(&group).unwrap_err();
    assert_eq!(*store.totals(), before);
    place
        .raw()
        .execute_batch("ALTER TABLE hidden RENAME TO audit_sinks")
        .unwrap();
    store.reopen().unwrap();
    assert_eq!(*store.totals(), before);
    // Texts that the failed group had put into the dictionary are found or made again.
    let committed = store.commit(&group).unwrap();
    assert_eq!(committed.head, 3);
    let seen = store.reader().unwrap().rows(1, 3, 9).unwrap();
    assert_eq!(seen[0].row, rows[0]);
    assert_eq!(seen[1].row, rows[1]);
}

#[test]
fn a_tail_that_does_not_fit_the_head_is_told_at_the_start() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1), full_row(2)]);
    store.close().unwrap();
    let raw = place.raw();
    crate::ledger::sqlite::open::triggers(&raw, false).unwrap();
    for (damage, repair) in [
        (
            "UPDATE audit_head SET head = 3",
            "UPDATE audit_head SET head = 2",
        ),
        ("DELETE FROM audit_rows", ""),
    ] {
        raw.execute_batch(damage).unwrap();
        let error = place.try_open().unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Corrupt);
        assert!(
            error.message.contains("audit.db is damaged"),
            "{}",
            error.message
        );
        raw.execute_batch(repair).unwrap();
    }
}

/// SQLite counts within a group, by the last row that is there.
#[test]
fn a_row_beyond_the_head_stops_a_group_and_gives_no_other_number() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1)]);
    let raw = place.raw();
    crate::ledger::sqlite::open::triggers(&raw, false).unwrap();
    raw.execute_batch(
        "INSERT INTO audit_rows (seq, run, flags, id, ts, event) VALUES (9, 1, 0, x'00', 0, 'forged')",
    )
    .unwrap();
    let rows = [full_row(2), full_row(3)];
    let group = Group {
        rows: &rows,
        ..Group::default()
    };
    let error = store.commit(&group).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    let last: i64 = raw
        .query_row("SELECT max(seq) FROM audit_rows WHERE seq < 9", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(last, 1);
}
