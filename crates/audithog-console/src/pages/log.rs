//! The log: rows, the last written first, as far as somebody scrolls.

use axum::Extension;
use maud::{Markup, html};

use super::overview::{filter, range};
use super::{Here, Reply, Visit, page};
use crate::answers::{self, Page};
use crate::guard;
use crate::params::{Params, added};
use crate::range::ALL;
use crate::view::layout::Frame;
use crate::view::{chips, table};

/// Rows that are sent together.
const ROWS: usize = 100;

pub(crate) async fn show(Extension(visit): Extension<Visit>) -> Reply {
    let here = &visit.here;
    if let Some(params) = added(&here.params) {
        return Ok(guard::see_other(&here.again(&params)));
    }
    let range = range(here, ALL)?;
    let filter = filter(here, &range)?;
    let before = here.params.get("before").and_then(|text| text.parse().ok());
    let found = visit.read(filter, None, move |log, filter| {
        let head = log.head()?;
        // New rows follow after this head, so the page must not have them.
        let before = before.or(Some(head + 1));
        Ok((answers::page(log, filter, before, ROWS)?, head))
    });
    let (found, head) = found.await?;
    let rows = rows(here, &found, head, before.is_some());
    if here.part && before.is_some() {
        return Ok(page(here, &Frame::bare("Log"), &rows));
    }
    let live = range.until.is_none() && before.is_none();
    let content = html! {
        h1.sr { "Log" }
        div.bar {
            (chips::times(here, &range))
            (chips::conditions(here))
            div.actions {
                @if live {
                    button #live type="button" hidden aria-pressed="true" { "Live" }
                }
                (jump(here))
                (export(here))
            }
        }
        (rows)
    };
    Ok(page(
        here,
        &Frame::new("Log", visit.access.sees_all()),
        &content,
    ))
}

fn rows(here: &Here, found: &Page, head: u64, later: bool) -> Markup {
    let asked = here.params.clone().rows_only();
    let live = here.link("log/live", &asked);
    html! {
        div #log data-live=(live) data-head=(head) {
            table.log {
                (table::log_head())
                tbody data-from=(here.params.get("before").unwrap_or_default()) { (table::log_rows(here, &found.rows)) }
            }
        }
        p.end {
            @match (found.before, found.rows.is_empty()) {
                (Some(before), _) => {
                    a #more rel="next" href=(here.link("log", &asked.set("before", &before.to_string()))) {
                        @if found.rows.len() < ROWS { "Look further back" } @else { "Rows written before these" }
                    }
                }
                (None, true) if !later => {
                    span.nothing { "No row is like that." }
                    @if asked != Params::default() { " " a href=(here.link("log", &asked.clone().time_only().set("since", ALL))) { "Take the filters away" } }
                }
                (None, _) => { "The log begins here." }
            }
        }
    }
}

/// To the rows before a time.
fn jump(here: &Here) -> Markup {
    let kept = here.params.clone().rows_only().without("until");
    html! {
        form.jump method="get" action=(here.link("log", &Params::default())) {
            @for (name, value) in kept.pairs() { input type="hidden" name=(name) value=(value); }
            label { "Before " input type="datetime-local" name="until" step="1" value=(here.params.get("until").filter(|text| text.len() == 19).unwrap_or_default()); }
            button type="submit" { "Go" }
        }
    }
}

fn export(here: &Here) -> Markup {
    let asked = here.params.clone().rows_only();
    let to = |format: &str| here.link("log/export", &asked.clone().set("format", format));
    html! {
        span.export { "Export " a href=(to("csv")) download { "CSV" } " " a href=(to("ndjson")) download { "NDJSON" } }
    }
}
