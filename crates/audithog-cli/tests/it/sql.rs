//! `audithog sql`: what reads is let through, nothing else, and not for long.

use std::{fs, path::Path, process::Stdio};

use serde_json::{Value, json};

use crate::{
    program::{audithog, output, ran},
    shop::{Call, Shop},
};

/// A statement without an end.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[test]
fn it_answers_in_each_format() {
    let shop = Shop::open();
    shop.call(Call::default());
    let statement = "SELECT event, count(*) AS n, NULL AS none, x'00ff' AS b, 0.5 AS n FROM audit_logs \
                     WHERE event = 'api_request' GROUP BY event";
    let table = shop.prints(&["sql", statement]);
    assert!(
        table.contains("event        n  none  b     n:2\n"),
        "{table}"
    );
    assert!(
        table.contains("api_request  1     -  00ff  0.5\n"),
        "{table}"
    );
    let expected = json!({"event": "api_request", "n": 1, "none": null, "b": "00ff", "n:2": 0.5});
    assert_eq!(
        shop.lines(&["sql", statement]),
        std::slice::from_ref(&expected)
    );
    let whole: Value =
        serde_json::from_str(&shop.prints(&["sql", statement, "--format", "json"])).unwrap();
    assert_eq!(whole, json!({"lines": [expected], "cut": null}));
    let csv = shop.prints(&["sql", statement, "--format", "csv"]);
    assert_eq!(csv, "event,n,none,b,n:2\r\napi_request,1,,00ff,0.5\r\n");
}

#[test]
fn a_statement_comes_from_standard_input() {
    let shop = Shop::open();
    let mut child = audithog(shop.home(), &["sql", "-", "--format", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(
        &mut stdin,
        b"-- a comment\n/* and\nmore */ select 1 as one;\n",
    )
    .unwrap();
    drop(stdin);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.stdout, b"one\r\n1\r\n");
}

#[test]
fn what_is_more_than_reading_is_refused_and_changes_nothing() {
    let shop = Shop::open();
    shop.call(Call::default());
    let elsewhere = shop.home().join("other.db");
    let before = shop.lines(&["sql", "SELECT * FROM audit_rows"]);
    let attach = format!("ATTACH '{}' AS other", elsewhere.display());
    let vacuum = format!("VACUUM INTO '{}'", elsewhere.display());
    for statement in [
        "DELETE FROM audit_rows",
        "UPDATE audit_rows SET path = 'x'",
        "INSERT INTO audit_names (text) VALUES ('x')",
        "WITH one AS (SELECT 1) DELETE FROM audit_rows",
        "/* SELECT */ DROP TABLE audit_rows",
        "\n-- SELECT\nDROP TABLE audit_rows",
        "; DROP TABLE audit_rows",
        "CREATE TEMP TABLE t (x)",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = ON",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "SELECT 1; DROP TABLE audit_rows",
        "SELECT load_extension('x')",
        "BEGIN IMMEDIATE",
        "REINDEX",
        "",
        " --",
        "/*",
        "SELECT ?1",
        "SELECT zeroblob(999999999)",
        &attach,
        &vacuum,
    ] {
        let (code, printed, complaint) = ran(shop.home(), &["sql", statement]);
        assert_eq!((code, &*printed), (2, ""), "{statement}");
        assert!(
            complaint.starts_with("audithog: the statement cannot be run: "),
            "{statement}: {complaint}"
        );
    }
    assert!(!elsewhere.exists());
    assert_eq!(shop.lines(&["sql", "SELECT * FROM audit_rows"]), before);
    let plan = shop.prints(&[
        "sql",
        "EXPLAIN QUERY PLAN SELECT * FROM audit_rows WHERE seq = 1",
    ]);
    assert!(plan.contains("INTEGER PRIMARY KEY"), "{plan}");
}

#[test]
fn a_mistake_is_told_with_sqlites_words_and_its_place() {
    let shop = Shop::open();
    for (statement, complaint) in [
        (
            "SELECT pth FROM audit_logs",
            "no such column: pth, at character 8",
        ),
        (
            "SELECT 'é', pth FROM audit_logs",
            "no such column: pth, at character 13",
        ),
        (
            "SELECT 1,\n  pth\nFROM audit_logs",
            "no such column: pth, in line 2 at character 3",
        ),
        ("SELECT FROM", "near \"FROM\": syntax error, at character 8"),
        ("SELEC 1", "it begins with \"SELEC\"; only SELECT, WITH"),
        ("SELECT json('{')", "malformed JSON"),
    ] {
        let (code, _, said) = ran(shop.home(), &["sql", statement]);
        assert_eq!(code, 2);
        assert!(said.contains(complaint), "{statement}: {said}");
    }
    let (code, _, said) = ran(shop.home(), &["sql", "SELECT 1", "--limit", "0"]);
    assert_eq!(code, 2);
    assert!(said.contains("1 to 50000 lines, not 0"), "{said}");
    let (code, _, said) = ran(shop.home(), &["sql", "SELECT 1", "--timeout", "2h"]);
    assert_eq!(code, 2);
    assert!(said.contains("up to an hour"), "{said}");
}

#[test]
fn an_endless_statement_is_stopped_and_says_so_while_the_service_writes_on() {
    let shop = Shop::open();
    shop.call(Call::default());
    let statement = ENDLESS.replace("count(*)", "i");
    let (code, printed, complaint) = ran(
        shop.home(),
        &["sql", &statement, "--limit", "3", "--format", "csv"],
    );
    assert_eq!((code, &*printed), (0, "i\r\n1\r\n2\r\n3\r\n"));
    assert!(
        complaint.contains("There are more than these 3 lines"),
        "{complaint}"
    );

    let command = audithog(shop.home(), &["sql", ENDLESS, "--timeout", "1s"]);
    let asking = std::thread::spawn(move || output(command));
    while !asking.is_finished() {
        shop.call(Call::default());
    }
    let ended = asking.join().unwrap();
    assert_eq!(ended.status.code(), Some(3));
    let printed = String::from_utf8(ended.stdout).unwrap();
    assert!(
        printed.contains("Cut: the time limit of 1 s passed"),
        "{printed}"
    );
    let health = shop.logger.health();
    assert!(health.check().is_ok(), "{health:?}");
    log_shrinks(&shop);
}

/// Nothing keeps the write-ahead log from being moved into the file.
fn log_shrinks(shop: &Shop) {
    let raw = rusqlite::Connection::open(shop.home().join("audit.db")).unwrap();
    let busy: i64 = raw
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(busy, 0);
}

#[test]
fn a_copy_is_asked_and_a_missing_file_is_told() {
    let shop = Shop::open();
    shop.call(Call::default());
    let copied = tempfile::TempDir::new().unwrap();
    let copy = |name: &str| fs::copy(shop.home().join(name), copied.path().join(name));
    copy("audit.db").unwrap();
    copy("audit.db-wal").unwrap();
    let ask = |directory: &Path| {
        ran(
            directory,
            &[
                "sql",
                "SELECT count(*) AS n FROM audit_logs WHERE method = 'GET'",
                "--format",
                "csv",
            ],
        )
    };
    assert_eq!(ask(copied.path()).1, "n\r\n1\r\n");
    let nowhere = tempfile::TempDir::new().unwrap();
    let (code, _, complaint) = ask(nowhere.path());
    assert_eq!(code, 1);
    assert!(complaint.contains("there is no ledger at"), "{complaint}");
}
