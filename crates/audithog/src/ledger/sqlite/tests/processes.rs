//! Several processes on one file, and processes that die.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Place, open_at};
use crate::books::LossReason;
use crate::clock::Clock;
use crate::ledger::tests::{NOW, commit_rows, full_row, run};
use crate::ledger::{Group, Looker, Notes, Settlement, SqliteStore, Store, Whereabouts};
use crate::record::{Micros, Row};

/// Set for the child of `a_killed_process_is_found_once`.
const CHILD: &str = "AUDITHOG_TEST_CHILD_LEDGER";

#[test]
fn two_writers_take_turns_without_gaps() {
    let place = Place::new();
    let path = place.path();
    let write = |from: u32| {
        let path = path.clone();
        move || {
            let (mut store, _) = open_at(&path, &Clock::manual(NOW)).unwrap();
            for n in from..from + 100 {
                let rows = [full_row(3 * n), full_row(3 * n + 1), full_row(3 * n + 2)];
                let group = Group {
                    rows: &rows,
                    requests: 3,
                    ..Group::default()
                };
                store.commit(&group).unwrap();
            }
            store.close().unwrap();
        }
    };
    let writers = [0, 1_000].map(|from| std::thread::spawn(write(from)));
    for writer in writers {
        writer.join().unwrap();
    }
    let store = place.open();
    assert_eq!((store.totals().head, store.totals().requests), (600, 600));
    let rows = store.reader().unwrap().rows(0, i64::MAX, 1_000).unwrap();
    let seqs: Vec<i64> = rows.iter().map(|stored| stored.seq).collect();
    assert_eq!(seqs, (1..=600).collect::<Vec<_>>());
    let mut found: Vec<_> = rows
        .into_iter()
        .map(|stored| Row::clone(&stored.row))
        .collect();
    found.sort_by_key(|row| row.id);
    let expected: Vec<_> = (0..300).chain(3_000..3_300).map(full_row).collect();
    assert!(found == expected);
}

/// A lease that no test waits out.
const NEXT_YEAR: Micros = Micros(NOW.0 + 365 * 86_400_000_000);

