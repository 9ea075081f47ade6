//! Where rows come in: held by the logger, the layers, request handles and events. The last of them
//! to go ends the threads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::lock;
use super::meter::Meter;
use super::shutdown::Ending;
use crate::books::{RoomCall, Unplaced, Waiter};
use crate::capture::{Answers, Guarantee, RowSink};
use crate::clock::Clock;
use crate::config::QueueFull;
use crate::delivery::Delivery;
use crate::ledger::progress::Board;
use crate::queue::{Command, Queue};
use crate::record::Row;

/// The queue with what belongs to every row that enters it, and what runs behind it.
pub(super) struct Intake {
    pub(super) queue: Arc<Queue>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Clock,
    /// The ledger's file; none for memory only.
    pub(super) path: Option<PathBuf>,
    /// Names of the sinks that are configured.
    pub(super) sinks: Vec<&'static str>,
    /// What the writer gets to write the rest when nobody called `shutdown`.
    pub(super) close_within: Duration,
    pub(super) queue_full: QueueFull,
    pub(super) answers: Arc<Answers>,
    /// None before the start, once shut down, and for a recording logger.
    pub(super) delivery: Mutex<Option<Delivery>>,
    /// Dropped: that ends the metrics thread.
    pub(super) meter: Mutex<Option<Meter>>,
    pub(super) ending: Ending,
    pub(super) told_of_own_name: AtomicBool,
}

impl Intake {
    pub(super) fn is_running(&self) -> bool {
        lock(&self.delivery).is_some()
    }
}

/// How the names of audithog's own threads begin.
const THREADS: &str = "audithog-";
/// How long the last handle waits for the writer where nobody called `shutdown`. A program that returns early from
/// `main`, because its port is taken, say, ends right after: its run would look as if it had been killed.
const DROP_WAITS: Duration = Duration::from_secs(1);

impl Drop for Intake {
    /// Ends the writer. After `shutdown` it has ended, and this is over at once.
    fn drop(&mut self) {
        self.queue.close();
        let deadline = Instant::now() + self.close_within;
        let (answer, answered) = mpsc::channel();
        self.queue.command(Command::Close {
            deadline,
            answer: Box::new(move |_kept| {
                // The drop may have stopped waiting.
                let _ = answer.send(());
            }),
        });
        // The writer itself can be the last one, through what waited for a row: it cannot wait for itself.
        let own = thread::current();
        let is_ours = own.name().is_some_and(|name| name.starts_with(THREADS));
        if !is_ours {
            let _ = answered.recv_timeout(DROP_WAITS.min(self.close_within));
        }
    }
}

impl RowSink for Intake {
    fn accept(&self, row: Row, waiter: Option<Waiter>) {
        self.queue.push(row, waiter, || self.clock.wall());
    }

    fn offer(
        &self,
        row: &mut Option<Row>,
        waiter: Option<Waiter>,
        room: &dyn Fn() -> RoomCall,
    ) -> Result<(), Box<Unplaced>> {
        let room = (self.queue_full == QueueFull::Wait).then(room);
        self.queue.offer(row, waiter, room, || self.clock.wall())
    }

    fn forget(&self, wish: u64) {
        self.queue.forget(wish);
    }

    fn request_seen(&self) {
        self.board.request_seen();
    }

    fn request_excluded(&self) {
        self.board.request_excluded();
    }

    fn refuses(&self, guarantee: Guarantee) -> bool {
        match guarantee {
            Guarantee::FailClosed => {
                !self.ending.is_admitting()
                    || self.board.progress().failing
                    || self.queue.is_closed()
                    || self.queue.is_full()
            }
            _ => self.queue_full == QueueFull::Refuse && self.queue.is_full(),
        }
    }

    fn request_refused(&self) {
        self.queue.refuse(self.clock.wall());
    }

    fn may_refuse(&self) -> bool {
        self.queue_full == QueueFull::Refuse
    }

    fn may_give_back(&self) -> bool {
        self.queue_full == QueueFull::Wait
    }

    fn answers(&self) -> &Answers {
        &self.answers
    }

    fn tell_of_own_name(&self) -> bool {
        !self.told_of_own_name.swap(true, Ordering::Relaxed)
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}
