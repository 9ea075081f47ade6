//! What the sink has learnt about the host. Forgotten after an hour, so that an upgraded host is
//! noticed without a restart.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// How long a lesson holds.
pub(super) const LESSON: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Memory {
    clock: Clock,
    lessons: Mutex<Lessons>,
}

/// Until when, on the monotonic scale.
#[derive(Debug, Default)]
struct Lessons {
    v1_absent: Option<Duration>,
    plain_only: Option<Duration>,
}

impl Memory {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            lessons: Mutex::default(),
        }
    }

    pub(super) fn v1_absent(&self) -> bool {
        self.holds(self.lock().v1_absent)
    }

    /// Bodies must not be compressed.
    pub(super) fn plain_only(&self) -> bool {
        self.holds(self.lock().plain_only)
    }

    /// Returns whether this is news: not known before, or not since v1 was last seen.
    pub(super) fn note_v1_absent(&self) -> bool {
        let until = self.until();
        self.lock().v1_absent.replace(until).is_none()
    }

    /// Returns whether this is news.
    pub(super) fn note_plain_only(&self) -> bool {
        let until = self.until();
        self.lock().plain_only.replace(until).is_none()
    }

    /// Returns whether this is news.
    pub(super) fn note_v1_present(&self) -> bool {
        self.lock().v1_absent.take().is_some()
    }

    fn holds(&self, until: Option<Duration>) -> bool {
        until.is_some_and(|until| self.clock.monotonic() < until)
    }

    fn until(&self) -> Duration {
        self.clock.monotonic() + LESSON
    }

    fn lock(&self) -> MutexGuard<'_, Lessons> {
        self.lessons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
