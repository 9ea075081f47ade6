//! A killed process, and a disk that hangs, is full or fails, under a real server. strace makes the disk's trouble.

use std::path::Path;

use super::process::Server;
use super::{rows, until};

/// So many are answered before the process is killed.
const ANSWERED: usize = 5;
/// Longer than a disk needs that is not in trouble, short enough to wait for it some times.
const LIMIT_MS: u64 = 500;

fn number(books: &serde_json::Value, of: &str) -> u64 {
    books["guarantee"][of].as_u64().unwrap()
}

fn paths(ledger: &Path, event: &str) -> Vec<String> {
    let rows = rows(ledger, event).into_iter();
    rows.map(|(path, ..)| path).collect()
}

#[test]
fn what_was_answered_is_in_the_ledger_of_a_killed_process() {
    for answered in 1..=ANSWERED {
        let server = Server::start(30_000, &[]);
        let mut asked = Vec::new();
        for n in 0..answered {
            let path = format!("/one/{n}");
            assert!(server.get(&path).complete);
            asked.push(path);
        }
        // At once.
        let directory = server.kill();
        let stored = paths(&directory.path().join("audit.db"), "api_request");
        assert_eq!(stored, asked);
    }
}

#[test]
fn a_crash_in_a_fail_closed_handler_leaves_its_start() {
    let server = Server::start(30_000, &[]);
    // Durable: nothing was answered, and nothing is promised.
    assert!(!server.post("/crash").complete);
    let directory = server.kill();
    let ledger = directory.path().join("audit.db");
    assert_eq!(paths(&ledger, "api_request_started"), ["/crash"]);
    assert_eq!(paths(&ledger, "api_request"), [""; 0]);
}

#[test]
fn a_hung_disk_is_a_time_limit_and_not_a_hung_service() {
    let server = Server::start(LIMIT_MS, &[]);
    assert!(server.get("/one/before").complete);
    assert_eq!(server.post("/paid").text, "paid");

    let hung = server.inject("fsync,fdatasync:delay_enter=600000000");
    let late = server.get("/one/late");
    assert!(late.complete && late.status == 200, "{late:?}");
    // A row is overdue: nobody waits for the disk to refuse.
    for n in 1..=3 {
        let refused = server.post("/paid");
        assert_eq!((refused.status, refused.complete), (503, true));
        let books = server.books();
        assert_eq!(number(&books, "refused"), n);
        assert_eq!(books["lost"]["refused"], n);
    }
    assert_eq!(number(&server.books(), "late"), 1);
    assert_eq!(paths(&server.path(), "api_request_started"), ["/paid"]);

    drop(hung);
    until("it is served again", || server.post("/paid").status == 200);
    assert!(server.get("/one/after").complete);
    let stored = paths(&server.path(), "api_request");
    for name in ["/one/before", "/one/late", "/one/after"] {
        assert!(stored.iter().any(|path| path == name), "{stored:?}");
    }
}

#[test]
fn a_full_or_failing_disk_refuses_until_it_can_be_written_again() {
    for injection in [
        "pwrite64:error=ENOSPC",
        "pwrite64:error=EIO",
        "fsync,fdatasync:error=EIO",
    ] {
        let server = Server::start(LIMIT_MS, &[]);
        assert_eq!(server.post("/paid").text, "paid");
        let trouble = server.inject(injection);
        let caught = server.post("/paid");
        assert_eq!((caught.status, caught.complete), (503, true), "{injection}");
        until("the trouble is known", || {
            !server.books()["ledger"]["trouble"].is_null()
        });
        let before = number(&server.books(), "refused");
        assert_eq!(server.post("/paid").status, 503, "{injection}");
        assert_eq!(
            number(&server.books(), "refused"),
            before + 1,
            "{injection}"
        );
        // Durable goes on, late.
        let late = server.get("/one/late");
        assert!(late.complete && late.status == 200, "{late:?}");

        drop(trouble);
        until("it is served again", || server.post("/paid").status == 200);
        assert!(server.books()["ledger"]["trouble"].is_null());
        let stored = paths(&server.path(), "api_request");
        let late = stored.iter().filter(|path| *path == "/one/late");
        assert_eq!(late.count(), 1, "{injection}: {stored:?}");
    }
}
