//! Business events that no program should log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use audithog::testing::standin::{CapturedEvent, V1Route};
use audithog::testing::{PostHogStandIn, recorder};
use audithog::{Actor, Logger};
use serde_json::{Value, json};

use super::{app, is_harmless, request, send, serve};

fn absurd_events(logger: &Logger) {
    let huge: serde_json::Map<String, Value> = (0..1_250)
        .map(|n| (format!("k{n}"), "x".repeat(8_000).into()))
        .collect();
    logger.event("ten_megabytes").properties(huge).log();
    logger
        .event("one_large_text")
        .property("text", "é".repeat(5_000_000))
        .log();
    logger
        .event("one_large_list")
        .property("list", vec!["x".repeat(1_000); 10_000])
        .log();
    logger
        .event("not_finite")
        .property("nan", f64::NAN)
        .property("inf", f64::INFINITY)
        .properties(BTreeMap::from([("minus", f64::NEG_INFINITY)]))
        .log();
    let mut deep = json!("bottom");
    for _ in 0..1_000 {
        deep = json!({ "down": [deep] });
    }
    logger.event("deep").property("deep", deep).log();
    logger.event("").log();
    logger.event("   ").log();
    logger.event("api_request").log();
    logger.event("audit_loss").log();
    logger.event("n".repeat(5_000)).log();
    logger.event("line\nbreak\0\u{1b}[2J").log();
    logger
        .event("odd_names")
        .properties(json!({
            "": 1, "$set": {"a": 1}, "$ip": "1.2.3.4", "distinct_id": "x", "token": "phc_y",
            "path": "/taken", "uuid": "not-one", "n\0\n": 2, "\u{202e}": 3, "timestamp": "never",
        }))
        .log();
    odd_texts(logger);
    logger
        .event("large_number")
        .property("n", u64::MAX)
        .property("f", f64::MAX)
        .log();
    logger.event("no_object").properties(["a", "list"]).log();
    logger
        .event("no_keys")
        .properties(BTreeMap::from([(vec![1], 2)]))
        .log();
    logger
        .event("odd_actor")
        .actor(
            Actor::user("u\n1\u{1b}[2J")
                .role("r".repeat(10_000))
                .org("o\0"),
        )
        .distinct_id("\u{7}".repeat(1_000))
        .log();
    // PostHog takes none of these as a distinct id.
    for id in ["null", "anonymous", "", " ", "[object Object]", "0"] {
        logger
            .event("reserved_id")
            .actor(Actor::user(id))
            .distinct_id(id)
            .log();
    }
    logger
        .event("far_future")
        .at_rfc3339("9999-12-30T00:00:00Z")
        .unwrap()
        .log();
    logger
        .event("long_ago")
        .at_rfc3339("0001-01-01T00:00:00+14:00")
        .unwrap()
        .log();
    logger
        .event("before_1970")
        .at(std::time::UNIX_EPOCH - std::time::Duration::from_secs(1))
        .log();
}

