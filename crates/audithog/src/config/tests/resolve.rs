//! The whole default set, and where names and paths come from.

use std::path::Path;
use std::time::Duration;

use super::super::resolve::file_name;
use super::{env, problems, resolved};
use crate::capture::RequestIdPolicy;
use crate::config::{
    Compression, Database, DistinctId, IpDetail, LedgerCare, OnDamage, QueueFull, QueueSettings,
    ReadBackSettings, RetrySettings, Settings,
};
use crate::record::Run;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn the_whole_default_set() {
    let found = resolved(&env([("POSTHOG_API_KEY", "phc_a")]));
    let Settings {
        run,
        database,
        queue,
        retention,
        max_bytes,
        batch_size,
        batch_interval,
        shutdown_timeout,
        posthog,
        retry,
        read_back,
        care,
    } = found.settings;
    assert_eq!(read_back, ReadBackSettings::default());
    let Run {
        service,
        environment,
        version,
        instance,
    } = run;
    // The test's own binary: `audithog-` and a hash.
    assert!(service.starts_with("audithog-"), "{service}");
    assert_eq!((environment, version), (None, None));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(instance.as_deref(), Some(host.trim()));
    let here = std::env::current_dir().unwrap();
    assert_eq!(database, Database::File(here.join("audit.db")));
    let most = QueueSettings {
        max_rows: 65_536,
        max_bytes: 64 << 20,
        full: QueueFull::DropNewest,
    };
    assert_eq!(queue, most);
    let kept = LedgerCare {
        damaged: OnDamage::Quarantine,
        reserve: Some(8 << 20),
    };
    assert_eq!(care, kept);
    assert_eq!((retention, max_bytes), (Some(400 * DAY), None));
    assert_eq!((batch_size, batch_interval), (100, Duration::from_secs(30)));
    assert_eq!(shutdown_timeout, Duration::from_secs(25));
    let tries = RetrySettings {
        first: Duration::from_millis(250),
        max: Duration::from_secs(60),
        quick_attempts: 4,
        probe: Duration::from_secs(30),
        probe_max: Duration::from_secs(300),
        straggler_age: 7 * DAY,
        straggler_attempts: 50,
        in_flight: 4,
    };
    assert_eq!(retry, tries);
    let posthog = posthog.unwrap();
    assert_eq!(posthog.key.expose(), "phc_a");
    assert_eq!(posthog.host, "https://app.posthog.com");
    assert_eq!(posthog.compression, Compression::Auto);
    assert_eq!(posthog.distinct_id, DistinctId::User);
    assert_eq!(posthog.hmac_key, None);
    assert_eq!(posthog.ip, IpDetail::Full);
    assert!(posthog.user_agent && posthog.user_plain && !posthog.person_profiles);
    assert_eq!(posthog.group_type, None);
    assert_eq!(posthog.backfill, 7 * DAY);
    assert_eq!(posthog.request_timeout, Duration::from_secs(10));
    assert_eq!(posthog.ca_file, None);
    assert_eq!(posthog.sample, []);
    let capture = found.capture;
    assert_eq!(capture.trusted_proxies.to_string(), "");
    assert_eq!(capture.client_ip_header.as_str(), "x-forwarded-for");
    assert_eq!(capture.request_id, RequestIdPolicy::Own);
    assert_eq!(
        (capture.exclusions, capture.masked_params),
        (vec![], vec![])
    );
}

#[test]
fn without_a_key_nothing_leaves_the_process() {
    assert!(resolved(&env([])).settings.posthog.is_none());
    let other = env([
        ("POSTHOG_HOST", "https://eu.posthog.com"),
        ("AUDITHOG_SAMPLE", "2xx=0.5"),
    ]);
    assert!(resolved(&other).settings.posthog.is_none());
}

#[test]
fn never_keeps_rows_for_ever() {
    for word in ["never", "NEVER"] {
        let found = resolved(&env([("AUDITHOG_RETENTION", word)]));
        assert_eq!(found.settings.retention, None);
    }
}

#[test]
fn every_problem_is_reported_at_once() {
    let found = problems(
        &env([
            ("LOG_BATCH_SIZE", "0"),
            ("AUDITHOG_RETENTION", "long"),
            ("AUDITHOG_NONSENSE", "1"),
            ("POSTHOG_API_KEY", "phx_a"),
        ])
        .set("AUDITHOG_ELSE", "1")
        .pin("AUDITHOG_QUEUE_ROWS", "1"),
    );
    assert_eq!(found.len(), 6, "{found:#?}");
}

mod run {
    use super::*;

    fn run(variables: &[(&str, &str)]) -> Run {
        resolved(&env(variables.iter().copied())).settings.run
    }

    const OTEL: (&str, &str) = (
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=from%20attributes, deployment.environment.name = st%C3%A4ging ,\
         service.version=1%2C2%3D3,service.instance.id=pod-1,nonsense,=,other=x",
    );

