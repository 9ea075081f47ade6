//! Targets for fuzzers: replies of PostHog, and events for it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use uuid::Uuid;

use super::event::{Protocol, Shape};
use super::verdict::{Answer, Context, V0, V1, v0, v1};
use crate::config::{Compression, DistinctId, IpDetail, PosthogSettings, Secret};
use crate::fuzz::{Input, is_clean, parse_unique, row};
use crate::record::{Micros, Run, StoredRow};
use crate::sink::{Reply, Verdict};

const KEY: &str = "phc_S3CR3T";
/// 2026-03-01T12:00:00.000001Z
const NOW: Micros = Micros(1_772_366_400_000_001);
/// Two texts of the server's, cut, and a few words of ours.
const LONGEST_REASON: usize = 800;
/// The last year that a date can name.
const LONGEST_WAIT: Duration = Duration::from_secs(9_000 * 366 * 86_400);

/// `0` or `1` for the protocol, a space, the status, a line feed; header lines; an empty line; the body. The rows' ids
/// are `00000000-0000-0000-0000-000000000001` to `…3`.
pub(crate) fn reply(data: &[u8]) {
    let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
    let context = Context {
        ids: &ids,
        now: NOW,
        key: KEY,
    };
    let Some((protocol, answer)) = answer(data) else {
        return;
    };
    let said = if protocol == b'1' {
        match v1(&answer, &context) {
            V1::Done(reply) => Some(reply),
            V1::Absent | V1::Unsupported => None,
        }
    } else {
        match v0(&answer, &context) {
            V0::Done(reply) => Some(reply),
            V0::Unsupported => None,
        }
    };
    if let Some(said) = said {
        check_reply(&said, &answer, protocol, &ids);
    }
}

fn answer(data: &[u8]) -> Option<(u8, Answer)> {
    let mut lines = data.splitn(2, |&byte| byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (protocol, status) = first.split_once(' ')?;
    let status: u16 = status
        .trim()
        .parse()
        .ok()
        .filter(|status| (100..1_000).contains(status))?;
    let mut headers = HeaderMap::new();
    let mut rest = lines.next().unwrap_or_default();
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            break;
        };
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(
            name,
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?,
        );
    }
    let answer = Answer {
        status,
        headers,
        body: rest.to_vec(),
    };
    Some((*protocol.as_bytes().first()?, answer))
}

fn check_reply(reply: &Reply, answer: &Answer, protocol: u8, ids: &[Uuid]) {
    let wait = |wait: &Option<Duration>| assert!(wait.is_none_or(|wait| wait < LONGEST_WAIT));
    match reply {
        Reply::Rows {
            verdicts,
            retry_after,
        } => {
            assert_eq!(verdicts.len(), ids.len(), "a verdict for each row");
            wait(retry_after);
            for (id, verdict) in ids.iter().zip(verdicts) {
                match verdict {
                    Verdict::Delivered => {
                        assert!(is_taken(answer, protocol, id), "{id} was not taken");
                    }
                    Verdict::Retry(reason) | Verdict::Dead(reason) => check_reason(reason),
                    Verdict::Hold(hold) => check_reason(&hold.detail),
                }
            }
        }
        Reply::Retry {
            reason,
            retry_after,
            ..
        } => {
            check_reason(reason);
            wait(retry_after);
        }
        Reply::Hold { hold, retry_after } => {
            check_reason(&hold.detail);
            wait(retry_after);
        }
        Reply::TooLarge { reason } | Reply::Refused { reason } => check_reason(reason),
    }
}

fn check_reason(reason: &str) {
    assert!(
        reason.len() <= LONGEST_REASON && is_clean(reason),
        "{reason:?}"
    );
    assert!(!reason.contains(KEY), "{reason}");
}

