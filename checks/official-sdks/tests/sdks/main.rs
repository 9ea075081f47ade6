//! Each SDK sends the same events, and each event must arrive once with what was sent.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod rs;
mod scripts;

use std::time::Duration;

use audithog::testing::PostHogStandIn;
use audithog::testing::standin::{CapturedEvent, Route};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

const TOKEN: &str = "phc_official_sdks";
/// More than three batches of what each SDK is told to send at once.
const EVENTS: i64 = 150;
/// Only a bound: nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(120);

/// An event to send. Times have milliseconds: no SDK keeps more.
struct Planned {
    uuid: Uuid,
    event: String,
    distinct_id: String,
    timestamp: Timestamp,
    properties: Value,
}

fn planned() -> Vec<Planned> {
    let start: Timestamp = "2024-02-29T23:59:59.900Z".parse().expect("a timestamp");
    (0..EVENTS)
        .map(|n| Planned {
            uuid: format!("018df7a5-0000-7000-8000-{n:012x}")
                .parse()
                .expect("a uuid"),
            event: format!("zdarzenie „żółw” {}", n % 7),
            distinct_id: format!("użytkownik-{n}-\u{1f422}"),
            timestamp: start + SignedDuration::from_millis(n),
            properties: json!({
                "n": n,
                "text": "line\nbreak, \"quotes\", back\\slash, żółć, \u{1f422}, \u{7f}",
                "ratio": 0.25,
                "negative": -1,
                "flag": true,
                "nothing": null,
                "nested": {"list": [1, "two", {"three": 3}]},
                // The clocks are the same one: what was given must be stored.
                "$ignore_sent_at": true,
            }),
        })
        .collect()
}

/// Asserts that exactly the planned events arrived, in several requests on this route.
fn assert_arrived_once(posthog: &PostHogStandIn, route: Route) {
    let planned = planned();
    posthog
        .wait_for(PATIENCE, |seen| seen.stored().len() >= planned.len())
        .expect("every event");
    let requests = posthog.requests();
    for request in &requests {
        assert_eq!(request.route, route, "{request}");
        assert_eq!(request.status, Some(200), "{request}");
    }
    assert!(requests.len() > 3, "{} requests", requests.len());
    let mut stored = posthog.stored();
    assert_eq!(stored.len(), planned.len(), "before de-duplication");
    assert_eq!(posthog.duplicates(), 0);
    stored.sort_by_key(|event| event.uuid);
    for (stored, planned) in stored.iter().zip(&planned) {
        assert_same(stored, planned);
    }
}

fn assert_same(stored: &CapturedEvent, planned: &Planned) {
    assert_eq!(stored.uuid, planned.uuid);
    assert_eq!(stored.event, planned.event);
    assert_eq!(stored.distinct_id, planned.distinct_id);
    assert_eq!(stored.timestamp, planned.timestamp);
    assert_eq!(stored.token, TOKEN);
    // SDKs add properties of their own.
    for (name, value) in planned.properties.as_object().expect("an object") {
        assert_eq!(stored.properties.get(name), Some(value), "{name}");
    }
}
