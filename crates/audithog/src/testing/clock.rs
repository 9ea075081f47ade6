//! A clock that a test moves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::Clock;
use crate::record::Micros;

/// Time for a logger under test: stands still until [`advance`](Self::advance) moves it. Intervals,
/// delays between tries, probes and ages follow it; the hand-off to the ledger (milliseconds) and
/// the deadlines of flush and shutdown follow real time.
#[derive(Clone, Debug)]
pub struct ManualClock(pub(crate) Clock);

impl ManualClock {
    /// Stands at `start`.
    #[must_use]
    pub fn new(start: SystemTime) -> Self {
        let since = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(Clock::manual(Micros(0).saturating_add(since)))
    }

    /// Moves the time on and wakes whoever waits for it.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

impl Default for ManualClock {
    /// Stands at the time of its making.
    fn default() -> Self {
        Self::new(SystemTime::now())
    }
}
