//! PostHog's side, in HogQL. Times are compared as numbers: what a project shows depends on its time zone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::Error;
use crate::posthog::Api;
use crate::posthog::api::Failure;
use crate::query::Statement;
use crate::record::{Micros, Run};

/// Rows of a page: the most that PostHog gives.
const ROWS: usize = 50_000;
/// Ids in one question.
const IDS: usize = 1_000;
/// A query that takes too long is asked for half the time, down to this.
const SHORTEST: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

macro_rules! events {
    () => {
        "FROM events WHERE timestamp >= toDateTime({since}) AND timestamp < toDateTime({until})
    AND properties.$lib = 'audithog'
    AND ifNull(toString(properties.service), '') IN {services}
    AND ifNull(toString(properties.instance), '') IN {instances}"
    };
}

/// Events by the hour, each counted once.
pub(super) const HOURS: &str = concat!(
    "SELECT hour, count() AS events, sum(copies) AS stored, sum(ms) AS times, countIf(late > {late}) AS behind
FROM (SELECT toString(uuid) AS id, intDiv(toUnixTimestamp(min(timestamp)), 3600) AS hour, count() AS copies,
    min(toUnixTimestamp64Milli(timestamp)) AS ms,
    toUnixTimestamp(min(created_at)) - toUnixTimestamp(min(timestamp)) AS late
    ",
    events!(),
    "
    GROUP BY id)
GROUP BY hour ORDER BY hour LIMIT 50000"
);

/// Events by time and id, after a key: a page.
pub(super) const PAGE: &str = concat!(
    "SELECT toString(uuid) AS id, toUnixTimestamp(min(timestamp)) AS unix, count() AS copies,
    toUnixTimestamp(min(created_at)) AS created
",
    events!(),
    "
GROUP BY id
HAVING unix > {unix} OR (unix = {unix} AND id > {id})
ORDER BY unix, id LIMIT 50000"
);

/// Events with these ids.
pub(super) const NAMED: &str =
    "SELECT toString(uuid) AS id, toUnixTimestamp(min(timestamp)) AS unix, count() AS copies,
    toUnixTimestamp(min(created_at)) AS created
FROM events WHERE timestamp >= toDateTime({since}) AND timestamp < toDateTime({until}) AND uuid IN {uuids}
GROUP BY id ORDER BY unix, id LIMIT 50000";

/// What PostHog has of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hour {
    pub(super) events: u64,
    pub(super) stored: u64,
    /// Sum of the events' times, in milliseconds.
    pub(super) times: i128,
    pub(super) late: u64,
}

/// An event that PostHog has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) copies: u64,
    /// Seconds since 1970.
    pub(super) created: i64,
}

/// Who wrote the rows: nobody else's events are compared.
#[derive(Debug, Default)]
pub(super) struct Writers {
    services: BTreeSet<String>,
    instances: BTreeSet<String>,
}

impl Writers {
    pub(super) fn add(&mut self, run: &Run) {
        if !self.services.contains(run.service.as_str()) {
            self.services.insert(run.service.to_string());
        }
        let instance = run.instance.as_deref().unwrap_or_default();
        if !self.instances.contains(instance) {
            self.instances.insert(instance.to_owned());
        }
    }
}

/// Asks one project about one ledger's events.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) api: Api,
    pub(super) writers: Writers,
    pub(super) late: Duration,
}

impl Remote {
    /// The events of each hour that has some: its number since 1970.
    pub(super) fn hours(
        &mut self,
        (since, until): (Micros, Micros),
    ) -> Result<BTreeMap<i64, Hour>, Error> {
        let mut hours: BTreeMap<i64, Hour> = BTreeMap::new();
        self.in_parts((since, until), DAY, |remote, part| {
            let late = i64::try_from(remote.late.as_secs()).unwrap_or(i64::MAX);
            let lines = remote.ask(HOURS, part, vec![("late", json!(late))])?;
            for line in &lines {
                let hour = hours.entry(integer(line, 0)?).or_default();
                hour.events += count(line, 1)?;
                hour.stored += count(line, 2)?;
                hour.times += i128::from(integer(line, 3)?);
                hour.late += count(line, 4)?;
            }
            Ok(())
        })?;
        Ok(hours)
    }

