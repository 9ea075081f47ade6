//! What has to be done so that the project is as it is to be.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::found::{Found, Inventory, has, insight_of, text};
use super::insights::{self, Insight};
use super::{MANAGED, Setup};
use crate::error::Error;
use crate::posthog::Api;

/// What is to be done, in order. [`Api::apply`] does it.
#[derive(Debug)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    /// The numbers of what is there.
    pub(super) dashboard: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) change: Change,
    pub(super) work: Work,
}

/// One thing of a [`Plan`], and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// What is to be done, or was.
    pub action: Action,
    /// What it is.
    pub thing: Thing,
    /// Its name, as it is to be.
    pub name: String,
    /// PostHog's id; none as long as it is not made.
    pub id: Option<String>,
    /// For an update: the members that differ.
    pub differs: Vec<&'static str>,
}

/// What is done about a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// It is made.
    Create,
    /// It is there and differs.
    Update,
    /// It is there as it is to be.
    Keep,
    /// It is removed.
    Remove,
}

/// A kind of thing that PostHog has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Thing {
    /// A dashboard.
    Dashboard,
    /// An insight.
    Insight,
    /// The places of new tiles on the dashboard.
    Layout,
    /// An alert.
    Alert,
}

/// How a step is done.
#[derive(Debug)]
pub(super) enum Work {
    /// The members to set.
    Dashboard(Value),
    Insight {
        key: String,
        /// The members to set; the dashboard is added.
        body: Value,
        /// On these it is already.
        dashboards: Vec<Value>,
    },
    /// The keys of insights in the dashboard's order.
    Layout(Vec<String>),
    Alert {
        /// Of the insight that it hangs on.
        key: String,
        body: Value,
    },
    /// A path to delete, or to mark as deleted.
    Delete(String),
    Hide(String),
}

impl Plan {
    /// What is to be done, in order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.steps.iter().map(|step| &step.change)
    }

    /// Whether nothing has to be done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.changes().all(|change| change.action == Action::Keep)
    }
}

impl Api {
    /// Looks what the project has, and says what has to be done so that it has what `setup` wants. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::is_remote`]: PostHog cannot be reached or refuses; reading needs the scopes `dashboard:read`, `insight:read` and
    /// `alert:read`.
    pub fn plan(&mut self, setup: &Setup) -> Result<Plan, Error> {
        let wanted = insights::all(setup)?;
        let found = self.inventory(setup);
        let found = found.map_err(|failure| self.told(failure))?;
        Ok(plan(setup, &wanted, &found))
    }
}

fn plan(setup: &Setup, wanted: &[Insight], found: &Inventory) -> Plan {
    let mut steps = vec![dashboard(setup, found.dashboard.as_ref())];
    let dashboard = found.dashboard.as_ref().map(|found| found.id);
    let ids: Vec<Option<i64>> = wanted
        .iter()
        .map(|insight| {
            let there = find(setup, insight, found);
            steps.push(insight_step(setup, insight, there, dashboard));
            there.map(|there| there.id)
        })
        .collect();
    if let Some(step) = layout(setup, wanted, &ids, found) {
        steps.push(step);
    }
    for (insight, id) in wanted.iter().zip(&ids) {
        if let Some(alert) = &insight.alert {
            let name = alert_name(setup, alert.title);
            let there = id.and_then(|id| find_alert(found, id, &name));
            steps.push(alert_step(insight, alert.body(&name), &name, there));
        }
    }
    Plan { steps, dashboard }
}

fn find<'f>(setup: &Setup, insight: &Insight, found: &'f Inventory) -> Option<&'f Found> {
    let mut all = found.insights.iter();
    all.find(|found| setup.owns(found, &insight.key, &insight.name))
}

pub(super) fn alert_name(setup: &Setup, title: &str) -> String {
    format!("{}: {title}", setup.label())
}

/// An alert has neither tags nor a description: what hangs on our insight and has our name is ours.
fn find_alert<'f>(found: &'f Inventory, insight: i64, name: &str) -> Option<&'f Value> {
    let mut all = found.alerts.iter();
    all.find(|alert| insight_of(alert) == Some(insight) && text(alert, "name") == name)
}

fn dashboard(setup: &Setup, there: Option<&Found>) -> Step {
    let about = "What the audit log says. Made by `audithog posthog setup`, which sets changed texts and queries back.";
    let body = json!({
        "name": setup.dashboard(),
        "description": setup.described("dashboard", about),
        "pinned": false,
        "tags": [MANAGED, setup.tag("dashboard")],
    });
    let (action, body, differs) = compared(there, body, &["name", "description", "tags"]);
    Step {
        change: Change {
            action,
            thing: Thing::Dashboard,
            name: setup.dashboard(),
            id: there.map(|there| there.id.to_string()),
            differs,
        },
        work: Work::Dashboard(body),
    }
}

