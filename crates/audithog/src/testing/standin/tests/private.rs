//! The private API: who may, what is refused, and what is kept.

use serde_json::{Value, json};

use super::client::{Answer, send};
use crate::testing::PostHogStandIn;

fn ask(posthog: &PostHogStandIn, method: &str, path: &str, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let path = format!("/api/projects/1/{path}");
    send(
        posthog,
        method,
        &path,
        &headers,
        body.to_string().as_bytes(),
    )
    .expect("a reply")
}

fn make(posthog: &PostHogStandIn, kind: &str, body: &Value) -> Value {
    let answer = ask(posthog, "POST", &format!("{kind}/"), "phx_a", body);
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()
}

fn trends() -> Value {
    json!({"kind": "InsightVizNode", "source": {"kind": "TrendsQuery", "interval": "hour",
        "series": [{"kind": "EventsNode", "event": "api_request", "math": "total"}]}})
}

#[test]
fn keys_and_scopes_are_checked_in_this_order() {
    let posthog = PostHogStandIn::start().unwrap();
    let scopes = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
    posthog.configure(|behaviour| {
        behaviour.personal_keys = Some(
            [
                ("phx_reader".to_owned(), scopes(&["dashboard:read"])),
                ("phx_writer".to_owned(), scopes(&["dashboard:write"])),
                ("phx_all".to_owned(), scopes(&["*"])),
            ]
            .into(),
        );
    });
    let body = json!({"name": "a"});
    for (method, key, status) in [
        ("GET", "phx_nobody", 401),
        ("GET", "phc_project", 401),
        ("GET", "phx_reader", 200),
        ("POST", "phx_reader", 403),
        ("GET", "phx_writer", 200),
        ("POST", "phx_writer", 201),
        ("POST", "phx_all", 201),
    ] {
        let answer = ask(&posthog, method, "dashboards/", key, &body);
        assert_eq!(answer.status, status, "{method} {key}: {}", answer.json());
        if status == 403 {
            let detail = answer.json()["detail"].clone();
            assert_eq!(detail, "API key missing required scope 'dashboard:write'");
        }
    }
    assert_eq!(
        ask(&posthog, "GET", "insights/", "phx_writer", &body).status,
        403
    );
}

#[test]
fn queries_of_unknown_kinds_members_and_words_are_refused() {
    let posthog = PostHogStandIn::start().unwrap();
    let with = |pointer: &str, value: Value| {
        let mut query = trends();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        query.pointer_mut(parent).unwrap()[name] = value;
        query
    };
    for query in [
        json!({"kind": "NoNode"}),
        json!({"kind": "HogQLQuery", "query": "SELECT 1"}),
        with("/kind", json!("DataVisualizationNode")),
        with("/source/kind", json!("NoQuery")),
        with("/source/series", json!([])),
        with("/source/nothing", json!(1)),
        with("/source/interval", json!("fortnight")),
        with("/source/trendsFilter", json!({"display": "NoGraph"})),
        with("/source/trendsFilter", json!({"formula": "A / B"})),
        with("/source/series/0/math", json!("guess")),
        with("/source/series/0/math", json!("hogql")),
        with(
            "/source/series/0/properties",
            json!([{"key": "a", "type": "event", "operator": "like", "value": 1}]),
        ),
        json!({"kind": "DataVisualizationNode", "source": {"kind": "HogQLQuery"}}),
        json!({"kind": "DataVisualizationNode", "source": {"kind": "HogQLQuery", "query": "SELECT 1"}, "chartSettings": {"xAxis": {}}}),
    ] {
        let body = json!({"name": "a", "query": query});
        let answer = ask(&posthog, "POST", "insights/", "phx_a", &body);
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["type"], "validation_error");
    }
    assert!(posthog.things("insights").is_empty());
    make(
        &posthog,
        "insights",
        &json!({"name": "a", "query": trends()}),
    );
}

