//! What stands in front of every page: whose request it is, from where it comes, and what a browser may do with the reply.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderName, HeaderValue,
    LOCATION, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::answers::Failure;
use crate::pages::{self, Here, Visit};
use crate::{Access, Shared};

/// Nothing comes from elsewhere, and nothing that a row says is run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What is asked for is part of every link of a page.
const LONGEST: usize = 8 << 10;

/// The cookie of somebody who gave the token.
pub(crate) const SESSION: &str = "audithog_session";
/// The cookie whose value a form that changes something has to repeat.
pub(crate) const FORM: &str = "audithog_form";

pub(crate) async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let here = Here::of(&shared, &parts);
    let led_elsewhere = !led_here(&here, &parts);
    let mut response = match enter(&shared, &here, &parts) {
        Ok(access) => {
            parts.extensions.insert(Visit {
                shared,
                here: here.clone(),
                access,
            });
            next.run(Request::from_parts(parts, body)).await
        }
        Err(response) => *response,
    };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        response = pages::failed(&here, &failure);
    }
    if led_elsewhere {
        response.extensions_mut().insert(Uncompressed);
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// What the request may see, or the reply that it gets instead.
fn enter(shared: &Shared, here: &Here, parts: &Parts) -> Result<Access, Box<Response>> {
    let refused = |status, text: &str| Box::new(Failure::refused(status, text).into_response());
    let query = parts.uri.query().unwrap_or_default();
    if query.len() > LONGEST {
        return Err(refused(
            StatusCode::URI_TOO_LONG,
            "The address asks for too much: it may have 8 KiB behind the question mark. Take filters away.",
        ));
    }
    let known = |host: &str| {
        is_this_machine(host)
            || shared
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name(host)))
    };
    if shared.loopback_only && !host(parts).is_some_and(known) {
        return Err(refused(
            StatusCode::FORBIDDEN,
            "This console is for this machine alone: open it as http://localhost or http://127.0.0.1, with its port. For another name, \
             such as a proxy's, it must be started with --allow-host.",
        ));
    }
    if !from_here(parts) {
        return Err(refused(
            StatusCode::FORBIDDEN,
            "The request comes from another site.",
        ));
    }
    let open = is_open(parts.uri.path());
    if let Some(token) = &shared.token
        && !open
        && !token.admits(&parts.headers)
    {
        let asks_for_a_page = parts.method == Method::GET && !here.part;
        if !asks_for_a_page {
            return Err(Box::new(StatusCode::UNAUTHORIZED.into_response()));
        }
        return Err(Box::new(pages::sign_in::ask(here, parts)));
    }
    let access = (shared.allow)(parts);
    if !open && access.scope == crate::access::Scope::Deny {
        return Err(Box::new(Failure::denied().into_response()));
    }
    Ok(access)
}

/// What anyone may have: it says nothing of the log.
fn is_open(path: &str) -> bool {
    path.starts_with("/assets/") || path == "/sign-in"
}

/// The host that the browser believes to talk to.
fn host(parts: &Parts) -> Option<&str> {
    // HTTP/2 has it in the URI.
    let authority = parts.uri.authority().map(Authority::as_str);
    authority.or_else(|| text(&parts.headers, &HOST))
}

/// A name that no DNS server decides upon, whatever the port.
fn is_this_machine(host: &str) -> bool {
    let name = name(host);
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Without the port.
fn name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host
            .rsplit_once(':')
            .map_or(host, |(name, port)| match port.parse::<u16>() {
                Ok(_) => name,
                Err(_) => host,
            }),
    }
}

/// Its length must say nothing of what is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uncompressed;

/// This site itself asked, or somebody who typed the address. Whoever leads a browser here again and again with words of their own, and
/// sees how long the encrypted replies are, could find out by compression what else is in them (breachattack.com).
fn led_here(here: &Here, parts: &Parts) -> bool {
    match parts.headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin" || site == "none",
        // Without TLS there is nothing to find out.
        None => !here.https,
    }
}

/// A browser says where a request comes from. Programs say nothing; they have no cookies of somebody else.
fn from_here(parts: &Parts) -> bool {
    let site = parts.headers.get("sec-fetch-site");
    match site.and_then(|site| site.to_str().ok()) {
        // No script can say so. A proxy may have given the host another name.
        Some("same-origin" | "none") => true,
        // A link on another page may lead here; it cannot read what it gets, nor change anything.
        Some(_) => {
            let mode = parts.headers.get("sec-fetch-mode");
            parts.method == Method::GET && mode.is_some_and(|mode| mode == "navigate")
        }
        // A browser from before 2023, or one that came over plain HTTP from another machine.
        None => text(&parts.headers, &ORIGIN).is_none_or(|origin| {
            let origin = origin.parse::<Uri>().ok();
            let authority = origin.as_ref().and_then(Uri::authority);
            authority.map(Authority::as_str) == host(parts)
        }),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The value of a cookie.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// What follows `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = text(headers, &AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A cookie that scripts cannot read and other sites cannot send.
pub(crate) fn set_cookie(here: &Here, name: &str, value: &str) -> Option<HeaderValue> {
    // Part of the path may be anybody's choice: it must not become an attribute.
    let path = if here.base.is_empty() || here.base.contains(';') {
        "/"
    } else {
        &here.base
    };
    let secure = if here.https { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&cookie).ok()
}

/// To another page.
pub(crate) fn see_other(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        for host in [
            "localhost",
            "LOCALHOST:7878",
            "127.0.0.1:1",
            "127.8.9.1",
            "[::1]:7878",
            "[::1]",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "evil.example",
            "0.0.0.0",
            "10.0.0.1:7878",
            "",
            "localhost:evil",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
