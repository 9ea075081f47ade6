//! The writer's thread on a real file, with failures where the file cannot be made to fail on cue.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::config::QueueSettings;
use crate::ledger::Totals;
use crate::ledger::progress::Progress;
use crate::ledger::tests::{NOW, full_row, run};
use crate::ledger::{
    Reader, Removal, SinkTotals, Size, SqliteReader, SqliteStore, Straggler, UncleanStop,
};
use crate::record::{Micros, SharedRow, StoredRow};

/// A wait that takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const SINK: &str = "posthog";

/// What becomes of a commit with rows.
enum Fault {
    Busy,
    /// An error though the rows are safe.
    FailedAfterwards,
    Panic,
}

type Faults = Arc<Mutex<VecDeque<Fault>>>;
/// Of each group that was to be committed: its rows, and how often it gives way.
type Groups = Arc<Mutex<Vec<(usize, Option<usize>)>>>;

/// A file's store that fails on cue.
struct Failing {
    store: SqliteStore,
    faults: Faults,
    full: Arc<AtomicBool>,
    groups: Groups,
}

impl Store for Failing {
    fn commit(&mut self, group: &Group<'_>) -> Result<Committed, StoreError> {
        let seen = (group.rows.len(), group.gives_way_every);
        self.groups.lock().unwrap().push(seen);
        if group.rows.is_empty() && !group.urgent {
            return self.store.commit(group);
        }
        if self.full.load(Ordering::SeqCst) && !group.urgent {
            return Err(StoreError::new(StoreErrorKind::Full, "full, as told"));
        }
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            None => self.store.commit(group),
            Some(Fault::Busy) => Err(StoreError::new(StoreErrorKind::Busy, "busy, as told")),
            Some(Fault::FailedAfterwards) => {
                self.store.commit(group)?;
                Err(StoreError::new(StoreErrorKind::Io, "failed, as told"))
            }
            Some(Fault::Panic) => panic!("as told"),
        }
    }

    fn wants_books(&self) -> bool {
        self.store.wants_books()
    }

    fn note(&mut self, notes: &Notes<'_>) -> Result<(), StoreError> {
        self.store.note(notes)
    }

    fn reopen(&mut self) -> Result<bool, StoreError> {
        self.store.reopen()
    }

    fn make_room(&mut self) -> bool {
        true
    }

    fn take_unclean(&mut self) -> Result<Vec<UncleanStop>, StoreError> {
        self.store.take_unclean()
    }

    fn take_told(&mut self) -> u64 {
        self.store.take_told()
    }

    fn size(&self) -> Result<Size, StoreError> {
        self.store.size()
    }

    fn register_sink(&mut self, sink: &'static str) -> Result<SinkTotals, StoreError> {
        self.store.register_sink(sink)
    }

    fn lease(
        &mut self,
        sink: &'static str,
        holder: &str,
        now: Micros,
        until: Micros,
    ) -> Result<bool, StoreError> {
        self.store.lease(sink, holder, now, until)
    }

    fn totals(&self) -> &Totals {
        self.store.totals()
    }

    fn signs(&self) -> Option<u64> {
        self.store.signs()
    }

    fn own_rows(&self, after: i64) -> Result<Vec<(i64, Uuid)>, StoreError> {
        self.store.own_rows(after)
    }

    fn plan_removal(&mut self, before: Micros, most: i64) -> Result<Option<Removal>, StoreError> {
        self.store.plan_removal(before, most)
    }

    fn shorten_log(&mut self) -> Result<(), StoreError> {
        self.store.shorten_log()
    }

    fn prune(&mut self, before: Micros, limit: usize) -> Result<u64, StoreError> {
        self.store.prune(before, limit)
    }

    fn digest(&mut self, reads: bool) -> Result<bool, StoreError> {
        self.store.digest(reads)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.store.reader()
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.store.close()
    }
}

/// A running writer, seen from everyone else's side.
struct Desk {
    queue: Arc<Queue>,
    board: Arc<Board>,
    clock: Clock,
    faults: Faults,
    /// The disk takes only what is urgent, and what has no rows.
    full: Arc<AtomicBool>,
    groups: Groups,
    directory: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    fn new() -> Self {
        Self::keeping(None, None)
    }

