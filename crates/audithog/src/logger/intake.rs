//! Where rows come in: shared by the logger, the layer, request handles and events.

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::ledger::progress::Board;
use crate::queue::{Queue, Waiter};
use crate::record::{Micros, Row};

/// The queue with what belongs to every row that enters it.
pub(crate) struct Intake {
    pub(crate) queue: Arc<Queue>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
}

impl Intake {
    pub(crate) fn push(&self, row: Row, waiter: Option<Waiter>) {
        self.queue.push(row, waiter, || self.clock.wall());
    }

    pub(crate) fn wall(&self) -> Micros {
        self.clock.wall()
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}
