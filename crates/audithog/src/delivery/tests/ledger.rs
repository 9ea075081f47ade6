//! Ledger, cursors and delivery together, against a model: generated actions of two processes that share one file, and
//! after each action the books.
//!
//! Real are the store, the file, the leases and the course with all its decisions. By hand are the clock, the server's
//! replies, and when each process gets to do what.

mod books;
mod process;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use uuid::Uuid;

use self::books::{Books, Life};
use self::process::{Fault, Process};
use self::standing::{Observer, Standing};
use super::START;
use crate::clock::Clock;
use crate::config::RetrySettings;
use crate::delivery::Tuning;
use crate::ledger::tests::run;
use crate::ledger::{MemoryStore, SqliteStore, Store};
use crate::record::{Micros, Row, StoredRow};
use crate::sink::{
    Admission, Attempt, BoxFuture, Hold, HoldReason, Reply, RequestLimits, Sink, Verdict,
};

const SINK: &str = "model";
/// Of a lease.
const TERM: Duration = Duration::from_secs(30);
const PROCESSES: usize = 2;
/// What a memory store holds.
const ROOM: usize = 12;
/// How large the ids are that callers supply: few, so that some come twice.
const CALLER_IDS: u128 = 4;

/// What a row does to a request that holds it. Its event's name says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    SampledOut,
    /// Any request with it is refused (400).
    Poison,
    /// Refused by verdict.
    Dropped,
    /// Asks for another try, whenever the server's mood has an odd number.
    Fickle,
}

const KINDS: [(&str, Kind); 5] = [
    ("good", Kind::Good),
    ("sampled_out", Kind::SampledOut),
    ("poison", Kind::Poison),
    ("dropped", Kind::Dropped),
    ("fickle", Kind::Fickle),
];

fn kind(row: &Row) -> Kind {
    // What the store writes itself is a row like any other.
    if row.event == "audit_loss" {
        return Kind::Good;
    }
    KINDS.iter().find(|(name, _)| *name == row.event).unwrap().1
}

struct Server;

impl Sink for Server {
    fn name(&self) -> &'static str {
        SINK
    }

    fn admit(&self, row: &StoredRow) -> Admission {
        match kind(&row.row) {
            Kind::SampledOut => Admission::SampledOut,
            _ => Admission::Send,
        }
    }

    fn weight(&self, _: &StoredRow) -> usize {
        1
    }

    fn limits(&self) -> RequestLimits {
        RequestLimits { rows: 4, bytes: 4 }
    }

    fn send<'a>(&'a self, _: &'a [StoredRow], _: Attempt) -> BoxFuture<'a, Reply> {
        unreachable!("the model answers itself")
    }
}

impl Server {
    /// Zero is the mood of an honest server.
    fn reply(&self, books: &mut Books, rows: &[StoredRow], mood: u8) -> Reply {
        let retry = |suspect_rows| Reply::Retry {
            reason: "down".to_owned(),
            retry_after: None,
            suspect_rows,
        };
        let hold = || Hold {
            reason: HoldReason::Quota,
            detail: "over".to_owned(),
        };
        if rows.iter().any(|row| kind(&row.row) == Kind::Poison) {
            return Reply::Refused {
                reason: "400".to_owned(),
            };
        }
        match mood % 12 {
            1 => return retry(false),
            2 => return retry(true),
            3 => {
                return Reply::Hold {
                    hold: hold(),
                    retry_after: None,
                };
            }
            4 => {
                return Reply::TooLarge {
                    reason: "413".to_owned(),
                };
            }
            5 => {
                // Taken, and the acknowledgement is lost.
                rows.iter().for_each(|row| books.taken(row.row.id));
                return retry(false);
            }
            _ => {}
        }
        let mut verdicts: Vec<Verdict> = (0..)
            .zip(rows)
            .map(
                |(at, row)| match (kind(&row.row), (mood / 12).wrapping_add(at) % 4) {
                    (Kind::Dropped, _) => Verdict::Dead("dropped".to_owned()),
                    (Kind::Fickle, _) if mood % 2 == 1 => Verdict::Retry("later".to_owned()),
                    (_, 1) if mood % 12 == 6 => Verdict::Hold(hold()),
                    (_, 1 | 2) if mood % 12 == 7 => Verdict::Retry("not persisted".to_owned()),
                    _ => Verdict::Delivered,
                },
            )
            .collect();
        for (row, verdict) in rows.iter().zip(&verdicts) {
            if *verdict == Verdict::Delivered {
                books.taken(row.row.id);
            }
        }
        if mood % 12 == 8 {
            verdicts.pop();
        }
        Reply::Rows {
            verdicts,
            retry_after: None,
        }
    }
}

