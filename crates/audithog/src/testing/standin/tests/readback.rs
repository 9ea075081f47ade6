use serde_json::{Value, json};

use super::client::{Answer, at_noon, event, post_v0, send, uuid};
use crate::testing::PostHogStandIn;
use crate::testing::standin::Fault;

const KEY: (&str, &str) = ("authorization", "Bearer phx_personal");

fn ask(posthog: &PostHogStandIn, sql: &str, uuids: &[String]) -> Answer {
    let body = json!({
        "query": {"kind": "HogQLQuery", "query": sql, "values": {"uuids": uuids}},
        "refresh": "force_blocking",
    });
    let body = body.to_string();
    send(
        posthog,
        "POST",
        "/api/projects/1/query/",
        &[KEY],
        body.as_bytes(),
    )
    .expect("a reply")
}

#[test]
fn stored_uuids_are_listed_and_counted_once() {
    let posthog = at_noon();
    post_v0(&posthog, &[event(1), event(2), event(3)]);
    post_v0(&posthog, &[event(1)]);
    let wanted = [uuid(1), uuid(2), uuid(9)];
    let list = ask(
        &posthog,
        "select uuid from events where uuid in {uuids}",
        &wanted,
    )
    .json();
    assert_eq!(list["results"], json!([[uuid(1)], [uuid(2)]]));
    assert_eq!(list["columns"], json!(["uuid"]));
    assert_eq!(list["types"], json!([["uuid", "UUID"]]));
    assert_eq!(list["hasMore"], false);
    let sql = "SELECT count(DISTINCT uuid) AS n FROM events WHERE uuid IN {uuids}";
    let count = ask(&posthog, sql, &wanted).json();
    assert_eq!(count["results"], json!([[2]]));
    assert_eq!(count["columns"], json!(["n"]));
}

#[test]
fn a_list_without_a_limit_ends_at_a_hundred_rows() {
    let posthog = at_noon();
    let events: Vec<Value> = (1..=120).map(event).collect();
    post_v0(&posthog, &events);
    let wanted: Vec<String> = (1..=120).map(uuid).collect();
    for (sql, rows, more) in [
        ("select uuid from events where uuid in {uuids}", 100, true),
        (
            "select uuid from events where uuid in {uuids} limit 119",
            119,
            true,
        ),
        (
            "select uuid from events where uuid in {uuids} LIMIT 120",
            120,
            false,
        ),
    ] {
        let reply = ask(&posthog, sql, &wanted).json();
        assert_eq!(
            reply["results"].as_array().map(Vec::len),
            Some(rows),
            "{sql}"
        );
        assert_eq!(reply["hasMore"], more, "{sql}");
    }
}

#[test]
fn a_personal_key_is_needed() {
    let posthog = at_noon();
    let cases: [&[(&str, &str)]; 3] = [
        &[],
        &[("authorization", "Bearer phc_project")],
        &[("authorization", "phx_personal")],
    ];
    for headers in cases {
        let path = "/api/environments/1/query/";
        let answer = send(&posthog, "POST", path, headers, b"{}").expect("a reply");
        assert_eq!(answer.status, 401, "{headers:?}");
    }
}

#[test]
fn any_other_question_is_refused() {
    let posthog = at_noon();
    for body in [
        json!({}),
        json!({"query": {"kind": "TrendsQuery"}}),
        json!({"query": {"kind": "HogQLQuery", "query": "select 1"}}),
    ] {
        let body = body.to_string();
        let answer = send(
            &posthog,
            "POST",
            "/api/projects/1/query",
            &[KEY],
            body.as_bytes(),
        );
        assert_eq!(answer.expect("a reply").status, 400, "{body}");
    }
    assert_eq!(ask(&posthog, "show tables", &[]).status, 400);
}

#[test]
fn a_fault_can_be_for_queries() {
    let posthog = at_noon();
    posthog.stand_fault(Fault::status(429).on_query());
    assert_eq!(ask(&posthog, "select uuid from events", &[]).status, 429);
    assert_eq!(post_v0(&posthog, &[event(1)]).status, 200);
}
