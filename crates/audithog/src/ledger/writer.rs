//! The writer: the one thread that commits.
//!
//! It takes what the queue gathered, commits it in groups, fsyncs when someone asks and at least
//! once a second, and books what became of each row. When the ledger cannot be written it keeps
//! the rows in its hand, says so once, and tries again; the queue behind it fills and, once full,
//! counts what it refuses. Nothing here waits for a sink.

mod chores;
mod mend;
mod notes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use mend::Mark;
use mend::Next;
#[cfg(test)]
pub(crate) use mend::found;

use super::own_rows::OwnRows;
use super::progress::{Board, Ticket};
use super::{
    Buffer, Committed, Group, Notes, Settlement, SinkState, Store, StoreError, StoreErrorKind,
};
use crate::books::{LossReason, Refusal, Waiter, tell_all};
use crate::clock::Clock;
use crate::queue::{Command, LeaseRequest, Queue, Work};
use crate::record::Row;

/// How long the writer lets a group gather after its first row. Bounds what a crash can take.
const LINGER: Duration = Duration::from_millis(10);
/// What is committed is fsynced at least this often.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// A sink's wish for an fsync is fulfilled after at least this long: a sink that is quick has one for every hundred rows.
const SYNC_REST: Duration = Duration::from_millis(50);
/// A buffer with room for so many rows is not worth a smaller one.
const FEW: usize = 64;
/// Most rows in one commit: a short commit keeps the core free for requests.
const GROUP_ROWS: usize = 1_024;
/// Rows that are appended in some 50 µs: so long a request may have to wait for its core.
const SLICE: usize = 32;
/// The same once more rows came than fit into one group. Beside a busy thread, Linux lets one that offers its core go on only when the
/// other has had it for a slice of milliseconds, or sleeps: with short slices alone the writer would get a thirtieth of
/// a core that requests keep busy, and fall behind for ever.
const LONG_SLICE: usize = 96;
/// More rows than this at once are written without offers: requests keep the core busy all the time.
const MANY_ROWS: usize = 3 * GROUP_ROWS;
/// Delays between tries of a ledger that cannot be written.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often old rows and stopped runs are looked for.
const CHORES_EVERY: Duration = Duration::from_secs(60);
/// Rows that one transaction removes: a short one keeps appends waiting for a moment only.
const PRUNE_ROWS: usize = 1_000;

/// What the writer thread is made of.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    store: Box<dyn Store>,
    board: Arc<Board>,
    clock: Clock,
    own: OwnRows,
    retention: Option<Duration>,
    max_bytes: Option<u64>,
    settlements: Vec<Settlement>,
    /// The latest of each sink that is not in the file.
    states: Vec<SinkState>,
    /// Why the ledger could not be written, until it could; not in the file.
    trouble: Option<String>,
    /// The last of `settlements`, or the last one committed.
    ticket: Ticket,
    leases: Vec<LeaseRequest>,
    requests_told: u64,
    last_sync: Instant,
    next_chores: Duration,
    /// When stretches that nobody kept by column are looked for.
    next_digest: Duration,
    /// Parts of a stretch may be left, which need no rows to be read.
    digests: bool,
    removing: Option<chores::Removing>,
    /// The ledger is above its limit, and nothing may be removed; said once.
    too_large: bool,
    /// When it was last looked whether a sign of life is due.
    last_sign: Instant,
    unsynced: bool,
    sync_asked: bool,
    /// A sink shall get what is committed; nobody waits.
    sync_wished: bool,
    /// See `Group::gives_way_every`; for the rows that were taken last.
    gives_way_every: Option<usize>,
    flushes: Vec<Box<dyn FnOnce(i64) + Send>>,
    /// Arrived while a commit was tried again: for the next round, which takes the rows that were
    /// accepted before them.
    deferred: Vec<Command>,
    /// The leases that were granted, by sink, and not given back.
    held: BTreeMap<&'static str, String>,
    /// Sinks whose driver does not know yet that another ledger is here, with their old holders:
    /// what such a driver settles are rows of the ledger that is gone.
    stale: BTreeMap<&'static str, String>,
    /// Made for the reserve of a full disk, which was not enough: they go with the next rows.
    unkept: Vec<Row>,
    /// When the reserve was last used.
    last_reserve: Option<Instant>,
    /// The rows of this run's end are due.
    stopping: bool,
    closing: Option<Closing>,
}

