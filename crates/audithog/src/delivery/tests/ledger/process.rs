//! One process: a store, and the course that it drives while it has the lease.

use std::sync::Arc;
use std::time::Duration;

use super::books::{Books, Life};
use super::{SINK, Server, TERM};
use crate::clock::Clock;
use crate::delivery::backoff::Jitter;
use crate::delivery::course::{Course, Now, Step};
use crate::delivery::request::Request;
use crate::delivery::stragglers::REFILL;
use crate::delivery::{Progress, Tuning};
use crate::ledger::writer::{Mark, found};
use crate::ledger::{Committed, Group, Reader, Settlement, SinkTotals, Store};
use crate::record::Row;
use crate::sink::{Reply, Verdict};

pub(super) struct Process {
    pub(super) life: Life,
    pub(super) store: Box<dyn Store>,
    reader: Box<dyn Reader>,
    clock: Clock,
    server: Arc<Server>,
    tuning: Tuning,
    course: Option<Course>,
    /// Ours until then, as this process believes.
    until: Duration,
    /// Totals as they were when the lease was last asked for.
    asked_at: Option<(i64, u64)>,
    pub(super) in_flight: Vec<Request>,
    /// Handed over, not committed.
    queued: Vec<Settlement>,
    synced: i64,
    /// A commit failed, and what became of it is not known yet.
    unknown: Option<Unknown>,
}

/// How a commit fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Nothing of it is kept.
    Before,
    /// All of it is.
    After,
}

struct Unknown {
    rows: Vec<Row>,
    settlements: Vec<Settlement>,
    sync: bool,
    before: Mark,
    /// What nobody but the books knows: it is there, with these rows refused.
    kept: Option<Committed>,
}

impl Process {
    pub(super) fn new(
        life: Life,
        mut store: Box<dyn Store>,
        clock: &Clock,
        server: &Arc<Server>,
        tuning: Tuning,
    ) -> Self {
        store.register_sink(SINK).unwrap();
        Self {
            life,
            reader: store.reader().unwrap(),
            store,
            clock: clock.clone(),
            server: server.clone(),
            tuning,
            course: None,
            until: Duration::ZERO,
            asked_at: None,
            in_flight: Vec::new(),
            queued: Vec::new(),
            synced: 0,
            unknown: None,
        }
    }

    /// Rows that the store wrote itself: of runs that it found dead.
    pub(super) fn learn(&mut self, books: &mut Books) {
        let told = usize::try_from(self.store.take_told()).unwrap();
        if told > 0 {
            let (from, upto) = (books.head(), self.store.totals().head);
            let rows = self.reader.rows(from, upto, usize::MAX).unwrap();
            assert_eq!(rows.len(), told);
            books.learn(rows, self.clock.wall());
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.clock.monotonic(),
            wall: self.clock.wall(),
        }
    }

    /// Commits what is handed over, with `rows`: one transaction, as the writer does it.
    pub(super) fn commit(
        &mut self,
        books: &mut Books,
        rows: &[Row],
        sync: bool,
        room: Option<usize>,
    ) {
        let settlements = std::mem::take(&mut self.queued);
        self.commit_with(books, rows, &settlements, sync, room);
        if sync {
            self.synced = self.store.totals().head;
            books.synced = books.synced.max(self.synced);
        }
    }

    fn commit_with(
        &mut self,
        books: &mut Books,
        rows: &[Row],
        settlements: &[Settlement],
        sync: bool,
        room: Option<usize>,
    ) -> Committed {
        let committed = self
            .store
            .commit(&Group {
                rows,
                settlements,
                sync,
                ..Group::default()
            })
            .unwrap();
        // A memory makes room first.
        if room.is_some() {
            settlements
                .iter()
                .for_each(|settlement| books.settle(self.life, settlement));
        }
        let (duplicates, not_stored) = books.append(rows, room, self.clock.wall());
        if room.is_none() {
            settlements
                .iter()
                .for_each(|settlement| books.settle(self.life, settlement));
        }
        assert_eq!(
            (&committed.duplicates, committed.not_stored),
            (&duplicates, not_stored)
        );
        // With nothing to write the store does not look what others have written.
        let idle = rows.is_empty() && settlements.is_empty();
        assert!(committed.head == books.head() || (idle && committed.head < books.head()));
        committed
    }

