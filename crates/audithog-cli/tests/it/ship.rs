//! `audithog ship`: real services that were killed, their ledgers on one volume.

mod found;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use audithog::testing::{PostHogStandIn, standin::Fault};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::program::{Demo, audithog, output};

const LIMIT: Duration = Duration::from_secs(60);

/// A volume with a directory for each service, and a stand-in for PostHog.
struct Volume {
    directory: TempDir,
    posthog: PostHogStandIn,
}

impl Volume {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            posthog: PostHogStandIn::start().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn ledger(&self, service: &str) -> PathBuf {
        self.path().join(service).join("audit.db")
    }

    /// A service that serves, ships to the stand-in and has answered `requests` requests.
    fn serve(&self, service: &str, requests: usize) -> Demo {
        let home = self.path().join(service);
        fs::create_dir_all(&home).unwrap();
        let environment = [
            ("POSTHOG_API_KEY", "phc_test"),
            ("POSTHOG_HOST", &*self.posthog.url()),
            ("AUDITHOG_SERVICE", service),
            ("AUDITHOG_ENVIRONMENT", "production"),
            ("AUDITHOG_VERSION", "1.2.3"),
            ("AUDITHOG_INSTANCE", &*format!("{service}-0")),
            ("LOG_BATCH_SIZE", "5"),
            ("AUDITHOG_QUEUE_ROWS", "1000"),
        ];
        let mut demo = Demo::start_with(&home, &["--no-traffic"], &environment);
        for _ in 0..requests {
            demo.request("GET", "/agents", "", "");
        }
        // Printed once committed. What the banner shows to try has no method in front.
        for _ in 0..requests {
            demo.wait_for("GET     /agents");
        }
        demo
    }

    /// A service that was killed with rows that PostHog has not got.
    fn orphan(&self, service: &str, requests: usize) {
        let mut demo = self.serve(service, requests);
        demo.signal("KILL");
        demo.ended();
    }

    fn ship_command(&self, arguments: &[&str]) -> Command {
        let mut command = audithog(self.path(), &["ship"]);
        command
            .args(arguments)
            .env("POSTHOG_API_KEY", "phc_test")
            .env("POSTHOG_HOST", self.posthog.url());
        command
    }

    /// Ships with these arguments; the lines and the exit code.
    fn ship(&self, arguments: &[&str]) -> (String, Option<i32>) {
        text(&output(self.ship_command(arguments)))
    }

    /// All that waits is in the stand-in, once after de-duplication, as the run that wrote it had it.
    #[track_caller]
    fn assert_arrived(&self, service: &str) -> Vec<Row> {
        let arrived: BTreeMap<String, _> = self
            .posthog
            .events()
            .into_iter()
            .map(|event| (event.uuid.to_string(), event))
            .collect();
        let rows = rows(&self.ledger(service));
        for row in &rows {
            let event = arrived
                .get(&row.id)
                .unwrap_or_else(|| panic!("{row:?} has not arrived"));
            assert_eq!(event.event, row.event);
            for (name, value) in [
                ("service", &row.service),
                ("environment", &row.environment),
                ("version", &row.version),
                ("instance", &row.instance),
            ] {
                let sent = event.properties.get(name).and_then(|value| value.as_str());
                assert_eq!(sent, value.as_deref(), "{name} of {row:?}");
            }
        }
        rows
    }
}

#[derive(Debug)]
struct Row {
    id: String,
    event: String,
    service: Option<String>,
    environment: Option<String>,
    version: Option<String>,
    instance: Option<String>,
}

