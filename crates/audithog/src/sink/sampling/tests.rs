use uuid::Uuid;

use super::{Sampled, Sampler};
use crate::config::{SampleRule, StatusMatch};
use crate::record::{Actor, Exchange, Measured, Micros, Outcome, RequestId, Row};

fn rule(status: StatusMatch, rate: f64) -> SampleRule {
    SampleRule {
        method: None,
        route: None,
        status,
        rate,
    }
}

fn row(id: Uuid, status: u16) -> Row {
    Row {
        id,
        caller_id: false,
        ts: Micros(0),
        event: "api_request".into(),
        request_id: Some(RequestId::Uuid(id)),
        actor: Actor::default(),
        exchange: Some(Exchange {
            method: "GET".into(),
            path: "/healthz".into(),
            route: Some("/healthz".into()),
            status_code: Some(status),
            outcome: if status < 400 {
                Outcome::Success
            } else {
                Outcome::Failure
            },
            error_code: None,
            duration_us: 1,
            user_agent: None,
            ip: None,
            upstream_request_id: None,
        }),
        trace_id: None,
        trace_trusted: false,
        distinct_id: None,
        properties: None,
        on_request_of: None,
        measured: Measured::default(),
    }
}

/// A UUIDv7 of millisecond `ms` whose random part is all `fill`.
fn v7(ms: u64, fill: u8) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(ms, &[fill; 10]).into_uuid()
}

fn is_sent(rules: &[SampleRule], row: &Row) -> bool {
    Sampler::new(rules).decide(row) != Sampled::Out
}

/// Five standard deviations of a binomial: a correct hash fails once in two million.
fn assert_rate(kept: u32, n: u32, rate: f64) {
    let expected = f64::from(n) * rate;
    let bound = 5.0 * (expected * (1.0 - rate)).sqrt();
    assert!(
        (f64::from(kept) - expected).abs() < bound,
        "{kept} of {n} at {rate}"
    );
}

#[test]
fn the_rate_holds_for_ids_that_differ_only_in_time() {
    // What a leading-bits decision gets wrong: all of them share those bits.
    for rate in [0.01, 0.05, 0.5, 0.9] {
        let sampler = Sampler::new(&[rule(StatusMatch::Success, rate)]);
        for fill in [0, 0x5a, 0xff] {
            let kept = (0..100_000)
                .filter(|ms| {
                    let row = row(v7(1_772_366_400_000 + ms, fill), 200);
                    sampler.decide(&row) == Sampled::Kept { rate }
                })
                .count();
            assert_rate(u32::try_from(kept).unwrap(), 100_000, rate);
        }
    }
}

#[test]
fn the_rate_holds_for_ids_of_one_millisecond() {
    let sampler = Sampler::new(&[rule(StatusMatch::Success, 0.1)]);
    let kept = (0..100_000_u128)
        .filter(|n| {
            let id = Uuid::from_u128(v7(1_772_366_400_000, 0).as_u128() | n);
            sampler.decide(&row(id, 200)) != Sampled::Out
        })
        .count();
    assert_rate(u32::try_from(kept).unwrap(), 100_000, 0.1);
}

/// The decision is a promise across versions: replays and other services decide the same.
/// The expected value is from another implementation of the documented hash.
#[test]
fn the_decision_never_changes() {
    let sampler = Sampler::new(&[rule(StatusMatch::Success, 0.5)]);
    let decisions: String = (0..32)
        .map(|ms| match sampler.decide(&row(v7(ms, 0), 200)) {
            Sampled::Out => '0',
            Sampled::Kept { .. } | Sampled::Whole => '1',
        })
        .collect();
    assert_eq!(decisions, "01000100011000111011110110110000");
}

#[test]
fn a_higher_rate_keeps_all_that_a_lower_one_keeps() {
    for ms in 0..10_000 {
        let row = row(v7(ms, 1), 200);
        let low = is_sent(&[rule(StatusMatch::Success, 0.2)], &row);
        let high = is_sent(&[rule(StatusMatch::Success, 0.3)], &row);
        assert!(high || !low);
    }
}

#[test]
fn edges_of_the_rate() {
    let row = row(v7(1, 1), 200);
    let decide = |rate| Sampler::new(&[rule(StatusMatch::Success, rate)]).decide(&row);
    assert_eq!(decide(0.0), Sampled::Out);
    assert_eq!(decide(1.0), Sampled::Whole);
    assert_eq!(decide(7.0), Sampled::Whole);
    assert_eq!(decide(f64::NAN), Sampled::Whole);
    assert_eq!(decide(-1.0), Sampled::Out);
    assert_eq!(Sampler::default().decide(&row), Sampled::Whole);
}

