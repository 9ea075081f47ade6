//! The file itself: who may read it, what else it may be, and what happens when it goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::{Connection, StatementStatus};

use super::{Place, open_at, refusal};
use crate::clock::Clock;
use crate::ledger::sqlite::schema::VERSION;
use crate::ledger::sqlite::{SqliteReader, open, runs};
use crate::ledger::tests::{NOW, commit_rows, full_row};
use crate::ledger::writer::{Mark, found};
use crate::ledger::{Group, Settlement, Store, StoreErrorKind};
use crate::record::{Micros, Row};

#[test]
fn only_the_owner_may_read_the_files() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1)]);
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", place.path().display());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}

#[test]
fn the_first_opening_creates_and_the_second_continues() {
    let place = Place::new();
    let (mut store, report) = place.try_open().unwrap();
    assert!(report.created);
    commit_rows(&mut store, &[full_row(1), full_row(2)]);
    store.close().unwrap();
    let (store, report) = place.try_open().unwrap();
    assert!(!report.created);
    assert_eq!(store.totals().head, 2);
    assert_eq!(store.run, 2);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_not_changed() {
    let place = Place::new();
    place.open().close().unwrap();
    let newer = VERSION + 1;
    let raw = place.raw();
    raw.pragma_update(None, "user_version", newer).unwrap();
    raw.close().unwrap();
    let before = fs::read(place.path()).unwrap();
    let (kind, message) = refusal(&place.path());
    assert_eq!(kind, StoreErrorKind::Newer);
    assert!(message.ends_with(&format!(
        "was written by a newer version of audithog (schema {newer}, this version knows {VERSION})"
    )));
    assert!(fs::read(place.path()).unwrap() == before);
}

#[test]
fn foreign_files_are_refused_and_not_changed() {
    let place = Place::new();
    let text = place.directory.path().join("notes.txt");
    fs::write(
        &text,
        "Not a database, but long enough to be taken for one. ".repeat(100),
    )
    .unwrap();
    let other = place.directory.path().join("other.db");
    let connection = Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE t (x)").unwrap();
    connection.close().unwrap();
    let other_wal = place.directory.path().join("other-wal.db");
    let connection = Connection::open(&other_wal).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
        .unwrap();
    connection.close().unwrap();
    for path in [&text, &other, &other_wal] {
        let before = fs::read(path).unwrap();
        let (kind, message) = refusal(path);
        assert_eq!(kind, StoreErrorKind::Unusable);
        assert_eq!(
            message,
            format!("the file {} is not an audithog ledger", path.display())
        );
        assert!(fs::read(path).unwrap() == before, "{}", path.display());
    }
}

#[test]
fn a_damaged_header_is_refused() {
    let place = Place::new();
    place.open().close().unwrap();
    let mut bytes = fs::read(place.path()).unwrap();
    bytes[..16].fill(0xff);
    fs::write(place.path(), &bytes).unwrap();
    assert_eq!(refusal(&place.path()).0, StoreErrorKind::Unusable);
    assert!(fs::read(place.path()).unwrap() == bytes);
}

#[test]
fn a_damaged_page_is_reported_as_corrupt() {
    let place = Place::new();
    let mut store = place.open();
    let rows: Vec<_> = (0..2_000).map(full_row).collect();
    commit_rows(&mut store, &rows);
    store.close().unwrap();
    let whole = fs::read(place.path()).unwrap();
    let damage = |range: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[range].fill(0xa5);
        fs::write(place.path(), &bytes).unwrap();
    };
    // The tail: told at the start.
    let middle = whole.len() / 2 / 4096 * 4096;
    damage(middle..whole.len());
    let error = place.try_open().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    // In the middle: told by whoever reads it.
    damage(middle..middle + 16 * 4096);
    let (store, _) = place.try_open().unwrap();
    let error = store.reader().unwrap().rows(0, 2_000, 2_000).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
}

