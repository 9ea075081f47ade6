//! Ledgers in every state in which somebody may find one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{
    Access, AccessNote, Action, DeadLetters, LedgerFile, Limits, ProblemKind, Replayed, RunState,
    Status,
};
use crate::books::{LossReason, Losses};
use crate::clock::Clock;
use crate::ledger::tests::{commit_rows, full_row, run};
use crate::ledger::{
    DeadLetter, Group, HoldState, Notes, Settlement, SinkState, SqliteStore, Store, Straggler,
};
use crate::record::{Micros, Run};

const SETTINGS: &str = r#"{"posthog":{"sample":["/agents/{id} failure=0.25"]}}"#;

/// A directory with a name that a URI would misread.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("a b%3f?#ä").tempdir();
        Self(directory.unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.db")
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            // Readers leave their marks in the index of the log: that is what it is for.
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let bytes = if name.ends_with("-shm") {
                    Vec::new()
                } else {
                    fs::read(path).unwrap()
                };
                (name, bytes)
            })
            .collect();
        files.sort();
        files
    }

    fn copy_to(&self, other: &Path, suffixes: &[&str]) {
        for suffix in suffixes {
            let name = format!("audit.db{suffix}");
            fs::copy(self.0.path().join(&name), other.join(&name)).unwrap();
        }
    }
}

fn store(place: &Place) -> SqliteStore {
    let opened = SqliteStore::open(&place.path(), &run(), SETTINGS, &Clock::system(), 1_000);
    opened.unwrap().0
}

/// Ten rows: three delivered, one dead, one a straggler, five behind the cursor; and a loss.
fn fill(store: &mut SqliteStore) {
    store.register_sink("posthog").unwrap();
    let rows: Vec<_> = (0..10).map(full_row).collect();
    commit_rows(store, &rows);
    let settlements = [Settlement {
        sink: "posthog",
        cursor: 5,
        delivered: 3,
        dead: vec![DeadLetter {
            seq: 2,
            ts: full_row(1).ts,
            reason: "invalid event".to_owned(),
        }],
        stragglers: vec![Straggler {
            seq: 3,
            attempts: 1,
            since: Micros::now(),
            next: Micros::now(),
            reason: "503".to_owned(),
        }],
        ..Settlement::default()
    }];
    let mut losses = Losses::default();
    losses.add(LossReason::QueueFull, 7);
    store
        .commit(&Group {
            losses,
            requests: 10,
            settlements: &settlements,
            notes: Notes {
                states: &[SinkState {
                    sink: "posthog",
                    at: Micros::now(),
                    last_success: Some(Micros::now()),
                    breaker: "closed",
                    breaker_since: None,
                    hold: Some(HoldState {
                        reason: "bad_key",
                        since: Micros::now(),
                        detail: "no such key".to_owned(),
                        remedy: "set a key",
                    }),
                    last_error: None,
                }],
                books: Some(
                    r#"{"requestsSeen":11,"requestsInProgress":1,"requestsAccepted":10,
                        "requestsExcluded":0,"accepted":17,"stored":10,"queued":0,
                        "lost":{"queue_full":7},"late":2,"later":3}"#,
                ),
                trouble: None,
            },
            ..Group::default()
        })
        .unwrap();
}

#[track_caller]
fn status(path: &Path) -> Status {
    LedgerFile::open(path).unwrap().status().unwrap()
}

#[track_caller]
fn assert_filled(status: &Status) {
    assert_eq!(
        (status.rows.head, status.rows.kept, status.rows.requests),
        (10, 10, 10)
    );
    let sink = &status.sinks[0];
    assert_eq!(
        (sink.delivered, sink.dead, sink.stragglers, sink.pending),
        (3, 1, 1, 6)
    );
    assert!(sink.configured);
    // The first row after the cursor is from long ago.
    assert!(sink.oldest_pending_seconds.unwrap() > 1e6);
    let hold = sink.hold.as_ref().unwrap();
    assert_eq!((&*hold.reason, &*hold.remedy), ("bad_key", "set a key"));
    assert_eq!(
        (&*status.losses[0].reason, status.losses[0].rows),
        ("queue_full", 7)
    );
    let books = status.runs.last().unwrap().books.as_ref().unwrap();
    assert_eq!((books.requests_seen, books.accepted), (11, 17));
    assert_eq!((books.late, &books.others["later"]), (2, &3.into()));
    let equations: Vec<_> = status
        .equations
        .iter()
        .map(|it| (&*it.sentence, it.holds))
        .collect();
    assert_eq!(
        equations,
        [
            ("11 seen = 1 in progress + 10 accepted + 0 excluded", true),
            ("17 accepted = 10 stored + 0 queued + 7 lost", true),
            (
                "10 stored = 3 delivered + 0 sampled out + 0 held back + 1 dead + 6 pending",
                true
            ),
        ]
    );
}

