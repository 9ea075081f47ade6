//! The pure part: when requests are due, what a latency is, which samples are the generator's own fault.

use std::fmt::Write as _;
use std::num::NonZeroU64;

use hdrhistogram::Histogram;

/// A longer gap between two looks at the sockets means that the generator was off its core.
const GAP_NS: u64 = 20_000;
/// Latencies up to a minute, with three digits.
const LONGEST_NS: u64 = 60_000_000_000;

/// Times are nanoseconds since the start.
#[derive(Debug)]
pub(super) struct Books {
    rate: NonZeroU64,
    last_look: u64,
    gap_end: u64,
    /// Requests that were due when the last gap ended, and have no answer yet: they came to the service at once.
    burst: u64,
    /// When the last of them was answered.
    burst_end: u64,
    all: Histogram<u64>,
    clean: Histogram<u64>,
    pub(super) sent: u64,
    answered: u64,
    /// Requests that were answered, or will not be.
    ended: u64,
    pub(super) errors: u64,
    late: u64,
    behind: Option<u64>,
}

impl Books {
    pub(super) fn new(rate: u64) -> Option<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_NS, 3).ok();
        Some(Self {
            rate: NonZeroU64::new(rate)?,
            last_look: 0,
            gap_end: 0,
            burst: 0,
            burst_end: 0,
            all: histogram()?,
            clean: histogram()?,
            sent: 0,
            answered: 0,
            ended: 0,
            errors: 0,
            late: 0,
            behind: None,
        })
    }

    /// When a request shall be sent.
    pub(super) fn due(&self, number: u64) -> u64 {
        u64::try_from(u128::from(number) * 1_000_000_000 / u128::from(self.rate.get()))
            .unwrap_or(u64::MAX)
    }

    /// The generator looks at its sockets.
    pub(super) fn look(&mut self, now: u64) {
        if now.saturating_sub(self.last_look) > GAP_NS {
            self.gap_end = now;
            self.burst = self.due_before(now).saturating_sub(self.ended);
        }
        self.last_look = now;
    }

    /// A response is whole. The last gap is the one that matters: the request is the generator's own fault if it was due
    /// before that ended, or before the service had answered the burst that came of it.
    pub(super) fn answered(&mut self, due: u64, now: u64, status_is_right: bool) {
        let latency = now.saturating_sub(due).clamp(1, LONGEST_NS);
        self.answered += 1;
        self.errors += u64::from(!status_is_right);
        self.all.saturating_record(latency);
        if due < self.gap_end.max(self.burst_end) || self.burst > 0 {
            self.late += 1;
        } else {
            self.clean.saturating_record(latency);
        }
        self.ended(due, now);
    }

    /// A request will not be answered.
    pub(super) fn failed(&mut self, due: u64, now: u64) {
        self.errors += 1;
        self.ended(due, now);
    }

    fn ended(&mut self, due: u64, now: u64) {
        self.ended += 1;
        if due < self.gap_end && self.burst > 0 {
            self.burst -= 1;
            if self.burst == 0 {
                self.burst_end = now;
            }
        }
    }

    /// How many requests are due before a time.
    fn due_before(&self, time: u64) -> u64 {
        let whole = u128::from(time) * u128::from(self.rate.get());
        u64::try_from(whole.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }

    /// The schedule is over; of `total` requests the rest still waits for a connection. Only the first call counts.
    pub(super) fn schedule_ended(&mut self, total: u64) {
        let sent = self.sent;
        self.behind
            .get_or_insert_with(|| total.saturating_sub(sent));
    }

    /// What is still open will not be answered.
    pub(super) fn into_report(self) -> Report {
        let at = |histogram: &Histogram<u64>, quantile| {
            microseconds(histogram.value_at_quantile(quantile))
        };
        Report {
            sent: self.sent,
            answered: self.answered,
            errors: self.errors,
            percentiles_us: [0.5, 0.9, 0.99, 0.999].map(|quantile| at(&self.all, quantile)),
            max_us: microseconds(self.all.max()),
            late: self.late,
            behind: self.behind.unwrap_or(0),
            clean: self.clean.len(),
            clean_us: [0.5, 0.9, 0.99, 0.999].map(|quantile| at(&self.clean, quantile)),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a minute in nanoseconds is far below 2^53"
)]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

/// What a run measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Requests written.
    pub sent: u64,
    /// Responses read.
    pub answered: u64,
    /// Responses with another status than the list expects, and requests without a response.
    pub errors: u64,
    /// p50, p90, p99, p99.9 of all samples.
    pub percentiles_us: [f64; 4],
    /// The longest.
    pub max_us: f64,
    /// Samples that the generator itself may have made longer: it was off its core, or what it then sent at once was still
    /// before them.
    pub late: u64,
    /// Requests that were due and not yet sent when the schedule ended: the service did not keep up.
    pub behind: u64,
    /// The other samples.
    pub clean: u64,
    /// p50, p90, p99, p99.9 of these.
    pub clean_us: [f64; 4],
}

