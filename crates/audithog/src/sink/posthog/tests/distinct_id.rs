use serde_json::json;

use super::{id, job_row, request_row, shape, written};
use crate::config::{DistinctId, PosthogSettings, Secret};
use crate::record::{Actor, RequestId, StoredRow};

fn plain(_: &mut PosthogSettings) {}

fn prefixed(settings: &mut PosthogSettings) {
    settings.distinct_id = DistinctId::Prefixed;
}

fn keyed(settings: &mut PosthogSettings) {
    settings.distinct_id = DistinctId::Hmac;
    settings.hmac_key = Some(Secret::new("k"));
}

fn hidden(settings: &mut PosthogSettings) {
    settings.user_plain = false;
    settings.hmac_key = Some(Secret::new("k"));
}

/// A request of the user `user`.
fn user(user: &str) -> StoredRow {
    let mut row = request_row(1);
    row.row.actor.user_id = Some(user.to_owned().into());
    row
}

/// A job's event with a distinct id of its own.
fn own(distinct_id: &str) -> StoredRow {
    let mut row = job_row(1);
    row.row.distinct_id = Some(distinct_id.to_owned().into());
    row
}

fn anonymous() -> StoredRow {
    let mut row = request_row(1);
    row.row.actor = Actor::anonymous();
    row
}

/// HMAC-SHA256 with key `k` of `u_17`, from another implementation.
const HMAC_U17: &str = "bf934b48ff0e7b84c1736d9bc347246589ad03562a4bfa87eac9d7ce9493b917";

#[test]
fn the_first_known_identity_is_the_distinct_id() {
    let uuid = id(1).to_string();
    let mut adopted = anonymous();
    adopted.row.request_id = Some(RequestId::Adopted("up-9".into()));
    let mut heartbeat = job_row(1);
    heartbeat.row.event = "audit_heartbeat".into();
    let (req, event) = (format!("req:{uuid}"), format!("event:{uuid}"));
    let hidden_prefixed = |settings: &mut PosthogSettings| {
        hidden(settings);
        prefixed(settings);
    };
    let sha = "user:528910711addc1efce4d2019275e79142aa5eea66979a55680d4a4511d9ce6d7";
    let cases = [
        ("user id", shape(plain), user("u_17"), "u_17"),
        ("trimmed", shape(plain), user(" u_17\t"), "u_17"),
        ("prefixed", shape(prefixed), user("u_17"), "user:u_17"),
        ("hmac", shape(keyed), user("u_17"), HMAC_U17),
        ("hidden user", shape(hidden), user("u_17"), HMAC_U17),
        (
            "hidden, prefixed",
            shape(hidden_prefixed),
            user("u_17"),
            &format!("user:{HMAC_U17}"),
        ),
        ("no user", shape(plain), anonymous(), &req),
        ("no user, prefixed", shape(prefixed), anonymous(), &req),
        ("adopted request id", shape(plain), adopted, "req:up-9"),
        ("job", shape(plain), job_row(1), &event),
        ("own row", shape(plain), heartbeat, "service:agents"),
        ("caller's", shape(prefixed), own("imported-1"), "imported-1"),
        ("caller's, hidden", shape(hidden), own("u_17"), HMAC_U17),
        ("caller's, blank", shape(plain), own("  "), &event),
        (
            "placeholder",
            shape(plain),
            user("Anonymous"),
            "user:Anonymous",
        ),
        (
            "placeholder with space",
            shape(plain),
            user(" NULL "),
            "user:NULL",
        ),
        (
            "caller's placeholder",
            shape(plain),
            own("[object Object]"),
            "user:[object Object]",
        ),
        ("nul", shape(plain), user("a\0b"), "a\u{fffd}b"),
        (
            "longest",
            shape(plain),
            user(&"x".repeat(200)),
            &"x".repeat(200),
        ),
        ("too long", shape(prefixed), user(&"x".repeat(200)), sha),
    ];
    for (name, shape, row, expected) in cases {
        assert_eq!(
            written(&shape, &row)["distinct_id"],
            json!(expected),
            "{name}"
        );
    }
}

#[test]
fn a_hidden_user_shows_nowhere() {
    let mut row = user("u_17");
    row.row.distinct_id = Some("u_17".into());
    row.row.actor.on_behalf_of = Some("u_17".into());
    let event = written(&shape(hidden), &row);
    assert!(!event.to_string().contains("u_17"), "{event}");
    assert_eq!(event["properties"]["userId"], json!(HMAC_U17));
    assert_eq!(event["properties"]["onBehalfOf"], json!(HMAC_U17));
}
