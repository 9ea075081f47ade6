//! Flush and shutdown: one deadline for the whole call, and no way to hang.
//!
//! The caller waits on channels only. A thread that is stuck, in a hung disk or a dead network, is
//! abandoned: the call returns at its deadline and says what it knows.

use std::sync::mpsc;
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

impl Logger {
    pub(super) fn flush_until(&self, deadline: Instant) -> FlushReport {
        let started = Instant::now();
        if !self.0.intake.is_running() {
            return FlushReport {
                blocked: None,
                took: started.elapsed(),
                health: self.health(),
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
                    if let Some(trouble) = self.0.intake.board.trouble() {
                        return Err(Blocked::LedgerNotWriting(trouble));
                    }
                    if Instant::now() >= deadline {
                        return Err(Blocked::Deadline);
                    }
                }
            }
        }
    }

    fn settle(&self, head: i64, deadline: Instant) -> Option<Blocked> {
        let (answer, answered) = mpsc::channel();
        {
            let delivery = lock(&self.0.intake.delivery);
            delivery
                .as_ref()?
                .flush(head, self.monotonic(deadline), move |sinks| {
                    drop(answer.send(sinks));
                });
        }
        wait_for_sinks(&answered, deadline)
    }

    pub(super) fn shutdown_until(&self, deadline: Instant) -> ShutdownReport {
        let started = Instant::now();
        let requests_cut = self.end_requests(deadline);
        let queue = &self.0.intake.queue;
        queue.close();
        let delivery = lock(&self.0.intake.delivery).take();
        drop(lock(&self.0.intake.meter).take());
        let Some(delivery) = delivery else {
            let health = self.health();
            return self.report(started, None, requests_cut, true, health);
        };
        let close_share = deadline.saturating_duration_since(Instant::now()) / CLOSE_SHARE;
        let deliver_until = deadline.checked_sub(close_share).unwrap_or(deadline);
        let blocked = self.deliver_all(&delivery, deliver_until);
        let (answer, answered) = mpsc::channel();
        queue.command(Command::Close {
            deadline,
            answer: Box::new(move || {
                let _ = answer.send(());
            }),
        });
        let left = deadline.saturating_duration_since(Instant::now());
        let closed = answered.recv_timeout(left).is_ok();
        let blocked = blocked.or_else(|| (!closed).then_some(Blocked::Deadline));
        let health = self.0.intake.books(delivery.status());
        self.report(started, blocked, requests_cut, closed, health)
    }

    /// Waits for open requests, for half of the time; ends those that are still open then.
    fn end_requests(&self, deadline: Instant) -> u64 {
        let recorder = &self.0.recorder;
        let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        while recorder.in_progress() > 0 && Instant::now() < until {
            // Nothing signals the end of the last request: a signal would cost every request.
            std::thread::park_timeout(LOOK_EVERY);
        }
        let open = recorder.in_progress();
        recorder.finish_all(End::ServerShutdown);
        open as u64
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
