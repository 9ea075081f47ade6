use serde_json::{Value, json};

use super::client::{
    NOW, TOKEN, at_noon, event, event_with, post_v1, send, send_v1, uuid, v1_batch, v1_headers,
};
use super::v0_bodies::{deflate, gzip};
use crate::testing::standin::{Generation, Quota, V1Route};

const REQUEST_ID: &str = "01890000-0000-7000-8000-aaaaaaaaaaaa";

/// `{"created_at":"2026-03-01T12:00:00Z","batch":[…]}` with one event named `brotli` whose uuid ends in 1, compressed by
/// Node's zlib.
const BROTLI: &str = "1ba500002d0eecf63d9ce54903056ff9ad588a6ced41cd2d75326cf7b8297ec926a16e38ed372f1203a5945e\
                      c3c888d54996ae3e9d1cfffb02d5b6e224c308530d831db0e5ac068ea9065fe6c2a477b10a3db5c1f0835c51\
                      b8659eb06e354dfa3b313417a0c4c301625770534833c4e81b9daa8dbe01";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// The required headers with one replaced, or removed when `value` is `None`.
fn headers_with<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers = v1_headers();
    headers.retain(|(key, _)| *key != name);
    headers.extend(value.map(|value| (name, value)));
    headers
}

#[test]
fn an_event_is_stored_and_answered_by_uuid() {
    let posthog = at_noon();
    let answer = post_v1(&posthog, &[event(1), event(2)]);
    assert_eq!(answer.status, 200);
    let expected = json!({"results": {uuid(1): {"result": "ok"}, uuid(2): {"result": "ok"}}});
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("posthog-request-id"), Some(REQUEST_ID));
    assert_eq!(answer.header("retry-after"), None);
    let stored = posthog.stored();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].token, TOKEN);
    assert_eq!(stored[0].properties["text"], "żółw \u{1f422}");
    assert_eq!(stored[0].properties["$lib"], "test/rs");
    assert_eq!(stored[0].properties["$lib_version"], "1.2");
}

#[test]
fn a_trailing_slash_is_accepted_and_other_methods_are_not() {
    let posthog = at_noon();
    let body = v1_batch(&[event(1)]).to_string();
    let send_to = |method, target| {
        send(&posthog, method, target, &v1_headers(), body.as_bytes())
            .expect("a reply")
            .status
    };
    assert_eq!(send_to("POST", "/i/v1/analytics/events/"), 200);
    assert_eq!(send_to("GET", "/i/v1/analytics/events"), 405);
    assert_eq!(send_to("POST", "/i/v1/general/events"), 404);
}

#[test]
fn headers_are_checked() {
    let posthog = at_noon();
    let long_info = format!("{}/1", "x".repeat(200));
    let cases = [
        ("authorization", None, 401, "missing_authorization"),
        (
            "authorization",
            Some("Basic abc"),
            400,
            "invalid_header_value",
        ),
        (
            "authorization",
            Some("Bearer phx_a"),
            401,
            "invalid_api_token",
        ),
        ("authorization", Some("Bearer "), 401, "invalid_api_token"),
        ("content-type", None, 415, "unsupported_content_type"),
        (
            "content-type",
            Some("text/plain"),
            415,
            "unsupported_content_type",
        ),
        ("content-encoding", Some("lz4"), 415, "unsupported_encoding"),
        ("user-agent", None, 400, "missing_required_headers"),
        ("posthog-sdk-info", None, 400, "missing_required_headers"),
        ("posthog-attempt", None, 400, "missing_required_headers"),
        ("posthog-attempt", Some("0"), 400, "invalid_header_value"),
        ("posthog-request-id", None, 400, "missing_required_headers"),
        ("posthog-request-id", Some("7"), 400, "invalid_header_value"),
        (
            "posthog-request-timestamp",
            None,
            400,
            "missing_required_headers",
        ),
        (
            "posthog-request-timestamp",
            Some("today"),
            400,
            "invalid_header_value",
        ),
        ("posthog-attempt", Some("7"), 200, ""),
        ("posthog-sdk-info", Some("nonsense"), 200, ""),
        ("posthog-sdk-info", Some(&long_info), 200, ""),
        ("content-encoding", Some("identity"), 200, ""),
    ];
    let body = v1_batch(&[event(1)]).to_string();
    for (name, value, status, error) in cases {
        let answer = send_v1(&posthog, &headers_with(name, value), body.as_bytes());
        let case = format!("{name}: {value:?}");
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        if status != 200 {
            let body = answer.json();
            assert_eq!(body["error"], error, "{case}");
            assert!(body["error_description"].is_string(), "{case}");
            assert!(body.get("error_uri").is_some(), "{case}");
            assert_eq!(answer.header("accept"), Some("application/json"), "{case}");
            let encodings = answer.header("accept-encoding");
            assert_eq!(encodings, Some("gzip, deflate, br, zstd"), "{case}");
        }
    }
}

