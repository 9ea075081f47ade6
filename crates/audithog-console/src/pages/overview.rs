//! The first page: traffic, failures, latency, and who and what leads.

use audithog::query::{Answer, Filter, Named};
use axum::Extension;
use maud::{Markup, html};
use serde_json::Value;

use super::figures::{Figures, REQUEST, requests};
use super::{Here, Reply, Visit, page};
use crate::answers::Failure;
use crate::guard;
use crate::params::{Params, STATUS, added};
use crate::range::Range;
use crate::view::chips;
use crate::view::layout::Frame;
use crate::view::table::{self, Link, Shown};

/// What it is about unless the URL says otherwise.
const LOOKS_BACK: &str = "24h";

struct Found {
    figures: Figures,
    paths: Answer,
    users: Answer,
    codes: Answer,
    slowest: Answer,
}

pub(crate) async fn show(Extension(visit): Extension<Visit>) -> Reply {
    let here = &visit.here;
    if let Some(params) = added(&here.params) {
        return Ok(guard::see_other(&here.again(&params)));
    }
    let health = visit.access.sees_all();
    let range = range(here, LOOKS_BACK)?;
    let filter = filter(here, &range)?;
    let now = here.now;
    let of = range.clone();
    let found = visit.read(filter, None, move |log, filter| {
        let head = log.head()?;
        let requests = requests(Filter::all())?;
        if log
            .latest_rows(&requests, 0, head)?
            .next()
            .transpose()?
            .is_none()
        {
            return Ok(None);
        }
        let mut named =
            |named: Named| Ok::<_, Failure>(log.ask(&named.question(None, filter.clone())?)?);
        let (paths, users) = (named(Named::Paths)?, named(Named::Users)?);
        let (codes, slowest) = (named(Named::Codes)?, named(Named::Slowest)?);
        Ok(Some(Found {
            paths,
            users,
            codes,
            slowest,
            figures: Figures::ask(log, filter, &of, now)?,
        }))
    });
    let found = found.await?;
    // A range that has ended says the same for ever.
    let refresh = range.until.is_none().then_some(10);
    let content = match found {
        None if health => first_start(),
        // Whoever sees one organisation has no service to change.
        None => {
            html! { section.notice { h1 { "No request yet" } p { "This page shows the first one by itself." } } }
        }
        Some(found) => html! {
            h1.sr { "Overview" }
            div.bar { (chips::times(here, &range)) (chips::conditions(here)) }
            (found.figures.show(here, &rows(here, LOOKS_BACK)))
            div.answers { (found.answers(here)) }
        },
    };
    Ok(page(
        here,
        &Frame::new("Overview", health).refresh(refresh),
        &content,
    ))
}

/// The time of a page.
pub(crate) fn range(here: &Here, looks_back: &str) -> Result<Range, Failure> {
    Range::of(&here.params, looks_back, here.now).map_err(Failure::wrong)
}

/// The filter of a page: conditions and time.
pub(crate) fn filter(here: &Here, range: &Range) -> Result<Filter, Failure> {
    let own: &[&str] = match &*here.page {
        "log" => &["before"],
        "log/live" => &["after"],
        "log/export" => &["format"],
        "user" | "org" => &["id"],
        _ => &[],
    };
    let understood = here.params.understood(own);
    let filter = understood.and_then(|()| here.params.narrow(Filter::all()));
    Ok(range.narrow(filter.map_err(Failure::wrong)?))
}

/// What leads from a page's figures to the rows behind them: its conditions, and the time that it is about.
pub(crate) fn rows(here: &Here, looks_back: &str) -> Params {
    let params = here.params.clone().rows_only();
    if params.get("since").is_none() && params.get("until").is_none() {
        return params.set("since", looks_back);
    }
    params
}

impl Found {
    fn answers(&self, here: &Here) -> Markup {
        html! {
            (self.paths(here))
            (self.users(here))
            (self.codes(here))
            (self.slowest(here))
        }
    }

    fn paths(&self, here: &Here) -> Markup {
        let to = To::requests(here);
        let endpoint = |line: &[Value]| to.page("endpoint", line, ENDPOINT);
        let all = |line: &[Value]| to.log(line, ENDPOINT, &[]);
        let failed = |line: &[Value]| to.log(line, ENDPOINT, &[(STATUS, "5xx")]);
        let shown = [
            shown(0, "method", None),
            shown(1, "route", Some(&endpoint)),
            shown(2, "requests", Some(&all)),
            shown(3, "5xx", Some(&failed)),
            shown(4, "rate", Some(&failed)),
        ];
        table::answer(
            "Routes by 5xx rate",
            &self.paths,
            &shown,
            "No request ended with 5xx.",
        )
    }

