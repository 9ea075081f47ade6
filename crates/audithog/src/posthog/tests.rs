//! The client against the stand-in, over a socket.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Api;
use crate::Logger;
use crate::query::{Filter, Named};
use crate::testing::PostHogStandIn;
use crate::testing::standin::Fault;

pub(super) const KEY: &str = "phx_personal_secret";

pub(super) fn api(posthog: &PostHogStandIn) -> Api {
    let variables = [
        ("POSTHOG_HOST", posthog.url()),
        ("POSTHOG_PERSONAL_API_KEY", KEY.to_owned()),
        ("POSTHOG_PROJECT_ID", "7".to_owned()),
    ];
    let settings = Logger::builder().environment(variables);
    settings.posthog_api().unwrap()
}

#[test]
fn a_question_is_asked_with_bound_values_and_its_lines_become_an_answer() {
    let posthog = PostHogStandIn::start().unwrap();
    posthog.answer_queries(|sql, values| {
        assert!(sql.contains("FROM events"), "{sql}");
        assert!(!sql.contains("Robert"), "{sql}");
        assert_eq!(values["v1"], "Robert'); DROP TABLE events;--");
        let line = json!(["GET", "/agents", 12, 3, 0.25, "2026-01-02 03:04:05", 0]);
        Some(vec![line.as_array().unwrap().clone()])
    });
    let hostile = ["Robert'); DROP TABLE events;--"];
    let filter = Filter::all().is(crate::query::Field::UserId, hostile);
    let question = Named::Paths.question(None, filter.unwrap()).unwrap();
    let answer = api(&posthog).ask(&question).unwrap();
    assert_eq!(
        answer.lines,
        [
            json!(["GET", "/agents", 12, 3, 0.25, "2026-01-02T03:04:05.000000Z"])
                .as_array()
                .unwrap()
                .clone()
        ]
    );
    assert!(answer.scope.exact);
    let requests = posthog.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/api/projects/7/query/");
}

#[test]
fn a_reply_that_asks_to_wait_is_obeyed_and_one_that_asks_too_long_is_told() {
    let posthog = PostHogStandIn::start().unwrap();
    posthog.answer_queries(|_, _| Some(Vec::new()));
    posthog.push_fault(Fault::status(429).on_query().header("retry-after", "2"));
    let question = Named::Users.question(None, Filter::all()).unwrap();
    let mut api = api(&posthog);
    let started = Instant::now();
    assert_eq!(api.ask(&question).unwrap().lines.len(), 0);
    assert!(
        started.elapsed() >= Duration::from_secs(2),
        "not waited for"
    );
    assert_eq!(posthog.requests().len(), 2);

    for hostile in ["3600", "18446744073709551615"] {
        posthog.push_fault(Fault::status(429).on_query().header("retry-after", hostile));
        let error = api.ask(&question).unwrap_err();
        assert!(error.is_remote(), "{error:?}");
        assert!(
            error.to_string().contains("no more requests for"),
            "{error}"
        );
    }
}

#[test]
fn every_refusal_says_what_to_do_and_never_the_key() {
    let posthog = PostHogStandIn::start().unwrap();
    let question = Named::Users.question(None, Filter::all()).unwrap();
    let mut api = api(&posthog);
    for (fault, text) in [
        (
            Fault::status(401).on_query(),
            "refuses POSTHOG_PERSONAL_API_KEY",
        ),
        (
            Fault::status(403)
                .on_query()
                .body(format!("{{\"detail\":\"{KEY}\"}}")),
            "the scope",
        ),
        (Fault::status(404).on_query(), "no project 7"),
        (Fault::status(504).on_query(), "ask for a shorter time"),
        (Fault::status(512).on_query(), "ask for a shorter time"),
        (
            Fault::status(200).on_query().body("<html>"),
            "AUDITHOG_POSTHOG_API_HOST",
        ),
        (Fault::status(302).on_query(), "refuses the request"),
    ] {
        posthog.push_fault(fault);
        let error = api.ask(&question).unwrap_err();
        assert!(error.is_remote(), "{error:?}");
        let told = error.to_string();
        assert!(told.contains(text) && !told.contains(KEY), "{told}");
    }
    assert!(!format!("{api:?}").contains(KEY));
}

#[test]
fn wrong_variables_are_all_named() {
    let error = Logger::builder()
        .environment([
            ("POSTHOG_PERSONAL_API_KEY", "phc_no"),
            ("POSTHOG_PROJECT_ID", "7/../8"),
        ])
        .posthog_api()
        .unwrap_err();
    assert!(error.is_config());
    let told = error.to_string();
    assert!(
        told.contains("POSTHOG_PERSONAL_API_KEY does not begin with phx_"),
        "{told}"
    );
    assert!(told.contains("POSTHOG_PROJECT_ID is no number"), "{told}");
}