#[test]
fn a_malformed_batch_is_refused_as_a_whole() {
    let posthog = at_noon();
    let batch = |change: Value| v1_batch(&[event(1), event_with(2, &change)]);
    let cases = [
        (json!({"created_at": NOW, "batch": []}), "empty_batch"),
        (
            json!({"created_at": "x", "batch": [event(1)]}),
            "invalid_batch",
        ),
        (json!({"batch": [event(1)]}), "request_parsing_error"),
        (json!({"created_at": NOW}), "request_parsing_error"),
        (json!([event(1)]), "request_parsing_error"),
        (batch(json!({"event": null})), "request_parsing_error"),
        (batch(json!({"distinct_id": null})), "request_parsing_error"),
        (batch(json!({"distinct_id": 7})), "request_parsing_error"),
        (batch(json!({"timestamp": null})), "request_parsing_error"),
        (batch(json!({"uuid": null})), "missing_event_uuid"),
        (batch(json!({"uuid": " "})), "missing_event_uuid"),
        (batch(json!({"uuid": "7"})), "invalid_event_uuid"),
        (batch(json!({"uuid": uuid(1)})), "duplicate_event_uuid"),
    ];
    for (body, error) in cases {
        let answer = send_v1(&posthog, &v1_headers(), body.to_string().as_bytes());
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"], error, "{body}");
        assert_eq!(answer.header("posthog-request-id"), Some(REQUEST_ID));
    }
    let empty = send_v1(&posthog, &v1_headers(), b"");
    assert_eq!(empty.json()["error"], "empty_body");
    let cut = send_v1(&posthog, &v1_headers(), b"{");
    assert_eq!(cut.json()["error"], "request_parsing_error");
    assert!(posthog.stored().is_empty());
}

#[test]
fn four_encodings_are_understood() {
    let posthog = at_noon();
    let plain = v1_batch(&[event(1)]).to_string();
    let zstd = zstd::encode_all(plain.as_bytes(), 0).expect("memory");
    let cases = [
        ("gzip", gzip(plain.as_bytes())),
        ("deflate", deflate(plain.as_bytes())),
        ("br", unhex(BROTLI)),
        ("zstd", zstd),
    ];
    for (encoding, body) in cases {
        posthog.clear();
        let headers = headers_with("content-encoding", Some(encoding));
        let answer = send_v1(&posthog, &headers, &body);
        assert_eq!(
            answer.json()["results"][uuid(1)]["result"],
            "ok",
            "{encoding}"
        );
        assert_eq!(posthog.stored().len(), 1, "{encoding}");
        let request = &posthog.requests()[0];
        assert_eq!(request.raw_bytes, body.len(), "{encoding}");
        assert!(request.decompressed_bytes > Some(body.len()), "{encoding}");
        // The same bytes under another name do not decode.
        let other = if encoding == "gzip" { "zstd" } else { "gzip" };
        let answer = send_v1(
            &posthog,
            &headers_with("content-encoding", Some(other)),
            &body,
        );
        assert_eq!(
            answer.json()["error"],
            "request_decoding_error",
            "{encoding}"
        );
    }
}

