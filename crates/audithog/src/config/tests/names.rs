//! Which names are ours.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{env, problem, problems, resolved};
use crate::config::Builder;

#[test]
fn an_unknown_name_is_answered_with_the_nearest_one() {
    for (name, nearest) in [
        ("AUDITHOG_DBB", "AUDITHOG_DB"),
        ("AUDITHOG_DB_FILE", "AUDITHOG_DB"),
        ("AUDITHOG_RETENTIONN", "AUDITHOG_RETENTION"),
        ("AUDITHOG_TRUSTED_PROXY", "AUDITHOG_TRUSTED_PROXIES"),
        ("AUDITHOG_SAMPEL", "AUDITHOG_SAMPLE"),
        // Ours without the prefix.
        ("AUDITHOG_POSTHOG_API_KEY", "POSTHOG_API_KEY"),
        ("AUDITHOG_POSTHOG_HOST", "POSTHOG_HOST"),
        ("AUDITHOG_LOG_BATCH_SIZE", "LOG_BATCH_SIZE"),
        ("AUDITHOG_BATCH_SIZE", "LOG_BATCH_SIZE"),
    ] {
        assert_eq!(
            problem(name, "hidden"),
            format!("{name} is no variable of audithog; did you mean {nearest}?")
        );
    }
    let far = "AUDITHOG_SOMETHING_ELSE_ENTIRELY";
    let alone = format!("{far} is no variable of audithog");
    assert_eq!(problem(far, "hidden"), alone);
}

#[test]
fn other_programs_variables_are_none_of_our_business() {
    resolved(&env([
        ("AUDIT_HOG", "x"),
        ("audithog_db", "x"),
        ("LOG_LEVEL", "x"),
        ("POSTHOG_FEATURE_FLAGS", "x"),
        ("PATH", "x"),
    ]));
}

#[test]
fn links_that_kubernetes_makes_for_a_service_are_let_through() {
    // For services named `audithog`, `audithog-console` and `audithog-db`, as the kubelet sets them.
    resolved(&env([
        ("AUDITHOG_SERVICE_HOST", "10.0.0.11"),
        ("AUDITHOG_SERVICE_PORT", "8080"),
        ("AUDITHOG_SERVICE_PORT_HTTP", "8080"),
        ("AUDITHOG_PORT", "tcp://10.0.0.11:8080"),
        ("AUDITHOG_PORT_8080_TCP", "tcp://10.0.0.11:8080"),
        ("AUDITHOG_PORT_8080_TCP_PROTO", "tcp"),
        ("AUDITHOG_PORT_8080_TCP_PORT", "8080"),
        ("AUDITHOG_PORT_8080_TCP_ADDR", "10.0.0.11"),
        ("AUDITHOG_CONSOLE_SERVICE_HOST", "10.0.0.12"),
        ("AUDITHOG_CONSOLE_PORT", "udp://10.0.0.12:53"),
        ("AUDITHOG_DB_PORT_5432_TCP_ADDR", "10.0.0.13"),
    ]));
    // Not in the form of a link.
    problem("AUDITHOG_PORT", "8080");
    problem("AUDITHOG_PORT_HTTP", "8080");
}

#[test]
fn what_is_not_utf_8_is_an_error_where_it_is_ours() {
    let bad = || OsString::from_vec(b"\xff/x".to_vec());
    let of = |name: &[u8]| Builder::from_environment([(OsString::from_vec(name.to_vec()), bad())]);
    for name in [
        "AUDITHOG_DB",
        "LOG_BATCH_SIZE",
        "POSTHOG_API_KEY",
        "POSTHOG_API_KEY_FILE",
        "STATE_DIRECTORY",
    ] {
        let problems = problems(&of(name.as_bytes()));
        assert_eq!(problems, [format!("{name} is not valid UTF-8")]);
    }
    assert_eq!(
        problems(&of(b"AUDITHOG_SAMPEL")),
        ["AUDITHOG_SAMPEL is no variable of audithog; did you mean AUDITHOG_SAMPLE?"]
    );
    assert_eq!(problems(&of(b"AUDITHOG_\xff\n")).len(), 1);
    resolved(&of(b"OTEL_SERVICE_NAME"));
    resolved(&of(b"\xff"));
    resolved(&of(b"LOG_BATCH_SIZE").pin("LOG_BATCH_SIZE", "3"));
}