/// What one of the processes does, or what happens to it. A process that is not there is started first.
#[derive(Clone, Debug)]
enum Action {
    /// The kind of each row, and whether its caller supplied an id.
    Append {
        rows: Vec<(usize, Option<u128>)>,
        sync: bool,
        fault: Option<Fault>,
    },
    Commit {
        sync: bool,
        fault: Option<Fault>,
    },
    Lease,
    /// Asks for the lease when that of another is about to end, or has just ended.
    TakeOver {
        early: bool,
    },
    /// The whole way: lease, work, one mood for each request, and what is settled committed, or not yet.
    Round {
        moods: Vec<u8>,
        commit: bool,
        fault: Option<Fault>,
    },
    /// With `hasten` as for a flush.
    Work {
        hasten: bool,
    },
    Answer {
        pick: usize,
        mood: u8,
    },
    /// As many lease terms, in tenths.
    Advance {
        tenths: u32,
    },
    /// Rows older than this many seconds. None: at most `limit` rows, whatever their age, because the file is too
    /// large.
    Prune {
        age: Option<u64>,
        limit: usize,
    },
    /// Somebody, with a program of their own, asks for dead letters to be sent again: one bit each, of the first.
    Replay {
        which: u32,
    },
    /// The handle fails, and the process opens another.
    Reopen,
    Close,
    /// Gone without a word: whatever it had not committed is gone too.
    Crash {
        seen_dead: bool,
    },
}

fn mood() -> impl Strategy<Value = u8> {
    prop_oneof![2 => Just(0), 1 => any::<u8>()]
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop::option::weighted(0.15, prop_oneof![Just(Fault::Before), Just(Fault::After)])
}

fn action() -> impl Strategy<Value = (usize, Action)> {
    let row = (
        0..KINDS.len() + 6,
        prop::option::weighted(0.3, 0..CALLER_IDS),
    );
    // Most rows are good.
    let row = row.prop_map(|(kind, id)| (if kind < KINDS.len() { kind } else { 0 }, id));
    let action = prop_oneof![
        6 => (prop::collection::vec(row, 1..7), any::<bool>(), fault())
            .prop_map(|(rows, sync, fault)| Action::Append { rows, sync, fault }),
        4 => (any::<bool>(), fault()).prop_map(|(sync, fault)| Action::Commit { sync, fault }),
        2 => Just(Action::Lease),
        4 => prop::bool::weighted(0.3).prop_map(|early| Action::TakeOver { early }),
        8 => (prop::collection::vec(mood(), 1..6), any::<bool>(), fault())
            .prop_map(|(moods, commit, fault)| Action::Round { moods, commit, fault }),
        5 => any::<bool>().prop_map(|hasten| Action::Work { hasten }),
        6 => (0..4_usize, mood()).prop_map(|(pick, mood)| Action::Answer { pick, mood }),
        4 => (1..25_u32).prop_map(|tenths| Action::Advance { tenths }),
        4 => (prop::option::of(0..60_u64), 1..6_usize)
            .prop_map(|(age, limit)| Action::Prune { age, limit }),
        2 => any::<u32>().prop_map(|which| Action::Replay { which }),
        1 => Just(Action::Reopen),
        1 => Just(Action::Close),
        2 => any::<bool>().prop_map(|seen_dead| Action::Crash { seen_dead }),
    ];
    (0..PROCESSES, action)
}

