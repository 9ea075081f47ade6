//! Responses that wait for their row, over real connections: what a client has seen of a response while its row could not
//! be committed, and what it gets then.
//!
//! Commits are stalled for real: another connection holds SQLite's write lock.

mod disk;
mod durable;
mod fail_closed;
mod full_queue;
mod process;
mod service;
mod started;
mod trace;

use std::path::Path;
use std::time::{Duration, Instant};

use audithog::Logger;

/// Long enough for any machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any test: a wait that ends by itself is not what is looked at.
const NO_LIMIT: Duration = Duration::from_secs(600);

/// Another program that writes to the ledger, and takes its time.
struct Stall(rusqlite::Connection);

impl Stall {
    fn begin(path: &Path) -> Self {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

/// Looks again and again until `is_so`. Blocks the thread of the test, where nothing else runs.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        // Only so that the looking leaves the core to what is looked at.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Waits until so many responses wait for their row.
#[track_caller]
fn until_waiting(logger: &Logger, responses: u64) {
    let waiting = || logger.health().guarantee.waiting;
    until(&format!("{responses} responses wait"), || {
        waiting() == responses
    });
}

/// The rows of one kind: path, status and error code.
fn rows(path: &Path, event: &str) -> Vec<(String, Option<u16>, Option<String>)> {
    let table =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
    let mut rows = table
        .prepare(
            "SELECT path, status_code, error_code FROM audit_logs WHERE event = ?1 ORDER BY seq",
        )
        .unwrap();
    let rows = rows.query_map([event], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Of all rows of one kind.
fn properties(path: &Path, event: &str) -> Vec<serde_json::Value> {
    let table =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
    let mut rows = table
        .prepare("SELECT properties FROM audit_logs WHERE event = ?1 ORDER BY seq")
        .unwrap();
    let rows = rows.query_map([event], |row| row.get::<_, String>(0));
    rows.unwrap()
        .map(|text| serde_json::from_str(&text.unwrap()).unwrap())
        .collect()
}
