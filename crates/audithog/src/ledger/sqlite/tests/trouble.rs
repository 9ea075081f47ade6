//! What is put aside, and what is kept back.

use std::fs;
use std::path::PathBuf;

use super::Place;
use crate::config::{LedgerCare, OnDamage};
use crate::ledger::sqlite::SqliteStore;
use crate::ledger::sqlite::busy;
use crate::ledger::sqlite::damage::{lock_to_make, put_aside, put_aside_before, remains};
use crate::ledger::sqlite::file::identity;
use crate::ledger::sqlite::reserve::{self, Reserve};
use crate::ledger::tests::{NOW, commit_rows, full_row, run};
use crate::ledger::{Group, Settlement, Store, StoreErrorKind};

const QUARANTINE: LedgerCare = LedgerCare {
    damaged: OnDamage::Quarantine,
    reserve: None,
};

fn beside(place: &Place, suffix: &str) -> PathBuf {
    format!("{}{suffix}", place.path().display()).into()
}

#[test]
fn what_is_put_aside_keeps_its_bytes_and_never_takes_anothers_name() {
    let place = Place::new();
    for content in ["first", "second"] {
        fs::write(place.path(), content).unwrap();
        fs::write(beside(&place, "-wal"), format!("{content}'s log")).unwrap();
        let found = identity(&place.path()).unwrap().0;
        let aside = put_aside(&place.path(), Some(found), Some((7, 2)), NOW).unwrap();
        let aside = aside.quarantined.unwrap();
        assert_eq!((aside.head, aside.held), (Some(7), 5));
        assert_eq!(fs::read_to_string(&aside.file).unwrap(), content);
        let log = format!("{}-wal", aside.file.display());
        assert_eq!(fs::read_to_string(log).unwrap(), format!("{content}'s log"));
    }
    let found = put_aside_before(&place.path());
    let names: Vec<_> = found
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(
        names[0].starts_with("audit.db.damaged-2") && names[0].ends_with('Z'),
        "{names:?}"
    );
    assert_eq!(names[1], format!("{}-2", names[0]));
}

#[test]
fn another_file_than_the_damaged_one_is_not_put_aside() {
    let place = Place::new();
    fs::write(place.path(), "damaged").unwrap();
    let damaged = identity(&place.path()).unwrap().0;
    fs::rename(place.path(), place.directory.path().join("elsewhere")).unwrap();
    fs::write(place.path(), "a new one").unwrap();
    let aside = put_aside(&place.path(), Some(damaged), None, NOW).unwrap();
    assert_eq!(aside.quarantined, None);
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "a new one");
}

/// By a process that was stopped in the midst of it, or by a shell in that directory.
#[test]
fn a_directory_that_stays_locked_keeps_nobody_for_ever() {
    let place = Place::new();
    fs::write(place.path(), "damaged").unwrap();
    let damaged = identity(&place.path()).unwrap().0;
    let aside = || {
        busy::with_patience(std::time::Duration::ZERO, || {
            put_aside(&place.path(), Some(damaged), None, NOW)
        })
    };
    let lock = lock_to_make(&place.path()).unwrap();
    assert_eq!(aside().unwrap_err().kind, StoreErrorKind::Busy);
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "damaged");
    drop(lock);
    assert!(aside().unwrap().quarantined.is_some());
}

#[test]
fn a_new_ledger_goes_on_behind_the_damaged_one_and_its_books_fit() {
    let place = Place::new();
    let mut store = place.open();
    store.register_sink("posthog").unwrap();
    let rows: Vec<_> = (0..2_000).map(full_row).collect();
    commit_rows(&mut store, &rows);
    store.close().unwrap();
    let length = fs::metadata(place.path()).unwrap().len();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(place.path())
        .unwrap();
    file.set_len(length / 2 / 4_096 * 4_096).unwrap();
    assert_eq!(place.try_open().unwrap_err().kind, StoreErrorKind::Corrupt);
    let opened = SqliteStore::open_with(&place.path(), &run(), "{}", &place.clock, 10, QUARANTINE);
    let (mut store, report) = opened.unwrap();
    assert!(report.created);
    let aside = store.take_quarantined().unwrap();
    assert_eq!((aside.head, aside.held), (Some(2_000), 2_000));
    let sink = store.register_sink("posthog").unwrap();
    assert_eq!(
        (sink.began, sink.cursor, sink.pending(2_000)),
        (2_000, 2_000, 0)
    );
    commit_rows(&mut store, &[full_row(1)]);
    let settlements = [Settlement {
        sink: "posthog",
        cursor: 2_001,
        delivered: 1,
        ..Settlement::default()
    }];
    let settle = Group {
        settlements: &settlements,
        ..Group::default()
    };
    store.commit(&settle).unwrap();
    let sink = &store.totals().sinks["posthog"];
    assert_eq!(
        u64::try_from(store.totals().head - sink.began).unwrap(),
        sink.delivered + sink.pending(store.totals().head)
    );
    let seqs: Vec<i64> = store
        .reader()
        .unwrap()
        .rows(0, i64::MAX, 10)
        .unwrap()
        .iter()
        .map(|row| row.seq)
        .collect();
    assert_eq!(seqs, [2_001]);
    store.close().unwrap();
}

