//! The forms of values, their bounds, and what is said about wrong ones.

use std::time::Duration;

use super::{env, problem, problems, resolved};
use crate::capture::Guarantee;
use crate::config::env::{bytes, duration, shorten};
use crate::config::{Builder, Resolved};

#[test]
fn times() {
    let parsed = |text| duration(text, Duration::ZERO);
    for (text, seconds) in [
        ("0s", 0),
        ("90s", 90),
        ("15m", 900),
        ("12h", 43_200),
        ("400d", 34_560_000),
        ("7 d", 604_800),
        ("36600d", 36_600 * 86_400),
    ] {
        assert_eq!(parsed(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    let form = "is not a time like 90s, 15m, 12h or 400d";
    for text in [
        "", "s", "90", "1.5h", "-5m", "5M", "5ms", "5w", "m5", "٣d", "5 d 3 h",
    ] {
        assert_eq!(parsed(text), Err(form.to_owned()), "{text}");
    }
    let long = "is more than a hundred years";
    for text in ["36601d", "18446744073709551615d"] {
        assert_eq!(parsed(text), Err(long.to_owned()), "{text}");
    }
    let least = duration("59s", Duration::from_secs(60));
    assert_eq!(least, Err("is less than 60 s".to_owned()));
}

#[test]
fn sizes() {
    for (text, size) in [
        ("500000000", 500_000_000),
        ("2000KB", 2_000_000),
        ("2048KiB", 2_097_152),
        ("500MB", 500_000_000),
        ("1mib", 1 << 20),
        ("2 GiB", 2 << 30),
        ("3GB", 3_000_000_000),
        ("1TB", 1_000_000_000_000),
        ("1024TiB", 1 << 50),
    ] {
        assert_eq!(bytes(text), Ok(size), "{text}");
    }
    let form = "is not a size like 500000000, 500MB or 2GiB";
    for text in ["", "MB", "5B", "5M", "1.5GB", "-1MB", "1e9", "5 G B"] {
        assert_eq!(bytes(text), Err(form.to_owned()), "{text}");
    }
    let bounds = "is not a size from 1MiB to 1024TiB";
    for text in ["0", "1048575", "1MB", "1025TiB", "18446744073709551615GiB"] {
        assert_eq!(bytes(text), Err(bounds.to_owned()), "{text}");
    }
}

/// A number as it was understood.
type Read = fn(&Resolved) -> u128;

#[test]
fn each_number_has_bounds_and_its_problem_names_them() {
    let numbers: [(&str, u128, u128, Read); 9] = [
        ("LOG_BATCH_SIZE", 1, 1_000_000, |found| {
            found.settings.batch_size as u128
        }),
        ("LOG_BATCH_INTERVAL_MS", 1, 86_400_000, |found| {
            found.settings.batch_interval.as_millis()
        }),
        ("AUDITHOG_SHUTDOWN_TIMEOUT_MS", 100, 3_600_000, |found| {
            found.settings.shutdown_timeout.as_millis()
        }),
        ("AUDITHOG_QUEUE_ROWS", 16, 10_000_000, |found| {
            found.settings.queue.max_rows as u128
        }),
        ("AUDITHOG_MEMORY_ROWS", 100, 100_000_000, |found| {
            found.public()["memoryRows"].as_u64().unwrap().into()
        }),
        ("AUDITHOG_POSTHOG_TIMEOUT_MS", 100, 300_000, |found| {
            let posthog = found.settings.posthog.as_ref().unwrap();
            posthog.request_timeout.as_millis()
        }),
        ("AUDITHOG_RETRY_QUICK_ATTEMPTS", 1, 100, |found| {
            found.settings.retry.quick_attempts.into()
        }),
        ("AUDITHOG_RETRY_MAX_ATTEMPTS", 1, 100_000, |found| {
            found.settings.retry.straggler_attempts.into()
        }),
        // The one size that is needed as a number of its own.
        ("AUDITHOG_QUEUE_BYTES", 1 << 20, 1 << 50, |found| {
            found.settings.queue.max_bytes as u128
        }),
    ];
    for (name, least, most, read) in numbers {
        for bound in [least, most] {
            let text = bound.to_string();
            let found = env([
                (name, &*text),
                ("AUDITHOG_DB", "off"),
                ("POSTHOG_API_KEY", "phc_a"),
            ]);
            assert_eq!(read(&resolved(&found)), bound, "{name}");
        }
        let bounds = if name.ends_with("_BYTES") {
            "is not a size from 1MiB to 1024TiB".to_owned()
        } else {
            format!("is not a whole number from {least} to {most}")
        };
        for wrong in [least - 1, most + 1] {
            let problem = problem(name, &wrong.to_string());
            assert_eq!(problem, format!("{name}: `{wrong}` {bounds}"));
        }
        for wrong in ["-1", "1.5", "many", "0x10", "999999999999999999999999"] {
            let problem = problem(name, wrong);
            assert!(
                problem.starts_with(&format!("{name}: `{wrong}` is not a ")),
                "{problem}"
            );
        }
    }
}

#[test]
fn a_time_of_zero_is_refused_where_it_would_drop_everything() {
    for name in ["AUDITHOG_RETENTION", "AUDITHOG_RETRY_MAX_AGE"] {
        assert_eq!(
            problem(name, "0d"),
            format!("{name}: `0d` is less than 1 s")
        );
    }
    let none = resolved(&env([
        ("AUDITHOG_POSTHOG_BACKFILL", "0s"),
        ("POSTHOG_API_KEY", "phc_a"),
    ]));
    assert!(none.settings.posthog.unwrap().backfill.is_zero());
}

#[test]
fn words_are_read_in_any_case_and_their_problem_lists_them() {
    for (name, words) in [
        ("AUDITHOG_REQUEST_ID", "own, trusted"),
        ("AUDITHOG_POSTHOG_COMPRESSION", "auto, zstd, gzip, none"),
        ("AUDITHOG_POSTHOG_DISTINCT_ID", "user, prefixed, hmac"),
        ("AUDITHOG_POSTHOG_IP", "full, truncated, off"),
        ("AUDITHOG_POSTHOG_USER_AGENT", "full, off"),
        ("AUDITHOG_POSTHOG_USER", "plain, hmac"),
        ("AUDITHOG_POSTHOG_PERSON_PROFILES", "off, on"),
    ] {
        assert_eq!(
            problem(name, "perhaps"),
            format!("{name}: `perhaps` is not one of: {words}")
        );
        for word in words.split(", ") {
            resolved(&env([
                (name, &*word.to_uppercase()),
                ("AUDITHOG_POSTHOG_HMAC_KEY", "k"),
            ]));
        }
    }
}

#[test]
fn a_guarantee_is_one_of_three_words_and_waits_for_two_seconds() {
    let guarantees = |builder: Builder| resolved(&builder).capture.guarantees;
    for (word, wanted) in [
        ("best-effort", Guarantee::BestEffort),
        ("Durable", Guarantee::Durable),
        ("fail-closed", Guarantee::FailClosed),
    ] {
        let found = guarantees(env([("AUDITHOG_GUARANTEE", word)]));
        assert_eq!(found.default, wanted);
        assert_eq!(found.timeout, Duration::from_secs(2));
    }
    assert_eq!(guarantees(env([])).default, Guarantee::BestEffort);
    assert_eq!(
        problem("AUDITHOG_GUARANTEE", "strong"),
        "AUDITHOG_GUARANTEE: `strong` is not one of: best-effort, durable, fail-closed"
    );
    assert_eq!(
        problem("AUDITHOG_QUEUE_FULL", "block"),
        "AUDITHOG_QUEUE_FULL: `block` is not one of: drop-newest, wait, refuse"
    );
}

#[test]
fn the_environment_can_raise_a_floor_and_not_lower_it() {
    let of = |environment, floor, method, route| {
        let builder = env([("AUDITHOG_GUARANTEE", environment)])
            .guarantee_floor(floor)
            .guarantee_for(Some("post"), "/payments", FailClosed)
            .guarantee_for(Some("GET"), "/payments*", BestEffort);
        resolved(&builder).capture.guarantees.of(|| (method, route))
    };
    use Guarantee::{BestEffort, Durable, FailClosed};
    let payments = Some("/payments");
    assert_eq!(of("best-effort", Durable, "GET", None), Durable);
    assert_eq!(of("fail-closed", Durable, "GET", None), FailClosed);
    // A rule counts more than the environment, and less than the floor.
    assert_eq!(of("durable", BestEffort, "GET", payments), BestEffort);
    assert_eq!(
        of("durable", BestEffort, "GET", Some("/payments/{id}")),
        BestEffort
    );
    assert_eq!(of("best-effort", Durable, "GET", payments), Durable);
    assert_eq!(of("best-effort", BestEffort, "POST", payments), FailClosed);
    assert_eq!(
        of("best-effort", BestEffort, "POST", Some("/payments/{id}")),
        BestEffort
    );
    assert_eq!(
        of("best-effort", BestEffort, "PUT", payments),
        BestEffort,
        "a rule with a method is for this method"
    );
}

#[test]
fn a_guarantee_that_waits_needs_a_ledger() {
    let told = "needs a ledger: with AUDITHOG_DB=off nothing can be fsynced";
    let off = || env([("AUDITHOG_DB", "off")]);
    for builder in [
        off().guarantee(Guarantee::Durable),
        off().guarantee_floor(Guarantee::Durable),
        off().guarantee_for(None, "/payments", Guarantee::Durable),
    ] {
        let wanted = format!("the guarantee durable {told}");
        assert_eq!(problems(&builder), [wanted]);
    }
    resolved(&off().guarantee(Guarantee::BestEffort));
}

#[test]
fn hmac_forms_need_their_key() {
    let missing = "AUDITHOG_POSTHOG_HMAC_KEY is required by AUDITHOG_POSTHOG_DISTINCT_ID=hmac \
                   and AUDITHOG_POSTHOG_USER=hmac";
    for name in ["AUDITHOG_POSTHOG_DISTINCT_ID", "AUDITHOG_POSTHOG_USER"] {
        assert_eq!(problem(name, "hmac"), missing);
    }
}

#[test]
fn a_missing_certificate_file_is_named() {
    assert_eq!(
        problem("AUDITHOG_POSTHOG_CA_FILE", "/no/such/ca.pem"),
        "AUDITHOG_POSTHOG_CA_FILE: there is no file /no/such/ca.pem"
    );
    assert_eq!(
        problem("AUDITHOG_POSTHOG_CA_FILE", "/no\u{1b}[2J"),
        r"AUDITHOG_POSTHOG_CA_FILE: there is no file /no\u{1b}[2J"
    );
}

#[test]
fn a_wrong_host_is_not_repeated_because_it_may_hold_a_secret() {
    for (host, why) in [
        (
            "https://me:hidden@ph.test",
            "must not contain a user name or a password",
        ),
        (
            "https://ph.test/?token=hidden",
            "must not contain a query or a fragment",
        ),
        ("http://hidden.test", "must begin with https://"),
        ("phc hidden", "is not a URL"),
    ] {
        let problem = problem("POSTHOG_HOST", host);
        assert!(
            problem.starts_with(&format!("POSTHOG_HOST {why}")),
            "{problem}"
        );
        assert!(!problem.contains("hidden"), "{problem}");
    }
}

#[test]
fn the_reserve_has_a_bound_of_its_own() {
    for wrong in ["512KiB", "2GiB", "1048575", "18446744073709551615GiB"] {
        assert_eq!(
            problem("AUDITHOG_DB_RESERVE", wrong),
            format!("AUDITHOG_DB_RESERVE: `{wrong}` is not a size from 1MiB to 1GiB")
        );
    }
    assert_eq!(
        resolved(&env([("AUDITHOG_DB_RESERVE", "1GiB")]))
            .settings
            .care
            .reserve,
        Some(1 << 30)
    );
}

#[test]
fn a_wrong_proxy_is_named_once() {
    let problem = |value| problem("AUDITHOG_TRUSTED_PROXIES", value);
    assert_eq!(
        problem("10.1.2.3/8"),
        "AUDITHOG_TRUSTED_PROXIES: `10.1.2.3/8` has bits below its prefix: write 10.0.0.0/8 or 10.1.2.3"
    );
    // Of several, which one.
    assert_eq!(
        problem("loopback, x"),
        "AUDITHOG_TRUSTED_PROXIES: `loopback, x` \"x\" is not an address, a network, `loopback` or `private`"
    );
}

#[test]
fn a_wrong_value_is_shown_short_and_on_one_line() {
    let long = "a\nb\u{1b}[31m".repeat(50_000);
    assert!(shorten(&long).len() <= 80);
    for name in [
        "LOG_BATCH_SIZE",
        "AUDITHOG_SAMPLE",
        "AUDITHOG_TRUSTED_PROXIES",
        "AUDITHOG_CLIENT_IP_HEADER",
        "AUDITHOG_RETENTION",
        "AUDITHOG_DB_MAX_BYTES",
        "AUDITHOG_QUEUE_BYTES",
    ] {
        // `problem` sees one line.
        let problem = problem(name, &long);
        assert!(problem.starts_with(&format!("{name}: `a")), "{name}");
        assert!(problem.len() < 1_200, "{name}: {}", problem.len());
        assert!(!problem.contains(char::is_control), "{problem}");
    }
    let name = format!("AUDITHOG_{}", "X\n".repeat(50_000));
    assert!(problem(&name, "1").len() < 200);
}
