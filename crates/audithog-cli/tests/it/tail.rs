//! `audithog tail`, and what happens to the file while it runs.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use audithog::Logger;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    program::{audithog, ran, until},
    shop::{Call, Shop},
};

const LIMIT: Duration = Duration::from_secs(60);

/// `audithog tail -f` while it runs.
struct Tail {
    child: Child,
    lines: Receiver<String>,
    remarks: Receiver<String>,
}

fn lines_of(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

impl Tail {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::run(audithog(directory, &[&["tail", "-f"], arguments].concat()))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            lines: lines_of(child.stdout.take().unwrap()),
            remarks: lines_of(child.stderr.take().unwrap()),
            child,
        }
    }

    /// The next row.
    #[track_caller]
    fn row(&self) -> Value {
        let line = self.lines.recv_timeout(LIMIT).expect("a row");
        serde_json::from_str(&line).expect("JSON")
    }

    #[track_caller]
    fn remark(&self, text: &str) {
        let remark = self.remarks.recv_timeout(LIMIT).expect("a remark");
        assert!(remark.contains(text), "{remark}");
    }

    fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let kill = Command::new("/bin/sh").args(["-c", &line]).status();
        assert!(kill.unwrap().success());
    }

    #[track_caller]
    fn ended(mut self) -> Option<i32> {
        let mut code = None;
        until("its end", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A business event, committed.
fn log(logger: &Logger, n: u64) {
    logger.event("counted").property("n", n).log();
    assert!(logger.flush_blocking(None).blocked.is_none());
}

fn n(row: &Value) -> u64 {
    row["properties"]["n"].as_u64().expect("a number")
}

const COUNTED: [&str; 4] = ["--event", "counted", "--format", "ndjson"];

#[test]
fn the_latest_rows_are_shown_in_order() {
    let shop = Shop::open();
    for n in 0..12 {
        log(&shop.logger, n);
    }
    shop.call(Call {
        status: 500,
        code: Some("DB_DOWN"),
        event: Some("agent_seen"),
        ..Call::default()
    });
    let rows = shop.lines(&["tail", "--event", "counted"]);
    let numbers: Vec<u64> = rows.iter().map(n).collect();
    assert_eq!(numbers, (2..12).collect::<Vec<_>>());
    assert_eq!(shop.lines(&["tail", "-n", "3"]).len(), 3);
    let text = shop.prints(&["tail", "-n", "2", "--utc"]);
    let [event, request]: [&str; 2] = text.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(event.contains("Z    *  agent_seen  {\"plan\":"), "{event}");
    assert!(
        request.contains("Z  500  GET    /agents/7  DB_DOWN  "),
        "{request}"
    );
    assert!(request.contains(" ms  u_1 (admin)  "), "{request}");
    let csv = shop.prints(&["tail", "-n", "1", "--format", "csv"]);
    assert!(csv.starts_with("seq,id,ts,event,request_id"), "{csv}");
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert_eq!(shop.prints(&["tail", "-n", "0"]), "");
}

/// Who looks sees what was there, not the look.
#[test]
fn the_last_row_is_not_the_look_at_it() {
    let shop = Shop::open();
    shop.call(Call::default());
    let mut command = audithog(shop.home(), &["tail", "-n", "1", "--format", "ndjson"]);
    command.env("AUDITHOG_ACCESS", "all");
    let output = crate::program::output(command);
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(row["event"], "api_request");
    let look = shop.lines(&["tail", "-n", "1"]);
    assert_eq!(look[0]["properties"]["through"], "tail");
}

#[test]
fn new_rows_come_once_each_and_an_interrupt_ends_it_well() {
    let shop = Shop::open();
    for n in 0..3 {
        log(&shop.logger, n);
    }
    let tail = Tail::start(shop.home(), &[&COUNTED[..], &["-n", "2"]].concat());
    let mut seen = vec![n(&tail.row()), n(&tail.row())];
    for n in 3..2_500 {
        shop.logger.event("counted").property("n", n).log();
    }
    while seen.len() < 2_499 {
        seen.push(n(&tail.row()));
    }
    assert_eq!(seen, (1..2_500).collect::<Vec<_>>());
    tail.signal("INT");
    assert_eq!(tail.ended(), Some(0));
}

#[test]
fn a_termination_and_a_reader_that_left_end_it_well_too() {
    let shop = Shop::open();
    log(&shop.logger, 1);
    let tail = Tail::start(shop.home(), &COUNTED);
    tail.row();
    tail.signal("TERM");
    assert_eq!(tail.ended(), Some(0));

    let program = env!("CARGO_BIN_EXE_audithog");
    // No row comes after the reader has left: only looking at the pipe tells.
    let typed = format!("'{program}' tail -f --event counted | head -n 1; exit ${{PIPESTATUS[0]}}");
    let mut command = Command::new("bash");
    command.args(["-c", &typed]).current_dir(shop.home());
    let ended = crate::program::output(command);
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.stderr, b"");
}

#[test]
fn it_waits_for_a_ledger_and_stays_while_the_service_is_stopped() {
    let home = TempDir::new().unwrap();
    let (code, _, complaint) = ran(home.path(), &["tail"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("there is no ledger"), "{complaint}");
    let tail = Tail::start(home.path(), &COUNTED);
    tail.remark("waiting: there is no ledger at");
    let start = || {
        let database = home.path().join("audit.db");
        Logger::builder().database(database).start().unwrap()
    };
    for n in 0..3 {
        let logger = start();
        log(&logger, n);
        assert_eq!(self::n(&tail.row()), n);
        assert!(logger.shutdown_blocking(None).closed);
    }
}

#[test]
fn a_look_that_began_before_the_ledger_is_a_row_of_it() {
    let home = TempDir::new().unwrap();
    let mut command = audithog(home.path(), &[&["tail", "-f"], &COUNTED[..]].concat());
    command.env("AUDITHOG_ACCESS", "all");
    let tail = Tail::run(command);
    tail.remark("waiting: there is no ledger at");
    let database = home.path().join("audit.db");
    let logger = Logger::builder().database(database).start().unwrap();
    for n in 0..2 {
        log(&logger, n);
        assert_eq!(self::n(&tail.row()), n);
    }
    let looks = ["tail", "--event", "audit_access", "--format", "ndjson"];
    let (_, printed, _) = ran(home.path(), &looks);
    let rows: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 1, "{printed}");
    assert_eq!(rows[0]["properties"]["through"], "tail -f");
}

#[test]
fn another_file_in_its_place_is_followed_from_its_first_row() {
    let home = TempDir::new().unwrap();
    let elsewhere = TempDir::new().unwrap();
    let make = |directory: &Path, numbers: std::ops::Range<u64>| {
        let database = directory.join("audit.db");
        let logger = Logger::builder().database(database).start().unwrap();
        for n in numbers {
            log(&logger, n);
        }
        assert!(logger.shutdown_blocking(None).closed);
    };
    make(home.path(), 0..2);
    let tail = Tail::start(home.path(), &COUNTED);
    assert_eq!([n(&tail.row()), n(&tail.row())], [0, 1]);
    // More rows than the first had, so that numbers alone would not tell.
    make(elsewhere.path(), 100..105);
    put(elsewhere.path(), home.path(), true);
    let seen: Vec<u64> = (0..5).map(|_| n(&tail.row())).collect();
    assert_eq!(seen, [100, 101, 102, 103, 104]);
    tail.remark("another ledger is in its place");

    // The same log, as it comes back from a copy: it goes on where it was.
    put(home.path(), elsewhere.path(), false);
    put(elsewhere.path(), home.path(), true);
    make(home.path(), 105..106);
    assert_eq!(n(&tail.row()), 105);
    // And while there is none it waits.
    put(home.path(), elsewhere.path(), true);
    tail.remark("waiting: there is no ledger at");
    put(elsewhere.path(), home.path(), true);
    tail.remark("the ledger is there");
    make(home.path(), 106..107);
    assert_eq!(n(&tail.row()), 106);
}

/// Moves the ledger of one directory into another, or copies it. The last to close it may be the tail, which leaves what is beside the file: a log of
/// another file would be taken for its own.
fn put(from: &Path, to: &Path, moves: bool) {
    for name in ["audit.db-wal", "audit.db-shm"] {
        let _ = fs::remove_file(to.join(name));
    }
    for name in ["audit.db-wal", "audit.db-shm", "audit.db"] {
        if from.join(name).exists() {
            let (from, to) = (from.join(name), to.join(name));
            if moves {
                fs::rename(from, to).unwrap();
            } else {
                fs::copy(from, to).unwrap();
            }
        }
    }
}
