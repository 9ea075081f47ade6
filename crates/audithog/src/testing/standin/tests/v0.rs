use serde_json::{Value, json};

use super::client::{
    TOKEN, at_noon, event, event_with, post, post_v0, send, uuid, v0_batch, v1_headers,
};
use crate::testing::standin::{Quota, ScopedQuota};

#[test]
fn every_route_takes_events_with_and_without_a_slash() {
    let posthog = at_noon();
    let paths = ["/batch", "/i/v0/e", "/e", "/capture", "/track", "/engage"];
    for (n, path) in (1..).zip(paths) {
        for target in [path.to_owned(), format!("{path}/")] {
            let answer = post(&posthog, &target, &v0_batch(&[event(n)]));
            assert_eq!(answer.status, 200, "{target}");
            assert_eq!(answer.json(), json!({"status": "Ok"}), "{target}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        }
    }
    assert_eq!(posthog.stored().len(), 12);
    assert_eq!(posthog.events().len(), 6);
    assert_eq!(posthog.duplicates(), 6);
}

#[test]
fn an_event_is_stored_as_it_was_sent() {
    let posthog = at_noon();
    post_v0(&posthog, &[event_with(1, &json!({"$set": {"a": 1}}))]);
    let stored = posthog.stored();
    let event = &stored[0];
    assert_eq!(event.uuid.to_string(), uuid(1));
    assert_eq!(event.event, "api_request");
    assert_eq!(event.distinct_id, "u1");
    assert_eq!(event.token, TOKEN);
    let given = event.timestamp_given.as_deref();
    assert_eq!(given, Some("2026-03-01T10:00:00.123456Z"));
    assert_eq!(event.timestamp.to_string(), "2026-03-01T10:00:00.123456Z");
    let properties = Value::Object(event.properties.clone());
    let expected = json!({"n": 1, "text": "żółw \u{1f422}", "$set": {"a": 1}});
    assert_eq!(properties, expected);
}

#[test]
fn methods_other_than_get_post_and_options_are_refused() {
    let posthog = at_noon();
    let status = |method| {
        send(&posthog, method, "/batch", &[], b"")
            .expect("a reply")
            .status
    };
    assert_eq!(status("OPTIONS"), 200);
    assert_eq!(status("PUT"), 405);
    assert_eq!(status("GET"), 400);
    let elsewhere = send(&posthog, "POST", "/batches", &[], b"{}").expect("a reply");
    assert_eq!(elsewhere.status, 404);
}

#[test]
fn a_bad_event_refuses_the_whole_batch() {
    let posthog = at_noon();
    let cases = [
        json!({"event": null}),
        json!({"event": ""}),
        json!({"event": 7}),
        json!({"distinct_id": null}),
        json!({"distinct_id": " \t"}),
        json!({"uuid": "not-a-uuid"}),
        json!({"uuid": 7}),
        json!({"timestamp": 1_700_000_000}),
        json!({"offset": "soon"}),
        json!({"properties": []}),
        json!({"$set": "x"}),
        json!({"properties": {"$cookieless_mode": "yes"}}),
    ];
    for case in cases {
        let answer = post_v0(&posthog, &[event(1), event_with(2, &case)]);
        assert_eq!(answer.status, 400, "{case}");
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain"), "{case}: {kind}");
        assert!(!answer.body.is_empty(), "{case}");
    }
    assert!(posthog.stored().is_empty());
    assert!(posthog.requests().iter().all(|r| r.events.is_empty()));
}

#[test]
fn a_bad_envelope_is_refused() {
    let posthog = at_noon();
    let cases = [
        (json!({"api_key": TOKEN, "batch": []}), 400),
        (json!([]), 400),
        (json!("text"), 400),
        (json!([1]), 400),
        (json!({"api_key": TOKEN, "batch": {}}), 400),
        (json!({"api_key": 7, "batch": [event(1)]}), 400),
        (
            json!({"api_key": TOKEN, "historical_migration": 1, "batch": [event(1)]}),
            400,
        ),
        (json!({"batch": [event(1)]}), 401),
        (event(1), 401),
    ];
    for (body, status) in cases {
        assert_eq!(post(&posthog, "/batch", &body).status, status, "{body}");
    }
    let cut = send(&posthog, "POST", "/batch", &[], b"{\"batch\":[").expect("a reply");
    assert_eq!(cut.status, 400);
    assert!(posthog.stored().is_empty());
}

#[test]
fn the_token_is_found_in_each_of_its_places() {
    let posthog = at_noon();
    let with = |field: Value| event_with(1, &field);
    let cases = [
        (json!({"token": "phc_a", "batch": [event(1)]}), "phc_a"),
        (with(json!({"token": "phc_a"})), "phc_a"),
        (with(json!({"$token": "phc_a"})), "phc_a"),
        (with(json!({"api_key": "phc_a"})), "phc_a"),
        (with(json!({"properties": {"token": "phc_a"}})), "phc_a"),
        (json!([with(json!({"token": "phc_a"}))]), "phc_a"),
        (
            json!({"api_key": " phc_e ", "batch": [with(json!({"token": "phc_a"}))]}),
            "phc_e",
        ),
    ];
    for (body, token) in cases {
        posthog.clear();
        assert_eq!(post(&posthog, "/e", &body).status, 200, "{body}");
        assert_eq!(posthog.stored()[0].token, token, "{body}");
    }
    let two = json!([
        with(json!({"token": "phc_a"})),
        with(json!({"token": "phc_b"}))
    ]);
    assert_eq!(post(&posthog, "/e", &two).status, 401);
}

#[test]
fn the_shape_of_the_token_is_checked() {
    let posthog = at_noon();
    let (fits, too_long) = ("x".repeat(64), "x".repeat(65));
    let cases = [
        ("anything", 200),
        (fits.as_str(), 200),
        (too_long.as_str(), 401),
        ("", 401),
        ("  ", 401),
        ("phx_personal", 401),
        ("klucz_ż", 401),
        ("a\0b", 401),
    ];
    for (token, status) in cases {
        let body = json!({"api_key": token, "batch": [event(1)]});
        assert_eq!(post(&posthog, "/batch", &body).status, status, "{token:?}");
    }
}

#[test]
fn distinct_ids_are_read_as_v0_reads_them() {
    let posthog = at_noon();
    let long = "ż".repeat(201);
    let cases = [
        (json!({"distinct_id": 7}), "7".to_owned()),
        (json!({"distinct_id": true}), "true".to_owned()),
        (json!({"distinct_id": {"a": 1}}), r#"{"a":1}"#.to_owned()),
        (json!({"distinct_id": " a "}), " a ".to_owned()),
        (json!({"distinct_id": "a\0b"}), "a\u{fffd}b".to_owned()),
        (json!({"distinct_id": long}), "ż".repeat(200)),
        (json!({"distinct_id": "anonymous"}), "anonymous".to_owned()),
        (
            json!({"distinct_id": null, "$distinct_id": "b"}),
            "b".to_owned(),
        ),
        (
            json!({"distinct_id": null, "properties": {"distinct_id": "c"}}),
            "c".to_owned(),
        ),
    ];
    for (change, distinct_id) in cases {
        posthog.clear();
        assert_eq!(post_v0(&posthog, &[event_with(1, &change)]).status, 200);
        assert_eq!(posthog.stored()[0].distinct_id, distinct_id, "{change}");
    }
}

#[test]
fn an_absent_uuid_is_made_anew_for_each_request() {
    let posthog = at_noon();
    for change in [json!({"uuid": null}), json!({"uuid": ""})] {
        post_v0(&posthog, &[event_with(1, &change)]);
    }
    let stored = posthog.stored();
    assert_eq!(stored.len(), 2);
    assert_ne!(stored[0].uuid, stored[1].uuid);
    assert_eq!(stored[0].uuid.get_version_num(), 7);
    assert_eq!(posthog.duplicates(), 0);
}

#[test]
fn a_200_may_hide_that_nothing_was_stored() {
    let posthog = at_noon();
    let ok = json!({"status": "Ok"});
    posthog.configure(|b| b.known_tokens = Some(["phc_other".to_owned()].into()));
    assert_eq!(post_v0(&posthog, &[event(1)]).json(), ok);
    posthog.configure(|b| {
        b.known_tokens = None;
        b.quota = Quota::Exceeded;
    });
    assert_eq!(post_v0(&posthog, &[event(2)]).json(), ok);
    posthog.configure(|b| b.quota = Quota::Within);
    let performance = event_with(3, &json!({"event": "$performance_event"}));
    assert_eq!(post_v0(&posthog, &[performance]).json(), ok);
    assert!(posthog.stored().is_empty());
    assert_eq!(posthog.requests()[1].events.len(), 1);
}

#[test]
fn a_scoped_quota_drops_its_own_events_only() {
    let posthog = at_noon();
    posthog.configure(|b| {
        b.quota = Quota::ExceededFor(vec![
            ScopedQuota::Exceptions,
            ScopedQuota::SurveyResponses,
            ScopedQuota::LlmEvents,
        ]);
    });
    let names = ["$exception", "survey sent", "$ai_span", "api_request"];
    let events: Vec<Value> = (1..)
        .zip(names)
        .map(|(n, name)| event_with(n, &json!({"event": name})))
        .collect();
    assert_eq!(post_v0(&posthog, &events).status, 200);
    let stored = posthog.stored();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].event, "api_request");
}

#[test]
fn an_event_too_large_for_the_bus_fails_the_request_but_not_the_other_events() {
    let posthog = at_noon();
    posthog.configure(|b| b.limits.event = 1500);
    // 450 quotes are 900 bytes of JSON, and 1,800 once that JSON is a string: only the second is too large.
    let large = event_with(2, &json!({"properties": {"a": "\"".repeat(450)}}));
    let answer = post_v0(&posthog, &[event(1), large, event(3)]);
    assert_eq!(answer.status, 413);
    assert_eq!(posthog.stored().len(), 2);
}

#[test]
fn a_beacon_gets_204_and_no_body() {
    let posthog = at_noon();
    let answer = post(&posthog, "/batch/?beacon=1", &v0_batch(&[event(1)]));
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(posthog.stored().len(), 1);
}

#[test]
fn v1_headers_do_not_disturb_v0() {
    let posthog = at_noon();
    let body = v0_batch(&[event(1)]).to_string();
    let answer = send(&posthog, "POST", "/batch/", &v1_headers(), body.as_bytes());
    assert_eq!(answer.expect("a reply").status, 200);
}
