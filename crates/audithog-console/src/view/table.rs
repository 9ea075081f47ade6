//! Rows of the log, and answers, as tables.

use audithog::query::{Answer, CellKind, LogRow, Scope};
use maud::{Markup, html};
use serde_json::Value;

use super::cells;
use crate::pages::Here;
use crate::params::Params;

/// The columns of the log.
pub(crate) fn log_head() -> Markup {
    html! {
        thead { tr {
            th title="Rows are in the order in which they were written, not of their times." { "time" }
            th { "status" }
            th { "what" }
            th { "error" }
            th.n { "took" }
            th { "who" }
            th { "organisation" }
            th { "address" }
        } }
    }
}

/// One line a row.
pub(crate) fn log_rows(here: &Here, rows: &[LogRow]) -> Markup {
    html! { @for row in rows { (log_row(here, row)) } }
}

fn log_row(here: &Here, stored: &LogRow) -> Markup {
    let row = stored.row();
    let id = row.id().as_hyphenated().to_string();
    let to = here.link("row", &Params::default().with("id", &id));
    let failed = row.result() == Some("failure");
    let user = row.actor().user_id();
    let org = row.actor().org_id();
    let ip = row.ip().map(|ip| ip.to_string());
    let narrowed = |name: &str, value: &str| {
        let params = here.params.clone().rows_only();
        here.link("log", &params.exactly(name, Some(value)))
    };
    html! {
        tr id=(format!("r{}", stored.seq())) data-row=(to) class=(cells::status_class(row.status_code(), failed)) {
            td.t { a href=(to) { (cells::time(&stored.time_text())) } }
            td.s {
                @if let Some(status) = row.status_code() { b { (status) } }
                @else if row.method().is_some() { b title="no response" { "none" } }
            }
            td.w { div {
                @if let Some(method) = row.method() {
                    @if row.event_name() != "api_request" { span.event { (row.event_name()) } " " }
                    span.method { (method) } " " span.path { (row.path().unwrap_or_default()) }
                } @else {
                    span.event { (row.event_name()) }
                    @if let Some(properties) = row.properties_json() { " " span.more { (short(properties)) } }
                }
            } }
            td.e { @if let Some(code) = row.error_code() { a href=(narrowed("error-code", code)) { (code) } } }
            td.n { @if let Some(took) = row.duration() { (cells::duration(took.as_secs_f64() * 1_000.0)) } }
            td.id { @if let Some(user) = user { a href=(here.link("user", &Params::default().with("id", user))) { (user) } } }
            td.id { @if let Some(org) = org { a href=(here.link("org", &Params::default().with("id", org))) { (org) } } }
            td { @if let Some(ip) = &ip { a href=(narrowed("ip", ip)) { (ip) } } }
        }
    }
}

/// Characters of an event's properties that a line shows.
const SHORT: usize = 90;

/// The beginning of an event's properties.
fn short(json: &str) -> String {
    let inner = json
        .strip_prefix('{')
        .and_then(|json| json.strip_suffix('}'));
    let inner = inner.unwrap_or(json);
    match inner.char_indices().nth(SHORT) {
        Some((at, _)) => format!("{}…", &inner[..at]),
        None => inner.to_owned(),
    }
}

/// How sure an answer is, and what it is about.
pub(crate) fn scope(scope: &Scope) -> Markup {
    html! {
        p.scope {
            @if scope.exact { b { "exact" } ", every row counted" } @else { b { "sampled" } ", counts are estimates" }
            @if let Some(rows) = scope.rows { ": " (cells::count(rows)) " rows" }
            @match &scope.since { Some(since) => { ", from " (cells::second(since)) } None => { ", from the beginning" } }
            @match &scope.until { Some(until) => { " to " (cells::second(until)) } None => { " until the end of the log" } }
            @if scope.more { "; there are more lines than these" }
            @for note in &scope.notes { br; (note) }
        }
    }
}

/// A cell's link: given the line, the page where its rows are.
pub(crate) type Link<'a> = &'a dyn Fn(&[Value]) -> Option<String>;

/// A column of an answer as it is shown: its place in the answer, what it is called, and where it leads.
pub(crate) struct Shown<'a> {
    pub(crate) at: usize,
    pub(crate) name: &'a str,
    pub(crate) link: Option<Link<'a>>,
}

/// An answer with some of its columns.
pub(crate) fn answer(title: &str, answer: &Answer, shown: &[Shown<'_>], nothing: &str) -> Markup {
    let number = |kind: CellKind| !matches!(kind, CellKind::Text | CellKind::Time | CellKind::Json);
    let kind = |at: usize| {
        answer
            .columns
            .get(at)
            .map_or(CellKind::Text, |column| column.kind)
    };
    html! {
        section.answer {
            h2 { (title) }
            @if answer.lines.is_empty() { p.nothing { (nothing) } }
            @else {
                div.wide tabindex="0" { table {
                    thead { tr { @for column in shown { th.n[number(kind(column.at))] { (column.name) } } } }
                    tbody {
                        @for line in &answer.lines {
                            tr { @for column in shown {
                                td.n[number(kind(column.at))] { (linked(column, line, &cell(kind(column.at), line.get(column.at)))) }
                            } }
                        }
                    }
                } }
            }
            (scope(&answer.scope))
        }
    }
}

fn linked(column: &Shown<'_>, line: &[Value], shown: &Markup) -> Markup {
    match column.link.and_then(|link| link(line)) {
        Some(to) => html! { a href=(to) { (shown) } },
        None => shown.clone(),
    }
}

fn cell(kind: CellKind, value: Option<&Value>) -> Markup {
    let Some(value) = value else {
        return html! {};
    };
    match (kind, value.as_f64(), value.as_str()) {
        (_, None, None) if value.is_null() => html! { span.none { "none" } },
        (CellKind::Time, _, Some(text)) => cells::second(text),
        (CellKind::Count, Some(number), _) => html! { (cells::count(number.round() as u64)) },
        (CellKind::Rate, Some(number), _) => html! { (cells::rate(number)) },
        (CellKind::Milliseconds, Some(number), _) => html! { (cells::duration(number)) },
        _ => html! { (cells::text(value)) },
    }
}