/// The end is near.
struct Closing {
    /// Trying to write ends here.
    deadline: Instant,
    answers: Vec<Box<dyn FnOnce(bool) + Send>>,
    /// Everything was kept so far.
    kept: bool,
}

/// Ends the queue with the thread, however that ends: what nobody takes any more is counted, and
/// nobody waits for an answer that cannot come.
struct End {
    queue: Arc<Queue>,
    board: Arc<Board>,
    clock: Clock,
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.board.failed(&StoreError::new(
                StoreErrorKind::Unusable,
                "the ledger's writer panicked; please report this",
            ));
        }
        self.queue.end(self.clock.wall());
    }
}

/// What [`Writer::new`] is given.
pub(crate) struct WriterParts {
    pub(crate) queue: Arc<Queue>,
    pub(crate) store: Box<dyn Store>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
    pub(crate) own: OwnRows,
    pub(crate) retention: Option<Duration>,
    pub(crate) max_bytes: Option<u64>,
}

impl Writer {
    pub(crate) fn new(parts: WriterParts) -> Self {
        let now = Instant::now();
        let next_chores = parts.clock.monotonic() + CHORES_EVERY;
        Self {
            queue: parts.queue,
            store: parts.store,
            board: parts.board,
            clock: parts.clock,
            own: parts.own,
            retention: parts.retention,
            max_bytes: parts.max_bytes,
            settlements: Vec::new(),
            states: Vec::new(),
            trouble: None,
            ticket: Ticket::default(),
            leases: Vec::new(),
            requests_told: 0,
            last_sync: now,
            next_chores,
            next_digest: next_chores,
            digests: false,
            removing: None,
            too_large: false,
            last_sign: now,
            unsynced: true,
            sync_asked: false,
            sync_wished: false,
            gives_way_every: None,
            flushes: Vec::new(),
            deferred: Vec::new(),
            held: BTreeMap::new(),
            stale: BTreeMap::new(),
            unkept: Vec::new(),
            last_reserve: None,
            stopping: false,
            closing: None,
        }
    }

    /// Runs until a `Close` command.
    pub(crate) fn run(mut self) {
        let end = End {
            queue: Arc::clone(&self.queue),
            board: Arc::clone(&self.board),
            clock: self.clock.clone(),
        };
        let mut work = Work::default();
        self.count_told();
        self.board
            .committed(self.store.totals(), false, self.ticket);
        while self.closing.is_none() {
            self.queue.take(&mut work, Some(self.wake_at()), LINGER);
            self.round(&mut work);
            self.sign();
            self.digest();
            self.chores();
        }
        // A row can be pushed until the queue is closed: what came since belongs to this run.
        self.queue
            .take(&mut work, Some(Instant::now()), Duration::ZERO);
        self.round(&mut work);
        self.last_words();
        self.stop(end);
    }

    /// The next time something is due without anybody asking.
    fn wake_at(&self) -> Instant {
        if !self.deferred.is_empty() {
            return Instant::now();
        }
        let mut at = Instant::now() + self.own.due_in(self.store.room());
        if self.unsynced {
            at = at.min(self.last_sync + SYNC_EVERY);
        }
        if self.sync_wished {
            at = at.min(self.last_sync + SYNC_REST);
        }
        if self.digests {
            at = at.min(Instant::now() + LINGER);
        }
        let chores = self.next_chores.min(self.next_digest);
        let chores = chores.saturating_sub(self.clock.monotonic());
        at.min(Instant::now() + chores)
            .min(self.last_sign + notes::SIGN_EVERY)
    }

