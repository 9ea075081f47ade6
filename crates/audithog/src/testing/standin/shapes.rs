//! Questions of the query API that count what is stored. ClickHouse is not here: each is known by its text, and what it means was
//! written down by hand.
//!
//! Copies of an event are seen as ClickHouse has them before it merges: each that was stored is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::event::CapturedEvent;

/// Lines, and the names of their cells.
pub(super) type Found = (Vec<&'static str>, Vec<Vec<Value>>);

const EVENTS: &str = "FROM events WHERE timestamp >= toDateTime({since}) AND timestamp < toDateTime({until}) \
     AND properties.$lib = 'audithog' AND ifNull(toString(properties.service), '') IN {services} \
     AND ifNull(toString(properties.instance), '') IN {instances}";

/// The copies of one event.
#[derive(Debug)]
struct Copies {
    count: u64,
    first: Timestamp,
    created: Timestamp,
}

/// The answer, if it is one of the questions. An error: what is wrong with its values.
pub(super) fn answer(
    sql: &str,
    values: &Value,
    stored: &[Arc<CapturedEvent>],
) -> Option<Result<Found, String>> {
    let text = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let hours = format!(
        "SELECT hour, count() AS events, sum(copies) AS stored, sum(ms) AS times, countIf(late > {{late}}) AS behind \
         FROM (SELECT toString(uuid) AS id, intDiv(toUnixTimestamp(min(timestamp)), 3600) AS hour, count() AS copies, \
         min(toUnixTimestamp64Milli(timestamp)) AS ms, \
         toUnixTimestamp(min(created_at)) - toUnixTimestamp(min(timestamp)) AS late {EVENTS} GROUP BY id) \
         GROUP BY hour ORDER BY hour LIMIT 50000"
    );
    let page = format!(
        "SELECT toString(uuid) AS id, toUnixTimestamp(min(timestamp)) AS unix, count() AS copies, \
         toUnixTimestamp(min(created_at)) AS created {EVENTS} GROUP BY id \
         HAVING unix > {{unix}} OR (unix = {{unix}} AND id > {{id}}) ORDER BY unix, id LIMIT 50000"
    );
    let named = "SELECT toString(uuid) AS id, toUnixTimestamp(min(timestamp)) AS unix, count() AS copies, \
         toUnixTimestamp(min(created_at)) AS created FROM events WHERE timestamp >= toDateTime({since}) \
         AND timestamp < toDateTime({until}) AND uuid IN {uuids} GROUP BY id ORDER BY unix, id LIMIT 50000";
    let asked = Asked { values, stored };
    let lines = match text {
        text if text == hours => asked.hours(),
        text if text == page => asked.page(),
        text if text == named => asked.named(),
        _ => return None,
    };
    Some(lines)
}

struct Asked<'a> {
    values: &'a Value,
    stored: &'a [Arc<CapturedEvent>],
}

impl Asked<'_> {
    fn text(&self, name: &str) -> Result<&str, String> {
        let text = self.values[name].as_str();
        text.ok_or_else(|| format!("Placeholder {{{name}}} is not a text"))
    }

    fn number(&self, name: &str) -> Result<i64, String> {
        let number = self.values[name].as_i64();
        number.ok_or_else(|| format!("Placeholder {{{name}}} is not a number"))
    }

    fn time(&self, name: &str) -> Result<Timestamp, String> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| format!("Cannot parse {text} as DateTime64"))
    }

    fn texts(&self, name: &str) -> Result<Vec<&str>, String> {
        let texts = self.values[name].as_array();
        let texts = texts.and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        texts.ok_or_else(|| format!("Placeholder {{{name}}} is not a list of texts"))
    }

    /// The events in the range for which this holds.
    fn events(
        &self,
        admits: impl Fn(&CapturedEvent) -> bool,
    ) -> Result<BTreeMap<Uuid, Copies>, String> {
        let (since, until) = (self.time("since")?, self.time("until")?);
        let mut found: BTreeMap<Uuid, Copies> = BTreeMap::new();
        for event in self.stored {
            if event.timestamp < since || event.timestamp >= until || !admits(event) {
                continue;
            }
            let copies = found.entry(event.uuid).or_insert(Copies {
                count: 0,
                first: event.timestamp,
                created: event.created,
            });
            copies.count += 1;
            copies.first = copies.first.min(event.timestamp);
            copies.created = copies.created.min(event.created);
        }
        Ok(found)
    }

    fn ours(&self) -> Result<BTreeMap<Uuid, Copies>, String> {
        let (services, instances) = (self.texts("services")?, self.texts("instances")?);
        self.events(|event| {
            let property = |name: &str| {
                event
                    .properties
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            property("$lib") == "audithog"
                && services.contains(&property("service"))
                && instances.contains(&property("instance"))
        })
    }

    fn hours(&self) -> Result<Found, String> {
        let late = self.number("late")?;
        let mut hours: BTreeMap<i64, [i64; 4]> = BTreeMap::new();
        for copies in self.ours()?.values() {
            let line = hours
                .entry(copies.first.as_second().div_euclid(3_600))
                .or_default();
            let behind = copies.created.as_second() - copies.first.as_second();
            line[0] += 1;
            line[1] += copies.count.cast_signed();
            line[2] += copies.first.as_millisecond();
            line[3] += i64::from(behind > late);
        }
        let lines = hours
            .into_iter()
            .map(|(hour, [events, stored, times, behind])| {
                [hour, events, stored, times, behind]
                    .map(Value::from)
                    .to_vec()
            });
        Ok((
            vec!["hour", "events", "stored", "times", "behind"],
            lines.collect(),
        ))
    }

    fn page(&self) -> Result<Found, String> {
        let after = (self.number("unix")?, self.text("id")?.to_owned());
        let lines = lines(&self.ours()?);
        let lines = lines.into_iter().filter(|(key, _)| *key > after);
        Ok(limited(lines.map(|(_, line)| line)))
    }

    fn named(&self) -> Result<Found, String> {
        let wanted: Result<Vec<Uuid>, _> = self
            .texts("uuids")?
            .into_iter()
            .map(Uuid::try_parse)
            .collect();
        let wanted = wanted.map_err(|_| "Cannot parse a UUID".to_owned())?;
        let found = self.events(|event| wanted.contains(&event.uuid))?;
        Ok(limited(lines(&found).into_iter().map(|(_, line)| line)))
    }
}

/// By time and id.
fn lines(found: &BTreeMap<Uuid, Copies>) -> Vec<((i64, String), Vec<Value>)> {
    let mut lines: Vec<_> = found
        .iter()
        .map(|(id, copies)| {
            let (id, unix) = (id.to_string(), copies.first.as_second());
            let line = vec![
                json!(id),
                json!(unix),
                json!(copies.count),
                json!(copies.created.as_second()),
            ];
            ((unix, id), line)
        })
        .collect();
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines
}

fn limited(lines: impl Iterator<Item = Vec<Value>>) -> Found {
    (
        vec!["id", "unix", "copies", "created"],
        lines.take(50_000).collect(),
    )
}
