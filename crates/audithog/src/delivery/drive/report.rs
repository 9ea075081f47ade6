//! What the file is told of the sink, so that another process, or whoever looks after a crash, sees
//! why rows wait.

use std::time::Duration;

use super::Driver;
use crate::delivery::course::Now;
use crate::ledger::{HoldState, SinkState};
use crate::record::Micros;
use crate::sink::{Reply, Verdict};

/// Changes that are no news to an operator are told at most this often.
const EVERY: Duration = Duration::from_secs(5);

/// What was told, and since when things are as they are.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    told: Option<(SinkState, Duration)>,
    last_error: Option<(Micros, String)>,
}

impl Reporter {
    /// Takes note of a request that did not go well.
    pub(super) fn note(&mut self, reply: &Reply, now: Micros) {
        let error = match reply {
            Reply::Rows { verdicts, .. } => first_error(verdicts),
            Reply::Retry { reason, .. }
            | Reply::TooLarge { reason }
            | Reply::Refused { reason } => Some(reason.clone()),
            Reply::Hold { hold, .. } => Some(format!("{}: {}", hold.reason.as_str(), hold.detail)),
        };
        if let Some(error) = error {
            self.last_error = Some((now, error));
        }
    }
}

/// Why the first row that was not taken was not.
fn first_error(verdicts: &[Verdict]) -> Option<String> {
    verdicts.iter().find_map(|verdict| match verdict {
        Verdict::Delivered => None,
        Verdict::Retry(reason) | Verdict::Dead(reason) => Some(reason.clone()),
        Verdict::Hold(hold) => Some(format!("{}: {}", hold.reason.as_str(), hold.detail)),
    })
}

impl Driver<'_> {
    /// Tells the ledger what is new. With `last`, also what could wait.
    pub(super) fn report(&mut self, now: Now, last: bool) {
        // Whoever drives the sink says what it is like: without the lease that is somebody else.
        if self.course.is_none() {
            self.reporter.told = None;
            return;
        }
        let told = self.reporter.told.as_ref();
        let state = self.state(told.map(|(state, _)| state), now);
        let due = match told {
            None => true,
            Some((told, _)) if differs(told, &state) => true,
            Some((told, at)) => {
                let changed = SinkState {
                    at: told.at,
                    ..state.clone()
                } != *told;
                changed && (last || now.monotonic.saturating_sub(*at) >= EVERY)
            }
        };
        if due {
            self.context.ledger.report(state.clone());
            self.reporter.told = Some((state, now.monotonic));
        }
    }

    fn state(&self, told: Option<&SinkState>, now: Now) -> SinkState {
        let breaker = self.status.breaker.as_str();
        let breaker_since = match told {
            Some(told) if told.breaker == breaker => told.breaker_since,
            Some(_) => Some(now.wall),
            None => None,
        };
        let hold = self.status.hold.as_ref().map(|hold| {
            let known = told.and_then(|told| told.hold.as_ref());
            let known = known.filter(|known| known.reason == hold.reason.as_str());
            HoldState {
                reason: hold.reason.as_str(),
                since: known.map_or(now.wall.saturating_sub(hold.lasted), |known| known.since),
                detail: hold.detail.clone(),
                remedy: hold.reason.remedy(),
            }
        });
        SinkState {
            sink: self.context.plan.sink.name(),
            at: now.wall,
            last_success: self.status.last_success,
            breaker,
            breaker_since,
            hold,
            last_error: self.reporter.last_error.clone(),
        }
    }
}

/// Whether an operator wants to know at once.
fn differs(told: &SinkState, state: &SinkState) -> bool {
    let reason = |state: &SinkState| state.hold.as_ref().map(|hold| hold.reason);
    let open = |state: &SinkState| state.breaker == "open";
    reason(told) != reason(state) || open(told) != open(state)
}