#[test]
fn what_is_left_of_a_ledger_is_no_place_for_a_new_one() {
    let place = Place::new();
    let at = place.path();
    assert!(remains(&at, false).is_ok());
    fs::write(beside(&place, "-wal"), "").unwrap();
    assert!(remains(&at, false).is_ok());
    fs::write(&at, "").unwrap();
    assert!(remains(&at, false).is_ok());
    let refused = |known| remains(&at, known).unwrap_err().kind;
    assert_eq!(refused(true), StoreErrorKind::Corrupt);
    fs::write(reserve::path(&at), "x").unwrap();
    assert_eq!(refused(false), StoreErrorKind::Corrupt);
    fs::remove_file(reserve::path(&at)).unwrap();
    fs::write(beside(&place, "-wal"), "rows").unwrap();
    assert_eq!(refused(false), StoreErrorKind::Corrupt);
    fs::remove_file(&at).unwrap();
    assert_eq!(refused(false), StoreErrorKind::Corrupt);
}

#[test]
fn a_reserve_is_given_up_and_taken_back_whoever_emptied_it() {
    let place = Place::new();
    let size = || fs::metadata(reserve::path(&place.path())).map_or(0, |found| found.len());
    let mut reserve = Reserve::new(&place.path(), Some(1 << 20));
    assert!(!reserve.release(), "nothing was taken");
    assert!(reserve.is_whole(), "nothing is wanted");
    reserve.take_first();
    assert_eq!(size(), 1 << 20);
    assert!(reserve.release() && reserve.release());
    assert_eq!(size(), 0);
    assert!(reserve.is_whole());
    assert_eq!(size(), 1 << 20);
    let mut other = Reserve::new(&place.path(), Some(1 << 20));
    other.take_first();
    assert!(other.release());
    assert!(reserve.is_whole() && other.is_whole());
    assert_eq!(size(), 1 << 20);
    // Larger and smaller by the next settings.
    for bytes in [3 << 20, 2 << 20] {
        Reserve::new(&place.path(), Some(bytes)).take_first();
        assert_eq!(size(), bytes);
    }
    Reserve::new(&place.path(), Some(0)).take_first();
    assert!(!reserve::path(&place.path()).exists());
}

#[test]
fn rows_that_a_reader_cannot_read_are_damage_once_that_is_sure() {
    let place = Place::new();
    let mut store = place.open();
    let rows: Vec<_> = (0..2_000).map(full_row).collect();
    commit_rows(&mut store, &rows);
    store.close().unwrap();
    let mut bytes = fs::read(place.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 16 * 4_096].fill(0xa5);
    fs::write(place.path(), &bytes).unwrap();
    let opened = SqliteStore::open_with(&place.path(), &run(), "{}", &place.clock, 10, QUARANTINE);
    let (mut store, _) = opened.unwrap();
    let mut reader = store.reader().unwrap();
    let rows = [full_row(1)];
    let group = Group {
        rows: &rows,
        ..Group::default()
    };
    for n in 0..2 {
        let read = reader.rows(0, 2_000, 2_000);
        assert!(read.is_err(), "{n}: {}", read.unwrap().len());
        store.commit(&group).unwrap();
    }
    reader.rows(0, 2_000, 2_000).unwrap_err();
    assert_eq!(
        store.commit(&group).unwrap_err().kind,
        StoreErrorKind::Corrupt
    );
    assert!(store.reopen().unwrap());
    assert_eq!(store.take_quarantined().unwrap().head, Some(2_002));
    store.commit(&group).unwrap();
    assert_eq!(reader.rows(0, i64::MAX, 10).unwrap()[0].seq, 2_003);
}

