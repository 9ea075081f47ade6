//! Events are written by hand, byte by byte. Here they are written once more, through `serde_json` and from the
//! documented names alone, and have to say the same.

use std::sync::Arc;

use proptest::prelude::{Strategy, any, prop, proptest};
use serde_json::{Map, Value, json};

use super::shape;
use crate::config::{IpDetail, PosthogSettings};
use crate::ledger::tests::row;
use crate::record::{ActorType, Exchange, Micros, Outcome, RequestId, Row, Run, StoredRow};
use crate::sink::posthog::distinct_id;
use crate::sink::posthog::event::{Protocol, Shape};
use crate::sink::posthog::events::Events;
use crate::sink::posthog::json as by_hand;

fn runs() -> [Arc<Run>; 3] {
    let full = Run {
        service: "agents \"2\"".to_owned(),
        environment: Some("test\n".to_owned()),
        version: Some("1.2.3".to_owned()),
        instance: Some("höst".to_owned()),
    };
    let bare = Run {
        service: "agents".to_owned(),
        ..Run::default()
    };
    [Arc::new(full), Arc::new(bare), Arc::default()]
}

/// The properties of the HTTP side; null is not said.
fn exchange(http: &Exchange) -> Vec<(&'static str, Value)> {
    let duration = (http.outcome != Outcome::Open).then(|| {
        let micros = http.duration_us;
        let shown = match micros % 1_000 {
            0 => format!("{}", micros / 1_000),
            rest => format!("{}.{rest:03}", micros / 1_000),
        };
        serde_json::from_str(&shown).unwrap()
    });
    vec![
        (
            "upstreamRequestId",
            http.upstream_request_id.as_deref().into(),
        ),
        ("method", json!(&*http.method)),
        ("path", json!(&*http.path)),
        ("route", http.route.as_deref().into()),
        ("statusCode", json!(http.status_code)),
        ("result", json!(http.outcome.as_str())),
        ("errorCode", http.error_code.as_deref().into()),
        ("duration_ms", duration.unwrap_or_default()),
        ("userAgent", http.user_agent.as_deref().into()),
        ("ip", http.ip.map(|ip| ip.to_string()).into()),
    ]
}

/// What the event of a row says, if nothing of it is hidden.
fn expected(shape: &Shape, row: &StoredRow, rate: Option<f64>, protocol: Protocol) -> Value {
    let StoredRow { run, row, .. } = row;
    let mut said = Map::new();
    let mut say = |name: &str, value: Value| {
        if !value.is_null() {
            said.insert(name.to_owned(), value);
        }
    };
    let text = |text: Option<&str>| Value::from(text);
    say(
        "service",
        text(Some(&*run.service).filter(|name| !name.is_empty())),
    );
    say("environment", text(run.environment.as_deref()));
    say("version", text(run.version.as_deref()));
    say("instance", text(run.instance.as_deref()));
    say(
        "requestId",
        text(row.request_id.as_ref().map(ToString::to_string).as_deref()),
    );
    if row.request_id != Some(RequestId::Uuid(row.id)) {
        say("eventId", json!(row.id.to_string()));
    }
    say(
        "traceId",
        text(
            row.trace_id
                .map(|id| format!("{:032x}", u128::from_be_bytes(id)))
                .as_deref(),
        ),
    );
    say("userId", text(row.actor.user_id.as_deref()));
    say("userRole", text(row.actor.user_role.as_deref()));
    say("orgId", text(row.actor.org_id.as_deref()));
    say("actorType", text(row.actor.kind.map(ActorType::as_str)));
    say("onBehalfOf", text(row.actor.on_behalf_of.as_deref()));
    if let Some(http) = &row.exchange {
        exchange(http)
            .into_iter()
            .for_each(|(name, value)| say(name, value));
    }
    // As text: reading a number may change its last digit.
    let rate = rate.map(|rate| serde_json::from_str(&rate.to_string()).unwrap());
    say("sample_rate", rate.unwrap_or_default());
    if let Some(json) = &row.properties {
        let properties: Map<String, Value> = serde_json::from_str(json).unwrap();
        properties
            .into_iter()
            .for_each(|(name, value)| say(&name, value));
    }
    let group = row.actor.org_id.as_deref().map(str::trim);
    let group = group.filter(|org| !org.is_empty() && distinct_id::is_known(row));
    let profile = distinct_id::is_known(row);
    if let Some(org) = group {
        say("$groups", json!({ "organisation": org }));
    }
    let ip = row.exchange.as_ref().and_then(|http| http.ip);
    said.insert("$ip".to_owned(), json!(ip.map(|ip| ip.to_string())));
    for (name, value) in [
        ("$geoip_disable", json!(true)),
        ("$process_person_profile", json!(profile)),
        ("$ignore_sent_at", json!(true)),
        ("$is_server", json!(true)),
        ("$lib", json!("audithog")),
        ("$lib_version", json!(env!("CARGO_PKG_VERSION"))),
    ] {
        said.insert(name.to_owned(), value);
    }
    let mut event = json!({
        "event": &*row.event,
        "uuid": row.id.to_string(),
        "distinct_id": &*distinct_id::of(row, run, shape),
        "timestamp": row.ts.to_string(),
        "properties": said,
    });
    if protocol == Protocol::V1 {
        event["options"] =
            json!({"disable_skew_correction": true, "process_person_profile": profile});
    }
    event
}

