//! Time, passed in: production reads the machine's clocks, tests move a clock by hand.
//!
//! Two scales. Wall time stamps rows. Monotonic time (a [`Duration`] since the clock was made)
//! measures durations and decides when something is due; it never jumps.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use crate::record::Micros;

/// In nanoseconds: for how long the two scales are taken to run side by side. A wall clock that is set shows after so long.
const COMPARED_EVERY: u64 = 10_000_000;

const NEVER: u64 = u64::MAX;

/// In nanoseconds: a comparison that took longer was interrupted.
const COMPARED_WITHIN: u64 = 20_000;

/// A source of wall and monotonic time. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System {
        start: Instant,
        compared: Arc<Compared>,
    },
    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(dead_code, reason = "only tests move a clock by hand")
    )]
    Manual(Arc<Manual>),
}

/// How far the two scales are apart, so that one look tells both times.
#[derive(Debug)]
struct Compared {
    /// Wall time in nanoseconds when the monotonic one was 0.
    offset: AtomicI64,
    /// Monotonic, in nanoseconds.
    at: AtomicU64,
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
            compared: Arc::new(Compared {
                offset: AtomicI64::new(0),
                at: AtomicU64::new(NEVER),
            }),
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
            Kind::System { start, .. } => start.elapsed(),
            Kind::Manual(manual) => *manual.lock(),
        }
    }

    /// Wall and monotonic time of one moment, by one look at the machine's clocks. Wall time is within
    /// [`COMPARED_WITHIN`] of [`Clock::wall`], except while a wall clock that was set has not shown yet.
    pub(crate) fn now(&self) -> (Micros, Duration) {
        match &self.0 {
            Kind::System { start, compared } => {
                let elapsed = start.elapsed();
                (compared.wall(start, elapsed), elapsed)
            }
            Kind::Manual(_) => (self.wall(), self.monotonic()),
        }
    }

    /// Completes once [`Clock::monotonic`] has reached `deadline`. Needs a tokio runtime with time.
    pub(crate) async fn sleep_until(&self, deadline: Duration) {
        match &self.0 {
            Kind::System { start, .. } => {
                tokio::time::sleep_until((*start + deadline).into()).await;
            }
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

impl Compared {
    /// Wall time at `elapsed` after `start`.
    fn wall(&self, start: &Instant, elapsed: Duration) -> Micros {
        let now = nanos(elapsed);
        // Whoever sees the new time and the old offset is as far off as one who came a moment ago.
        let at = self.at.load(Ordering::Relaxed);
        if at == NEVER || now.saturating_sub(at) > COMPARED_EVERY {
            return self.compare(start);
        }
        let offset = self.offset.load(Ordering::Relaxed);
        Micros(offset.saturating_add_unsigned(now) / 1_000)
    }

    #[cold]
    fn compare(&self, start: &Instant) -> Micros {
        let before = nanos(start.elapsed());
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let after = nanos(start.elapsed());
        let wall = i64::try_from(wall.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX);
        if after.saturating_sub(before) < COMPARED_WITHIN {
            let offset = wall.saturating_sub_unsigned(before);
            self.offset.store(offset, Ordering::Relaxed);
            self.at.store(before, Ordering::Relaxed);
        }
        Micros(wall / 1_000)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Manual {
    fn lock(&self) -> MutexGuard<'_, Duration> {
        self.elapsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::{COMPARED_WITHIN, Clock};

    #[test]
    fn one_look_tells_the_wall_time_that_another_look_would_whoever_compares() {
        let clock = Clock::system();
        let slack = Duration::from_nanos(COMPARED_WITHIN) + Duration::from_micros(1);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let clock = clock.clone();
                thread::spawn(move || {
                    let (mut last, started) = (Duration::ZERO, clock.monotonic());
                    // Long enough for several comparisons.
                    while clock.monotonic().saturating_sub(started) < Duration::from_millis(50) {
                        let before = clock.wall();
                        let (now, elapsed) = clock.now();
                        let after = clock.wall();
                        assert!(before.saturating_sub(slack) <= now, "{before} {now}");
                        assert!(now <= after.saturating_add(slack), "{now} {after}");
                        assert!(last <= elapsed);
                        last = elapsed;
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
