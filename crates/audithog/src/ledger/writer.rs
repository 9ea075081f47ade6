//! The writer: the one thread that commits.
//!
//! It takes what the queue gathered, commits it in groups, fsyncs when someone asks and at least
//! once a second, and books what became of each row. When the ledger cannot be written it keeps
//! the rows in its hand, says so once, and tries again; the queue behind it fills and, once full,
//! counts what it refuses. Nothing here waits for a sink.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::own_rows::OwnRows;
use super::progress::{Board, Ticket};
use super::{Committed, Group, Settlement, Store, StoreError, StoreErrorKind};
use crate::books::{LossReason, Refusal, Waiter};
use crate::clock::Clock;
use crate::queue::{Command, LeaseRequest, Queue, Work};
use crate::record::Row;

/// How long the writer lets a group gather after its first row. Bounds what a crash can take.
const LINGER: Duration = Duration::from_millis(10);
/// What is committed is fsynced at least this often.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Most rows in one commit: a short commit keeps the core free for requests.
const GROUP_ROWS: usize = 1_024;
/// Delays between tries of a ledger that cannot be written.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often old rows are looked for, and how many go in one transaction.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_ROWS: usize = 1_000;

/// Opens the store again after an I/O error; a poisoned handle is never used twice.
pub(crate) type Reopen = Box<dyn FnMut() -> Result<Box<dyn Store>, StoreError> + Send>;

/// What the writer thread is made of.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    store: Box<dyn Store>,
    reopen: Reopen,
    board: Arc<Board>,
    clock: Clock,
    own: OwnRows,
    retention: Option<Duration>,
    max_bytes: Option<u64>,
    settlements: Vec<Settlement>,
    /// The last of `settlements`, or the last one committed.
    ticket: Ticket,
    leases: Vec<LeaseRequest>,
    requests_told: u64,
    last_sync: Instant,
    last_prune: Instant,
    unsynced: bool,
    sync_asked: bool,
    flushes: Vec<Box<dyn FnOnce(i64) + Send>>,
    /// The rows of this run's end are due.
    stopping: bool,
    closing: Option<Closing>,
}

/// The end is near.
struct Closing {
    /// Trying to write ends here.
    deadline: Instant,
    answers: Vec<Box<dyn FnOnce() + Send>>,
}

/// What [`Writer::new`] is given.
pub(crate) struct WriterParts {
    pub(crate) queue: Arc<Queue>,
    pub(crate) store: Box<dyn Store>,
    pub(crate) reopen: Reopen,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
    pub(crate) own: OwnRows,
    pub(crate) retention: Option<Duration>,
    pub(crate) max_bytes: Option<u64>,
}

impl Writer {
    pub(crate) fn new(parts: WriterParts) -> Self {
        let now = Instant::now();
        Self {
            queue: parts.queue,
            store: parts.store,
            reopen: parts.reopen,
            board: parts.board,
            clock: parts.clock,
            own: parts.own,
            retention: parts.retention,
            max_bytes: parts.max_bytes,
            settlements: Vec::new(),
            ticket: Ticket::default(),
            leases: Vec::new(),
            requests_told: 0,
            last_sync: now,
            last_prune: now,
            unsynced: true,
            sync_asked: false,
            flushes: Vec::new(),
            stopping: false,
            closing: None,
        }
    }

    /// Runs until a `Close` command.
    pub(crate) fn run(mut self) {
        let mut work = Work::default();
        self.board
            .committed(self.store.totals(), false, self.ticket);
        while self.closing.is_none() {
            self.queue.take(&mut work, Some(self.wake_at()), LINGER);
            self.round(&mut work);
            self.prune();
        }
        // A row can be pushed until the queue is closed: what came since belongs to this run.
        self.queue
            .take(&mut work, Some(Instant::now()), Duration::ZERO);
        self.round(&mut work);
        self.stop();
    }

    /// The next time something is due without anybody asking.
    fn wake_at(&self) -> Instant {
        let mut at = Instant::now() + self.own.due_in();
        if self.unsynced {
            at = at.min(self.last_sync + SYNC_EVERY);
        }
        if self.retention.is_some() {
            at = at.min(self.last_prune + PRUNE_EVERY);
        }
        at
    }