    #[test]
    fn opentelemetrys_names_are_read_where_ours_are_not_set() {
        let found = run(&[OTEL]);
        assert_eq!(found.service, "from attributes");
        assert_eq!(found.environment.as_deref(), Some("stäging"));
        assert_eq!(found.version.as_deref(), Some("1,2=3"));
        assert_eq!(found.instance.as_deref(), Some("pod-1"));
        let named = run(&[OTEL, ("OTEL_SERVICE_NAME", " named ")]);
        assert_eq!(named.service, "named");
        let own = run(&[
            OTEL,
            ("OTEL_SERVICE_NAME", "named"),
            ("AUDITHOG_SERVICE", "s"),
            ("AUDITHOG_ENVIRONMENT", "e"),
            ("AUDITHOG_VERSION", "v"),
            ("AUDITHOG_INSTANCE", "i"),
        ]);
        assert_eq!(own.service, "s");
        assert_eq!(own.environment.as_deref(), Some("e"));
        assert_eq!(own.version.as_deref(), Some("v"));
        assert_eq!(own.instance.as_deref(), Some("i"));
    }

    #[test]
    fn what_code_says_goes_before_opentelemetrys_names() {
        let builder = env([OTEL, ("OTEL_SERVICE_NAME", "named")])
            .service("code")
            .version("2");
        let found = resolved(&builder).settings.run;
        assert_eq!(found.service, "code");
        assert_eq!(found.version.as_deref(), Some("2"));
    }

    #[test]
    fn the_older_name_of_the_environment_counts_where_the_newer_is_absent() {
        let old = "deployment.environment=old";
        let attributes = "OTEL_RESOURCE_ATTRIBUTES";
        assert_eq!(
            run(&[(attributes, old)]).environment.as_deref(),
            Some("old")
        );
        let both = format!("{old},deployment.environment.name=new");
        assert_eq!(
            run(&[(attributes, &both)]).environment.as_deref(),
            Some("new")
        );
    }

    #[test]
    fn an_empty_attribute_is_absent() {
        let found = run(&[(
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=,service.version=%20",
        )]);
        assert!(found.service.starts_with("audithog-"), "{}", found.service);
        assert_eq!(found.version, None);
    }

    #[test]
    fn names_are_cut_and_escaped() {
        let found = run(&[
            ("AUDITHOG_SERVICE", "a\nb"),
            ("AUDITHOG_INSTANCE", &"x".repeat(10_000)),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.version=%00%ff"),
        ]);
        assert!(!found.service.contains('\n'));
        assert_eq!(found.instance.unwrap().len(), 200);
        assert!(!found.version.unwrap().contains('\0'));
    }
}

mod database {
    use super::*;

    #[track_caller]
    fn file(variables: &[(&str, &str)]) -> std::path::PathBuf {
        match resolved(&env(variables.iter().copied())).settings.database {
            Database::File(path) => path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn systemds_directory_holds_the_file_unless_another_is_named() {
        let state = ("STATE_DIRECTORY", "/var/lib/svc");
        assert_eq!(file(&[state]), Path::new("/var/lib/svc/audit.db"));
        for list in ["/var/lib/a:/var/lib/b", ":/var/lib/a"] {
            assert_eq!(
                file(&[("STATE_DIRECTORY", list)]),
                Path::new("/var/lib/a/audit.db")
            );
        }
        let here = std::env::current_dir().unwrap();
        for nowhere in ["", ":"] {
            assert_eq!(file(&[("STATE_DIRECTORY", nowhere)]), here.join("audit.db"));
        }
        assert_eq!(
            file(&[state, ("AUDITHOG_DB", "/data/x.db")]),
            Path::new("/data/x.db")
        );
        assert_eq!(file(&[state, ("AUDITHOG_DB", "x.db")]), here.join("x.db"));
    }

    #[test]
    fn off_is_a_bounded_memory() {
        for word in ["off", "OFF"] {
            let found = resolved(&env([("AUDITHOG_DB", word)]));
            assert_eq!(found.settings.database, Database::Off { max_rows: 100_000 });
        }
        let code = env([("AUDITHOG_MEMORY_ROWS", "500")]).memory_only();
        let found = resolved(&code).settings.database;
        assert_eq!(found, Database::Off { max_rows: 500 });
    }

    #[test]
    fn the_hosts_name_is_expanded_and_cannot_leave_the_directory() {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let name = file_name(host.trim());
        // An instance may be another one at each start: the file may not.
        let path = file(&[
            ("AUDITHOG_DB", "/data/{hostname}/a-{hostname}.db"),
            ("AUDITHOG_INSTANCE", "random"),
        ]);
        assert_eq!(path, Path::new(&format!("/data/{name}/a-{name}.db")));
        for (host, name) in [
            ("pod-1.svc_a", "pod-1.svc_a"),
            ("..", "__"),
            (".", "_"),
            ("../../etc", ".._.._etc"),
            ("/etc", "_etc"),
            ("a\\b:c", "a_b_c"),
            ("hôte", "h_te"),
        ] {
            assert_eq!(file_name(host), name);
        }
    }

    #[test]
    fn a_path_of_code_that_is_not_utf_8_is_a_problem() {
        use std::os::unix::ffi::OsStringExt as _;
        let path = std::ffi::OsString::from_vec(b"/x/\xff.db".to_vec());
        let found = problems(&env([]).database(path));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("is not valid UTF-8"), "{found:?}");
    }
}
