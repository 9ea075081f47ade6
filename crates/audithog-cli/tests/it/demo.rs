//! `audithog demo`.

use std::{fs, io::Read as _, net::TcpListener, path::Path};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::program::{Demo, audithog, output};

/// One value out of the table.
fn ask<T: rusqlite::types::FromSql>(directory: &Path, sql: &str) -> T {
    let path = directory.join("audit.db");
    let table = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the ledger opens");
    table
        .query_row(sql, (), |row| row.get(0))
        .expect("an answer")
}

#[test]
fn each_request_is_a_line_and_a_row() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    let token = demo.token();
    let created = demo.request("POST", "/agents", &token, r#"{"name":"Scout"}"#);
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    let failed = demo.request("GET", "/trouble/fail", &token, "");
    assert!(failed.starts_with("HTTP/1.1 503"), "{failed}");
    assert_eq!(demo.request("GET", "/trouble/panic", &token, ""), "");

    demo.wait_for("agent_created");
    let line = demo.wait_for("/agents");
    assert!(line.contains("POST") && line.contains("201"), "{line}");
    assert!(line.contains("ada, admin of acme"), "{line}");
    demo.wait_for("MODEL_UNAVAILABLE");
    demo.wait_for("PANIC");

    demo.signal("TERM");
    demo.wait_for("requests  4 seen, 4 recorded, 0 cut");
    assert_eq!(demo.ended(), Some(0));
    let mut files: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["audit.db", "audit.db-reserve"]);
    let printed = demo.printed.join("\n");
    assert!(!printed.contains('\x1b'), "colours in a pipe: {printed}");

    let rows = "SELECT group_concat(path || coalesce(status_code, '') || coalesce(error_code, '') || \
         user_id || user_role || org_id || ip, ' ' ORDER BY seq) FROM audit_logs WHERE event = 'api_request'";
    let who = "adaadminacme127.0.0.1";
    assert_eq!(
        ask::<String>(home.path(), rows),
        format!(
            "/login200{who} /agents201{who} /trouble/fail503MODEL_UNAVAILABLE{who} /trouble/panicPANIC{who}"
        )
    );
    let created = "SELECT r.path || json_extract(e.properties, '$.agentId') FROM audit_logs e \
         JOIN audit_logs r ON r.request_id = e.request_id AND r.event = 'api_request' WHERE e.event = 'agent_created'";
    assert_eq!(ask::<String>(home.path(), created), "/agents1");
}

#[test]
fn the_next_start_continues_the_table() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    demo.wait_for("audit.db (new)");
    demo.token();
    demo.signal("INT");
    assert_eq!(demo.ended(), Some(0));
    let rows: i64 = ask(home.path(), "SELECT count(*) FROM audit_logs");

    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    demo.wait_for(&format!("continued: {rows} rows from before"));
    // Rows from before are not shown again.
    let first = demo.wait_for("audit_started");
    assert!(
        !demo
            .printed
            .iter()
            .any(|line| line.contains("user_signed_in")),
        "{first}"
    );
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    let gaps = "SELECT max(seq) = count(*) AND min(seq) = 1 FROM audit_logs";
    assert!(ask::<bool>(home.path(), gaps));
    let lost = "SELECT count(*) FROM audit_logs WHERE event = 'audit_loss'";
    assert_eq!(ask::<i64>(home.path(), lost), 0);
}

#[test]
fn its_own_traffic_arrives_at_the_stand_in() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--quiet", "--posthog-standin"]);
    let batch = demo.wait_for("in a batch (capture v1, 200)");
    assert!(batch.starts_with("PostHog stand-in  "), "{batch}");
    let event = demo.wait_for("/agents");
    assert!(event.starts_with("  api_request        "), "{event}");
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    let printed = demo.printed.join("\n");
    assert!(!printed.contains(" ms"), "a line for a row: {printed}");
    let users = "SELECT count(DISTINCT user_id) FROM audit_logs WHERE event = 'user_signed_in'";
    assert_eq!(ask::<i64>(home.path(), users), 4);
}

