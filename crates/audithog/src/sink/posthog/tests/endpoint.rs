use crate::sink::posthog::endpoint::{Endpoint, key_hint, key_problem};

#[test]
fn hosts_map_to_the_capture_host() {
    let table = [
        ("", "https://us.i.posthog.com", "us"),
        ("   ", "https://us.i.posthog.com", "us"),
        ("https://app.posthog.com", "https://us.i.posthog.com", "us"),
        ("https://app.posthog.com/", "https://us.i.posthog.com", "us"),
        ("http://app.posthog.com", "https://us.i.posthog.com", "us"),
        ("app.posthog.com", "https://us.i.posthog.com", "us"),
        (
            "HTTPS://App.PostHog.com:443",
            "https://us.i.posthog.com",
            "us",
        ),
        ("https://app.posthog.com.", "https://us.i.posthog.com", "us"),
        (
            "https://us.posthog.com/project/12",
            "https://us.i.posthog.com",
            "us",
        ),
        ("https://us.i.posthog.com", "https://us.i.posthog.com", "us"),
        (
            "http://eu.posthog.com:80//",
            "https://eu.i.posthog.com",
            "eu",
        ),
        (
            "https://eu.i.posthog.com/",
            "https://eu.i.posthog.com",
            "eu",
        ),
        (
            "https://Hog.Example.com/",
            "https://hog.example.com",
            "custom",
        ),
        (
            "https://example.com/ph/in/",
            "https://example.com/ph/in",
            "custom",
        ),
        (
            "https://example.com:8443",
            "https://example.com:8443",
            "custom",
        ),
        (
            "https://app.posthog.com:8443",
            "https://app.posthog.com:8443",
            "custom",
        ),
        (
            "https://app.posthog.com.evil.example",
            "https://app.posthog.com.evil.example",
            "custom",
        ),
        ("http://localhost:8000", "http://localhost:8000", "custom"),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x", "custom"),
        ("http://[::1]:8000", "http://[::1]:8000", "custom"),
        ("http://10.1.2.3", "http://10.1.2.3", "custom"),
        ("http://192.168.0.1", "http://192.168.0.1", "custom"),
        ("http://[fd00::1]", "http://[fd00::1]", "custom"),
        ("http://posthog:8000", "http://posthog:8000", "custom"),
        (
            "http://hog.prod.svc.cluster.local",
            "http://hog.prod.svc.cluster.local",
            "custom",
        ),
    ];
    for (given, base, region) in table {
        let endpoint = Endpoint::parse(given).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!(endpoint.base(), base, "{given}");
        assert_eq!(endpoint.region(), region, "{given}");
    }
}

#[test]
fn paths_are_appended_to_the_prefix() {
    let endpoint = Endpoint::parse("https://example.com/ph/").unwrap();
    assert_eq!(
        endpoint.v1(),
        "https://example.com/ph/i/v1/analytics/events"
    );
    assert_eq!(
        endpoint.v0(true),
        "https://example.com/ph/batch/?compression=gzip"
    );
    assert_eq!(endpoint.v0(false), "https://example.com/ph/batch/");
}

#[test]
fn unusable_hosts_are_refused_without_being_shown() {
    let table = [
        ("http://posthog.example.com", "loopback and private"),
        ("http://8.8.8.8", "loopback and private"),
        ("http://[2001:db8::1]", "loopback and private"),
        ("http://us.i.posthog.com:8080", "loopback and private"),
        ("http://localhost.example.com", "loopback and private"),
        ("http://127.0.0.1.example.com", "loopback and private"),
        ("ftp://example.com", "https://"),
        ("https://", "not a URL"),
        ("https://exa mple.com", "not a URL"),
        ("https://me:s3cret@example.com", "password"),
        ("https://s3cret@example.com", "password"),
        ("https://example.com/?key=s3cret", "query"),
        ("https://example.com/#s3cret", "fragment"),
    ];
    for (given, expected) in table {
        let problem = Endpoint::parse(given).expect_err(given);
        assert!(problem.contains(expected), "{given}: {problem}");
        assert!(!problem.contains("s3cret"), "{given}: {problem}");
    }
}

#[test]
fn key_shapes() {
    let long = "p".repeat(65);
    let table = [
        ("phc_abc", None),
        (" phc_abc\n", None),
        ("old-style-key", None),
        (&long[..64], None),
        ("", Some("empty")),
        ("  ", Some("empty")),
        (long.as_str(), Some("64")),
        ("phc_ä", Some("ASCII")),
        ("phc_a\0b", Some("control")),
        ("phc_a b", Some("space")),
        ("phx_abc", Some("personal")),
    ];
    for (key, expected) in table {
        match (key_problem(key), expected) {
            (None, None) => {}
            (Some(problem), Some(expected)) => {
                assert!(problem.contains(expected), "{key:?}: {problem}");
            }
            (problem, expected) => panic!("{key:?}: {problem:?}, expected {expected:?}"),
        }
    }
    assert_eq!(key_hint("phc_abc"), None);
    assert!(key_hint("abc").is_some());
}
