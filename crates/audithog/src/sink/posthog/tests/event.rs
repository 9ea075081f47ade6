use serde_json::{Value, json};

use super::{id, job_row, request_row, shape, written};
use crate::config::{IpDetail, PosthogSettings};
use crate::record::{Outcome, RequestId, StoredRow, limits};
use crate::sink::posthog::event::{Protocol, Shape};

fn plain(_: &mut PosthogSettings) {}

fn bytes(shape: &Shape, row: &StoredRow, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    shape.write(&mut out, row, None, protocol);
    out
}

#[test]
fn a_request_row_has_every_property_under_its_documented_name() {
    let mut row = request_row(1);
    let exchange = row.row.exchange.as_mut().unwrap();
    exchange.status_code = Some(404);
    exchange.outcome = Outcome::Failure;
    exchange.error_code = Some("NO_AGENT".into());
    row.row.properties = Some(r#"{"count":3,"nested":{"a":[1,null]}}"#.into());
    let uuid = id(1).to_string();
    assert_eq!(
        written(&shape(plain), &row),
        json!({
            "event": "api_request",
            "uuid": uuid,
            "distinct_id": "u_17",
            "timestamp": "2026-03-01T12:00:00.000001Z",
            "properties": {
                "requestId": uuid,
                "upstreamRequestId": "up-1",
                "traceId": "abababababababababababababababab",
                "userId": "u_17",
                "userRole": "admin",
                "orgId": "acme",
                "actorType": "user",
                "onBehalfOf": "u_4",
                "method": "GET",
                "path": "/agents/7",
                "route": "/agents/{id}",
                "statusCode": 404,
                "result": "failure",
                "errorCode": "NO_AGENT",
                "duration_ms": 12.345,
                "userAgent": "curl/8",
                "ip": "203.0.113.9",
                "service": "agents",
                "environment": "test",
                "version": "1.2.3",
                "instance": "host-1",
                "count": 3,
                "nested": {"a": [1, null]},
                "$ip": "203.0.113.9",
                "$geoip_disable": true,
                "$process_person_profile": false,
                "$ignore_sent_at": true,
                "$is_server": true,
                "$lib": "audithog",
                "$lib_version": env!("CARGO_PKG_VERSION"),
            },
        })
    );
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut row = job_row(1);
    row.run = std::sync::Arc::default();
    let event = written(&shape(plain), &row);
    let names: Vec<&String> = event["properties"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "$geoip_disable",
            "$ignore_sent_at",
            "$ip",
            "$is_server",
            "$lib",
            "$lib_version",
            "$process_person_profile",
            "eventId"
        ]
    );
    // The name must be there: otherwise PostHog takes this server's address.
    assert_eq!(event["properties"]["$ip"], Value::Null);
}

#[test]
fn the_event_id_tells_apart_what_the_request_id_does_not() {
    let mut business = request_row(2);
    business.row.request_id = Some(RequestId::Uuid(id(1)));
    let event = written(&shape(plain), &business);
    assert_eq!(event["properties"]["requestId"], json!(id(1).to_string()));
    assert_eq!(event["properties"]["eventId"], json!(id(2).to_string()));
    assert_eq!(
        written(&shape(plain), &request_row(1))["properties"]["eventId"],
        Value::Null
    );
}

#[test]
fn durations_keep_microseconds() {
    for (micros, text) in [
        (0, "0"),
        (999, "0.999"),
        (1_000, "1"),
        (1_050, "1.050"),
        (u64::MAX, "18446744073709551.615"),
    ] {
        let mut row = request_row(1);
        row.row.exchange.as_mut().unwrap().duration_us = micros;
        let event = String::from_utf8(bytes(&shape(plain), &row, Protocol::V0)).unwrap();
        assert!(
            event.contains(&format!("\"duration_ms\":{text},")),
            "{event}"
        );
    }
}

#[test]
fn business_properties_never_replace_ours() {
    let mut row = request_row(1);
    row.row.properties = Some(
        r#"{"path":"mine","plan":"pro","$set":{"a":1},"distinct_id":"x","token":"***","properties":{"b":2},"p\u0061th":"again"}"#.into(),
    );
    let properties = &written(&shape(plain), &row)["properties"];
    assert_eq!(properties["path"], json!("/agents/7"));
    assert_eq!(properties["plan"], json!("pro"));
    assert_eq!(
        properties["properties"],
        json!({"path": "again", "$set": {"a": 1}, "distinct_id": "x", "token": "***", "properties": {"b": 2}})
    );
    assert_eq!(properties.get("$set"), None);
    assert_eq!(properties.get("token"), None);
}