#[test]
fn a_live_ledger_is_read_beside_its_writer() {
    let place = Place::new();
    let mut store = store(&place);
    fill(&mut store);
    let before = place.files();
    let mut file = LedgerFile::open(place.path()).unwrap();
    let found = file.status().unwrap();
    assert_filled(&found);
    assert_eq!(found.file.access, Access::Shared);
    assert_eq!(found.runs[0].state, RunState::Alive);
    assert!(place.files() == before);
    commit_rows(&mut store, &[full_row(10)]);
    assert_eq!(file.status().unwrap().rows.head, 11);
}

#[test]
fn a_closed_ledger_is_read_without_a_trace() {
    let place = Place::new();
    let mut first = store(&place);
    fill(&mut first);
    first.close().unwrap();
    let before = place.files();
    assert_eq!(before.len(), 1);
    let mut file = LedgerFile::open(place.path()).unwrap();
    let found = file.status().unwrap();
    assert_filled(&found);
    assert_eq!(found.file.access, Access::Still);
    assert_eq!(found.runs[0].state, RunState::Ended);
    assert!(place.files() == before);
    // A start is seen by whoever has it open already.
    let mut again = store(&place);
    commit_rows(&mut again, &[full_row(10)]);
    let found = file.status().unwrap();
    assert_eq!((found.rows.head, found.file.access), (11, Access::Shared));
}

#[test]
fn a_copy_with_its_log_is_read_without_a_trace() {
    let (live, copy) = (Place::new(), Place::new());
    let mut store = store(&live);
    fill(&mut store);
    live.copy_to(copy.0.path(), &["", "-wal"]);
    let before = copy.files();
    let found = status(&copy.path());
    assert_filled(&found);
    assert_eq!(found.file.access, Access::Alone);
    assert!(
        copy.files() == before,
        "{:?}",
        copy.files()
            .iter()
            .map(|(n, _)| n.clone())
            .collect::<Vec<_>>()
    );
}

#[test]
fn what_a_killed_process_left_is_read_and_stays() {
    let (live, dead) = (Place::new(), Place::new());
    let mut store = store(&live);
    fill(&mut store);
    live.copy_to(dead.0.path(), &["", "-wal", "-shm"]);
    let before = dead.files();
    let found = status(&dead.path());
    assert_filled(&found);
    assert_eq!(found.file.access, Access::Shared);
    assert!(dead.files() == before);
}

#[test]
fn a_look_at_a_copy_is_no_row_while_its_original_is_written() {
    let live = Place::new();
    let mut store = store(&live);
    fill(&mut store);
    let look = |path: &Path| {
        let note = AccessNote::new(Action::Read, "ada", "query failures");
        LedgerFile::open(path).unwrap().record_access(&[note])
    };
    let backup = Place::new();
    let raw = rusqlite::Connection::open(live.path()).unwrap();
    let into = backup.path();
    raw.execute("VACUUM INTO ?1", [into.to_str().unwrap()])
        .unwrap();
    let copy = Place::new();
    live.copy_to(copy.0.path(), &["", "-wal"]);
    for copy in [backup, copy] {
        let before = copy.files();
        assert_eq!(status(&copy.path()).runs[0].state, RunState::Alive);
        assert!(!look(&copy.path()).unwrap());
        assert!(copy.files() == before);
    }
    assert!(look(&live.path()).unwrap());
    assert_eq!(status(&live.path()).rows.head, 11);
}

/// A disk that cannot be written, as root too.
struct ReadOnly(tempfile::TempDir);

