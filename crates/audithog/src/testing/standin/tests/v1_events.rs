use serde_json::{Value, json};

use super::client::{
    NOW, at_noon, event, event_with, post_v1, send_v1, uuid, v1_batch, v1_headers,
};
use crate::testing::standin::{Generation, Quota, ScopedQuota, Verdict};

#[test]
fn a_bad_event_is_dropped_alone_and_says_why() {
    let posthog = at_noon();
    posthog.configure(|b| b.limits.event = 2000);
    let cases = [
        (json!({"event": ""}), "missing_event_name"),
        (json!({"event": "x".repeat(201)}), "event_name_too_long"),
        (json!({"distinct_id": "  "}), "missing_distinct_id"),
        (
            json!({"distinct_id": "ż".repeat(101)}),
            "distinct_id_too_large",
        ),
        (
            json!({"timestamp": "2026-03-01 10:00:00Z"}),
            "invalid_event_timestamp",
        ),
        (
            json!({"timestamp": "2026-03-01T10:00:00"}),
            "invalid_event_timestamp",
        ),
        (
            json!({"timestamp": "2026-02-30T10:00:00Z"}),
            "invalid_event_timestamp",
        ),
        (json!({"properties": [1]}), "malformed_event_properties"),
        (
            json!({"options": {"cookieless_mode": "maybe"}}),
            "invalid_options",
        ),
        (
            json!({"options": {"product_tour_id": []}}),
            "invalid_options",
        ),
        (json!({"options": 7}), "invalid_options"),
        (
            json!({"event": "$performance_event"}),
            "dropped_performance_event",
        ),
        (
            json!({"properties": {"a": "x".repeat(2000)}}),
            "event_too_big",
        ),
    ];
    for (change, details) in cases {
        posthog.clear();
        let answer = post_v1(&posthog, &[event_with(1, &change), event(2)]);
        assert_eq!(answer.status, 200, "{change}");
        let results = &answer.json()["results"];
        let expected = json!({"result": "drop", "details": details});
        assert_eq!(results[uuid(1)], expected, "{change}");
        assert_eq!(results[uuid(2)], json!({"result": "ok"}), "{change}");
        let stored = posthog.stored();
        assert_eq!(stored.len(), 1, "{change}");
        assert_eq!(stored[0].uuid.to_string(), uuid(2), "{change}");
        assert_eq!(posthog.requests()[0].events.len(), 2, "{change}");
    }
    let fits = event_with(
        1,
        &json!({"event": "x".repeat(200), "distinct_id": "ż".repeat(100)}),
    );
    let answer = post_v1(&posthog, &[fits]);
    assert_eq!(answer.json()["results"][uuid(1)]["result"], "ok");
}

#[test]
fn a_placeholder_distinct_id_meets_each_generation_differently() {
    let posthog = at_noon();
    for (generation, result, details) in [
        (Generation::Oldest, "drop", "malformed_distinct_id"),
        (Generation::Middle, "drop", "invalid_distinct_id"),
        (Generation::Newest, "ok", "person_processing_disabled"),
    ] {
        posthog.clear();
        posthog.configure(|b| b.generation = generation);
        let placeholder = event_with(1, &json!({"distinct_id": " Anonymous "}));
        let answer = post_v1(&posthog, &[placeholder]);
        let expected = json!({"result": result, "details": details});
        assert_eq!(answer.json()["results"][uuid(1)], expected);
        assert_eq!(posthog.stored().len(), usize::from(result == "ok"));
    }
}

#[test]
fn a_scoped_quota_shows_per_event() {
    let posthog = at_noon();
    posthog.configure(|b| b.quota = Quota::ExceededFor(vec![ScopedQuota::LlmEvents]));
    for (generation, result) in [
        (Generation::Oldest, "limited"),
        (Generation::Middle, "drop"),
        (Generation::Newest, "drop"),
    ] {
        posthog.clear();
        posthog.configure(|b| b.generation = generation);
        let answer = post_v1(
            &posthog,
            &[event_with(1, &json!({"event": "$ai_span"})), event(2)],
        );
        let results = &answer.json()["results"];
        let expected = json!({"result": result, "details": "llm_events_over_quota"});
        assert_eq!(results[uuid(1)], expected, "{generation:?}");
        assert_eq!(results[uuid(2)]["result"], "ok", "{generation:?}");
        assert_eq!(posthog.stored().len(), 1, "{generation:?}");
    }
}

