//! How long to wait before the next try.

use std::time::Duration;

use crate::config::RetrySettings;

/// What PostHog's SDKs never go below.
const LEAST_DELAY: Duration = Duration::from_millis(100);
/// What an outage may cost at most: one probe in this time.
const LEAST_PROBE: Duration = Duration::from_secs(30);
/// A straggler waits no longer than this between tries.
const STRAGGLER_CEILING: Duration = Duration::from_secs(3600);

/// A small seedable source of randomness (xorshift64*): jitter needs no more.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        // Zero is the one state that xorshift cannot leave.
        Self(seed | 1)
    }

    /// Uniform in `low..=high`; `low` if the range is empty.
    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX - 1);
        // The upper half of the product of two 64-bit numbers is uniform in `0..=span`.
        let part = (u128::from(random) * (u128::from(span) + 1)) >> 64;
        low.saturating_add(Duration::from_nanos(
            u64::try_from(part).unwrap_or(u64::MAX),
        ))
    }
}

/// The delay before try `failures + 1` of a request: full jitter under a doubling ceiling, with
/// `Retry-After` as a floor that is itself cut at `RetrySettings::max`.
pub(super) fn delay(
    retry: &RetrySettings,
    failures: u32,
    retry_after: Option<Duration>,
    jitter: &mut Jitter,
) -> Duration {
    grown(retry.first, retry.max, failures, jitter).max(floor(retry, retry_after))
}

/// The delay before the next try of a straggler. It grows until age and attempts run out together.
pub(super) fn straggler_delay(
    retry: &RetrySettings,
    attempts: u32,
    retry_after: Option<Duration>,
    jitter: &mut Jitter,
) -> Duration {
    let ceiling = straggler_ceiling(retry);
    grown(retry.first, ceiling, attempts, jitter).max(floor(retry, retry_after))
}

/// The longest delay of a straggler.
pub(super) fn straggler_ceiling(retry: &RetrySettings) -> Duration {
    let even = retry.straggler_age / retry.straggler_attempts.max(1);
    even.min(STRAGGLER_CEILING).max(retry.max)
}

/// `Retry-After` as it is honoured: a hostile value cannot stop delivery for longer than `max`.
pub(super) fn floor(retry: &RetrySettings, retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(retry.max)
}

/// The first wait between probes.
pub(super) fn first_probe(retry: &RetrySettings) -> Duration {
    retry.probe.max(LEAST_PROBE)
}

/// The wait after `probe`.
pub(super) fn next_probe(retry: &RetrySettings, probe: Duration) -> Duration {
    probe
        .saturating_mul(2)
        .min(retry.probe_max)
        .max(first_probe(retry))
}

fn grown(first: Duration, max: Duration, failures: u32, jitter: &mut Jitter) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let ceiling = first.saturating_mul(1 << doublings).min(max);
    jitter.between(LEAST_DELAY, ceiling.max(LEAST_DELAY))
}
