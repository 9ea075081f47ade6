//! Over a real socket, against the stand-in.

use std::time::Duration;

use serde_json::json;

use super::{KEY, NOW, id, job_row, request_row, settings};
use crate::clock::Clock;
use crate::config::{Compression, PosthogSettings, SampleRule, StatusMatch};
use crate::record::StoredRow;
use crate::sink::posthog::PosthogSink;
use crate::sink::posthog::memory::LESSON;
use crate::sink::{Admission, Attempt, Hold, HoldReason, Reply, Sink, Verdict};
use crate::testing::PostHogStandIn;
use crate::testing::standin::{
    Fault, Generation, Quota, ReceivedRequest, Route, V1Route, Verdict as Said,
};

const ATTEMPT: Attempt = Attempt {
    request: uuid::Uuid::from_u128(0xfeed),
    created: NOW,
    number: 1,
};

/// A stand-in and a sink that sends to it.
struct Scene {
    posthog: PostHogStandIn,
    sink: PosthogSink,
    clock: Clock,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut PosthogSettings)) -> Self {
        let posthog = PostHogStandIn::start().unwrap();
        let mut settings = settings(&posthog.url());
        change(&mut settings);
        let clock = Clock::manual(NOW);
        let sink = PosthogSink::new(&settings, clock.clone()).unwrap();
        Self {
            posthog,
            sink,
            clock,
        }
    }

    fn v1(self, route: V1Route) -> Self {
        self.posthog.configure(|behaviour| behaviour.v1 = route);
        self
    }

    async fn send(&self, rows: &[StoredRow]) -> Reply {
        self.sink.send(rows, ATTEMPT).await
    }

    fn routes(&self) -> Vec<Route> {
        let requests = self.posthog.requests();
        requests.iter().map(|request| request.route).collect()
    }
}

fn rows(n: u64) -> Vec<StoredRow> {
    (1..=n).map(request_row).collect()
}

fn delivered(n: usize) -> Reply {
    Reply::Rows {
        verdicts: vec![Verdict::Delivered; n],
        retry_after: None,
    }
}

fn header<'a>(request: &'a ReceivedRequest, name: &str) -> Option<&'a str> {
    request.headers.get(name)?.to_str().ok()
}

fn outline(reply: &Reply) -> (&'static str, Option<u64>) {
    let seconds = |delay: &Option<Duration>| delay.map(|delay| delay.as_secs());
    match reply {
        Reply::Rows { retry_after, .. } => ("rows", seconds(retry_after)),
        Reply::Retry {
            retry_after,
            suspect_rows,
            ..
        } => match suspect_rows {
            true => ("retry, suspect", seconds(retry_after)),
            false => ("retry", seconds(retry_after)),
        },
        Reply::Hold { hold, retry_after } => (hold.reason.as_str(), seconds(retry_after)),
        Reply::TooLarge { .. } => ("too large", None),
        Reply::Refused { .. } => ("refused", None),
    }
}

#[tokio::test]
async fn v1_gets_what_it_requires_and_each_event_arrives_once() {
    let scene = Scene::new();
    let mut rows = rows(2);
    rows.push(job_row(3));
    let attempt = Attempt {
        number: 3,
        ..ATTEMPT
    };
    assert_eq!(scene.sink.send(&rows, attempt).await, delivered(3));

    let requests = scene.posthog.requests();
    let [request] = &requests[..] else {
        panic!("{requests:?}");
    };
    assert_eq!(request.route, Route::V1);
    let version = concat!("audithog/", env!("CARGO_PKG_VERSION"));
    let expected = [
        ("authorization", format!("Bearer {KEY}")),
        ("content-type", "application/json".to_owned()),
        ("user-agent", version.to_owned()),
        ("posthog-sdk-info", version.to_owned()),
        ("posthog-attempt", "3".to_owned()),
        ("posthog-request-id", ATTEMPT.request.to_string()),
        ("posthog-request-timestamp", NOW.to_string()),
    ];
    for (name, value) in expected {
        assert_eq!(header(request, name), Some(value.as_str()), "{name}");
    }
    let events = scene.posthog.events();
    assert_eq!(scene.posthog.counts().duplicates, 0);
    let ids: Vec<_> = events.iter().map(|event| event.uuid).collect();
    assert_eq!(ids, [id(1), id(2), id(3)]);
    assert_eq!(events[0].event, "api_request");
    assert_eq!(events[0].distinct_id, "u_17");
    assert_eq!(events[0].timestamp.as_microsecond(), NOW.0);
    assert_eq!(events[0].properties["statusCode"], json!(200));
}

