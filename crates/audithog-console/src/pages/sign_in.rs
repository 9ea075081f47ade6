//! Giving the token, and taking it back.

use axum::Extension;
use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use maud::html;

use super::{Here, Visit, markup};
use crate::guard::{self, SESSION};
use crate::params::Params;
use crate::view::layout::{self, Frame};

/// The page that asks for it, in the place of the one that was asked for.
pub(crate) fn ask(here: &Here, parts: &Parts) -> Response {
    let next = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
    form(here, next, false)
}

fn form(here: &Here, next: &str, wrong: bool) -> Response {
    let content = html! {
        section.notice {
            h1 { "Sign in" }
            @if wrong { p.bad role="alert" { "That is not the token." } }
            form method="post" action=(here.link("sign-in", &Params::default())) {
                input type="hidden" name="next" value=(next);
                label { "Token" input type="password" name="token" required autofocus autocomplete="current-password"; }
                button type="submit" { "Sign in" }
            }
            p { "The token is the one that this console was started with." }
        }
    };
    markup(
        StatusCode::UNAUTHORIZED,
        layout::page(here, &Frame::bare("Sign in"), &content),
    )
}

pub(crate) async fn enter(Extension(visit): Extension<Visit>, body: Bytes) -> Response {
    let Visit { shared, here, .. } = visit;
    let given = Params::parse(std::str::from_utf8(&body).unwrap_or_default());
    let next = given.get("next").filter(|next| is_within(next));
    let next = next.unwrap_or("/");
    let right = given
        .get("token")
        .is_some_and(|token| shared.token.as_ref().is_some_and(|known| known.is(token)));
    let (Some(token), true) = (&shared.token, right) else {
        return form(&here, next, true);
    };
    let mut response = guard::see_other(&format!("{}{next}", here.base));
    if let Some(cookie) = guard::set_cookie(&here, SESSION, &token.session()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// A page of the console. Browsers take `//elsewhere` and `/\elsewhere` for another site, and leave out tabs before they look.
fn is_within(next: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    next.starts_with('/') && !next.starts_with("//") && next.bytes().all(fine)
}

pub(crate) async fn leave(Extension(visit): Extension<Visit>) -> Response {
    let here = visit.here;
    let mut response = guard::see_other(&here.link("", &Params::default()));
    if let Some(cookie) = guard::set_cookie(&here, SESSION, "; Max-Age=0") {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