fn odd_texts(logger: &Logger) {
    logger
        .event("odd_texts")
        .properties(json!({
            "text": "a\0b\u{85}\u{2028}\u{202e}",
            "n\0\u{2029}": {"in\u{9b}": ["\u{2066}x\u{1b}[2J", {"\u{202a}": "\r\n\u{7f}"}]},
        }))
        .log();
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_events_are_cut_and_stored_and_taken_by_posthog_in_whole_batches() {
    let posthog = PostHogStandIn::start().unwrap();
    let place = tempfile::tempdir().unwrap();
    let logger = Logger::builder()
        .environment([
            ("POSTHOG_API_KEY", "phc_test"),
            ("POSTHOG_HOST", &posthog.url()),
        ])
        .database(place.path().join("audit.db"))
        .start()
        .unwrap();
    absurd_events(&logger);
    let address = serve(app(&logger)).await;
    let agent: Vec<u8> = (0x80..=0xff).cycle().take(100_000).collect();
    let path = [b"/a/%00\"\\%ff".as_slice(), &[b'p'; 20_000]].concat();
    assert_eq!(
        send(address, &request(&path, &[("user-agent", &agent)])).await,
        Some(200)
    );

    let flushed = logger.flush(None).await;
    assert_eq!(flushed.blocked, None, "{flushed:#?}");
    flushed.health.check().unwrap();
    let sink = &flushed.health.sinks["posthog"];
    assert_eq!((sink.dead, sink.pending), (0, 0), "{flushed:#?}");
    assert_eq!(sink.delivered, flushed.health.accepted, "{flushed:#?}");
    assert!(flushed.health.lost.is_empty(), "{flushed:#?}");
    let requests = posthog.requests();
    assert!(
        requests.iter().all(|request| request.status == Some(200)),
        "{requests:#?}"
    );
    let events = posthog.events();
    assert_eq!(
        posthog.counts().stored as u64,
        sink.delivered,
        "nothing was sent twice"
    );
    assert_eq!(events.len() as u64, sink.delivered);
    for event in &events {
        for (name, value) in &event.properties {
            all_harmless(name, value);
        }
        assert!(is_harmless(&event.event), "{event:#?}");
        assert!(
            event.event.len() <= 200 && event.distinct_id.len() <= 200,
            "{event:#?}"
        );
        assert!(is_harmless(&event.distinct_id), "{event:#?}");
        assert!(
            event
                .properties
                .get("userId")
                .is_none_or(|id| is_harmless(id.as_str().unwrap()))
        );
    }
    each_is_cut_as_documented(&events);
    let report = logger.shutdown(None).await;
    assert!(report.closed && report.lost() == 0, "{report}");
    let mut seen = 0;
    for text in stored_properties(&place.path().join("audit.db")) {
        assert!(is_harmless(&text), "{text}");
        all_harmless("", &serde_json::from_str(&text).unwrap());
        seen += u32::from(text.contains(r"a\\u{0}b\\u{85}\\u{2028}\\u{202e}"));
    }
    assert_eq!(seen, 1);
}

/// The column as it is in the table.
fn stored_properties(ledger: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(ledger).unwrap();
    let mut statement = connection
        .prepare("SELECT properties FROM audit_logs WHERE properties IS NOT NULL")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// A name and every name and text below it.
fn all_harmless(name: &str, value: &Value) {
    assert!(is_harmless(name), "{name:?}");
    match value {
        Value::String(text) => assert!(is_harmless(text), "{text:?}"),
        Value::Array(values) => values.iter().for_each(|value| all_harmless("", value)),
        Value::Object(fields) => {
            for (name, value) in fields {
                all_harmless(name, value);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_events_are_the_same_for_the_older_capture_api() {
    let posthog = PostHogStandIn::start().unwrap();
    posthog.configure(|posthog| posthog.v1 = V1Route::NotFound);
    let logger = Logger::builder()
        .environment([
            ("POSTHOG_API_KEY", "phc_test"),
            ("POSTHOG_HOST", &posthog.url()),
        ])
        .memory_only()
        .start()
        .unwrap();
    absurd_events(&logger);
    let flushed = logger.flush(None).await;
    assert_eq!(flushed.blocked, None, "{flushed:#?}");
    let sink = &flushed.health.sinks["posthog"];
    assert_eq!((sink.dead, sink.pending), (0, 0), "{flushed:#?}");
    assert_eq!(posthog.events().len() as u64, sink.delivered);
    drop(logger.shutdown(None).await);
}

#[test]
fn a_time_that_is_none_is_refused_and_shown_escaped() {
    let (logger, rows) = recorder();
    for text in [
        "",
        "yesterday",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "99999-01-01T00:00:00Z",
        "9999-12-32T00:00:00Z",
        "9999-12-31T23:59:59",
    ] {
        let error = logger.event("x").at_rfc3339(text).unwrap_err();
        assert_eq!(error.to_string(), format!("`{text}` is no RFC 3339 time"));
    }
    // These are.
    for text in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999-05:00"] {
        let error = logger.event("x").at_rfc3339(text).unwrap_err();
        let bounds = "0001-01-01T00:00:00.000000Z to 9999-12-30T00:00:00.000000Z";
        assert_eq!(
            error.to_string(),
            format!("`{text}` is out of range: times go from {bounds}")
        );
    }
    let long = format!("{}\n", "9".repeat(1_000_000));
    let error = logger.event("x").at_rfc3339(&long).unwrap_err().to_string();
    assert!(error.len() < 120 && is_harmless(&error), "{error}");
    assert!(rows.all().is_empty());
}

fn each_is_cut_as_documented(events: &[Arc<CapturedEvent>]) {
    let one = |name: &str| {
        let mut found = events.iter().filter(|event| event.event == name);
        found
            .next()
            .unwrap_or_else(|| panic!("no {name}"))
            .properties
            .clone()
    };
    assert_eq!(one("ten_megabytes")["audithog_truncated"], true);
    assert!(
        one("one_large_text")["text"]
            .as_str()
            .unwrap()
            .ends_with('…')
    );
    assert_eq!(one("one_large_list")["audithog_truncated"], true);
    for name in ["nan", "inf"] {
        assert_eq!(one("not_finite")[name], Value::Null);
    }
    assert!(one("deep")["deep"].to_string().len() < 1_000);
    assert_eq!(
        events
            .iter()
            .filter(|event| event.event == "unnamed_event")
            .count(),
        2
    );
    let count = |name: &str| events.iter().filter(|event| event.event == name).count();
    assert_eq!(
        (count("event:api_request"), count("event:audit_loss")),
        (1, 1)
    );
    // The one request that was made.
    assert_eq!((count("api_request"), count("audit_loss")), (1, 0));
    assert_eq!(one("odd_names")["properties"]["token"], "***");
    let odd = one("odd_texts");
    assert_eq!(odd["text"], r"a\u{0}b\u{85}\u{2028}\u{202e}");
    assert_eq!(
        odd[r"n\u{0}\u{2029}"],
        json!({r"in\u{9b}": [r"\u{2066}x\u{1b}[2J", {r"\u{202a}": r"\u{d}\u{a}\u{7f}"}]})
    );
    assert_eq!(one("no_object")["value"], json!(["a", "list"]));
    assert_eq!(one("odd_actor")["userId"], r"u\u{a}1\u{1b}[2J");
    assert_eq!(one("large_number")["n"], u64::MAX);
}
