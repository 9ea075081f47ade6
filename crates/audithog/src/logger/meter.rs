//! The books through the `metrics` facade, for whatever recorder the application installed.

mod process;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use process::{Of, Points, Process, Series, Together};

use super::health::{Health, SinkHealth};
use super::intake::Intake;
use super::{Logger, lock};
use crate::error::{Error, Kind};

/// Distance between two updates.
const EVERY: Duration = Duration::from_secs(1);

/// A recorder is the process's, and so are the series.
static PROCESS: Mutex<Process> = Mutex::new(Process::new());

/// A logger's place among those of the process. Dropped without a [last word](Self::last_word), its thread ends it.
pub(super) struct Meter {
    id: u64,
    stop: mpsc::Sender<()>,
}

impl Logger {
    /// Starts the thread that keeps the metrics up to date. It ends with the intake.
    pub(super) fn start_meter(&self) -> Result<(), Error> {
        let intake = Arc::downgrade(&self.0.intake);
        let id = lock(&PROCESS).begin();
        let (stop, stopped) = mpsc::channel();
        *lock(&self.0.intake.meter) = Some(Meter { id, stop });
        std::thread::Builder::new()
            .name("audithog-meter".to_owned())
            .spawn(move || keep_up(id, &stopped, &intake))
            .map(drop)
            .map_err(|error| {
                lock(&PROCESS).end(id);
                Error::new(Kind::Thread, "cannot start the metrics thread").with_source(error)
            })
    }
}

fn keep_up(id: u64, stopped: &mpsc::Receiver<()>, intake: &Weak<Intake>) {
    loop {
        match stopped.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            // Somebody else has the last word.
            Ok(()) => return,
            // It goes with the intake, which nobody has shut down.
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let Some(intake) = intake.upgrade() else {
            break;
        };
        intake.board.watch_for_hang();
        let points = points(&intake.health());
        lock(&PROCESS).publish(id, points);
    }
    lock(&PROCESS).end(id);
}

impl Meter {
    /// Ends the thread.
    pub(super) fn stop(&self) {
        // It may have ended.
        let _ = self.stop.send(());
    }

    /// The books at the end.
    pub(super) fn last_word(self, health: &Health) {
        let points = points(health);
        let mut process = lock(&PROCESS);
        process.publish(self.id, points);
        process.end(self.id);
    }
}

/// Names and labels, and what they are for several loggers, are listed in `docs/reference/metrics.md`.
fn points(health: &Health) -> Points {
    let mut points = Points {
        ledger: health.ledger.path.clone(),
        head: health.ledger.head,
        ..Points::default()
    };
    let guarantee = &health.guarantee;
    for (name, count) in [
        ("audithog_requests_seen_total", health.requests_seen),
        ("audithog_requests_accepted_total", health.requests_accepted),
        ("audithog_requests_excluded_total", health.requests_excluded),
        ("audithog_rows_accepted_total", health.accepted),
        ("audithog_rows_stored_total", health.stored),
        ("audithog_responses_late_total", guarantee.late),
        ("audithog_responses_withheld_total", guarantee.withheld),
        ("audithog_responses_aborted_total", guarantee.aborted),
        ("audithog_responses_abandoned_total", guarantee.abandoned),
        ("audithog_requests_refused_total", guarantee.refused),
    ] {
        points.counters.push((named(name), Of::Logger, count));
    }
    for (reason, lost) in &health.lost {
        let series = Series {
            reason: Some(reason.clone()),
            ..named("audithog_rows_lost_total")
        };
        points.counters.push((series, Of::Logger, *lost));
    }
    let (sum, ledgers) = (Together::Sum(Of::Logger), Together::Sum(Of::Ledger));
    let ledger = &health.ledger;
    for (name, together, value) in [
        (
            "audithog_requests_in_progress",
            sum,
            number(health.requests_in_progress),
        ),
        ("audithog_rows_queued", sum, number(health.queued)),
        ("audithog_responses_waiting", sum, number(guarantee.waiting)),
        (
            "audithog_ledger_writing",
            Together::Lowest,
            flag(ledger.trouble.is_none()),
        ),
        (
            "audithog_ledger_log_bytes",
            Together::Highest,
            number(ledger.log_bytes),
        ),
        (
            "audithog_ledger_damaged",
            ledgers,
            number(ledger.damaged.len() as u64),
        ),
    ] {
        points.gauges.push((named(name), together, value));
    }
    for (name, sink) in &health.sinks {
        add_sink(name, sink, &mut points);
    }
    points
}

