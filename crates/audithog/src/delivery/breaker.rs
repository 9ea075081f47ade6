//! Whether a sink may send now: quick retries, then a breaker with slow probes; or a hold.

use std::time::Duration;

use super::backoff::{self, Jitter};
use crate::config::RetrySettings;
use crate::sink::Hold;

/// Guards the way to one sink.
#[derive(Debug)]
pub(super) struct Breaker {
    retry: RetrySettings,
    state: State,
    /// Requests launched so far; each gets its number.
    launches: u64,
    /// What was launched up to here belongs to the failure that was counted last.
    counted: u64,
    /// From `Retry-After`: nothing is sent before, whatever else succeeds.
    pause_until: Duration,
}

/// What the way is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Everything goes, `RetrySettings::in_flight` at once.
    Flowing,
    /// The last requests failed; one at a time, after a delay.
    Failing { failures: u32, next: Duration },
    /// The breaker is open: one probe at a time.
    Open {
        next: Duration,
        wait: Duration,
        since: Duration,
    },
    /// Retrying cannot help until somebody acts: one probe at a time.
    Held {
        hold: Hold,
        next: Duration,
        wait: Duration,
        since: Duration,
    },
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Held,
    /// From open or held back to flowing, after this long.
    Recovered(Duration),
}

impl Breaker {
    pub(super) fn new(retry: RetrySettings) -> Self {
        Self {
            retry,
            state: State::Flowing,
            launches: 0,
            counted: 0,
            pause_until: Duration::ZERO,
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Open or held: the triggers are suspended and only probes go.
    pub(super) fn is_probing(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Held { .. })
    }

    pub(super) fn is_flowing(&self) -> bool {
        self.state == State::Flowing
    }

    /// Whether another request may be launched.
    pub(super) fn allows(&self, now: Duration, in_flight: usize) -> bool {
        self.has_room(in_flight) && self.next() <= now
    }

    /// Whether another request may fly beside `in_flight` others.
    pub(super) fn has_room(&self, in_flight: usize) -> bool {
        let room = match self.state {
            State::Flowing => self.retry.in_flight.max(1),
            _ => 1,
        };
        in_flight < room
    }

    /// When the next request may be launched, if none is in flight.
    pub(super) fn next(&self) -> Duration {
        match self.state {
            State::Flowing => self.pause_until,
            State::Failing { next, .. } | State::Open { next, .. } | State::Held { next, .. } => {
                next.max(self.pause_until)
            }
        }
    }

    /// Numbers a request that is launched now.
    pub(super) fn launch(&mut self) -> u64 {
        self.launches += 1;
        self.launches
    }

    /// A flush does not wait for a quick retry's delay; it does for `Retry-After` and for probes.
    pub(super) fn hasten(&mut self) {
        if let State::Failing { next, .. } = &mut self.state {
            *next = Duration::ZERO;
        }
    }

    /// The server took rows.
    pub(super) fn success(&mut self, launch: u64, now: Duration) -> Change {
        match self.state {
            State::Flowing => Change::None,
            State::Failing { .. } => {
                self.state = State::Flowing;
                Change::None
            }
            // Launched before the hold began: says nothing about it.
            State::Held { .. } if launch <= self.counted => Change::None,
            State::Open { since, .. } | State::Held { since, .. } => {
                self.state = State::Flowing;
                Change::Recovered(now.saturating_sub(since))
            }
        }
    }

    /// The server answered but took nothing, because of the request itself (too large, a bad row).
    /// It is up again; whether a hold is over only a success shows, so the next probe is due.
    pub(super) fn reached(&mut self, launch: u64, now: Duration) -> Change {
        if let State::Held { next, .. } = &mut self.state {
            if launch > self.counted {
                *next = now;
            }
            return Change::None;
        }
        self.success(launch, now)
    }

    /// A request failed as a whole.
    pub(super) fn failure(
        &mut self,
        launch: u64,
        now: Duration,
        retry_after: Option<Duration>,
        jitter: &mut Jitter,
    ) -> Change {
        self.pause(now, retry_after);
        // Requests that flew together fail together: one failure.
        if launch <= self.counted {
            return Change::None;
        }
        self.counted = self.launches;
        let failures = match &mut self.state {
            State::Flowing => 1,
            State::Failing { failures, .. } => failures.saturating_add(1),
            State::Open { next, wait, .. } | State::Held { next, wait, .. } => {
                *wait = backoff::next_probe(&self.retry, *wait);
                *next = now.saturating_add(*wait);
                return Change::None;
            }
        };
        if failures < self.retry.quick_attempts {
            let delay = backoff::delay(&self.retry, failures, retry_after, jitter);
            self.state = State::Failing {
                failures,
                next: now.saturating_add(delay),
            };
            return Change::None;
        }
        let wait = backoff::first_probe(&self.retry);
        self.state = State::Open {
            next: now.saturating_add(wait),
            wait,
            since: now,
        };
        Change::Opened
    }

    /// The server said that retrying cannot help. It may still say when to ask again.
    pub(super) fn hold(
        &mut self,
        launch: u64,
        hold: Hold,
        now: Duration,
        retry_after: Option<Duration>,
    ) -> Change {
        self.pause(now, retry_after);
        if let State::Held {
            hold: known,
            next,
            wait,
            ..
        } = &mut self.state
        {
            let same = known.reason == hold.reason;
            *known = hold;
            if launch > self.counted {
                self.counted = self.launches;
                *wait = backoff::next_probe(&self.retry, *wait);
                *next = now.saturating_add(*wait);
            }
            return if same { Change::None } else { Change::Held };
        }
        self.counted = self.launches;
        let wait = backoff::first_probe(&self.retry);
        self.state = State::Held {
            hold,
            next: now.saturating_add(wait),
            wait,
            since: now,
        };
        Change::Held
    }

    fn pause(&mut self, now: Duration, retry_after: Option<Duration>) {
        if retry_after.is_some() {
            let floor = backoff::floor(&self.retry, retry_after);
            self.pause_until = self.pause_until.max(now.saturating_add(floor));
        }
    }
}