    fn keeping(retention: Option<Duration>, max_bytes: Option<u64>) -> Self {
        let (mut desk, writer) = Self::without_thread(retention, max_bytes);
        desk.thread = Some(std::thread::spawn(move || writer.run()));
        desk
    }

    fn without_thread(retention: Option<Duration>, max_bytes: Option<u64>) -> (Self, Writer) {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let path = directory.path().join("audit.db");
        let (mut store, _) = SqliteStore::open(&path, &run(), "{}", &clock, 1_000).unwrap();
        store.register_sink(SINK).unwrap();
        let queue = Arc::new(Queue::new(QueueSettings::default()));
        let board = Arc::new(Board::new(store.totals().clone()));
        let faults = Faults::default();
        let full = Arc::new(AtomicBool::default());
        let groups = Groups::default();
        let writer = Writer::new(WriterParts {
            queue: Arc::clone(&queue),
            store: Box::new(Failing {
                store,
                faults: Arc::clone(&faults),
                full: Arc::clone(&full),
                groups: Arc::clone(&groups),
            }),
            board: Arc::clone(&board),
            clock: clock.clone(),
            own: OwnRows::new(clock.clone()),
            retention,
            max_bytes,
        });
        let desk = Self {
            queue,
            board,
            clock,
            faults,
            full,
            groups,
            directory,
            thread: None,
        };
        (desk, writer)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit.db")
    }

    fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    fn wait_for_faults(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.faults.lock().unwrap().is_empty() {
            assert!(Instant::now() < deadline, "no commit came");
            std::thread::yield_now();
        }
    }

    fn push(&self, row: Row) {
        self.queue.push(row, None, || NOW);
    }

    /// What the waiter was told, and what was fsynced then.
    fn push_durable(&self, row: Row) -> mpsc::Receiver<(Result<i64, Refusal>, i64)> {
        let (told, answer) = mpsc::channel();
        let board = Arc::clone(&self.board);
        let waiter: Waiter = Box::new(move |result| {
            told.send((result, board.progress().synced)).unwrap();
            None
        });
        self.queue.push(row, Some(waiter), || NOW);
        answer
    }

    fn flush(&self, last: bool) -> mpsc::Receiver<i64> {
        let (told, answer) = mpsc::channel();
        self.queue.command(Command::Flush {
            last,
            answer: Box::new(move |head| told.send(head).unwrap()),
        });
        answer
    }

    fn settle(&self, cursor: i64, delivered: u64, ticket: u64) {
        let settlement = Settlement {
            sink: SINK,
            cursor,
            delivered,
            ..Settlement::default()
        };
        self.queue
            .command(Command::Settle(settlement, Ticket(ticket)));
    }

    fn lease(&self, holder: &str) -> mpsc::Receiver<Option<SinkTotals>> {
        let (told, answer) = mpsc::channel();
        self.queue.command(Command::Lease(LeaseRequest {
            sink: SINK,
            holder: holder.to_owned(),
            until: NOW.saturating_add(Duration::from_secs(30)),
            answer: Box::new(move |totals| told.send(totals).unwrap()),
        }));
        answer
    }

    fn close(&mut self) -> bool {
        let (told, answer) = mpsc::channel();
        self.queue.close();
        self.queue.command(Command::Close {
            deadline: Instant::now() + PATIENCE,
            answer: Box::new(move |kept| told.send(kept).unwrap()),
        });
        let kept = answer.recv_timeout(PATIENCE).unwrap();
        self.thread.take().unwrap().join().unwrap();
        kept
    }

    fn rows(&self) -> Vec<StoredRow> {
        let mut reader = SqliteReader::open(&self.path()).unwrap();
        reader.rows(0, i64::MAX, 1_000).unwrap()
    }

    fn events(&self) -> Vec<String> {
        let rows = self.rows().into_iter();
        rows.map(|stored| stored.row.event.to_string()).collect()
    }
}

/// One value of the file.
fn ask(desk: &Desk, sql: &str) -> String {
    let raw = rusqlite::Connection::open(desk.path()).unwrap();
    raw.query_row(sql, [], |row| row.get::<_, Option<String>>(0))
        .unwrap()
        .unwrap_or_default()
}

