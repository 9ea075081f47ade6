//! The world around a real delivery thread: a ledger that can misbehave and a sink that follows a
//! script. The clock is moved by hand; tests wait for conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::{START, row};
use crate::clock::Clock;
use crate::delivery::{
    Delivery, FlushBlock, Ledger, Plan, Progress, SinkFlush, SinkStatus, Ticket, Tuning,
};
use crate::ledger::{
    DeadLetter, Reader, Settlement, SinkState, SinkTotals, StoreError, StoreErrorKind, Straggler,
};
use crate::record::{Micros, StoredRow};
use crate::sink::{Admission, Attempt, BoxFuture, Reply, RequestLimits, Sink, Verdict};

/// How long a test waits for what must happen. Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks until `condition` holds.
#[track_caller]
pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// A ledger on paper: checks the books with each settlement.
pub(super) struct Desk {
    paper: Mutex<Paper>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
pub(super) struct Paper {
    pub(super) rows: Vec<StoredRow>,
    pub(super) totals: SinkTotals,
    pub(super) stragglers: BTreeMap<i64, Straggler>,
    pub(super) dead: BTreeMap<i64, DeadLetter>,
    /// What was told of the sink, in order.
    pub(super) states: Vec<SinkState>,
    tickets: u64,
    /// Handed over, not committed.
    pub(super) uncommitted: Vec<Settlement>,
    pub(super) commits_stopped: bool,
    pub(super) syncs_stopped: bool,
    pub(super) reads_fail: bool,
    pub(super) failed_reads: usize,
    /// Rows that are there and cannot be read by their number.
    pub(super) damaged: BTreeSet<i64>,
    /// Times that the stragglers were read.
    pub(super) straggler_reads: usize,
    /// Rows come faster than they are read.
    pub(super) behind: bool,
    /// Somebody else has the lease.
    pub(super) elsewhere: bool,
    /// Times the lease was taken or renewed, and given back.
    pub(super) leased: usize,
    pub(super) released: usize,
}

struct DeskReader(Arc<Desk>);

impl Desk {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            paper: Mutex::default(),
            progress: watch::Sender::default(),
        })
    }

    pub(super) fn paper(&self) -> MutexGuard<'_, Paper> {
        lock(&self.paper)
    }

    /// Commits `n` more rows.
    pub(super) fn append(&self, n: usize) {
        self.append_at(n, START);
    }

    pub(super) fn append_at(&self, n: usize, ts: Micros) {
        let mut paper = self.paper();
        for _ in 0..n {
            let mut row = row(paper.rows.len() as i64 + 1);
            row.row.ts = ts;
            paper.rows.push(row);
        }
        let head = paper.head();
        drop(paper);
        self.progress.send_modify(|progress| progress.head = head);
    }

    pub(super) fn set_failing(&self, failing: bool) {
        self.progress
            .send_modify(|progress| progress.failing = failing);
    }

    /// Commits what was handed over while commits were stopped.
    pub(super) fn commit(&self) {
        let mut paper = self.paper();
        paper.commits_stopped = false;
        for settlement in std::mem::take(&mut paper.uncommitted) {
            paper.apply(&settlement);
        }
        let settled = Ticket(paper.tickets);
        drop(paper);
        self.progress
            .send_modify(|progress| progress.settled = settled);
    }

    pub(super) fn totals(&self) -> SinkTotals {
        self.paper().totals.clone()
    }
}

impl Paper {
    pub(super) fn head(&self) -> i64 {
        self.rows.len() as i64
    }

    fn apply(&mut self, settlement: &Settlement) {
        for seq in &settlement.resolved {
            assert!(
                self.stragglers.remove(seq).is_some(),
                "{seq} resolved twice"
            );
        }
        for straggler in &settlement.stragglers {
            self.stragglers.insert(straggler.seq, straggler.clone());
        }
        for letter in &settlement.dead {
            let known = self.dead.insert(letter.seq, letter.clone());
            assert_eq!(known, None, "died twice");
        }
        let head = self.head();
        let totals = &mut self.totals;
        assert!(settlement.cursor >= totals.cursor, "the cursor moved back");
        totals.cursor = settlement.cursor;
        totals.delivered += settlement.delivered;
        totals.sampled_out += settlement.sampled_out;
        totals.held_back += settlement.held_back;
        totals.dead += settlement.dead.len() as u64;
        totals.stragglers = self.stragglers.len() as u64;
        let settled = totals.delivered + totals.sampled_out + totals.held_back + totals.dead;
        let stored = u64::try_from(head - totals.began).unwrap();
        assert_eq!(stored, settled + totals.pending(head), "{totals:?}");
    }
}

impl Ledger for Arc<Desk> {
    fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    fn request_sync(&self) {
        let paper = self.paper();
        if paper.syncs_stopped {
            return;
        }
        let head = paper.head();
        drop(paper);
        self.progress.send_modify(|progress| progress.synced = head);
    }

