//! `audithog status`, on real ledgers of real processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use audithog::testing::standin::{Fault, PostHogStandIn};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Demo, audithog, output, ran, status, until};

/// `--check` with these arguments: its exit code, and what it printed.
fn check(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let (code, printed, complaint) = ran(directory, &[&["status", "--check"], arguments].concat());
    assert_eq!(complaint, "");
    (code, printed)
}

fn change(directory: &Path, sql: &str) {
    let raw = Connection::open(directory.join("audit.db")).expect("the ledger");
    raw.busy_timeout(std::time::Duration::from_secs(30))
        .expect("a limit");
    raw.execute_batch(sql).expect(sql);
}

/// A service that ships to `stand_in` at once, and does not try twice.
fn shipping(home: &TempDir, stand_in: &PostHogStandIn) -> Demo {
    let variables = [
        ("POSTHOG_API_KEY", "phc_status"),
        ("POSTHOG_HOST", &*stand_in.url()),
        ("LOG_BATCH_SIZE", "1"),
        ("AUDITHOG_RETRY_QUICK_ATTEMPTS", "1"),
    ];
    Demo::start_with(home.path(), &["--no-traffic"], &variables)
}

#[track_caller]
fn assert_adds_up(status: &Value) {
    for equation in status["equations"].as_array().unwrap() {
        assert_eq!(equation["holds"], true, "{equation}");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_service_is_seen_from_its_start_to_its_death() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    demo.token();
    until("its counts are in the file", || {
        status(home.path())["runs"][0]["books"]["requests_accepted"] == 1
    });
    let seen = status(home.path());
    assert_eq!(seen["service"], "agents-marketplace");
    assert_eq!(seen["runs"][0]["state"], "alive");
    assert_eq!(seen["rows"]["requests"], 1);
    assert_adds_up(&seen);
    assert_eq!(check(home.path(), &[]), (0, "No problems.\n".to_owned()));

    demo.signal("KILL");
    demo.ended();
    let left = names(home.path());
    let seen = status(home.path());
    assert_eq!(seen["runs"][0]["state"], "dead");
    assert_eq!(seen["rows"]["requests"], 1);
    assert_adds_up(&seen);
    let printed = ran(home.path(), &["status"]).1;
    let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        printed.contains("Losses none counted yet up to 65,536 rows in the memory of a run that died may be gone:"),
        "{printed}"
    );
    let (code, printed) = check(home.path(), &[]);
    assert_eq!(code, 3);
    assert!(printed.contains("stopped without saying so"), "{printed}");
    assert!(printed.contains("-> start the service again"), "{printed}");
    assert_eq!(names(home.path()), left, "looking leaves nothing behind");

    // Its next start counts what may be missing.
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    until("the unclean stop is counted", || {
        status(home.path())["losses"][0]["reason"] == "unclean_stop"
    });
    let (code, printed) = check(home.path(), &[]);
    assert_eq!(code, 6);
    assert!(
        printed.contains("rows were lost as unclean_stop"),
        "{printed}"
    );
    assert_eq!(check(home.path(), &["--window", "0s"]).0, 0);

    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    let left = names(home.path());
    assert!(!left.contains(&"audit.db-wal".to_owned()), "{left:?}");
    let seen = status(home.path());
    assert_eq!(seen["runs"][0]["state"], "ended");
    assert_eq!(seen["runs"][1]["state"], "killed");
    assert_eq!(seen["file"]["access"], "still");
    assert_adds_up(&seen);
    let (code, printed) = check(home.path(), &["--window", "0s"]);
    assert_eq!(code, 3);
    assert!(printed.contains("no process writes this log"), "{printed}");
    assert_eq!(names(home.path()), left, "looking leaves nothing behind");
}

#[test]
fn a_service_that_lives_and_writes_nothing_is_told() {
    let home = TempDir::new().unwrap();
    let demo = Demo::start(home.path(), &["--no-traffic"]);
    until("its first rows", || {
        status(home.path())["rows"]["head"] == 1
    });
    demo.signal("STOP");
    change(
        home.path(),
        "UPDATE audit_runs SET alive_ts = alive_ts - 120000000",
    );
    let (code, printed) = check(home.path(), &[]);
    demo.signal("CONT");
    assert_eq!(code, 3, "{printed}");
    assert!(
        printed.contains("lives and has written nothing for 12"),
        "{printed}"
    );
}

