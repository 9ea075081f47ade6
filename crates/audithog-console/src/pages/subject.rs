//! A user, an organisation, an endpoint: what, when, from where, and what failed.

use audithog::query::{Answer, Field, Filter, Key, LogRow, Measure, Question};
use axum::Extension;
use maud::{Markup, html};
use serde_json::Value;

use super::figures::{Figures, REQUEST, requests};
use super::overview::{filter, range};
use super::{Here, Reply, Visit, page};
use crate::answers::{self, Failure};
use crate::params::{Params, field, word};
use crate::view::chips;
use crate::view::layout::Frame;
use crate::view::table::{self, Shown};

const LOOKS_BACK: &str = "24h";
/// Of the rows that were written last, so many are shown.
const ROWS: usize = 25;
/// Lines of a list.
const LINES: usize = 15;

/// Whom or what a page is about.
struct Subject {
    kind: &'static str,
    name: String,
    /// The conditions that its rows fulfil.
    is: Params,
    lists: &'static [List],
}

/// One list of the page.
struct List {
    title: &'static str,
    by: &'static [Field],
}

const ENDPOINTS: List = List {
    title: "Endpoints",
    by: &[Field::Method, Field::Route],
};
const USERS: List = List {
    title: "Users",
    by: &[Field::UserId],
};
const ADDRESSES: List = List {
    title: "Addresses",
    by: &[Field::Ip],
};
const CODES: List = List {
    title: "Failures",
    by: &[Field::ErrorCode],
};
const AGENTS: List = List {
    title: "User agents",
    by: &[Field::UserAgent],
};
const ORGS: List = List {
    title: "Organisations",
    by: &[Field::OrgId],
};

pub(crate) async fn user(Extension(visit): Extension<Visit>) -> Reply {
    let subject = one(&visit.here, "user", "user")?;
    let lists = &[ENDPOINTS, CODES, ADDRESSES, AGENTS];
    show(visit, Subject { lists, ..subject }).await
}

pub(crate) async fn org(Extension(visit): Extension<Visit>) -> Reply {
    let subject = one(&visit.here, "organisation", "org")?;
    let lists = &[USERS, ENDPOINTS, CODES, ADDRESSES];
    show(visit, Subject { lists, ..subject }).await
}

pub(crate) async fn endpoint(Extension(visit): Extension<Visit>) -> Reply {
    let Some(route) = visit.here.params.get("route") else {
        return Err(which("route"));
    };
    let mut is = Params::default().with("route", route);
    let mut name = route.to_owned();
    if let Some(method) = visit.here.params.get("method") {
        is = is.with("method", method);
        name = format!("{method} {route}");
    }
    let subject = Subject {
        kind: "endpoint",
        name,
        is,
        lists: &[USERS, ORGS, CODES, ADDRESSES],
    };
    show(visit, subject).await
}

fn which(name: &str) -> Failure {
    Failure::wrong(format!("{name}: which one? The page needs to know."))
}

fn one(here: &Here, kind: &'static str, word: &str) -> Result<Subject, Failure> {
    let Some(id) = here.params.get("id") else {
        return Err(which("id"));
    };
    Ok(Subject {
        kind,
        name: id.to_owned(),
        is: Params::default().with(word, id),
        lists: &[],
    })
}

struct Found {
    figures: Figures,
    lists: Vec<Answer>,
    rows: Vec<LogRow>,
}

