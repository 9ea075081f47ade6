//! Drives one sink: does what its course says, one step at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use super::backoff::Jitter;
use super::breaker::Change;
use super::course::{Course, Now, Step};
use super::flush::{Flush, FlushBlock, Situation};
use super::lease::{Granted, Lease};
use super::request::Request;
use super::status::SinkStatus;
use super::stragglers::REFILL;
use super::{Ledger, Plan, Progress, Ticket, Tuning};
use crate::clock::Clock;
use crate::ledger::{Reader, Settlement, SinkTotals};
use crate::record::Micros;
use crate::sink::{BoxFuture, Reply};

mod log;
mod reading;
mod report;

/// What stays the same for a sink, across restarts of its loop.
pub(super) struct Context {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) plan: Plan,
    pub(super) tuning: Tuning,
    pub(super) clock: Clock,
    /// Unique among all that may drive a sink of this ledger.
    pub(super) holder: String,
    pub(super) seed: u64,
    pub(super) status: Arc<Mutex<SinkStatus>>,
}

/// What must survive a panic of the loop.
pub(super) struct Survivors {
    pub(super) commands: mpsc::UnboundedReceiver<Flush>,
    pub(super) flushes: Vec<Flush>,
    pub(super) reader: Box<dyn Reader>,
    /// Nothing is read or sent before.
    pub(super) resume_at: Duration,
}

pub(super) struct Driver<'a> {
    context: &'a Context,
    survivors: &'a mut Survivors,
    progress: watch::Receiver<Progress>,
    /// Which ledger `course` and `lease` are of: see `Progress::ledger`.
    ledger: u64,
    lease: Lease,
    course: Option<Course>,
    in_flight: FuturesUnordered<BoxFuture<'static, (Request, Reply)>>,
    /// The last settlement handed over.
    ticket: Ticket,
    /// Granted, but not begun because the ledger could not be read.
    granted: Option<SinkTotals>,
    /// Totals as they were when the lease was last asked for: (cursor, stragglers).
    asked_at: Option<(i64, u64)>,
    sync_asked: i64,
    unreadable: bool,
    /// Stragglers that could not be read when they were last tried.
    stuck: BTreeSet<i64>,
    /// First row after the cursor that is not read yet, and its arrival.
    first_pending: Option<(i64, Micros)>,
    status: SinkStatus,
    reporter: report::Reporter,
}

/// What the select of the loop came to.
enum Event {
    Replied(Box<(Request, Reply)>),
    Asked(Flush),
    Granted(Granted, Duration),
    Look,
    Gone,
}

impl<'a> Driver<'a> {
    pub(super) fn new(context: &'a Context, survivors: &'a mut Survivors) -> Self {
        let sink = context.plan.sink.name();
        let status = lock(&context.status).clone();
        let progress = context.ledger.progress();
        let ledger = progress.borrow().ledger;
        Self {
            progress,
            ledger,
            lease: Lease::new(sink, holder(context, ledger)),
            course: None,
            in_flight: FuturesUnordered::new(),
            ticket: Ticket::default(),
            granted: None,
            asked_at: None,
            sync_asked: i64::MIN,
            unreadable: false,
            stuck: BTreeSet::new(),
            first_pending: None,
            status,
            reporter: report::Reporter::default(),
            context,
            survivors,
        }
    }

    /// Returns when delivery ends: after the last flush, or when nobody can ask for one any more.
    pub(super) async fn run(mut self) {
        loop {
            let progress = *self.progress.borrow_and_update();
            let now = self.now();
            self.follow(&progress);
            self.ask_for_lease(now);
            self.begin(&progress, now);
            let (worked, wake) = self.step(&progress, now);
            self.hand_over();
            self.look_for_oldest(&progress);
            self.publish(now);
            self.report(now, false);
            if let Some(last) = self.answer_flushes(&progress, now) {
                self.finish(last).await;
                return;
            }
            let event = self.wait(worked, self.wake(wake)).await;
            match event {
                Event::Replied(replied) => self.replied(*replied),
                Event::Asked(flush) => self.asked(flush),
                Event::Granted(granted, until) => self.granted(granted, until),
                Event::Look => {}
                Event::Gone => {
                    self.lease.release(&*self.context.ledger, self.now());
                    return;
                }
            }
            self.hand_over();
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.context.clock.monotonic(),
            wall: self.context.clock.wall(),
        }
    }

