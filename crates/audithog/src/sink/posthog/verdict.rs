//! What a reply of PostHog means. Pure: from status, headers and body to a decision.
//!
//! Versions of the server differ in status codes and bodies, so a decision rests on the status
//! class and on the `error` tag, never on `Retry-After` being there.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{all_ok, text};
use crate::record::Micros;
use crate::sink::{Hold, HoldReason, Reply, Verdict};

/// One reply, as read from the wire.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What an answer is judged with.
pub(super) struct Context<'a> {
    /// The ids sent, in order.
    pub(super) ids: &'a [Uuid],
    /// Wall time, for a `Retry-After` that is a date.
    pub(super) now: Micros,
    /// Never to appear in a reason.
    pub(super) key: &'a str,
}

/// What to do after an answer of capture v1.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum V1 {
    Done(Reply),
    /// The host has no capture v1: send the same events to v0.
    Absent,
    /// The encoding or the content type was not understood.
    Unsupported,
}

/// What to do after an answer of capture v0.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum V0 {
    Done(Reply),
    Unsupported,
}

/// Judges an answer of `POST /i/v1/analytics/events`.
pub(super) fn v1(answer: &Answer, context: &Context<'_>) -> V1 {
    if (200..=299).contains(&answer.status) && all_ok::says(&answer.body, context.ids) {
        return V1::Done(Reply::Rows {
            verdicts: vec![Verdict::Delivered; context.ids.len()],
            retry_after: answer.retry_after(context.now),
        });
    }
    let json = answer.json();
    match answer.status {
        200..=299 => match json.as_ref() {
            Some(body) if over_quota(body) => V1::Done(answer.hold(HoldReason::Quota, context)),
            Some(body) => match body.get("results").and_then(Value::as_object) {
                Some(results) => V1::Done(results_reply(results, answer, context)),
                None => V1::Absent,
            },
            None => V1::Absent,
        },
        300..=399 | 404 | 405 => V1::Absent,
        400 | 422 => match error_tag(json.as_ref()) {
            // A proxy ate the headers; v0 needs none of them.
            Some("missing_required_headers" | "invalid_header_value") => V1::Absent,
            Some("request_decoding_error") => V1::Unsupported,
            _ if answer.is_html() => V1::Absent,
            _ => V1::Done(answer.refused(context)),
        },
        // The CSRF page of a web application that does not know the route.
        403 if answer.is_html() => V1::Absent,
        415 => V1::Unsupported,
        _ => V1::Done(common(answer, json.as_ref(), context)),
    }
}

/// Judges an answer of `POST /batch/`.
pub(super) fn v0(answer: &Answer, context: &Context<'_>) -> V0 {
    let json = answer.json();
    V0::Done(match answer.status {
        200..=299 => match json.as_ref() {
            Some(body) if over_quota(body) => answer.hold(HoldReason::Quota, context),
            Some(body) if accepted(body) => Reply::Rows {
                verdicts: vec![Verdict::Delivered; context.ids.len()],
                retry_after: None,
            },
            // Some other server, or a page of a proxy: nothing says that the events were taken.
            _ => answer.retry("not an answer of PostHog", false, context),
        },
        // Capture answers in plain text; a page comes from something before it and says nothing
        // about a row, but a filter there may dislike one.
        400 | 422 if answer.is_html() => answer.retry("refused by a proxy", true, context),
        400 | 422 => answer.refused(context),
        415 => return V0::Unsupported,
        _ => common(answer, json.as_ref(), context),
    })
}

/// What both protocols share.
fn common(answer: &Answer, json: Option<&Value>, context: &Context<'_>) -> Reply {
    match answer.status {
        401 => answer.hold(HoldReason::BadKey, context),
        402 => answer.hold(HoldReason::Quota, context),
        403 => answer.hold(HoldReason::Forbidden, context),
        // The oldest servers of capture v1 say 429 where later ones say 402.
        429 if error_tag(json) == Some("billing_limit_exceeded") => {
            answer.hold(HoldReason::Quota, context)
        }
        413 => Reply::TooLarge {
            reason: answer.reason("too large", context),
        },
        408 => answer.retry("the server did not get the request in time", false, context),
        425 | 429 => answer.retry("rate limited", false, context),
        // 502 to 504 are about the way to the server or its load, not about a row.
        500 => answer.retry("server error", true, context),
        501..=599 => answer.retry("server unavailable", false, context),
        300..=399 => answer.retry("redirected, which is not followed", false, context),
        404 | 405 => answer.retry("POSTHOG_HOST takes no events there", false, context),
        _ => answer.retry("unexpected status", false, context),
    }
}

