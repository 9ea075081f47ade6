//! One row: all that it says, and what happened around it.

use audithog::query::{Field, Filter, Log, LogRow};
use axum::Extension;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse as _;
use maud::{Markup, html};
use serde_json::Value;

use super::{Here, Reply, Visit, page};
use crate::Shared;
use crate::answers::Failure;
use crate::params::{Params, word};
use crate::view::layout::Frame;
use crate::view::{cells, table};

/// Rows of the same request that are shown.
const MOST: usize = 500;
/// The user's rows before and after.
const NEIGHBOURS: usize = 5;

struct Found {
    row: LogRow,
    request: Vec<LogRow>,
    /// The user's other rows, the last written first.
    after: Vec<LogRow>,
    before: Vec<LogRow>,
}

pub(crate) async fn show(Extension(visit): Extension<Visit>) -> Reply {
    let found = visit.row(|log, row| {
        let request = same_request(log, &row)?;
        let (after, before) = neighbours(log, &row)?;
        Ok(Found {
            row,
            request,
            after,
            before,
        })
    });
    let found = found.await?;
    let content = found.show(&visit.here, &visit.shared);
    let frame = Frame::new("Row", visit.access.sees_all());
    Ok(page(&visit.here, &frame, &content))
}

pub(crate) async fn json(Extension(visit): Extension<Visit>) -> Reply {
    let row = visit.row(|_, row| Ok(row)).await?;
    let text = serde_json::to_string_pretty(&row).unwrap_or_default();
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

impl Visit {
    /// The row whose id the address has, and what is made of it.
    async fn row<T: Send + 'static>(
        &self,
        made: impl FnOnce(&mut Log, LogRow) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let id = self.here.params.get("id").map(str::to_owned);
        let id = id.ok_or_else(|| {
            Failure::wrong("id: which row? Give its id, or seq:N for its number.")
        })?;
        let about = id.clone();
        self.read(Filter::all(), Some(&about), move |log, _| {
            let row = find(log, &id)?;
            made(log, row)
        })
        .await
    }
}

fn find(log: &mut Log, id: &str) -> Result<LogRow, Failure> {
    let row = match id.strip_prefix("seq:") {
        Some(seq) => {
            let seq = seq
                .parse()
                .map_err(|_| Failure::wrong(format!("id: {id:?} has no number behind `seq:`")))?;
            log.row(seq)?
        }
        None => log.row_by_id(id)?,
    };
    let removed = log.pruned()? > 0;
    row.ok_or_else(|| {
        let mut text = format!("There is no row {id}.");
        if removed {
            text.push_str(" Retention has removed older rows.");
        }
        Failure::missing(text)
    })
}

/// The rows of the same request, in the order in which they were written.
fn same_request(log: &mut Log, row: &LogRow) -> Result<Vec<LogRow>, Failure> {
    let Some(request) = row.row().request_id() else {
        return Ok(Vec::new());
    };
    let question = Filter::all().is(Field::RequestId, [request])?;
    // Far from it there is none: an event is written before its request's end, the close of a connection after it.
    let time = row.row().time();
    let hour = std::time::Duration::from_secs(3_600);
    let question = question
        .since(time.checked_sub(hour * 24).unwrap_or(time))
        .until(time + hour * 24);
    let (pruned, head) = (log.pruned()?, log.head()?);
    let rows = log.rows(&question, pruned, head)?.take(MOST);
    Ok(rows.collect::<Result<_, _>>()?)
}

fn neighbours(log: &mut Log, row: &LogRow) -> Result<(Vec<LogRow>, Vec<LogRow>), Failure> {
    let Some(user) = row.row().actor().user_id() else {
        return Ok((Vec::new(), Vec::new()));
    };
    let time = row.row().time();
    let day = std::time::Duration::from_secs(86_400);
    let theirs = Filter::all().is(Field::UserId, [user])?;
    let theirs = theirs
        .since(time.checked_sub(day).unwrap_or(time))
        .until(time + day);
    let (pruned, head) = (log.pruned()?, log.head()?);
    let mut after = log
        .rows(&theirs, row.seq(), head)?
        .take(NEIGHBOURS)
        .collect::<Result<Vec<_>, _>>()?;
    after.reverse();
    let before = log
        .latest_rows(&theirs, pruned, row.seq().saturating_sub(1))?
        .take(NEIGHBOURS);
    Ok((after, before.collect::<Result<_, _>>()?))
}

