//! The one question of the query API that the stand-in answers: which of these uuids are stored.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::event::CapturedEvent;
use super::exchange::{Incoming, Outcome};
use super::reply::Reply;

/// Rows without a `LIMIT`, and the most with one.
const DEFAULT_ROWS: usize = 100;
const MAX_ROWS: usize = 50_000;

/// Answers a query from the stored events.
///
/// `scripted` may know the lines of any query.
pub(super) fn receive(
    request: &Incoming,
    stored: &[Arc<CapturedEvent>],
    scripted: impl FnOnce(&str, &Value) -> Option<Vec<Vec<Value>>>,
) -> Outcome {
    let reply = if request.method != Method::POST {
        Reply::empty(StatusCode::METHOD_NOT_ALLOWED)
    } else if has_personal_key(request) {
        answer(&request.body, stored, scripted).unwrap_or_else(|why| {
            error(
                StatusCode::BAD_REQUEST,
                "validation_error",
                "invalid_input",
                why,
            )
        })
    } else {
        error(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "not_authenticated",
            "a personal API key is needed",
        )
    };
    Outcome {
        decompressed_bytes: Some(request.raw_bytes),
        ..Outcome::only(reply)
    }
}

fn has_personal_key(request: &Incoming) -> bool {
    request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "))
        .is_some_and(|key| key.starts_with("phx_") && key.len() > "phx_".len())
}

fn error(status: StatusCode, kind: &str, code: &str, detail: &str) -> Reply {
    Reply::json(
        status,
        &json!({"type": kind, "code": code, "detail": detail, "attr": null}),
    )
}

fn answer(
    body: &[u8],
    stored: &[Arc<CapturedEvent>],
    scripted: impl FnOnce(&str, &Value) -> Option<Vec<Vec<Value>>>,
) -> Result<Reply, &'static str> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON")?;
    let query = &body["query"];
    if query["kind"] != "HogQLQuery" {
        return Err("the query's kind is not HogQLQuery");
    }
    let sql = query["query"].as_str().ok_or("the query has no text")?;
    if let Some(lines) = scripted(sql, &query["values"]) {
        let body = json!({"results": lines, "hasMore": false, "is_cached": false, "error": null});
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
