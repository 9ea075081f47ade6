//! The project's dashboards, insights and alerts.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::behaviour::Behaviour;
use super::{Answer, Refused, alert, dashboard, insight};

/// Things on a page unless asked otherwise.
const PAGE: usize = 100;

/// What a project has been set up with.
#[derive(Debug, Default)]
pub(in crate::testing::standin) struct Things {
    last: i64,
    dashboards: BTreeMap<i64, Value>,
    insights: BTreeMap<i64, Value>,
    alerts: BTreeMap<Uuid, Value>,
}

/// The one user.
pub(super) fn me() -> Value {
    json!({"id": 42, "uuid": "0190aaaa-0000-7000-8000-000000000042", "first_name": "Ada", "email": "ada@example.com"})
}

fn is_there(thing: &Value) -> bool {
    thing["deleted"] != true
}

impl Things {
    pub(super) fn insight(&self, id: i64) -> Option<&Value> {
        self.insights.get(&id).filter(|thing| is_there(thing))
    }

    pub(super) fn dashboard(&self, id: i64) -> Option<&Value> {
        self.dashboards.get(&id).filter(|thing| is_there(thing))
    }

    pub(super) fn act(
        &mut self,
        kind: &str,
        id: Option<&str>,
        method: &Method,
        query: Option<&str>,
        body: Value,
        behaviour: &Behaviour,
    ) -> Answer {
        let number = id.and_then(|id| id.parse::<i64>().ok());
        match (kind, id, method.as_str()) {
            (_, None, "GET") => Ok((StatusCode::OK, Some(self.page(kind, query)))),
            ("alerts", None, "POST") => self.new_alert(&body, behaviour),
            ("alerts", Some(id), _) => self.on_alert(id, method, &body, behaviour),
            (_, None, "POST") => self.create(kind, body, behaviour),
            (_, Some(_), "GET") => {
                let found = number.and_then(|id| self.whole(kind, id));
                let found = found.ok_or_else(Refused::missing)?;
                Ok((StatusCode::OK, Some(found)))
            }
            (_, Some(_), "PATCH") => {
                let id = number.filter(|id| self.whole(kind, *id).is_some());
                self.change(kind, id.ok_or_else(Refused::missing)?, body, behaviour)
            }
            // "Hard delete of this model is not allowed."
            _ => Err(Refused::method()),
        }
    }

    fn next_id(&mut self) -> i64 {
        self.last += 1;
        1_000 + self.last
    }

    fn create(&mut self, kind: &str, body: Value, behaviour: &Behaviour) -> Answer {
        self.check(kind, &body, true)?;
        let id = self.next_id();
        let fresh = match kind {
            "dashboards" => dashboard::fresh(id),
            _ => insight::fresh(id),
        };
        self.table(kind).insert(id, fresh);
        self.set(kind, id, body, behaviour)?;
        Ok((StatusCode::CREATED, self.whole(kind, id)))
    }

    fn change(&mut self, kind: &str, id: i64, body: Value, behaviour: &Behaviour) -> Answer {
        self.check(kind, &body, false)?;
        self.set(kind, id, body, behaviour)?;
        let whole = self
            .whole(kind, id)
            .unwrap_or_else(|| json!({"id": id, "deleted": true}));
        Ok((StatusCode::OK, Some(whole)))
    }

    fn check(&self, kind: &str, body: &Value, new: bool) -> Result<(), Refused> {
        match kind {
            "dashboards" => dashboard::check(body),
            _ => insight::check(body, new, self),
        }
    }

    fn table(&mut self, kind: &str) -> &mut BTreeMap<i64, Value> {
        match kind {
            "dashboards" => &mut self.dashboards,
            _ => &mut self.insights,
        }
    }

    /// Sets the members that a request may set; others are ignored.
    fn set(
        &mut self,
        kind: &str,
        id: i64,
        mut body: Value,
        behaviour: &Behaviour,
    ) -> Result<(), Refused> {
        let tiles = body.get("tiles").cloned();
        let members = match kind {
            "dashboards" => dashboard::MEMBERS,
            _ => insight::MEMBERS,
        };
        // `posthog/models/tag.py`: trimmed and in lower case. Without the feature tags are ignored.
        if let Some(Value::Array(tags)) = body.get_mut("tags") {
            for tag in tags.iter_mut() {
                *tag = json!(tag.as_str().unwrap_or_default().trim().to_lowercase());
            }
        }
        if let Some(thing) = self.table(kind).get_mut(&id) {
            for member in members.iter().filter(|member| **member != "tiles") {
                let ignored = *member == "tags" && behaviour.no_tags;
                if let (Some(value), false) = (body.get(*member), ignored) {
                    thing[*member] = value.clone();
                }
            }
        }
        if kind == "insights" {
            self.sync_tiles(id);
        }
        match tiles {
            Some(Value::Array(tiles)) => self.set_tiles(id, &tiles),
            _ => Ok(()),
        }
    }

