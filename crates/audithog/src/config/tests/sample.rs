//! `AUDITHOG_SAMPLE`.

use super::problem;
use crate::config::sample::parse;
use crate::config::{SampleRule, StatusMatch};

fn rule(method: &str, route: &str, status: StatusMatch, rate: f64) -> SampleRule {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    SampleRule {
        method: some(method),
        route: some(route),
        status,
        rate,
    }
}

#[test]
fn each_part_may_be_left_out() {
    use StatusMatch::{Class, Code, Failure, Success};
    for (text, wanted) in [
        ("=0.5", rule("", "", Success, 0.5)),
        ("2xx=0.05", rule("", "", Class(2), 0.05)),
        ("5XX=1", rule("", "", Class(5), 1.0)),
        ("101=0", rule("", "", Code(101), 0.0)),
        ("404=.25", rule("", "", Code(404), 0.25)),
        ("Success=1", rule("", "", Success, 1.0)),
        ("failure=1e-3", rule("", "", Failure, 0.001)),
        ("get=0.5", rule("GET", "", Success, 0.5)),
        ("M-SEARCH /x=1", rule("M-SEARCH", "/x", Success, 1.0)),
        ("/a/{id}=0.5", rule("", "/a/{id}", Success, 0.5)),
        ("/a=b=0.5", rule("", "/a=b", Success, 0.5)),
        (
            "  GET   /healthz\t2xx = 0.01 ",
            rule("GET", "/healthz", Class(2), 0.01),
        ),
        // In any order: nobody should have to look it up.
        (
            "2xx /healthz GET=0.01",
            rule("GET", "/healthz", Class(2), 0.01),
        ),
    ] {
        assert_eq!(parse(text), Ok(vec![wanted]), "{text}");
    }
}

#[test]
fn rules_keep_their_order_and_empty_ones_do_not_count() {
    let rules = parse("2xx=0.05, GET /healthz 2xx=0.01,,").unwrap();
    assert_eq!(
        rules,
        [
            rule("", "", StatusMatch::Class(2), 0.05),
            rule("GET", "/healthz", StatusMatch::Class(2), 0.01),
        ]
    );
    assert_eq!(parse(" , "), Ok(Vec::new()));
}

#[test]
fn a_rule_is_shown_as_it_can_be_written() {
    let text = "GET /healthz 2xx=0.01,POST success=0,/a/* failure=1,404=0.125";
    let rules = parse(text).unwrap();
    let shown: Vec<String> = rules.iter().map(ToString::to_string).collect();
    assert_eq!(shown.join(","), text);
    assert_eq!(parse(&shown.join(",")), Ok(rules));
}

#[test]
fn what_is_wrong_with_a_rule_is_said() {
    let part = "has a part that is no method, route or status";
    for (wrong, why) in [
        ("2xx", "has no `=rate`"),
        ("2xx=", "has a rate that is no number"),
        ("2xx=5%", "has a rate that is no number"),
        ("2xx=1.01", "has a rate outside 0 to 1"),
        ("2xx=-0.1", "has a rate outside 0 to 1"),
        ("2xx=NaN", "has a rate outside 0 to 1"),
        ("2xx=inf", "has a rate outside 0 to 1"),
        ("2xx 404=1", "names two statuses"),
        ("GET POST=1", "names two methods or two routes"),
        ("/a /b=1", "names two methods or two routes"),
        ("0xx=1", part),
        ("6xx=1", part),
        ("+2xx=1", part),
        ("99=1", part),
        ("600=1", part),
        ("+200=1", part),
        ("0200=1", part),
        ("a/b=1", part),
    ] {
        let problem = problem("AUDITHOG_SAMPLE", &format!("3xx=1,{wrong}"));
        assert_eq!(
            problem,
            format!("AUDITHOG_SAMPLE: `3xx=1,{wrong}` has a rule `{wrong}` that {why}")
        );
    }
}