impl ReadOnly {
    fn with(live: &Place, suffixes: &[&str]) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        this.mount(&["-t", "tmpfs", "-o", "size=8m", "none"]);
        live.copy_to(this.0.path(), suffixes);
        this.mount(&["-o", "remount,ro"]);
        this
    }

    fn mount(&self, arguments: &[&str]) {
        let mount = Command::new("mount")
            .args(arguments)
            .arg(self.0.path())
            .output();
        let mount = mount.expect("mount(8), from the package mount");
        assert!(
            mount.status.success(),
            "needs root to mount a tmpfs: {mount:?}"
        );
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn ledgers_on_a_read_only_disk_are_read() {
    let live = Place::new();
    let mut first = store(&live);
    fill(&mut first);
    for suffixes in [&["", "-wal"][..], &["", "-wal", "-shm"]] {
        let disk = ReadOnly::with(&live, suffixes);
        assert_filled(&status(&disk.0.path().join("audit.db")));
    }
    first.close().unwrap();
    let disk = ReadOnly::with(&live, &[""]);
    assert_filled(&status(&disk.0.path().join("audit.db")));
}

#[test]
fn what_is_no_ledger_is_refused_and_nothing_is_made() {
    let place = Place::new();
    let message = |path: &Path| LedgerFile::open(path).unwrap_err().to_string();
    let at = place.path();
    assert_eq!(
        message(&at),
        format!("there is no ledger at {}", at.display())
    );
    assert_eq!(place.files(), []);
    assert_eq!(
        message(place.0.path()),
        format!("{} is no regular file", place.0.path().display())
    );
    let foreign = format!("the file {} is not an audithog ledger", at.display());
    fs::write(&at, "").unwrap();
    assert_eq!(message(&at), foreign);
    fs::write(
        &at,
        "Not a database, but long enough to be taken for one. ".repeat(100),
    )
    .unwrap();
    assert_eq!(message(&at), foreign);
    assert_eq!(place.files().len(), 1);
}

#[test]
fn a_newer_ledger_is_refused() {
    let place = Place::new();
    store(&place).close().unwrap();
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    raw.close().unwrap();
    let error = LedgerFile::open(place.path()).unwrap_err();
    assert!(error.is_newer_ledger(), "{error}");
}

#[test]
fn a_ledger_of_schema_1_is_read_and_not_migrated() {
    let place = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledger");
    fs::copy(fixtures.join("v1.db"), place.path()).unwrap();
    let before = place.files();
    let found = status(&place.path());
    assert_eq!((found.file.schema, found.rows.head), (1, 3));
    let sink = &found.sinks[0];
    assert_eq!((sink.delivered, sink.stragglers, sink.pending), (1, 1, 2));
    assert!(sink.hold.is_none() && sink.breaker.is_none() && !sink.configured);
    assert!(place.files() == before);
}

#[test]
fn problems_come_with_the_worst_first() {
    let place = Place::new();
    let mut store = store(&place);
    fill(&mut store);
    let found = status(&place.path());
    let kinds = |limits: Limits| -> Vec<_> {
        found
            .problems(&limits)
            .iter()
            .map(|problem| problem.kind)
            .collect()
    };
    assert_eq!(
        kinds(Limits::default()),
        [
            ProblemKind::Losses,
            ProblemKind::Hold,
            ProblemKind::PendingTooOld,
            ProblemKind::DeadLetters
        ]
    );
    let patient = Limits::default()
        .max_pending_age(Duration::from_secs(u32::MAX.into()))
        .window(Duration::ZERO)
        .max_dead_letters(1);
    assert_eq!(kinds(patient), [ProblemKind::Hold]);
}

#[test]
fn a_full_disk_and_a_damaged_file_are_told_as_what_they_are() {
    let place = Place::new();
    let mut store = store(&place);
    let mut losses = Losses::default();
    losses.add(LossReason::LedgerDamaged, 7);
    let notes = Notes {
        trouble: Some("the disk is full"),
        ..Notes::default()
    };
    let group = Group {
        losses,
        notes,
        ..Group::default()
    };
    store.commit(&group).unwrap();
    let aside = place.0.path().join("audit.db.damaged-20260301T090000Z");
    fs::write(&aside, "damaged").unwrap();
    let told = || {
        let found = status(&place.path());
        assert_eq!(found.file.damaged, [fs::canonicalize(&aside).unwrap()]);
        let problems = found.problems(&Limits::default());
        problems
            .iter()
            .map(|problem| format!("{}: {}", problem.text, problem.remedy))
            .collect::<Vec<_>>()
            .join("\n")
    };
    fs::write(place.0.path().join("audit.db-reserve"), "whole").unwrap();
    let before = told();
    assert!(before.contains("it writes again"), "{before}");
    assert!(before.contains("at most 7 in all: save what"), "{before}");
    fs::write(place.0.path().join("audit.db-reserve"), "").unwrap();
    let full = told();
    assert!(!full.contains("it writes again"), "{full}");
    assert!(full.contains("rows wait in memory: make room"), "{full}");
}

#[test]
fn books_that_do_not_add_up_are_told() {
    let place = Place::new();
    let mut store = store(&place);
    fill(&mut store);
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    raw.execute_batch("UPDATE audit_sinks SET delivered = 4")
        .unwrap();
    let found = status(&place.path());
    let problem = &found.problems(&Limits::default())[0];
    assert_eq!(problem.kind, ProblemKind::BrokenEquation);
    assert!(
        problem.text.contains("10 stored = 4 delivered"),
        "{}",
        problem.text
    );
}

#[test]
fn dead_letters_are_read_with_their_rows_page_by_page() {
    let place = Place::new();
    let mut store = store(&place);
    store.register_sink("posthog").unwrap();
    let rows: Vec<_> = (0..450).map(full_row).collect();
    commit_rows(&mut store, &rows);
    let letter = |seq| DeadLetter {
        seq,
        ts: full_row(0).ts,
        reason: if seq % 2 == 0 { "even" } else { "odd" }.to_owned(),
    };
    let settlements = [Settlement {
        sink: "posthog",
        cursor: 450,
        dead: (1..=450).map(letter).collect(),
        ..Settlement::default()
    }];
    store
        .commit(&Group {
            settlements: &settlements,
            ..Group::default()
        })
        .unwrap();
    let mut file = LedgerFile::open(place.path()).unwrap();
    let mut seqs = |which| -> Vec<u64> {
        file.dead_letters(which)
            .map(|letter| letter.unwrap().seq())
            .collect()
    };
    assert_eq!(seqs(DeadLetters::all()), (1..=450).collect::<Vec<_>>());
    let even = DeadLetters::all().of_sink("posthog").with_reason("even");
    assert_eq!(seqs(even), (1..=225).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(seqs(DeadLetters::all().of_sink("postgres")), [0_u64; 0]);
    let one = DeadLetters::all().with_seqs([7, 9_999]);
    let letter = file.dead_letters(one).next().unwrap().unwrap();
    assert_eq!((letter.sink(), letter.reason()), ("posthog", "odd"));
    assert_eq!(letter.row().unwrap(), &full_row(6));
    // Retention takes the row; the letter stays and says so.
    assert_eq!(store.prune(Micros(i64::MAX), 5).unwrap(), 5);
    let first = file.dead_letters(DeadLetters::all()).next();
    assert!(first.unwrap().unwrap().row().is_none());
}

#[test]
fn a_projection_counts_with_the_sampling_rules() {
    let place = Place::new();
    let mut store = store(&place);
    let now = Micros::now();
    let rows: Vec<_> = (0..3_000_u32)
        .map(|n| {
            let mut row = full_row(n);
            // One every 20 s, over the last 16 hours and 40 minutes.
            row.ts = now.saturating_sub(Duration::from_secs(u64::from(20 * (3_000 - n))));
            if n % 3 == 0 {
                row.event = "agent_published".into();
                row.exchange = None;
            }
            row
        })
        .collect();
    commit_rows(&mut store, &rows);
    let projection = LedgerFile::open(place.path())
        .unwrap()
        .projection()
        .unwrap()
        .unwrap();
    assert_eq!(
        (projection.based_on_rows, projection.rows_read),
        (3_000, 2_000)
    );
    let month = 30.0 * 86_400.0 / 20.0;
    let close = |found: u64, expected: f64| {
        assert!(
            (found as f64 - expected).abs() < 0.03 * expected,
            "{found}, not {expected}"
        );
    };
    let requests = &projection.by_route[1];
    assert_eq!(requests.route.as_deref(), Some("/agents/{id}"));
    close(requests.rows_per_month, month * 2.0 / 3.0);
    close(requests.events_per_month, month * 2.0 / 3.0 * 0.25);
    close(projection.by_route[0].events_per_month, month / 3.0);
    close(projection.events_per_month, month / 2.0);
}

#[test]
fn a_replayed_letter_waits_again_and_a_row_tells() {
    let place = Place::new();
    let mut store = store(&place);
    fill(&mut store);
    let mut file = LedgerFile::open(place.path()).unwrap();
    let none = file
        .replay(DeadLetters::all().with_seqs([3]), "ada")
        .unwrap();
    assert_eq!(none, Replayed::default());
    assert_eq!(file.status().unwrap().rows.head, 10);
    let done = file.replay(DeadLetters::all(), "ada").unwrap();
    assert_eq!((done.replayed, done.gone), (1, 0));
    let found = file.status().unwrap();
    let sink = &found.sinks[0];
    // The row that tells of it waits too.
    assert_eq!((sink.dead, sink.stragglers, sink.pending), (0, 2, 8));
    assert!(found.equations.iter().all(|equation| equation.holds));
    assert!(sink.configured);
    let mut reader = store.reader().unwrap();
    let told = reader.rows(10, 11, 1).unwrap().remove(0);
    assert_eq!(
        (&*told.row.event, &*told.run.service),
        ("audit_dead_letters_replayed", "shop")
    );
    assert_eq!(
        told.row.properties.as_deref(),
        Some(r#"{"by":"ada","count":1,"first":2,"last":2,"sink":"posthog"}"#)
    );
    let again = &reader.stragglers("posthog", 10).unwrap()[1];
    assert_eq!((again.seq, again.attempts), (2, 0));
    assert!(Micros::now().since(again.since) < Duration::from_secs(60));
    // The service goes on with the numbers that are there now.
    commit_rows(&mut store, &[full_row(11)]);
    assert_eq!(
        (store.totals().head, store.totals().sinks["posthog"].dead),
        (12, 0)
    );
}

#[test]
fn a_letter_without_its_row_stays_dead() {
    let place = Place::new();
    let mut store = store(&place);
    fill(&mut store);
    assert_eq!(store.prune(Micros(i64::MAX), 2).unwrap(), 2);
    let mut file = LedgerFile::open(place.path()).unwrap();
    let done = file.replay(DeadLetters::all(), "ada").unwrap();
    assert_eq!((done.replayed, done.gone), (0, 1));
    assert_eq!(file.status().unwrap().sinks[0].dead, 1);
    assert_eq!(file.status().unwrap().rows.head, 10);
}

#[test]
fn a_dismissed_letter_stays_counted_and_is_no_problem() {
    let place = Place::new();
    let mut store = store(&place);
    fill(&mut store);
    let mut file = LedgerFile::open(place.path()).unwrap();
    let problem = |file: &mut LedgerFile| {
        let problems = file.status().unwrap().problems(&Limits::default());
        problems
            .iter()
            .any(|it| it.kind == ProblemKind::DeadLetters)
    };
    assert!(problem(&mut file));
    let before = file.dead_letters(DeadLetters::all()).next().unwrap();
    let before = before.unwrap();
    assert!(before.refused_text().is_some());
    assert_eq!(before.dismissed_by(), None);
    let done = file.dismiss(DeadLetters::all(), "ada").unwrap();
    assert_eq!((done.dismissed, done.gone, done.already), (1, 0, 0));
    assert!(!problem(&mut file));
    let found = file.status().unwrap();
    let sink = &found.sinks[0];
    assert_eq!((sink.dead, sink.dismissed, sink.pending), (1, 1, 7));
    assert!(found.equations.iter().all(|equation| equation.holds));
    let told = store.reader().unwrap().rows(10, 11, 1).unwrap().remove(0);
    assert_eq!(&*told.row.event, "audit_dead_letters_dismissed");
    assert_eq!(
        told.row.properties.as_deref(),
        Some(r#"{"by":"ada","count":1,"first":2,"last":2,"sink":"posthog","withoutRow":0}"#)
    );
    let mut open = file.dead_letters(DeadLetters::all().not_dismissed());
    assert!(open.next().is_none());
    drop(open);
    let letter = file.dead_letters(DeadLetters::all()).next().unwrap();
    let letter = letter.unwrap();
    assert_eq!(letter.dismissed_by(), Some("ada"));
    assert!(letter.dismissed_text() >= letter.refused_text());

    // A second time changes nothing and tells nothing.
    let again = file.dismiss(DeadLetters::all(), "eve").unwrap();
    assert_eq!((again.dismissed, again.already), (0, 1));
    assert_eq!(file.status().unwrap().rows.head, 11);

    // Who changes their mind can still send it.
    let replayed = file.replay(DeadLetters::all(), "ada").unwrap();
    assert_eq!(replayed.replayed, 1);
    let found = file.status().unwrap();
    assert_eq!((found.sinks[0].dead, found.sinks[0].dismissed), (0, 0));
    assert!(found.equations.iter().all(|equation| equation.holds));
}

#[test]
fn a_dismissed_letter_goes_with_its_row_whichever_is_first() {
    for row_first in [true, false] {
        let place = Place::new();
        let mut store = store(&place);
        fill(&mut store);
        let mut file = LedgerFile::open(place.path()).unwrap();
        if row_first {
            assert_eq!(store.prune(Micros(i64::MAX), 2).unwrap(), 2);
        }
        let gone = DeadLetters::all().without_row();
        let done = file.dismiss(gone, "ada").unwrap();
        assert_eq!(
            (done.dismissed, done.gone),
            if row_first { (1, 1) } else { (0, 0) }
        );
        if !row_first {
            file.dismiss(DeadLetters::all(), "ada").unwrap();
            assert_eq!(file.dead_letters(DeadLetters::all()).count(), 1);
            assert_eq!(store.prune(Micros(i64::MAX), 2).unwrap(), 2);
        }
        assert_eq!(file.dead_letters(DeadLetters::all()).count(), 0);
        // The books do not forget that the destination never got it.
        let found = file.status().unwrap();
        assert_eq!((found.sinks[0].dead, found.sinks[0].dismissed), (1, 1));
        assert!(found.equations.iter().all(|equation| equation.holds));
    }
}

/// Rows would wait unseen after a shipment that failed.
#[test]
fn visitors_do_not_speak_for_the_service() {
    let place = Place::new();
    let mut service = store(&place);
    fill(&mut service);
    service.close().unwrap();
    let visit = |instance: &str, settings: &str| {
        let visitor = Run {
            service: "shipper".to_owned(),
            instance: Some(instance.to_owned()),
            ..Run::default()
        };
        let clock = Clock::system();
        let (mut store, _) =
            SqliteStore::open(&place.path(), &visitor, settings, &clock, 0).unwrap();
        store.close().unwrap();
    };
    visit("node-1", r#"{"shipping":"1.2.3"}"#);
    (0..3).for_each(|_| visit("audithog access", SETTINGS));
    (0..3).for_each(|_| visit("audithog dead-letters", "{}"));
    let found = status(&place.path());
    assert_eq!(found.service, Some(run().service));
    assert_eq!(found.runs.len(), 1);
    assert!(found.sinks[0].configured);
    let problems = found.problems(&Limits::default());
    let waits = ProblemKind::PendingTooOld;
    assert!(problems.iter().any(|it| it.kind == waits), "{problems:?}");

    let mut file = LedgerFile::open(place.path()).unwrap();
    file.dismiss(DeadLetters::all(), "ada").unwrap();
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    let sql = "SELECT service, settings_json FROM audit_runs ORDER BY run DESC LIMIT 1";
    let last: (String, String) = raw
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(last, (run().service, SETTINGS.to_owned()));
}

#[test]
fn a_replay_on_a_dead_ledger_tells_of_the_unclean_stop() {
    let (live, dead) = (Place::new(), Place::new());
    let mut first = store(&live);
    fill(&mut first);
    live.copy_to(dead.0.path(), &["", "-wal"]);
    // As if its process were gone: process ids do not get that large.
    let raw = rusqlite::Connection::open(dead.path()).unwrap();
    raw.execute_batch("UPDATE audit_runs SET pid = 1 << 30")
        .unwrap();
    raw.close().unwrap();
    let mut file = LedgerFile::open(dead.path()).unwrap();
    assert_eq!(file.status().unwrap().runs[0].state, RunState::Dead);
    file.replay(DeadLetters::all(), "ada").unwrap();
    let found = file.status().unwrap();
    let states: Vec<_> = found.runs.iter().map(|run| run.state).collect();
    assert_eq!(states, [RunState::Killed]);
    let unclean = found
        .losses
        .iter()
        .find(|loss| loss.reason == "unclean_stop");
    assert_eq!(unclean.unwrap().rows, 1_000);
}

#[test]
fn an_older_ledger_is_not_brought_up_to_date_by_a_tool() {
    let place = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledger");
    fs::copy(fixtures.join("v1.db"), place.path()).unwrap();
    let mut file = LedgerFile::open(place.path()).unwrap();
    let error = file.replay(DeadLetters::all(), "ada").unwrap_err();
    assert!(error.to_string().contains("older version"), "{error}");
    let error = file.dismiss(DeadLetters::all(), "ada").unwrap_err();
    assert!(error.to_string().contains("older version"), "{error}");
    assert_eq!(file.status().unwrap().file.schema, 1);
}
