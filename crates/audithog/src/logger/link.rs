//! What delivery asks of the writer, as commands in the queue's own lane.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::delivery::Ledger;
use crate::ledger::progress::{Board, Progress, Ticket};
use crate::ledger::{Reader, Settlement, SinkState, SinkTotals, StoreError, StoreErrorKind};
use crate::queue::{Command, LeaseRequest, Queue};
use crate::record::Micros;

/// The writer, seen from delivery.
pub(super) struct Link {
    queue: Arc<Queue>,
    board: Arc<Board>,
    readers: Mutex<Vec<Box<dyn Reader>>>,
    tickets: AtomicU64,
}

impl Link {
    /// `readers`: one for each sink.
    pub(super) fn new(
        queue: &Arc<Queue>,
        board: &Arc<Board>,
        readers: Vec<Box<dyn Reader>>,
    ) -> Self {
        Self {
            queue: Arc::clone(queue),
            board: Arc::clone(board),
            readers: Mutex::new(readers),
            tickets: AtomicU64::new(0),
        }
    }
}

impl Ledger for Link {
    fn progress(&self) -> watch::Receiver<Progress> {
        self.board.subscribe()
    }

    fn request_sync(&self) {
        self.queue.command(Command::Sync);
    }

    fn settle(&self, settlement: Settlement) -> Ticket {
        // One thread settles, so that tickets and commands have the same order.
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed) + 1);
        self.queue.command(Command::Settle(settlement, ticket));
        ticket
    }

    fn report(&self, state: SinkState) {
        self.queue.command(Command::Report(state));
    }

    fn lease(
        &self,
        sink: &'static str,
        holder: &str,
        until: Micros,
    ) -> oneshot::Receiver<Option<SinkTotals>> {
        let (answer, answered) = oneshot::channel();
        self.queue.command(Command::Lease(LeaseRequest {
            sink,
            holder: holder.to_owned(),
            until,
            answer: Box::new(move |totals| drop(answer.send(totals))),
        }));
        answered
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let reader = self
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        reader.ok_or_else(|| {
            StoreError::new(StoreErrorKind::Unusable, "no reader was made for this sink")
        })
    }
}