    fn settle(&self, settlement: Settlement) -> Ticket {
        let mut paper = self.paper();
        paper.tickets += 1;
        let ticket = Ticket(paper.tickets);
        if paper.commits_stopped {
            paper.uncommitted.push(settlement);
            return ticket;
        }
        paper.apply(&settlement);
        drop(paper);
        self.progress
            .send_modify(|progress| progress.settled = ticket);
        ticket
    }

    fn report(&self, state: SinkState) {
        self.paper().states.push(state);
    }

    fn lease(
        &self,
        _: &'static str,
        _: &str,
        until: Micros,
    ) -> oneshot::Receiver<Option<SinkTotals>> {
        let (answer, receiver) = oneshot::channel();
        let mut paper = self.paper();
        if paper.elsewhere {
            answer.send(None).ok();
        } else {
            // A renewal asks for the future; the manual clocks never reach a day.
            if until >= START.saturating_add(Duration::from_secs(30)) {
                paper.leased += 1;
            } else {
                paper.released += 1;
            }
            answer.send(Some(paper.totals.clone())).ok();
        }
        receiver
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(DeskReader(self.clone())))
    }
}

impl DeskReader {
    fn paper(&self) -> Result<MutexGuard<'_, Paper>, StoreError> {
        let mut paper = self.0.paper();
        if paper.reads_fail {
            paper.failed_reads += 1;
            return Err(StoreError {
                kind: StoreErrorKind::Io,
                message: "unreadable".to_owned(),
                source: None,
            });
        }
        Ok(paper)
    }
}

impl Reader for DeskReader {
    fn rows(&mut self, after: i64, upto: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let synced = self.0.progress.borrow().synced;
        assert!(upto <= synced, "reads {upto}, synced is {synced}");
        let paper = self.paper()?;
        let rows = paper.rows.iter();
        let rows = rows.filter(|row| row.seq > after && row.seq <= upto);
        Ok(rows.take(limit).cloned().collect())
    }

    fn falls_behind(&self) -> bool {
        self.0.paper().behind
    }

    fn rows_by_seq(&mut self, seqs: &[i64]) -> Result<Vec<StoredRow>, StoreError> {
        let mut paper = self.paper()?;
        if let Some(seq) = seqs.iter().find(|seq| paper.damaged.contains(seq)) {
            paper.failed_reads += 1;
            let message = format!("row {seq} is damaged");
            return Err(StoreError::new(StoreErrorKind::Corrupt, message));
        }
        let rows = paper.rows.iter().filter(|row| seqs.contains(&row.seq));
        Ok(rows.cloned().collect())
    }

    fn stragglers(&mut self, _: &str, limit: usize) -> Result<Vec<Straggler>, StoreError> {
        let mut paper = self.paper()?;
        paper.straggler_reads += 1;
        let mut stragglers: Vec<_> = paper.stragglers.values().cloned().collect();
        stragglers.sort_by_key(|straggler| straggler.next);
        stragglers.truncate(limit);
        Ok(stragglers)
    }

    fn straggler_count(&mut self, _: &str) -> Result<u64, StoreError> {
        Ok(self.paper()?.totals.stragglers)
    }

    fn last_before(&mut self, before: Micros) -> Result<i64, StoreError> {
        let paper = self.paper()?;
        let young = paper.rows.iter().find(|row| row.row.ts >= before);
        Ok(young.map_or(paper.head(), |row| row.seq - 1))
    }
}

/// What a script says to a request.
pub(super) enum Line {
    Say(Reply),
    Hang,
    Panic,
}

type Author = Box<dyn FnMut(&[StoredRow], Attempt) -> Line + Send>;

/// A sink that follows a script and remembers what it was sent.
pub(super) struct Script {
    author: Mutex<Author>,
    pub(super) sent: Mutex<Vec<Sent>>,
    hurry: AtomicBool,
    clock: Clock,
    limits: RequestLimits,
    sampled_out: BTreeSet<i64>,
}

/// One request, as the sink saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at: Duration,
    pub(super) seqs: Vec<i64>,
    pub(super) attempt: Attempt,
    pub(super) hurry: bool,
}

impl Sink for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn admit(&self, row: &StoredRow) -> Admission {
        if self.sampled_out.contains(&row.seq) {
            Admission::SampledOut
        } else {
            Admission::Send
        }
    }

    fn weight(&self, _: &StoredRow) -> usize {
        1
    }

    fn limits(&self) -> RequestLimits {
        self.limits
    }

    fn hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Ordering::Relaxed);
    }

    fn send<'a>(&'a self, rows: &'a [StoredRow], attempt: Attempt) -> BoxFuture<'a, Reply> {
        lock(&self.sent).push(Sent {
            at: self.clock.monotonic(),
            seqs: super::seqs(rows),
            attempt,
            hurry: self.hurry.load(Ordering::Relaxed),
        });
        let line = lock(&self.author)(rows, attempt);
        Box::pin(async move {
            match line {
                Line::Say(reply) => reply,
                Line::Hang => std::future::pending().await,
                Line::Panic => panic!("the script says so"),
            }
        })
    }
}

