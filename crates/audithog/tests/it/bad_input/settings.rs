//! Settings, one by one and all at once.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

use audithog::Logger;

/// Every variable of the table in the source, so that a new one cannot be forgotten here.
fn variables() -> BTreeSet<&'static str> {
    let source = include_str!("../../../src/config/variables.rs");
    let table = source.split_once("pub(crate) const ALL").unwrap().0;
    let constants = table
        .lines()
        .filter(|line| line.starts_with("pub(crate) const "));
    let names: BTreeSet<_> = constants
        .map(|line| line.split('"').nth(1).unwrap())
        .collect();
    assert!(
        names.contains("LOG_BATCH_SIZE") && names.len() > 30,
        "{names:?}"
    );
    names
}

/// A value that is wrong for the variable; none for those that take any text.
fn wrong_value(variable: &str) -> Option<&'static str> {
    Some(match variable {
        "POSTHOG_API_KEY" => "phx_personal",
        "POSTHOG_PROJECT_TOKEN" => "two words",
        "POSTHOG_HOST" => "ftp://posthog.example",
        "LOG_BATCH_SIZE" => "0",
        "LOG_BATCH_INTERVAL_MS" => "30s",
        "AUDITHOG_DB_DAMAGED" => "ignore",
        "AUDITHOG_DB_RESERVE" => "2GiB",
        "AUDITHOG_DB_MAX_BYTES" => "much",
        "AUDITHOG_RETENTION" => "400",
        "AUDITHOG_GUARANTEE" => "exactly-once",
        "AUDITHOG_GUARANTEE_TIMEOUT_MS" => "9",
        "AUDITHOG_QUEUE_FULL" => "block",
        "AUDITHOG_SAMPLE" => "2xx=1.5",
        "AUDITHOG_TRUSTED_PROXIES" => "10.0.0.0/33",
        "AUDITHOG_CLIENT_IP_HEADER" => "x real ip",
        "AUDITHOG_REQUEST_ID" => "maybe",
        "AUDITHOG_SHUTDOWN_TIMEOUT_MS" => "-1",
        "AUDITHOG_QUEUE_ROWS" => "1e6",
        "AUDITHOG_QUEUE_BYTES" => "1KB",
        "AUDITHOG_MEMORY_ROWS" => "1",
        "AUDITHOG_POSTHOG_COMPRESSION" => "brotli",
        "AUDITHOG_POSTHOG_DISTINCT_ID" => "hmac-md5",
        "AUDITHOG_POSTHOG_IP" => "half",
        "AUDITHOG_POSTHOG_USER_AGENT" => "yes",
        "AUDITHOG_POSTHOG_USER" => "hmac",
        "AUDITHOG_POSTHOG_PERSON_PROFILES" => "true",
        "AUDITHOG_POSTHOG_BACKFILL" => "999999999d",
        "AUDITHOG_POSTHOG_TIMEOUT_MS" => "99999999999999999999",
        "AUDITHOG_POSTHOG_CA_FILE" => "/nowhere/ca.pem",
        "AUDITHOG_RETRY_QUICK_ATTEMPTS" => "0.5",
        "AUDITHOG_RETRY_MAX_AGE" => "soon",
        "AUDITHOG_RETRY_MAX_ATTEMPTS" => "many",
        // Required by `AUDITHOG_POSTHOG_USER=hmac`, and unset here.
        "AUDITHOG_POSTHOG_HMAC_KEY" => "",
        _ => return None,
    })
}

fn refused<K: Into<OsString>, V: Into<OsString>>(
    environment: impl IntoIterator<Item = (K, V)>,
) -> String {
    let error = Logger::builder()
        .environment(environment)
        // Should it start after all, it leaves no file.
        .memory_only()
        .start()
        .unwrap_err();
    assert!(error.is_config(), "{error:?}");
    error.to_string()
}

fn bad_bytes() -> OsString {
    OsString::from_vec(vec![b'a', 0xff, b'b'])
}

/// The lines of the report that are about this variable.
fn about<'a>(report: &'a str, variable: &str) -> Vec<&'a str> {
    let is_it = |word: &str| word.trim_end_matches([':', '=', ';']) == variable;
    report
        .lines()
        .filter(|line| line.split([' ', '=']).any(is_it))
        .collect()
}

#[test]
fn every_malformed_variable_is_named_in_one_report() {
    let environment = variables()
        .into_iter()
        .map(|variable| match wrong_value(variable) {
            Some(value) => (variable, OsString::from(value)),
            None => (variable, bad_bytes()),
        });
    let report = refused(environment);
    for variable in variables() {
        assert!(
            !about(&report, variable).is_empty(),
            "{variable} is missing:\n{report}"
        );
    }
    assert!(
        !report.contains("phx_personal") && !report.contains("two words"),
        "{report}"
    );
    assert!(report.lines().all(|line| line.len() < 300), "{report}");
}

#[test]
fn each_malformed_variable_alone_is_one_line_about_it() {
    for variable in variables() {
        let bytes = refused([(variable, bad_bytes()), ("OTHER", bad_bytes())]);
        assert_eq!(bytes, format!("{variable} is not valid UTF-8"));
        let Some(value) = wrong_value(variable).filter(|value| !value.is_empty()) else {
            continue;
        };
        let report = refused([(variable, value)]);
        assert_eq!(report.lines().count(), 1, "{report}");
        assert_eq!(about(&report, variable).len(), 1, "{report}");
    }
}