#[test]
fn bodies_over_the_limit_are_refused_raw_and_decompressed() {
    let posthog = at_noon();
    let body = v1_batch(&[event(1)]).to_string().into_bytes();
    let refused = |headers: &[(&str, &str)], body: &[u8]| {
        let answer = send_v1(&posthog, headers, body);
        (answer.status == 413).then(|| answer.json()["error"] == "payload_too_large")
    };
    posthog.configure(|b| b.limits.v1_body = body.len());
    assert_eq!(refused(&v1_headers(), &body), None);
    posthog.configure(|b| b.limits.v1_body = body.len() - 1);
    assert_eq!(refused(&v1_headers(), &body), Some(true));
    let headers = headers_with("content-encoding", Some("gzip"));
    posthog.configure(|b| b.limits.v1_decompressed = body.len());
    assert_eq!(refused(&headers, &gzip(&body)), None);
    posthog.configure(|b| b.limits.v1_decompressed = body.len() - 1);
    assert_eq!(refused(&headers, &gzip(&body)), Some(true));
}

#[test]
fn over_quota_is_refused_in_the_manner_of_each_generation() {
    let posthog = at_noon();
    posthog.configure(|b| b.quota = Quota::Exceeded);
    for (generation, status, retry_after, has_uri) in [
        (Generation::Oldest, 429, Some("60"), false),
        (Generation::Middle, 402, None, true),
        (Generation::Newest, 402, None, false),
    ] {
        posthog.configure(|b| b.generation = generation);
        let answer = post_v1(&posthog, &[event(1)]);
        assert_eq!(answer.status, status, "{generation:?}");
        let body = answer.json();
        assert_eq!(body["error"], "billing_limit_exceeded", "{generation:?}");
        assert_eq!(body["error_uri"].is_string(), has_uri, "{generation:?}");
        assert_eq!(answer.header("retry-after"), retry_after, "{generation:?}");
    }
    assert!(posthog.stored().is_empty());
}

#[test]
fn v1_can_be_absent_in_four_ways_and_come_back() {
    let posthog = at_noon();
    for (route, status, kind) in [
        (V1Route::NotFound, 404, None),
        (V1Route::LoginRedirect, 302, None),
        (
            V1Route::CsrfForbidden,
            403,
            Some("text/html; charset=utf-8"),
        ),
        (V1Route::HtmlPage, 200, Some("text/html; charset=utf-8")),
    ] {
        posthog.configure(|b| b.v1 = route);
        let answer = post_v1(&posthog, &[event(1)]);
        assert_eq!(answer.status, status, "{route:?}");
        assert_eq!(answer.header("content-type"), kind, "{route:?}");
        let redirects = answer.header("location").is_some();
        assert_eq!(redirects, route == V1Route::LoginRedirect, "{route:?}");
        // Whoever follows the redirect finds a page and a 200.
        let login = send(&posthog, "GET", "/login?next=/", &[], b"").expect("a reply");
        assert_eq!(login.status, if redirects { 200 } else { 404 }, "{route:?}");
    }
    assert!(posthog.stored().is_empty());
    posthog.configure(|b| b.v1 = V1Route::Present);
    assert_eq!(post_v1(&posthog, &[event(1)]).status, 200);
    assert_eq!(posthog.stored().len(), 1);
}

#[test]
fn events_of_an_unknown_project_get_ok_and_are_thrown_away() {
    let posthog = at_noon();
    posthog.configure(|b| b.known_tokens = Some(["phc_other".to_owned()].into()));
    let answer = post_v1(&posthog, &[event(1)]);
    assert_eq!(answer.json()["results"][uuid(1)]["result"], "ok");
    assert!(posthog.stored().is_empty());
}