    /// A commit fails. Others go on before this process looks what became of it.
    pub(super) fn fail(&mut self, books: &mut Books, rows: Vec<Row>, sync: bool, fault: Fault) {
        let settlements = std::mem::take(&mut self.queued);
        let before = Mark::of(&*self.store);
        let kept = match fault {
            Fault::Before => None,
            Fault::After => Some(self.commit_with(books, &rows, &settlements, sync, None)),
        };
        self.unknown = Some(Unknown {
            rows,
            settlements,
            sync,
            before,
            kept,
        });
    }

    /// After a commit that failed: opens the ledger anew, looks what is there, and does what is left to do.
    pub(super) fn mend(&mut self, books: &mut Books) {
        let Some(unknown) = self.unknown.take() else {
            return;
        };
        self.reopen(books);
        let Unknown {
            rows,
            settlements,
            sync,
            before,
            kept,
        } = unknown;
        let group = Group {
            rows: &rows,
            settlements: &settlements,
            sync,
            ..Group::default()
        };
        let found = found(&*self.store, &group, before).unwrap();
        // Without anything in it there is nothing to be found.
        if !rows.is_empty() {
            let was = |committed: &Committed| {
                let kept = rows.len() - committed.duplicates.len();
                // Without a row of the group the head is that of the file, where others went on.
                let last = (kept > 0).then_some(committed.head);
                (last, committed.duplicates.clone(), committed.not_stored)
            };
            assert_eq!(
                found.as_ref().map(was),
                kept.as_ref().map(was),
                "what became of a commit that failed"
            );
        } else if !settlements.is_empty() {
            assert_eq!(found.is_some(), kept.is_some());
        }
        if found.is_none() {
            self.commit_with(books, &rows, &settlements, sync, None);
        }
        // It was found by reading: an fsync is another commit's.
        if sync {
            self.commit(books, &[], true, None);
        }
    }

    /// Asks for the lease, and begins or ends its course as `Driver::granted` does.
    pub(super) fn ask_for_lease(&mut self, books: &mut Books, room: Option<usize>) {
        self.asked_at = self
            .course
            .as_ref()
            .map(|course| (course.line.cursor(), course.stragglers.total()));
        self.commit(books, &[], false, room);
        let now = self.now();
        let lapsed = now.monotonic >= self.until;
        let holder = format!("life-{}", self.life);
        let ours = self
            .store
            .lease(SINK, &holder, now.wall, now.wall.saturating_add(TERM))
            .unwrap();
        self.learn(books);
        assert_eq!(
            ours,
            books.lease(self.life, now.wall, TERM),
            "who has the lease"
        );
        if !ours {
            self.drop_course(books);
            self.until = Duration::ZERO;
            return;
        }
        self.until = now.monotonic + TERM;
        let totals = self.store.totals().sinks[SINK].clone();
        let same = self.asked_at == Some((totals.cursor, totals.stragglers));
        if self.course.is_none() || (lapsed && !same) {
            self.drop_course(books);
            self.begin(&totals, now);
        } else if let Some(course) = &mut self.course {
            course.stragglers.compare(totals.stragglers);
        }
    }

    fn begin(&mut self, totals: &SinkTotals, now: Now) {
        let mut course = Course::new(self.server.clone(), self.tuning, totals, Jitter::new(3));
        course
            .triggers
            .observe(self.store.totals().head, now.monotonic);
        course.triggers.fire();
        self.course = Some(course);
    }

