//! Writers of several processes, and whose turn it is.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Place, open_at};
use crate::clock::Clock;
use crate::ledger::sqlite::turn::Turnstile;
use crate::ledger::tests::{commit_rows, full_row};
use crate::ledger::{Group, Store};

/// Set for a child: what it does, and on which ledger.
const PART: &str = "AUDITHOG_TEST_TURNS_PART";
const LEDGER: &str = "AUDITHOG_TEST_TURNS_LEDGER";
/// How long writers compete, in milliseconds. Longer runs give better figures.
const MILLIS: &str = "AUDITHOG_TEST_TURNS_MILLIS";
/// A wait that takes this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);
const ROWS: u32 = 20;

/// The same test binary, in the part of the child.
struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(part: &str, ledger: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ledger::sqlite::tests::turns::child"])
            .arg("--nocapture")
            .env(PART, part)
            .env(LEDGER, ledger)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut other = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        other.hear("ready");
        other
    }

    /// The rest of the line that has `word`.
    fn hear(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("the child ended before it said `{word}`");
    }

    fn tell(&mut self) {
        self.input.write_all(b"go\n").unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test of its own: what a child does. Does nothing unless asked.
#[test]
fn child() {
    let (Ok(part), Some(ledger)) = (std::env::var(PART), std::env::var_os(LEDGER)) else {
        return;
    };
    let told = || std::io::stdin().read_line(&mut String::new()).unwrap() > 0;
    let say = |text: &str| {
        println!("{text}");
        std::io::stdout().flush().unwrap();
    };
    let ledger = Path::new(&ledger);
    if part == "holder" {
        let _turn = Turnstile::of(ledger).pass();
        say("ready");
        told();
        return;
    }
    let (mut store, _) = open_at(ledger, &Clock::system()).unwrap();
    say("ready");
    assert!(told());
    let rows: Vec<_> = (0..ROWS).map(full_row).collect();
    let length = std::env::var(MILLIS).map_or(500, |millis| millis.parse().unwrap());
    let end = Instant::now() + Duration::from_millis(length);
    let mut waits = Vec::new();
    while waits.is_empty() || Instant::now() < end {
        let before = Instant::now();
        let group = Group {
            rows: &rows,
            sync: part == "syncing writer",
            ..Group::default()
        };
        store.commit(&group).unwrap();
        waits.push(before.elapsed().as_micros());
    }
    waits.sort_unstable();
    let of = |part: usize| waits[(waits.len() - 1) * part / 1_000];
    say(&format!(
        "made {} median {} p99 {} longest {}",
        waits.len(),
        of(500),
        of(990),
        of(1_000)
    ));
    store.close().unwrap();
}

/// Commits of `writers` processes that never pause, with everything in its place at the end. Prints
/// how long each waited for a commit, in microseconds; the figures are for people.
fn compete(place: &Place, writers: usize, part: &str, what: &str) {
    let mut others: Vec<Other> = (0..writers)
        .map(|_| Other::start(part, &place.path()))
        .collect();
    for other in &mut others {
        other.tell();
    }
    let mut commits = 0;
    for other in &mut others {
        let said = other.hear("made");
        println!("{writers} × {part}, {what}: made {said}");
        let made: u32 = said.split(' ').next().unwrap().parse().unwrap();
        assert!(made > 0);
        commits += made;
        assert!(other.child.wait().unwrap().success());
    }
    let store = place.open();
    let expected = i64::from(commits * ROWS);
    assert_eq!(store.totals().head, expected);
    let count = "SELECT count(*), min(seq), max(seq) FROM audit_rows";
    let found: (i64, i64, i64) = place
        .raw()
        .query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(found, (expected, 1, expected));
}

#[test]
fn busy_writers_lose_no_row_and_all_get_on() {
    for writers in [1, 2, 4] {
        compete(&Place::new(), writers, "writer", "with turns");
    }
    compete(&Place::new(), 2, "syncing writer", "with turns");
}

#[test]
fn busy_writers_without_lock_files_lose_no_row() {
    for writers in [1, 2, 4] {
        let place = Place::new();
        fs::create_dir(place.directory.path().join("audit.db-next")).unwrap();
        compete(&place, writers, "writer", "without turns");
    }
}

/// A lock file as another process has it.
fn lock_file(place: &Place, suffix: &str) -> File {
    let mut path = place.path().into_os_string();
    path.push(suffix);
    OpenOptions::new().write(true).open(path).unwrap()
}

/// Until somebody has the lock.
fn wait_until_held(file: &File) {
    let deadline = Instant::now() + DEADLINE;
    while file.try_lock().is_ok() {
        file.unlock().unwrap();
        assert!(Instant::now() < deadline, "nobody takes the lock");
        std::thread::yield_now();
    }
}

#[test]
fn whoever_gives_the_turn_up_cannot_overtake_the_one_who_waits() {
    let place = Place::new();
    let _store = place.open();
    let mut first = Turnstile::of(&place.path());
    let mut second = Turnstile::of(&place.path());
    let next = lock_file(&place, "-next");
    for _ in 0..20 {
        let turn = first.pass();
        let (order, seen) = mpsc::channel();
        std::thread::scope(|scope| {
            let theirs = order.clone();
            let second = &mut second;
            scope.spawn(move || {
                let turn = second.pass();
                theirs.send("second").unwrap();
                drop(turn);
            });
            wait_until_held(&next);
            drop(turn);
            let turn = first.pass();
            order.send("first").unwrap();
            drop(turn);
        });
        drop(order);
        assert_eq!(seen.iter().collect::<Vec<_>>(), ["second", "first"]);
    }
}

#[test]
fn a_stopped_holder_of_the_turn_stops_nobody_and_a_dead_one_leaves_it() {
    let place = Place::new();
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1)]);
    let mut other = Other::start("holder", &place.path());
    // Goes on without its turn.
    commit_rows(&mut store, &[full_row(2)]);
    let mut turnstile = Turnstile::of(&place.path());
    assert!(!turnstile.pass().is_held());
    // The kernel gives up a dead process's locks.
    other.child.kill().unwrap();
    other.child.wait().unwrap();
    assert!(turnstile.pass().is_held());
    commit_rows(&mut store, &[full_row(3)]);
    assert_eq!(store.totals().head, 3);
}

