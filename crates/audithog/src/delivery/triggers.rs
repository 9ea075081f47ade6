//! When pending rows are sent: enough of them, long enough, or asked for.

use std::time::Duration;

/// How often enough rows may be a reason to send. Above that rate requests grow instead: each costs the same, with few
/// rows as with many.
const EVERY: Duration = Duration::from_millis(50);
/// How many times in a row without such a pause.
const BURST: u32 = 10;

/// Decides up to which row the line may read. A row is pending here until the trigger fires for it.
#[derive(Debug)]
pub(super) struct Triggers {
    batch_size: usize,
    /// Rows that fill a request: these never wait.
    request_rows: usize,
    /// When [`BURST`] times are free again.
    rested: Duration,
    batch_interval: Duration,
    /// Rows up to here may be read and sent.
    fired: i64,
    head: i64,
    /// When the first row after `fired` was seen.
    first: Option<Duration>,
}

impl Triggers {
    /// Nothing is pending up to `start`.
    pub(super) fn new(
        batch_size: usize,
        request_rows: usize,
        batch_interval: Duration,
        start: i64,
    ) -> Self {
        Self {
            batch_size: batch_size.max(1),
            request_rows: request_rows.max(1),
            rested: Duration::ZERO,
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
        let pending = usize::try_from(self.head - self.fired).unwrap_or(0);
        let enough = pending >= self.batch_size && self.free() <= now;
        if enough {
            self.rested = self.rested.max(now).saturating_add(EVERY);
        }
        let due = self
            .first
            .is_some_and(|first| first.saturating_add(self.batch_interval) <= now);
        if enough || due || pending >= self.request_rows.max(self.batch_size) {
            self.fire();
        }
    }

    /// From when on enough rows are a reason to send.
    fn free(&self) -> Duration {
        self.rested.saturating_sub(EVERY * BURST)
    }

    /// Everything committed so far may be sent.
    pub(super) fn fire(&mut self) {
        self.fired = self.head;
        self.first = None;
    }

    /// When what is pending is sent if nothing more comes: the interval of the first row ends, or the pause after the
    /// last time.
    pub(super) fn due(&self) -> Option<Duration> {
        let end = self.first?.saturating_add(self.batch_interval);
        let enough = usize::try_from(self.head - self.fired).is_ok_and(|n| n >= self.batch_size);
        Some(if enough { end.min(self.free()) } else { end })
    }

    pub(super) fn fired(&self) -> i64 {
        self.fired
    }

    pub(super) fn head(&self) -> i64 {
        self.head
    }
}
