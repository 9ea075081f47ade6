//! The pipeline: where every row is, what is wrong, and what to do.

mod letters;
mod picture;

use audithog::inspect::{Action, Limits, Problem, Projection, Status};
use audithog::query::Filter;
use axum::Extension;
use axum::http::{HeaderMap, header};
use maud::{Markup, html};

use self::letters::Letters;
use super::operate::form_token;
use super::{Here, Reply, Visit, page};
use crate::guard::{self, FORM};
use crate::params::Params;
use crate::view::cells;
use crate::view::layout::Frame;

struct Found {
    status: Status,
    problems: Vec<Problem>,
    projection: Option<Projection>,
    letters: Letters,
}

pub(crate) async fn show(Extension(visit): Extension<Visit>, headers: HeaderMap) -> Reply {
    let note = visit.note(Action::Read, &Filter::all(), None);
    let Visit {
        shared,
        here,
        access,
    } = visit;
    let found = shared.inspect(&access, note, |file| {
        let status = file.status()?;
        Ok(Found {
            problems: status.problems(&Limits::default()),
            projection: file.projection()?,
            letters: Letters::read(file)?,
            status,
        })
    });
    let found = found.await?;
    let token = access.may_operate().then(|| form_token(&headers)).flatten();
    let pace = shared.pace(&found.status, here.now);
    let content = html! {
        h1.sr { "Health" }
        (done(&here))
        (problems(&found.problems))
        (picture::show(&here, &found.status, &pace))
        (found.letters.show(&here, token.as_deref()))
        (equations(&found.status))
        (losses(&here, &found.status))
        (runs(&found.status))
        @if let Some(projection) = &found.projection { (cost(&here, projection)) }
    };
    let mut response = page(
        &here,
        &Frame::new("Health", true).refresh(Some(5)),
        &content,
    );
    if let Some(cookie) = token.and_then(|token| guard::set_cookie(&here, FORM, &token)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// What a form has just done.
fn done(here: &Here) -> Markup {
    let count = |name| {
        here.params
            .get(name)
            .and_then(|text| text.parse::<u64>().ok())
    };
    html! {
        @if let Some(count) = count("replayed") {
            p.done role="status" { (cells::count(count)) " dead letters wait to be sent again. The service sends them within about ten seconds." }
        }
        @if let Some(count) = count("dismissed") {
            p.done role="status" { (cells::count(count)) " dead letters are dismissed." }
        }
    }
}

fn problems(problems: &[Problem]) -> Markup {
    html! {
        @if problems.is_empty() {
            p.well role="status" { "Nothing needs anybody." }
        } @else {
            section.problems role="alert" {
                h2 { (problems.len()) @if problems.len() == 1 { " thing needs somebody" } @else { " things need somebody" } }
                ul { @for problem in problems {
                    li { b { (problem.text) } p { (problem.remedy) } }
                } }
            }
        }
    }
}

fn equations(status: &Status) -> Markup {
    html! {
        section {
            h2 { "Books" }
            p.about { "Every row is in one place. The counts as of now; those of a process are at most 20 s old." }
            div.wide tabindex="0" { table {
                thead { tr { th { "of" } th { "rule" } th { "numbers" } th { "holds" } } }
                tbody { @for equation in &status.equations {
                    tr {
                        td { (equation.of) }
                        td { (equation.rule) }
                        td { (equation.sentence) }
                        td { @if equation.holds { "yes" } @else { b.bad { "no" } } }
                    }
                } }
            } }
        }
    }
}

fn losses(here: &Here, status: &Status) -> Markup {
    let rows = here.link("log", &Params::default().with("event", "audit_loss"));
    let uncounted = status.uncounted();
    html! {
        section {
            h2 { "Losses" }
            @if uncounted > 0 {
                p {
                    @if status.losses.is_empty() { "None is counted yet. " }
                    "Up to " (cells::count(uncounted)) " rows in the memory of a process that died may be gone: the next start of the service, or "
                    code { "audithog ship" } ", counts them."
                }
            }
            @if status.losses.is_empty() {
                @if uncounted == 0 { p.nothing { "No row was ever lost." } }
            } @else {
                div.wide tabindex="0" { table {
                    thead { tr { th { "reason" } th.n { "rows" } th { "last" } } }
                    tbody { @for loss in &status.losses {
                        tr {
                            td { (loss.reason) }
                            td.n { a href=(rows) { @if loss.upper_bound { "at most " } (cells::count(loss.rows)) } }
                            td { @if let Some(last) = &loss.last { (cells::second(last)) } }
                        }
                    } }
                } }
            }
        }
    }
}

fn runs(status: &Status) -> Markup {
    html! {
        section {
            h2 { "Processes" }
            @if status.runs.is_empty() { p.nothing { "None has written this ledger." } }
            @else {
                div.wide tabindex="0" { table {
                    thead { tr { th.n { "run" } th { "service" } th { "instance" } th.n { "pid" } th { "state" } th { "started" } th { "last sign" } th { "trouble" } } }
                    tbody { @for run in &status.runs {
                        tr {
                            td.n { (run.run) }
                            td { (run.service) @if let Some(version) = &run.version { " " (version) } }
                            td { (run.instance.as_deref().unwrap_or_default()) }
                            td.n { (run.pid) }
                            td { (format!("{:?}", run.state).to_lowercase()) }
                            td { (cells::second(&run.started)) }
                            td { (cells::age(run.sign_age_seconds)) " ago" }
                            td { @if let Some(trouble) = &run.trouble { (trouble.text) " until " (cells::second(&trouble.until)) } }
                        }
                    } }
                } }
            }
        }
    }
}

/// What PostHog would count in a month.
fn cost(here: &Here, projection: &Projection) -> Markup {
    let exact = projection.rows_read >= projection.based_on_rows;
    html! {
        section {
            h2 { "PostHog events a month" }
            p.about {
                b { (cells::count(projection.events_per_month)) } " at the pace of the last " (cells::age(projection.based_on_seconds))
                @if exact { ", exact: every row read" } @else { ", sampled: " (cells::count(projection.rows_read)) " of " (cells::count(projection.based_on_rows)) " rows read" }
                @if projection.sampling.is_empty() { ". Every row is sent." } @else { ". Sampling: " (projection.sampling.join(", ")) "." }
            }
            div.wide tabindex="0" { table {
                thead { tr { th { "event" } th { "method" } th { "route" } th.n { "rows" } th.n { "events" } } }
                tbody { @for kind in &projection.by_route {
                    @let conditions = [("event", Some(&*kind.event)), ("method", kind.method.as_deref()), ("route", kind.route.as_deref())];
                    @let rows = conditions.into_iter().fold(Params::default(), |all, (name, value)| all.exactly(name, value));
                    tr {
                        td { (kind.event) }
                        td { (kind.method.as_deref().unwrap_or_default()) }
                        td { (kind.route.as_deref().unwrap_or_default()) }
                        td.n { a href=(here.link("log", &rows)) { (cells::count(kind.rows_per_month)) } }
                        td.n { (cells::count(kind.events_per_month)) }
                    }
                } }
            } }
        }
    }
}