/// The server said so in words that leave no doubt.
fn is_taken(answer: &Answer, protocol: u8, id: &Uuid) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
        return false;
    };
    let quota = body["quota_limited"]
        .as_array()
        .is_some_and(|kinds| !kinds.is_empty());
    if !(200..300).contains(&answer.status) || quota {
        return false;
    }
    if protocol != b'1' {
        let status = &body["status"];
        return status == 1
            || status
                .as_str()
                .is_some_and(|status| status.eq_ignore_ascii_case("ok"));
    }
    let Some(results) = body["results"].as_object() else {
        return false;
    };
    let mut about = results
        .iter()
        .filter(|(name, _)| Uuid::try_parse(name).is_ok_and(|name| name == *id))
        .map(|(_, result)| match result["result"].as_str() {
            Some("ok" | "warning") => true,
            Some("limited") => result["details"] == "person_processing_disabled",
            _ => false,
        })
        .peekable();
    about.peek().is_some() && about.all(|taken| taken)
}

/// Any row that the types allow, by any settings, for both protocols.
pub(crate) fn event(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let group = input
        .optional(Input::text)
        .filter(|group| !group.is_empty());
    let settings = PosthogSettings {
        key: Secret::new(KEY),
        host: String::new(),
        compression: Compression::None,
        distinct_id: [DistinctId::User, DistinctId::Prefixed, DistinctId::Hmac]
            [usize::from(choice % 3)],
        hmac_key: Some(Secret::new("pepper")),
        ip: [IpDetail::Full, IpDetail::Truncated, IpDetail::Off][usize::from(choice / 3 % 3)],
        user_agent: choice & 1 == 1,
        user_plain: choice & 2 == 2,
        person_profiles: choice & 4 == 4,
        group_type: group,
        backfill: Duration::ZERO,
        request_timeout: Duration::from_secs(1),
        ca_file: None,
        sample: Vec::new(),
    };
    let Ok(shape) = Shape::new(&settings) else {
        panic!("there is an HMAC key");
    };
    let mut row = row(&mut input);
    if choice & 0x80 == 0x80 {
        // What only a damaged ledger holds.
        row.properties = Some((&*String::from_utf8_lossy(input.rest())).into());
    }
    let row = StoredRow {
        seq: 1,
        run: Arc::new(Run {
            service: "shop".to_owned(),
            ..Run::default()
        }),
        row: row.into(),
    };
    for protocol in [Protocol::V0, Protocol::V1] {
        let mut out = Vec::new();
        shape.write(&mut out, &row, Some(0.25), protocol);
        let event = match parse_unique(&out) {
            Ok(event) => event,
            // Names that come twice are the damaged ledger's own.
            Err(_) if choice & 0x80 == 0x80 && serde_json::from_slice::<Value>(&out).is_ok() => {
                continue;
            }
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&out)),
        };
        check_event(&event, &row, &settings);
    }
}

fn check_event(event: &Value, row: &StoredRow, settings: &PosthogSettings) {
    assert_eq!(event["uuid"], row.row.id.to_string());
    assert_eq!(event["event"], *row.row.event);
    let distinct_id = event["distinct_id"].as_str().unwrap_or_default();
    assert!((1..=200).contains(&distinct_id.len()), "{distinct_id:?}");
    assert!(
        distinct_id == distinct_id.trim() && !distinct_id.contains('\0'),
        "{distinct_id:?}"
    );
    let timestamp = event["timestamp"]
        .as_str()
        .and_then(|time| time.parse::<jiff::Timestamp>().ok());
    assert!(timestamp.is_some(), "{}", event["timestamp"]);
    let properties = &event["properties"];
    assert_eq!(properties["$lib"], "audithog");
    assert_eq!(properties["sample_rate"], 0.25);
    assert!(properties["distinct_id"].is_null() && properties["token"].is_null());
    if settings.ip == IpDetail::Off {
        assert!(properties["$ip"].is_null() && properties["ip"].is_null());
    }
    if !settings.user_agent {
        assert!(properties["userAgent"].is_null());
    }
}
