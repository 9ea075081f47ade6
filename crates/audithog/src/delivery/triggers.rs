//! When pending rows are sent: enough of them, long enough, or asked for.

use std::time::Duration;

/// Decides up to which row the line may read. A row is pending here until the trigger fires for it.
#[derive(Debug)]
pub(super) struct Triggers {
    batch_size: usize,
    batch_interval: Duration,
    /// Rows up to here may be read and sent.
    fired: i64,
    head: i64,
    /// When the first row after `fired` was seen.
    first: Option<Duration>,
}

impl Triggers {
    /// Nothing is pending up to `start`.
    pub(super) fn new(batch_size: usize, batch_interval: Duration, start: i64) -> Self {
        Self {
            batch_size: batch_size.max(1),
            batch_interval,
            fired: start,
            head: start,
            first: None,
        }
    }

    /// Takes note of the ledger's head.
    pub(super) fn observe(&mut self, head: i64, now: Duration) {
        self.head = self.head.max(head);
        if self.head > self.fired && self.first.is_none() {
            self.first = Some(now);
        }
    }

    /// Fires if a trigger is met. Not called while a hold or the breaker suspends the triggers; the
    /// interval goes on counting, so the first call afterwards fires at once.
    pub(super) fn check(&mut self, now: Duration) {
        let full = usize::try_from(self.head - self.fired).is_ok_and(|n| n >= self.batch_size);
        if full || self.due().is_some_and(|due| due <= now) {
            self.fire();
        }
    }

    /// Everything committed so far may be sent.
    pub(super) fn fire(&mut self) {
        self.fired = self.head;
        self.first = None;
    }

    /// When the interval of the first pending row ends.
    pub(super) fn due(&self) -> Option<Duration> {
        self.first
            .map(|first| first.saturating_add(self.batch_interval))
    }

    pub(super) fn fired(&self) -> i64 {
        self.fired
    }

    pub(super) fn head(&self) -> i64 {
        self.head
    }
}