#[test]
fn a_request_under_way_ends_before_the_demo_does() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    let mut slow = demo.open("GET", "/trouble/slow", &demo.token(), "");
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    demo.signal("TERM");
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("line 5 of 5"), "{rest}");
    assert_eq!(demo.ended(), Some(0));
    let slow = "SELECT result FROM audit_logs WHERE path = '/trouble/slow' AND duration_ms > 2500";
    assert_eq!(ask::<String>(home.path(), slow), "success");
}

#[test]
fn a_second_signal_stops_at_once() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    let mut slow = demo.open("GET", "/trouble/slow", &demo.token(), "");
    slow.read_exact(&mut [0; 12]).unwrap();
    demo.signal("INT");
    demo.wait_for("stopping");
    demo.signal("INT");
    assert_eq!(demo.ended(), Some(130));
    assert!(
        !demo
            .printed
            .iter()
            .any(|line| line.contains("audit log closed"))
    );
}

#[test]
fn it_stops_when_nobody_reads_its_output() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &[]);
    demo.wait_for("audit_started");
    demo.close_output();
    assert_eq!(demo.ended(), Some(0));
    let stopped = "SELECT count(*) > 0 FROM audit_logs WHERE event = 'audit_stopped'";
    assert!(ask::<bool>(home.path(), stopped));
}

/// Starts it like this; it must refuse with exit code 2. Returns what it says.
fn refused(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = audithog(directory, arguments);
    command.envs(environment.iter().copied());
    let output = output(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    said
}

#[test]
fn a_taken_port_is_one_sentence_and_leaves_no_file() {
    let home = TempDir::new().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = refused(home.path(), &["demo", "--port", &port], &[]);
    let expected = format!("audithog: port {port} of 127.0.0.1 is taken");
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_written_is_one_sentence() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    // Permissions do not stop root, and tests may run as root; nobody makes files in /proc.
    let mut paths = vec!["absent/audit.db", "file/audit.db"];
    if cfg!(target_os = "linux") {
        paths.push("/proc/audit.db");
    }
    for path in paths {
        let said = refused(home.path(), &["demo", "--port", "0", "--db", path], &[]);
        let parent = Path::new(path).parent().unwrap().to_str().unwrap();
        assert!(
            said.starts_with("audithog: ") && said.contains(parent),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            !said.contains("Error {") && !said.contains("kind:"),
            "{said}"
        );
    }
}

#[test]
fn every_wrong_variable_is_one_sentence() {
    let home = TempDir::new().unwrap();
    let said = refused(
        home.path(),
        &["demo", "--port", "0"],
        &[
            ("LOG_BATCH_SIZE", "many"),
            ("POSTHOG_HOST", "ftp://posthog"),
            ("AUDITHOG_RETENTIONN", "1d"),
        ],
    );
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    let [unknown, batch, host] = lines[..] else {
        panic!("not three lines: {said}");
    };
    assert!(
        unknown.starts_with("audithog: AUDITHOG_RETENTIONN"),
        "{said}"
    );
    assert!(unknown.contains("AUDITHOG_RETENTION?"), "{said}");
    assert!(batch.starts_with("audithog: LOG_BATCH_SIZE"), "{said}");
    assert!(host.starts_with("audithog: POSTHOG_HOST"), "{said}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn the_command_line_counts_more_than_the_environment() {
    let home = TempDir::new().unwrap();
    let mut command = audithog(
        home.path(),
        &["demo", "--port", "0", "--db", "absent/mine.db"],
    );
    command.env("AUDITHOG_DB", "theirs.db");
    let said = String::from_utf8(output(command).stderr).unwrap();
    assert!(said.contains("absent"), "{said}");
    assert!(!home.path().join("theirs.db").exists());
}

#[test]
fn the_help_tells_the_exit_codes() {
    let home = TempDir::new().unwrap();
    for arguments in [&["--help"][..], &["demo", "--help"]] {
        let help = output(audithog(home.path(), arguments));
        let help = String::from_utf8(help.stdout).unwrap();
        for code in ["\n  0 ", "\n  1 ", "\n  2 ", "\n  130 "] {
            assert!(help.contains(code), "no{code}in {help}");
        }
    }
}