struct World {
    /// None: a memory store, which one process has and which never ends.
    place: Option<tempfile::TempDir>,
    clock: Clock,
    server: Arc<Server>,
    tuning: Tuning,
    books: Books,
    processes: [Option<Process>; PROCESSES],
    lives: Life,
    ids: u128,
    /// Looks at the file from outside. Not there when a process comes or goes: it may be the last.
    observer: Option<Observer>,
}

impl World {
    fn new(on_disk: bool) -> Self {
        Self {
            place: on_disk.then(directory),
            clock: Clock::manual(START),
            server: Arc::new(Server),
            tuning: Tuning {
                batch_size: 5,
                batch_interval: Duration::from_secs(5),
                retry: RetrySettings {
                    quick_attempts: 2,
                    straggler_attempts: 4,
                    in_flight: 3,
                    ..RetrySettings::default()
                },
            },
            books: Books::default(),
            processes: [None, None],
            lives: 0,
            ids: 1_000,
            observer: None,
        }
    }

    fn path(&self) -> Option<std::path::PathBuf> {
        self.place
            .as_ref()
            .map(|place| place.path().join("audit.db"))
    }

    fn room(&self) -> Option<usize> {
        self.place.is_none().then_some(ROOM)
    }

    fn start(&mut self, who: usize) {
        if self.processes[who].is_some() {
            return;
        }
        self.lives += 1;
        self.observer = None;
        let store: Box<dyn Store> = match self.path() {
            Some(path) => Box::new(
                SqliteStore::open(&path, &run(), "{}", &self.clock, 10)
                    .unwrap()
                    .0,
            ),
            None => Box::new(MemoryStore::new(ROOM, &run())),
        };
        let mut process = Process::new(self.lives, store, &self.clock, &self.server, self.tuning);
        process.learn(&mut self.books);
        self.processes[who] = Some(process);
    }

    fn act(&mut self, who: usize, action: &Action) {
        let who = if self.place.is_some() { who } else { 0 };
        self.start(who);
        let room = self.room();
        let rows = match action {
            Action::Append { rows, .. } => rows.iter().map(|row| self.row(*row)).collect(),
            _ => Vec::new(),
        };
        let process = self.processes[who].as_mut().unwrap();
        let books = &mut self.books;
        // Whatever needs the store waits until it can be trusted again.
        if !matches!(
            action,
            Action::Answer { .. }
                | Action::Advance { .. }
                | Action::Replay { .. }
                | Action::Crash { .. }
        ) {
            process.mend(books);
        }
        match action {
            Action::Append { sync, fault, .. } => match fault.filter(|_| room.is_none()) {
                Some(fault) => process.fail(books, rows, *sync, fault),
                None => process.commit(books, &rows, *sync, room),
            },
            Action::Commit { sync, fault } => match fault.filter(|_| room.is_none()) {
                Some(fault) => process.fail(books, rows, *sync, fault),
                None => process.commit(books, &[], *sync, room),
            },
            Action::Lease => process.ask_for_lease(books, room),
            Action::TakeOver { early } => {
                if let Some(until) = books.until {
                    let left = until.since(self.clock.wall());
                    let early = Duration::from_millis(u64::from(*early));
                    self.clock.advance(left.saturating_sub(early));
                }
                process.ask_for_lease(books, room);
            }
            Action::Round {
                moods,
                commit,
                fault,
            } => {
                process.round(books, moods, room);
                if !commit {
                    return;
                }
                match fault.filter(|_| room.is_none()) {
                    Some(fault) => process.fail(books, rows, false, fault),
                    None => process.commit(books, &[], false, room),
                }
            }
            Action::Work { hasten } => {
                if *hasten {
                    process.hasten();
                }
                process.work(books, room);
            }
            Action::Answer { pick, mood } => process.answer(books, *pick, *mood),
            Action::Advance { tenths } => self.clock.advance(TERM * *tenths / 10),
            Action::Prune { age, limit } => {
                // A row that is removed before its writer has looked what became of it is written again:
                // docs/guarantees.md says so, and the books here do not tell it.
                for process in self.processes.iter_mut().flatten() {
                    process.mend(&mut self.books);
                }
                self.prune(who, *age, *limit);
            }
            Action::Replay { .. } | Action::Close | Action::Crash { .. } if room.is_some() => {}
            Action::Replay { which } => self.replay(*which),
            Action::Reopen => {
                self.observer = None;
                process.reopen(books);
            }
            Action::Close => {
                self.observer = None;
                self.processes[who].take().unwrap().close(books);
            }
            Action::Crash { seen_dead } => self.crash(who, *seen_dead),
        }
    }