fn insight_step(
    setup: &Setup,
    insight: &Insight,
    there: Option<&Found>,
    dashboard: Option<i64>,
) -> Step {
    let body = json!({
        "name": insight.name,
        "description": setup.described(&insight.key, &insight.about),
        "query": insight.query,
        "tags": [MANAGED, setup.tag(&insight.key)],
        "saved": true,
    });
    let (mut action, body, mut differs) =
        compared(there, body, &["name", "description", "query", "tags"]);
    let dashboards = there.and_then(|there| there.json.get("dashboards")?.as_array().cloned());
    let dashboards = dashboards.unwrap_or_default();
    let shown = dashboard.is_some_and(|id| dashboards.contains(&json!(id)));
    if !shown && action != Action::Create {
        action = Action::Update;
        differs.push("dashboards");
    }
    Step {
        change: Change {
            action,
            thing: Thing::Insight,
            name: insight.name.clone(),
            id: there.map(|there| there.id.to_string()),
            differs,
        },
        work: Work::Insight {
            key: insight.key.clone(),
            body,
            dashboards,
        },
    }
}

/// What has to be set: everything of a new thing, of one that is there what differs.
fn compared(
    there: Option<&Found>,
    wanted: Value,
    members: &[&'static str],
) -> (Action, Value, Vec<&'static str>) {
    let Some(there) = there else {
        return (Action::Create, wanted, Vec::new());
    };
    let mut body = Map::new();
    for &member in members {
        let wanted = &wanted[member];
        if member == "tags" {
            if let Some(tags) = tags(there, wanted) {
                body.insert(member.to_owned(), tags);
            }
        } else if !there
            .json
            .get(member)
            .is_some_and(|there| has(there, wanted))
        {
            body.insert(member.to_owned(), wanted.clone());
        }
    }
    let differs = members.iter().copied();
    let differs: Vec<_> = differs
        .filter(|member| body.contains_key(*member))
        .collect();
    let action = if differs.is_empty() {
        Action::Keep
    } else {
        Action::Update
    };
    (action, Value::Object(body), differs)
}

/// The tags to set, with those that somebody has added. None: they are all there, or the plan has no tags.
fn tags(there: &Found, wanted: &Value) -> Option<Value> {
    let mut tags: Vec<Value> = there.tags().into_iter().map(Value::from).collect();
    if tags.is_empty() {
        return None;
    }
    let missing = wanted
        .as_array()?
        .iter()
        .filter(|tag| !there.tags().contains(&tag.as_str().unwrap_or_default()));
    let missing: Vec<Value> = missing.cloned().collect();
    if missing.is_empty() {
        return None;
    }
    tags.extend(missing);
    Some(Value::Array(tags))
}

/// Tiles that somebody has placed stay there.
fn layout(
    setup: &Setup,
    wanted: &[Insight],
    ids: &[Option<i64>],
    found: &Inventory,
) -> Option<Step> {
    let placed = |id: &Option<i64>| {
        let mut tiles = found.tiles.iter();
        let tile = tiles.find(|tile| id.is_some() && insight_of(tile) == *id);
        tile.is_some_and(is_placed)
    };
    if ids.iter().all(placed) {
        return None;
    }
    Some(Step {
        change: Change {
            action: Action::Update,
            thing: Thing::Layout,
            name: setup.dashboard(),
            id: None,
            differs: vec!["tiles"],
        },
        work: Work::Layout(wanted.iter().map(|insight| insight.key.clone()).collect()),
    })
}

pub(super) fn is_placed(tile: &Value) -> bool {
    let layouts = tile.get("layouts").and_then(Value::as_object);
    layouts.is_some_and(|layouts| !layouts.is_empty())
}

fn alert_step(insight: &Insight, body: Value, name: &str, there: Option<&Value>) -> Step {
    // Whether it is on, and whom it tells, is people's business once it is made.
    let members = ["calculation_interval", "condition", "config", "threshold"];
    let differs: Vec<&'static str> = there.map_or_else(Vec::new, |there| {
        let differing = members.into_iter().filter(|member| {
            !there
                .get(*member)
                .is_some_and(|there| has(there, &body[*member]))
        });
        differing.collect()
    });
    let (action, body) = match there {
        None => (Action::Create, body),
        Some(_) if differs.is_empty() => (Action::Keep, Value::Null),
        Some(_) => {
            let some = differs
                .iter()
                .map(|member| ((*member).to_owned(), body[*member].clone()));
            (Action::Update, Value::Object(some.collect()))
        }
    };
    Step {
        change: Change {
            action,
            thing: Thing::Alert,
            name: name.to_owned(),
            id: there.and_then(|there| Some(id_text(there.get("id")?))),
            differs,
        },
        work: Work::Alert {
            key: insight.key.clone(),
            body,
        },
    }
}

/// A number or a UUID.
pub(super) fn id_text(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}
