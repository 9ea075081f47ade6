//! Alerts: `products/alerts/backend/api/alert.py`.

use serde_json::{Value, json};

use super::checks::{flag, object, text, word};
use super::query_node;
use super::things::{self, Things};
use super::{Behaviour, Refused};

/// Members that a request sets.
pub(super) const MEMBERS: &[&str] = &[
    "name",
    "insight",
    "subscribed_users",
    "enabled",
    "calculation_interval",
    "condition",
    "config",
    "threshold",
    "snoozed_until",
    "skip_weekend",
];

/// Checks what is given; `new`: what must be given, too.
pub(super) fn check(
    body: &Value,
    new: bool,
    things: &Things,
    behaviour: &Behaviour,
) -> Result<(), Refused> {
    text(body, "name", 255)?;
    flag(body, "enabled")?;
    for required in ["insight", "subscribed_users", "threshold"] {
        if new && body.get(required).is_none() {
            return Err(Refused::member(required, "This field is required."));
        }
    }
    if let Some(insight) = body.get("insight") {
        let insight = insight.as_i64().and_then(|id| things.insight(id));
        let Some(insight) = insight else {
            return Err(Refused::member(
                "insight",
                "Invalid pk - object does not exist.",
            ));
        };
        if !query_node::is_trends(&insight["query"]) {
            return Err(Refused::member(
                "insight",
                "Alerts are not supported for this insight.",
            ));
        }
        let config = body.get("config");
        let config = object(
            config,
            "config",
            &["type", "series_index", "check_ongoing_interval"],
        )?;
        word(config.get("type"), "config.type", &["TrendsAlertConfig"])?;
        let at = config.get("series_index").and_then(Value::as_u64);
        let known = at.is_some_and(|at| (at as usize) < query_node::series(&insight["query"]));
        if !known {
            return Err(Refused::member(
                "config.series_index",
                "there is no such series",
            ));
        }
    }
    if let Some(users) = body.get("subscribed_users") {
        let me = &things::me()["id"];
        let users = users.as_array();
        let known = users.is_some_and(|users| users.iter().all(|user| user == me));
        if !known {
            return Err(Refused::member(
                "subscribed_users",
                "Invalid pk - object does not exist.",
            ));
        }
        if behaviour.alerts_need_users && users.is_some_and(Vec::is_empty) {
            return Err(Refused::member(
                "subscribed_users",
                "This list may not be empty.",
            ));
        }
    }
    if let Some(interval) = body.get("calculation_interval") {
        let intervals = ["hourly", "daily", "weekly", "monthly"];
        word(Some(interval), "calculation_interval", &intervals)?;
    }
    if let Some(condition) = body.get("condition") {
        let condition = object(Some(condition), "condition", &["type"])?;
        let types = ["absolute_value", "relative_increase", "relative_decrease"];
        word(condition.get("type"), "condition.type", &types)?;
    }
    body.get("threshold").map_or(Ok(()), threshold)
}

fn threshold(value: &Value) -> Result<(), Refused> {
    let threshold = object(Some(value), "threshold", &["id", "name", "configuration"])?;
    let configuration = object(
        threshold.get("configuration"),
        "threshold.configuration",
        &["type", "bounds"],
    )?;
    word(
        configuration.get("type"),
        "threshold.configuration.type",
        &["absolute", "percentage"],
    )?;
    let bounds = object(
        configuration.get("bounds"),
        "threshold.configuration.bounds",
        &["lower", "upper"],
    )?;
    if bounds.is_empty() || !bounds.values().all(Value::is_number) {
        return Err(Refused::member(
            "threshold",
            "At least one of the lower or upper bounds must be a number.",
        ));
    }
    Ok(())
}

/// As it is shown: people and the insight in full.
pub(super) fn shown(alert: &Value, things: &Things) -> Value {
    let mut shown = alert.clone();
    let users = alert["subscribed_users"].as_array();
    let users = users.into_iter().flatten().map(|_| things::me());
    shown["subscribed_users"] = users.collect();
    let insight = alert["insight"].as_i64().and_then(|id| things.insight(id));
    shown["insight"] = insight.map_or(Value::Null, |insight| {
        json!({"id": insight["id"], "short_id": insight["short_id"], "name": insight["name"]})
    });
    shown
}