/// As a sink reads it that tries its stragglers again while its line goes on.
#[test]
fn a_row_that_cannot_be_read_by_its_number_is_damage_whatever_else_can_be_read() {
    let place = Place::new();
    let mut store = place.open();
    let stuck = crate::record::Row {
        event: "stuck_xyzzy".into(),
        ..full_row(1)
    };
    commit_rows(&mut store, &[stuck, full_row(2), full_row(3)]);
    store.close().unwrap();
    let mut bytes = fs::read(place.path()).unwrap();
    let name = b"stuck_xyzzy";
    // Not UTF-8 any more, wherever the name is.
    let found = |at: &usize| bytes[*at..].starts_with(name);
    let ats: Vec<usize> = (0..bytes.len()).filter(found).collect();
    assert!(!ats.is_empty());
    for at in ats {
        bytes[at] ^= 0x80;
    }
    fs::write(place.path(), &bytes).unwrap();
    let opened = SqliteStore::open_with(&place.path(), &run(), "{}", &place.clock, 10, QUARANTINE);
    let (mut store, _) = opened.unwrap();
    let mut reader = store.reader().unwrap();
    for n in 0..3 {
        store.commit(&Group::default()).unwrap();
        let read = reader.rows_by_seq(&[2, 1]);
        assert!(read.is_err(), "{n}: {}", read.unwrap().len());
        assert_eq!(reader.rows(1, 3, 10).unwrap().len(), 2);
        assert_eq!(reader.rows_by_seq(&[3]).unwrap().len(), 1);
    }
    let refused = store.commit(&Group::default()).unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Corrupt);
    assert!(store.reopen().unwrap());
    assert_eq!(store.take_quarantined().unwrap().head, Some(3));
    store.commit(&Group::default()).unwrap();
}

#[test]
fn what_another_process_began_after_the_damage_is_not_put_aside() {
    let place = Place::new();
    let mut store = place.open();
    let rows: Vec<_> = (0..2_000).map(full_row).collect();
    commit_rows(&mut store, &rows);
    store.close().unwrap();
    let mut bytes = fs::read(place.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 16 * 4_096].fill(0xa5);
    fs::write(place.path(), &bytes).unwrap();
    let open = || {
        SqliteStore::open_with(&place.path(), &run(), "{}", &place.clock, 10, QUARANTINE)
            .unwrap()
            .0
    };
    let (mut first, mut second) = (open(), open());
    let rows = [full_row(1)];
    let group = Group {
        rows: &rows,
        ..Group::default()
    };
    // Both are sure of the damage before either does something about it.
    for store in [&mut first, &mut second] {
        let mut reader = store.reader().unwrap();
        for _ in 0..3 {
            reader.rows(0, 2_000, 2_000).unwrap_err();
        }
        let refused = store.commit(&group).unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::Corrupt);
    }
    assert!(first.reopen().unwrap());
    assert!(first.take_quarantined().is_some());
    first.commit(&group).unwrap();
    assert!(second.reopen().unwrap(), "another ledger is here");
    assert_eq!(second.take_quarantined(), None);
    assert_eq!(put_aside_before(&place.path()).len(), 1);
    second.commit(&group).unwrap();
    first.commit(&group).unwrap();
    assert_eq!(first.totals().head, 2_003);
    // Nor later, when the new file is opened again for another reason.
    second.poisoned = true;
    assert!(!second.reopen().unwrap());
    assert_eq!(put_aside_before(&place.path()).len(), 1);
}

#[test]
fn an_empty_file_that_another_process_is_making_is_waited_for() {
    let (place, other) = (Place::new(), Place::new());
    let mut store = other.open();
    commit_rows(&mut store, &[full_row(1)]);
    store.close().unwrap();
    // In the place of one that was moved away: its reserve is there.
    let lock = lock_to_make(&place.path()).unwrap();
    fs::write(place.path(), "").unwrap();
    fs::write(reserve::path(&place.path()), "reserve").unwrap();
    let (opened, result) = std::sync::mpsc::channel();
    let (path, clock) = (place.path(), place.clock.clone());
    let thread = std::thread::spawn(move || {
        let store = SqliteStore::open_with(&path, &run(), "{}", &clock, 10, QUARANTINE);
        opened.send(store.unwrap().0.totals().head).unwrap();
    });
    let early = result.recv_timeout(std::time::Duration::from_millis(300));
    assert!(early.is_err(), "it was opened, or put aside: {early:?}");
    fs::write(place.path(), fs::read(other.path()).unwrap()).unwrap();
    drop(lock);
    thread.join().unwrap();
    assert_eq!(result.recv(), Ok(1));
    assert_eq!(put_aside_before(&place.path()), [] as [PathBuf; 0]);
}
