//! Flush and shutdown: one deadline for the whole call, and no way to hang.
//!
//! The caller waits on channels only. A thread that is stuck, in a hung disk or a dead network, is
//! abandoned: the call returns at its deadline and says what it knows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::health::Health;
use super::report::{Blocked, FlushReport, ShutdownReport};
use super::{Logger, lock};
use crate::delivery::{Delivery, FlushBlock, SinkFlush};
use crate::queue::Command;
use crate::record::End;

/// Deadline of a flush that names none.
pub(super) const DEFAULT_FLUSH: Duration = Duration::from_secs(30);
/// How often a wait looks whether the ledger is in trouble.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What closing the ledger gets of the deadline at least, however long delivery took.
const CLOSE_SHARE: u32 = 5;
/// The writer gives up this long before the caller does, so that the report still counts what it lost.
const CLOSE_MARGIN: Duration = Duration::from_millis(100);
/// An old trouble is believed after this, though no try has failed since: the disk may hang.
const TROUBLE_STANDS: Duration = Duration::from_secs(1);
/// Longer limits are cut to this: a time that far away cannot be computed on every system.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// When a call that began now and may take `limit` ends.
pub(super) fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit.min(FAR)
}

/// How far a shutdown is, for those who ask for a second one.
#[derive(Default)]
pub(super) struct Ending {
    stage: Mutex<Stage>,
    changed: Condvar,
    admits_none: AtomicBool,
}

#[derive(Clone, Default)]
enum Stage {
    #[default]
    Running,
    Underway,
    Ended {
        blocked: Option<Blocked>,
        closed: bool,
    },
}

impl Ending {
    /// True for the first caller, who shall do it.
    fn begin(&self) -> bool {
        let mut stage = lock(&self.stage);
        let first = matches!(*stage, Stage::Running);
        if first {
            *stage = Stage::Underway;
        }
        first
    }

    fn end(&self, blocked: Option<Blocked>, closed: bool) {
        *lock(&self.stage) = Stage::Ended { blocked, closed };
        self.changed.notify_all();
    }

