//! Watching one request, up to its row in the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::queue::{Queue, Work};
use crate::record::Micros;
use crate::{Builder, Error, Logger};

/// A logger without a writer: whoever holds this takes the rows in its place, so that a measurement sees the request
/// path and the end of the rows, and nothing else.
pub struct Unwritten {
    logger: Logger,
    queue: Arc<Queue>,
    work: Work,
}

impl Unwritten {
    /// Reads no file and starts no thread.
    ///
    /// # Errors
    ///
    /// A setting is wrong.
    pub fn start(builder: Builder) -> Result<Self, Error> {
        let (logger, queue) = builder.in_front_of(Queue::new)?;
        Ok(Self {
            logger,
            queue,
            work: Work::default(),
        })
    }

    /// Its layers fill the queue.
    #[must_use]
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// Takes all rows as the writer does, and drops them as committed. Returns how many there were.
    pub fn take(&mut self) -> usize {
        self.queue
            .take(&mut self.work, Some(Instant::now()), Duration::ZERO);
        let rows = self.work.rows.len();
        self.queue.settle(rows as u64, [], Micros::now());
        self.work.rows.clear();
        self.work.losses.clear();
        rows
    }
}

impl std::fmt::Debug for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwritten").finish_non_exhaustive()
    }
}