fn table(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn rows(path: &Path) -> Vec<Row> {
    let table = table(path);
    let mut statement = table
        .prepare("SELECT id, event, service, environment, version, instance FROM audit_logs ORDER BY seq")
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok(Row {
            id: row.get(0)?,
            event: row.get(1)?,
            service: row.get(2)?,
            environment: row.get(3)?,
            version: row.get(4)?,
            instance: row.get(5)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn count(rows: &[Row], event: &str) -> usize {
    rows.iter().filter(|row| row.event == event).count()
}

fn text(output: &Output) -> (String, Option<i32>) {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code())
}

/// PostHog takes nothing, and says so at once.
fn outage() -> Fault {
    Fault::status(503)
}

#[test]
fn what_killed_services_left_arrives_once_and_as_they_wrote_it() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    for service in ["orders", "billing", "search"] {
        volume.orphan(service, 20);
    }
    volume.posthog.heal();

    let (printed, code) = volume.ship(&["."]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("total: 3 ledgers, "), "{printed}");
    assert!(
        printed.contains(" 0 dead, 0 pending, 0 skipped"),
        "{printed}"
    );
    for service in ["orders", "billing", "search"] {
        let rows = volume.assert_arrived(service);
        assert_eq!(count(&rows, "api_request"), 20);
        assert_eq!(
            count(&rows, "audit_started"),
            1,
            "no service was started to ship"
        );
        assert_eq!(count(&rows, "audit_loss"), 1, "its unclean stop");
        assert_eq!(count(&rows, "audit_shipped"), 1);
        assert_eq!(count(&rows, "audit_stopped"), 0);
        let theirs = rows.iter().filter(|row| row.event == "api_request");
        for row in theirs {
            assert_eq!(row.service.as_deref(), Some(service));
            assert_eq!(row.instance.as_deref(), Some(&*format!("{service}-0")));
        }
    }
    let total: usize = ["orders", "billing", "search"]
        .map(|service| rows(&volume.ledger(service)).len())
        .iter()
        .sum();
    assert_eq!(volume.posthog.events().len(), total);
    let bound: i64 = table(&volume.ledger("orders"))
        .query_row(
            "SELECT json_extract(properties, '$.count') FROM audit_logs WHERE event = 'audit_loss'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(bound, 1_000, "the queue of the service that was killed");

    // Nothing to do: nothing is written or sent.
    let sent = volume.posthog.requests().len();
    let (printed, code) = volume.ship(&["."]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("total: 3 ledgers, 0 shipped, 0 dead, 0 pending"),
        "{printed}"
    );
    assert_eq!(volume.posthog.requests().len(), sent);
    assert_eq!(count(&rows(&volume.ledger("orders")), "audit_shipped"), 1);
}

#[test]
fn a_dry_run_says_what_waits_and_changes_nothing() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 3);
    volume.posthog.heal();
    let before = rows(&volume.ledger("orders")).len();
    let sent = volume.posthog.requests().len();
    let mut command = audithog(
        volume.path(),
        &["ship", "--dry-run", "--format", "json", "."],
    );
    command.env_remove("POSTHOG_API_KEY");
    let (printed, code) = text(&output(command));
    assert_eq!(code, Some(3), "{printed}");
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let ledger = &printed["ledgers"][0];
    assert_eq!(ledger["pending"], before);
    assert_eq!(ledger["unclean_stops"], 1);
    assert_eq!(ledger["in_use_by"], serde_json::Value::Null);
    assert_eq!(printed["total"]["pending"], before);
    assert_eq!(volume.posthog.requests().len(), sent);
    assert_eq!(rows(&volume.ledger("orders")).len(), before);
}

#[test]
fn a_ledger_in_use_is_left_alone_and_stops_no_other() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 5);
    let mut live = volume.serve("billing", 5);
    volume.posthog.heal();

    let (printed, code) = volume.ship(&["."]);
    assert_eq!(code, Some(3), "{printed}");
    let line = printed
        .lines()
        .find(|line| line.starts_with("./billing/audit.db: "))
        .unwrap();
    assert!(
        line.contains(
            "skipped: the ledger ./billing/audit.db is in use: billing runs here as process"
        ),
        "{line}"
    );
    assert!(printed.contains(" 1 skipped"), "{printed}");
    volume.assert_arrived("orders");
    assert_eq!(count(&rows(&volume.ledger("billing")), "audit_shipped"), 0);
    live.signal("TERM");
    assert_eq!(live.ended(), Some(0));
}

#[test]
fn a_damaged_ledger_and_other_files_stop_no_other() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 5);
    volume.orphan("billing", 5);
    volume.orphan("search", 5);
    volume.posthog.heal();
    // Everything after the first page is gone, and the log with it.
    let damaged = volume.ledger("billing");
    let wal = volume.path().join("billing/audit.db-wal");
    fs::remove_file(wal).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&damaged)
        .unwrap()
        .set_len(4096 + 512)
        .unwrap();
    fs::write(
        volume.path().join("audit.db.damaged-1"),
        "not even a database",
    )
    .unwrap();
    fs::write(volume.path().join("notes.txt"), "x".repeat(1_000)).unwrap();
    fs::write(volume.path().join("empty.db"), "").unwrap();

    let (printed, code) = volume.ship(&["--timeout", "1", "."]);
    assert_eq!(code, Some(3), "{printed}");
    assert!(
        printed.contains("./audit.db.damaged-1: skipped: "),
        "{printed}"
    );
    assert!(
        !printed.contains("notes.txt") && !printed.contains("empty.db"),
        "{printed}"
    );
    volume.assert_arrived("orders");
    volume.assert_arrived("search");
}