impl Report {
    /// One line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let [p50, p90, p99, p999] = self.percentiles_us;
        let mut line = format!(
            "{{\"sent\":{},\"answered\":{},\"errors\":{}",
            self.sent, self.answered, self.errors
        );
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            ",\"p50_us\":{p50:.2},\"p90_us\":{p90:.2},\"p99_us\":{p99:.2},\"p999_us\":{p999:.2}"
        );
        let _ = write!(
            line,
            ",\"max_us\":{:.2},\"late\":{},\"behind\":{}",
            self.max_us, self.late, self.behind
        );
        let [p50, p90, p99, p999] = self.clean_us;
        let _ = write!(
            line,
            ",\"clean\":{{\"n\":{},\"p50_us\":{p50:.2},\"p90_us\":{p90:.2},\"p99_us\":{p99:.2},\"p999_us\":{p999:.2}}}}}",
            self.clean
        );
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_distances_without_drift() {
        let books = Books::new(30_000).expect("a rate");
        assert_eq!(books.due(0), 0);
        assert_eq!(books.due(1), 33_333);
        // A distance in whole nanoseconds would be 10 µs short by now.
        assert_eq!(books.due(30_000), 1_000_000_000);
        assert!(Books::new(0).is_none());
    }

    #[test]
    fn latency_counts_from_the_schedule() {
        let mut books = Books::new(1000).expect("a rate");
        books.answered(5_000_000, 5_250_000, true);
        books.answered(6_000_000, 6_000_000, false);
        let report = books.into_report();
        assert_eq!((report.answered, report.errors, report.late), (2, 1, 0));
        assert!((report.max_us - 250.0).abs() < 0.5, "{report:?}");
    }

    #[test]
    fn a_gap_spoils_the_requests_it_overlaps_and_no_others() {
        let mut books = Books::new(1000).expect("a rate");
        books.look(10_000);
        books.look(30_000);
        books.answered(5_000, 30_000, true);
        // Off the core until 60,000.
        books.look(60_000);
        books.answered(20_000, 60_000, true);
        books.answered(59_999, 61_000, true);
        books.answered(60_001, 70_000, true);
        let report = books.into_report();
        assert_eq!((report.answered, report.late, report.clean), (4, 2, 2));
        assert!(report.clean_us[3] < 26.0, "{report:?}");
    }

    /// A gap of 3 ms at 1,000 requests/s: three requests are due within it, and the third is still open.
    fn in_a_burst() -> Books {
        let mut books = Books::new(1000).expect("a rate");
        books.look(3_000_000);
        books.answered(0, 3_010_000, true);
        books.answered(1_000_000, 3_020_000, true);
        books
    }

    #[test]
    fn what_is_sent_at_once_after_a_gap_spoils_the_requests_behind_it() {
        let mut books = in_a_burst();
        // It may have waited for the third.
        books.answered(3_000_000, 3_030_000, true);
        books.answered(2_000_000, 4_500_000, true);
        // Due while the third was still open, and after that.
        books.answered(4_000_000, 4_600_000, true);
        books.answered(4_500_000, 4_700_000, true);
        let report = books.into_report();
        assert_eq!((report.late, report.clean), (5, 1), "{report:?}");
    }

    #[test]
    fn a_burst_ends_with_a_request_that_failed() {
        let mut books = in_a_burst();
        books.failed(2_000_000, 3_030_000);
        books.answered(3_030_000, 3_100_000, true);
        let report = books.into_report();
        assert_eq!((report.errors, report.late, report.clean), (1, 2, 1));
    }

    #[test]
    fn requests_that_were_answered_before_a_gap_are_no_part_of_its_burst() {
        let mut books = Books::new(1000).expect("a rate");
        books.look(10_000);
        books.answered(0, 15_000, true);
        books.look(1_500_000);
        books.answered(1_000_000, 1_510_000, true);
        books.answered(2_000_000, 2_010_000, true);
        let report = books.into_report();
        assert_eq!((report.late, report.clean), (1, 2), "{report:?}");
    }

    #[test]
    fn what_waits_when_the_schedule_ends_is_counted_once() {
        let mut books = Books::new(1000).expect("a rate");
        books.sent = 60;
        books.schedule_ended(100);
        books.sent = 100;
        books.schedule_ended(100);
        assert_eq!(books.into_report().behind, 40);
    }

    #[test]
    fn a_report_is_one_json_object() {
        let line = Books::new(1).expect("a rate").into_report().to_json();
        assert_eq!(
            line,
            "{\"sent\":0,\"answered\":0,\"errors\":0,\"p50_us\":0.00,\"p90_us\":0.00,\"p99_us\":0.00,\"p999_us\":0.00,\
             \"max_us\":0.00,\"late\":0,\"behind\":0,\"clean\":{\"n\":0,\"p50_us\":0.00,\"p90_us\":0.00,\"p99_us\":0.00,\"p999_us\":0.00}}"
        );
    }
}