    fn round(&mut self, work: &mut Work) {
        let deferred = std::mem::take(&mut self.deferred);
        for command in deferred.into_iter().chain(work.commands.drain(..)) {
            self.obey(command);
        }
        self.own.note(&mut work.losses);
        let theirs = work.rows.len();
        self.own.make(
            &self.queue.counts(),
            self.store.totals(),
            self.stopping || self.closing.is_some(),
            self.store.room(),
            &mut work.rows,
        );
        self.queue.accept_own((work.rows.len() - theirs) as u64);
        work.rows.append(&mut self.unkept);
        let own = work.rows.len() - theirs;
        let rows = Arc::new(std::mem::take(&mut work.rows));
        self.commit(&rows, own, std::mem::take(&mut work.waiters));
        work.rows = emptied(rows);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Sync => self.sync_wished = true,
            Command::Settle(settlement, ticket) => {
                if !self.stale.contains_key(settlement.sink) {
                    self.settlements.push(settlement);
                }
                self.ticket = ticket;
            }
            Command::Report(state) => self.obey_report(state),
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
                    kept: true,
                });
                closing.deadline = closing.deadline.min(deadline);
                closing.answers.push(answer);
            }
            Command::Lease(request) if self.stale.get(request.sink) == Some(&request.holder) => {
                // Unanswered: its driver asks again under another name once it knows.
            }
            Command::Lease(request) => {
                self.stale.remove(request.sink);
                self.leases.push(request);
            }
        }
    }

    /// The last `own` rows are audithog's.
    fn commit(&mut self, rows: &Arc<Vec<Row>>, own: usize, waiters: Vec<(usize, Waiter)>) {
        let since = self.last_sync.elapsed();
        let due =
            (self.unsynced && since >= SYNC_EVERY) || (self.sync_wished && since >= SYNC_REST);
        let something = !rows.is_empty() || !self.settlements.is_empty();
        if something || self.sync_asked || due {
            let mut waiters = waiters.into_iter().peekable();
            let mut done = 0;
            self.gives_way_every = slice(rows.len());
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
                let theirs = (rows.len() - own).saturating_sub(done).min(chunk.len());
                let own = chunk.len() - theirs;
                self.commit_group(chunk, buffer(rows, done), own, mine, sync);
                done += chunk.len();
                if last {
                    break;
                }
                std::thread::yield_now();
            }
        }
        let progress = self.board.progress();
        if progress.failing {
            return;
        }
        for answer in self.flushes.drain(..) {
            answer(progress.head);
        }
        self.note();
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
            Ok(taken) => {
                self.publish_others();
                if taken && until > self.clock.wall() {
                    self.held.insert(sink, holder);
                } else {
                    self.held.remove(sink);
                }
                answer(taken.then(|| {
                    self.store
                        .totals()
                        .sinks
                        .get(sink)
                        .cloned()
                        .unwrap_or_default()
                }));
            }
            // Unanswered, the holder asks again.
            Err(error) => tracing::debug!(%error, sink, "the lease could not be asked for"),
        }
    }

    /// Tries until the group is kept or the process closes; false then.
    fn commit_group(
        &mut self,
        rows: &[Row],
        buffer: Option<Buffer<'_>>,
        own: usize,
        waiters: Vec<(usize, Waiter)>,
        sync: bool,
    ) -> bool {
        let states = self.states_for(rows.is_empty() && self.settlements.is_empty());
        let books = self.books_due(rows.is_empty());
        let requests = self.board.requests_seen();
        let gives_way_every = self.gives_way_every.filter(|_| waiters.is_empty());
        let losses = self.own.take_untold();
        let mut pause = RETRY_FIRST;
        loop {
            // Anew for each try: some may have been committed by themselves meanwhile, and others come.
            let settlements = std::mem::take(&mut self.settlements);
            let ticket = self.ticket;
            let group = Group {
                rows,
                buffer,
                losses,
                requests: requests - self.requests_told,
                settlements: &settlements,
                notes: Notes {
                    states: &states,
                    books: books.as_deref(),
                    trouble: None,
                },
                sync,
                urgent: false,
                gives_way_every,
            };
            let since = Instant::now();
            let before = Mark::of(&*self.store);
            let tried = {
                let _under_way = self.board.under_way();
                self.store.commit(&group)
            };
            match tried {
                Ok(committed) => {
                    self.requests_told = requests;
                    self.publish(sync, ticket);
                    self.book(rows, waiters, &committed);
                    return true;
                }
                Err(error) => {
                    // Busy is another process's turn, not trouble, until it lasts.
                    if error.kind != StoreErrorKind::Busy || pause >= RETRY_MAX {
                        self.board.failed(&error);
                    }
                    if error.kind == StoreErrorKind::Busy {
                        self.board.locked(since);
                    }
                    match self.after_failure(error, &group, before, &mut pause) {
                        Next::Commit => {}
                        Next::Conclude(committed) => {
                            self.requests_told = requests;
                            return self.conclude(&group, waiters, &committed, ticket);
                        }
                        Next::GiveUp => {
                            self.own.put_back(group.losses);
                            // Audithog's own have one more try, with what is kept back for them.
                            let (theirs, own) = rows.split_at(rows.len() - own);
                            self.unkept.extend_from_slice(own);
                            self.lose(theirs, waiters);
                            return false;
                        }
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
        let first = committed.head - i64::try_from(kept).unwrap_or(0) + 1;
        tell_all(waiters, |index| {
            if committed.duplicates.contains(&index) {
                return Err(Refusal(LossReason::DuplicateId));
            }
            if index >= first_not_stored {
                return Err(Refusal(LossReason::MemoryFull));
            }
            let refused_before = committed
                .duplicates
                .iter()
                .filter(|duplicate| **duplicate < index)
                .count();
            Ok(first + i64::try_from(index - refused_before).unwrap_or(0))
        });
    }

    fn lose(&mut self, rows: &[Row], waiters: Vec<(usize, Waiter)>) {
        self.queue.settle(
            0,
            [(LossReason::LedgerFailed, rows.len() as u64)],
            self.clock.wall(),
        );
        if let Some(closing) = &mut self.closing {
            closing.kept = false;
        }
        tell_all(waiters, |_| Err(Refusal(LossReason::LedgerFailed)));
    }

    fn publish(&mut self, synced: bool, ticket: Ticket) {
        self.unsynced = !synced;
        if synced {
            self.last_sync = Instant::now();
            self.sync_asked = false;
            self.sync_wished = false;
        }
        self.trouble = self.board.trouble().or(self.trouble.take());
        self.board.committed(self.store.totals(), synced, ticket);
        self.board.stands(self.store.standing());
    }

    /// Closes the store and tells whoever asked for it.
    fn stop(mut self, end: End) {
        // Whoever comes next need not wait for the term of a lease that nobody uses.
        let now = self.clock.wall();
        let board = Arc::clone(&self.board);
        let under_way = board.under_way();
        for (sink, holder) in std::mem::take(&mut self.held) {
            if let Err(error) = self.store.lease(sink, &holder, now, now) {
                tracing::debug!(%error, sink, "the lease could not be given back");
            }
        }
        self.note_end();
        let closed = self.store.close();
        drop(under_way);
        if let Err(error) = &closed {
            tracing::error!(%error, "the audit ledger could not be closed in good order");
        }
        drop(end);
        if let Some(closing) = self.closing {
            let kept = closing.kept && closed.is_ok();
            for answer in closing.answers {
                answer(kept);
            }
        }
    }
}

/// The buffer with the rows from `first` on. Whoever keeps a row of one that is mostly empty would keep much more than
/// the row.
fn buffer(rows: &Arc<Vec<Row>>, first: usize) -> Option<Buffer<'_>> {
    (rows.len() > rows.capacity() / 2).then_some(Buffer { rows, first })
}

/// How many rows are appended before the core is offered, when so many were taken at once.
fn slice(rows: usize) -> Option<usize> {
    if rows <= GROUP_ROWS {
        return Some(SLICE);
    }
    (rows <= MANY_ROWS).then_some(LONG_SLICE)
}

/// The buffer goes back to the queue with its room; if somebody keeps its rows, one that has room for as many. After a
/// burst the room is halved from group to group, until most of it is used again.
fn emptied(rows: Arc<Vec<Row>>) -> Vec<Row> {
    let room = (rows.len() + rows.len() / 4).max(rows.capacity() / 2);
    let used = rows.len() > rows.capacity() / 2;
    match Arc::try_unwrap(rows) {
        Ok(mut rows) if used || rows.capacity() <= FEW => {
            rows.clear();
            rows
        }
        _ => Vec::with_capacity(room),
    }
}

#[cfg(test)]
mod tests;