    /// All events of a time, page by page.
    pub(super) fn events(
        &mut self,
        range: (Micros, Micros),
    ) -> Result<HashMap<Uuid, Event>, Error> {
        let mut found = HashMap::new();
        self.in_parts(range, DAY, |remote, (since, until)| {
            let mut key = (-1_i64, String::new());
            // Kept only when the part is complete: one that takes too long is read again in halves.
            let mut part = Vec::new();
            loop {
                // The key's second begins the next page's range, so that what was seen is not read again.
                let from = since.max(Micros(key.0.saturating_mul(1_000_000)));
                let more = vec![("unix", json!(key.0)), ("id", json!(key.1))];
                let lines = remote.ask(PAGE, (from, until), more)?;
                let full = lines.len() >= ROWS;
                if let Some(last) = lines.last() {
                    key = (integer(last, 1)?, text(last, 0)?.to_owned());
                }
                part.extend(lines);
                if !full {
                    return keep(&part, &mut found);
                }
            }
        })?;
        Ok(found)
    }

    /// Which of these are there, whatever their hour.
    pub(super) fn named(
        &mut self,
        ids: &[Uuid],
        range: (Micros, Micros),
    ) -> Result<HashMap<Uuid, Event>, Error> {
        let mut found = HashMap::new();
        for ids in ids.chunks(IDS) {
            self.in_parts(range, Duration::MAX, |remote, part| {
                let lines =
                    remote.ask_plain(NAMED, part, vec![("uuids".to_owned(), json!(ids))])?;
                keep(&lines, &mut found)
            })?;
        }
        Ok(found)
    }

    /// Asks for parts of a range, each at most so long, and for smaller ones where one takes PostHog too long.
    fn in_parts(
        &mut self,
        (since, until): (Micros, Micros),
        longest: Duration,
        mut ask: impl FnMut(&mut Self, (Micros, Micros)) -> Result<(), Failure>,
    ) -> Result<(), Error> {
        let mut length = longest;
        let mut from = since;
        while from < until {
            let to = from.saturating_add(length).min(until);
            match ask(self, (from, to)) {
                Ok(()) => from = to,
                Err(Failure::TooMuch(_)) if to.since(from) > SHORTEST => {
                    length = (to.since(from) / 2).max(SHORTEST);
                }
                Err(failure) => return Err(self.api.told(failure)),
            }
        }
        Ok(())
    }

    fn ask(
        &mut self,
        sql: &str,
        range: (Micros, Micros),
        more: Vec<(&str, Value)>,
    ) -> Result<Vec<Vec<Value>>, Failure> {
        let mut values = vec![
            ("services".to_owned(), json!(self.writers.services)),
            ("instances".to_owned(), json!(self.writers.instances)),
        ];
        values.extend(
            more.into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        self.ask_plain(sql, range, values)
    }

    fn ask_plain(
        &mut self,
        sql: &str,
        (since, until): (Micros, Micros),
        mut values: Vec<(String, Value)>,
    ) -> Result<Vec<Vec<Value>>, Failure> {
        values.push(("since".to_owned(), json!(since.to_string())));
        values.push(("until".to_owned(), json!(until.to_string())));
        let statement = Statement {
            sql: sql.to_owned(),
            values,
        };
        self.api.query(&statement, "audithog reconcile")
    }
}

fn keep(lines: &[Vec<Value>], found: &mut HashMap<Uuid, Event>) -> Result<(), Failure> {
    for line in lines {
        let id = Uuid::try_parse(text(line, 0)?).map_err(|_| odd(line))?;
        let event = found.entry(id).or_insert(Event {
            copies: 0,
            created: i64::MAX,
        });
        event.copies += count(line, 2)?;
        event.created = event.created.min(integer(line, 3)?);
    }
    Ok(())
}

fn text(line: &[Value], at: usize) -> Result<&str, Failure> {
    line.get(at)
        .and_then(Value::as_str)
        .ok_or_else(|| odd(line))
}

fn integer(line: &[Value], at: usize) -> Result<i64, Failure> {
    line.get(at)
        .and_then(Value::as_i64)
        .ok_or_else(|| odd(line))
}

fn count(line: &[Value], at: usize) -> Result<u64, Failure> {
    line.get(at)
        .and_then(Value::as_u64)
        .ok_or_else(|| odd(line))
}

fn odd(line: &[Value]) -> Failure {
    let mut shown = json!(line).to_string();
    shown.truncate(shown.floor_char_boundary(200));
    Failure::failed(format!(
        "a line of the reply is not as it was asked for: {shown}"
    ))
}
