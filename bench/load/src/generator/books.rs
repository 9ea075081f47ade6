//! The pure part: when requests are due, what a latency is, which samples are the generator's own fault.

use std::fmt::Write as _;
use std::num::NonZeroU64;

use hdrhistogram::Histogram;

/// A longer gap between two looks at the sockets means that the generator was off its core.
const GAP_NS: u64 = 20_000;
/// Latencies up to a minute, with three digits.
const LONGEST_NS: u64 = 60_000_000_000;

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    due: u64,
    /// The generator's own fault may be in how long it takes.
    is_late: bool,
    /// How many gaps had ended.
    gaps: usize,
}

/// Times are nanoseconds since the start.
#[derive(Debug)]
pub(super) struct Books {
    rate: NonZeroU64,
    last_look: u64,
    /// When each gap ended.
    gap_ends: Vec<u64>,
    /// What came to the service at once after a gap, or what waited behind it, is still under way.
    recovers: bool,
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
            gap_ends: Vec::new(),
            recovers: false,
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

    /// The generator looks at the clock, and sends what is due.
    pub(super) fn look(&mut self, now: u64) {
        if now.saturating_sub(self.last_look) > GAP_NS {
            self.gap_ends.push(now);
            self.recovers |= self.due_before(now) > self.sent;
        }
        self.last_look = now;
    }

    /// The next request goes out. Its latency is the generator's fault as well while the service has not caught up with what gathered in
    /// a gap: it was due in it, or stands behind what was.
    pub(super) fn send(&mut self) -> Sent {
        let due = self.due(self.sent);
        self.sent += 1;
        Sent {
            due,
            is_late: self.recovers,
            gaps: self.gap_ends.len(),
        }
    }

    /// A response is whole since `received`. A gap before that spoils it too: what was sent at its end may have come before.
    pub(super) fn answered(&mut self, request: &Sent, received: u64, status_is_right: bool) {
        let latency = received.saturating_sub(request.due).clamp(1, LONGEST_NS);
        self.answered += 1;
        self.errors += u64::from(!status_is_right);
        self.all.saturating_record(latency);
        let gap = self.gap_ends.get(request.gaps);
        if request.is_late || gap.is_some_and(|end| *end < received) {
            self.late += 1;
        } else {
            self.clean.saturating_record(latency);
        }
        self.ended(received);
    }

    /// A request will not be answered.
    pub(super) fn failed(&mut self, now: u64) {
        self.errors += 1;
        self.ended(now);
    }

    /// The service has caught up once it has nothing left to do; not with an answer of before the gap's end, behind which the rest comes.
    fn ended(&mut self, at: u64) {
        self.ended += 1;
        let from = self.gap_ends.last().map_or(at, |end| at.max(*end));
        if self.recovers && self.ended >= self.due_before(from) {
            self.recovers = false;
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
    /// Samples that the generator itself may have made longer: it was off its core, or the service had not yet caught up with
    /// what it then sent at once.
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

    /// Sends the next request when it is due, and has it answered so much later.
    fn exchange(books: &mut Books, takes: u64) {
        let due = books.due(books.sent);
        books.look(due);
        let request = books.send();
        books.answered(&request, due + takes, true);
    }

    #[test]
    fn latency_counts_from_the_schedule() {
        let mut books = Books::new(100_000).expect("a rate");
        let first = books.send();
        books.look(15_000);
        // Due after 10 µs.
        let second = books.send();
        books.answered(&first, 8_000, false);
        books.answered(&second, 18_000, true);
        let report = books.into_report();
        assert_eq!((report.answered, report.errors, report.late), (2, 1, 0));
        assert!((report.max_us - 8.0).abs() < 0.01, "{report:?}");
    }

    /// Every 10 µs a request; the generator is off its core from 100 to 125 µs, in which three are due.
    fn after_a_gap() -> (Books, Vec<Sent>) {
        let mut books = Books::new(100_000).expect("a rate");
        for _ in 0..10 {
            exchange(&mut books, 5_000);
        }
        books.look(100_000);
        books.look(125_000);
        let burst = (0..3).map(|_| books.send()).collect();
        (books, burst)
    }

    fn late_and_clean(books: Books) -> (u64, u64) {
        let report = books.into_report();
        (report.late, report.clean)
    }

    #[test]
    fn a_short_pause_is_no_gap() {
        let mut books = Books::new(100_000).expect("a rate");
        books.look(20_000);
        exchange(&mut books, 5_000);
        assert_eq!(late_and_clean(books), (0, 1));
    }

    #[test]
    fn what_was_due_in_a_gap_is_late() {
        let (mut books, burst) = after_a_gap();
        for request in &burst {
            books.answered(request, 128_000, true);
        }
        exchange(&mut books, 5_000);
        assert_eq!(late_and_clean(books), (3, 11));
    }

    #[test]
    fn everything_is_late_until_the_service_has_caught_up() {
        let (mut books, burst) = after_a_gap();
        books.look(145_000);
        // Due at 130 and 140.
        let behind = [books.send(), books.send()];
        for (request, at) in burst.iter().chain(&behind).zip([135, 140, 145, 150, 155]) {
            books.answered(request, at * 1_000, true);
        }
        // By 155 the one of 150 was due as well, so the burst is not worked off: it waits behind what waited behind the burst.
        books.look(156_000);
        let last = books.send();
        books.answered(&last, 159_000, true);
        assert_eq!(books.due(books.sent), 160_000);
        exchange(&mut books, 5_000);
        assert_eq!(late_and_clean(books), (6, 11));
    }

    #[test]
    fn an_answer_of_before_the_end_of_a_gap_does_not_end_what_gathered_in_it() {
        let mut books = Books::new(100_000).expect("a rate");
        let first = books.send();
        books.look(1_000);
        books.look(35_000);
        books.answered(&first, 5_000, true);
        // Due at 10, 20 and 30, and one behind them.
        for _ in 0..4 {
            books.look(40_000);
            let request = books.send();
            assert!(request.is_late, "{request:?}");
        }
    }

    #[test]
    fn an_answer_that_came_before_or_in_a_gap_is_not_late() {
        let mut books = Books::new(100_000).expect("a rate");
        let requests = [books.send(), books.send()];
        books.look(20_000);
        books.look(90_000);
        books.answered(&requests[0], 25_000, true);
        books.answered(&requests[1], 90_000, true);
        assert_eq!(late_and_clean(books), (0, 2));
    }

    #[test]
    fn an_answer_that_came_after_a_gap_is_late() {
        let mut books = Books::new(100_000).expect("a rate");
        let request = books.send();
        books.look(90_000);
        books.answered(&request, 90_001, true);
        assert_eq!(late_and_clean(books), (1, 0));
    }

    #[test]
    fn a_gap_in_which_nothing_was_due_spoils_nothing_after_it() {
        let mut books = Books::new(1000).expect("a rate");
        exchange(&mut books, 5_000);
        books.look(500_000);
        exchange(&mut books, 5_000);
        assert_eq!(books.gap_ends, [500_000, 1_000_000]);
        assert_eq!(late_and_clean(books), (0, 2));
    }

    #[test]
    fn a_request_that_failed_waits_for_nothing() {
        let (mut books, burst) = after_a_gap();
        for _ in &burst {
            books.failed(128_000);
        }
        exchange(&mut books, 5_000);
        assert_eq!(books.errors, 3);
        assert_eq!(late_and_clean(books), (0, 11));
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
