//! Doing what a plan says.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::found::{insight_of, tiles};
use super::insights::layouts;
use super::plan::{Action, Change, Plan, Step, Work, id_text, is_placed};
use crate::error::Error;
use crate::posthog::Api;
use crate::posthog::api::Failure;

/// The numbers of what there is by now.
#[derive(Debug, Default)]
struct Made {
    dashboard: Option<i64>,
    insights: BTreeMap<String, i64>,
    /// Whom alerts tell. None: not asked yet.
    people: Option<Vec<Value>>,
}

impl Api {
    /// Does what the plan says, one thing after the other, and tells `done` of each. May be repeated after an error: what was made is
    /// found by the next [`Api::plan`].
    ///
    /// New alerts tell the owner of the personal key, if the key has the scope `user:read`, and nobody otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::is_remote`]: PostHog refuses something, or cannot be reached. The message names the thing; writing needs the scopes
    /// `dashboard:write`, `insight:write` and `alert:write`.
    pub fn apply(&mut self, plan: Plan, mut done: impl FnMut(&Change)) -> Result<(), Error> {
        let mut made = Made {
            dashboard: plan.dashboard,
            ..Made::default()
        };
        for Step { mut change, work } in plan.steps {
            let id = self.step(&change, work, &mut made).map_err(|failure| {
                let error = self.told(failure);
                let what = format!("{:?} `{}`: {error}", change.thing, change.name);
                Error::new(crate::error::Kind::Remote, what)
            })?;
            change.id = id.or(change.id);
            done(&change);
        }
        Ok(())
    }

    fn step(
        &mut self,
        change: &Change,
        work: Work,
        made: &mut Made,
    ) -> Result<Option<String>, Failure> {
        match work {
            Work::Dashboard(body) => {
                let id = self.set("dashboards", change, &body)?;
                made.dashboard = id.as_ref().and_then(Value::as_i64).or(made.dashboard);
                Ok(id.as_ref().map(id_text))
            }
            Work::Insight {
                key,
                mut body,
                mut dashboards,
            } => {
                let dashboard = made.dashboard.map(Value::from);
                if let Some(dashboard) = dashboard.filter(|id| !dashboards.contains(id)) {
                    dashboards.push(dashboard);
                    body["dashboards"] = Value::Array(dashboards);
                }
                let id = self.set("insights", change, &body)?;
                if let Some(id) = id.as_ref().and_then(Value::as_i64) {
                    made.insights.insert(key, id);
                }
                Ok(id.as_ref().map(id_text))
            }
            Work::Layout(keys) => self.lay_out(&keys, made).map(|()| None),
            Work::Alert { key, mut body } => {
                if change.action == Action::Create {
                    body["insight"] = json!(made.insights.get(&key));
                    body["enabled"] = json!(true);
                    body["subscribed_users"] = json!(self.people(made)?);
                }
                let id = self.set("alerts", change, &body)?;
                Ok(id.as_ref().map(id_text))
            }
            Work::Delete(path) => {
                self.gone(&Method::DELETE, &path, None)?;
                Ok(None)
            }
            Work::Hide(path) => {
                self.gone(&Method::PATCH, &path, Some(&json!({"deleted": true})))?;
                Ok(None)
            }
        }
    }

    /// Makes it, or sets what differs; its id.
    fn set(&mut self, kind: &str, change: &Change, body: &Value) -> Result<Option<Value>, Failure> {
        let path = format!("projects/{{project}}/{kind}/");
        let known = change.id.as_deref();
        let reply = match (change.action, known) {
            (Action::Create, _) => self.request(&Method::POST, &path, Some(body))?,
            (Action::Update, Some(id)) => {
                self.request(&Method::PATCH, &format!("{path}{id}/"), Some(body))?
            }
            _ => {
                return Ok(
                    known.map(|id| id.parse::<i64>().map_or_else(|_| json!(id), Value::from))
                );
            }
        };
        match reply.get("id") {
            Some(id) if !id.is_null() => Ok(Some(id.clone())),
            _ => Err(Failure::failed("the reply has no id".to_owned())),
        }
    }

    /// Removes it, unless somebody already has.
    fn gone(&mut self, method: &Method, path: &str, body: Option<&Value>) -> Result<(), Failure> {
        match self.request(method, path, body) {
            Ok(_) | Err(Failure::Missing(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn lay_out(&mut self, keys: &[String], made: &Made) -> Result<(), Failure> {
        let Some(dashboard) = made.dashboard else {
            return Ok(());
        };
        let path = format!("projects/{{project}}/dashboards/{dashboard}/");
        let whole = self.request(&Method::GET, &path, None)?;
        let mut placed = Vec::new();
        for tile in tiles(&whole) {
            let insight = insight_of(&tile);
            let at = keys
                .iter()
                .position(|key| insight.is_some() && made.insights.get(key).copied() == insight);
            if let (Some(at), false, Some(id)) = (at, is_placed(&tile), tile.get("id")) {
                placed.push(json!({"id": id, "layouts": layouts(at)}));
            }
        }
        if placed.is_empty() {
            return Ok(());
        }
        self.request(&Method::PATCH, &path, Some(&json!({"tiles": placed})))?;
        Ok(())
    }

    fn people(&mut self, made: &mut Made) -> Result<Vec<Value>, Failure> {
        if let Some(people) = &made.people {
            return Ok(people.clone());
        }
        let people = match self.request(&Method::GET, "users/@me/", None) {
            Ok(me) => me.get("id").cloned().into_iter().collect(),
            // A key without user:read. Newer servers take an alert that tells nobody.
            Err(Failure::Forbidden(_)) => Vec::new(),
            Err(failure) => return Err(failure),
        };
        made.people = Some(people);
        Ok(made.people.clone().unwrap_or_default())
    }
}