    /// An insight has a tile on each of its dashboards.
    fn sync_tiles(&mut self, insight: i64) {
        let shown = self
            .insight(insight)
            .map(|thing| thing["dashboards"].clone());
        let shown = shown.unwrap_or(json!([]));
        let mut next = self.last;
        for (id, dashboard) in &mut self.dashboards {
            let wanted = shown.as_array().is_some_and(|all| all.contains(&json!(id)));
            let Some(tiles) = dashboard["tiles"].as_array_mut() else {
                continue;
            };
            let has = tiles.iter().any(|tile| tile["insight"] == insight);
            if wanted && !has {
                next += 1;
                tiles.push(
                    json!({"id": 1_000 + next, "insight": insight, "layouts": {}, "color": null}),
                );
            }
            if !wanted {
                tiles.retain(|tile| tile["insight"] != insight);
            }
        }
        self.last = next;
    }

    fn set_tiles(&mut self, dashboard: i64, changes: &[Value]) -> Result<(), Refused> {
        let dashboard = self.dashboards.get_mut(&dashboard);
        let tiles = dashboard.and_then(|dashboard| dashboard["tiles"].as_array_mut());
        let tiles = tiles.ok_or_else(Refused::missing)?;
        for change in changes {
            let tile = tiles.iter_mut().find(|tile| tile["id"] == change["id"]);
            let tile = tile.ok_or_else(|| Refused::member("tiles.id", "there is no such tile"))?;
            for member in ["layouts", "color"] {
                if let Some(value) = change.get(member) {
                    tile[member] = value.clone();
                }
            }
        }
        Ok(())
    }

    /// A thing as its own address shows it.
    fn whole(&self, kind: &str, id: i64) -> Option<Value> {
        if kind == "insights" {
            return self.insight(id).cloned();
        }
        let mut whole = self.dashboard(id)?.clone();
        for tile in whole["tiles"].as_array_mut().into_iter().flatten() {
            let insight = tile["insight"].as_i64().and_then(|id| self.insight(id));
            tile["insight"] = insight.cloned().unwrap_or_default();
        }
        Some(whole)
    }

    fn page(&self, kind: &str, query: Option<&str>) -> Value {
        let parameter = |name: &str| {
            let pairs = query.unwrap_or_default().split('&');
            pairs
                .filter_map(|pair| pair.split_once('='))
                .find(|(found, _)| *found == name)
        };
        let number =
            |name: &str| parameter(name).and_then(|(_, value)| value.parse::<usize>().ok());
        let search = parameter("search").map(|(_, value)| value.to_lowercase());
        let matches = |thing: &Value| {
            search.as_ref().is_none_or(|search| {
                let texts = ["name", "description", "tags"].map(|name| thing[name].to_string());
                kind == "alerts"
                    || texts
                        .iter()
                        .any(|text| text.to_lowercase().contains(search))
            })
        };
        let all = self.all(kind);
        let found: Vec<&Value> = all.iter().filter(|thing| matches(thing)).collect();
        let (limit, offset) = (
            number("limit").unwrap_or(PAGE).clamp(1, 1_000),
            number("offset").unwrap_or(0),
        );
        let results: Vec<&Value> = found.iter().skip(offset).take(limit).copied().collect();
        let end = offset + results.len();
        let next = (end < found.len()).then(|| {
            format!("http://posthog.invalid/api/projects/1/{kind}/?limit={limit}&offset={end}")
        });
        json!({"count": found.len(), "next": next, "previous": null, "results": results})
    }

    /// What a list shows: of dashboards no tiles.
    pub(in crate::testing::standin) fn all(&self, kind: &str) -> Vec<Value> {
        match kind {
            "alerts" => self
                .alerts
                .values()
                .map(|alert| alert::shown(alert, self))
                .collect(),
            "insights" => self
                .insights
                .values()
                .filter(|thing| is_there(thing))
                .cloned()
                .collect(),
            _ => {
                let all = self.dashboards.values().filter(|thing| is_there(thing));
                let without_tiles = all.cloned().map(|mut thing| {
                    thing.as_object_mut().map(|members| members.remove("tiles"));
                    thing
                });
                without_tiles.collect()
            }
        }
    }

    fn new_alert(&mut self, body: &Value, behaviour: &Behaviour) -> Answer {
        alert::check(body, true, self, behaviour)?;
        let id = Uuid::now_v7();
        let mut thing = json!({
            "id": id,
            "name": "",
            "enabled": true,
            "calculation_interval": "daily",
            "state": "Not firing",
        });
        set_alert(&mut thing, body);
        self.alerts.insert(id, thing.clone());
        Ok((StatusCode::CREATED, Some(alert::shown(&thing, self))))
    }

    fn on_alert(
        &mut self,
        id: &str,
        method: &Method,
        body: &Value,
        behaviour: &Behaviour,
    ) -> Answer {
        let id = Uuid::try_parse(id).map_err(|_| Refused::missing())?;
        let there = self.alerts.get(&id).ok_or_else(Refused::missing)?;
        match method.as_str() {
            "GET" => Ok((StatusCode::OK, Some(alert::shown(there, self)))),
            "DELETE" => {
                self.alerts.remove(&id);
                Ok((StatusCode::NO_CONTENT, None))
            }
            "PATCH" => {
                alert::check(body, false, self, behaviour)?;
                let mut thing = there.clone();
                set_alert(&mut thing, body);
                self.alerts.insert(id, thing.clone());
                Ok((StatusCode::OK, Some(alert::shown(&thing, self))))
            }
            _ => Err(Refused::method()),
        }
    }
}

fn set_alert(alert: &mut Value, body: &Value) {
    for member in alert::MEMBERS {
        if let Some(value) = body.get(*member) {
            alert[*member] = value.clone();
        }
    }
}
