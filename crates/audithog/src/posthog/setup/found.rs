//! What the project has already.

use http::Method;
use serde_json::Value;

use super::{MANAGED, Setup};
use crate::posthog::Api;
use crate::posthog::api::Failure;

/// A thing of the project, as PostHog describes it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) json: Value,
}

/// What of the project is this setup's.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) dashboard: Option<Found>,
    /// Of the dashboard.
    pub(super) tiles: Vec<Value>,
    /// All that have the setup's mark.
    pub(super) insights: Vec<Found>,
    /// All of the project.
    pub(super) alerts: Vec<Value>,
}

impl Found {
    fn of(json: &Value) -> Option<Self> {
        Some(Self {
            id: json.get("id")?.as_i64()?,
            json: json.clone(),
        })
    }

    pub(super) fn name(&self) -> &str {
        text(&self.json, "name")
    }

    pub(super) fn tags(&self) -> Vec<&str> {
        let tags = self.json.get("tags").and_then(Value::as_array);
        let tags = tags.into_iter().flatten();
        tags.filter_map(Value::as_str).collect()
    }

    /// Whether it has this tag: as a tag, or in its description, because plans without tagging ignore tags.
    fn is_tagged(&self, is: impl Fn(&str) -> bool) -> bool {
        let tags = self.tags();
        if tags.contains(&MANAGED) && tags.iter().any(|tag| is(tag)) {
            return true;
        }
        let description = text(&self.json, "description");
        let end = description.rsplit_once(&format!("[{MANAGED} "));
        end.and_then(|(_, end)| end.strip_suffix(']'))
            .is_some_and(is)
    }
}

impl Setup {
    /// Whether this is the thing with the key: by its mark, or by its name where somebody has removed all marks but the common one.
    pub(super) fn owns(&self, found: &Found, key: &str, name: &str) -> bool {
        let unnamed = || {
            let tags = found.tags();
            tags.contains(&MANAGED)
                && !tags.iter().any(|tag| tag.starts_with("audithog:"))
                && found.name() == name
        };
        found.is_tagged(|tag| tag == self.tag(key)) || unnamed()
    }

    /// Whether it is one of this setup's things, whichever.
    pub(super) fn has_marked(&self, found: &Found) -> bool {
        let mark = format!(":{}", self.mark());
        found.is_tagged(|tag| tag.starts_with("audithog:") && tag.ends_with(&mark))
    }
}

impl Api {
    pub(super) fn inventory(&mut self, setup: &Setup) -> Result<Inventory, Failure> {
        let dashboards = self.list("projects/{project}/dashboards/", "")?;
        let name = setup.dashboard();
        let dashboard = dashboards
            .iter()
            .filter_map(Found::of)
            .find(|found| setup.owns(found, "dashboard", &name));
        let mut inventory = Inventory::default();
        if let Some(found) = dashboard {
            let path = format!("projects/{{project}}/dashboards/{}/", found.id);
            let whole = self.request(&Method::GET, &path, None)?;
            inventory.tiles = tiles(&whole);
            inventory.dashboard = Found::of(&whole).or(Some(found));
        }
        let search = format!("&basic=true&search={}", setup.mark());
        let mut insights = self.list("projects/{project}/insights/", &search)?;
        // Whatever a search looks at: what is on the dashboard is found.
        let shown = inventory
            .tiles
            .iter()
            .filter_map(|tile| tile.get("insight"));
        insights.extend(shown.filter(|insight| !insight.is_null()).cloned());
        for found in insights.iter().filter_map(Found::of) {
            let known = inventory.insights.iter().any(|known| known.id == found.id);
            if !known && found.json.get("deleted") != Some(&Value::Bool(true)) {
                inventory.insights.push(found);
            }
        }
        inventory.alerts = self.list("projects/{project}/alerts/", "")?;
        Ok(inventory)
    }
}

pub(super) fn tiles(dashboard: &Value) -> Vec<Value> {
    let tiles = dashboard.get("tiles").and_then(Value::as_array);
    tiles.cloned().unwrap_or_default()
}

pub(super) fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The insight that an alert hangs on: its number, or all of it.
pub(super) fn insight_of(alert: &Value) -> Option<i64> {
    let insight = alert.get("insight")?;
    insight
        .as_i64()
        .or_else(|| insight.get("id").and_then(Value::as_i64))
}

/// Whether everything that is wanted is there. PostHog adds members of its own.
pub(super) fn has(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| there.get(name).is_some_and(|there| has(there, value))),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there
                    .iter()
                    .zip(wanted)
                    .all(|(there, wanted)| has(there, wanted))
        }
        // 1 and 1.0 are one number.
        (Value::Number(there), Value::Number(wanted)) => there.as_f64() == wanted.as_f64(),
        (there, wanted) => there == wanted,
    }
}
