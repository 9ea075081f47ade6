//! The books through the `metrics` facade, for whatever recorder the application installed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{counter, gauge};

use super::Logger;
use super::health::{Health, SinkHealth};
use super::intake::Intake;
use crate::error::{Error, Kind};

/// Distance between two updates.
const EVERY: Duration = Duration::from_secs(1);

impl Logger {
    /// Starts the thread that keeps the metrics up to date. It ends with the intake.
    pub(super) fn start_meter(&self) -> Result<(), Error> {
        let intake: Weak<Intake> = Arc::downgrade(&self.0.intake);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        *super::lock(&self.0.intake.meter) = Some(stop);
        std::thread::Builder::new()
            .name("audithog-meter".to_owned())
            .spawn(move || {
                // The sender goes with the intake, which ends the wait at once.
                while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
                    stopped.recv_timeout(EVERY)
                {
                    let Some(intake) = intake.upgrade() else {
                        return;
                    };
                    intake.board.watch_for_hang();
                    publish(&intake.health());
                }
            })
            .map(drop)
            .map_err(|error| {
                Error::new(Kind::Thread, "cannot start the metrics thread").with_source(error)
            })
    }
}

/// Names and labels are listed in `docs/reference/metrics.md`.
pub(super) fn publish(health: &Health) {
    counter!("audithog_requests_seen_total").absolute(health.requests_seen);
    counter!("audithog_requests_accepted_total").absolute(health.requests_accepted);
    counter!("audithog_requests_excluded_total").absolute(health.requests_excluded);
    gauge!("audithog_requests_in_progress").set(number(health.requests_in_progress));
    counter!("audithog_rows_accepted_total").absolute(health.accepted);
    counter!("audithog_rows_stored_total").absolute(health.stored);
    gauge!("audithog_rows_queued").set(number(health.queued));
    for (reason, lost) in &health.lost {
        counter!("audithog_rows_lost_total", "reason" => reason.clone()).absolute(*lost);
    }
    let guarantee = &health.guarantee;
    gauge!("audithog_responses_waiting").set(number(guarantee.waiting));
    counter!("audithog_responses_late_total").absolute(guarantee.late);
    counter!("audithog_responses_withheld_total").absolute(guarantee.withheld);
    counter!("audithog_responses_aborted_total").absolute(guarantee.aborted);
    counter!("audithog_responses_abandoned_total").absolute(guarantee.abandoned);
    counter!("audithog_requests_refused_total").absolute(guarantee.refused);
    gauge!("audithog_ledger_writing").set(flag(health.ledger.trouble.is_none()));
    gauge!("audithog_ledger_log_bytes").set(number(health.ledger.log_bytes));
    gauge!("audithog_ledger_damaged").set(number(health.ledger.damaged.len() as u64));
    for (name, sink) in &health.sinks {
        publish_sink(name, sink);
    }
}

fn publish_sink(name: &str, sink: &SinkHealth) {
    let labels = [("sink", name.to_owned())];
    counter!("audithog_sink_delivered_total", &labels).absolute(sink.delivered);
    counter!("audithog_sink_sampled_out_total", &labels).absolute(sink.sampled_out);
    counter!("audithog_sink_held_back_total", &labels).absolute(sink.held_back);
    counter!("audithog_sink_dead_total", &labels).absolute(sink.dead);
    gauge!("audithog_sink_pending", &labels).set(number(sink.pending));
    let age = sink.oldest_pending.unwrap_or_default();
    gauge!("audithog_sink_oldest_pending_seconds", &labels).set(age.as_secs_f64());
    for reason in ["bad_key", "forbidden", "quota"] {
        let held = sink.hold.as_deref() == Some(reason);
        gauge!("audithog_sink_hold", "sink" => name.to_owned(), "reason" => reason).set(flag(held));
    }
    gauge!("audithog_sink_breaker_open", &labels).set(flag(sink.breaker == "open"));
    gauge!("audithog_sink_verified", &labels).set(flag(sink.verified));
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
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;
    use crate::Builder;

    #[test]
    fn every_count_of_the_books_is_a_metric() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let (logger, _) = Builder::from_environment([]).detached().unwrap();
        logger.event("deployed").log();
        metrics::with_local_recorder(&recorder, || publish(&logger.health()));
        let found: Vec<(String, DebugValue)> = snapshotter
            .snapshot()
            .into_vec()
            .into_iter()
            .map(|(key, _, _, value)| (key.key().name().to_owned(), value))
            .collect();
        let value = |name: &str| {
            found
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value)
        };
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