    fn row(&mut self, (kind, caller): (usize, Option<u128>)) -> Row {
        self.ids += 1;
        let id = caller.unwrap_or(self.ids);
        let mut row = Row::event(Uuid::from_u128(id), self.clock.wall(), KINDS[kind].0.into());
        row.caller_id = caller.is_some();
        row
    }

    /// As the writer does it: what may go is known, and then it goes, some at a time.
    fn prune(&mut self, who: usize, age: Option<u64>, limit: usize) {
        let now = self.clock.wall();
        let before = match age {
            Some(age) => now.saturating_sub(Duration::from_secs(age)),
            None => Micros(i64::MAX),
        };
        let most = match age {
            Some(_) => i64::MAX,
            None => limit as i64,
        };
        let store = &mut self.processes[who].as_mut().unwrap().store;
        let books = &mut self.books;
        let planned = store.plan_removal(before, most).unwrap();
        if self.place.is_none() {
            let pruned = store.prune(before, limit).unwrap();
            assert_eq!((planned, pruned), (None, 0), "a memory frees by itself");
            return;
        }
        let removal = books.removal(before, most);
        let upto = removal.map_or(books.pruned, |removal| removal.upto);
        // These few rows are all of the newest block, which is as young as a row that tells of it.
        let told = removal.filter(|_| age.is_none());
        assert_eq!(planned, told, "what may be removed");
        let upto = upto.min(books.pruned + limit as i64);
        let pruned = store.prune(before, limit).unwrap();
        assert_eq!(pruned.cast_signed(), upto - books.pruned, "removed");
        books.pruned = upto;
        assert_eq!(store.totals().pruned, books.pruned);
    }

    /// As `audithog dead-letters replay` does it: a short run of its own.
    fn replay(&mut self, which: u32) {
        let now = self.clock.wall();
        // Some that are no letters are asked for too.
        let letters = self.books.letters();
        let known = letters
            .iter()
            .zip(0..32)
            .filter(|(_, bit)| which >> bit & 1 == 1);
        let mut seqs: Vec<i64> = known.map(|(seq, _)| *seq).collect();
        seqs.push(i64::from(which % 64));
        let record = self.row((0, None));
        self.observer = None;
        self.lives += 1;
        let path = self.path().unwrap();
        let (mut store, _) = SqliteStore::open(&path, &run(), "{}", &self.clock, 0).unwrap();
        if store.take_told() > 0 {
            let mut reader = store.reader().unwrap();
            let told = reader.rows(self.books.head(), i64::MAX - 1, usize::MAX);
            self.books.learn(told.unwrap(), now);
        }
        let done = store.replay(SINK, &seqs, |_| record.clone()).unwrap();
        assert_eq!(done, self.books.replay(&seqs));
        if done.letters > 0 {
            self.books.append(&[record], None, now);
            self.books.synced = self.books.head();
        }
        store.close().unwrap();
    }

