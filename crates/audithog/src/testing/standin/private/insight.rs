//! Insights.

use serde_json::{Value, json};

use super::Refused;
use super::checks::{flag, text, texts};
use super::query_node;
use super::things::Things;

/// Members that a request sets.
pub(super) const MEMBERS: &[&str] = &[
    "name",
    "description",
    "query",
    "tags",
    "dashboards",
    "saved",
    "favorited",
    "deleted",
];

pub(super) fn check(body: &Value, new: bool, things: &Things) -> Result<(), Refused> {
    text(body, "name", 400)?;
    text(body, "description", 100_000)?;
    texts(body, "tags")?;
    for name in ["saved", "favorited", "deleted"] {
        flag(body, name)?;
    }
    match body.get("query") {
        Some(query) => query_node::check(query)?,
        None if new => return Err(Refused::member("query", "This field is required.")),
        None => {}
    }
    if let Some(dashboards) = body.get("dashboards") {
        let dashboards = dashboards.as_array();
        let known = dashboards.is_some_and(|all| {
            all.iter()
                .all(|id| id.as_i64().is_some_and(|id| things.dashboard(id).is_some()))
        });
        if !known {
            return Err(Refused::member(
                "dashboards",
                "Invalid pk - object does not exist.",
            ));
        }
    }
    Ok(())
}

/// What a new one has that nobody gave.
pub(super) fn fresh(id: i64) -> Value {
    json!({
        "id": id,
        "short_id": format!("short{id:03}"),
        "name": null,
        "derived_name": null,
        "description": "",
        "tags": [],
        "dashboards": [],
        "saved": false,
        "favorited": false,
        "deleted": false,
    })
}