#[test]
fn a_killed_process_is_found_once() {
    let place = Place::new();
    let mut child = spawn_child(&place);

    // While it lives it is not taken for dead.
    let (mut store, report) = place.try_open().unwrap();
    assert_eq!(report.unclean, []);
    store.register_sink("posthog").unwrap();
    assert!(!store.lease("posthog", "heir", NOW, NEXT_YEAR).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();

    // At once, and in the transaction that marks it: nobody would look again if this process were killed now.
    assert!(store.lease("posthog", "heir", NOW, NEXT_YEAR).unwrap());
    let raw = place.raw();
    let (unclean, told, lost): (i64, String, i64) = raw
        .query_row(
            "SELECT unclean, (SELECT properties FROM audit_logs WHERE event = 'audit_loss'),
             (SELECT rows FROM audit_losses WHERE reason = 'unclean_stop') FROM audit_runs WHERE run = 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!((unclean, lost), (1, 77));
    assert!(told.contains(r#""count":77"#), "{told}");
    assert_eq!((store.take_told(), store.take_told()), (1, 0));
    let found = store.take_unclean().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].run.service, "shop");
    assert_eq!((found[0].alive, found[0].queue_capacity), (NOW, 77));
    assert_eq!(store.take_unclean().unwrap(), []);
    store.close().unwrap();
    let (store, report) = place.try_open().unwrap();
    assert_eq!(report.unclean, []);
    assert_eq!(store.totals().head, 3);
}

/// The same test binary, in the part of the child below, with the ledger open.
fn spawn_child(place: &Place) -> std::process::Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::sqlite::tests::processes::child"])
        .arg("--nocapture")
        .env(CHILD, place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let ready = output
        .lines()
        .map_while(Result::ok)
        .any(|line| line.ends_with("committed"));
    assert!(ready, "the child ended early");
    child
}

/// Not a test of its own: what the child does. Does nothing unless asked.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let clock = Clock::manual(NOW);
    let (mut store, _) = SqliteStore::open(path.as_ref(), &run(), "{}", &clock, 77).unwrap();
    commit_rows(&mut store, &[full_row(1), full_row(2)]);
    store.register_sink("posthog").unwrap();
    assert!(store.lease("posthog", "child", NOW, NEXT_YEAR).unwrap());
    println!("committed");
    std::io::stdout().flush().unwrap();
    // Until it is killed, or its parent is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// As a process does that was stopped in the midst of a request, until its lease had ended.
#[test]
fn what_a_former_holder_settles_late_is_not_counted_again() {
    let place = Place::new();
    let (mut old, mut new) = (place.open(), place.open());
    commit_rows(&mut old, &[full_row(1), full_row(2)]);
    for store in [&mut old, &mut new] {
        store.register_sink("posthog").unwrap();
    }
    let later = Micros(NOW.0 + 1);
    assert!(old.lease("posthog", "a", NOW, later).unwrap());
    let delivered = [Settlement {
        sink: "posthog",
        cursor: 2,
        delivered: 2,
        ..Settlement::default()
    }];
    let group = Group {
        settlements: &delivered,
        ..Group::default()
    };
    assert!(!new.lease("posthog", "b", NOW, NEXT_YEAR).unwrap());
    assert!(new.lease("posthog", "b", later, NEXT_YEAR).unwrap());
    new.commit(&group).unwrap();
    old.commit(&group).unwrap();
    let counts = |store: &SqliteStore| {
        let sink = &store.totals().sinks["posthog"];
        (sink.delivered, sink.pending(2))
    };
    assert_eq!(counts(&old), (2, 0));
    // Nor when the lease has been given back in the meantime.
    assert!(new.lease("posthog", "b", later, later).unwrap());
    old.commit(&group).unwrap();
    assert_eq!(counts(&old), (2, 0));
    assert!(old.lease("posthog", "a", later, NEXT_YEAR).unwrap());
}

/// Another container or host: its processes cannot be looked up here.
#[test]
fn a_run_that_cannot_be_looked_up_is_presumed_stopped_after_a_minute() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1)]);
    let raw = place.raw();
    for (column, value) in [("host_boot", "other boot"), ("instance", "host-2")] {
        raw.execute_batch("DROP TRIGGER IF EXISTS audit_runs_update")
            .unwrap();
        raw.execute(&format!("UPDATE audit_runs SET {column} = ?1"), [value])
            .unwrap();
    }
    let (mut other, report) = place.try_open().unwrap();
    assert_eq!(report.unclean, []);
    place.clock.advance(Duration::from_secs(59));
    assert_eq!(other.take_unclean().unwrap(), []);
    // A group without rows is a sign of life.
    store.commit(&Group::default()).unwrap();
    place.clock.advance(Duration::from_secs(60));
    assert_eq!(other.take_unclean().unwrap(), []);
    place.clock.advance(Duration::from_secs(1));
    let found = other.take_unclean().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].alive.since(NOW), Duration::from_secs(59));
}