    fn slowest(&self, here: &Here) -> Markup {
        let to = To::requests(here);
        let endpoint = |line: &[Value]| to.page("endpoint", line, ENDPOINT);
        let all = |line: &[Value]| to.log(line, ENDPOINT, &[]);
        let shown = [
            shown(0, "method", None),
            shown(1, "route", Some(&endpoint)),
            shown(2, "requests", Some(&all)),
            shown(3, "p50", Some(&all)),
            shown(4, "p95", Some(&all)),
            shown(5, "p99", Some(&all)),
        ];
        table::answer("Slowest routes", &self.slowest, &shown, "No request.")
    }

    fn users(&self, here: &Here) -> Markup {
        let to = To::requests(here);
        let user = |line: &[Value]| to.page("user", line, &["id"]);
        let all = |line: &[Value]| to.log(line, &["user"], &[]);
        let failed = |line: &[Value]| to.log(line, &["user"], &[("result", "failure")]);
        let shown = [
            shown(0, "user", Some(&user)),
            shown(1, "requests", Some(&all)),
            shown(2, "failures", Some(&failed)),
            shown(3, "rate", Some(&failed)),
        ];
        table::answer("Users", &self.users, &shown, "No request.")
    }

    fn codes(&self, here: &Here) -> Markup {
        let to = To::requests(here);
        let all = |line: &[Value]| to.log(line, &["error-code"], &[]);
        let failed = |line: &[Value]| to.log(line, &["error-code"], &[(STATUS, "5xx")]);
        let shown = [
            shown(0, "error code", Some(&all)),
            shown(1, "requests", Some(&all)),
            shown(2, "5xx", Some(&failed)),
            shown(3, "last", None),
        ];
        table::answer("Error codes", &self.codes, &shown, "No request failed.")
    }
}

/// The words for the first cells of a line that is about an endpoint.
const ENDPOINT: &[&str] = &["method", "route"];

fn shown<'a>(at: usize, name: &'a str, link: Option<Link<'a>>) -> Shown<'a> {
    Shown { at, name, link }
}

/// Where the cells of an answer lead.
struct To<'h> {
    here: &'h Here,
    rows: Params,
}

impl<'h> To<'h> {
    fn requests(here: &'h Here) -> Self {
        Self {
            here,
            rows: rows(here, LOOKS_BACK).narrowed("event", REQUEST),
        }
    }

    /// The rows behind a number: `words` are for the line's first cells.
    fn log(&self, line: &[Value], words: &[&str], more: &[(&str, &str)]) -> Option<String> {
        let mut params = words
            .iter()
            .zip(line)
            .fold(self.rows.clone(), |params, (word, value)| {
                params.exactly(word, value.as_str())
            });
        for (word, value) in more {
            params = params.narrowed(word, value);
        }
        Some(self.here.link("log", &params))
    }

    /// A page about it, with this page's time. None: the line is about what has no such value.
    fn page(&self, page: &str, line: &[Value], words: &[&str]) -> Option<String> {
        let mut params = self.here.params.clone().time_only();
        for (word, value) in words.iter().zip(line) {
            params = params.set(word, value.as_str()?);
        }
        Some(self.here.link(page, &params))
    }
}

/// What to do when there is nothing yet.
fn first_start() -> Markup {
    let snippet = "let logger = audithog::Logger::from_env()?;\n\
                   let app = Router::new()\n    \
                       .route(\"/agents\", post(create_agent))\n    \
                       .layer(logger.layer()); // last, after all routes and the fallback\n\
                   let app = app.into_make_service_with_connect_info::<SocketAddr>();\n\
                   axum::serve(listener, app).with_graceful_shutdown(stop_signal()).await?;\n\
                   logger.shutdown(None).await;";
    html! {
        section.notice {
            h1 { "No request yet" }
            p { "The ledger is there. Each request of the service becomes a row as soon as the layer is added:" }
            pre { code { (snippet) } }
            p { "This page shows the first row by itself." }
        }
    }
}