#[test]
fn a_long_or_odd_value_is_shown_short_and_escaped() {
    let long = "9".repeat(1_000_000);
    let report = refused([
        ("LOG_BATCH_SIZE", long.as_str()),
        ("AUDITHOG_RETENTION", "1\u{1b}[2J"),
    ]);
    assert!(report.len() < 1_000, "{} bytes", report.len());
    assert!(
        report.contains(r"\u{1b}[2J") && !report.contains('\u{1b}'),
        "{report}"
    );
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_name() {
    for (name, hint) in [
        ("AUDITHOG_RETENSION", Some("AUDITHOG_RETENTION")),
        (
            "AUDITHOG_POSTHOG_COMPRESION",
            Some("AUDITHOG_POSTHOG_COMPRESSION"),
        ),
        ("AUDITHOG_DB_FILE", Some("AUDITHOG_DB")),
        (
            "AUDITHOG_POSTHOG_HMAC_KEY_FILES",
            Some("AUDITHOG_POSTHOG_HMAC_KEY"),
        ),
        ("AUDITHOG_COMPLETELY_DIFFERENT_THING", None),
    ] {
        let report = refused([(name, "x")]);
        let expected = match hint {
            Some(hint) => format!("{name} is no variable of audithog; did you mean {hint}?"),
            None => format!("{name} is no variable of audithog"),
        };
        assert_eq!(report, expected);
    }
    assert!(refused([("AUDITHOG_RETENSION", bad_bytes())]).starts_with("AUDITHOG_RETENSION is no"));
}

#[test]
fn service_links_of_kubernetes_and_foreign_variables_are_ignored() {
    let logger = Logger::builder()
        .environment([
            ("AUDITHOG_SERVICE_HOST", "10.0.0.1"),
            ("AUDITHOG_SERVICE_PORT", "80"),
            ("AUDITHOG_SERVICE_PORT_HTTP", "80"),
            ("AUDITHOG_PORT", "tcp://10.0.0.1:80"),
            ("AUDITHOG_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("AUDITHOG_PORT_80_TCP_PROTO", "tcp"),
            ("AUDITHOG_PORT_80_TCP_PORT", "80"),
            ("AUDITHOG_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("AUDITHOG_PROXY_PORT", "tcp://10.0.0.1:80"),
            ("AUDITHOG_DB", "off"),
            ("POSTHOG_SOMETHING", "else"),
            ("LOG_LEVEL", "debug"),
        ])
        .start()
        .unwrap();
    assert_eq!(logger.ledger_path(), None);
}

#[test]
fn a_secret_in_a_file_is_read_and_its_mistakes_are_told() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        fs::write(place.path().join(name), text).unwrap();
        place.path().join(name).into_os_string()
    };
    let good = file("good", b"  phc_from_a_file\n");
    for variable in [
        "POSTHOG_API_KEY",
        "POSTHOG_PROJECT_TOKEN",
        "AUDITHOG_POSTHOG_HMAC_KEY",
    ] {
        let form = format!("{variable}_FILE");
        let start = Logger::builder()
            .environment([(&form, &good)])
            .pin("AUDITHOG_DB", "off")
            .start();
        start.unwrap();
        for (path, about) in [
            (
                place.path().join("missing").into_os_string(),
                "cannot be read",
            ),
            (file("empty", b" \n"), "names an empty file"),
            (file("bytes", b"phc_\xff"), "cannot be read"),
            (place.path().as_os_str().to_owned(), "cannot be read"),
            (bad_bytes(), "is not valid UTF-8"),
        ] {
            let report = refused([(&form, path)]);
            assert!(
                report.starts_with(&form) && report.contains(about),
                "{report}"
            );
            assert_eq!(report.lines().count(), 1, "{report}");
        }
        let both = [
            (variable, OsString::from("phc_x")),
            (form.as_str(), good.clone()),
        ];
        assert_eq!(
            refused(both),
            format!("{variable} and {form} are both set; keep one")
        );
        // Empty means unset, on either side.
        let empty = [(variable, OsString::new()), (form.as_str(), good.clone())];
        Logger::builder()
            .environment(empty)
            .pin("AUDITHOG_DB", "off")
            .start()
            .unwrap();
    }
    let plain = refused([("LOG_BATCH_SIZE", "x"), ("AUDITHOG_SAMPLE_FILE", "x")]);
    assert_eq!(
        plain.lines().count(),
        2,
        "only secrets have files:\n{plain}"
    );
}

#[test]
fn the_two_names_of_the_key_may_agree_but_not_differ() {
    let names = ["POSTHOG_API_KEY", "POSTHOG_PROJECT_TOKEN"];
    assert_eq!(
        refused([(names[0], "phc_one"), (names[1], "phc_two")]),
        "POSTHOG_API_KEY and POSTHOG_PROJECT_TOKEN differ; keep one"
    );
    let same = names.map(|name| (name, "phc_one"));
    Logger::builder()
        .environment(same)
        .pin("AUDITHOG_DB", "off")
        .start()
        .unwrap();
}

#[test]
fn mistakes_in_code_and_in_the_environment_are_reported_together() {
    let error = Logger::builder()
        .environment([("LOG_BATCH_SIZE", "x")])
        .set("AUDITHOG_NOPE", "1")
        .pin("AUDITHOG_NEITHER", "1")
        .trusted_proxies("everybody")
        .start()
        .unwrap_err();
    let report = error.to_string();
    for word in [
        "LOG_BATCH_SIZE",
        "AUDITHOG_NOPE",
        "AUDITHOG_NEITHER",
        "everybody",
    ] {
        assert!(report.contains(word), "{word} is missing:\n{report}");
    }
}
