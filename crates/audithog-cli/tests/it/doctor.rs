//! `audithog doctor`: healthy, and each check failing once.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use audithog::testing::{
    PostHogStandIn,
    standin::{Fault, V1Route},
};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    program::{Demo, audithog, output},
    ship::Mount,
};

const KEY: &str = "phc_project_secret";
const PERSONAL: &str = "phx_personal_secret";

struct Clinic {
    home: TempDir,
    posthog: PostHogStandIn,
}

/// What a run of doctor said.
struct Said {
    checks: Vec<Value>,
    text: String,
    code: Option<i32>,
}

impl Clinic {
    fn new() -> Self {
        Self {
            home: TempDir::new().unwrap(),
            posthog: PostHogStandIn::start().unwrap(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = audithog(self.home.path(), &["doctor", "--timeout", "2"]);
        command
            .args(arguments)
            .env("POSTHOG_API_KEY", KEY)
            .env("POSTHOG_HOST", self.posthog.url());
        command
    }

    fn said(&self, environment: &[(&str, &str)]) -> Said {
        let mut command = self.command(&["--format", "json"]);
        command.envs(environment.iter().copied());
        let output = output(command);
        let text = String::from_utf8(output.stdout).unwrap();
        let parsed: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        assert!(!text.contains(KEY) && !text.contains(PERSONAL), "{text}");
        Said {
            checks: parsed["checks"].as_array().unwrap().clone(),
            text,
            code: output.status.code(),
        }
    }

    /// A ledger with rows, closed in good order.
    fn ledger(&self) -> std::path::PathBuf {
        let environment = [
            ("POSTHOG_API_KEY", KEY),
            ("POSTHOG_HOST", &*self.posthog.url()),
        ];
        let mut demo = Demo::start_with(self.home.path(), &["--no-traffic"], &environment);
        demo.request("GET", "/agents", "", "");
        demo.signal("TERM");
        assert_eq!(demo.ended(), Some(0));
        self.home.path().join("audit.db")
    }
}

impl Said {
    /// The check `name` came out as `outcome`, says `text`, and what to do unless it is fine.
    #[track_caller]
    fn assert(&self, name: &str, outcome: &str, text: &str) {
        let found: Vec<&Value> = self
            .checks
            .iter()
            .filter(|check| check["name"] == name)
            .collect();
        let hit = found.iter().find(|check| {
            check["outcome"] == outcome
                && check["text"]
                    .as_str()
                    .is_some_and(|said| said.contains(text))
        });
        let hit = hit.unwrap_or_else(|| {
            panic!(
                "no `{name}` that is {outcome} with `{text}`:\n{}",
                self.text
            )
        });
        assert_eq!(hit["remedy"].is_null(), outcome == "ok", "{hit}");
        assert_eq!(
            self.code,
            Some(i32::from(
                self.checks.iter().any(|check| check["outcome"] == "fail")
            ))
        );
    }

    fn has(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check["name"] == name)
    }
}

fn verified(path: &Path) -> bool {
    let table = Connection::open(path).unwrap();
    let sql = "SELECT verified_ts IS NOT NULL FROM audit_sinks WHERE sink = 'posthog'";
    table.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn beside_a_live_service_all_is_well_and_a_round_trip_verifies_the_sink() {
    let clinic = Clinic::new();
    let url = clinic.posthog.url();
    let environment = [("POSTHOG_API_KEY", KEY), ("POSTHOG_HOST", &*url)];
    let mut demo = Demo::start_with(clinic.home.path(), &["--no-traffic"], &environment);
    demo.request("GET", "/agents", "", "");
    demo.wait_for("GET     /agents");
    let path = clinic.home.path().join("audit.db");
    assert!(!verified(&path));

    let said = clinic.said(&[
        ("POSTHOG_PERSONAL_API_KEY", PERSONAL),
        ("POSTHOG_PROJECT_ID", "1"),
    ]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    for name in [
        "configuration",
        "directory",
        "disk",
        "permissions",
        "ledger",
        "integrity",
        "books",
        "clock",
        "key",
        "host",
        "network",
        "capture",
        "round_trip",
        "verified",
    ] {
        said.assert(name, "ok", "");
    }
    said.assert("capture", "ok", "capture v1");
    assert!(verified(&path));
    let sent = clinic.posthog.events();
    assert_eq!(
        sent.iter()
            .filter(|event| event.event == "audit_doctor")
            .count(),
        1
    );

    let text = output(clinic.command(&[]));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("ok    capture        the host takes events with this key"),
        "{text}"
    );
    assert!(text.contains("warn  round_trip"), "{text}");
    assert!(!text.contains(KEY), "{text}");
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    assert!(verified(&path), "the service keeps it");
}

#[test]
fn without_a_personal_key_nothing_is_sent() {
    let clinic = Clinic::new();
    let said = clinic.said(&[]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    said.assert("ledger", "ok", "does not exist yet");
    said.assert("round_trip", "warn", "not tried");
    assert!(clinic.posthog.stored().is_empty());
    assert!(!clinic.home.path().join("audit.db").exists());
    assert_eq!(
        fs::read_dir(clinic.home.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn an_empty_file_is_one_that_the_first_start_makes_a_ledger_of() {
    let clinic = Clinic::new();
    let path = clinic.home.path().join("audit.db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let said = clinic.said(&[
        ("POSTHOG_PERSONAL_API_KEY", PERSONAL),
        ("POSTHOG_PROJECT_ID", "1"),
    ]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    said.assert("ledger", "ok", "is empty: the first start makes the ledger");
    said.assert("verified", "ok", "there is no ledger yet");
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    // As it says.
    clinic.ledger();
    clinic.said(&[]).assert("ledger", "ok", "is one, schema");
}

#[test]
fn wrong_settings_are_all_named() {
    let clinic = Clinic::new();
    let said = clinic.said(&[
        ("POSTHOG_API_KEY", "phx_personal"),
        ("AUDITHOG_RETENTIONN", "1d"),
        ("LOG_BATCH_SIZE", "0"),
    ]);
    said.assert(
        "configuration",
        "fail",
        "POSTHOG_API_KEY is a personal API key",
    );
    said.assert(
        "configuration",
        "fail",
        "AUDITHOG_RETENTIONN is no variable of audithog; did you mean AUDITHOG_RETENTION?",
    );
    said.assert("configuration", "fail", "LOG_BATCH_SIZE");
    assert!(!said.has("ledger"));
}

#[test]
fn a_missing_or_read_only_directory_fails() {
    let clinic = Clinic::new();
    let said = clinic.said(&[("AUDITHOG_DB", "nowhere/audit.db")]);
    said.assert("directory", "fail", "there is no directory");
    let mount = Mount::new(clinic.home.path().join("volume"), "size=4m");
    mount.remount("ro");
    let said = clinic.said(&[("AUDITHOG_DB", "volume/audit.db")]);
    said.assert("directory", "fail", "cannot be written by this user");
    said.assert("file_system", "warn", "tmpfs does not outlive");
}

#[test]
fn a_full_disk_fails() {
    let clinic = Clinic::new();
    let mount = Mount::new(clinic.home.path().join("volume"), "size=1m");
    let said = clinic.said(&[("AUDITHOG_DB", "volume/audit.db")]);
    said.assert("disk", "fail", "MiB free of 1 MiB");
    drop(mount);
}

#[test]
fn the_ledgers_own_troubles_fail_or_warn() {
    let clinic = Clinic::new();
    let path = clinic.ledger();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let said = clinic.said(&[]);
    said.assert("permissions", "warn", "mode 0644");
    said.assert("status", "warn", "");

    let table = Connection::open(&path).unwrap();
    table
        .execute_batch("UPDATE audit_sinks SET delivered = delivered + 1")
        .unwrap();
    clinic.said(&[]).assert("books", "fail", "does not hold");
    table
        .execute_batch("UPDATE audit_sinks SET delivered = delivered - 1")
        .unwrap();
    clinic
        .said(&[])
        .assert("books", "ok", "conservation equations hold");

    table
        .execute_batch("DROP TRIGGER audit_rows_delete; DELETE FROM audit_rows WHERE seq = 2")
        .unwrap();
    clinic
        .said(&[])
        .assert("integrity", "fail", "row 2 is missing");
    table.execute_batch("DROP TRIGGER audit_rows_update; UPDATE audit_rows SET ts = ts + 3600000000 WHERE seq = (SELECT head FROM audit_head)").unwrap();
    clinic
        .said(&[])
        .assert("clock", "warn", "ahead of this machine's clock");
    drop(table);

    fs::write(
        &path,
        "no database at all, but long enough to look like a file".repeat(100),
    )
    .unwrap();
    clinic
        .said(&[])
        .assert("ledger", "fail", "is not an audithog ledger");
    clinic
        .said(&[("AUDITHOG_DB", "off")])
        .assert("ledger", "warn", "in memory");
}

#[test]
fn an_unreachable_host_and_broken_tls_fail() {
    let clinic = Clinic::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let said = clinic.said(&[("POSTHOG_HOST", &format!("http://127.0.0.1:{port}"))]);
    said.assert("network", "fail", "Connection refused");
    assert!(!said.has("capture"));
    // Longer than a name may be: no resolver asks anybody for it.
    let nobody = format!("https://{}", "a".repeat(70));
    let said = clinic.said(&[("POSTHOG_HOST", &nobody)]);
    said.assert("network", "fail", "DNS");
    // The stand-in speaks no TLS.
    let address = clinic.posthog.address();
    let ca = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../audithog/src/sink/posthog/tests/tls/ca.pem"
    );
    let said = clinic.said(&[
        ("POSTHOG_HOST", &format!("https://{address}")),
        ("AUDITHOG_POSTHOG_CA_FILE", ca),
    ]);
    said.assert("capture", "fail", "cannot connect");
}

#[test]
fn what_posthog_refuses_is_told_apart() {
    let clinic = Clinic::new();
    for (status, text) in [
        (401, "refuses the key (401"),
        (402, "over its quota"),
        (503, "cannot take events now (503"),
    ] {
        clinic.posthog.stand_fault(Fault::status(status));
        clinic.said(&[]).assert("capture", "fail", text);
        clinic.posthog.heal();
    }
    clinic.posthog.stand_fault(Fault::status(404));
    clinic
        .said(&[])
        .assert("capture", "fail", "not as PostHog (404");
    clinic.posthog.heal();
    clinic
        .posthog
        .configure(|behaviour| behaviour.v1 = V1Route::NotFound);
    clinic
        .said(&[])
        .assert("capture", "ok", "capture v0; it has no v1");
    let unknown = clinic.said(&[("POSTHOG_API_KEY", "old_key_project_secret")]);
    unknown.assert("key", "warn", "does not begin with phc_");
    assert!(clinic.posthog.stored().is_empty());
    clinic
        .said(&[("POSTHOG_API_KEY", "")])
        .assert("key", "warn", "nothing leaves the process");
}

#[test]
fn a_round_trip_that_does_not_come_back_names_the_reason() {
    let clinic = Clinic::new();
    let personal = [
        ("POSTHOG_PERSONAL_API_KEY", PERSONAL),
        ("POSTHOG_PROJECT_ID", "1"),
    ];
    let path = clinic.ledger();
    // The key is well-shaped, and of no project.
    clinic
        .posthog
        .configure(|behaviour| behaviour.known_tokens = Some(BTreeSet::new()));
    let said = clinic.said(&personal);
    said.assert(
        "round_trip",
        "fail",
        "the key belongs to another project, or to none",
    );
    assert!(!verified(&path));
    clinic
        .posthog
        .configure(|behaviour| behaviour.known_tokens = None);

    clinic.posthog.push_fault(Fault::status(403).on_query());
    clinic
        .said(&personal)
        .assert("round_trip", "fail", "the personal key is refused (403");
    clinic.posthog.push_fault(Fault::status(404).on_query());
    clinic
        .said(&personal)
        .assert("round_trip", "fail", "there is no such project");
    // A host that hangs is given up with the time that was asked for.
    clinic.posthog.push_fault(Fault::hang().on_query());
    clinic
        .said(&personal)
        .assert("round_trip", "fail", "no answer within 5 s");
    // Once slow, then there.
    clinic.posthog.push_fault(Fault::status(503).on_query());
    clinic
        .said(&personal)
        .assert("round_trip", "ok", "was read back from project 1");
    let project = clinic.said(&[
        ("POSTHOG_PERSONAL_API_KEY", PERSONAL),
        ("POSTHOG_PROJECT_ID", "../../x"),
    ]);
    project.assert("round_trip", "fail", "POSTHOG_PROJECT_ID is no number");
    let key = clinic.said(&[
        ("POSTHOG_PERSONAL_API_KEY", "phc_wrong"),
        ("POSTHOG_PROJECT_ID", "1"),
    ]);
    key.assert("round_trip", "fail", "does not begin with phx_");
}

#[test]
fn what_cannot_be_printed_is_a_failure_and_a_reader_that_left_is_none() {
    let clinic = Clinic::new();
    // A length as other commands read it.
    let mut command = clinic.command(&[]);
    command.args(["--timeout", "1m"]);
    assert_eq!(output(command).status.code(), Some(2), "given twice");
    let mut command = audithog(clinic.home.path(), &["doctor", "--timeout", "1m"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    command.stdout(full.unwrap()).stderr(Stdio::piped());
    let ended = command.spawn().unwrap().wait_with_output().unwrap();
    let complaint = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("cannot be written"), "{complaint}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = audithog(clinic.home.path(), &["doctor", "--timeout", "1m"]);
    command.stdout(writer).stderr(Stdio::piped());
    let ended = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

#[test]
fn a_clock_that_is_off_is_seen_by_the_date_of_the_reply() {
    for (date, outcome, text) in [
        (
            "Mon, 01 Jan 2024 00:00:00 GMT",
            "fail",
            "ahead of PostHog's",
        ),
        ("Fri, 01 Jan 2100 00:00:00 GMT", "fail", "behind PostHog's"),
    ] {
        let clinic = Clinic::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let body = r#"{"error":"empty_batch"}"#;
                // The look whether it can be reached sends nothing.
                if stream.read(&mut [0; 4096]).unwrap_or(0) > 0 {
                    let head = format!(
                        "HTTP/1.1 400 Bad Request\r\ndate: {date}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all((head + body).as_bytes());
                }
            }
        });
        let said = clinic.said(&[("POSTHOG_HOST", &url)]);
        said.assert("clock", outcome, text);
    }
}
