//! Dashboards and their tiles.

use serde_json::{Value, json};

use super::Refused;
use super::checks::{flag, object, text, texts};

/// Members that a request sets.
pub(super) const MEMBERS: &[&str] = &["name", "description", "pinned", "tags", "deleted", "tiles"];

pub(super) fn check(body: &Value) -> Result<(), Refused> {
    text(body, "name", 400)?;
    text(body, "description", 100_000)?;
    texts(body, "tags")?;
    flag(body, "pinned")?;
    flag(body, "deleted")?;
    let Some(tiles) = body.get("tiles") else {
        return Ok(());
    };
    let tiles = tiles
        .as_array()
        .ok_or_else(|| Refused::member("tiles", "Expected a list."))?;
    for tile in tiles {
        let tile = object(Some(tile), "tiles", &["id", "layouts", "color", "text"])?;
        if !tile.get("id").is_some_and(Value::is_i64) {
            return Err(Refused::member("tiles.id", "This field is required."));
        }
        if let Some(layouts) = tile.get("layouts") {
            let layouts = object(Some(layouts), "tiles.layouts", &["sm", "xs"])?;
            layouts.values().try_for_each(place)?;
        }
    }
    Ok(())
}

/// A dashboard has twelve columns, on a small screen one.
fn place(value: &Value) -> Result<(), Refused> {
    let place = object(
        Some(value),
        "tiles.layouts",
        &["x", "y", "w", "h", "minW", "minH"],
    )?;
    let number = |name: &str| place.get(name).and_then(Value::as_u64);
    match (number("x"), number("y"), number("w"), number("h")) {
        (Some(x), Some(_), Some(w @ 1..), Some(1..)) if x + w <= 12 => Ok(()),
        _ => Err(Refused::member(
            "tiles.layouts",
            "x, y, w and h fit no dashboard",
        )),
    }
}

/// What a new one has that nobody gave.
pub(super) fn fresh(id: i64) -> Value {
    json!({
        "id": id,
        "name": null,
        "description": "",
        "pinned": false,
        "tags": [],
        "deleted": false,
        "tiles": [],
    })
}
