//! `audithog export`: what is in the file is what is in the log.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use audithog::{Actor, Logger};
use rusqlite::{Connection, types::ValueRef};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::program::ran;

mod cells;
mod faults;
mod formats;
mod manifest;
mod memory;
mod places;
mod resume;

/// Rows of the view `audit_logs`, as SQL has them.
fn sql(ledger: &Path, condition: &str) -> Vec<Map<String, Value>> {
    let connection = Connection::open(ledger).unwrap();
    let statement = format!("SELECT * FROM audit_logs WHERE {condition} ORDER BY seq");
    let mut statement = connection.prepare(&statement).unwrap();
    let mut names = Vec::new();
    for name in statement.column_names() {
        names.push(name.to_owned());
    }
    let rows = statement.query_map([], |row| {
        let cells = names.iter().enumerate().map(|(at, name)| {
            let value = match row.get_ref(at)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(n) => json!(n),
                ValueRef::Real(n) => json!(n),
                ValueRef::Text(text) => json!(std::str::from_utf8(text).unwrap()),
                ValueRef::Blob(_) => panic!("{name} is a blob"),
            };
            let value = match (&**name, value) {
                ("properties", Value::String(json)) => serde_json::from_str(&json).unwrap(),
                (_, value) => value,
            };
            Ok((name.clone(), value))
        });
        cells.collect()
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Runs `audithog export` with these arguments; it must succeed.
#[track_caller]
fn export(home: &Path, arguments: &[&str]) -> String {
    let (code, printed, complaint) = exported(home, arguments);
    assert_eq!((code, &*complaint), (0, ""), "{arguments:?}");
    printed
}

fn exported(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    ran(home, &[&["export"], arguments].concat())
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What a file of NDJSON has.
fn ndjson(path: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Names in the directory, without those of the ledger.
fn names(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with("audit.db")).collect();
    names.sort();
    names
}

/// A ledger with many rows, made once for all tests of this kind: they only read it.
fn large() -> &'static Large {
    static LARGE: OnceLock<Large> = OnceLock::new();
    LARGE.get_or_init(Large::new)
}

const EARLY: &str = "early";

struct Large {
    _home: TempDir,
    path: PathBuf,
    rows: u64,
}

impl Large {
    /// Many chunks of text, several row groups.
    const ROWS: u64 = 200_000;
    /// Rows with the event [`EARLY`]: enough for several chunks of text.
    const EARLY: u64 = 35_000;

    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let path = home.path().join("audit.db");
        let logger = Logger::builder()
            .service("large")
            .database(&path)
            .start()
            .unwrap();
        for n in 0..Self::ROWS {
            logger
                .event(if n < Self::EARLY { EARLY } else { "thing_done" })
                .actor(Actor::user(format!("u_{}", n % 97)).role("member"))
                .property("number", n)
                .log();
            // No more than the queue holds.
            if n % 20_000 == 0 {
                assert!(logger.flush_blocking(None).blocked.is_none());
            }
        }
        assert!(logger.shutdown_blocking(None).closed);
        let rows = sql(&path, "seq > (SELECT max(seq) - 1 FROM audit_logs)")[0]["seq"].as_u64();
        Self {
            _home: home,
            path,
            rows: rows.unwrap(),
        }
    }

    /// Options for the whole of it, or of a part that is enough for a format.
    fn enough_for(&self, format: &str) -> Vec<&str> {
        match format {
            "parquet" => vec!["--db", self.db()],
            _ => vec!["--db", self.db(), "--event", EARLY],
        }
    }

    fn db(&self) -> &str {
        self.path.to_str().unwrap()
    }
}
