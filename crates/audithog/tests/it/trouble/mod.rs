//! A ledger in trouble: real faults around a real process, and what is left afterwards.
//!
//! The process is this test program again ([`child`]). Faults come from `strace`, which makes its
//! system calls fail or hang from one moment to another, from small file systems in memory, from
//! other connections and from files that go away. All of that needs root, `strace` and `mount`.

mod child;
mod damage;
mod disk;
mod files;
mod hang;
mod log;
mod strace;

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use child::Service;

/// After any fault: the file is whole, no number is missing, and every row is in the books.
#[track_caller]
fn assert_sound(path: &Path, health: &Value) {
    assert_eq!(health["check"], Value::Null, "{health:#}");
    let lost: u64 = health["lost"]
        .as_object()
        .unwrap()
        .values()
        .map(|rows| rows.as_u64().unwrap())
        .sum();
    assert_eq!(
        health["accepted"].as_u64().unwrap(),
        health["stored"].as_u64().unwrap() + lost,
        "{health:#}"
    );
    let ledger = read(path);
    let verdict: String = ledger
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    let (rows, least, most, head, pruned): (i64, i64, i64, i64, i64) = ledger
        .query_row(
            "SELECT count(*), coalesce(min(seq), pruned + 1), coalesce(max(seq), head), head, pruned
             FROM audit_head LEFT JOIN audit_rows",
            [],
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            },
        )
        .unwrap();
    assert_eq!((least, most), (pruned + 1, head));
    assert!(
        rows == head - pruned || head == pruned,
        "{rows} rows, {head}"
    );
}

fn read(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// The numbers of the counted events, in the order of the log.
fn counted(path: &Path) -> Vec<u64> {
    let ledger = read(path);
    let mut rows = ledger
        .prepare(
            "SELECT json_extract(properties, '$.n') FROM audit_logs WHERE event = 'counted' ORDER BY seq",
        )
        .unwrap();
    let rows = rows.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    rows.map(|n| n.unwrap().unsigned_abs()).collect()
}

/// The properties of audithog's own rows of one kind.
fn own_rows(path: &Path, event: &str) -> Vec<Value> {
    let ledger = read(path);
    let mut rows = ledger
        .prepare("SELECT properties FROM audit_logs WHERE event = ?1 ORDER BY seq")
        .unwrap();
    let rows = rows
        .query_map([event], |row| row.get::<_, String>(0))
        .unwrap();
    rows.map(|text| serde_json::from_str(&text.unwrap()).unwrap())
        .collect()
}

/// Every counted event is there, once and in order; the service ends well.
#[track_caller]
fn assert_all_kept(mut service: Service, path: &Path, events: u64) {
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(path, &report["health"]);
    assert_eq!(counted(path), (0..events).collect::<Vec<_>>());
}