    fn round(&mut self, work: &mut Work) {
        for command in std::mem::take(&mut work.commands) {
            self.obey(command);
        }
        self.own.note(&mut work.losses);
        let theirs = work.rows.len();
        self.own.make(
            &self.queue.counts(),
            self.store.totals(),
            self.stopping || self.closing.is_some(),
            &mut work.rows,
        );
        self.queue.accept_own((work.rows.len() - theirs) as u64);
        self.commit(&work.rows, std::mem::take(&mut work.waiters));
        // The buffer goes back to the queue with its capacity.
        work.rows.clear();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Sync => self.sync_asked = true,
            Command::Settle(settlement, ticket) => {
                self.settlements.push(settlement);
                self.ticket = ticket;
            }
            Command::Flush { last, answer } => {
                self.sync_asked = true;
                self.stopping |= last;
                self.flushes.push(answer);
            }
            Command::Close { deadline, answer } => {
                self.sync_asked = true;
                let closing = self.closing.get_or_insert(Closing {
                    deadline,
                    answers: Vec::new(),
                });
                closing.deadline = closing.deadline.min(deadline);
                closing.answers.push(answer);
            }
            Command::Lease(request) => self.leases.push(request),
        }
    }

    fn commit(&mut self, rows: &[Row], waiters: Vec<(usize, Waiter)>) {
        let due = self.unsynced && self.last_sync.elapsed() >= SYNC_EVERY;
        let something = !rows.is_empty() || !self.settlements.is_empty();
        if something || self.sync_asked || due {
            let mut waiters = waiters.into_iter().peekable();
            let mut done = 0;
            loop {
                let chunk = &rows[done..rows.len().min(done + GROUP_ROWS)];
                let last = done + chunk.len() == rows.len();
                let mut mine = Vec::new();
                while let Some((index, waiter)) =
                    waiters.next_if(|(index, _)| *index < done + chunk.len())
                {
                    mine.push((index - done, waiter));
                }
                let sync = !mine.is_empty() || (last && (self.sync_asked || due));
                self.commit_group(chunk, mine, sync);
                done += chunk.len();
                if last {
                    break;
                }
            }
        }
        let progress = self.board.progress();
        if progress.failing {
            return;
        }
        for answer in self.flushes.drain(..) {
            answer(progress.head);
        }
        for request in std::mem::take(&mut self.leases) {
            self.lease(request);
        }
    }

    /// After the commit, so that the answer's totals hold every settlement handed over before it.
    fn lease(&mut self, request: LeaseRequest) {
        let LeaseRequest {
            sink,
            holder,
            until,
            answer,
        } = request;
        match self.store.lease(sink, &holder, self.clock.wall(), until) {
            Ok(taken) => answer(taken.then(|| {
                self.store
                    .totals()
                    .sinks
                    .get(sink)
                    .cloned()
                    .unwrap_or_default()
            })),
            // Unanswered, the holder asks again.
            Err(error) => tracing::debug!(%error, sink, "the lease could not be asked for"),
        }
    }

    /// Tries until the group is kept or the process closes.
    fn commit_group(&mut self, rows: &[Row], waiters: Vec<(usize, Waiter)>, sync: bool) {
        let settlements = std::mem::take(&mut self.settlements);
        let ticket = self.ticket;
        let requests = self.board.requests_seen();
        let group = Group {
            rows,
            losses: self.own.take_untold(),
            requests: requests - self.requests_told,
            settlements: &settlements,
            sync,
        };
        let mut pause = RETRY_FIRST;
        loop {
            match self.store.commit(&group) {
                Ok(committed) => {
                    self.requests_told = requests;
                    self.unsynced = !sync;
                    if sync {
                        self.last_sync = Instant::now();
                        self.sync_asked = false;
                    }
                    self.board.committed(self.store.totals(), sync, ticket);
                    self.book(rows, waiters, &committed);
                    return;
                }
                Err(error) => {
                    // Busy is another process's turn, not trouble, until it lasts.
                    if error.kind != StoreErrorKind::Busy || pause >= RETRY_MAX {
                        self.board.failed(&error);
                    }
                    if !self.wait_and_mend(&error, &mut pause) {
                        self.own.put_back(group.losses);
                        self.lose(rows, waiters);
                        return;
                    }
                }
            }
        }
    }

    /// Books the rows of a commit and tells who waits.
    fn book(&mut self, rows: &[Row], waiters: Vec<(usize, Waiter)>, committed: &Committed) {
        let duplicates = committed.duplicates.len();
        let kept = rows.len() - duplicates - committed.not_stored;
        let lost = [
            (LossReason::DuplicateId, duplicates as u64),
            (LossReason::MemoryFull, committed.not_stored as u64),
        ];
        self.queue.settle(kept as u64, lost, self.clock.wall());
        let first_not_stored = rows.len() - committed.not_stored;
        for (index, waiter) in waiters {
            if committed.duplicates.contains(&index) {
                waiter(Err(Refusal(LossReason::DuplicateId)));
            } else if index >= first_not_stored {
                waiter(Err(Refusal(LossReason::MemoryFull)));
            } else {
                let refused_before = committed
                    .duplicates
                    .iter()
                    .filter(|duplicate| **duplicate < index)
                    .count();
                let first = committed.head - i64::try_from(kept).unwrap_or(0) + 1;
                waiter(Ok(
                    first + i64::try_from(index - refused_before).unwrap_or(0)
                ));
            }
        }
    }

    fn lose(&mut self, rows: &[Row], waiters: Vec<(usize, Waiter)>) {
        self.queue.settle(
            0,
            [(LossReason::LedgerFailed, rows.len() as u64)],
            self.clock.wall(),
        );
        for (_, waiter) in waiters {
            waiter(Err(Refusal(LossReason::LedgerFailed)));
        }
    }

    /// Waits out a failed commit, listening for commands, and reopens a store that cannot be
    /// trusted any more. False once the process closes and its deadline has passed.
    fn wait_and_mend(&mut self, error: &StoreError, pause: &mut Duration) -> bool {
        let mut until = Instant::now() + *pause;
        *pause = (*pause * 2).min(RETRY_MAX);
        loop {
            if let Some(closing) = &self.closing {
                if Instant::now() >= closing.deadline {
                    return false;
                }
                until = until.min(closing.deadline);
            }
            let mut commands = Vec::new();
            self.queue.take_commands(&mut commands, until);
            if commands.is_empty() {
                break;
            }
            for command in commands {
                self.obey(command);
            }
        }
        if matches!(
            error.kind,
            StoreErrorKind::Io | StoreErrorKind::Corrupt | StoreErrorKind::Unusable
        ) {
            match (self.reopen)() {
                Ok(store) => self.store = store,
                Err(error) => self.board.failed(&error),
            }
        }
        true
    }

    fn prune(&mut self) {
        let Some(retention) = self.retention else {
            return;
        };
        if self.last_prune.elapsed() < PRUNE_EVERY || self.board.progress().failing {
            return;
        }
        let before = self.clock.wall().saturating_sub(retention);
        match self.store.prune(before, PRUNE_ROWS) {
            // A full transaction: more is due, so the mark of time stays and the next round goes on.
            Ok(removed) if removed >= PRUNE_ROWS as u64 => self.own.note_pruned(removed),
            Ok(removed) => {
                self.own.note_pruned(removed);
                self.last_prune = Instant::now();
            }
            Err(error) => {
                self.last_prune = Instant::now();
                tracing::warn!(%error, "old audit rows could not be removed; tried again in a minute");
            }
        }
    }

    /// Closes the store and tells whoever asked for it.
    fn stop(mut self) {
        if let Err(error) = self.store.close() {
            tracing::error!(%error, "the audit ledger could not be closed in good order");
        }
        for answer in self.closing.into_iter().flat_map(|closing| closing.answers) {
            answer();
        }
    }
}