fn everything(settings: &mut PosthogSettings) {
    settings.person_profiles = true;
    settings.group_type = Some("organisation".to_owned());
    settings.ip = IpDetail::Full;
}

fn row_of_a_run() -> impl Strategy<Value = (usize, Row)> {
    (0..3_usize, row())
}

proptest! {
    #[test]
    fn every_event_says_what_serde_would(
        rows in prop::collection::vec(row_of_a_run(), 1..20),
        rate in prop::option::of(0.001..1.0_f64),
    ) {
        let (shape, runs) = (shape(everything), runs());
        for protocol in [Protocol::V0, Protocol::V1] {
            let mut events = Events::new(&shape, protocol);
            for (run, row) in &rows {
                let row = StoredRow { seq: 1, run: Arc::clone(&runs[*run]), row: row.clone().into() };
                let mut out = Vec::new();
                events.write(&mut out, &row, rate);
                let said: Value = serde_json::from_slice(&out).unwrap();
                assert_eq!(said, expected(&shape, &row, rate, protocol));
                // No name comes twice: a reader of JSON would keep one of them.
                assert!(crate::fuzz::parse_unique(&out).is_ok());
            }
        }
    }

    #[test]
    fn a_text_is_escaped_as_serde_does(text in any::<String>()) {
        let mut out = Vec::new();
        by_hand::string(&mut out, &text);
        assert_eq!(out, serde_json::to_vec(&text).unwrap());
    }

    #[test]
    fn numbers_are_those_of_the_standard_library(number in any::<u64>()) {
        for number in [number, number % 1_000, 0, u64::MAX] {
            let mut out = Vec::new();
            by_hand::number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn addresses_are_those_of_the_standard_library(ip in any::<std::net::IpAddr>()) {
        let mut out = Vec::new();
        by_hand::address(&mut out, ip);
        assert_eq!(out, format!("\"{ip}\"").into_bytes());
    }

    #[test]
    fn times_are_those_of_micros(
        first in any::<i64>(),
        steps in prop::collection::vec(-3_000_000..3_000_000_i64, 0..20),
    ) {
        let mut times = by_hand::Times::default();
        let mut time = first;
        let known = [0, -1, 999_999, -1_000_001, Micros::FIRST.0, Micros::LAST.0];
        for step in steps.into_iter().chain(known) {
            for time in [Micros(time), Micros(step)] {
                let mut out = Vec::new();
                times.write(&mut out, time);
                assert_eq!(out, format!("\"{time}\"").into_bytes());
            }
            time = time.wrapping_add(step);
        }
    }
}

#[test]
fn every_character_that_json_escapes_is_escaped() {
    for code in 0..=0x100_u32 {
        // Texts are looked at in parts of eight and four bytes, and one at a time.
        for (before, after) in (0..20).flat_map(|n| [(0, n), (n, 0), (n, 1), (n, 20 - n)]) {
            let special = char::from_u32(code).unwrap();
            let text = format!("{}{special}{}", "a".repeat(before), "\u{7f}".repeat(after));
            let mut out = Vec::new();
            by_hand::string(&mut out, &text);
            assert_eq!(out, serde_json::to_vec(&text).unwrap(), "{text:?}");
        }
    }
}
