//! How many events a month PostHog would get, from the last day of the log.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::LedgerFile;
use crate::error::Error;
use crate::record::{Micros, StoredRow};
use crate::sink::sampling::Sampler;

const DAY: Duration = Duration::from_secs(86_400);
const MONTH_DAYS: f64 = 30.0;
/// A younger log says too little about a month.
const SHORTEST: Duration = Duration::from_secs(60);
/// Rows that are read, and from how many places of the day.
const SAMPLE: usize = 2_000;
const PIECES: usize = 20;
/// Kinds that are told by themselves.
const KINDS: usize = 40;

/// Events a month that PostHog gets at the pace of the last day, with the latest run's sampling
/// rules.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Projection {
    /// All together.
    pub events_per_month: u64,
    /// By route, the most first; those beyond the first 40 are together, as `other`.
    pub by_route: Vec<ProjectedEvents>,
    /// Seconds of the log that it is based on: up to a day before now, or before the last row of a
    /// log that nobody writes.
    pub based_on_seconds: f64,
    /// Rows in that time.
    pub based_on_rows: u64,
    /// Rows that were read, spread evenly over that time. Fewer than all: the routes are estimates.
    pub rows_read: u64,
    /// The sampling rules; none: every row is sent.
    pub sampling: Vec<String>,
}

/// One kind of rows.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProjectedEvents {
    /// `api_request`, or the event's name.
    pub event: String,
    /// `GET`, …; only of requests.
    pub method: Option<String>,
    /// The route template; absent where no route matched.
    pub route: Option<String>,
    /// Rows a month.
    pub rows_per_month: u64,
    /// Of these, events that PostHog gets.
    pub events_per_month: u64,
}

type Kind = (String, Option<String>, Option<String>);

impl LedgerFile {
    /// How many events a month PostHog gets. Reads at most 2,000 rows. None if there is no row, or
    /// less than a minute of them.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read, or is damaged.
    pub fn projection(&mut self) -> Result<Option<Projection>, Error> {
        let facts = self.0.facts().map_err(Error::from)?;
        let (Some(first), Some(last)) = (facts.first, facts.last) else {
            return Ok(None);
        };
        let now = Micros::now();
        let live = facts.runs.iter().any(|run| run.ended.is_none());
        // A row may be dated in the future.
        let end = if live { now } else { last.min(now) };
        let start = end.saturating_sub(DAY).max(first.min(end));
        let span = end.since(start);
        if span < SHORTEST {
            return Ok(None);
        }
        let rules: Vec<String> = facts
            .latest()
            .and_then(|run| serde_json::from_str::<serde_json::Value>(&run.settings_json).ok())
            .and_then(|settings| {
                serde_json::from_value(settings.get("posthog")?.get("sample")?.clone()).ok()
            })
            .unwrap_or_default();
        let slice = self.0.sample(start, SAMPLE, PIECES).map_err(Error::from)?;
        Ok(Some(project(&slice.sample, slice.rows, span, rules)))
    }
}

fn project(sample: &[StoredRow], rows: u64, span: Duration, rules: Vec<String>) -> Projection {
    let parsed = crate::config::sample_rules(&rules.join(",")).unwrap_or_default();
    let sampler = Sampler::new(&parsed);
    let mut kinds: BTreeMap<Kind, (f64, f64)> = BTreeMap::new();
    for stored in sample {
        let row = &stored.row;
        let exchange = row.exchange.as_ref();
        let kind = (
            row.event.to_string(),
            exchange.map(|exchange| exchange.method.to_string()),
            exchange.and_then(|exchange| exchange.route.as_ref().map(ToString::to_string)),
        );
        let (seen, sent) = kinds.entry(kind).or_default();
        *seen += 1.0;
        *sent += sampler.rate(row);
    }
    let read = sample.len() as u64;
    // Each row that was read stands for this many a month.
    let weight = if read == 0 {
        0.0
    } else {
        rows as f64 / read as f64 * MONTH_DAYS * DAY.as_secs_f64() / span.as_secs_f64()
    };
    let month = |count: f64| (count * weight).round() as u64;
    let total = kinds.values().map(|(_, sent)| sent).sum();
    let mut by_route: Vec<ProjectedEvents> = kinds
        .into_iter()
        .map(|((event, method, route), (seen, sent))| ProjectedEvents {
            event,
            method,
            route,
            rows_per_month: month(seen),
            events_per_month: month(sent),
        })
        .collect();
    by_route.sort_by_key(|kind| std::cmp::Reverse((kind.events_per_month, kind.rows_per_month)));
    let rest = by_route.split_off(by_route.len().min(KINDS));
    if !rest.is_empty() {
        by_route.push(ProjectedEvents {
            event: "other".to_owned(),
            method: None,
            route: None,
            rows_per_month: rest.iter().map(|kind| kind.rows_per_month).sum(),
            events_per_month: rest.iter().map(|kind| kind.events_per_month).sum(),
        });
    }
    Projection {
        events_per_month: month(total),
        by_route,
        based_on_seconds: span.as_secs_f64(),
        based_on_rows: rows,
        rows_read: read,
        sampling: rules,
    }
}
