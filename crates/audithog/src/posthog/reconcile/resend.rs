//! Missing rows sent once more, as they were the first time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::rows::Rules;
use super::{MissingRow, SINK};
use crate::clock::Clock;
use crate::config::PosthogSettings;
use crate::error::{Error, Kind};
use crate::ledger::Looker;
use crate::record::StoredRow;
use crate::sink::posthog::PosthogSink;
use crate::sink::{Attempt, Reply, Sink as _, Verdict};

/// Rows in one request.
const TOGETHER: usize = 500;
/// Tries of a request.
const TRIES: u32 = 6;
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What was sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Resent {
    /// Rows that PostHog accepted.
    pub accepted: u64,
    /// Rows that it refused, or that could not be sent, by their numbers, and why.
    pub refused: Vec<(u64, String)>,
}

/// Sends exactly these rows, with the rules of the run that wrote each: they decide on `sample_rate`.
pub(super) fn resend(
    looker: &mut Looker,
    settings: &PosthogSettings,
    rules: &Rules,
    missing: &[MissingRow],
    clock: &Clock,
) -> Result<Resent, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Thread, "no runtime for requests").with_source(error))?;
    let mut resent = Resent::default();
    // One sink for each set of rules.
    let mut sinks: BTreeMap<i64, PosthogSink> = BTreeMap::new();
    for part in missing.chunks(TOGETHER) {
        let seqs: Vec<i64> = part.iter().map(|row| row.seq.cast_signed()).collect();
        let rows = looker.rows_by_seq(&seqs)?;
        let mut by_run: BTreeMap<i64, Vec<StoredRow>> = BTreeMap::new();
        let runs: BTreeMap<i64, i64> = looker.runs_of(&seqs)?.into_iter().collect();
        for (row, seq) in rows.into_iter().zip(&seqs) {
            match row {
                Some(row) => by_run
                    .entry(runs.get(seq).copied().unwrap_or(0))
                    .or_default()
                    .push(row),
                None => resent.refused.push((
                    seq.unsigned_abs(),
                    "retention has just removed the row".to_owned(),
                )),
            }
        }
        for (run, rows) in by_run {
            let sink = match sinks.remove(&run) {
                Some(sink) => sink,
                None => {
                    let settings = PosthogSettings {
                        sample: rules.of(run).to_vec(),
                        ..settings.clone()
                    };
                    PosthogSink::new(&settings, clock.clone())?
                }
            };
            runtime.block_on(send(&sink, rows, clock, &mut resent))?;
            sinks.insert(run, sink);
        }
    }
    Ok(resent)
}

/// Rows that travel together.
struct Parcel {
    rows: Vec<StoredRow>,
    attempt: Attempt,
    rest: Duration,
}

impl Parcel {
    fn new(rows: Vec<StoredRow>, clock: &Clock) -> Self {
        Self {
            rows,
            attempt: Attempt {
                request: Uuid::now_v7(),
                created: clock.wall(),
                number: 1,
            },
            rest: FIRST_REST,
        }
    }
}

async fn send(
    sink: &PosthogSink,
    rows: Vec<StoredRow>,
    clock: &Clock,
    resent: &mut Resent,
) -> Result<(), Error> {
    let mut parcels = VecDeque::from([Parcel::new(rows, clock)]);
    while let Some(mut parcel) = parcels.pop_front() {
        let (reason, retry_after) = match sink.send(&parcel.rows, parcel.attempt).await {
            Reply::Rows {
                verdicts,
                retry_after,
            } => {
                let reason = sort(&mut parcel.rows, verdicts, resent)?;
                if parcel.rows.is_empty() {
                    continue;
                }
                (reason, retry_after)
            }
            Reply::Retry {
                reason,
                retry_after,
                ..
            } => (reason, retry_after),
            Reply::Hold { hold, .. } => return Err(on_hold(&hold, resent)),
            Reply::TooLarge { reason } | Reply::Refused { reason } => {
                let half = parcel.rows.len() / 2;
                let rest = parcel.rows.split_off(half);
                if half == 0 {
                    resent.refuse(&rest, &reason);
                } else {
                    parcels.push_front(Parcel::new(rest, clock));
                    parcels.push_front(Parcel::new(parcel.rows, clock));
                }
                continue;
            }
        };
        if parcel.attempt.number >= TRIES {
            resent.refuse(&parcel.rows, &reason);
            continue;
        }
        let wait = retry_after
            .unwrap_or(Duration::ZERO)
            .clamp(parcel.rest, LONGEST_REST);
        let until = clock.monotonic() + wait;
        clock.sleep_until(until).await;
        parcel.attempt.number += 1;
        parcel.rest *= 2;
        parcels.push_front(parcel);
    }
    Ok(())
}

/// Leaves the rows that are to be sent again, and says why.
fn sort(
    rows: &mut Vec<StoredRow>,
    verdicts: Vec<Verdict>,
    resent: &mut Resent,
) -> Result<String, Error> {
    let mut again = Vec::new();
    let mut reason = String::new();
    for (row, verdict) in rows.drain(..).zip(verdicts) {
        match verdict {
            Verdict::Delivered => resent.accepted += 1,
            Verdict::Dead(why) => resent.refuse(&[row], &why),
            Verdict::Hold(hold) => return Err(on_hold(&hold, resent)),
            Verdict::Retry(why) => {
                reason = why;
                again.push(row);
            }
        }
    }
    *rows = again;
    Ok(reason)
}

fn on_hold(hold: &crate::sink::Hold, resent: &Resent) -> Error {
    let message = format!(
        "{SINK} takes nothing now ({}: {}) after {} rows: {}",
        hold.reason.as_str(),
        hold.detail,
        resent.accepted,
        hold.reason.remedy()
    );
    Error::new(Kind::Remote, message)
}

impl Resent {
    fn refuse(&mut self, rows: &[StoredRow], reason: &str) {
        let rows = rows
            .iter()
            .map(|row| (row.seq.unsigned_abs(), reason.to_owned()));
        self.refused.extend(rows);
    }
}
