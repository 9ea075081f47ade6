//! The pages.

pub(crate) mod export;
pub(crate) mod figures;
pub(crate) mod health;
pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod operate;
pub(crate) mod overview;
pub(crate) mod pulse;
pub(crate) mod row;
pub(crate) mod search;
pub(crate) mod sign_in;
pub(crate) mod subject;

use std::sync::Arc;

use audithog::inspect::Action;
use audithog::query::{Filter, Log};
use axum::extract::OriginalUri;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};

use crate::answers::Failure;
use crate::params::Params;
use crate::record::Note;
use crate::view::layout::{self, Frame};
use crate::{Access, Shared};

/// Where a request is, for links.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    /// What stands before every link: nothing, or `/audit`.
    pub(crate) base: String,
    /// The first page: behind a mount point there is no `/`, where a proxy takes the path away there is.
    pub(crate) root: String,
    /// `log`; nothing on the first page.
    pub(crate) page: String,
    pub(crate) params: Params,
    /// A script asks for what is within the page.
    pub(crate) part: bool,
    /// The browser speaks TLS to whatever is in front.
    pub(crate) https: bool,
    /// Somebody gave a token, and can take it back.
    pub(crate) signed_in: bool,
    pub(crate) now: Timestamp,
}

impl Here {
    pub(crate) fn of(shared: &Shared, parts: &Parts) -> Self {
        let path = parts.uri.path();
        let (base, root) = match &shared.base {
            Some(base) => (base.clone(), format!("{base}/")),
            None => {
                let original = parts.extensions.get::<OriginalUri>();
                let original = original.map_or(path, |uri| uri.path());
                let base = original.strip_suffix(path).unwrap_or(original);
                let base = base.trim_end_matches('/').to_owned();
                let root = if base.is_empty() { "/" } else { &base };
                (base.clone(), root.to_owned())
            }
        };
        let forwarded = parts.headers.get("x-forwarded-proto");
        Self {
            base,
            root,
            page: path.trim_start_matches('/').to_owned(),
            params: Params::parse(parts.uri.query().unwrap_or_default()),
            part: parts.headers.contains_key("x-part"),
            https: forwarded.is_some_and(|value| value == "https"),
            signed_in: shared.token.is_some(),
            now: Timestamp::now(),
        }
    }

    /// A page with these parameters.
    pub(crate) fn link(&self, page: &str, params: &Params) -> String {
        match page {
            "" => params.behind(self.root.clone()),
            page => params.behind(format!("{}/{page}", self.base)),
        }
    }

    /// This page with other parameters.
    pub(crate) fn again(&self, params: &Params) -> String {
        self.link(&self.page, params)
    }
}

/// A request that was let in.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    pub(crate) here: Here,
    pub(crate) access: Access,
}

impl Visit {
    /// Asks the log, which is recorded as a look at the rows of `filter`, or at the one row that `about` names.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        filter: Filter,
        about: Option<&str>,
        ask: impl FnOnce(&mut Log, &Filter) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let note = self.note(Action::Read, &filter, about);
        let ask = move |log: &mut Log| ask(log, &filter);
        self.shared.ask(&self.access, note, ask).await
    }

    pub(crate) fn note(
        &self,
        action: Action,
        filter: &Filter,
        about: Option<&str>,
    ) -> Option<Note> {
        self.shared
            .note(&self.here, &self.access, action, filter, about)
    }
}

/// A page, or why there is none: the guard makes a page of that.
pub(crate) type Reply = Result<Response, Failure>;

/// A whole page, or what is within it if a script asks for that.
pub(crate) fn page(here: &Here, frame: &Frame<'_>, content: &Markup) -> Response {
    if here.part {
        return markup(StatusCode::OK, content.clone());
    }
    markup(StatusCode::OK, layout::page(here, frame, content))
}

pub(crate) fn markup(status: StatusCode, markup: Markup) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], markup.into_string()).into_response()
}

/// A page that says what went wrong.
pub(crate) fn failed(here: &Here, failure: &Failure) -> Response {
    let content = html! {
        section.notice role="alert" {
            h1 { (failure.title) }
            @for line in failure.text.lines() { p { (line) } }
            @if failure.status == StatusCode::BAD_REQUEST {
                p { a href=(here.link(&here.page, &Params::default())) { "Ask for everything" } }
            }
        }
    };
    if here.part {
        return markup(failure.status, content);
    }
    let frame = Frame::bare(failure.title);
    markup(failure.status, layout::page(here, &frame, &content))
}

pub(crate) async fn not_found() -> Reply {
    Err(Failure::missing("There is no such page."))
}
