//! The ledger's side: which rows PostHog is to have.

use std::collections::BTreeMap;

use super::{NotDelivered, SINK};
use crate::config::{SampleRule, sample_rules};
use crate::error::{Error, Kind};
use crate::ledger::{Direction, Looker, Passed, RowFilter, SinkTotals};
use crate::query::Filter;
use crate::record::{Micros, StoredRow};
use crate::sink::sampling::{Sampled, Sampler};

/// Rows read at a time.
const STEP: usize = 1_000;

/// The sampling rules of each run that sent to PostHog, and those of now.
#[derive(Debug)]
pub(super) struct Rules {
    /// By run. A run without a key has those of the next that had one: that one sent its rows.
    of_runs: BTreeMap<i64, Vec<SampleRule>>,
    now: Vec<SampleRule>,
}

/// The rows of a range, as often as they are asked for.
#[derive(Debug)]
pub(super) struct Source<'l> {
    looker: &'l mut Looker,
    filter: RowFilter,
    sink: SinkTotals,
    head: i64,
    passed: Passed,
    rules: Rules,
    samplers: BTreeMap<i64, Sampler>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Pending,
    SampledOut,
    HeldBack,
    Dead,
}

impl NotDelivered {
    pub(super) fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Delivered => {}
            Fate::Pending => self.pending += 1,
            Fate::SampledOut => self.sampled_out += 1,
            Fate::HeldBack => self.held_back += 1,
            Fate::Dead => self.dead += 1,
        }
    }
}

impl Rules {
    pub(super) fn of(&self, run: i64) -> &[SampleRule] {
        let mut later = self.of_runs.range(run..);
        later.next().map_or(&self.now, |(_, rules)| rules)
    }
}

impl<'l> Source<'l> {
    /// `now`: the rules that a service started now would have.
    pub(super) fn open(
        looker: &'l mut Looker,
        filter: &Filter,
        now: &[SampleRule],
    ) -> Result<Self, Error> {
        let totals = looker.facts()?.totals;
        let Some(sink) = totals.sinks.get(SINK).cloned() else {
            return Err(Error::new(
                Kind::Ledger,
                format!(
                    "the ledger {} never had PostHog as a destination: nothing of it can be there",
                    looker.path().display()
                ),
            ));
        };
        let mut of_runs = BTreeMap::new();
        for run in looker.run_settings()? {
            of_runs.extend(rules_of(&run.settings_json).map(|rules| (run.run, rules)));
        }
        Ok(Self {
            passed: looker.passed(SINK, sink.began)?,
            filter: filter.rows(),
            sink,
            head: totals.head,
            looker,
            rules: Rules {
                of_runs,
                now: now.to_vec(),
            },
            samplers: BTreeMap::new(),
        })
    }

    pub(super) fn range(&self) -> (Micros, Micros) {
        let since = self.filter.since.unwrap_or(Micros::FIRST);
        (since, self.filter.until.unwrap_or_else(Micros::now))
    }

    pub(super) fn into_rules(self) -> Rules {
        self.rules
    }

    /// Each row with `since <= time < until`, and what became of it.
    pub(super) fn each(
        &mut self,
        (since, until): (Micros, Micros),
        mut row: impl FnMut(&StoredRow, Fate),
    ) -> Result<(), Error> {
        let filter = RowFilter {
            since: Some(since),
            until: Some(until),
            ..self.filter.clone()
        };
        let mut walk = self
            .looker
            .walk(&filter, Direction::Forward, 0, self.head)?;
        while !walk.is_done() {
            let rows = self.looker.step(&filter, &mut walk, STEP)?;
            let runs = self.runs(&rows)?;
            for stored in &rows {
                let run = runs.get(&stored.seq).copied().unwrap_or(0);
                let fate = self.fate(stored, run);
                row(stored, fate);
            }
        }
        Ok(())
    }

    /// Only where rules may have left something out.
    fn runs(&mut self, rows: &[StoredRow]) -> Result<BTreeMap<i64, i64>, Error> {
        if self.sink.sampled_out == 0 {
            return Ok(BTreeMap::new());
        }
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        Ok(self.looker.runs_of(&seqs)?.into_iter().collect())
    }

    fn fate(&mut self, stored: &StoredRow, run: i64) -> Fate {
        let seq = stored.seq;
        if self.passed.dead.contains(&seq) {
            return Fate::Dead;
        }
        if seq > self.sink.cursor || self.passed.stragglers.contains(&seq) {
            return Fate::Pending;
        }
        // What was before PostHog was known, and the first ones after that: those that were too old for it.
        let held_back = i64::try_from(self.sink.held_back).unwrap_or(i64::MAX);
        if seq <= self.sink.began.saturating_add(held_back) {
            return Fate::HeldBack;
        }
        if self.sink.sampled_out > 0 {
            let rules = &self.rules;
            let sampler = self
                .samplers
                .entry(run)
                .or_insert_with(|| Sampler::new(rules.of(run)));
            if sampler.decide(&stored.row) == Sampled::Out {
                return Fate::SampledOut;
            }
        }
        Fate::Delivered
    }
}

/// The rules in a run's settings. None: it sent nothing to PostHog.
fn rules_of(settings: &str) -> Option<Vec<SampleRule>> {
    let settings: serde_json::Value = serde_json::from_str(settings).ok()?;
    let rules = settings.get("posthog")?.get("sample")?.as_array()?;
    let rules: Vec<&str> = rules.iter().filter_map(serde_json::Value::as_str).collect();
    if rules.is_empty() {
        return Some(Vec::new());
    }
    sample_rules(&rules.join(",")).ok()
}