#[test]
fn a_hold_is_shown_with_its_remedy_and_its_end() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    stand_in.stand_fault(Fault::status(401));
    let _demo = shipping(&home, &stand_in);
    until("the hold", || {
        status(home.path())["sinks"][0]["hold"].is_object()
    });
    let seen = status(home.path());
    let sink = &seen["sinks"][0];
    assert_eq!(sink["hold"]["reason"], "bad_key");
    let remedy = sink["hold"]["remedy"].as_str().unwrap();
    assert!(remedy.contains("set POSTHOG_API_KEY"), "{remedy}");
    assert!(sink["last_error"].is_string() && sink["last_success"].is_null());
    assert_adds_up(&seen);
    let (code, printed) = check(home.path(), &[]);
    assert_eq!(code, 7, "{printed}");
    assert!(printed.contains("set POSTHOG_API_KEY"), "{printed}");
    let (_, shown, _) = ran(home.path(), &["status"]);
    assert!(
        shown.contains("on hold since 20") && shown.contains("-> set POSTHOG_API_KEY"),
        "{shown}"
    );
}

#[test]
fn an_outage_is_shown_and_old_rows_are_a_problem() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    stand_in.stand_fault(Fault::status(503));
    let _demo = shipping(&home, &stand_in);
    until("the breaker", || {
        status(home.path())["sinks"][0]["breaker"] == "open"
    });
    let seen = status(home.path());
    let sink = &seen["sinks"][0];
    assert!(
        sink["breaker_since"].is_string() && sink["last_error"].is_string(),
        "{sink}"
    );
    assert_eq!(sink["pending"], 1);
    assert_adds_up(&seen);
    assert_eq!(check(home.path(), &[]).0, 0);
    let (code, printed) = check(home.path(), &["--max-pending-age", "0"]);
    assert_eq!(code, 8);
    assert!(printed.contains("1 row waits for posthog"), "{printed}");
}

#[test]
fn books_that_do_not_add_up_are_told() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let _demo = shipping(&home, &stand_in);
    until("a delivery", || {
        status(home.path())["sinks"][0]["delivered"] == 1
    });
    change(home.path(), "UPDATE audit_sinks SET delivered = 7");
    let (code, printed) = check(home.path(), &[]);
    assert_eq!(code, 5);
    assert!(printed.contains("1 stored = 7 delivered + 0"), "{printed}");
}

/// A small disk, for as long as this lives.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "none"])
            .arg(directory.path())
            .output()
            .expect("mount(8), from the package mount");
        assert!(
            mount.status.success(),
            "needs root to mount a tmpfs: {mount:?}"
        );
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_is_almost_full_is_told() {
    let disk = SmallDisk::new();
    let mut demo = Demo::start(disk.0.path(), &["--no-traffic"]);
    let (code, printed) = check(disk.0.path(), &[]);
    demo.signal("TERM");
    demo.ended();
    assert_eq!(code, 4, "{printed}");
    assert!(
        printed.contains("the disk has 1") && printed.contains(" MiB left"),
        "{printed}"
    );
}

#[test]
fn what_cannot_be_looked_at_is_one_sentence() {
    let home = TempDir::new().unwrap();
    let file = |name: &str, content: &str| {
        fs::write(home.path().join(name), content).unwrap();
    };
    file(
        "garbage.db",
        &"Not a database, though long enough for one. ".repeat(200),
    );
    file("empty.db", "");
    fs::copy(fixture("v2.db"), home.path().join("newer.db")).unwrap();
    Connection::open(home.path().join("newer.db"))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    for (path, sentence) in [
        ("missing.db", "there is no ledger at missing.db"),
        ("missing/audit.db", "there is no ledger at missing/audit.db"),
        ("garbage.db", "garbage.db is not an audithog ledger"),
        ("empty.db", "empty.db is not an audithog ledger"),
        (
            "newer.db",
            "was written by a newer version of audithog (schema 99",
        ),
        (".", ". is no regular file"),
    ] {
        let (code, printed, complaint) = ran(home.path(), &["status", path]);
        assert_eq!((code, &*printed), (1, ""), "{path}");
        assert!(complaint.contains(sentence), "{path}: {complaint}");
        let lines: Vec<&str> = complaint.lines().collect();
        let [_, remedy] = lines[..] else {
            panic!("what is wrong, and what to do: {complaint}");
        };
        let todo = match path {
            "newer.db" => "use the newer audithog",
            "missing.db" | "missing/audit.db" => "name the file, or set AUDITHOG_DB",
            _ => "audithog doctor",
        };
        assert!(remedy.contains(todo), "{path}: {remedy}");
        let words = "file is not a database";
        assert!(complaint.matches(words).count() <= 1, "{complaint}");
    }
    assert_eq!(names(home.path()), ["empty.db", "garbage.db", "newer.db"]);
    let (code, _, complaint) = ran(home.path(), &["status", "--max-pending-age", "soon"]);
    assert_eq!(code, 2, "{complaint}");
    let mut off = audithog(home.path(), &["status"]);
    off.env("AUDITHOG_DB", "off");
    let off = output(off);
    assert_eq!(off.status.code(), Some(2));
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../audithog/tests/fixtures/ledger")
        .join(name)
}