#[test]
fn the_file_says_what_the_process_counted_and_why_it_could_not_write() {
    let mut desk = Desk::new();
    desk.board.count_more(Box::new(|| vec![("late", 3)]));
    desk.board.request_seen();
    desk.fail([Fault::FailedAfterwards]);
    desk.push(full_row(1));
    desk.flush(false).recv_timeout(PATIENCE).unwrap();
    // Noted after the flush was answered.
    let deadline = Instant::now() + PATIENCE;
    let mut trouble = String::new();
    while trouble.is_empty() && Instant::now() < deadline {
        trouble = ask(&desk, "SELECT trouble FROM audit_runs");
    }
    assert!(trouble.starts_with("failed, as told; "), "{trouble}");
    desk.push(full_row(2));
    assert!(desk.close());
    let books: serde_json::Value =
        serde_json::from_str(&ask(&desk, "SELECT books_json FROM audit_runs")).unwrap();
    // Two requests and `audit_stopped`; the one that was seen by itself ended as one of the rows.
    assert_eq!(
        books,
        json!({"requestsSeen": 2, "requestsInProgress": 0, "requestsAccepted": 2,
            "requestsExcluded": 0, "accepted": 3, "stored": 3, "queued": 0, "lost": {}, "late": 3})
    );
}

/// In several transactions, for which no row and no sign of life has to wake the writer.
#[test]
fn a_full_stretch_is_kept_by_column_although_nothing_follows() {
    let mut desk = Desk::new();
    let signs = || ask(&desk, "SELECT CAST(signs AS TEXT) FROM audit_runs");
    let before = signs();
    for n in 1..=1_024 {
        desk.push(full_row(n));
    }
    let deadline = Instant::now() + PATIENCE;
    while ask(&desk, "SELECT CAST(count(*) AS TEXT) FROM audit_digests") != "16" {
        assert!(Instant::now() < deadline, "the stretch is not kept whole");
        std::thread::yield_now();
    }
    assert_eq!(signs(), before);
    assert!(desk.close());
}

#[test]
fn what_a_driver_reports_is_in_the_file_without_a_row() {
    let desk = Desk::new();
    let report = |breaker| {
        desk.queue.command(Command::Report(SinkState {
            sink: SINK,
            at: NOW,
            last_success: None,
            breaker,
            breaker_since: None,
            hold: None,
            last_error: None,
        }));
    };
    for breaker in ["closed", "open"] {
        report(breaker);
        desk.flush(false).recv_timeout(PATIENCE).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while ask(&desk, "SELECT breaker FROM audit_sinks") != breaker {
            assert!(Instant::now() < deadline, "{breaker} is not in the file");
            std::thread::yield_now();
        }
    }
    assert_eq!(desk.board.totals().head, 0);
}

#[test]
fn a_panic_counts_every_row_and_leaves_nobody_waiting() {
    let mut desk = Desk::new();
    desk.fail([Fault::Panic]);
    let told = desk.push_durable(full_row(1));
    let (answer, _) = told
        .recv_timeout(PATIENCE)
        .map_or((None, 0), |(r, s)| (Some(r), s));
    // Dropped in the writer's hand, or told by the queue.
    assert!(
        matches!(answer, None | Some(Err(Refusal(LossReason::LedgerFailed)))),
        "{answer:?}"
    );
    assert!(desk.thread.take().unwrap().join().is_err());
    let flush = desk.flush(false);
    assert_eq!(
        flush.recv_timeout(PATIENCE),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
    let late = desk
        .push_durable(full_row(2))
        .recv_timeout(PATIENCE)
        .unwrap();
    assert_eq!(late.0, Err(Refusal(LossReason::LedgerFailed)));
    let counts = desk.queue.counts();
    assert_eq!((counts.accepted, counts.stored, counts.queued()), (2, 0, 0));
    assert_eq!(counts.losses.get(LossReason::LedgerFailed), 2);
    assert!(desk.board.trouble().unwrap().contains("panicked"));
    assert!(desk.board.progress().failing);
}

#[test]
fn commands_after_the_end_are_dropped_at_once() {
    let mut desk = Desk::new();
    assert!(desk.close());
    let ended = Err(mpsc::RecvTimeoutError::Disconnected);
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), ended);
    assert!(desk.lease("me").recv_timeout(PATIENCE).is_err());
    desk.push(full_row(1));
    let counts = desk.queue.counts();
    assert_eq!(counts.losses.get(LossReason::AfterShutdown), 1);
    assert_eq!(counts.queued(), 0);
}

