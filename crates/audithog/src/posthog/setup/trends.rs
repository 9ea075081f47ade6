//! Insights of the kind Trends: the only ones that alerts can hang on everywhere.

use serde_json::{Value, json};

use super::Setup;

/// Each event with the number of requests that it stands for: sampled events have their rate.
pub(super) const WEIGHT: &str = "sum(1 / ifNull(toFloat(properties.sample_rate), 1))";

/// Requests with a status from `first` to `last`, in percent of all, by hour.
pub(super) fn rate(setup: &Setup, first: u16, last: u16) -> Value {
    let status = |operator: &str, value: u16| json!({"key": "statusCode", "type": "event", "operator": operator, "value": value});
    let some = [status("gte", first), status("lte", last)];
    trends(
        &[
            series(setup, "api_request", &some),
            series(setup, "api_request", &[]),
        ],
        Some("A / B * 100"),
        None,
    )
}

/// Requests that failed, by hour and error code.
pub(super) fn error_codes(setup: &Setup) -> Value {
    let failed =
        json!({"key": "result", "type": "event", "operator": "exact", "value": ["failure"]});
    let breakdown = json!({"breakdown": "errorCode", "breakdown_type": "event"});
    trends(
        &[series(setup, "api_request", &[failed])],
        None,
        Some(breakdown),
    )
}

/// Signs of life by hour: each process gives one in five minutes.
pub(super) fn heartbeats(setup: &Setup) -> Value {
    trends(&[series(setup, "audit_heartbeat", &[])], None, None)
}

fn trends(series: &[Value], formula: Option<&str>, breakdown: Option<Value>) -> Value {
    let mut source = json!({
        "kind": "TrendsQuery",
        "series": series,
        "interval": "hour",
        "dateRange": {"date_from": "-24h"},
        "trendsFilter": {"display": "ActionsLineGraph"},
    });
    if let Some(formula) = formula {
        source["trendsFilter"]["formula"] = json!(formula);
    }
    if let Some(breakdown) = breakdown {
        source["breakdownFilter"] = breakdown;
    }
    json!({"kind": "InsightVizNode", "source": source})
}

fn series(setup: &Setup, event: &str, more: &[Value]) -> Value {
    let exact = |key: &str, value: &str| json!({"key": key, "type": "event", "operator": "exact", "value": [value]});
    let mut properties = vec![exact("service", &setup.service)];
    properties.extend(
        setup
            .environment
            .as_deref()
            .map(|environment| exact("environment", environment)),
    );
    properties.extend_from_slice(more);
    json!({
        "kind": "EventsNode",
        "event": event,
        "math": "hogql",
        "math_hogql": WEIGHT,
        "properties": properties,
    })
}