#[test]
fn alerts_hang_on_trends_and_have_a_bound() {
    let posthog = PostHogStandIn::start().unwrap();
    let insight = make(&posthog, "insights", &json!({"query": trends()}))["id"].clone();
    let sql = json!({"kind": "DataVisualizationNode", "source": {"kind": "HogQLQuery", "query": "SELECT 1"}});
    let table = make(&posthog, "insights", &json!({"query": sql}))["id"].clone();
    let good = json!({"name": "a", "insight": insight, "subscribed_users": [42], "calculation_interval": "hourly",
        "condition": {"type": "absolute_value"}, "config": {"type": "TrendsAlertConfig", "series_index": 0},
        "threshold": {"configuration": {"type": "absolute", "bounds": {"upper": 1}}}});
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let mut silent = good.clone();
    silent.as_object_mut().unwrap().remove("subscribed_users");
    for body in [
        silent,
        with("insight", table),
        with("insight", json!(1)),
        with("subscribed_users", json!([43])),
        with("calculation_interval", json!("every_5_minutes")),
        with("condition", json!({"type": "no_value"})),
        with(
            "config",
            json!({"type": "TrendsAlertConfig", "series_index": 1}),
        ),
        with(
            "threshold",
            json!({"configuration": {"type": "absolute", "bounds": {}}}),
        ),
        with(
            "threshold",
            json!({"configuration": {"type": "relative", "bounds": {"upper": 1}}}),
        ),
    ] {
        let answer = ask(&posthog, "POST", "alerts/", "phx_a", &body);
        assert_eq!(answer.status, 400, "{body}");
    }
    let made = make(&posthog, "alerts", &good);
    assert_eq!(made["subscribed_users"][0]["email"], "ada@example.com");
    assert_eq!(made["insight"]["id"], insight);
    let path = format!("alerts/{}/", made["id"].as_str().unwrap());
    assert_eq!(
        ask(&posthog, "DELETE", &path, "phx_a", &json!({})).status,
        204
    );
    assert_eq!(ask(&posthog, "GET", &path, "phx_a", &json!({})).status, 404);
    assert_eq!(
        ask(
            &posthog,
            "DELETE",
            &format!("insights/{insight}/"),
            "phx_a",
            &json!({})
        )
        .status,
        405
    );
}

#[test]
fn a_list_has_pages_and_a_search_and_what_is_deleted_is_not_on_it() {
    let posthog = PostHogStandIn::start().unwrap();
    let tags = |at: usize| json!([if at.is_multiple_of(2) { "Even " } else { "odd" }]);
    let made: Vec<Value> = (0..7)
        .map(|at| {
            make(
                &posthog,
                "dashboards",
                &json!({"name": format!("number {at}"), "tags": tags(at)}),
            )
        })
        .collect();
    let page = ask(
        &posthog,
        "GET",
        "dashboards/?limit=3&offset=3",
        "phx_a",
        &json!({}),
    )
    .json();
    assert_eq!(page["count"], 7);
    assert_eq!(page["results"].as_array().unwrap().len(), 3);
    assert!(page["next"].as_str().unwrap().contains("offset=6"));
    let last = ask(
        &posthog,
        "GET",
        "dashboards/?limit=3&offset=6",
        "phx_a",
        &json!({}),
    )
    .json();
    assert_eq!(last["next"], Value::Null);
    let found = ask(
        &posthog,
        "GET",
        "dashboards/?search=even",
        "phx_a",
        &json!({}),
    )
    .json();
    assert_eq!(found["count"], 4, "tags are searched, and in lower case");
    let path = format!("dashboards/{}/", made[0]["id"]);
    assert_eq!(
        ask(&posthog, "PATCH", &path, "phx_a", &json!({"deleted": true})).status,
        200
    );
    assert_eq!(ask(&posthog, "GET", &path, "phx_a", &json!({})).status, 404);
    assert_eq!(posthog.things("dashboards").len(), 6);
}

#[test]
fn an_insight_has_a_tile_on_its_dashboards_and_tiles_are_placed() {
    let posthog = PostHogStandIn::start().unwrap();
    let dashboard = make(&posthog, "dashboards", &json!({"name": "a"}))["id"].clone();
    let insight = make(
        &posthog,
        "insights",
        &json!({"query": trends(), "dashboards": [dashboard]}),
    );
    let path = format!("dashboards/{dashboard}/");
    let shown = ask(&posthog, "GET", &path, "phx_a", &json!({})).json();
    assert_eq!(shown["tiles"][0]["insight"]["id"], insight["id"]);
    let tile = &shown["tiles"][0]["id"];
    for (place, status) in [
        (json!({"sm": {"x": 6, "y": 0, "w": 6, "h": 5}}), 200),
        (json!({"sm": {"x": 7, "y": 0, "w": 6, "h": 5}}), 400),
        (json!({"sm": {"x": 0}}), 400),
        (json!({"xl": {"x": 0, "y": 0, "w": 1, "h": 1}}), 400),
    ] {
        let body = json!({"tiles": [{"id": tile, "layouts": place}]});
        assert_eq!(
            ask(&posthog, "PATCH", &path, "phx_a", &body).status,
            status,
            "{place}"
        );
    }
    let nobody = json!({"query": trends(), "dashboards": [999]});
    assert_eq!(
        ask(&posthog, "POST", "insights/", "phx_a", &nobody).status,
        400
    );
}
