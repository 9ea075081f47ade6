//! Insights that are a named question in HogQL.
//!
//! An insight has no values of its own: names of services are literals, the time is PostHog's `{filters}`, which a dashboard fills with
//! its date range and its filters. What a question must be told apart from that (which user, which request) is left to the
//! dashboard's filters.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Setup;
use crate::error::{Error, Kind};
use crate::posthog::literal::{inlined, quoted};
use crate::query::Named;

/// How far back unless the dashboard says otherwise.
const DAY: Duration = Duration::from_secs(86_400);

/// The question's text.
fn text(setup: &Setup, named: Named) -> Result<String, Error> {
    // One of the shape that is wanted: it is taken out again.
    let subject = named.subject().map(|wanted| match wanted {
        "IP" => "127.0.0.1",
        "ROUTE" => "/",
        _ => "x",
    });
    let filter = setup.filter()?.since(SystemTime::now() - DAY);
    let statement = named.question(subject, filter)?.hogql();
    let mut sql = inlined(&statement);
    // The first condition, always.
    let since = statement.values.first().map(|(_, value)| value);
    let since = since.and_then(Value::as_str).unwrap_or_default();
    let time = format!("timestamp >= toDateTime({})", quoted(since));
    let at = sql.find(&time);
    replace(&mut sql, at, &time, "{filters}")?;
    if let Some(subject) = subject {
        let one = format!(" IN ({})", quoted(subject));
        let at = sql.rfind(&one);
        replace(&mut sql, at, &one, " IS NOT NULL")?;
    }
    Ok(sql)
}

/// Nothing that was given comes before the time, or after what a question itself wants.
fn replace(sql: &mut String, at: Option<usize>, what: &str, with: &str) -> Result<(), Error> {
    let Some(at) = at else {
        let message = format!("a question's text has no `{what}`");
        return Err(Error::new(Kind::Question, message));
    };
    sql.replace_range(at..at + what.len(), with);
    Ok(())
}

/// The insight's query.
pub(super) fn insight(setup: &Setup, named: Named) -> Result<Value, Error> {
    let source = json!({
        "kind": "HogQLQuery",
        "query": text(setup, named)?,
        "filters": {"dateRange": {"date_from": "-24h"}},
    });
    let mut query = json!({
        "kind": "DataVisualizationNode",
        "source": source,
        "display": "ActionsTable",
    });
    if named == Named::Traffic {
        query["display"] = json!("ActionsLineGraph");
        let lines = ["success", "errors_4xx", "errors_5xx", "other_failures"];
        let lines = lines.map(|column| json!({"column": column}));
        query["chartSettings"] = json!({"xAxis": {"column": "time"}, "yAxis": lines});
    }
    Ok(query)
}
