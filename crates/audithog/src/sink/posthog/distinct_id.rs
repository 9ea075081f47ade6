//! Whom an event belongs to in PostHog.
//!
//! The first that applies:
//!
//! 1. the distinct id the application gave,
//! 2. the user id, in the configured form,
//! 3. `req:` and the request id,
//! 4. for audithog's own rows (`audit_…`) `service:` and the service's name: few rows, one timeline,
//! 5. `event:` and the event's id: no constant stands for many unrelated rows, because PostHog
//!    overflows on a single busy id.
//!
//! The result is one that both capture versions take unchanged: 1 to 200 bytes, no surrounding white
//! space, no NUL, none of the placeholders that PostHog refuses.

use std::borrow::Cow;

use ring::digest;

use super::event::{Shape, hex, keyed};
use crate::config::DistinctId;
use crate::record::{Row, Run};

/// Capture v1 drops an event with more; v0 truncates, which would merge two users.
const LIMIT: usize = 200;

/// Placeholders, compared in lower case after trimming (PostHog capture, `distinct_id` rules).
const RESERVED: [&str; 20] = [
    "0",
    "00000000-0000-0000-0000-000000000000",
    "[object object]",
    "anonymous",
    "anonymous-user",
    "backend",
    "distinct_id",
    "distinctid",
    "email",
    "false",
    "guest",
    "id",
    "nan",
    "none",
    "not_authenticated",
    "null",
    "system",
    "true",
    "undefined",
    "user",
];

/// The distinct id of `row`; from the row and the settings alone.
pub(super) fn of<'a>(row: &'a Row, run: &'a Run, shape: &Shape) -> Cow<'a, str> {
    if let Some(id) = present(row.distinct_id.as_deref()) {
        // The application's id is most likely its user id: it must not show what that may not.
        return safe(shape.user(id));
    }
    if let Some(id) = present(row.actor.user_id.as_deref()) {
        return safe(user(id, shape));
    }
    if let Some(id) = &row.request_id {
        return safe(Cow::Owned(format!("req:{id}")));
    }
    if row.event.starts_with("audit_") && !run.service.is_empty() {
        return safe(Cow::Owned(format!("service:{}", run.service)));
    }
    Cow::Owned(format!("event:{}", row.id.as_hyphenated()))
}

/// Whether [`of`] stands for somebody: the application's distinct id or a user, not one request, one
/// event or a service.
pub(super) fn is_known(row: &Row) -> bool {
    let ids = [row.distinct_id.as_deref(), row.actor.user_id.as_deref()];
    ids.into_iter().any(|id| present(id).is_some())
}

fn user<'a>(id: &'a str, shape: &Shape) -> Cow<'a, str> {
    match (shape.distinct_id, &shape.hmac_key) {
        (DistinctId::User, _) => shape.user(id),
        (DistinctId::Prefixed, _) => Cow::Owned(format!("user:{}", shape.user(id))),
        (DistinctId::Hmac, Some(key)) => Cow::Owned(keyed(key, id)),
        // Not reached: `Shape::new` refuses it. Still never the plain id.
        (DistinctId::Hmac, None) => Cow::Owned(digested(id)),
    }
}

/// `id` without white space around it, unless that is all there is.
pub(super) fn present(id: Option<&str>) -> Option<&str> {
    id.map(str::trim).filter(|id| !id.is_empty())
}

fn safe(id: Cow<'_, str>) -> Cow<'_, str> {
    // PostHog's v0 does the same to a NUL.
    let id = match id.contains('\0') {
        true => Cow::Owned(id.replace('\0', "\u{fffd}")),
        false => id,
    };
    // An adopted request id of a damaged ledger; all others were trimmed before.
    let id = match id.trim().len() == id.len() {
        true => id,
        false => Cow::Owned(id.trim().to_owned()),
    };
    if LIMIT < id.len() {
        return Cow::Owned(format!("user:{}", digested(&id)));
    }
    let reserved = RESERVED.iter().any(|name| name.eq_ignore_ascii_case(&id));
    match reserved {
        true => Cow::Owned(format!("user:{id}")),
        false => id,
    }
}

fn digested(id: &str) -> String {
    hex(digest::digest(&digest::SHA256, id.as_bytes()).as_ref())
}