#[test]
fn every_property_of_ours_is_reserved() {
    let mut row = request_row(1);
    row.row.exchange.as_mut().unwrap().error_code = Some("X".into());
    row.row.request_id = Some(RequestId::Adopted("other".into()));
    let ours = written(&shape(plain), &row)["properties"]
        .as_object()
        .unwrap()
        .clone();
    let taken: serde_json::Map<String, Value> = ours
        .keys()
        .chain([&"sample_rate".to_owned()])
        .map(|name| (name.clone(), json!("taken")))
        .collect();
    row.row.properties = Some(Value::Object(taken.clone()).to_string().into());
    let event = written(&shape(plain), &row);
    let mut expected = ours;
    expected.insert("properties".to_owned(), Value::Object(taken));
    assert_eq!(event["properties"], Value::Object(expected));
}

#[test]
fn damaged_properties_cannot_spoil_a_batch() {
    for damaged in [r#"{"a":"#, "[1]", "", "{\"a\":1}}", "\u{1}"] {
        let mut row = job_row(1);
        row.row.properties = Some(damaged.into());
        assert_eq!(
            written(&shape(plain), &row)["properties"]["properties"],
            json!(damaged)
        );
    }
}

#[test]
fn hostile_text_stays_text() {
    let nasty = "\"},{\"event\":\"x\u{0}\n\u{2028}\u{1f642}\\";
    let mut row = request_row(1);
    row.row.event = nasty.into();
    row.row.actor.user_role = Some(nasty.into());
    let exchange = row.row.exchange.as_mut().unwrap();
    exchange.path = nasty.into();
    exchange.user_agent = Some(nasty.into());
    let event = written(&shape(plain), &row);
    assert_eq!(event["event"], json!(nasty));
    assert_eq!(event["properties"]["path"], json!(nasty));
    assert_eq!(event["properties"]["userAgent"], json!(nasty));
    assert_eq!(event["properties"]["userRole"], json!(nasty));
}

#[test]
fn a_loss_names_clients_only_where_addresses_may_leave() {
    let mut row = request_row(1);
    row.row.event = "audit_loss".into();
    let details = r#"{"clients":[{"count":2,"ip":"203.0.113.9"}],"count":2}"#;
    row.row.properties = Some(details.into());
    for (detail, names) in [
        (IpDetail::Full, true),
        (IpDetail::Truncated, false),
        (IpDetail::Off, false),
    ] {
        let event = written(&shape(|settings| settings.ip = detail), &row);
        assert_eq!(event["properties"]["count"], json!(2));
        assert_eq!(event["properties"].get("clients").is_some(), names);
    }
}

#[test]
fn less_can_leave_the_machine_than_the_ledger_keeps() {
    let ip = |detail: IpDetail, given: &str| {
        let mut row = request_row(1);
        row.row.exchange.as_mut().unwrap().ip = Some(given.parse().unwrap());
        let event = written(&shape(|settings| settings.ip = detail), &row);
        (
            event["properties"].get("ip").cloned(),
            event["properties"]["$ip"].clone(),
        )
    };
    let both = |text: &str| (Some(json!(text)), json!(text));
    assert_eq!(ip(IpDetail::Full, "203.0.113.9"), both("203.0.113.9"));
    assert_eq!(
        ip(IpDetail::Truncated, "203.0.113.255"),
        both("203.0.113.0")
    );
    assert_eq!(
        ip(IpDetail::Truncated, "::ffff:203.0.113.255"),
        both("203.0.113.0")
    );
    assert_eq!(
        ip(IpDetail::Truncated, "2001:db8:1:ffff:3::9"),
        both("2001:db8:1::")
    );
    assert_eq!(ip(IpDetail::Off, "203.0.113.9"), (None, Value::Null));

    let event = written(
        &shape(|settings| settings.user_agent = false),
        &request_row(1),
    );
    assert!(!event.to_string().contains("curl/8"), "{event}");
}

#[test]
fn profiles_and_groups_are_asked_for() {
    let event = written(
        &shape(|settings| settings.person_profiles = true),
        &request_row(1),
    );
    assert_eq!(event["properties"]["$process_person_profile"], json!(true));

    let grouped = shape(|settings| settings.group_type = Some("company".to_owned()));
    let event = written(&grouped, &request_row(1));
    assert_eq!(event["properties"]["$groups"], json!({"company": "acme"}));
    // PostHog has no groups without a profile.
    assert_eq!(event["properties"]["$process_person_profile"], json!(true));
    let event = written(&grouped, &job_row(1));
    assert_eq!(event["properties"].get("$groups"), None);
    assert_eq!(event["properties"]["$process_person_profile"], json!(false));
}

