//! Who wins: a pin over the environment over code over the default.

use std::time::Duration;

use super::{env, problems, resolved};
use crate::config::{Builder, Database};

const SIZE: &str = "LOG_BATCH_SIZE";

fn size(builder: &Builder) -> usize {
    resolved(builder).settings.batch_size
}

#[test]
fn a_pin_goes_before_the_environment_before_code_before_the_default() {
    let nothing = env([]);
    assert_eq!(size(&nothing), 100);
    assert_eq!(size(&nothing.clone().batch_size(2)), 2);
    let set = env([(SIZE, "3")]);
    assert_eq!(size(&set), 3);
    assert_eq!(size(&set.clone().batch_size(2)), 3);
    assert_eq!(size(&set.batch_size(2).pin(SIZE, "4")), 4);
}

#[test]
fn the_last_word_of_code_counts() {
    assert_eq!(size(&env([]).batch_size(2).batch_size(3)), 3);
    let builder = env([]).memory_only().database("/tmp/x.db");
    let database = resolved(&builder).settings.database;
    assert_eq!(database, Database::File("/tmp/x.db".into()));
}

#[test]
fn empty_means_unset_wherever_it_is_said() {
    for empty in ["", "  ", "\t\n"] {
        assert_eq!(size(&env([(SIZE, empty)])), 100);
        assert_eq!(size(&env([(SIZE, empty)]).batch_size(2)), 2);
        assert_eq!(size(&env([]).set(SIZE, empty)), 100);
        // Pinned as unset: the default, not what the environment says.
        assert_eq!(size(&env([(SIZE, "3")]).pin(SIZE, empty)), 100);
    }
    resolved(&env([("AUDITHOG_NO_SUCH_THING", "")]));
}

#[test]
fn white_space_around_a_value_is_dropped_wherever_it_is_said() {
    assert_eq!(size(&env([(SIZE, " 3\n")])), 3);
    assert_eq!(size(&env([]).set(SIZE, " 3 ")), 3);
    assert_eq!(size(&env([]).pin(SIZE, "\t3 ")), 3);
}

#[test]
fn a_problem_says_whose_value_it_is() {
    let wrong = |builder: Builder| problems(&builder).join("\n");
    let rest = "`x` is not a whole number from 1 to 1000000";
    assert_eq!(wrong(env([(SIZE, "x")])), format!("{SIZE}: {rest}"));
    assert_eq!(
        wrong(env([]).set(SIZE, "x")),
        format!("{SIZE}, set in code: {rest}")
    );
    assert_eq!(
        wrong(env([]).pin(SIZE, "x")),
        format!("{SIZE}, pinned in code: {rest}")
    );
    assert_eq!(
        wrong(env([]).posthog_api_key("a b")),
        "POSTHOG_API_KEY, set in code contains a space or a control character"
    );
}

#[test]
fn what_is_overridden_cannot_be_wrong() {
    assert_eq!(size(&env([(SIZE, "3")]).set(SIZE, "x")), 3);
    assert_eq!(size(&env([(SIZE, "x")]).pin(SIZE, "4")), 4);
}

#[test]
fn code_can_set_only_what_exists() {
    let builder = env([])
        .set("AUDITHOG_DBB", "a")
        .pin("AUDITHOG_DB_FILE", "b");
    assert_eq!(
        problems(&builder),
        [
            "AUDITHOG_DBB, set in code, is no variable of audithog",
            "AUDITHOG_DB_FILE, pinned in code, is no variable of audithog",
        ]
    );
}

#[test]
fn each_setter_sets_its_variable() {
    let builder = env([])
        .service("s")
        .deployment_environment("e")
        .version("v")
        .posthog_api_key("phc_code")
        .posthog_host("https://eu.posthog.com")
        .batch_interval(Duration::from_millis(1500))
        .trusted_proxies("10.0.0.0/8")
        .sample("2xx=0.5")
        .database("rows.db");
    let found = resolved(&builder);
    let run = &found.settings.run;
    assert_eq!(run.service, "s");
    assert_eq!(run.environment.as_deref(), Some("e"));
    assert_eq!(run.version.as_deref(), Some("v"));
    assert_eq!(found.settings.batch_interval, Duration::from_millis(1500));
    assert_eq!(found.capture.trusted_proxies.to_string(), "10.0.0.0/8");
    let here = std::env::current_dir().unwrap();
    assert_eq!(
        found.settings.database,
        Database::File(here.join("rows.db"))
    );
    let posthog = found.settings.posthog.unwrap();
    assert_eq!(posthog.key.expose(), "phc_code");
    assert_eq!(posthog.host, "https://eu.posthog.com");
    assert_eq!(posthog.sample.len(), 1);
}

#[test]
fn environment_replaces_the_whole_environment() {
    let builder = env([(SIZE, "3"), ("AUDITHOG_NONSENSE", "1")]);
    let replaced = builder.environment([("LOG_BATCH_INTERVAL_MS", "7")]);
    assert_eq!(size(&replaced), 100);
    let interval = resolved(&replaced).settings.batch_interval;
    assert_eq!(interval, Duration::from_millis(7));
}

