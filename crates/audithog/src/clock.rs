//! Time, passed in: production reads the machine's clocks, tests move a clock by hand.
//!
//! Two scales. Wall time stamps rows. Monotonic time (a [`Duration`] since the clock was made)
//! measures durations and decides when something is due; it never jumps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::record::Micros;

/// A source of wall and monotonic time. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System {
        start: Instant,
    },
    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(dead_code, reason = "only tests move a clock by hand")
    )]
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    start: Micros,
    elapsed: Mutex<Duration>,
    moved: Notify,
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self(Kind::System {
            start: Instant::now(),
        })
    }

    /// A clock that stands still at `start` until [`Clock::advance`] moves it.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn manual(start: Micros) -> Self {
        Self(Kind::Manual(Arc::new(Manual {
            start,
            elapsed: Mutex::new(Duration::ZERO),
            moved: Notify::new(),
        })))
    }

    /// Moves a manual clock and wakes everyone who sleeps on it. No effect on the system clock.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn advance(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            *manual.lock() += by;
            manual.moved.notify_waiters();
        }
    }

    /// Wall time.
    pub(crate) fn wall(&self) -> Micros {
        match &self.0 {
            Kind::System { .. } => Micros::now(),
            Kind::Manual(manual) => manual.start.saturating_add(*manual.lock()),
        }
    }

    /// Monotonic time since the clock was made.
    pub(crate) fn monotonic(&self) -> Duration {
        match &self.0 {
            Kind::System { start } => start.elapsed(),
            Kind::Manual(manual) => *manual.lock(),
        }
    }

    /// Completes once [`Clock::monotonic`] has reached `deadline`. Needs a tokio runtime with time.
    pub(crate) async fn sleep_until(&self, deadline: Duration) {
        match &self.0 {
            Kind::System { start } => tokio::time::sleep_until((*start + deadline).into()).await,
            Kind::Manual(manual) => loop {
                let moved = manual.moved.notified();
                tokio::pin!(moved);
                // Registered before the check, so that a move in between is not missed.
                moved.as_mut().enable();
                if *manual.lock() >= deadline {
                    return;
                }
                moved.await;
            },
        }
    }
}

impl Manual {
    fn lock(&self) -> MutexGuard<'_, Duration> {
        self.elapsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
