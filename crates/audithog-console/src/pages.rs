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

use axum::Extension;
use axum::extract::OriginalUri;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};

use crate::Shared;
use crate::answers::Failure;
use crate::params::Params;
use crate::view::layout::{self, Frame};

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

/// A page, or why there is none.
pub(crate) type Reply = Result<Response, Response>;

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

pub(crate) async fn not_found(Extension(here): Extension<Here>) -> Response {
    failed(&here, &Failure::missing("There is no such page."))
}
