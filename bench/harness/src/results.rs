//! Everything that was measured, as it is kept in bench/results.json.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::read::procfs::Disturbance;
use crate::read::programs::{Count, Final, Latency, Part};
use crate::stats::Round;
use crate::suite::{OpenCase, Variant};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// What was typed.
    pub(crate) command: String,
    pub(crate) quick: bool,
    /// Only some groups or stacks were asked for, or a quick run.
    pub(crate) partial: bool,
    pub(crate) rounds: usize,
    pub(crate) took_seconds: f64,
    #[serde(default)]
    pub(crate) closed: Vec<Closed>,
    /// Requests a second that 100 % of the open loop stands for.
    #[serde(default)]
    pub(crate) saturation: Option<f64>,
    #[serde(default)]
    pub(crate) open: Vec<Open>,
    #[serde(default)]
    pub(crate) parts: Vec<Part>,
    #[serde(default)]
    pub(crate) criterion: Vec<Criterion>,
    /// What could not be measured, and why.
    #[serde(default)]
    pub(crate) gaps: Vec<String>,
}

/// Where it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) disk: String,
    /// Names and versions of tools and peers.
    pub(crate) versions: Vec<(String, String)>,
}

/// One process of a stack in the closed loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Closed {
    pub(crate) round: Round,
    pub(crate) variant: Variant,
    /// Requests a second at saturation, of its turns.
    pub(crate) rate: f64,
    /// In the turns.
    pub(crate) answered: u64,
    /// In the turns, and their part of the end.
    pub(crate) cpu_seconds: f64,
    pub(crate) idle_kb: u64,
    pub(crate) peak_kb: u64,
    pub(crate) last: Final,
    pub(crate) received: Option<Count>,
    /// In the file of a stack that writes one line for each request.
    pub(crate) lines: Option<u64>,
    /// It was at rest before and after each turn.
    pub(crate) rested: bool,
    pub(crate) disturbance: Disturbance,
    /// How many turns were repeated because of a disturbance.
    pub(crate) repeats: u32,
}

impl Closed {
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / crate::read::wrk::count_as_f64(self.answered.max(1))
    }

    /// How many rows should have arrived, and how many did; none for a stack that delivers nothing.
    ///
    /// audithog makes some rows besides those of requests, and they are delivered too.
    pub(crate) fn delivery(&self) -> Option<(u64, u64)> {
        let own = self.last.rows_own.unwrap_or(0);
        let made = self.last.rows_made.unwrap_or(0).max(self.last.answered) + own;
        let Some(received) = self.received.as_ref() else {
            return Some((made, self.lines?));
        };
        // Only PostHog's events have a uuid.
        let arrived = if received.distinct > 0 {
            received.distinct
        } else {
            received.events
        };
        Some((made, arrived))
    }

    /// Like [`Visit::is_marked`], by this process alone.
    pub(crate) fn is_marked(&self) -> bool {
        is_marked(&self.disturbance, self.rested)
    }
}

/// A stack's processes in one visit together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Visit {
    pub(crate) round: Round,
    pub(crate) variant: Variant,
    pub(crate) rested: bool,
    pub(crate) disturbance: Disturbance,
}

impl Visit {
    /// Something is wrong with the machine or the start, not with the stack.
    pub(crate) fn is_marked(&self) -> bool {
        is_marked(&self.disturbance, self.rested)
    }
}

fn is_marked(disturbance: &Disturbance, rested: bool) -> bool {
    disturbance.is_too_much() || !rested
}

/// One open-loop measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) round: Round,
    pub(crate) case: OpenCase,
    pub(crate) rate: u64,
    pub(crate) latency: Latency,
    /// What the service said at its end.
    #[serde(default)]
    pub(crate) last: Option<Final>,
    /// Rows that had arrived at the receiver when the measurement ended, of those that waited at the start.
    pub(crate) drained: Option<(u64, u64)>,
    pub(crate) disturbance: Disturbance,
    pub(crate) repeats: u32,
}

impl Open {
    /// The service could not serve the rate: what it answered says how long the queue was, and not how long it takes.
    pub(crate) fn is_overloaded(&self) -> bool {
        /// More than a tenth of a second's requests; a pause of the machine leaves fewer.
        const TENTH: u64 = 10;
        let Latency {
            sent,
            answered,
            errors,
            behind,
            ..
        } = self.latency;
        errors > 0 || answered < sent || behind > self.rate / TENTH
    }
}

/// The values of each round together, in the order of the rounds.
pub(crate) fn by_round(
    values: impl Iterator<Item = (Round, f64)>,
) -> impl Iterator<Item = (Round, Vec<f64>)> {
    let mut rounds: BTreeMap<Round, Vec<f64>> = BTreeMap::new();
    for (round, value) in values {
        rounds.entry(round).or_default().push(value);
    }
    rounds.into_iter()
}

/// The median of a criterion benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Criterion {
    pub(crate) name: String,
    pub(crate) nanoseconds: f64,
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("`{}` cannot be read", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("`{}` holds no results", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text)
            .with_context(|| format!("`{}` cannot be written", path.display()))
    }

    /// In the order in which they were made.
    pub(crate) fn visits(&self) -> Vec<Visit> {
        let of_a_visit = |one: &Closed, other: &Closed| {
            (one.round, &one.variant) == (other.round, &other.variant)
        };
        let visits = self.closed.chunk_by(of_a_visit);
        visits
            .filter_map(|processes| {
                let disturbances: Vec<_> = processes.iter().map(|one| one.disturbance).collect();
                let first = processes.first()?;
                Some(Visit {
                    round: first.round,
                    variant: first.variant.clone(),
                    rested: processes.iter().all(|one| one.rested),
                    disturbance: Disturbance::mean(&disturbances),
                })
            })
            .collect()
    }

    pub(crate) fn processes_of(&self, variant: &Variant) -> impl Iterator<Item = &Closed> {
        let closed = self.closed.iter();
        closed.filter(move |closed| closed.variant == *variant)
    }

    /// A value of each round of a stack: the mean of its processes.
    pub(crate) fn rounds_of(
        &self,
        variant: &Variant,
        value: impl Fn(&Closed) -> f64,
    ) -> Vec<(Round, f64)> {
        by_round(
            self.processes_of(variant)
                .map(|one| (one.round, value(one))),
        )
        .map(|(round, values)| (round, values.iter().sum::<f64>() / values.len() as f64))
        .collect()
    }

    /// A value of each round of a case in which the service kept up.
    pub(crate) fn latencies_of(
        &self,
        case: &OpenCase,
        value: impl Fn(&Latency) -> f64,
    ) -> Vec<(Round, f64)> {
        self.open
            .iter()
            .filter(|open| open.case == *case && !open.is_overloaded())
            .map(|open| (open.round, value(&open.latency)))
            .collect()
    }

    /// In how many rounds a case was too much for the service, and how many there were.
    pub(crate) fn overloads(&self, case: &OpenCase) -> (usize, usize) {
        let of_case = || self.open.iter().filter(|open| open.case == *case);
        let overloaded = of_case().filter(|open| open.is_overloaded()).count();
        (overloaded, of_case().count())
    }
}
