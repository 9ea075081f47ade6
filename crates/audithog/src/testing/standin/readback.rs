//! The query API: which of these uuids are stored, and the questions of `shapes`. Anything else is refused.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::behaviour::Behaviour;
use super::event::CapturedEvent;
use super::exchange::{Incoming, Outcome};
use super::private::{Refused, allow, refusal};
use super::reply::Reply;
use super::shapes;

/// Rows without a `LIMIT`, and the most with one.
const DEFAULT_ROWS: usize = 100;
const MAX_ROWS: usize = 50_000;

/// Answers a query from the stored events.
///
/// `scripted` may know the lines of any query.
pub(super) fn receive(
    request: &Incoming,
    behaviour: &Behaviour,
    stored: &[Arc<CapturedEvent>],
    scripted: impl FnOnce(&str, &Value) -> Option<Vec<Vec<Value>>>,
) -> Outcome {
    let reply = if request.method == Method::POST {
        allow(request, behaviour, "query:read")
            .and_then(|()| answer(&request.body, stored, scripted).map_err(Refused::query))
            .unwrap_or_else(refusal)
    } else {
        Reply::empty(StatusCode::METHOD_NOT_ALLOWED)
    };
    Outcome {
        decompressed_bytes: Some(request.raw_bytes),
        ..Outcome::only(reply)
    }
}

fn answer(
    body: &[u8],
    stored: &[Arc<CapturedEvent>],
    scripted: impl FnOnce(&str, &Value) -> Option<Vec<Vec<Value>>>,
) -> Result<Reply, String> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON")?;
    let query = &body["query"];
    if query["kind"] != "HogQLQuery" {
        return Err("the query's kind is not HogQLQuery".to_owned());
    }
    let sql = query["query"].as_str().ok_or("the query has no text")?;
    placeholders(sql, &query["values"])?;
    if let Some(lines) = scripted(sql, &query["values"]) {
        let body = json!({"results": lines, "hasMore": false, "is_cached": false, "error": null});
        return Ok(Reply::json(StatusCode::OK, &body));
    }
    if let Some(found) = shapes::answer(sql, &query["values"], stored) {
        let (columns, lines) = found?;
        let body = json!({
            "results": lines,
            "columns": columns,
            "hasMore": lines.len() >= MAX_ROWS,
            "limit": MAX_ROWS,
            "offset": 0,
            "hogql": sql,
            "is_cached": false,
            "error": null,
        });
        return Ok(Reply::json(StatusCode::OK, &body));
    }
    let wanted = query["values"]["uuids"]
        .as_array()
        .ok_or("the stand-in answers only queries with `values.uuids`")?;
    let wanted: HashSet<Uuid> = wanted
        .iter()
        .filter_map(|uuid| Uuid::parse_str(uuid.as_str()?).ok())
        .collect();
    let found: BTreeSet<Uuid> = stored
        .iter()
        .map(|event| event.uuid)
        .filter(|uuid| wanted.contains(uuid))
        .collect();
    let lower = sql.to_ascii_lowercase();
    let column = column(sql, &lower).ok_or("the query is not `select … from events …`")?;
    let counts = lower.contains("count(");
    let limit = limit(&lower);
    let (rows, kind): (Vec<Value>, _) = if counts {
        (vec![json!([found.len()])], "UInt64")
    } else {
        (found.iter().map(|uuid| json!([uuid])).collect(), "UUID")
    };
    let has_more = rows.len() > limit;
    let rows: Vec<Value> = rows.into_iter().take(limit).collect();
    Ok(Reply::json(
        StatusCode::OK,
        &json!({
            "results": rows,
            "columns": [column],
            "types": [[column, kind]],
            "hasMore": has_more,
            "limit": limit,
            "offset": 0,
            "hogql": sql,
            "is_cached": false,
            "error": null,
        }),
    ))
}

/// Every placeholder has a value: `posthog/hogql/placeholders.py`. Braces inside of a literal are no placeholders.
fn placeholders(sql: &str, values: &Value) -> Result<(), String> {
    for (at, part) in sql.split('\'').enumerate() {
        if at % 2 == 1 {
            continue;
        }
        for found in part.split('{').skip(1) {
            let name = found.split('}').next().unwrap_or_default();
            if values.get(name).is_none() {
                return Err(format!("Unresolved placeholder: {{{name}}}"));
            }
        }
    }
    Ok(())
}

/// The name of the only column: its alias, or the expression itself.
fn column<'a>(sql: &'a str, lower: &str) -> Option<&'a str> {
    let start = lower.find("select ")? + "select ".len();
    let end = lower.find(" from events")?;
    // ASCII lower-casing keeps every byte offset.
    let expression = sql.get(start..end)?.trim();
    let alias = lower.get(start..end)?.rfind(" as ");
    match alias {
        Some(at) => sql.get(start + at + " as ".len()..end).map(str::trim),
        None => Some(expression),
    }
}

fn limit(lower: &str) -> usize {
    let mut words = lower.split_whitespace().skip_while(|word| *word != "limit");
    words.next();
    words
        .next()
        .and_then(|rows| rows.trim_end_matches(';').parse().ok())
        .map_or(DEFAULT_ROWS, |rows: usize| rows.min(MAX_ROWS))
}
