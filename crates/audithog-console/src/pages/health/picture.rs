//! Queue, ledger, sinks: with how much is in each, and how fast it moves.

use audithog::inspect::{RunState, SinkStatus, Status};
use maud::{Markup, Render, html};

use crate::pace::Pace;
use crate::pages::Here;
use crate::params::Params;
use crate::view::cells;

pub(super) fn show(here: &Here, status: &Status, pace: &Pace) -> Markup {
    let live = status
        .runs
        .iter()
        .filter(|run| matches!(run.state, RunState::Alive | RunState::Remote));
    let books: Vec<_> = live.filter_map(|run| run.books.as_ref()).collect();
    let queued: u64 = books.iter().map(|books| books.queued).sum();
    let progress: u64 = books.iter().map(|books| books.requests_in_progress).sum();
    let rows = &status.rows;
    let uncounted = status.uncounted();
    let lost: u64 = status.losses.iter().map(|loss| loss.rows).sum();
    html! {
        section.pipeline aria-label="Pipeline" {
            div.stage {
                h2 { "Queue" }
                dl {
                    (entry("rows in memory", &cells::count(queued)))
                    (entry("requests in progress", &cells::count(progress)))
                    (entry("processes", &cells::count(books.len() as u64)))
                    (entry("lost", &link(&here.link("log", &Params::default().with("event", "audit_loss")), &cells::count(lost))))
                    @if uncounted > 0 { (entry("not counted yet", &format!("up to {}", cells::count(uncounted)))) }
                }
            }
            (arrow(pace.stored, "stored"))
            div.stage {
                h2 { "Ledger" }
                dl {
                    (entry("rows", &link(&here.link("log", &Params::default()), &cells::count(rows.kept))))
                    (entry("last number", &cells::count(rows.head)))
                    (entry("removed by retention", &cells::count(rows.pruned)))
                    (entry("file", &cells::bytes(status.file.bytes)))
                    (entry("write-ahead log", &cells::bytes(status.file.log_bytes)))
                    @if let Some(free) = status.file.disk_free_bytes { (entry("free on the disk", &cells::bytes(free))) }
                    @if let Some(age) = rows.last_age_seconds { (entry("last row", &format!("{} ago", cells::age(age)))) }
                }
                p.file { (status.file.path.display()) }
            }
            div.sinks {
                @if status.sinks.is_empty() {
                    div.lane {
                        (arrow(None, ""))
                        div.stage.off { h2 { "No destination" } p { "No key is set: rows stay here, and nothing leaves the machine." } }
                    }
                }
                @for sink in &status.sinks { div.lane { (arrow(pace.delivered(&sink.name), "delivered")) (stage(sink)) } }
            }
        }
    }
}

fn arrow(pace: Option<f64>, what: &str) -> Markup {
    html! {
        div.arrow {
            span { @if let Some(pace) = pace { (format!("{pace:.1}/s")) } }
            svg viewBox="0 0 40 12" aria-hidden="true" { path d="M0 6H36M30 1L37 6L30 11" {} }
            span.what { (what) }
        }
    }
}

fn stage(sink: &SinkStatus) -> Markup {
    let open = sink.dead.saturating_sub(sink.dismissed);
    let class = match (&sink.hold, sink.breaker.as_deref(), sink.configured) {
        (Some(_), ..) => "stage held",
        (None, Some("open" | "failing"), _) => "stage failing",
        (None, _, false) => "stage off",
        _ => "stage",
    };
    let mut marks = Vec::new();
    if !sink.configured {
        marks.push("not configured by the latest run");
    }
    if !sink.driven {
        marks.push("nobody sends now");
    }
    if !sink.verified {
        marks.push("unverified: no row was read back yet");
    }
    html! {
        div class=(class) {
            h2 { (sink.name) }
            dl {
                (entry("pending", &cells::count(sink.pending)))
                @if let Some(age) = sink.oldest_pending_seconds { (entry("oldest pending", &cells::age(age))) }
                @if sink.stragglers > 0 { (entry("of these, tried again alone", &cells::count(sink.stragglers))) }
                (entry("delivered", &cells::count(sink.delivered)))
                @if sink.rows_verified > 0 { (entry("compared, and there", &cells::count(sink.rows_verified))) }
                @if sink.sampled_out > 0 { (entry("sampled out", &cells::count(sink.sampled_out))) }
                @if sink.held_back > 0 { (entry("held back as too old", &cells::count(sink.held_back))) }
                (entry("dead letters", &letters(open)))
                @if let Some(breaker) = &sink.breaker { (entry("breaker", breaker)) }
                @if let Some(age) = sink.last_success_age_seconds { (entry("last success", &format!("{} ago", cells::age(age)))) }
            }
            @for mark in marks { p.mark { (mark) } }
            @if let Some(hold) = &sink.hold {
                p.hold { b { "On hold: " (hold.reason) } " " (hold.detail) }
                p.remedy { (hold.remedy) }
            } @else if let Some(error) = sink.last_error.as_ref().filter(|_| sink.breaker.as_deref() != Some("closed")) {
                p.hold { (error) }
            }
        }
    }
}

fn entry(name: &str, value: &impl Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn link(to: &str, value: &str) -> Markup {
    html! { a href=(to) { (value) } }
}

/// They stand further down, if there are any.
fn letters(open: u64) -> Markup {
    let count = cells::count(open);
    match open {
        0 => html! { (count) },
        _ => link("#dead-letters", &count),
    }
}
