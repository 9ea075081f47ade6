//! Where rows come in: shared by the logger, the layer, request handles and events.

use std::sync::Arc;

use crate::books::Waiter;
use crate::capture::RowSink;
use crate::clock::Clock;
use crate::ledger::progress::Board;
use crate::queue::Queue;
use crate::record::Row;

/// The queue with what belongs to every row that enters it.
pub(crate) struct Intake {
    pub(crate) queue: Arc<Queue>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
}

impl RowSink for Intake {
    fn accept(&self, row: Row, waiter: Option<Waiter>) {
        self.queue.push(row, waiter, || self.clock.wall());
    }

    fn request_seen(&self) {
        self.board.request_seen();
    }

    fn request_excluded(&self) {
        self.board.request_excluded();
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}