#[test]
fn a_flush_during_a_retry_waits_for_the_rows_behind() {
    let desk = Desk::new();
    desk.fail([Fault::Busy]);
    desk.push(full_row(1));
    desk.wait_for_faults();
    // The first row is in the writer's hand.
    desk.push(full_row(2));
    let head = desk.flush(true).recv_timeout(PATIENCE).unwrap();
    assert_eq!(head, 3);
    assert_eq!(desk.events().last().unwrap(), "audit_stopped");
    assert_eq!(desk.board.progress().synced, 3);
}

/// No try takes long: that the ledger stays locked shows over all of them, and in the pauses.
#[test]
fn a_ledger_that_stays_locked_hangs_until_a_commit() {
    let desk = Desk::new();
    desk.fail(std::iter::repeat_with(|| Fault::Busy).take(20));
    desk.push(full_row(1));
    let until = Instant::now() + PATIENCE;
    while desk.board.hung_for().is_none() {
        assert!(Instant::now() < until, "nobody noticed");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    desk.faults.lock().unwrap().clear();
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(1));
    assert_eq!(desk.board.hung_for(), None);
}

#[test]
fn a_settlement_during_a_retry_is_committed_without_another_wake_up() {
    let desk = Desk::new();
    let mut progress = desk.board.subscribe();
    desk.push(full_row(1));
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(1));
    desk.fail([Fault::Busy]);
    // Synced, so that no sync is due afterwards.
    let told = desk.push_durable(full_row(2));
    desk.wait_for_faults();
    desk.settle(1, 1, 1);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().0, Ok(2));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let settled = progress.wait_for(|progress| progress.settled == Ticket(1));
    let settled = runtime.block_on(async { tokio::time::timeout(PATIENCE, settled).await.is_ok() });
    assert!(settled, "the settlement was not committed");
    assert_eq!(desk.board.totals().sinks[SINK].delivered, 1);
}

/// Waits until the board says so.
#[track_caller]
fn until_progress(desk: &Desk, condition: impl FnMut(&Progress) -> bool) {
    let mut progress = desk.board.subscribe();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let reached = progress.wait_for(condition);
    let reached = runtime.block_on(async { tokio::time::timeout(PATIENCE, reached).await.is_ok() });
    assert!(reached, "{:?}", desk.board.progress());
}

#[test]
fn a_full_disk_takes_settlements_and_leases_while_rows_wait() {
    let mut desk = Desk::new();
    desk.push(full_row(1));
    desk.push(full_row(2));
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(2));
    desk.full.store(true, Ordering::SeqCst);
    desk.push(full_row(3));
    until_progress(&desk, |progress| progress.failing);
    desk.settle(1, 1, 1);
    // Not before what was handed over before it.
    let totals = desk.lease("me").recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!((totals.cursor, totals.delivered), (1, 1));
    assert_eq!(desk.board.progress().settled, Ticket(1));
    // Nobody waits for this one.
    desk.settle(2, 1, 2);
    until_progress(&desk, |progress| progress.settled == Ticket(2));
    let progress = desk.board.progress();
    assert!(progress.failing, "{progress:?}");
    assert_eq!((progress.head, progress.synced), (2, 2));
    desk.full.store(false, Ordering::SeqCst);
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(3));
    assert_eq!(desk.events().len(), 3);
    let totals = desk.board.totals().sinks[SINK].clone();
    assert_eq!((totals.cursor, totals.delivered), (2, 2), "counted once");
    assert!(desk.close());
}

