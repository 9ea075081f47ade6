//! Pages and parts, with scripted replies: a stand-in with a hundred thousand events says no more.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::remote::{PAGE, Remote, Writers};
use crate::posthog::tests::api;
use crate::record::Micros;
use crate::testing::PostHogStandIn;
use crate::testing::standin::Fault;

const NOON: i64 = 1_700_049_600;

fn remote(posthog: &PostHogStandIn) -> Remote {
    Remote {
        api: api(posthog),
        writers: Writers::default(),
        late: Duration::from_secs(900),
    }
}

fn hour() -> (Micros, Micros) {
    (Micros(NOON * 1_000_000), Micros((NOON + 3_600) * 1_000_000))
}

/// Event number `n`: forty in a second.
fn event(n: i64) -> (i64, String) {
    let id = Uuid::from_u128(n.unsigned_abs().into());
    (NOON + n / 40, id.to_string())
}

/// Answers PAGE as PostHog would, from so many events; notes how far each page's range began.
fn serve(posthog: &PostHogStandIn, events: i64) -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    posthog.answer_queries(move |sql, values| {
        assert_eq!(sql, PAGE);
        let text = |name: &str| values[name].as_str().unwrap().to_owned();
        log.lock().unwrap().push(text("since"));
        let after = (values["unix"].as_i64().unwrap(), text("id"));
        let (since, until) = (text("since"), text("until"));
        let lines = (0..events).map(event).filter(|key| {
            let time = Micros(key.0 * 1_000_000).to_string();
            *key > after && time >= since && time < until
        });
        let lines = lines.take(50_000);
        let lines = lines.map(|(unix, id)| vec![json!(id), json!(unix), json!(1), json!(unix + 2)]);
        Some(lines.collect::<Vec<Vec<Value>>>())
    });
    asked
}

#[test]
fn pages_follow_each_other_by_key_until_one_is_not_full() {
    let posthog = PostHogStandIn::start().unwrap();
    let asked = serve(&posthog, 120_001);
    let found = remote(&posthog).events(hour()).unwrap();
    assert_eq!(found.len(), 120_001);
    assert!(found.values().all(|event| event.copies == 1), "read twice");
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    // Each begins where the last one ended, and not at the beginning again.
    assert!(asked[0] < asked[1] && asked[1] < asked[2], "{asked:?}");
}

#[test]
fn a_page_that_takes_too_long_is_read_again_in_smaller_parts_and_counted_once() {
    let posthog = PostHogStandIn::start().unwrap();
    let asked = serve(&posthog, 120_000);
    let remote = &mut remote(&posthog);
    remote.events(hour()).unwrap();
    // The second page of the whole hour: its key is longer than the first one's.
    let first = posthog.requests()[0].raw_bytes;
    posthog.push_fault(Fault::status(504).on_query().above_bytes(first + 10));
    let found = remote.events(hour()).unwrap();
    assert_eq!(found.len(), 120_000);
    assert!(found.values().all(|event| event.copies == 1), "read twice");
    assert_eq!(posthog.queued_faults(), 0);
    assert!(asked.lock().unwrap().len() >= 3 + 4);
}

#[test]
fn what_takes_too_long_in_its_shortest_part_is_an_error() {
    let posthog = PostHogStandIn::start().unwrap();
    posthog.stand_fault(Fault::status(504).on_query());
    let error = remote(&posthog).events(hour()).unwrap_err();
    assert!(error.is_remote());
    assert!(error.to_string().contains("too long"), "{error}");
    assert!(
        posthog.requests().len() < 10,
        "{}",
        posthog.requests().len()
    );
}

#[test]
fn a_line_of_another_shape_is_an_error_and_no_zero() {
    for line in [
        json!(["no uuid", 1, 1, 1]),
        json!(["00000000-0000-0000-0000-000000000001", 1, -1, 1]),
        json!([]),
    ] {
        let posthog = PostHogStandIn::start().unwrap();
        let lines = vec![line.as_array().unwrap().clone()];
        posthog.answer_queries(move |_, _| Some(lines.clone()));
        let error = remote(&posthog).events(hour()).unwrap_err();
        assert!(
            error.to_string().contains("not as it was asked for"),
            "{error}"
        );
    }
}
