use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::{KEY, NOW, id};
use crate::sink::posthog::verdict::{Answer, Context, V0, V1, v0, v1};
use crate::sink::{Hold, HoldReason, Reply, Verdict};

const HTML: &str = "<!DOCTYPE html><html>";

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let headers = headers
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect::<HeaderMap>();
    Answer {
        status,
        headers,
        body: body.as_bytes().to_vec(),
    }
}

fn ids(n: u64) -> Vec<Uuid> {
    (1..=n).map(id).collect()
}

fn judge_v0(answer: &Answer) -> V0 {
    v0(
        answer,
        &Context {
            ids: &ids(2),
            now: NOW,
            key: KEY,
        },
    )
}

fn judge_v1(answer: &Answer) -> V1 {
    v1(
        answer,
        &Context {
            ids: &ids(2),
            now: NOW,
            key: KEY,
        },
    )
}

/// The kind of a reply, in one word.
fn kind(reply: &Reply) -> &'static str {
    match reply {
        Reply::Rows { verdicts, .. }
            if verdicts
                .iter()
                .all(|verdict| *verdict == Verdict::Delivered) =>
        {
            "delivered"
        }
        Reply::Rows { .. } => "rows",
        Reply::Retry {
            suspect_rows: false,
            ..
        } => "retry",
        Reply::Retry {
            suspect_rows: true, ..
        } => "retry, suspect",
        Reply::Hold { hold, .. } => match hold.reason {
            HoldReason::BadKey => "hold key",
            HoldReason::Forbidden => "hold forbidden",
            HoldReason::Quota => "hold quota",
        },
        Reply::TooLarge { .. } => "too large",
        Reply::Refused { .. } => "refused",
    }
}

fn kind_v0(answer: &Answer) -> &'static str {
    match judge_v0(answer) {
        V0::Done(reply) => kind(&reply),
        V0::Unsupported => "unsupported",
    }
}

fn kind_v1(answer: &Answer) -> &'static str {
    match judge_v1(answer) {
        V1::Done(reply) => kind(&reply),
        V1::Absent => "absent",
        V1::Unsupported => "unsupported",
    }
}