#[test]
fn a_settlement_of_a_group_that_finds_the_disk_full_comes_before_later_ones_and_once() {
    let mut desk = Desk::new();
    desk.push(full_row(1));
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(1));
    // The row is in the writer's hand, and what is settled meanwhile waits for the next group.
    desk.fail([Fault::Busy]);
    desk.push(full_row(2));
    desk.wait_for_faults();
    let settle = |settlement, ticket| {
        desk.queue
            .command(Command::Settle(settlement, Ticket(ticket)));
    };
    let straggler = Straggler {
        seq: 1,
        attempts: 1,
        since: NOW,
        next: NOW,
        reason: "not persisted".to_owned(),
    };
    let strayed = Settlement {
        sink: SINK,
        cursor: 1,
        stragglers: vec![straggler],
        ..Settlement::default()
    };
    settle(strayed, 1);
    desk.full.store(true, Ordering::SeqCst);
    desk.push(full_row(3));
    until_progress(&desk, |progress| progress.failing);
    let resolved = Settlement {
        sink: SINK,
        cursor: 1,
        delivered: 1,
        resolved: vec![1],
        ..Settlement::default()
    };
    settle(resolved, 2);
    let totals = desk.lease("me").recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!((totals.delivered, totals.stragglers), (1, 0));
    desk.full.store(false, Ordering::SeqCst);
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(3));
    assert_eq!(desk.board.totals().sinks[SINK].delivered, 1);
    assert!(desk.close());
}

/// The outcome of a commit is unknown that failed with an error of the disk.
#[test]
fn settlements_that_were_committed_by_themselves_after_all_are_not_committed_again() {
    let mut desk = Desk::new();
    desk.push(full_row(1));
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(1));
    desk.full.store(true, Ordering::SeqCst);
    desk.push(full_row(2));
    until_progress(&desk, |progress| progress.failing);
    desk.fail([Fault::FailedAfterwards]);
    desk.settle(1, 1, 1);
    desk.wait_for_faults();
    let totals = desk.lease("me").recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!((totals.cursor, totals.delivered), (1, 1));
    desk.full.store(false, Ordering::SeqCst);
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(2));
    assert_eq!(desk.board.totals().sinks[SINK].delivered, 1);
    assert!(desk.close());
}

#[test]
fn rows_of_a_commit_that_failed_afterwards_are_stored_once_and_fsynced_before_anyone_is_told() {
    let mut desk = Desk::new();
    let caller = |n: u32| Row {
        caller_id: true,
        ..full_row(n)
    };
    desk.push(caller(1));
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(1));
    desk.fail([Fault::FailedAfterwards]);
    // A duplicate at the front, so that its absence does not speak for the rest. The waiter of the
    // last row makes the writer take them together.
    desk.push(caller(1));
    desk.push(full_row(2));
    let told = desk.push_durable(full_row(3));
    let (answer, synced) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((answer, synced), (Ok(3), 3));
    let ids: Vec<Uuid> = desk.rows().iter().map(|stored| stored.row.id).collect();
    assert_eq!(ids, [full_row(1).id, full_row(2).id, full_row(3).id]);
    let counts = desk.queue.counts();
    assert_eq!((counts.accepted, counts.stored, counts.queued()), (4, 3, 0));
    assert_eq!(counts.losses.get(LossReason::DuplicateId), 1);
    assert!(desk.close());
}

#[test]
fn a_group_whose_rows_were_all_refused_is_found_too() {
    let mut desk = Desk::new();
    let caller = || Row {
        caller_id: true,
        ..full_row(1)
    };
    desk.push(caller());
    assert_eq!(desk.flush(false).recv_timeout(PATIENCE), Ok(1));
    desk.fail([Fault::FailedAfterwards]);
    let told = desk.push_durable(caller());
    let (answer, _) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(answer, Err(Refusal(LossReason::DuplicateId)));
    let counted = ask(
        &desk,
        "SELECT CAST(rows AS TEXT) FROM audit_losses WHERE reason = 'duplicate_id'",
    );
    assert_eq!(counted, "1");
    assert!(desk.close());
}

/// As another process does that shares the file.
fn write_beside(desk: &Desk, rows: std::ops::Range<u32>) {
    let opened = SqliteStore::open(&desk.path(), &run(), "{}", &desk.clock, 1_000);
    let rows: Vec<Row> = rows.map(full_row).collect();
    crate::ledger::tests::commit_rows(&mut opened.unwrap().0, &rows);
}