/// Its process was frozen for so long, or somebody's clock was set.
#[test]
fn a_run_that_was_wrongly_presumed_stopped_goes_on_and_its_real_end_is_told() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1)]);
    let raw = place.raw();
    raw.execute("UPDATE audit_runs SET host_boot = 'other boot'", [])
        .unwrap();
    raw.execute_batch("DROP TRIGGER audit_runs_update").unwrap();
    raw.execute("UPDATE audit_runs SET instance = 'host-2'", [])
        .unwrap();
    let mut other = place.open();
    let state = || -> (bool, i64) {
        let sql = "SELECT ended_ts IS NULL, unclean FROM audit_runs WHERE run = 1";
        raw.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    };
    let open_runs = || {
        let glance = Looker::open(&place.path())
            .unwrap()
            .glance(place.clock.wall());
        glance.unwrap().open_runs.len()
    };
    let books = Notes {
        books: Some("{}"),
        ..Notes::default()
    };
    for (told, by_itself) in [(1, false), (2, true)] {
        place.clock.advance(Duration::from_secs(61));
        assert_eq!(other.take_unclean().unwrap().len(), 1);
        assert_eq!((state(), open_runs()), ((false, 1), 1));
        match by_itself {
            true => store.note(&books).unwrap(),
            false => drop(store.commit(&Group::default()).unwrap()),
        }
        assert_eq!((state(), open_runs()), ((true, 0), 2));
        assert_eq!(other.take_unclean().unwrap(), []);
        let losses = other.totals().losses.get(LossReason::UncleanStop);
        assert_eq!(losses, told * 1_000);
    }
    // Each is told by a row, and the real end by one more.
    place.clock.advance(Duration::from_secs(61));
    drop(store);
    assert_eq!(other.take_unclean().unwrap().len(), 1);
    assert_eq!(other.totals().losses.get(LossReason::UncleanStop), 3_000);
    let rows = other.reader().unwrap().rows(0, i64::MAX, 10).unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.row.event.to_string()).collect();
    assert_eq!(events[1..], ["audit_loss"; 3]);
}

#[test]
fn a_run_that_was_wrongly_presumed_stopped_is_continued_by_opening_again() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1)]);
    place
        .raw()
        .execute("UPDATE audit_runs SET ended_ts = 1, unclean = 1", [])
        .unwrap();
    store.poisoned = true;
    // Else its rows would be told as those of a ledger that is gone.
    assert!(!store.reopen().unwrap());
    commit_rows(&mut store, &[full_row(2)]);
    let open: i64 = place
        .raw()
        .query_row(
            "SELECT count(*) FROM audit_runs WHERE ended_ts IS NULL AND NOT unclean",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!((open, store.run), (1, 1));
}

#[test]
fn a_reboot_ends_the_runs_of_the_same_instance() {
    let place = Place::new();
    let _store = place.open();
    let raw = place.raw();
    raw.execute("UPDATE audit_runs SET host_boot = 'other boot'", [])
        .unwrap();
    let (_, report) = place.try_open().unwrap();
    assert_eq!(report.unclean.len(), 1);
}

#[test]
fn other_settings_of_the_same_service_are_reported() {
    let place = Place::new();
    let open = |service: &str, settings: &str| {
        let run = crate::record::Run {
            service: service.to_owned(),
            ..run()
        };
        let opened = SqliteStore::open(&place.path(), &run, settings, &place.clock, 1);
        let (mut store, report) = opened.unwrap();
        store.close().unwrap();
        report.previous_settings
    };
    assert_eq!(open("shop", "{\"a\":1}"), None);
    assert_eq!(open("jobs", "{\"b\":1}"), None);
    assert_eq!(open("shop", "{\"a\":1}"), None);
    assert_eq!(open("shop", "{\"a\":2}").as_deref(), Some("{\"a\":1}"));
}

/// A copy is to its process what a file is that was moved away under it.
#[test]
fn a_file_that_its_live_process_has_not_open_is_free_after_a_minute() {
    let place = Place::new();
    let mut child = spawn_child(&place);
    let copy = place.directory.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", place.path().display());
        std::fs::copy(from, format!("{}{suffix}", copy.display())).unwrap();
    }
    let at = |path: &std::path::Path, seconds: i64| {
        let mut looker = Looker::open(path).unwrap();
        let now = Micros(NOW.0 + seconds * 1_000_000);
        looker.glance(now).unwrap().open_runs[0].at
    };
    assert_eq!(at(&place.path(), 10), Whereabouts::Here);
    assert_eq!(at(&place.path(), 61), Whereabouts::Here);
    assert_eq!(at(&copy, 10), Whereabouts::Here);
    assert_eq!(at(&copy, 61), Whereabouts::Left);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(at(&copy, 61), Whereabouts::Gone);
}
