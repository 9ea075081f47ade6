//! PostHog's limits of requests, kept from this side: a request that would be one too many waits.

use std::collections::VecDeque;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Queries in a minute and in an hour, of a whole team (`APIQueriesBurstThrottle`, `APIQueriesSustainedThrottle`).
const QUERIES: (usize, usize) = (240, 2_400);
/// Other requests.
const OTHERS: (usize, usize) = (480, 4_800);

/// When requests were made, and when the next may be. Times are of a monotonic clock.
#[derive(Debug)]
pub(super) struct Pace {
    limits: (usize, usize),
    /// Of the last hour.
    made: VecDeque<Duration>,
}

impl Pace {
    pub(super) fn queries() -> Self {
        Self::new(QUERIES)
    }

    pub(super) fn others() -> Self {
        Self::new(OTHERS)
    }

    fn new(limits: (usize, usize)) -> Self {
        Self {
            limits,
            made: VecDeque::new(),
        }
    }

    /// Takes the place of one more request, and says when it may be made.
    pub(super) fn next(&mut self, now: Duration) -> Duration {
        let (minute, hour) = self.limits;
        let after = |nth: usize, span: Duration| {
            let before = self.made.len().checked_sub(nth)?;
            Some(*self.made.get(before)? + span)
        };
        let at = [after(minute, MINUTE), after(hour, HOUR)]
            .into_iter()
            .flatten()
            .fold(now, Duration::max);
        self.made.push_back(at);
        while hour < self.made.len() {
            self.made.pop_front();
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_and_no_hour_has_more_than_its_limit() {
        let mut pace = Pace::queries();
        let mut now = Duration::from_secs(7);
        let mut made = Vec::new();
        for _ in 0..5_000 {
            now = pace.next(now);
            made.push(now);
        }
        for (limit, span) in [(240, MINUTE), (2_400, HOUR)] {
            for window in made.windows(limit + 1) {
                assert!(window[limit] - window[0] >= span, "{window:?}");
            }
        }
        // Nothing is slower than it must be.
        assert_eq!(made[239], made[0]);
        assert_eq!(made[2_400] - made[0], HOUR);
    }
}