#[test]
fn an_unusable_place_is_one_sentence_that_names_it() {
    let place = Place::new();
    let root = place.directory.path();
    let missing = root.join("missing/audit.db");
    let (kind, message) = refusal(&missing);
    assert_eq!(kind, StoreErrorKind::Unusable);
    assert_eq!(
        message,
        format!(
            "the ledger's directory {} cannot be used",
            root.join("missing").display()
        )
    );
    fs::write(root.join("file"), "").unwrap();
    let (_, message) = refusal(&root.join("file/audit.db"));
    assert_eq!(
        message,
        format!(
            "the ledger's directory {} is not a directory",
            root.join("file").display()
        )
    );
    let (_, message) = refusal(root);
    assert_eq!(
        message,
        format!("the ledger {} is a directory", root.display())
    );
}

#[test]
fn a_symbolic_link_is_followed() {
    let place = Place::new();
    place.open().close().unwrap();
    let link = place.directory.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let (mut store, report) = open_at(&link, &place.clock).unwrap();
    assert!(!report.created);
    commit_rows(&mut store, &[full_row(1)]);
    let real = fs::canonicalize(place.path()).unwrap();
    assert_eq!(store.opened().unwrap().files.path(), &*real);
}

#[test]
fn a_deleted_file_stops_the_store_until_it_is_reopened() {
    for gone in ["audit.db", "audit.db-wal"] {
        let place = Place::new();
        let mut store = place.open();
        store.register_sink("posthog").unwrap();
        commit_rows(&mut store, &[full_row(1)]);
        fs::remove_file(place.directory.path().join(gone)).unwrap();
        let rows = [full_row(2)];
        let group = Group {
            rows: &rows,
            ..Group::default()
        };
        let error = store.commit(&group).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Io);
        assert!(error.message.ends_with("was deleted or replaced"));
        // Putting a file there is not enough: the store stays shut.
        fs::write(place.directory.path().join(gone), "").unwrap();
        assert_eq!(store.commit(&group).unwrap_err().kind, StoreErrorKind::Io);
        fs::remove_file(place.directory.path().join(gone)).unwrap();
        store.reopen().unwrap();
        commit_rows(&mut store, &rows);
        assert!(store.totals().sinks.contains_key("posthog"));
        store.close().unwrap();
    }
}

#[test]
fn an_idle_store_notices_that_its_file_is_gone() {
    let place = Place::new();
    let mut store = place.open();
    fs::remove_file(place.path()).unwrap();
    let error = store.commit(&Group::default()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Io);
}

#[test]
fn reopening_a_file_that_is_whole_goes_on_with_the_run() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1)]);
    let run = store.run;
    store.reopen().unwrap();
    assert_eq!(store.take_unclean().unwrap(), []);
    assert_eq!(store.run, run);
    assert_eq!(store.totals().head, 1);
}

/// `fixtures/ledger/v1.db` was written by the first version that had schema 1.
#[test]
fn a_ledger_of_schema_1_is_read() {
    let place = Place::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledger/v1.db");
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
    assert_eq!(rows[0].run.service, "shop");
    let sink = store.register_sink("posthog").unwrap();
    assert_eq!((sink.cursor, sink.delivered, sink.stragglers), (2, 1, 1));
    commit_rows(&mut store, &[full_row(4)]);
    assert_eq!(store.totals().head, 4);
}

#[test]
fn a_missing_row_is_found_by_the_check() {
    let place = Place::new();
    let mut store = place.open();
    let rows: Vec<_> = (0..10).map(full_row).collect();
    commit_rows(&mut store, &rows);
    store.prune(Micros(NOW.0 + 1), 2).unwrap();
    let mut reader = SqliteReader::open(&place.path()).unwrap();
    assert_eq!(reader.check(0, 5).unwrap(), Some(7));
    assert_eq!(reader.check(7, 5).unwrap(), Some(10));
    assert_eq!(reader.check(10, 5).unwrap(), None);
    place
        .raw()
        .execute_batch("DROP TRIGGER audit_rows_delete; DELETE FROM audit_rows WHERE seq = 6")
        .unwrap();
    let error = reader.check(0, 5).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert_eq!(error.message, "the ledger is damaged: row 6 is missing");
}