#[test]
fn a_program_that_knows_no_turns_is_waited_for() {
    let place = Place::new();
    let mut store = place.open();
    let foreign = place.raw();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let turn = lock_file(&place, "-turn");
    let store = std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            commit_rows(&mut store, &[full_row(1)]);
            store
        });
        wait_until_held(&turn);
        foreign
            .execute_batch("CREATE TABLE notes(text); COMMIT")
            .unwrap();
        writer.join().unwrap()
    });
    assert_eq!(store.totals().head, 1);
}

#[test]
fn a_lock_file_that_cannot_be_used_is_done_without() {
    let place = Place::new();
    let pipe = place.directory.path().join("audit.db-turn");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut store = place.open();
    commit_rows(&mut store, &[full_row(1)]);
    assert!(!Turnstile::of(&place.path()).pass().is_held());
}

#[test]
fn lock_files_go_with_the_last_process_and_who_had_them_open_takes_the_new_ones() {
    let place = Place::new();
    let names = || {
        let found = fs::read_dir(place.directory.path()).unwrap();
        let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let mut store = place.open();
    let mut other = place.open();
    other.close().unwrap();
    assert_eq!(names().len(), 5, "{:?}", names());
    let mut early = Turnstile::of(&place.path());
    store.close().unwrap();
    assert_eq!(names(), ["audit.db"]);
    let _store = place.open();
    let _turn = early.pass();
    wait_until_held(&lock_file(&place, "-turn"));
}

#[cfg(unix)]
#[test]
fn lock_files_are_as_private_as_the_ledger() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let place = Place::new();
    drop(place.open());
    for suffix in ["-next", "-turn"] {
        let found = lock_file(&place, suffix).metadata().unwrap();
        assert_eq!((found.mode() & 0o777, found.len()), (0o600, 0));
    }
    // As with SQLite's own files, whoever may open the ledger may open them.
    let shared = Place::new();
    File::create(shared.path()).unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o660)).unwrap();
    drop(shared.open());
    let mode = lock_file(&shared, "-next").metadata().unwrap().mode();
    assert_eq!(mode & 0o006, 0, "{mode:o}");
}