#[test]
fn a_sink_of_an_idle_process_gets_what_others_write_by_its_lease() {
    let mut desk = Desk::new();
    // The sync that the start wants is done.
    desk.flush(false).recv_timeout(PATIENCE).unwrap();
    assert!(desk.lease("me").recv_timeout(PATIENCE).unwrap().is_some());
    write_beside(&desk, 1..3);
    assert!(desk.lease("me").recv_timeout(PATIENCE).unwrap().is_some());
    until_progress(&desk, |progress| progress.head == 2);
    // Nobody asks for the sync.
    until_progress(&desk, |progress| progress.synced == 2);
    let counts = desk.queue.counts();
    assert_eq!((counts.accepted, counts.stored), (0, 0));
    assert!(desk.close());
}

#[test]
fn a_sign_of_life_shows_what_others_wrote_before_it_is_fsynced() {
    let (desk, mut writer) = Desk::without_thread(None, None);
    write_beside(&desk, 1..3);
    desk.clock.advance(Duration::from_secs(5));
    writer.sign();
    assert_eq!(desk.board.progress().head, 0, "none is due");
    writer.last_sign = Instant::now().checked_sub(notes::SIGN_EVERY).unwrap();
    writer.sign();
    let progress = desk.board.progress();
    assert_eq!((progress.head, progress.synced), (2, 0));
    assert_eq!(desk.board.totals().head, 2);
}

#[test]
fn the_end_gives_leases_back_and_keeps_the_count_of_requests() {
    let mut desk = Desk::new();
    assert!(
        desk.lease("first")
            .recv_timeout(PATIENCE)
            .unwrap()
            .is_some()
    );
    for _ in 0..3 {
        desk.board.request_seen();
    }
    assert!(desk.close());
    let (mut store, report) =
        SqliteStore::open(&desk.path(), &run(), "{}", &desk.clock, 1_000).unwrap();
    assert!(report.unclean.is_empty());
    assert_eq!(store.totals().requests, 3);
    let until = NOW.saturating_add(Duration::from_secs(30));
    assert!(store.lease(SINK, "second", NOW, until).unwrap());
}

#[test]
fn a_heartbeat_follows_the_clock() {
    let desk = Desk::new();
    desk.clock.advance(Duration::from_secs(299));
    desk.flush(false).recv_timeout(PATIENCE).unwrap();
    assert!(desk.events().is_empty());
    desk.clock.advance(Duration::from_secs(1));
    desk.flush(false).recv_timeout(PATIENCE).unwrap();
    desk.flush(false).recv_timeout(PATIENCE).unwrap();
    assert_eq!(desk.events(), ["audit_heartbeat"]);
}

#[test]
fn the_last_flush_writes_audit_stopped_once() {
    let mut desk = Desk::new();
    desk.push(full_row(1));
    assert_eq!(desk.flush(true).recv_timeout(PATIENCE), Ok(2));
    assert_eq!(desk.flush(true).recv_timeout(PATIENCE), Ok(2));
    assert!(desk.close());
    assert_eq!(desk.events(), ["api_request", "audit_stopped"]);
}

#[test]
fn a_buffer_goes_back_unless_its_rows_are_kept() {
    let rows: Arc<Vec<Row>> = Arc::new((0..40).map(full_row).collect());
    assert_eq!(buffer(&rows, 8).unwrap().first, 8);
    let kept = SharedRow::among(&rows, 9);
    let place = rows.as_ptr();
    let other = emptied(Arc::clone(&rows));
    assert!(other.is_empty() && other.capacity() >= 40 && other.as_ptr() != place);
    drop(rows);
    assert_eq!(*kept, full_row(9));
    // Nobody holds it.
    let rows: Arc<Vec<Row>> = Arc::new((0..3).map(full_row).collect());
    let place = rows.as_ptr();
    let same = emptied(rows);
    assert!(same.is_empty() && same.as_ptr() == place);
    // Mostly empty: its rows are copied, and the next has less room, until it is mostly full.
    let mut rows = Vec::with_capacity(1_000);
    let mut shared = Vec::new();
    for _ in 0..4 {
        rows.extend((0..100).map(full_row));
        let group = Arc::new(std::mem::take(&mut rows));
        shared.push(buffer(&group, 0).is_some());
        rows = emptied(group);
    }
    assert_eq!(shared, [false, false, false, true]);
    // A small one stays as it is.
    rows = Vec::with_capacity(FEW);
    rows.push(full_row(0));
    let place = rows.as_ptr();
    let small = emptied(Arc::new(rows));
    assert_eq!(small.as_ptr(), place);
}

mod giving_way;
mod retention;