    async fn wait(&mut self, worked: bool, wake: Option<Duration>) -> Event {
        let clock = &self.context.clock;
        let timer = async {
            if worked {
                // Other sinks, and requests under way, get their turn between two steps.
                tokio::task::yield_now().await;
            } else if let Some(wake) = wake {
                clock.sleep_until(wake).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let until = self.lease.until();
        tokio::select! {
            biased;
            Some(replied) = self.in_flight.next() => Event::Replied(Box::new(replied)),
            command = self.survivors.commands.recv() => command.map_or(Event::Gone, Event::Asked),
            granted = self.lease.answer() => Event::Granted(granted, until),
            changed = self.progress.changed() => changed.map_or(Event::Gone, |()| Event::Look),
            () = timer => Event::Look,
        }
    }

    /// The earliest of the course's, the lease's and the flushes' times.
    fn wake(&self, course: Option<Duration>) -> Option<Duration> {
        let flushes = self.survivors.flushes.iter().map(|flush| flush.deadline);
        let paused =
            Some(self.survivors.resume_at).filter(|at| *at > self.context.clock.monotonic());
        [course, self.lease.wake(), flushes.min(), paused]
            .into_iter()
            .flatten()
            .min()
    }

    fn ask_for_lease(&mut self, now: Now) {
        if self.lease.ask(&*self.context.ledger, now) {
            let course = self.course.as_ref();
            self.asked_at = course.map(|course| (course.line.cursor(), course.stragglers.total()));
        }
    }

    fn granted(&mut self, granted: Granted, ours_until: Duration) {
        match granted {
            Granted::Ours(totals) => {
                let lapsed = self.context.clock.monotonic() >= ours_until;
                let same = self.asked_at == Some((totals.cursor, totals.stragglers));
                // After a gap somebody else may have driven the sink in between: the ledger knows.
                if self.course.is_none() || (lapsed && !same) {
                    self.drop_course();
                    self.granted = Some(totals);
                } else if let Some(course) = &mut self.course {
                    course.stragglers.compare(totals.stragglers);
                }
            }
            Granted::Elsewhere => {
                if self.course.is_some() {
                    log::lease_lost(self.context.plan.sink.name());
                }
                self.drop_course();
            }
            Granted::Unknown => {}
        }
    }

    /// Another ledger is in the place of the one before: everything known is of rows that are gone.
    fn follow(&mut self, progress: &Progress) {
        if progress.ledger == self.ledger {
            return;
        }
        self.ledger = progress.ledger;
        self.drop_course();
        self.ticket = Ticket::default();
        self.sync_asked = i64::MIN;
        self.first_pending = None;
        self.lease = Lease::new(
            self.context.plan.sink.name(),
            holder(self.context, self.ledger),
        );
    }

    /// What is not handed over is forgotten: whoever drives the sink sends it again.
    fn drop_course(&mut self) {
        self.course = None;
        self.stuck.clear();
        self.granted = None;
        self.in_flight.clear();
    }

    /// Starts a course once the lease is ours and the ledger can be read.
    fn begin(&mut self, progress: &Progress, now: Now) {
        if now.monotonic < self.survivors.resume_at {
            return;
        }
        let Some(mut totals) = self.granted.take() else {
            return;
        };
        match self.hold_back(&mut totals, progress, now) {
            Ok(()) => self.read_again(),
            Err(error) => {
                self.granted = Some(totals);
                self.read_failed(&error, now);
                return;
            }
        }
        let jitter = Jitter::new(self.context.seed);
        let sink = self.context.plan.sink.clone();
        let mut course = Course::new(sink, self.context.tuning, &totals, jitter);
        course.triggers.observe(progress.head, now.monotonic);
        // What an earlier process left has waited long enough.
        course.triggers.fire();
        for flush in &self.survivors.flushes {
            course.hasten(flush.upto, now);
        }
        self.course = Some(course);
    }

    /// One step of the course. Returns whether there may be more to do at once, and else when.
    fn step(&mut self, progress: &Progress, now: Now) -> (bool, Option<Duration>) {
        let Some(course) = &mut self.course else {
            return (false, None);
        };
        course.triggers.observe(progress.head, now.monotonic);
        if now.monotonic < self.survivors.resume_at || !self.lease.is_ours(now.monotonic) {
            return (false, None);
        }
        if course.stragglers.wants_refill(now.wall) && progress.settled >= self.ticket {
            let sink = self.context.plan.sink.name();
            let reader = &mut self.survivors.reader;
            let count = reader.straggler_count(sink);
            let found = count.and_then(|count| Ok((count, reader.stragglers(sink, REFILL)?)));
            match found {
                Ok((count, stragglers)) => course.refill_stragglers(count, stragglers, now),
                Err(error) => {
                    self.read_failed(&error, now);
                    return (false, None);
                }
            }
        }
        let step = course.next(progress, now);
        // Synced before delivery, so that what is sent is never ahead of what the ledger keeps.
        let fired = course.triggers.fired();
        if fired > progress.synced && fired > self.sync_asked {
            self.sync_asked = fired;
            self.context.ledger.request_sync();
        }
        match step {
            Step::Send(request) => {
                self.send(request);
                (true, None)
            }
            Step::Read { after, upto, limit } => (self.read(after, upto, limit, now), None),
            Step::ReadStragglers(seqs) => (self.read_stragglers(&seqs), None),
            Step::Wait(wake) => (false, wake),
        }
    }

    fn send(&mut self, request: Request) {
        let sink = self.context.plan.sink.clone();
        sink.hurry(self.survivors.reader.falls_behind());
        self.in_flight.push(Box::pin(async move {
            let reply = sink.send(&request.rows, request.attempt).await;
            (request, reply)
        }));
    }

    fn replied(&mut self, (request, reply): (Request, Reply)) {
        let now = self.now();
        let Some(course) = &mut self.course else {
            return;
        };
        let reason = match &reply {
            Reply::Retry { reason, .. } => reason.clone(),
            _ => String::new(),
        };
        self.reporter.note(&reply, now.wall);
        let change = course.reply(request, reply, now);
        if change != Change::None {
            let name = self.context.plan.sink.name();
            log::change(
                name,
                change,
                course.breaker.state(),
                &reason,
                course.pending(),
            );
        }
    }

    fn asked(&mut self, flush: Flush) {
        let now = self.now();
        if let Some(course) = &mut self.course {
            course.hasten(flush.upto, now);
        }
        self.lease.ask_again();
        self.survivors.flushes.push(flush);
    }

    fn hand_over(&mut self) {
        if let Some(settlement) = self.course.as_mut().and_then(Course::take_settlement) {
            for letter in &settlement.dead {
                if self.status.count_dead(&letter.reason) {
                    log::dead(self.context.plan.sink.name(), letter);
                }
            }
            self.settle(settlement);
        }
    }

    fn settle(&mut self, settlement: Settlement) {
        self.ticket = self.context.ledger.settle(settlement);
    }

    fn publish(&mut self, now: Now) {
        self.status.lease = self.lease.state();
        if let Some(course) = &self.course {
            course.describe(&mut self.status, now);
        }
        let mut shared = lock(&self.context.status);
        self.status.panics = shared.panics;
        shared.clone_from(&self.status);
    }

    /// Ends the flushes that have come to an end; returns the last one, with its verdict.
    fn answer_flushes(
        &mut self,
        progress: &Progress,
        now: Now,
    ) -> Option<(Flush, Option<FlushBlock>)> {
        let mut open = Vec::new();
        let mut last = None;
        for flush in std::mem::take(&mut self.survivors.flushes) {
            let situation = Situation {
                course: self.course.as_ref(),
                lease: self.lease.known(),
                progress: *progress,
                ticket: self.ticket,
                unreadable: self.unreadable,
                now,
            };
            match flush.verdict(&situation) {
                None => open.push(flush),
                Some(block) if flush.last => last = Some((flush, block)),
                Some(block) => flush.answer(block, self.course.as_ref(), self.status.pending),
            }
        }
        self.survivors.flushes = open;
        last
    }

    /// Waits until what was handed over is committed, gives the lease back, and answers. The
    /// flush's deadline covers it.
    async fn finish(mut self, (flush, block): (Flush, Option<FlushBlock>)) {
        self.finish_requests(flush.deadline).await;
        let (ticket, clock) = (self.ticket, &self.context.clock);
        let committed = self
            .progress
            .wait_for(|progress| progress.settled >= ticket || progress.failing);
        let late = tokio::select! {
            biased;
            _ = committed => false,
            () = clock.sleep_until(flush.deadline) => true,
        };
        let now = self.now();
        self.publish(now);
        self.report(now, true);
        self.lease.release(&*self.context.ledger, now);
        self.publish(now);
        let block = block.or(late.then_some(FlushBlock::Deadline));
        flush.answer(block, self.course.as_ref(), self.status.pending);
    }

    /// Waits for the replies of what is on its way. The flush does not ask for these rows: they are of
    /// other processes that log on, and whoever drives the sink next would send them again.
    async fn finish_requests(&mut self, deadline: Duration) {
        let clock = &self.context.clock;
        loop {
            let replied = tokio::select! {
                biased;
                replied = self.in_flight.next() => replied,
                () = clock.sleep_until(deadline) => None,
            };
            let Some(replied) = replied else {
                return;
            };
            self.replied(replied);
            self.hand_over();
        }
    }
}

/// Another name for each ledger, so that the writer knows what a settlement is of.
fn holder(context: &Context, ledger: u64) -> String {
    match ledger {
        0 => context.holder.clone(),
        _ => format!("{}-{ledger}", context.holder),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