fn add_sink(sink: &str, health: &SinkHealth, points: &mut Points) {
    let series = |name| Series {
        sink: Some(sink.to_owned()),
        ..named(name)
    };
    for (name, count) in [
        ("audithog_sink_delivered_total", health.delivered),
        ("audithog_sink_sampled_out_total", health.sampled_out),
        ("audithog_sink_held_back_total", health.held_back),
        ("audithog_sink_dead_total", health.dead),
    ] {
        points.counters.push((series(name), Of::Ledger, count));
    }
    let age = health.oldest_pending.unwrap_or_default().as_secs_f64();
    let (open, pending) = (flag(health.breaker == "open"), number(health.pending));
    for (name, together, value) in [
        ("audithog_sink_pending", Together::Sum(Of::Ledger), pending),
        (
            "audithog_sink_oldest_pending_seconds",
            Together::Highest,
            age,
        ),
        ("audithog_sink_breaker_open", Together::Highest, open),
        (
            "audithog_sink_verified",
            Together::Lowest,
            flag(health.verified),
        ),
    ] {
        points.gauges.push((series(name), together, value));
    }
    for reason in ["bad_key", "forbidden", "quota"] {
        let series = Series {
            reason: Some(reason.to_owned()),
            ..series("audithog_sink_hold")
        };
        let held = flag(health.hold.as_deref() == Some(reason));
        points.gauges.push((series, Together::Highest, held));
    }
}

fn named(name: &'static str) -> Series {
    Series {
        name,
        sink: None,
        reason: None,
    }
}

/// Gauges are floats; counts beyond 2^53 rows are out of reach.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float, and 2^53 rows are out of reach"
)]
fn number(n: u64) -> f64 {
    n as f64
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

    use std::collections::BTreeMap;

    use super::*;
    use crate::Builder;

    /// By name: of series with labels, one.
    fn values(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
        let found = snapshotter.snapshot().into_vec().into_iter();
        found
            .map(|(key, _, _, value)| (key.key().name().to_owned(), value))
            .collect()
    }

    /// Other tests have loggers, too.
    #[test]
    fn a_logger_that_ends_adds_its_rows_to_those_of_the_others() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let logger = || {
            let builder = Builder::from_environment([]).memory_only();
            builder.start().unwrap()
        };
        let (first, second) = (logger(), logger());
        for _ in 0..10 {
            first.event("x").log();
        }
        second.event("x").log();
        let mut accepted = 0;
        for logger in [first, second] {
            metrics::with_local_recorder(&recorder, || {
                accepted += logger.shutdown_blocking(None).health.accepted;
            });
        }
        let found = values(&snapshotter).remove("audithog_rows_accepted_total");
        let Some(DebugValue::Counter(found)) = found else {
            panic!("{found:?}");
        };
        assert!(accepted >= 13 && found >= accepted, "{found} of {accepted}");
    }

    #[test]
    fn every_count_of_the_books_is_a_metric() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let (logger, _) = Builder::from_environment([]).detached().unwrap();
        logger.event("deployed").log();
        let mut process = Process::new();
        let id = process.begin();
        metrics::with_local_recorder(&recorder, || process.publish(id, points(&logger.health())));
        let found = values(&snapshotter);
        let value = |name: &str| found.get(name);
        assert_eq!(
            value("audithog_rows_accepted_total"),
            Some(&DebugValue::Counter(1))
        );
        assert_eq!(
            value("audithog_rows_queued"),
            Some(&DebugValue::Gauge(1.0.into()))
        );
        for name in [
            "audithog_responses_late_total",
            "audithog_responses_withheld_total",
            "audithog_responses_aborted_total",
            "audithog_responses_abandoned_total",
            "audithog_requests_refused_total",
        ] {
            assert_eq!(value(name), Some(&DebugValue::Counter(0)), "{name}");
        }
        assert_eq!(
            value("audithog_responses_waiting"),
            Some(&DebugValue::Gauge(0.0.into()))
        );
        assert_eq!(
            value("audithog_ledger_writing"),
            Some(&DebugValue::Gauge(1.0.into()))
        );
    }
}