impl Found {
    fn show(&self, here: &Here, shared: &Shared) -> Markup {
        let row = self.row.row();
        let id = row.id().as_hyphenated().to_string();
        let what = match (row.method(), row.path()) {
            (Some(method), Some(path)) => format!("{method} {path}"),
            _ => row.event_name().to_owned(),
        };
        let failed = row.result() == Some("failure");
        let json = here.link("row.json", &Params::default().with("id", &id));
        html! {
            article.row data-json=(json) data-self=(here.link("row", &Params::default().with("id", &id))) {
                header {
                    h1 class=(cells::status_class(row.status_code(), failed)) {
                        @if let Some(status) = row.status_code() { b.status { (status) } " " }
                        span.path { (what) }
                    }
                    p {
                        (cells::time(&self.row.time_text()))
                        @if let Some(took) = row.duration() { " · " (cells::duration(took.as_secs_f64() * 1_000.0)) }
                        @if let Some(code) = row.error_code() { " · " b.code { (code) } }
                    }
                    p.actions {
                        button #copy type="button" hidden { "Copy as JSON" }
                        a href=(json) { "JSON" }
                    }
                }
                (self.fields(here, shared))
                @if self.request.len() > 1 {
                    section { h2 { "The whole request" } (rows(here, &self.request, self.row.seq())) }
                }
                @if let Some(user) = row.actor().user_id() {
                    @if !self.after.is_empty() || !self.before.is_empty() {
                        section {
                            h2 { "What " a href=(here.link("user", &Params::default().with("id", user))) { (user) } " did around it" }
                            @let all: Vec<LogRow> = self.after.iter().chain([&self.row]).chain(&self.before).cloned().collect();
                            (rows(here, &all, self.row.seq()))
                        }
                    }
                }
            }
        }
    }

    fn fields(&self, here: &Here, shared: &Shared) -> Markup {
        html! {
            dl.fields {
                @for (name, value) in self.row.fields() {
                    @if !value.is_null() {
                        div {
                            dt { (name) }
                            dd { (field(here, shared, &self.row, name, &value)) }
                        }
                    }
                }
            }
        }
    }
}

/// Some rows in one table; the one that the page is about stands out.
fn rows(here: &Here, rows: &[LogRow], current: u64) -> Markup {
    html! {
        div.wide tabindex="0" data-current=(current) { table.log {
            (table::log_head())
            tbody { (table::log_rows(here, rows)) }
        } }
    }
}

fn field(here: &Here, shared: &Shared, row: &LogRow, name: &str, value: &Value) -> Markup {
    let text = cells::text(value);
    let log = |params: Params| here.link("log", &params);
    let of = |page: &str| here.link(page, &Params::default().with("id", &text));
    match name {
        "ts" => cells::time(&text),
        "duration_ms" => html! { (text) " ms" },
        "properties" => html! { pre { (serde_json::to_string_pretty(value).unwrap_or_default()) } },
        "user_id" => html! { a href=(of("user")) { (text) } },
        "org_id" => html! { a href=(of("org")) { (text) } },
        "route" => {
            let endpoint = Params::default()
                .with("method", row.row().method().unwrap_or_default())
                .with("route", &text);
            html! { a href=(here.link("endpoint", &endpoint)) { (text) } }
        }
        "trace_id" => html! {
            a href=(log(Params::default().with("trace-id", &text))) { (text) }
            @if let Some((before, behind)) = &shared.trace_link {
                " " a href=(format!("{before}{text}{behind}")) rel="noopener noreferrer" { "open the trace" }
            }
        },
        "status_code" => html! { a href=(log(Params::default().with("status", &text))) { (text) } },
        _ => {
            let field = Field::ALL.into_iter().find(|field| field.name() == name);
            match field.and_then(word) {
                Some(word) => {
                    html! { a href=(log(Params::default().exactly(word, Some(&text)))) { (text) } }
                }
                None => html! { (text) },
            }
        }
    }
}