#[tokio::test]
async fn v0_gets_the_same_events() {
    let v1 = Scene::new();
    let v0 = Scene::new().v1(V1Route::NotFound);
    let mut rows = rows(2);
    rows.push(job_row(3));
    assert_eq!(v1.send(&rows).await, delivered(3));
    assert_eq!(v0.send(&rows).await, delivered(3));
    // Options are written back under the names that v0 has in its properties.
    for (one, other) in v1.posthog.stored().iter().zip(v0.posthog.stored()) {
        let (mut one, mut other) = ((**one).clone(), (*other).clone());
        for event in [&mut one, &mut other] {
            event.properties.remove("$disable_skew_correction");
        }
        assert_eq!(one, other);
    }
    let last = v0.posthog.requests().pop().unwrap();
    assert_eq!(last.path, "/batch/");
    assert_eq!(last.query.as_deref(), Some("compression=gzip"));
}

#[tokio::test]
async fn a_host_without_v1_is_remembered_and_asked_again_after_an_hour() {
    for route in [
        V1Route::NotFound,
        V1Route::LoginRedirect,
        V1Route::CsrfForbidden,
        V1Route::HtmlPage,
    ] {
        let scene = Scene::new().v1(route);
        for _ in 0..2 {
            assert_eq!(scene.send(&rows(2)).await, delivered(2), "{route:?}");
        }
        // No request went where a redirect pointed.
        let (v0, v1) = (Route::V0Batch, Route::V1);
        assert_eq!(scene.routes(), [v1, v0, v0], "{route:?}");

        scene.clock.advance(LESSON);
        assert_eq!(scene.send(&rows(2)).await, delivered(2), "{route:?}");
        assert_eq!(scene.routes(), [v1, v0, v0, v1, v0], "{route:?}");

        scene.clock.advance(LESSON);
        let scene = scene.v1(V1Route::Present);
        for _ in 0..2 {
            assert_eq!(scene.send(&rows(2)).await, delivered(2), "{route:?}");
        }
        assert_eq!(scene.routes(), [v1, v0, v0, v1, v0, v1, v1], "{route:?}");
        assert_eq!(scene.posthog.events().len(), 2, "{route:?}");
    }
}

#[tokio::test]
async fn whole_request_replies_mean_the_same_on_both_protocols() {
    let table = [
        (400, ("refused", None)),
        (401, ("bad_key", Some(7))),
        (402, ("quota", Some(7))),
        (403, ("forbidden", Some(7))),
        (408, ("retry", Some(7))),
        (413, ("too large", None)),
        (425, ("retry", Some(7))),
        (429, ("retry", Some(7))),
        (500, ("retry, suspect", Some(7))),
        (502, ("retry", Some(7))),
        (503, ("retry", Some(7))),
        (504, ("retry", Some(7))),
    ];
    for route in [V1Route::Present, V1Route::NotFound] {
        let scene = Scene::new().v1(route);
        assert_eq!(scene.send(&rows(1)).await, delivered(1));
        for (status, expected) in table {
            let fault = Fault::status(status).header("retry-after", "7").body("why");
            scene.posthog.push_fault(fault);
            let reply = scene.send(&rows(1)).await;
            assert_eq!(outline(&reply), expected, "{route:?} {status}");
            assert!(format!("{reply:?}").contains("why"), "{reply:?}");
            assert_eq!(scene.posthog.queued_faults(), 0);
            // The sink itself keeps no grudge.
            assert_eq!(scene.send(&rows(1)).await, delivered(1), "after {status}");
        }
    }
}

#[tokio::test]
async fn a_lost_connection_leaves_the_outcome_unknown() {
    for route in [V1Route::Present, V1Route::NotFound] {
        let scene = Scene::new().v1(route);
        assert_eq!(scene.send(&rows(1)).await, delivered(1));
        for fault in [Fault::close, Fault::reset, Fault::reset_before_reading] {
            scene.posthog.push_fault(fault());
            let reply = scene.send(&rows(1)).await;
            assert_eq!(outline(&reply), ("retry", None), "{route:?} {:?}", fault());
        }
    }
}