    fn crash(&mut self, who: usize, seen_dead: bool) {
        self.observer = None;
        let process = self.processes[who].take().unwrap();
        let life = process.life;
        drop(process);
        self.books.forget(life);
        if seen_dead {
            // Ids of processes come again: this run's was begun by another one.
            let connection = Connection::open(self.path().unwrap()).unwrap();
            let changed = connection
                .execute(
                    "UPDATE audit_runs SET pid_started = 1 WHERE ended_ts IS NULL AND run =
                     (SELECT run FROM audit_runs ORDER BY run LIMIT 1 OFFSET ?1)",
                    [life - 1],
                )
                .unwrap();
            assert_eq!(changed, 1, "each life is a run");
            // Whoever asks for the lease finds it so.
            self.books.release(life);
        }
    }

    /// What the store says. None: there is none yet.
    fn standing(&mut self) -> Option<Standing> {
        match self.path() {
            Some(path) => {
                let observer = self.observer.get_or_insert_with(|| Observer::new(&path));
                Some(observer.standing())
            }
            None => Some(Standing::of_memory(&*self.processes[0].as_ref()?.store)),
        }
    }

    fn check(&mut self) {
        if let Some(standing) = self.standing() {
            self.books.check(&standing, self.place.is_none());
        }
    }

    /// The other process is gone and the server honest: everything comes to its end.
    fn drain(&mut self) {
        self.observer = None;
        if self.place.is_some() {
            self.processes = [None, None];
            self.clock.advance(TERM);
        }
        self.start(0);
        let room = self.room();
        for _ in 0..10_000 {
            let process = self.processes[0].as_mut().unwrap();
            process.ask_for_lease(&mut self.books, room);
            let until = process.work(&mut self.books, room);
            if !process.in_flight.is_empty() {
                process.answer(&mut self.books, 0, 0);
            } else if let Some(until) = until {
                self.clock
                    .advance(until.saturating_sub(self.clock.monotonic()).min(TERM / 3));
            } else if self.books.fates.len() < self.books.rows.len() {
                // Settled in this process, or not begun.
                process.hasten();
                process.commit(&mut self.books, &[], true, room);
            } else {
                self.check();
                return;
            }
        }
        panic!("no end: {:?}", self.books);
    }

    /// The server holds what it should, whatever came in between.
    fn check_end(&self) {
        for (seq, fate) in &self.books.fates {
            let row = self.books.row(*seq);
            let taken = self.books.taken.contains_key(&row.id);
            match fate {
                books::Fate::Delivered => {
                    assert!(taken, "{seq} counts as delivered and is not there");
                }
                books::Fate::SampledOut => assert_eq!(kind(row), Kind::SampledOut),
                books::Fate::Dead => {}
            }
            if kind(row) == Kind::Poison {
                assert_eq!(*fate, books::Fate::Dead);
            }
        }
    }
}

/// In memory where that can be had: nothing here is about the disk, and an fsync of one is slow.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn follow(mut world: World, actions: Vec<(usize, Action)>) {
    for (who, action) in actions {
        world.act(who, &action);
        world.check();
    }
    world.drain();
    world.check_end();
}

/// A few seconds' worth, unless `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => asked.cases,
        None => 64,
    };
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..asked
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn two_processes_on_one_file_keep_the_books(actions in prop::collection::vec(action(), 1..60)) {
        follow(World::new(true), actions);
    }

    #[test]
    fn a_process_without_a_file_keeps_the_books(actions in prop::collection::vec(action(), 1..80)) {
        follow(World::new(false), actions);
    }
}

/// The other process goes on before this one looks what became of its commit.
#[test]
fn a_group_that_was_refused_whole_is_found_behind_rows_of_the_other_process() {
    let append = |id, fault| Action::Append {
        rows: vec![(0, id)],
        sync: false,
        fault,
    };
    let actions = vec![
        (0, append(Some(1), None)),
        (1, append(Some(1), Some(Fault::After))),
        (0, append(None, None)),
        (1, append(None, None)),
    ];
    follow(World::new(true), actions);
}