/// SQLite syncs the log only when a commit adds to it, so each sync must add something: also while
/// the clock stands, and when a settlement says nothing new.
#[test]
fn a_sync_writes_even_if_nothing_is_new() {
    let place = Place::new();
    let mut store = place.open();
    store.register_sink("posthog").unwrap();
    let settlements = [Settlement {
        sink: "posthog",
        ..Settlement::default()
    }];
    let nothing_new = Group {
        settlements: &settlements,
        sync: true,
        ..Group::default()
    };
    for n in 0..3 {
        commit_rows(&mut store, &[full_row(2 * n)]);
        let before = store.size().unwrap().log;
        drop(
            store
                .commit(&Group {
                    sync: true,
                    ..Group::default()
                })
                .unwrap(),
        );
        assert!(store.size().unwrap().log > before);
        commit_rows(&mut store, &[full_row(2 * n + 1)]);
        let before = store.size().unwrap().log;
        store.commit(&nothing_new).unwrap();
        assert!(store.size().unwrap().log > before);
    }
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let error = open_at(Path::new("/dev/null"), &Clock::manual(NOW)).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unusable);
    assert_eq!(error.message, "the ledger /dev/null is no regular file");
}

/// A signature of unknown outcome is no sign of a group that was never tried.
#[test]
fn a_group_that_came_upon_a_failed_store_is_not_taken_for_stored() {
    let place = Place::new();
    let mut store = place.open();
    let index = format!("{}-shm", place.path().display());
    let aside = format!("{index}-aside");
    let run = store.run;
    let failed = store.transact("note its state", false, |connection, _, _| {
        // Gone when the commit is looked after, which has happened then.
        fs::rename(&index, &aside).unwrap();
        runs::sign_of_life(connection, run, NOW)
    });
    assert_eq!(failed.unwrap_err().kind, StoreErrorKind::Io);
    fs::rename(&aside, &index).unwrap();

    let rows = [Row {
        caller_id: true,
        ..full_row(1)
    }];
    let group = Group {
        rows: &rows,
        ..Group::default()
    };
    let before = Mark::of(&store);
    store.commit(&group).unwrap_err();
    assert!(!store.reopen().unwrap());
    assert_eq!(found(&store, &group, before).unwrap(), None);
    assert_eq!(store.commit(&group).unwrap().duplicates, [0; 0]);
}

#[test]
fn the_log_is_emptied_before_that_takes_long() {
    let place = Place::new();
    let mut store = place.open();
    // So few rows ask for no checkpoint: each is taken for one of the usual length.
    let mut row = full_row(1);
    row.caller_id = false;
    row.properties = Some(format!(r#"{{"long":"{}"}}"#, "x".repeat(80_000)).into());
    let rows = vec![row; 10];
    let mut largest = 0;
    for _ in 0..24 {
        let group = Group {
            rows: &rows,
            ..Group::default()
        };
        store.commit(&group).unwrap();
        largest = largest.max(store.standing().log_bytes);
    }
    assert!(largest > 7 << 20, "{largest}");
    assert!(largest < 10 << 20, "{largest}");
}

/// Each connection has a cache of its own, which SQLite would let grow to 2 MB.
#[test]
fn whoever_goes_through_the_log_keeps_few_pages_of_it() {
    let place = Place::new();
    let store = place.open();
    let kept = |connection: &Connection| -> i64 {
        let kept = connection.query_row("PRAGMA cache_size", [], |row| row.get(0));
        kept.unwrap()
    };
    assert_eq!(kept(&store.open.as_ref().unwrap().connection), -512);
    let reader = SqliteReader::open(&place.path()).unwrap();
    let seat = reader.seat().lock().unwrap();
    assert_eq!(kept(&seat.as_ref().unwrap().connection), -512);
}

/// SQLite prepares one again whose plan it thinks may depend on what is bound.
#[test]
fn a_statement_stays_prepared_whatever_is_bound_to_it() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1), full_row(2), full_row(3)]);
    for connection in [
        open::reader(&place.path()).unwrap(),
        open::writer(&place.path(), None, false).unwrap().0,
    ] {
        let mut statement = connection
            .prepare("SELECT seq FROM audit_rows WHERE seq > ?1 ORDER BY seq LIMIT ?2")
            .unwrap();
        let mut read = |after: i64, limit: i64| {
            let rows = statement.query_map([after, limit], |row| row.get::<_, i64>(0));
            rows.unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(read(0, 1), [1]);
        assert_eq!(read(1, 2), [2, 3]);
        assert_eq!(read(0, 3), [1, 2, 3]);
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
