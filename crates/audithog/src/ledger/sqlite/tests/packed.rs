//! Rows whose small columns are one text.

use rusqlite::Connection;

use super::Place;
use crate::ledger::sqlite::decode::{Decoder, Gathered, Selected, flags};
use crate::ledger::sqlite::encode::PACKED_COLUMNS;
use crate::ledger::tests::{commit_rows, full_row};
use crate::ledger::{Reader, SqliteStore, Store, StoreErrorKind};
use crate::record::{Actor, ActorType, Exchange, Outcome, Row, StoredRow};

/// All of its texts are in the dictionary once another such row was there.
fn plain_row(n: u32) -> Row {
    let row = full_row(n);
    Row {
        actor: Actor {
            on_behalf_of: None,
            ..row.actor
        },
        exchange: row.exchange.map(|exchange| Exchange {
            upstream_request_id: None,
            ..exchange
        }),
        distinct_id: None,
        properties: None,
        ..row
    }
}

fn with(n: u32, change: impl FnOnce(&mut Exchange)) -> Row {
    let mut row = plain_row(n);
    change(row.exchange.as_mut().unwrap());
    row
}

/// The packed rows.
fn packed(raw: &Connection) -> Vec<i64> {
    let mut statement = raw
        .prepare("SELECT seq FROM audit_rows WHERE flags & 256 ORDER BY seq")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn read(store: &mut SqliteStore, after: i64, limit: usize) -> Vec<Row> {
    read_by(&mut *store.reader().unwrap(), after, limit)
}

fn read_by(reader: &mut dyn Reader, after: i64, limit: usize) -> Vec<Row> {
    rows(&reader.rows(after, i64::MAX, limit).unwrap())
}

fn rows(stored: &[StoredRow]) -> Vec<Row> {
    stored.iter().map(|stored| (*stored.row).clone()).collect()
}

#[test]
fn a_row_is_packed_once_its_texts_have_numbers() {
    let place = Place::new();
    let mut store = place.open();
    let written = [
        // Seen once, and seen again.
        plain_row(1),
        plain_row(2),
        with(3, |exchange| exchange.user_agent = Some("other".into())),
        with(4, |exchange| exchange.user_agent = Some("other".into())),
        full_row(5),
        with(6, |exchange| {
            exchange.duration_us = i64::MAX.cast_unsigned();
        }),
        with(7, |exchange| exchange.error_code = Some("NOT_FOUND".into())),
        with(8, |exchange| exchange.duration_us = 0),
        with(9, |exchange| {
            exchange.outcome = Outcome::Open;
            exchange.duration_us = 0;
            exchange.status_code = None;
            exchange.error_code = None;
            exchange.route = None;
            exchange.user_agent = None;
            exchange.ip = None;
        }),
        Row {
            exchange: None,
            actor: Actor::default(),
            trace_id: None,
            ..plain_row(10)
        },
        with(11, |exchange| exchange.path = "/agents/{id}".into()),
        with(12, |exchange| exchange.status_code = Some(u16::MAX)),
        with(13, |exchange| exchange.status_code = Some(0)),
        Row {
            actor: Actor {
                kind: Some(ActorType::System),
                org_id: Some("0192f7a1-7c3e-7a55-8000-0123456789ab".into()),
                ..Actor::default()
            },
            ..plain_row(14)
        },
        with(15, |exchange| {
            exchange.ip = Some("2001:db8::1".parse().unwrap());
        }),
    ];
    commit_rows(&mut store, &written);
    assert_eq!(
        packed(&place.raw()),
        [2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15]
    );
    assert_eq!(read(&mut store, 0, 100), written);
}

#[test]
fn nothing_is_gathered_of_a_row_that_is_damaged() {
    let place = Place::new();
    let mut store = place.open();
    let written = [1, 2, 3, 4].map(|n| with(n, |exchange| exchange.route = None));
    commit_rows(&mut store, &written);
    let raw = place.raw();
    assert_eq!(packed(&raw), [2, 3, 4]);
    let columns = PACKED_COLUMNS.replace("path", "iif(seq = 3, NULL, path)");
    let sql = format!("SELECT {columns} FROM audit_rows WHERE seq > 1 ORDER BY seq");
    let mut statement = raw.prepare(&sql).unwrap();
    let mut found = statement.query([]).unwrap();
    let (mut decoder, mut gathered) = (Decoder::default(), Gathered::default());
    let mut read = Vec::new();
    while let Some(row) = found.next().unwrap() {
        let flags = flags(row).unwrap();
        let tried = decoder.gather(&raw, row, flags, Selected::Packed, &mut gathered);
        read.push(tried.is_ok());
    }
    assert_eq!(read, [true, false, true]);
    let stored = gathered.into_rows();
    let numbers: Vec<i64> = stored.iter().map(|stored| stored.seq).collect();
    assert_eq!(numbers, [2, 4]);
    assert_eq!(rows(&stored), [written[1].clone(), written[3].clone()]);
}

/// Whatever a reader expects after the rows before.
#[test]
fn packed_rows_and_others_are_read_from_wherever_they_begin() {
    let place = Place::new();
    let mut store = place.open();
    let mut written: Vec<Row> = (1..=40).map(full_row).collect();
    written.extend((41..=80).map(plain_row));
    written.extend((81..=120).map(|n| {
        if n % 2 == 0 {
            full_row(n)
        } else {
            plain_row(n)
        }
    }));
    commit_rows(&mut store, &written);
    assert_eq!(packed(&place.raw()).len(), 40 + 20);
    let mut reader = store.reader().unwrap();
    for limit in [1, 7, 30, 200] {
        for after in (0..120).step_by(5) {
            let from = after as usize;
            let upto = written.len().min(from + limit);
            let found = read_by(&mut *reader, after, limit);
            assert_eq!(found, written[from..upto], "{limit} after {after}");
        }
    }
    let one = rows(&reader.rows_by_seq(&[2, 50, 83]).unwrap());
    assert_eq!(one, [1, 49, 82].map(|at: usize| written[at].clone()));
}

/// The view and the columns that filters ask for say the same of a row, packed or not.
#[test]
fn the_view_says_the_same_of_both() {
    let place = Place::new();
    let mut store = place.open();
    for n in [1, 2] {
        let mut row = plain_row(n);
        row.actor.user_id = Some("u".into());
        row.exchange.as_mut().unwrap().path = "/agents/7".into();
        commit_rows(&mut store, &[row]);
    }
    let raw = place.raw();
    assert_eq!(packed(&raw), [2]);
    let columns = "event, upstream_request_id, user_id, user_role, org_id, actor_type, on_behalf_of, method, path, route, \
         status_code, result, error_code, duration_ms, user_agent, ip, trace_id, service, distinct_id, properties";
    let both: i64 = raw
        .query_row(
            &format!("SELECT count(*) FROM (SELECT DISTINCT {columns} FROM audit_logs)"),
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(both, 1);
    let missing: i64 = raw
        .query_row(
            "SELECT count(*) FROM audit_logs WHERE event IS NULL OR user_role IS NULL OR actor_type IS NULL OR method IS NULL
             OR route IS NULL OR status_code IS NULL OR error_code IS NULL OR duration_ms IS NULL OR user_agent IS NULL",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(missing, 0);
}

/// Files of schema 3 are read as they are; what comes next is packed.
#[test]
fn rows_from_before_stay_as_they_are() {
    let place = Place::new();
    let mut store = place.open();
    // As version 3 wrote them: whole, with numbers.
    let before = [full_row(1), full_row(2), full_row(3)];
    commit_rows(&mut store, &before);
    store.close().unwrap();
    place
        .raw()
        .execute_batch("PRAGMA user_version = 3")
        .unwrap();
    let mut store = place.open();
    // Row 4 has what this process sees for the first time.
    let after = [plain_row(4), plain_row(5), plain_row(6)];
    commit_rows(&mut store, &after);
    assert_eq!(packed(&place.raw()), [5, 6]);
    assert_eq!(read(&mut store, 0, 10), [before, after].concat());
}

/// Two processes share the file, and the other is of a version to come.
#[test]
fn a_row_of_a_newer_version_is_no_damage() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[plain_row(1), plain_row(2), plain_row(3)]);
    let mut reader = store.reader().unwrap();
    place
        .raw()
        .execute_batch(
            "DROP TRIGGER audit_rows_update; UPDATE audit_rows SET flags = flags | 512 WHERE seq = 3",
        )
        .unwrap();
    assert_eq!(
        rows(&reader.rows(0, 2, 10).unwrap()),
        [plain_row(1), plain_row(2)]
    );
    for n in 4..9 {
        let error = reader.rows(0, i64::MAX, 10).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Newer);
        assert_eq!(
            error.message,
            "row 3 of the ledger was written by a newer version of audithog"
        );
        commit_rows(&mut store, &[plain_row(n)]);
    }
}