/// Row 1 is wanted once more, every time; all others are taken.
pub(super) fn once_more(rows: &[StoredRow], retry_after: Option<Duration>) -> Line {
    let verdict = |row: &StoredRow| match row.seq {
        1 => Verdict::Retry("not_persisted".to_owned()),
        _ => Verdict::Delivered,
    };
    Line::Say(Reply::Rows {
        verdicts: rows.iter().map(verdict).collect(),
        retry_after,
    })
}

pub(super) fn delivered(rows: &[StoredRow]) -> Line {
    Line::Say(Reply::Rows {
        verdicts: vec![Verdict::Delivered; rows.len()],
        retry_after: None,
    })
}

pub(super) fn unavailable(retry_after: Option<Duration>) -> Line {
    Line::Say(Reply::Retry {
        reason: "503".to_owned(),
        retry_after,
        suspect_rows: false,
    })
}

/// A desk, a script, a clock and the delivery between them.
pub(super) struct Scene {
    pub(super) desk: Arc<Desk>,
    pub(super) script: Arc<Script>,
    pub(super) clock: Clock,
    pub(super) tuning: Tuning,
    pub(super) backfill: Option<Duration>,
}

impl Scene {
    /// A sink that takes everything, until [`Scene::author`] says otherwise.
    pub(super) fn new(tuning: Tuning) -> Self {
        Self::sampling(tuning, &[])
    }

    pub(super) fn sampling(tuning: Tuning, sampled_out: &[i64]) -> Self {
        let clock = Clock::manual(START);
        let script = Script {
            author: Mutex::new(Box::new(|rows, _| delivered(rows))),
            sent: Mutex::default(),
            hurry: AtomicBool::default(),
            clock: clock.clone(),
            limits: RequestLimits {
                rows: 500,
                bytes: 1_000_000,
            },
            sampled_out: sampled_out.iter().copied().collect(),
        };
        Self {
            desk: Desk::new(),
            script: Arc::new(script),
            clock,
            tuning,
            backfill: Some(Duration::from_secs(7 * 24 * 3600)),
        }
    }

    pub(super) fn author(
        &self,
        author: impl FnMut(&[StoredRow], Attempt) -> Line + Send + 'static,
    ) {
        *lock(&self.script.author) = Box::new(author);
    }

    pub(super) fn start(&self) -> Delivery {
        let plan = Plan {
            sink: self.script.clone(),
            backfill: self.backfill,
        };
        let ledger: Arc<dyn Ledger> = Arc::new(self.desk.clone());
        Delivery::start(&ledger, vec![plan], self.tuning, &self.clock).unwrap()
    }

    /// Drops the handle and waits until the thread has left.
    #[track_caller]
    pub(super) fn stop(&self, delivery: Delivery) {
        let released = self.desk.paper().released;
        drop(delivery);
        until("the lease is given back", || {
            self.desk.paper().released > released
        });
    }

    pub(super) fn sent(&self) -> Vec<Sent> {
        lock(&self.script.sent).clone()
    }

    #[track_caller]
    pub(super) fn wait_for_requests(&self, n: usize) {
        until(&format!("{n} requests"), || self.sent().len() >= n);
    }

    #[track_caller]
    pub(super) fn wait_for_delivered(&self, n: u64) {
        until(&format!("{n} delivered"), || {
            self.desk.totals().delivered == n
        });
    }

    /// Proves that the loop has looked around after everything the test did before: it counts a row
    /// committed now.
    #[track_caller]
    pub(super) fn let_it_look(&self, delivery: &Delivery) {
        let before = status(delivery).pending;
        self.desk.append(1);
        until("the loop sees a new row", || {
            status(delivery).pending == before + 1
        });
    }
}

pub(super) fn status(delivery: &Delivery) -> SinkStatus {
    let (_, status) = delivery.status().pop().unwrap();
    status
}

/// Collects the answer of a flush.
pub(super) fn answer() -> (
    impl FnOnce(Vec<SinkFlush>) + Send + 'static,
    std::sync::mpsc::Receiver<Vec<SinkFlush>>,
) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let answer = move |flushes| {
        sender.send(flushes).ok();
    };
    (answer, receiver)
}

#[track_caller]
pub(super) fn block(receiver: &std::sync::mpsc::Receiver<Vec<SinkFlush>>) -> Option<FlushBlock> {
    let flushes = receiver.recv_timeout(PATIENCE).expect("no answer");
    let [flush] = flushes.as_slice() else {
        panic!("one sink, {} answers", flushes.len());
    };
    flush.block
}