#[test]
fn the_environment_names_the_ledger_and_an_argument_goes_before_it() {
    let home = TempDir::new().unwrap();
    fs::copy(fixture("v2.db"), home.path().join("two.db")).unwrap();
    fs::copy(fixture("v1.db"), home.path().join("one.db")).unwrap();
    let schema = |arguments: &[&str]| {
        let mut command = audithog(home.path(), &["status", "--format", "json"]);
        command.args(arguments).env("AUDITHOG_DB", "two.db");
        let output = output(command);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        status["file"]["schema"].clone()
    };
    assert_eq!(schema(&[]), 2);
    assert_eq!(schema(&["one.db"]), 1);
}

/// What other programs read: a change here is a change of what docs/reference/status.md promises.
#[test]
fn the_json_is_what_is_documented() {
    let home = TempDir::new().unwrap();
    fs::copy(fixture("v2.db"), home.path().join("audit.db")).unwrap();
    let mut seen = status(home.path());
    // Times and places of this run.
    settle(&mut seen);
    let expected = include_str!("status.json");
    let seen = format!("{}\n", serde_json::to_string_pretty(&seen).unwrap());
    assert_eq!(seen, expected, "\n{seen}");
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let passes = name == "at"
                    || name.contains("age_seconds")
                    || name.contains("bytes")
                    || name == "path"
                    || name == "oldest_pending_seconds";
                if passes && !value.is_null() && !value.is_object() {
                    *value = format!("({name})").into();
                } else {
                    settle(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        _ => {}
    }
}

#[test]
fn text_fits_eighty_columns_and_has_no_colours_in_a_pipe() {
    let home = TempDir::new().unwrap();
    fs::copy(fixture("v2.db"), home.path().join("audit.db")).unwrap();
    let (code, printed, _) = ran(home.path(), &["status"]);
    assert_eq!(code, 0);
    assert!(!printed.contains('\x1b'), "{printed}");
    let path = home.path().display().to_string();
    for line in printed.lines().filter(|line| !line.contains(&path)) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for part in [
        "Audit log of shop (test)",
        "1 dead letter,",
        "7 queue_full",
        "-> set a key",
    ] {
        assert!(printed.contains(part), "{part}:\n{printed}");
    }
}

#[test]
fn the_file_is_named_as_other_commands_have_it() {
    let home = TempDir::new().unwrap();
    fs::copy(fixture("v2.db"), home.path().join("other.db")).unwrap();
    let (code, printed, complaint) = ran(home.path(), &["status", "--db", "other.db"]);
    assert_eq!((code, &*complaint), (0, ""));
    assert!(printed.contains("Audit log of shop (test)"), "{printed}");
    let (code, _, _) = ran(home.path(), &["status", "other.db", "--db", "other.db"]);
    assert_eq!(code, 2);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let home = TempDir::new().unwrap();
    fs::copy(fixture("v2.db"), home.path().join("audit.db")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = |arguments: &[&str]| {
        let mut command = audithog(home.path(), arguments);
        command
            .stdout(writer.try_clone().unwrap())
            .stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        output.status.code()
    };
    assert_eq!(ended(&["status"]), Some(0));
    assert_eq!(ended(&["status", "--format", "json"]), Some(0));
    assert_eq!(ended(&["dead-letters", "list"]), Some(0));
    // The code is what a check wants.
    assert_eq!(ended(&["status", "--check"]), Some(3));
}

#[test]
fn the_help_says_what_a_check_is_for() {
    let home = TempDir::new().unwrap();
    let (code, help, _) = ran(home.path(), &["status", "--help"]);
    assert_eq!(code, 0);
    assert!(help.contains("For alerts: prints problems only"), "{help}");
    assert!(help.contains("no liveness probe"), "{help}");
    assert!(!help.contains("or probes"), "{help}");
}