#[tokio::test]
async fn no_reply_in_time_leaves_the_outcome_unknown() {
    let scene = Scene::with(|settings| settings.request_timeout = Duration::from_millis(200));
    let faults = [Fault::hang(), Fault::slow_reply(Duration::from_secs(1))];
    for fault in faults {
        let name = format!("{fault:?}");
        scene.posthog.push_fault(fault);
        let reply = scene.send(&rows(1)).await;
        assert_eq!(outline(&reply), ("retry", None), "{name}");
        assert!(
            format!("{reply:?}").contains("no reply in time"),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_is_made_good_without_a_second_copy() {
    for route in [V1Route::Present, V1Route::NotFound] {
        for compression in [Compression::Auto, Compression::None] {
            let scene = Scene::with(|settings| settings.compression = compression).v1(route);
            assert_eq!(scene.send(&[job_row(9)]).await, delivered(1));
            scene.posthog.clear();
            scene.posthog.push_fault(Fault::lose_acknowledgement());
            let reply = scene.send(&rows(3)).await;
            assert_eq!(outline(&reply), ("retry", None));
            // Skew that the server must not correct for, and another day.
            scene.clock.advance(Duration::from_secs(90_000));
            let attempt = Attempt {
                number: 2,
                ..ATTEMPT
            };
            assert_eq!(scene.sink.send(&rows(3), attempt).await, delivered(3));
            let stored = scene.posthog.stored();
            assert_eq!(stored.len(), 6, "{route:?}");
            assert_eq!(stored[..3], stored[3..], "{route:?}");
            assert_eq!(scene.posthog.events().len(), 3, "{route:?}");
        }
    }
}

#[tokio::test]
async fn an_unreachable_host_says_so() {
    let scene = Scene::new();
    scene.posthog.shutdown();
    let Reply::Retry {
        reason,
        suspect_rows: false,
        ..
    } = scene.sink.send(&rows(1), ATTEMPT).await
    else {
        panic!();
    };
    assert!(reason.starts_with("cannot connect: "), "{reason}");
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn pages_and_garbage_are_no_acknowledgement() {
    let scene = Scene::new().v1(V1Route::NotFound);
    assert_eq!(scene.send(&rows(1)).await, delivered(1));
    let faults = [
        Fault::garbage(),
        Fault::status(200),
        Fault::status(204),
        Fault::status(200).body("<html>sign in"),
        Fault::status(302).header("location", "/login"),
        Fault::status(404),
        Fault::status(200).body(format!(r#"{{"status":"Ok"}}{}"#, " ".repeat(2 << 20))),
    ];
    for fault in faults {
        scene.posthog.push_fault(fault);
        let reply = scene.send(&rows(1)).await;
        assert_eq!(outline(&reply), ("retry", None), "{reply:?}");
    }
    scene
        .posthog
        .push_fault(Fault::status(200).body(r#"{"status":"Ok","quota_limited":["events"]}"#));
    assert_eq!(outline(&scene.send(&rows(1)).await), ("quota", None));
}

#[tokio::test]
async fn over_quota_holds_in_every_generation() {
    for generation in [Generation::Oldest, Generation::Middle, Generation::Newest] {
        let scene = Scene::new();
        scene.posthog.configure(|behaviour| {
            behaviour.generation = generation;
            behaviour.quota = Quota::Exceeded;
        });
        let Reply::Hold { hold, .. } = scene.send(&rows(1)).await else {
            panic!("{generation:?}");
        };
        let Hold { reason, detail } = hold;
        assert_eq!(reason, HoldReason::Quota, "{generation:?}");
        assert!(detail.contains("billing_limit_exceeded"), "{detail}");
        assert_eq!(scene.routes(), [Route::V1]);
    }
}

#[tokio::test]
async fn each_event_has_its_own_verdict() {
    let scene = Scene::new();
    scene.posthog.judge(|event, times| {
        let n = u64::try_from(event.uuid.as_u128() & 0xff).ok()?;
        Some(match n {
            1 => Said::Ok,
            2 => Said::Warning("person_processing_disabled".to_owned()),
            3 => Said::Limited("person_processing_disabled".to_owned()),
            4 => Said::Limited("over_quota".to_owned()),
            5 => Said::Drop("event_too_big".to_owned()),
            6 if times == 1 => Said::Retry,
            7 if times == 1 => Said::Missing { stored: true },
            8 => Said::Other("novel".to_owned()),
            _ => return None,
        })
    });
    let reply = scene.send(&rows(8)).await;
    let Reply::Rows {
        verdicts,
        retry_after,
    } = reply
    else {
        panic!("{reply:?}");
    };
    let words: Vec<_> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Delivered => "delivered",
            Verdict::Retry(_) => "retry",
            Verdict::Dead(_) => "dead",
            Verdict::Hold(_) => "hold",
        })
        .collect();
    assert_eq!(
        words,
        [
            "delivered",
            "delivered",
            "delivered",
            "hold",
            "dead",
            "retry",
            "retry",
            "dead"
        ]
    );
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
    assert_eq!(verdicts[4], Verdict::Dead("drop: event_too_big".to_owned()));

    let again = [request_row(6), request_row(7)];
    assert_eq!(scene.send(&again).await, delivered(2));
    let kept = scene.posthog.events();
    assert_eq!(kept.iter().filter(|event| event.uuid == id(7)).count(), 1);
}

#[tokio::test]
async fn bodies_are_compressed_as_configured() {
    let zstd = if cfg!(feature = "zstd") {
        "zstd"
    } else {
        "gzip"
    };
    let table = [
        (Compression::Auto, Some(zstd), Some("gzip")),
        (Compression::Zstd, Some(zstd), Some("gzip")),
        (Compression::Gzip, Some("gzip"), Some("gzip")),
        (Compression::None, None, None),
    ];
    for (compression, on_v1, on_v0) in table {
        for (route, expected) in [(V1Route::Present, on_v1), (V1Route::NotFound, on_v0)] {
            let scene = Scene::with(|settings| settings.compression = compression).v1(route);
            assert_eq!(scene.send(&rows(50)).await, delivered(50));
            let last = scene.posthog.requests().pop().unwrap();
            assert_eq!(
                header(&last, "content-encoding"),
                expected,
                "{compression:?}"
            );
            assert_eq!(
                last.query.is_some(),
                route != V1Route::Present && expected.is_some()
            );
            let full = last.decompressed_bytes.unwrap();
            match expected {
                Some(_) => assert!(8 * last.raw_bytes < full, "{} of {full}", last.raw_bytes),
                None => assert_eq!(last.raw_bytes, full),
            }
        }
    }
}

#[tokio::test]
async fn an_encoding_that_is_not_understood_is_left_off_from_then_on() {
    for route in [V1Route::Present, V1Route::NotFound] {
        let scene = Scene::new().v1(route);
        assert_eq!(scene.send(&rows(1)).await, delivered(1));
        scene.posthog.clear();
        scene.posthog.push_fault(Fault::status(415));
        assert_eq!(scene.send(&rows(1)).await, delivered(1));
        assert_eq!(scene.send(&rows(1)).await, delivered(1));
        scene.clock.advance(LESSON);
        assert_eq!(scene.send(&rows(1)).await, delivered(1));
        let requests = scene.posthog.requests();
        let encoded: Vec<bool> = requests
            .iter()
            .filter(|request| route == V1Route::Present || request.route == Route::V0Batch)
            .map(|request| header(request, "content-encoding").is_some())
            .collect();
        assert_eq!(encoded, [true, false, false, true], "{route:?}");
    }
}

#[tokio::test]
async fn a_v1_that_understands_no_body_is_as_good_as_absent() {
    let scene = Scene::new();
    scene.posthog.stand_fault(Fault::status(415).on_v1());
    assert_eq!(scene.send(&rows(1)).await, delivered(1));
    assert_eq!(scene.send(&rows(1)).await, delivered(1));
    assert_eq!(
        scene.routes(),
        [Route::V1, Route::V1, Route::V0Batch, Route::V0Batch]
    );
    // Plain did not help, so it is no lesson.
    let last = scene.posthog.requests().pop().unwrap();
    assert_eq!(header(&last, "content-encoding"), Some("gzip"));

    scene.posthog.stand_fault(Fault::status(415).on_v0());
    assert_eq!(outline(&scene.send(&rows(1)).await), ("retry", None));
}

#[tokio::test]
async fn every_distinct_id_is_taken_by_every_generation() {
    let mut rows = rows(40);
    let ids = [
        "0",
        "00000000-0000-0000-0000-000000000000",
        "[object Object]",
        "anonymous",
        "anonymous-user",
        "backend",
        "distinct_id",
        "distinctId",
        "email",
        "false",
        "guest",
        "id",
        "NaN",
        "None",
        "not_authenticated",
        "null",
        "system",
        "true",
        "undefined",
        "User",
        " user ",
        "a\0b",
        "\u{1f642}",
    ];
    let long = ["x".repeat(200), "é".repeat(100), "x".repeat(5_000)];
    let ids = ids.into_iter().chain(long.iter().map(String::as_str));
    for (row, id) in rows.iter_mut().zip(ids) {
        row.row.actor.user_id = Some(id.to_owned().into());
    }
    for generation in [Generation::Oldest, Generation::Middle, Generation::Newest] {
        let scene = Scene::new();
        scene
            .posthog
            .configure(|behaviour| behaviour.generation = generation);
        assert_eq!(scene.send(&rows).await, delivered(40), "{generation:?}");
        assert_eq!(scene.posthog.stored().len(), 40, "{generation:?}");
    }
}

#[tokio::test]
async fn a_full_request_of_the_largest_rows_is_taken() {
    let scene = Scene::new();
    let filler = format!("{{\"p\":\"{}\"}}", "x".repeat(65_000));
    let mut rows = Vec::new();
    let mut weight = 0;
    for n in 1.. {
        let mut row = request_row(n);
        row.row.properties = Some(filler.as_str().into());
        weight += scene.sink.weight(&row);
        if scene.sink.limits().bytes < weight {
            break;
        }
        rows.push(row);
    }
    assert_eq!(scene.send(&rows).await, delivered(rows.len()));
    let full = scene.posthog.requests()[0].decompressed_bytes.unwrap();
    assert!(full <= 5 << 20, "{full}");

    let limit = u64::try_from(scene.sink.limits().rows).unwrap();
    let rows: Vec<_> = (1..=limit).map(request_row).collect();
    assert_eq!(scene.send(&rows).await, delivered(rows.len()));
}

#[tokio::test]
async fn several_requests_can_be_in_flight() {
    let scene = Scene::new().v1(V1Route::NotFound);
    let batches: Vec<Vec<StoredRow>> = (0..8)
        .map(|batch| (1..=20).map(|n| request_row(100 * batch + n)).collect())
        .collect();
    let sends = batches.iter().map(|rows| scene.send(rows));
    for reply in futures_util::future::join_all(sends).await {
        assert_eq!(reply, delivered(20));
    }
    assert_eq!(scene.posthog.events().len(), 160);
    assert_eq!(scene.posthog.duplicates(), 0);
}

#[tokio::test]
async fn sampling_is_decided_by_the_sink_and_shows_on_the_event() {
    let rule = |status, rate| SampleRule {
        method: None,
        route: None,
        status,
        rate,
    };
    let scene = Scene::with(|settings| settings.sample = vec![rule(StatusMatch::Success, 0.5)]);
    let (sent, out): (Vec<_>, Vec<_>) = rows(64)
        .into_iter()
        .partition(|row| scene.sink.admit(row) == Admission::Send);
    assert!(!sent.is_empty() && !out.is_empty());
    let mut sent = sent;
    sent.push(job_row(100));
    assert_eq!(scene.sink.admit(&sent[sent.len() - 1]), Admission::Send);
    assert_eq!(scene.send(&sent).await, delivered(sent.len()));
    let stored = scene.posthog.stored();
    let (job, requests) = stored.split_last().unwrap();
    assert!(
        requests
            .iter()
            .all(|event| event.properties["sample_rate"] == json!(0.5))
    );
    assert_eq!(job.properties.get("sample_rate"), None);
}

#[tokio::test]
async fn the_key_shows_nowhere() {
    let scene = Scene::new();
    for status in [400, 401, 403, 413, 429, 500] {
        let body = format!("no such key {KEY}");
        scene.posthog.push_fault(Fault::status(status).body(body));
        let reply = scene.send(&rows(1)).await;
        assert!(!format!("{reply:?}").contains(KEY), "{reply:?}");
    }
    assert!(!format!("{:?}", scene.sink).contains(KEY));
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let refused = |change: fn(&mut PosthogSettings)| {
        let mut settings = settings("https://app.posthog.com");
        change(&mut settings);
        let error = PosthogSink::new(&settings, Clock::manual(NOW)).unwrap_err();
        assert!(error.is_config());
        error.to_string()
    };
    assert!(refused(|s| s.host = "ftp://x".to_owned()).starts_with("POSTHOG_HOST must"));
    let key = refused(|s| s.key = crate::config::Secret::new("phx_1"));
    assert!(key.starts_with("POSTHOG_API_KEY is a personal"), "{key}");
    assert!(refused(|s| s.user_plain = false).contains("HMAC key"));
    let missing = refused(|s| s.ca_file = Some("/no/such/ca.pem".into()));
    assert_eq!(
        missing,
        "AUDITHOG_POSTHOG_CA_FILE /no/such/ca.pem cannot be read"
    );
    let none = refused(|s| s.ca_file = Some("/dev/null".into()));
    assert_eq!(
        none,
        "AUDITHOG_POSTHOG_CA_FILE /dev/null holds no certificate"
    );
}