    /// How the first caller's shutdown ended, if it does before the deadline.
    fn wait(&self, deadline: Instant) -> Option<(Option<Blocked>, bool)> {
        let mut stage = lock(&self.stage);
        loop {
            if let Stage::Ended { blocked, closed } = &*stage {
                return Some((blocked.clone(), *closed));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let woken = self.changed.wait_timeout(stage, left);
            stage = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Requests that begin from now on and would announce themselves are refused.
    fn admits_none(&self) {
        self.admits_none.store(true, Ordering::Release);
    }

    pub(super) fn is_admitting(&self) -> bool {
        !self.admits_none.load(Ordering::Acquire)
    }

    fn is_running(&self) -> bool {
        matches!(*lock(&self.stage), Stage::Running)
    }
}

impl Logger {
    pub(super) fn flush_until(&self, deadline: Instant) -> FlushReport {
        let started = Instant::now();
        let intake = &self.0.intake;
        if !intake.is_running() {
            let health = self.health();
            let mut sinks = health.sinks.values();
            let waits = health.queued > 0 || sinks.any(|sink| sink.configured && sink.pending > 0);
            return FlushReport {
                // A recording logger has nothing to flush.
                blocked: (waits && !intake.ending.is_running()).then_some(Blocked::Stopped),
                took: started.elapsed(),
                health,
            };
        }
        let blocked = match self.commit_all(false, deadline) {
            Ok(head) => self.settle(head, deadline),
            Err(blocked) => Some(blocked),
        };
        FlushReport {
            blocked,
            took: started.elapsed(),
            health: self.health(),
        }
    }

    /// Every row accepted before this is committed and fsynced; the head at that moment.
    fn commit_all(&self, last: bool, deadline: Instant) -> Result<i64, Blocked> {
        let (answer, answered) = mpsc::channel();
        let (asked, board) = (Instant::now(), &self.0.intake.board);
        let failures = board.failures();
        self.0.intake.queue.command(Command::Flush {
            last,
            answer: Box::new(move |head| {
                // The caller may have left at its deadline.
                let _ = answer.send(head);
            }),
        });
        loop {
            let wait = deadline
                .saturating_duration_since(Instant::now())
                .min(LOOK_EVERY);
            match answered.recv_timeout(wait) {
                Ok(head) => return Ok(head),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Blocked::LedgerNotWriting("its writer has ended".to_owned()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // The writer tries at once when it is asked to: what counts is how that ended.
                    let tried = board.failures() != failures || asked.elapsed() >= TROUBLE_STANDS;
                    if let Some(trouble) = board.trouble().filter(|_| tried) {
                        return Err(Blocked::LedgerNotWriting(trouble));
                    }
                    if Instant::now() >= deadline {
                        let hung = board.hung_for().and_then(|_| board.obstacle());
                        return Err(hung.map_or(Blocked::Deadline, Blocked::LedgerNotWriting));
                    }
                }
            }
        }
    }

    fn settle(&self, head: i64, deadline: Instant) -> Option<Blocked> {
        let (answer, answered) = mpsc::channel();
        {
            let delivery = lock(&self.0.intake.delivery);
            let Some(delivery) = delivery.as_ref() else {
                return Some(Blocked::Stopped);
            };
            delivery.flush(head, self.monotonic(deadline), move |sinks| {
                drop(answer.send(sinks));
            });
        }
        wait_for_sinks(&answered, deadline)
    }

    pub(super) fn shutdown_until(&self, deadline: Instant) -> ShutdownReport {
        let started = Instant::now();
        let intake = &self.0.intake;
        if !intake.ending.begin() {
            let ended = intake.ending.wait(deadline);
            let (blocked, closed) = ended.unwrap_or((Some(Blocked::Deadline), false));
            return self.report(started, blocked, 0, closed, self.health());
        }
        let requests_cut = self.end_requests(deadline) + self.close_intake();
        let delivery = lock(&intake.delivery).take();
        let meter = lock(&intake.meter).take();
        if let Some(meter) = &meter {
            meter.stop();
        }
        let (blocked, closed) = match &delivery {
            Some(delivery) => self.end_pipeline(delivery, deadline),
            None => (None, true),
        };
        let statuses = delivery.as_ref().map(Delivery::status);
        let health = intake.books(statuses.unwrap_or_default());
        intake.ending.end(blocked.clone(), closed);
        if let Some(meter) = meter {
            meter.last_word(&health);
        }
        self.report(started, blocked, requests_cut, closed, health)
    }

    fn end_pipeline(&self, delivery: &Delivery, deadline: Instant) -> (Option<Blocked>, bool) {
        let left = || deadline.saturating_duration_since(Instant::now());
        let deliver_until = deadline.checked_sub(left() / CLOSE_SHARE);
        let blocked = self.deliver_all(delivery, deliver_until.unwrap_or(deadline));
        let (answer, answered) = mpsc::channel();
        let margin = CLOSE_MARGIN.min(left() / 2);
        self.0.intake.queue.command(Command::Close {
            deadline: deadline.checked_sub(margin).unwrap_or(deadline),
            answer: Box::new(move |kept| {
                // The caller may have left at its deadline.
                let _ = answer.send(kept);
            }),
        });
        let failed = || {
            let trouble = self.0.intake.board.trouble();
            Blocked::LedgerNotWriting(
                trouble.unwrap_or_else(|| "it could not be closed".to_owned()),
            )
        };
        match answered.recv_timeout(left()) {
            Ok(true) => (blocked, true),
            Ok(false) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                (blocked.or_else(|| Some(failed())), false)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => (blocked.or(Some(Blocked::Deadline)), false),
        }
    }

    /// Waits for open requests, for half of the time; ends those that are still open then.
    fn end_requests(&self, deadline: Instant) -> u64 {
        let recorder = &self.0.recorder;
        let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        // Nothing signals the end of the last request: a signal would cost every request.
        while recorder.in_progress() > 0 && Instant::now() < until {
            std::thread::park_timeout(LOOK_EVERY);
        }
        // A start that is committed from here on would have no end: such requests get 503.
        self.0.intake.ending.admits_none();
        let cut = recorder.finish_all(End::ServerShutdown);
        // One whose row is being made right now ends on its own, and its row shall still get in.
        let until = (Instant::now() + LOOK_EVERY).min(deadline);
        while recorder.in_progress() > 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        cut
    }

    /// Ends what has come since the last look, and accepts no row any more.
    fn close_intake(&self) -> u64 {
        let cut = self.0.recorder.finish_all(End::ServerShutdown);
        self.0.intake.queue.close();
        cut
    }

    fn deliver_all(&self, delivery: &Delivery, deadline: Instant) -> Option<Blocked> {
        let head = match self.commit_all(true, deadline) {
            Ok(head) => head,
            Err(blocked) => return Some(blocked),
        };
        let (answer, answered) = mpsc::channel();
        delivery.shutdown(head, self.monotonic(deadline), move |sinks| {
            drop(answer.send(sinks));
        });
        wait_for_sinks(&answered, deadline)
    }

    fn report(
        &self,
        started: Instant,
        blocked: Option<Blocked>,
        requests_cut: u64,
        closed: bool,
        health: Health,
    ) -> ShutdownReport {
        ShutdownReport {
            blocked,
            requests_cut,
            pending_in: self.0.intake.path.clone(),
            closed,
            took: started.elapsed(),
            health,
        }
    }

    /// A deadline on the clock that delivery lives by.
    fn monotonic(&self, deadline: Instant) -> Duration {
        self.0.intake.clock.monotonic() + deadline.saturating_duration_since(Instant::now())
    }
}

fn wait_for_sinks(answered: &mpsc::Receiver<Vec<SinkFlush>>, deadline: Instant) -> Option<Blocked> {
    // A little longer than delivery's own deadline, so that its answer, which knows more, comes first.
    let wait = deadline.saturating_duration_since(Instant::now()) + LOOK_EVERY;
    match answered.recv_timeout(wait) {
        Ok(sinks) => sinks.iter().find_map(|sink| sink.block).map(Blocked::from),
        Err(_) => Some(Blocked::Deadline),
    }
}

impl From<FlushBlock> for Blocked {
    fn from(block: FlushBlock) -> Self {
        match block {
            FlushBlock::Hold(reason) => {
                Self::Hold(format!("{} ({})", reason.as_str(), reason.remedy()))
            }
            FlushBlock::BreakerOpen => Self::BreakerOpen,
            FlushBlock::LeaseElsewhere => Self::LeaseElsewhere,
            FlushBlock::LedgerNotWriting => {
                Self::LedgerNotWriting("delivery cannot read or settle".to_owned())
            }
            FlushBlock::Stragglers => Self::Stragglers,
            FlushBlock::Deadline => Self::Deadline,
            FlushBlock::Stopped => Self::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::pin::pin;
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::future::{Either, select};
    use http::{Request, Response};
    use http_body_util::Empty;
    use tokio::sync::Notify;
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use super::*;
    use crate::Guarantee;

    /// Status and rows of a request that begins after a shutdown has looked for open ones. Its handler never ends.
    async fn latecomer(guarantee: Guarantee) -> (Option<u16>, Vec<(String, String)>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.db");
        let builder = Logger::builder().environment::<&str, &str>([]);
        let builder = builder.database(&path).guarantee(guarantee);
        let logger = builder.start().unwrap();
        let called = Arc::new(Notify::new());
        let tells = Arc::clone(&called);
        let handler = service_fn(move |_: Request<()>| {
            tells.notify_one();
            pending::<Result<Response<Empty<Bytes>>, Infallible>>()
        });
        logger.end_requests(deadline(DEFAULT_FLUSH));
        let answer = pin!(logger.layer().layer(handler).oneshot(Request::new(())));
        let status = match select(answer, pin!(called.notified())).await {
            Either::Left((answer, _)) => Some(answer.unwrap().status().as_u16()),
            Either::Right(((), _answer)) => {
                assert_eq!(logger.close_intake(), 1);
                None
            }
        };
        assert!(logger.shutdown(None).await.closed);
        let file = rusqlite::Connection::open(&path).unwrap();
        let rows = "SELECT event, error_code FROM audit_logs WHERE event LIKE 'api_request%'";
        let mut rows = file.prepare(rows).unwrap();
        let rows = rows.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, Option<_>>(1)?.unwrap_or_default()))
        });
        (status, rows.unwrap().map(Result::unwrap).collect())
    }

    #[tokio::test]
    async fn a_request_that_begins_while_the_queue_closes_leaves_no_start_without_an_end() {
        let (status, rows) = latecomer(Guarantee::FailClosed).await;
        assert_eq!((status, rows), (Some(503), Vec::new()));
        for guarantee in [Guarantee::Durable, Guarantee::BestEffort] {
            let (status, rows) = latecomer(guarantee).await;
            let end = ("api_request".to_owned(), "SERVER_SHUTDOWN".to_owned());
            assert_eq!((status, rows), (None, vec![end]), "{guarantee}");
        }
    }
}