#[test]
fn a_row_of_nobody_known_is_no_person_and_in_no_group() {
    let shape = shape(|settings| {
        settings.person_profiles = true;
        settings.group_type = Some("company".to_owned());
    });
    type Text = Option<&'static str>;
    let profile_and_groups = |user: Text, distinct_id: Text, org: Text| {
        let mut row = request_row(1);
        row.row.actor.user_id = user.map(Into::into);
        row.row.actor.org_id = org.map(Into::into);
        row.row.distinct_id = distinct_id.map(Into::into);
        let v1 = bytes(&shape, &row, Protocol::V1);
        let v1: Value = serde_json::from_slice(&v1).unwrap();
        let profile = v1["properties"]["$process_person_profile"].clone();
        assert_eq!(v1["options"]["process_person_profile"], profile);
        (profile, v1["properties"].get("$groups").cloned())
    };
    let nobody = (json!(false), None);
    let alone = (json!(true), None);
    let member = (json!(true), Some(json!({"company": "acme"})));
    for id in [None, Some(""), Some("  ")] {
        assert_eq!(profile_and_groups(id, id, None), nobody, "{id:?}");
        assert_eq!(profile_and_groups(id, id, Some("acme")), nobody, "{id:?}");
        assert_eq!(profile_and_groups(Some("u_1"), None, id), alone, "{id:?}");
    }
    assert_eq!(profile_and_groups(Some("u_1"), None, Some("acme")), member);
    assert_eq!(profile_and_groups(None, Some("d_1"), Some("acme")), member);
    assert_eq!(profile_and_groups(None, Some("d_1"), None), alone);
}

#[test]
fn both_protocols_carry_the_same_properties() {
    let row = request_row(1);
    let v0 = bytes(&shape(plain), &row, Protocol::V0);
    let v1 = bytes(&shape(plain), &row, Protocol::V1);
    assert_eq!(v0, bytes(&shape(plain), &row, Protocol::V0));
    let options = r#""options":{"disable_skew_correction":true,"process_person_profile":false},"#;
    assert_eq!(
        String::from_utf8(v1).unwrap().replace(options, ""),
        String::from_utf8(v0).unwrap()
    );
}

#[test]
fn a_sampled_event_carries_its_rate() {
    let mut out = Vec::new();
    shape(plain).write(&mut out, &request_row(1), Some(0.05), Protocol::V1);
    let event: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(event["properties"]["sample_rate"], json!(0.05));
}

/// Capture puts an event as a string inside JSON, and Kafka takes 1,000,000 bytes of that.
#[test]
fn the_largest_row_stays_far_below_the_limit_of_one_event() {
    let quotes = |limit: usize| "\"".repeat(limit);
    let mut row = request_row(1);
    row.row.event = quotes(limits::EVENT).into();
    let actor = &mut row.row.actor;
    for text in [&mut actor.user_id, &mut actor.user_role, &mut actor.org_id] {
        *text = Some(quotes(limits::ACTOR).into());
    }
    actor.on_behalf_of = Some(quotes(limits::ACTOR).into());
    let exchange = row.row.exchange.as_mut().unwrap();
    exchange.path = quotes(limits::PATH).into();
    exchange.route = Some(quotes(limits::ROUTE).into());
    exchange.user_agent = Some(quotes(limits::USER_AGENT).into());
    exchange.error_code = Some(quotes(limits::ERROR_CODE).into());
    exchange.upstream_request_id = Some(quotes(limits::UPSTREAM_REQUEST_ID).into());
    row.row.properties = Some(
        format!(
            "{{\"p\":\"{}\"}}",
            "\\\"".repeat((limits::PROPERTIES - 8) / 2)
        )
        .into(),
    );
    let event = bytes(&shape(plain), &row, Protocol::V1);
    let double_encoded = serde_json::to_string(std::str::from_utf8(&event).unwrap()).unwrap();
    assert!(double_encoded.len() < 500_000, "{}", double_encoded.len());
}

#[test]
fn the_weight_covers_an_ordinary_event() {
    for row in [request_row(1), job_row(2)] {
        let len = bytes(&shape(plain), &row, Protocol::V1).len();
        let weight = Shape::weight(&row);
        assert!(
            len <= weight && weight < 3 * len,
            "{len} bytes, weight {weight}"
        );
    }
}