#[test]
fn failures_are_kept_unless_a_rule_names_them() {
    use StatusMatch::{Class, Code, Failure, Success};
    let id = v7(1, 1);
    let broken_off = || {
        let mut row = row(id, 200);
        row.exchange.as_mut().unwrap().outcome = Outcome::Failure;
        row
    };
    let no_status = || {
        let mut row = broken_off();
        row.exchange.as_mut().unwrap().status_code = None;
        row
    };
    let table = [
        (Success, row(id, 200), false),
        (Success, row(id, 302), false),
        (Success, row(id, 404), true),
        (Success, broken_off(), true),
        (Success, no_status(), true),
        (Class(2), row(id, 204), false),
        (Class(2), row(id, 304), true),
        (Class(2), row(id, 500), true),
        (Class(2), broken_off(), true),
        (Code(200), row(id, 200), false),
        (Code(200), row(id, 201), true),
        (Code(200), broken_off(), true),
        (Class(4), row(id, 404), false),
        (Class(4), row(id, 500), true),
        (Code(404), row(id, 404), false),
        (Code(404), row(id, 405), true),
        (Failure, row(id, 200), true),
        (Failure, row(id, 500), false),
        (Failure, broken_off(), false),
        (Failure, no_status(), false),
        (Class(5), no_status(), true),
    ];
    for (status, row, sent) in table {
        assert_eq!(
            is_sent(&[rule(status, 0.0)], &row),
            sent,
            "{status:?} {row:?}"
        );
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let healthz = SampleRule {
        method: Some("get".to_owned()),
        route: Some("/healthz".to_owned()),
        ..rule(StatusMatch::Class(2), 0.0)
    };
    let rest = rule(StatusMatch::Class(2), 1.0);
    let mut other = row(v7(1, 1), 200);
    assert!(!is_sent(&[healthz.clone(), rest.clone()], &other));
    assert!(is_sent(&[rest, healthz.clone()], &other));
    other.exchange.as_mut().unwrap().method = "POST".into();
    assert!(is_sent(&[healthz], &other));
}

#[test]
fn routes_are_templates() {
    let with_route = |pattern: &str, route: Option<&str>| {
        let rule = SampleRule {
            route: Some(pattern.to_owned()),
            ..rule(StatusMatch::Success, 0.0)
        };
        let mut row = row(v7(1, 1), 200);
        row.exchange.as_mut().unwrap().route = route.map(|route| route.to_owned().into());
        !is_sent(&[rule], &row)
    };
    assert!(with_route("/healthz", Some("/healthz")));
    assert!(!with_route("/healthz", Some("/healthz/deep")));
    assert!(with_route("/internal/*", Some("/internal/{*rest}")));
    assert!(!with_route("/internal/*", Some("/internal")));
    assert!(with_route("*", Some("/any")));
    // The path is `/healthz`, but the client chose it.
    assert!(!with_route("/healthz", None));
}

#[test]
fn business_events_and_own_rows_are_kept_whole() {
    let rules = [
        rule(StatusMatch::Success, 0.0),
        rule(StatusMatch::Failure, 0.0),
    ];
    for event in [
        "agent_published",
        "audit_heartbeat",
        "api_connection_closed",
    ] {
        let mut row = row(v7(1, 1), 200);
        row.event = event.into();
        assert_eq!(Sampler::new(&rules).decide(&row), Sampled::Whole);
    }
}

#[test]
fn only_a_trusted_trace_id_decides() {
    let sampler = Sampler::new(&[rule(StatusMatch::Success, 0.5)]);
    let decide = |ms: u64, trace: u8, trusted: bool| {
        let mut row = row(v7(ms, 0), 200);
        row.trace_id = Some([trace; 16]);
        row.trace_trusted = trusted;
        sampler.decide(&row)
    };
    // One trace: one decision, whatever the request. Without trust the trace changes nothing.
    for trace in 0..=255 {
        assert!((1..50).all(|ms| decide(ms, trace, true) == decide(0, trace, true)));
        assert!((0..50).all(|ms| decide(ms, trace, false) == decide(ms, 0, false)));
    }
    let traces = (0..=255)
        .filter(|trace| decide(0, *trace, true) != Sampled::Out)
        .count();
    assert!((80..176).contains(&traces), "{traces}");
    let requests = (0..256)
        .filter(|ms| decide(*ms, 0, false) != Sampled::Out)
        .count();
    assert!((80..176).contains(&requests), "{requests}");
}