#[test]
fn a_damaged_page_ends_it_with_the_reason_and_not_after_the_timeout() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    let mut demo = volume.serve("orders", 200);
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    volume.posthog.heal();
    let path = volume.ledger("orders");
    // Neither the first nor the last page of rows.
    let page: i64 = table(&path)
        .query_row(
            "SELECT pageno FROM dbstat WHERE name = 'audit_rows' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let before = u64::try_from(page - 1).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(before * 4096)).unwrap();
    file.write_all(&[0xff; 4096]).unwrap();

    let (printed, code) = volume.ship(&["--timeout", "86400", "."]);
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains(" pending: "), "{printed}");
    assert!(
        printed.contains("keep the file: what can still be read"),
        "{printed}"
    );
}

#[test]
fn an_outage_ends_it_with_what_is_left_and_a_wrong_key_at_once() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 5);
    let (printed, code) = volume.ship(&["--timeout", "1", "."]);
    assert_eq!(code, Some(3), "{printed}");
    assert!(
        printed.contains("the destination does not answer"),
        "{printed}"
    );

    volume.posthog.heal();
    volume.posthog.stand_fault(Fault::status(401));
    let (printed, code) = volume.ship(&["--timeout", "2m", "."]);
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("on hold: bad_key"), "{printed}");
    assert!(printed.contains("total: 1 ledger, "), "{printed}");

    volume.posthog.heal();
    let (printed, code) = volume.ship(&["."]);
    assert_eq!(code, Some(0), "{printed}");
    let rows = volume.assert_arrived("orders");
    assert_eq!(
        count(&rows, "audit_shipped"),
        1,
        "only of what settled something"
    );
    assert_eq!(count(&rows, "audit_loss"), 1);
}

#[test]
fn killed_in_the_middle_it_goes_on_where_it_was() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 60);
    volume.orphan("billing", 5);
    volume.posthog.heal();
    // The first batch arrives, and its acknowledgement never.
    volume.posthog.push_fault(Fault::hang().after_storing());
    let mut child = volume
        .ship_command(&["."])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    volume
        .posthog
        .wait_for(LIMIT, |seen| !seen.stored().is_empty())
        .unwrap();
    child.kill().unwrap();
    let mut rest = String::new();
    let _ = BufReader::new(child.stdout.take().unwrap()).read_line(&mut rest);
    child.wait().unwrap();

    let (printed, code) = volume.ship(&["."]);
    assert_eq!(code, Some(0), "{printed}");
    volume.assert_arrived("orders");
    volume.assert_arrived("billing");
    assert!(volume.posthog.duplicates() > 0, "the batch was sent again");
    let total = rows(&volume.ledger("orders")).len() + rows(&volume.ledger("billing")).len();
    assert_eq!(volume.posthog.events().len(), total);
}

#[test]
fn stopped_in_the_middle_it_has_lost_nothing_to_tell_of() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    let mut demo = volume.serve("orders", 20);
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    volume.posthog.heal();
    volume.posthog.stand_fault(Fault::hang());
    for signal in ["TERM", "INT", "KILL"] {
        let before = volume.posthog.requests().len();
        let mut child = volume.ship_command(&["."]).spawn().unwrap();
        volume
            .posthog
            .wait_for(LIMIT, |seen| seen.requests().len() > before)
            .unwrap();
        run("kill", &[&format!("-{signal}"), &child.id().to_string()]);
        assert!(!child.wait().unwrap().success());
        let (printed, code) = volume.ship(&["--dry-run", "."]);
        assert_eq!(code, Some(3), "{printed}");
        assert!(!printed.contains("unclean"), "{printed}");
    }
    volume.posthog.heal();
    let (printed, code) = volume.ship(&["."]);
    assert_eq!(code, Some(0), "{printed}");
    let rows = volume.assert_arrived("orders");
    assert_eq!(count(&rows, "audit_loss"), 0);
    assert_eq!(count(&rows, "audit_shipped"), 1);
    let home = volume.path().join("orders");
    let seen = crate::program::status(&home);
    assert_eq!(seen["losses"].as_array().unwrap().len(), 0, "{seen}");
    for equation in seen["equations"].as_array().unwrap() {
        assert_eq!(equation["holds"], true, "{equation}");
    }
}