async fn show(visit: Visit, subject: Subject) -> Reply {
    let here = &visit.here;
    let range = range(here, LOOKS_BACK)?;
    let narrow = exactly(&subject, filter(&beyond(here, &subject), &range)?)?;
    let (of, now) = (range.clone(), here.now);
    let lists = subject.lists;
    let found = visit.read(narrow, None, move |log, narrow| {
        let counted = requests(narrow.clone())?;
        let lists = lists.iter().map(|list| {
            let by = list.by.iter().map(|field| Key::Field(*field));
            let mut counted = counted.clone();
            if list.by == CODES.by {
                counted = counted.has(Field::ErrorCode);
            }
            let question = Question::count(by, [Measure::Failures, Measure::Last], counted)?;
            Ok(log.ask(&question.limit(LINES)?)?)
        });
        let lists = lists.collect::<Result<Vec<_>, Failure>>()?;
        Ok(Found {
            lists,
            rows: answers::page(log, narrow, None, ROWS)?.rows,
            figures: Figures::ask(log, narrow, &of, now)?,
        })
    });
    let found = found.await?;
    let mut rows = here.params.clone().time_only();
    if rows == Params::default() {
        rows = rows.set("since", LOOKS_BACK);
    }
    let rows = subject
        .is
        .conditions()
        .fold(rows, |rows, (name, value)| rows.exactly(name, Some(value)));
    let content = html! {
        h1 { span.kind { (subject.kind) } " " span.path { (subject.name) } }
        div.bar { (chips::times(here, &range)) a.all href=(here.link("log", &rows)) { "All its rows in the log" } }
        (found.figures.show(here, &rows))
        div.answers {
            @for (list, answer) in subject.lists.iter().zip(&found.lists) { (list.show(here, answer, &rows)) }
        }
        section {
            h2 { "Rows, the last written first" }
            @if found.rows.is_empty() { p.nothing { "None in this time." } }
            @else {
                div.wide tabindex="0" { table.log { (table::log_head()) tbody { (table::log_rows(here, &found.rows)) } } }
                p.end { a href=(here.link("log", &rows)) { "All its rows in the log" } }
            }
        }
    };
    let title = format!("{} {}", subject.kind, subject.name);
    Ok(page(
        here,
        &Frame::new(&title, visit.access.sees_all()),
        &content,
    ))
}

/// What the address asks for besides the subject, which it names in the words of a filter if it is an endpoint.
fn beyond(here: &Here, subject: &Subject) -> Here {
    let named = subject.is.conditions();
    let said = named.filter(|(name, value)| here.params.get(name) == Some(value));
    Here {
        params: said.fold(here.params.clone(), |params, (name, _)| {
            params.without(name)
        }),
        ..here.clone()
    }
}

/// The subject as it is: a `*` in a user's id stands for itself.
fn exactly(subject: &Subject, mut filter: Filter) -> Result<Filter, Failure> {
    for (name, value) in subject.is.conditions() {
        if let Some(field) = field(name) {
            filter = filter.is(field, [value])?;
        }
    }
    Ok(filter)
}

impl List {
    fn show(&self, here: &Here, answer: &Answer, rows: &Params) -> Markup {
        let keys = self.by.len();
        let narrowed = |line: &[Value]| {
            // Only requests are counted.
            let mut params = rows.clone().narrowed("event", REQUEST);
            for (field, value) in self.by.iter().zip(line) {
                params = params.exactly(word(*field)?, value.as_str());
            }
            Some(params)
        };
        let log = |line: &[Value]| Some(here.link("log", &narrowed(line)?));
        let failed =
            |line: &[Value]| Some(here.link("log", &narrowed(line)?.set("result", "failure")));
        let time = here.params.clone().time_only();
        let text =
            |line: &[Value], at: usize| line.get(at).and_then(Value::as_str).map(str::to_owned);
        let subject = |line: &[Value]| match self.by {
            [Field::UserId] => Some(here.link("user", &time.clone().with("id", &text(line, 0)?))),
            [Field::OrgId] => Some(here.link("org", &time.clone().with("id", &text(line, 0)?))),
            [Field::Method, Field::Route] => Some(
                here.link(
                    "endpoint",
                    &time
                        .clone()
                        .with("method", &text(line, 0)?)
                        .with("route", &text(line, 1)?),
                ),
            ),
            _ => log(line),
        };
        let mut shown = Vec::new();
        for (at, field) in self.by.iter().enumerate() {
            let last = at + 1 == keys;
            shown.push(Shown {
                at,
                name: word(*field).map_or(field.name(), crate::params::label),
                link: if last { Some(&subject) } else { None },
            });
        }
        shown.push(Shown {
            at: keys,
            name: "requests",
            link: Some(&log),
        });
        if self.by != CODES.by {
            shown.push(Shown {
                at: keys + 1,
                name: "failures",
                link: Some(&failed),
            });
        }
        shown.push(Shown {
            at: keys + 2,
            name: "last",
            link: None,
        });
        table::answer(self.title, answer, &shown, "None in this time.")
    }
}
