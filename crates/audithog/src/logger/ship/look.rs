//! A look at a ledger from outside, which changes nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{SINK, unusable};
use crate::error::Error;
use crate::ledger::{Glance, Looker, OpenRun, SinkTotals, Whereabouts};
use crate::record::Micros;

/// What waits in a ledger.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Waiting {
    /// The ledger.
    pub path: PathBuf,
    /// Rows ever stored.
    pub stored: u64,
    /// Rows that PostHog has not got and is to get; all that are held where there never was a key.
    pub pending: u64,
    /// Rows that PostHog refused for good, ever.
    pub dead: u64,
    /// There was a key at some time.
    pub known_to_posthog: bool,
    /// Runs that ended without saying so, may have lost rows, and have no `audit_loss` row yet.
    pub unclean_stops: u64,
    /// The process that has the ledger open, or may have; absent for an orphan.
    pub in_use_by: Option<String>,
    /// What the runs that ended without saying so may have lost.
    #[serde(skip)]
    pub(super) bound: u64,
    /// The counts so far.
    #[serde(skip)]
    pub(super) before: SinkTotals,
    #[serde(skip)]
    open_runs: Vec<OpenRun>,
}

impl Waiting {
    /// The run that keeps others away; one of this host first.
    pub(super) fn in_the_way(&self) -> Option<&OpenRun> {
        let first = |at| self.open_runs.iter().find(|run| run.at == at);
        first(Whereabouts::Here).or_else(|| first(Whereabouts::MaybeElsewhere))
    }
}

/// Looks at the ledger at `path` without changing anything, also on a read-only volume.
///
/// # Errors
///
/// [`Error::is_ledger`] when it is none, cannot be read, or is damaged where the counters are.
pub fn look(path: impl AsRef<Path>) -> Result<Waiting, Error> {
    at(path.as_ref(), Micros::now())
}

pub(super) fn at(path: &Path, now: Micros) -> Result<Waiting, Error> {
    let glanced = Looker::open(path).and_then(|mut looker| looker.glance(now));
    let Glance { totals, open_runs } = glanced.map_err(unusable)?;
    let sink = totals.sinks.get(SINK);
    let held = u64::try_from(totals.head - totals.pruned).unwrap_or(0);
    let gone: Vec<&OpenRun> = open_runs
        .iter()
        .filter(|run| run.at == Whereabouts::Gone && run.queue_capacity > 0)
        .collect();
    let mut waiting = Waiting {
        path: path.to_owned(),
        stored: u64::try_from(totals.head).unwrap_or(0),
        pending: sink.map_or(held, |sink| sink.pending(totals.head)),
        dead: sink.map_or(0, |sink| sink.dead),
        known_to_posthog: sink.is_some(),
        unclean_stops: gone.len() as u64,
        in_use_by: None,
        before: sink.cloned().unwrap_or_default(),
        bound: gone.iter().map(|run| run.queue_capacity).sum(),
        open_runs,
    };
    waiting.in_use_by = waiting.in_the_way().map(|run| {
        let elsewhere = match run.at {
            Whereabouts::Here => "",
            _ => ", in another container or on another host",
        };
        format!("{}, process {}{elsewhere}", run.run.service, run.pid)
    });
    Ok(waiting)
}