#[test]
fn without_a_key_or_a_path_it_does_not_start() {
    let volume = Volume::new();
    volume.orphan("orders", 1);
    let mut command = audithog(volume.path(), &["ship", "."]);
    command.env_remove("POSTHOG_API_KEY");
    let (printed, code) = text(&output(command));
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("POSTHOG_API_KEY is not set"), "{printed}");
    let (printed, code) = volume.ship(&["nowhere"]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("nowhere cannot be found"), "{printed}");
    fs::create_dir(volume.path().join("empty")).unwrap();
    let (printed, code) = volume.ship(&["empty"]);
    assert_eq!((printed.trim(), code), ("no ledger found", Some(0)));
}

#[test]
fn a_ledger_that_never_had_a_key_is_shipped_by_its_age_or_all() {
    let volume = Volume::new();
    let home = volume.path().join("old");
    fs::create_dir(&home).unwrap();
    let demo = Demo::start_with(&home, &["--no-traffic"], &[("AUDITHOG_SERVICE", "old")]);
    for _ in 0..5 {
        demo.request("GET", "/agents", "", "");
    }
    let mut demo = demo;
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    // So old that nothing of it is sent.
    let copy = volume.path().join("copy.db");
    fs::copy(volume.ledger("old"), &copy).unwrap();
    let mut command = volume.ship_command(&["copy.db"]);
    command.env("AUDITHOG_POSTHOG_BACKFILL", "0s");
    let (printed, code) = text(&output(command));
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("held back as too old"), "{printed}");
    let mut command = volume.ship_command(&["--all", "old"]);
    command.env("AUDITHOG_POSTHOG_BACKFILL", "0s");
    let (printed, code) = text(&output(command));
    assert_eq!(code, Some(0), "{printed}");
    assert!(!printed.contains("held back"), "{printed}");
    volume.assert_arrived("old");
}

#[test]
fn a_run_of_another_container_is_waited_for_until_its_signs_are_old() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 3);
    volume.posthog.heal();
    // As seen from another container: nobody can look whether the process still runs.
    let table = Connection::open(volume.ledger("orders")).unwrap();
    let now = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";
    let elsewhere = format!("UPDATE audit_runs SET pid_space = 'pid:[1]', alive_ts = {now}");
    table.execute_batch(&elsewhere).unwrap();
    let (printed, code) = volume.ship(&["--timeout", "0", "."]);
    assert_eq!(code, Some(3), "{printed}");
    assert!(
        printed
            .contains("may be in use in another container or on another host: orders as process"),
        "{printed}"
    );
    let old = format!(
        "UPDATE audit_runs SET alive_ts = {now} - 61000000; UPDATE audit_sinks SET lease_holder = '1/x', lease_until = {now} + 3000000"
    );
    table.execute_batch(&old).unwrap();
    let (printed, code) = volume.ship(&["--timeout", "0", "."]);
    assert_eq!(code, Some(3), "its lease lasts: {printed}");
    drop(table);
    let (printed, code) = volume.ship(&["--timeout", "60", "."]);
    assert_eq!(code, Some(0), "{printed}");
    let rows = volume.assert_arrived("orders");
    assert_eq!(count(&rows, "audit_loss"), 1);
}

/// A file system that lives as long as this, mounted with `options`.
pub(crate) struct Mount(PathBuf);

impl Mount {
    pub(crate) fn new(path: PathBuf, options: &str) -> Self {
        let shown = path.to_str().unwrap();
        fs::create_dir_all(&path).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", shown]);
        Self(path)
    }

    pub(crate) fn remount(&self, options: &str) {
        run(
            "mount",
            &[
                "-o",
                &format!("remount,{options}"),
                self.0.to_str().unwrap(),
            ],
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    let done = status.is_ok_and(|status| status.success());
    assert!(
        done,
        "`{program} {}` must work: run this test as root",
        arguments.join(" ")
    );
}

#[test]
fn a_read_only_volume_is_named_with_its_remedy_and_a_copy_ships() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 3);
    volume.posthog.heal();
    let mount = Mount::new(volume.path().join("snapshot"), "size=16m");
    for file in ["audit.db", "audit.db-wal"] {
        fs::copy(volume.path().join("orders").join(file), mount.0.join(file)).unwrap();
    }
    mount.remount("ro");
    let (printed, code) = volume.ship(&["snapshot"]);
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("copy it with its -wal file"), "{printed}");
    let (printed, code) = volume.ship(&["orders"]);
    assert_eq!(code, Some(0), "{printed}");
    volume.assert_arrived("orders");
}
