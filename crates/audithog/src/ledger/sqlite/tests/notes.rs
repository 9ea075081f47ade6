//! What other processes can read of a process: states of sinks, counts, trouble, times of losses.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Place, open_at};
use crate::books::{LossReason, Losses};
use crate::clock::Clock;
use crate::ledger::sqlite::SqliteStore;
use crate::ledger::tests::{NOW, commit_rows, full_row};
use crate::ledger::{DeadLetter, Group, HoldState, Notes, Settlement, SinkState, Store, Straggler};
use crate::record::{Micros, Row};

const STATE: &str = "SELECT concat_ws('|', state_ts, last_success_ts, breaker, breaker_since_ts, hold, \
     hold_since_ts, hold_detail, hold_remedy, last_error, last_error_ts) FROM audit_sinks";
const RUN: &str =
    "SELECT concat_ws('|', books_ts, books_json, trouble_ts, trouble) FROM audit_runs";
const LOSSES: &str = "SELECT concat_ws('|', reason, rows, last_ts) FROM audit_losses";
const LETTERS: &str =
    "SELECT concat_ws('|', seq, refused_ts, dismissed_ts, dismissed_by, dismissed)
     FROM audit_dead_letters JOIN audit_sinks USING (sink)";

/// Everything that schema 2 has and schema 1 has not.
const WRITTEN: [(&str, &str); 4] = [
    (
        STATE,
        "1770000000000001|1770000000000002|open|1770000000000003|bad_key|1770000000000004|no such key\
         |set a key|bad_key: no such key|1770000000000005",
    ),
    (
        RUN,
        r#"1770000000000000|{"accepted":4}|1770000000000000|no space left"#,
    ),
    (LOSSES, "queue_full|7|1770000000000000"),
    (LETTERS, "2|1770000000000000|0"),
];

fn at(n: i64) -> Micros {
    Micros(NOW.0 + n)
}

fn held() -> SinkState {
    SinkState {
        sink: "posthog",
        at: at(1),
        last_success: Some(at(2)),
        breaker: "open",
        breaker_since: Some(at(3)),
        hold: Some(HoldState {
            reason: "bad_key",
            since: at(4),
            detail: "no such key".to_owned(),
            remedy: "set a key",
        }),
        last_error: Some((at(5), "bad_key: no such key".to_owned())),
    }
}

/// Three rows, of which one is delivered, one dead and one a straggler, and all there is to note.
fn fill(store: &mut SqliteStore) {
    store.register_sink("posthog").unwrap();
    commit_rows(store, &[full_row(1), full_row(2), full_row(3)]);
    let settlements = [Settlement {
        sink: "posthog",
        cursor: 3,
        delivered: 1,
        dead: vec![DeadLetter {
            seq: 2,
            ts: at(0),
            reason: "invalid event".to_owned(),
        }],
        stragglers: vec![Straggler {
            seq: 3,
            attempts: 1,
            since: at(0),
            next: at(0),
            reason: "503".to_owned(),
        }],
        ..Settlement::default()
    }];
    let mut losses = Losses::default();
    losses.add(LossReason::QueueFull, 7);
    store
        .commit(&Group {
            losses,
            settlements: &settlements,
            notes: Notes {
                states: &[held()],
                books: Some(r#"{"accepted":4}"#),
                trouble: Some("no space left"),
            },
            ..Group::default()
        })
        .unwrap();
}

#[track_caller]
fn assert_written(place: &Place) {
    let raw = place.raw();
    for (sql, expected) in WRITTEN {
        let found: String = raw.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(found, expected, "{sql}");
    }
}

#[test]
fn notes_are_in_the_file_with_the_group() {
    let place = Place::new();
    let mut store = place.open();
    fill(&mut store);
    assert_written(&place);
}

#[test]
fn notes_by_themselves_keep_what_an_earlier_driver_knew() {
    let place = Place::new();
    let mut store = place.open();
    fill(&mut store);
    let state = SinkState {
        last_success: None,
        breaker: "closed",
        breaker_since: None,
        hold: None,
        last_error: None,
        ..held()
    };
    let before = store.totals().clone();
    store
        .note(&Notes {
            states: &[state],
            ..Notes::default()
        })
        .unwrap();
    assert_eq!(*store.totals(), before);
    let found: String = place.raw().query_row(STATE, [], |row| row.get(0)).unwrap();
    assert_eq!(
        found,
        "1770000000000001|1770000000000002|closed|bad_key: no such key|1770000000000005"
    );
}

#[test]
fn counts_are_wanted_every_few_seconds() {
    let place = Place::new();
    let mut store = place.open();
    assert!(!store.wants_books());
    place.clock.advance(Duration::from_secs(5));
    assert!(store.wants_books());
    commit_rows(&mut store, &[full_row(1)]);
    assert!(!store.wants_books());
}

/// `fixtures/ledger/v2.db` was written by the first version that had schema 2, with `fill`.
#[test]
fn a_ledger_of_schema_2_is_read() {
    let place = Place::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledger/v2.db");
    fs::copy(fixture, place.path()).unwrap();
    let (mut store, report) = open_at(&place.path(), &Clock::manual(NOW)).unwrap();
    assert!(!report.created);
    let rows = store.reader().unwrap().rows(0, i64::MAX, 100).unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|stored| (stored.seq, Row::clone(&stored.row)))
        .collect();
    assert_eq!(
        found,
        [(1, full_row(1)), (2, full_row(2)), (3, full_row(3))]
    );
    let sink = store.register_sink("posthog").unwrap();
    assert_eq!(
        (sink.cursor, sink.delivered, sink.dead, sink.stragglers),
        (3, 1, 1, 1)
    );
    assert_eq!(store.totals().losses.get(LossReason::QueueFull), 7);
    assert_written(&place);
    commit_rows(&mut store, &[full_row(4)]);
    assert_eq!(store.totals().head, 4);
}

/// A ledger of schema 1 has the new columns after it was opened, all empty, and they are used.
#[test]
fn a_ledger_of_schema_1_gets_the_columns() {
    let place = Place::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledger/v1.db");
    fs::copy(fixture, place.path()).unwrap();
    let (mut store, _) = open_at(&place.path(), &place.clock).unwrap();
    let found: String = place.raw().query_row(STATE, [], |row| row.get(0)).unwrap();
    assert_eq!(found, "");
    store
        .note(&Notes {
            states: &[held()],
            ..Notes::default()
        })
        .unwrap();
    let found: String = place.raw().query_row(STATE, [], |row| row.get(0)).unwrap();
    assert_eq!(found, WRITTEN[0].1);
}
