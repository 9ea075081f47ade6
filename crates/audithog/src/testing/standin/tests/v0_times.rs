use serde_json::{Value, json};

use super::client::{NOW, TOKEN, at_noon, event_with, post};

/// The timestamp that is stored for an event with these fields in an envelope with these.
fn stored(target: &str, envelope: &Value, event: &Value) -> String {
    let posthog = at_noon();
    let mut body = json!({"api_key": TOKEN, "batch": [event_with(1, event)]});
    for (name, value) in envelope.as_object().expect("an object") {
        body[name] = value.clone();
    }
    assert_eq!(post(&posthog, target, &body).status, 200, "{event}");
    posthog.stored()[0].timestamp.to_string()
}

#[test]
fn a_timestamp_is_read_in_many_formats() {
    let cases = [
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
        (
            "2026-03-01T10:00:00.123456+02:00",
            "2026-03-01T08:00:00.123456Z",
        ),
        ("2026-03-01T10:00:00", "2026-03-01T10:00:00Z"),
        ("2026-03-01 10:00:00.5", "2026-03-01T10:00:00.5Z"),
        ("2026-03-01", "2026-03-01T00:00:00Z"),
        ("Sun, 01 Mar 2026 10:00:00 +0000", "2026-03-01T10:00:00Z"),
        ("1772359200", "2026-03-01T10:00:00Z"),
        ("1772359200000", "2026-03-01T10:00:00Z"),
        ("1995-01-01T00:00:00Z", "1995-01-01T00:00:00Z"),
        ("yesterday, about noon", NOW),
        ("", NOW),
        ("12026-03-01T10:00:00Z", "1970-01-01T00:00:00Z"),
        ("-000044-03-15T10:00:00Z", "1970-01-01T00:00:00Z"),
        ("1e300", "1970-01-01T00:00:00Z"),
    ];
    for (given, expected) in cases {
        let event = json!({"timestamp": given});
        assert_eq!(stored("/batch", &json!({}), &event), expected, "{given}");
    }
    assert_eq!(
        stored("/batch", &json!({}), &json!({"timestamp": null})),
        NOW
    );
}

#[test]
fn the_future_is_clamped_beyond_23_hours() {
    for (given, expected) in [
        ("2026-03-02T11:00:00Z", "2026-03-02T11:00:00Z"),
        ("2026-03-02T11:00:01Z", NOW),
        ("9999-12-30T00:00:00Z", NOW),
    ] {
        let event = json!({"timestamp": given});
        assert_eq!(stored("/batch", &json!({}), &event), expected, "{given}");
    }
}

#[test]
fn sent_at_corrects_skew_unless_it_is_ignored() {
    // The client's clock is an hour ahead.
    let envelope = json!({"sent_at": "2026-03-01T13:00:00Z"});
    let event = json!({"timestamp": "2026-03-01T12:30:00Z"});
    assert_eq!(stored("/batch", &envelope, &event), "2026-03-01T11:30:00Z");
    let ignoring = json!({
        "timestamp": "2026-03-01T12:30:00Z",
        "properties": {"$ignore_sent_at": true},
    });
    assert_eq!(
        stored("/batch", &envelope, &ignoring),
        "2026-03-01T12:30:00Z"
    );
    let unreadable = json!({"sent_at": "now"});
    assert_eq!(
        stored("/batch", &unreadable, &event),
        "2026-03-01T12:30:00Z"
    );
    // 13:00 in the query, and a year that is taken for garbage.
    let none = json!({});
    assert_eq!(
        stored("/batch?_=1772370000000", &none, &event),
        "2026-03-01T11:30:00Z"
    );
    assert_eq!(
        stored("/batch?_=1372370000000", &none, &event),
        "2026-03-01T12:30:00Z"
    );
}

#[test]
fn an_offset_wins_over_the_timestamp() {
    let event = json!({"timestamp": "2026-03-01T10:00:00Z", "offset": 5000});
    assert_eq!(stored("/batch", &json!({}), &event), "2026-03-01T11:59:55Z");
}
