//! Queries of insights, by the schema that PostHog validates them with: kinds and members it does not know are refused.

use serde_json::Value;

use super::Refused;
use super::checks::{object, word};

const DISPLAYS: &[&str] = &[
    "ActionsTable",
    "ActionsLineGraph",
    "ActionsBar",
    "ActionsAreaGraph",
    "ActionsLineGraphCumulative",
    "BoldNumber",
    "ActionsPie",
    "ActionsBarValue",
    "WorldMap",
    "Auto",
    "TwoDimensionalHeatmap",
];
const MATHS: &[&str] = &[
    "total",
    "dau",
    "weekly_active",
    "monthly_active",
    "unique_session",
    "first_time_for_user",
    "avg",
    "sum",
    "min",
    "max",
    "median",
    "p90",
    "p95",
    "p99",
    "hogql",
];
const OPERATORS: &[&str] = &[
    "exact",
    "is_not",
    "icontains",
    "not_icontains",
    "regex",
    "not_regex",
    "gt",
    "gte",
    "lt",
    "lte",
    "is_set",
    "is_not_set",
];

pub(super) fn check(query: &Value) -> Result<(), Refused> {
    match query.get("kind").and_then(Value::as_str) {
        Some("InsightVizNode") => {
            let node = object(Some(query), "query", &["kind", "source", "version"])?;
            trends(node.get("source"))
        }
        Some("DataVisualizationNode") => {
            let members = [
                "kind",
                "source",
                "display",
                "chartSettings",
                "tableSettings",
                "version",
            ];
            let node = object(Some(query), "query", &members)?;
            if let Some(display) = node.get("display") {
                word(Some(display), "query.display", DISPLAYS)?;
            }
            if let Some(settings) = node.get("chartSettings") {
                chart(settings)?;
            }
            hogql(node.get("source"))
        }
        kind => Err(Refused::member(
            "query",
            format!(
                "Input tag {kind:?} found using 'kind' does not match any of the expected tags"
            ),
        )),
    }
}

/// Whether alerts without a flag can hang on it.
pub(super) fn is_trends(query: &Value) -> bool {
    query["kind"] == "InsightVizNode" && query["source"]["kind"] == "TrendsQuery"
}

/// How many series its result has, without a breakdown.
pub(super) fn series(query: &Value) -> usize {
    let source = &query["source"];
    if source["trendsFilter"]["formula"].is_string() {
        return 1;
    }
    source["series"].as_array().map_or(0, Vec::len)
}

fn trends(source: Option<&Value>) -> Result<(), Refused> {
    let members = [
        "kind",
        "series",
        "interval",
        "dateRange",
        "trendsFilter",
        "breakdownFilter",
        "properties",
        "filterTestAccounts",
        "samplingFactor",
        "version",
    ];
    let source = object(source, "query.source", &members)?;
    word(source.get("kind"), "query.source.kind", &["TrendsQuery"])?;
    let series = source.get("series").and_then(Value::as_array);
    let series = series.filter(|series| !series.is_empty());
    let series = series.ok_or_else(|| Refused::member("query.source.series", "Field required"))?;
    for node in series {
        event_node(node)?;
    }
    if let Some(interval) = source.get("interval") {
        let intervals = ["second", "minute", "hour", "day", "week", "month"];
        word(Some(interval), "query.source.interval", &intervals)?;
    }
    date_range(source.get("dateRange"))?;
    if let Some(filter) = source.get("trendsFilter") {
        let members = [
            "display",
            "formula",
            "formulas",
            "showLegend",
            "aggregationAxisFormat",
        ];
        let filter = object(Some(filter), "query.source.trendsFilter", &members)?;
        if let Some(display) = filter.get("display") {
            word(Some(display), "query.source.trendsFilter.display", DISPLAYS)?;
        }
        if let Some(formula) = filter.get("formula") {
            check_formula(formula, series.len())?;
        }
    }
    if let Some(filter) = source.get("breakdownFilter") {
        let members = [
            "breakdown",
            "breakdown_type",
            "breakdown_limit",
            "breakdowns",
        ];
        let filter = object(Some(filter), "query.source.breakdownFilter", &members)?;
        let types = ["event", "person", "cohort", "group", "session", "hogql"];
        word(filter.get("breakdown_type"), "breakdown_type", &types)?;
    }
    Ok(())
}