mod key {
    //! The project's key has two names and comes from four places.

    use super::*;

    const KEY: &str = "POSTHOG_API_KEY";
    const TOKEN: &str = "POSTHOG_PROJECT_TOKEN";

    fn key(builder: &Builder) -> Option<String> {
        let posthog = resolved(builder).settings.posthog;
        posthog.map(|posthog| posthog.key.expose().to_owned())
    }

    #[test]
    fn the_alias_is_the_key() {
        assert_eq!(key(&env([])), None);
        assert_eq!(key(&env([(KEY, "phc_a")])).as_deref(), Some("phc_a"));
        assert_eq!(key(&env([(TOKEN, "phc_a")])).as_deref(), Some("phc_a"));
        let both = env([(KEY, "phc_a"), (TOKEN, "phc_a")]);
        assert_eq!(key(&both).as_deref(), Some("phc_a"));
        let differ = env([(KEY, "phc_a"), (TOKEN, "phc_b")]);
        assert_eq!(
            problems(&differ),
            ["POSTHOG_API_KEY and POSTHOG_PROJECT_TOKEN differ; keep one"]
        );
    }

    #[test]
    fn the_stronger_source_decides_under_either_name() {
        let token = env([(TOKEN, "phc_env")]);
        let over_code = token.clone().posthog_api_key("phc_code");
        assert_eq!(key(&over_code).as_deref(), Some("phc_env"));
        let pinned = token.clone().pin(KEY, "phc_pin");
        assert_eq!(key(&pinned).as_deref(), Some("phc_pin"));
        assert_eq!(key(&token.pin(KEY, "")), None);
        let alias_in_code = env([(KEY, "phc_env")]).set(TOKEN, "phc_code");
        assert_eq!(key(&alias_in_code).as_deref(), Some("phc_env"));
    }

    #[test]
    fn a_wrong_key_is_named_and_not_repeated() {
        let cases = [
            ("phx_hidden", "is a personal API key"),
            ("phc_hid den", "contains a space"),
            (&"phc_hidden".repeat(9), "is longer than 64 bytes"),
            ("phc_hiddén", "outside ASCII"),
        ];
        for name in [KEY, TOKEN] {
            for (wrong, why) in &cases {
                let problem = super::super::problem(name, wrong);
                assert!(problem.starts_with(&format!("{name} ")), "{problem}");
                assert!(problem.contains(why), "{problem}");
                assert!(!problem.contains("hid"), "{problem}");
            }
        }
    }

    #[test]
    fn it_can_come_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "phc_file\n").unwrap();
        let path = path.to_str().unwrap();
        for name in ["POSTHOG_API_KEY_FILE", "POSTHOG_PROJECT_TOKEN_FILE"] {
            let file = env([(name, path)]);
            assert_eq!(key(&file).as_deref(), Some("phc_file"));
            let over_code = file.clone().posthog_api_key("phc_code");
            assert_eq!(key(&over_code).as_deref(), Some("phc_file"));
            assert_eq!(
                key(&file.pin(KEY, "phc_pin")).as_deref(),
                Some("phc_pin"),
                "the file is not even read"
            );
        }
        let hmac = env([
            ("AUDITHOG_POSTHOG_HMAC_KEY_FILE", path),
            ("AUDITHOG_POSTHOG_USER", "hmac"),
            (KEY, "phc_a"),
        ]);
        let posthog = resolved(&hmac).settings.posthog.unwrap();
        assert_eq!(posthog.hmac_key.unwrap().expose(), "phc_file");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let missing = directory.path().join("phc_hidden");
        for (path, why) in [
            (file("empty", b" \n"), "names an empty file"),
            (
                file("binary", b"phc_\xff"),
                "cannot be read: stream did not contain valid UTF-8",
            ),
            (
                file("long", &[b'a'; 64 * 1024 + 1]),
                "cannot be read: it is longer than 64 KiB",
            ),
            (
                missing.to_str().unwrap().to_owned(),
                "cannot be read: No such file",
            ),
            // Someone took the file's variable for the key's.
            ("phc_hidden".to_owned(), "cannot be read: No such file"),
        ] {
            let problem = super::super::problem("POSTHOG_API_KEY_FILE", &path);
            assert!(
                problem.starts_with("POSTHOG_API_KEY_FILE names "),
                "{problem}"
            );
            assert!(problem.contains(why), "{problem}");
            assert!(!problem.contains("phc_"), "{problem}");
        }
        let longest = file("longest", &[b'a'; 64 * 1024]);
        let hmac = env([
            ("AUDITHOG_POSTHOG_HMAC_KEY_FILE", &*longest),
            (KEY, "phc_a"),
        ]);
        let posthog = resolved(&hmac).settings.posthog.unwrap();
        assert_eq!(posthog.hmac_key.unwrap().expose().len(), 64 * 1024);
        let both = env([(KEY, "phc_a"), ("POSTHOG_API_KEY_FILE", &*longest)]);
        assert_eq!(
            problems(&both),
            ["POSTHOG_API_KEY and POSTHOG_API_KEY_FILE are both set; keep one"]
        );
    }
}