/// Capture v1 has a verdict for each event.
fn results_reply(results: &Map<String, Value>, answer: &Answer, context: &Context<'_>) -> Reply {
    let mut by_id: HashMap<Uuid, Option<&Value>> = HashMap::new();
    for (id, result) in results {
        if let Ok(id) = Uuid::try_parse(id) {
            // Ids can be written in several ways. Two verdicts that differ are none.
            let known = by_id.entry(id).or_insert(Some(result));
            if *known != Some(result) {
                *known = None;
            }
        }
    }
    let verdicts = context
        .ids
        .iter()
        .map(|id| match by_id.get(id) {
            Some(Some(result)) => verdict(result, context.key),
            // A resend is safe, the uuid de-duplicates.
            Some(None) => Verdict::Retry("verdicts that contradict each other".to_owned()),
            // Other SDKs take this as accepted.
            None => Verdict::Retry("no verdict for this event".to_owned()),
        })
        .collect();
    Reply::Rows {
        verdicts,
        retry_after: answer.retry_after(context.now),
    }
}

fn verdict(result: &Value, key: &str) -> Verdict {
    let Some(word) = result.get("result").and_then(Value::as_str) else {
        return Verdict::Retry("no verdict for this event".to_owned());
    };
    let details = match result.get("details") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(details)) => text::bounded(details, key),
        Some(other) => text::bounded(&other.to_string(), key),
    };
    let reason = match details.as_str() {
        "" => text::bounded(word, key),
        _ => format!("{}: {details}", text::bounded(word, key)),
    };
    match word {
        "ok" => Verdict::Delivered,
        "warning" => {
            metrics::counter!("audithog_posthog_warnings_total").increment(1);
            Verdict::Delivered
        }
        "retry" => Verdict::Retry(reason),
        "drop" if quota_flavoured(&details) => quota(reason),
        "drop" => Verdict::Dead(reason),
        // One generation of servers stores the event and says so like this; in another, `limited`
        // is a refusal for quota or rate.
        "limited" if details == "person_processing_disabled" => Verdict::Delivered,
        "limited" => quota(reason),
        _ => Verdict::Dead(format!("unknown verdict {reason}")),
    }
}

fn quota(detail: String) -> Verdict {
    Verdict::Hold(Hold {
        reason: HoldReason::Quota,
        detail,
    })
}

fn quota_flavoured(details: &str) -> bool {
    details.ends_with("over_quota") || details == "billing_limit_exceeded"
}

fn over_quota(body: &Value) -> bool {
    body.get("quota_limited")
        .and_then(Value::as_array)
        .is_some_and(|limited| !limited.is_empty())
}

/// `{"status":"Ok"}`, or `{"status":1}` of old servers.
fn accepted(body: &Value) -> bool {
    match body.get("status") {
        Some(Value::String(status)) => status.eq_ignore_ascii_case("ok"),
        Some(Value::Number(status)) => status.as_u64() == Some(1),
        _ => false,
    }
}

fn error_tag(body: Option<&Value>) -> Option<&str> {
    body?.get("error")?.as_str()
}

impl Answer {
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// By its type or, because proxies leave that out, by its first character.
    fn is_html(&self) -> bool {
        let declared = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.trim_start().starts_with("text/html"));
        declared || self.body.trim_ascii_start().starts_with(b"<")
    }

    /// Seconds or an HTTP date (RFC 9110 §10.2.3); a date gone by is zero. The caller clamps it.
    pub(super) fn retry_after(&self, now: Micros) -> Option<Duration> {
        let value = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = value.parse::<u64>() {
            // Beyond a century is nonsense, and could overflow a later addition.
            return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
        }
        let date = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(value)
            .ok()?;
        Some(Micros(date.as_microsecond()).since(now))
    }

    fn retry(&self, what: &str, suspect_rows: bool, context: &Context<'_>) -> Reply {
        Reply::Retry {
            reason: self.reason(what, context),
            retry_after: self.retry_after(context.now),
            suspect_rows,
        }
    }

    fn hold(&self, reason: HoldReason, context: &Context<'_>) -> Reply {
        Reply::Hold {
            hold: Hold {
                reason,
                detail: self.reason(reason.as_str(), context),
            },
            retry_after: self.retry_after(context.now),
        }
    }

    fn refused(&self, context: &Context<'_>) -> Reply {
        Reply::Refused {
            reason: self.reason("refused", context),
        }
    }

    /// `what (status): what the server said`, bounded, one line, without the key.
    fn reason(&self, what: &str, context: &Context<'_>) -> String {
        let said = match self.headers.get(LOCATION) {
            // Its query may carry what was sent.
            Some(location) => String::from_utf8_lossy(location.as_bytes())
                .split(['?', '#'])
                .next()
                .map(|path| text::bounded(path, context.key))
                .unwrap_or_default(),
            None => text::said(&self.body, context.key),
        };
        match said.as_str() {
            "" => format!("{what} ({})", self.status),
            _ => format!("{what} ({}): {said}", self.status),
        }
    }
}