/// Letters of series that there are, numbers and operators.
fn check_formula(formula: &Value, series: usize) -> Result<(), Refused> {
    let text = formula.as_str().unwrap_or_default();
    let known = |c: char| match c {
        'A'..='Z' => usize::from(c as u8 - b'A') < series,
        c => c.is_ascii_digit() || " +-*/().".contains(c),
    };
    if text.is_empty() || !text.chars().all(known) {
        return Err(Refused::member(
            "formula",
            format!("{formula} is no formula of {series} series"),
        ));
    }
    Ok(())
}

fn event_node(node: &Value) -> Result<(), Refused> {
    let members = [
        "kind",
        "event",
        "name",
        "custom_name",
        "math",
        "math_hogql",
        "math_property",
        "properties",
        "version",
    ];
    let node = object(Some(node), "series", &members)?;
    word(node.get("kind"), "series.kind", &["EventsNode"])?;
    if let Some(math) = node.get("math") {
        word(Some(math), "series.math", MATHS)?;
        if math == "hogql" && !node.get("math_hogql").is_some_and(Value::is_string) {
            return Err(Refused::member("series.math_hogql", "Field required"));
        }
    }
    let properties = node.get("properties").and_then(Value::as_array);
    for property in properties.into_iter().flatten() {
        let property = object(
            Some(property),
            "properties",
            &["key", "type", "operator", "value", "label"],
        )?;
        word(property.get("operator"), "properties.operator", OPERATORS)?;
        word(
            property.get("type"),
            "properties.type",
            &["event", "person", "session", "group"],
        )?;
        if !property.get("key").is_some_and(Value::is_string) {
            return Err(Refused::member("properties.key", "Field required"));
        }
    }
    Ok(())
}

fn hogql(source: Option<&Value>) -> Result<(), Refused> {
    let source = object(
        source,
        "query.source",
        &["kind", "query", "filters", "values", "name", "version"],
    )?;
    word(source.get("kind"), "query.source.kind", &["HogQLQuery"])?;
    if !source.get("query").is_some_and(Value::is_string) {
        return Err(Refused::member("query.source.query", "Field required"));
    }
    if let Some(filters) = source.get("filters") {
        let members = ["dateRange", "properties", "filterTestAccounts"];
        let filters = object(Some(filters), "query.source.filters", &members)?;
        date_range(filters.get("dateRange"))?;
    }
    Ok(())
}

fn date_range(range: Option<&Value>) -> Result<(), Refused> {
    if range.is_none() {
        return Ok(());
    }
    let range = object(
        range,
        "dateRange",
        &["date_from", "date_to", "explicitDate"],
    )?;
    match range
        .values()
        .all(|value| value.is_string() || value.is_null() || value.is_boolean())
    {
        true => Ok(()),
        false => Err(Refused::member(
            "dateRange",
            "Input should be a valid string",
        )),
    }
}

fn chart(settings: &Value) -> Result<(), Refused> {
    let settings = object(
        Some(settings),
        "chartSettings",
        &["xAxis", "yAxis", "goalLines", "stackBars100"],
    )?;
    let column = |axis: &Value| {
        let axis = object(Some(axis), "chartSettings.axis", &["column", "settings"])?;
        match axis.get("column").is_some_and(Value::is_string) {
            true => Ok(()),
            false => Err(Refused::member(
                "chartSettings.axis.column",
                "Field required",
            )),
        }
    };
    if let Some(axis) = settings.get("xAxis") {
        column(axis)?;
    }
    let axes = settings.get("yAxis").and_then(Value::as_array);
    axes.into_iter().flatten().try_for_each(column)
}