#[test]
fn options_are_coerced_and_written_back() {
    let posthog = at_noon();
    let options = json!({
        "cookieless_mode": "true",
        "disable_skew_correction": 1,
        "process_person_profile": "0",
        "product_tour_id": 12,
    });
    let event = event_with(
        1,
        &json!({"options": options, "session_id": "s", "window_id": "w", "properties": {"$lib": "mine"}}),
    );
    assert_eq!(post_v1(&posthog, &[event]).status, 200);
    let properties = Value::Object(posthog.stored()[0].properties.clone());
    let expected = json!({
        "$cookieless_mode": true,
        "$ignore_sent_at": true,
        "$process_person_profile": false,
        "$product_tour_id": "12",
        "$session_id": "s",
        "$window_id": "w",
        "$lib": "test/rs",
        "$lib_version": "1.2",
    });
    assert_eq!(properties, expected);
}

#[test]
fn the_oldest_generation_refuses_a_batch_for_an_option() {
    let posthog = at_noon();
    posthog.configure(|b| b.generation = Generation::Oldest);
    let options = json!({"options": {"cookieless_mode": "maybe"}});
    let answer = post_v1(&posthog, &[event_with(1, &options)]);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"], "request_parsing_error");
}

#[test]
fn skew_is_corrected_unless_that_is_turned_off() {
    let posthog = at_noon();
    let mut headers = v1_headers();
    headers.retain(|(name, _)| *name != "posthog-request-timestamp");
    // The client's clock is an hour ahead.
    headers.push(("posthog-request-timestamp", "2026-03-01T13:00:00+00:00"));
    let off = json!({"options": {"disable_skew_correction": true}});
    let future = json!({"timestamp": "2026-03-05T12:00:00Z"});
    let events = [event(1), event_with(2, &off), event_with(3, &future)];
    send_v1(&posthog, &headers, v1_batch(&events).to_string().as_bytes());
    let stored: Vec<String> = posthog
        .stored()
        .iter()
        .map(|event| event.timestamp.to_string())
        .collect();
    let expected = [
        "2026-03-01T09:00:00.123456Z",
        "2026-03-01T10:00:00.123456Z",
        NOW,
    ];
    assert_eq!(stored, expected);
}

#[test]
fn a_judge_overrules_verdicts() {
    let posthog = at_noon();
    let cases = [
        (Verdict::Ok, json!({"result": "ok"}), true),
        (
            Verdict::Warning("w".to_owned()),
            json!({"result": "warning", "details": "w"}),
            true,
        ),
        (
            Verdict::Drop("d".to_owned()),
            json!({"result": "drop", "details": "d"}),
            false,
        ),
        (
            Verdict::Limited("over_quota".to_owned()),
            json!({"result": "limited", "details": "over_quota"}),
            false,
        ),
        (
            Verdict::Limited("person_processing_disabled".to_owned()),
            json!({"result": "limited", "details": "person_processing_disabled"}),
            true,
        ),
        (
            Verdict::Retry,
            json!({"result": "retry", "details": "not_persisted"}),
            false,
        ),
        (Verdict::Missing { stored: true }, Value::Null, true),
        (Verdict::Missing { stored: false }, Value::Null, false),
        (
            Verdict::Other("odd".to_owned()),
            json!({"result": "odd"}),
            false,
        ),
    ];
    for (verdict, expected, stored) in cases {
        posthog.clear();
        let retries = verdict == Verdict::Retry;
        let case = format!("{verdict:?}");
        posthog.judge(move |event, _| (event.properties["n"] == 1).then(|| verdict.clone()));
        let answer = post_v1(&posthog, &[event(1), event(2)]);
        let results = &answer.json()["results"];
        assert_eq!(results[uuid(1)], expected, "{case}");
        assert_eq!(results[uuid(2)], json!({"result": "ok"}), "{case}");
        let retry_after = answer.header("retry-after");
        assert_eq!(retry_after, retries.then_some("1"), "{case}");
        assert_eq!(posthog.stored().len(), 1 + usize::from(stored), "{case}");
    }
}

#[test]
fn a_judge_can_count_tries() {
    let posthog = at_noon();
    posthog.judge(|_, times| (times <= 2).then_some(Verdict::Retry));
    let results: Vec<Value> = (0..3)
        .map(|_| post_v1(&posthog, &[event(1)]).json()["results"][uuid(1)]["result"].clone())
        .collect();
    assert_eq!(results, ["retry", "retry", "ok"]);
    assert_eq!(posthog.stored().len(), 1);
}
