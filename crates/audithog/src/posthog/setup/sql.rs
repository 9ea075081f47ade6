//! Insights that are a named question in HogQL.
//!
//! An insight has no values of its own: names of services are literals, the time is PostHog's `{filters}`, which a dashboard fills with
//! its date range and its filters. What a question must be told apart from that (which user, which request) is left to the
//! dashboard's filters.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Setup;
use crate::error::Error;
use crate::posthog::literal::inlined;
use crate::query::Named;

/// How far back unless the dashboard says otherwise.
const DAY: Duration = Duration::from_secs(86_400);

/// The question's text. The time says only how fine the steps of time are.
fn text(setup: &Setup, named: Named) -> Result<String, Error> {
    let filter = setup.filter()?.since(SystemTime::now() - DAY);
    let question = named.about_everyone(filter)?;
    Ok(inlined(&question.insight_hogql()))
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