#[test]
fn v0_replies() {
    let table = [
        (200, r#"{"status":"Ok"}"#, "delivered"),
        (200, r#"{"status":"ok"}"#, "delivered"),
        (200, r#"{"status":1}"#, "delivered"),
        (200, r#"{"status":"Ok","quota_limited":[]}"#, "delivered"),
        (
            200,
            r#"{"status":"Ok","quota_limited":["events"]}"#,
            "hold quota",
        ),
        (
            202,
            r#"{"status":1,"quota_limited":["recordings"]}"#,
            "hold quota",
        ),
        (200, r#"{"status":0}"#, "retry"),
        (200, r#"{"status":"error"}"#, "retry"),
        (200, "{}", "retry"),
        (200, "", "retry"),
        (200, HTML, "retry"),
        (204, "", "retry"),
        (301, "", "retry"),
        (302, "", "retry"),
        (307, "", "retry"),
        (400, "invalid uuid", "refused"),
        (400, r#"{"type":"validation_error"}"#, "refused"),
        (400, HTML, "retry, suspect"),
        (422, "what", "refused"),
        (401, "API key is not valid", "hold key"),
        (402, "", "hold quota"),
        (403, HTML, "hold forbidden"),
        (404, HTML, "retry"),
        (405, "", "retry"),
        (408, "", "retry"),
        (413, HTML, "too large"),
        (415, "", "unsupported"),
        (418, "", "retry"),
        (425, "", "retry"),
        (429, "", "retry"),
        (429, r#"{"error":"billing_limit_exceeded"}"#, "hold quota"),
        (500, "", "retry, suspect"),
        (501, "", "retry"),
        (502, HTML, "retry"),
        (503, "", "retry"),
        (504, HTML, "retry"),
        (599, "", "retry"),
    ];
    for (status, body, expected) in table {
        assert_eq!(
            kind_v0(&answer(status, &[], body)),
            expected,
            "{status} {body}"
        );
    }
}

#[test]
fn v1_replies() {
    let table = [
        (200, HTML, "absent"),
        (200, "", "absent"),
        (200, r#"{"status":"Ok"}"#, "absent"),
        (200, r#"{"results":[]}"#, "absent"),
        (204, "", "absent"),
        (
            200,
            r#"{"results":{},"quota_limited":["events"]}"#,
            "hold quota",
        ),
        (301, "", "absent"),
        (302, "", "absent"),
        (308, "", "absent"),
        (404, "", "absent"),
        (405, "", "absent"),
        (400, r#"{"error":"invalid_batch"}"#, "refused"),
        (400, r#"{"error":"request_parsing_error"}"#, "refused"),
        (400, r#"{"error":"invalid_event_uuid"}"#, "refused"),
        (400, r#"{"error":"missing_required_headers"}"#, "absent"),
        (400, r#"{"error":"invalid_header_value"}"#, "absent"),
        (400, r#"{"error":"request_decoding_error"}"#, "unsupported"),
        (400, "plain", "refused"),
        (400, HTML, "absent"),
        (401, r#"{"error":"invalid_api_token"}"#, "hold key"),
        (401, r#"{"error":"missing_authorization"}"#, "hold key"),
        (402, r#"{"error":"billing_limit_exceeded"}"#, "hold quota"),
        (403, "no", "hold forbidden"),
        (403, HTML, "absent"),
        (408, r#"{"error":"body_read_timeout"}"#, "retry"),
        (413, r#"{"error":"payload_too_large"}"#, "too large"),
        (415, r#"{"error":"unsupported_encoding"}"#, "unsupported"),
        (
            415,
            r#"{"error":"unsupported_content_type"}"#,
            "unsupported",
        ),
        (425, "", "retry"),
        (429, r#"{"error":"rate_limited"}"#, "retry"),
        (429, "slow down", "retry"),
        (429, r#"{"error":"billing_limit_exceeded"}"#, "hold quota"),
        (500, r#"{"error":"internal_error"}"#, "retry, suspect"),
        (502, HTML, "retry"),
        (503, r#"{"error":"service_unavailable"}"#, "retry"),
        (504, r#"{"error":"gateway_timeout"}"#, "retry"),
    ];
    for (status, body, expected) in table {
        assert_eq!(
            kind_v1(&answer(status, &[], body)),
            expected,
            "{status} {body}"
        );
    }
}

#[test]
fn a_hold_carries_retry_after() {
    for (status, body) in [
        (401, ""),
        (402, ""),
        (403, "no"),
        (429, r#"{"error":"billing_limit_exceeded"}"#),
        (200, r#"{"quota_limited":["events"]}"#),
    ] {
        for (headers, seconds) in [(&[][..], None), (&[("retry-after", "45")][..], Some(45))] {
            let answer = answer(status, headers, body);
            let replies = [
                match judge_v1(&answer) {
                    V1::Done(reply) => reply,
                    other => panic!("{status}: {other:?}"),
                },
                match judge_v0(&answer) {
                    V0::Done(reply) => reply,
                    V0::Unsupported => panic!("{status}"),
                },
            ];
            for reply in replies {
                let Reply::Hold { retry_after, .. } = reply else {
                    panic!("{status}: {reply:?}");
                };
                assert_eq!(retry_after, seconds.map(Duration::from_secs), "{status}");
            }
        }
    }
}

#[test]
fn a_page_is_known_by_its_type_too() {
    let typed = [("content-type", "text/html; charset=utf-8")];
    assert_eq!(
        kind_v1(&answer(403, &typed, "CSRF verification failed")),
        "absent"
    );
    assert_eq!(
        kind_v0(&answer(400, &typed, "Bad Request")),
        "retry, suspect"
    );
}

/// The verdict on the second of two events when capture v1 says `result` about it.
fn judged(result: &str) -> Verdict {
    let (first, second) = (id(1), id(2));
    let body = format!(r#"{{"results":{{"{first}":{{"result":"ok"}},"{second}":{result}}}}}"#);
    match judge_v1(&answer(200, &[], &body)) {
        V1::Done(Reply::Rows {
            mut verdicts,
            retry_after: None,
        }) if verdicts.len() == 2 && verdicts[0] == Verdict::Delivered => verdicts.remove(1),
        other => panic!("{result}: {other:?}"),
    }
}

fn with_details(word: &str, details: &str) -> String {
    format!(r#"{{"result":"{word}","details":"{details}"}}"#)
}

#[test]
fn stored_events_are_delivered() {
    for word in ["ok", "warning", "limited"] {
        let result = with_details(word, "person_processing_disabled");
        assert_eq!(judged(&result), Verdict::Delivered, "{result}");
    }
    for result in [
        r#"{"result":"ok"}"#,
        r#"{"result":"ok","details":null}"#,
        r#"{"result":"warning","details":{"a":1}}"#,
    ] {
        assert_eq!(judged(result), Verdict::Delivered, "{result}");
    }
}

#[test]
fn events_over_quota_are_held() {
    let held = |detail: String| {
        Verdict::Hold(Hold {
            reason: HoldReason::Quota,
            detail,
        })
    };
    assert_eq!(judged(r#"{"result":"limited"}"#), held("limited".into()));
    for word in ["limited", "drop"] {
        for details in [
            "over_quota",
            "exceptions_over_quota",
            "survey_responses_over_quota",
            "llm_events_over_quota",
            "billing_limit_exceeded",
        ] {
            let expected = held(format!("{word}: {details}"));
            assert_eq!(judged(&with_details(word, details)), expected);
        }
    }
}

#[test]
fn events_refused_for_good_are_dead() {
    let table = [
        (with_details("drop", "event_too_big"), "drop: event_too_big"),
        (with_details("drop", "rejected"), "drop: rejected"),
        (r#"{"result":"drop"}"#.to_owned(), "drop"),
        (
            r#"{"result":"drop","details":{"a":1}}"#.to_owned(),
            r#"drop: {"a":1}"#,
        ),
        (with_details("novel", "x"), "unknown verdict novel: x"),
    ];
    for (result, reason) in table {
        let expected = Verdict::Dead(reason.to_owned());
        assert_eq!(judged(&result), expected, "{result}");
    }
}

#[test]
fn events_not_stored_or_not_judged_are_sent_again() {
    let unclear = "no verdict for this event";
    let table = [
        (
            with_details("retry", "not_persisted"),
            "retry: not_persisted",
        ),
        (r#"{"details":"x"}"#.to_owned(), unclear),
        (r#""ok""#.to_owned(), unclear),
        ("null".to_owned(), unclear),
    ];
    for (result, reason) in table {
        let expected = Verdict::Retry(reason.to_owned());
        assert_eq!(judged(&result), expected, "{result}");
    }
}

#[test]
fn verdicts_are_matched_by_id_in_any_order_and_case() {
    let body = format!(
        r#"{{"results":{{"{}":{{"result":"drop"}},"{}":{{"result":"ok"}},"x":{{"result":"ok"}}}}}}"#,
        id(2).to_string().to_uppercase(),
        id(1),
    );
    let V1::Done(Reply::Rows { verdicts, .. }) = judge_v1(&answer(200, &[], &body)) else {
        panic!();
    };
    assert_eq!(
        verdicts,
        [Verdict::Delivered, Verdict::Dead("drop".to_owned())]
    );
}

#[test]
fn two_verdicts_for_an_event_count_only_if_they_agree() {
    let twice = |second: &str| {
        let body = format!(
            r#"{{"results":{{"{}":{{"result":"drop"}},"{}":{{"result":"{second}"}}}}}}"#,
            id(1),
            id(1).simple(),
        );
        match judge_v1(&answer(200, &[], &body)) {
            V1::Done(Reply::Rows { mut verdicts, .. }) => verdicts.swap_remove(0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(twice("drop"), Verdict::Dead("drop".to_owned()));
    let unclear = "verdicts that contradict each other".to_owned();
    assert_eq!(twice("ok"), Verdict::Retry(unclear));
}

#[test]
fn an_event_without_a_verdict_is_sent_again() {
    let body = format!(r#"{{"results":{{"{}":{{"result":"ok"}}}}}}"#, id(1));
    let V1::Done(Reply::Rows {
        verdicts,
        retry_after,
    }) = judge_v1(&answer(200, &[("retry-after", "1")], &body))
    else {
        panic!();
    };
    assert_eq!(
        verdicts,
        [
            Verdict::Delivered,
            Verdict::Retry("no verdict for this event".to_owned())
        ]
    );
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let table = [
        ("7", Some(7)),
        (" 60 ", Some(60)),
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::from(u32::MAX))),
        // NOW is 12:00:00.000001.
        ("Sun, 01 Mar 2026 12:01:00 GMT", Some(59)),
        ("Sun, 01 Mar 2026 11:00:00 GMT", Some(0)),
        ("-1", None),
        ("soon", None),
        ("", None),
    ];
    for (given, expected) in table {
        let Reply::Retry { retry_after, .. } =
            (match judge_v0(&answer(503, &[("retry-after", given)], "")) {
                V0::Done(reply) => reply,
                V0::Unsupported => panic!(),
            })
        else {
            panic!("{given}");
        };
        assert_eq!(
            retry_after.map(|delay| delay.as_secs()),
            expected,
            "{given}"
        );
    }
}

fn refused_reason(body: &str) -> String {
    match judge_v0(&answer(400, &[("content-type", "text/plain")], body)) {
        V0::Done(Reply::Refused { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_servers_words_are_kept_safe_and_short() {
    assert_eq!(refused_reason(""), "refused (400)");
    assert_eq!(
        refused_reason("missing event name\n"),
        "refused (400): missing event name"
    );
    assert_eq!(
        refused_reason(
            r#"{"error":"invalid_batch","error_description":"bad created_at","error_uri":null}"#
        ),
        "refused (400): invalid_batch: bad created_at"
    );
    assert_eq!(
        refused_reason("a\u{1b}[31m\r\n\tb\u{0}\u{202e}"),
        "refused (400): a\\u{1b}[31m b\\u{0}\\u{202e}"
    );
    assert_eq!(
        refused_reason(&format!("key {KEY}.")),
        "refused (400): key ***."
    );
    assert_eq!(
        refused_reason(&format!(r#"{{"error":"key {KEY}"}}"#)),
        "refused (400): key ***"
    );
    let long = refused_reason(&"é".repeat(100_000));
    assert!(long.len() < 400 && long.ends_with('…'), "{long}");
    // Neither white space nor the cut may leave a piece of the key.
    for spaces in [290, 8_180, 300_000] {
        let reason = refused_reason(&format!("{}x{KEY}", " ".repeat(spaces)));
        assert!(!reason.contains("phc_"), "{reason}");
    }
    let reason = refused_reason(&format!("{}{KEY}", "y".repeat(280)));
    assert!(!reason.contains("phc_"), "{reason}");
}

#[test]
fn a_redirect_is_named_without_its_query() {
    let location = format!("https://example.com/login?next=/batch&key={KEY}");
    let V0::Done(Reply::Retry { reason, .. }) =
        judge_v0(&answer(302, &[("location", &location)], ""))
    else {
        panic!();
    };
    assert_eq!(
        reason,
        "redirected, which is not followed (302): https://example.com/login"
    );
}