    pub(super) fn drop_course(&mut self, books: &mut Books) {
        self.course = None;
        self.in_flight.clear();
        self.queued.clear();
        books.forget(self.life);
    }

    /// Lets the course work until it waits. Returns until when.
    pub(super) fn work(&mut self, books: &mut Books, room: Option<usize>) -> Option<Duration> {
        for _ in 0..100_000 {
            let now = self.now();
            let progress = Progress {
                head: self.store.totals().head,
                synced: self.synced,
                ..Progress::default()
            };
            let course = self.course.as_mut()?;
            course.triggers.observe(progress.head, now.monotonic);
            if now.monotonic >= self.until {
                return None;
            }
            if course.stragglers.wants_refill(now.wall) && self.queued.is_empty() {
                let stragglers = self.reader.stragglers(SINK, REFILL).unwrap();
                let count = self.reader.straggler_count(SINK).unwrap();
                course.refill_stragglers(count, stragglers, now);
            }
            let step = course.next(&progress, now);
            let sync = course.triggers.fired() > progress.synced;
            match step {
                Step::Send(request) => {
                    books.sent(self.life, &request, now.wall);
                    self.in_flight.push(request);
                }
                Step::Read { after, upto, limit } => {
                    let rows = self.reader.rows(after, upto, limit).unwrap();
                    let last = rows
                        .last()
                        .map(|row| row.seq)
                        .filter(|_| rows.len() >= limit);
                    course.feed(rows, last.unwrap_or(upto), now);
                }
                Step::ReadStragglers(seqs) => {
                    let rows = self.reader.rows_by_seq(&seqs).unwrap();
                    course.feed_stragglers(&seqs, rows, now);
                }
                Step::Wait(_) if sync => self.commit(books, &[], true, room),
                Step::Wait(until) => {
                    self.hand_over();
                    return until;
                }
            }
            self.hand_over();
        }
        panic!("the course never waits");
    }

    /// The reply to one of the requests under way comes in.
    pub(super) fn answer(&mut self, books: &mut Books, pick: usize, mood: u8) {
        if self.in_flight.is_empty() {
            return;
        }
        let now = self.now();
        let request = self.in_flight.remove(pick % self.in_flight.len());
        let reply = self.server.reply(books, &request.rows, mood);
        let verdicts: &[Verdict] = match &reply {
            Reply::Rows { verdicts, .. } => verdicts,
            _ => &[],
        };
        let seqs = super::super::seqs(&request.rows);
        books.replied(self.life, &seqs, verdicts);
        if let Some(course) = &mut self.course {
            course.reply(request, reply, now);
        }
        self.hand_over();
    }

    /// Sends what there is, due or not, until the moods are used up.
    pub(super) fn round(&mut self, books: &mut Books, moods: &[u8], room: Option<usize>) {
        self.ask_for_lease(books, room);
        self.hasten();
        for mood in moods {
            self.work(books, room);
            self.answer(books, 0, *mood);
        }
    }

    fn hand_over(&mut self) {
        if let Some(settlement) = self.course.as_mut().and_then(Course::take_settlement) {
            self.queued.push(settlement);
        }
    }

    /// Everything is sent at once, due or not.
    pub(super) fn hasten(&mut self) {
        let now = self.now();
        let head = self.store.totals().head;
        if let Some(course) = &mut self.course {
            course.hasten(head, now);
        }
    }

    /// Ends in good order, with replies still to come.
    pub(super) fn close(mut self, books: &mut Books) {
        self.commit(books, &[], true, None);
        let now = self.now();
        let holder = format!("life-{}", self.life);
        self.store.lease(SINK, &holder, now.wall, now.wall).unwrap();
        books.release(self.life);
        books.forget(self.life);
        self.store.close().unwrap();
    }

    /// After an I/O error: the same process goes on with another handle.
    pub(super) fn reopen(&mut self, books: &mut Books) {
        assert!(!self.store.reopen().unwrap(), "it is the same ledger");
        self.learn(books);
    }
}
