//! `audithog query`: every question, every format, on a live log and on copies of it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use audithog::testing::PostHogStandIn;
use rusqlite::{Connection, config::DbConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{Demo, audithog, output, ran},
    shop::{Call, Shop},
};

/// Requests of two users, one of which failed.
fn shop() -> Shop {
    let shop = Shop::open();
    shop.call(Call::default());
    shop.call(Call {
        status: 500,
        code: Some("DB_DOWN"),
        ..Call::default()
    });
    shop.call(Call {
        path: "/agents/8",
        user: Some("u_2"),
        event: Some("agent_seen"),
        ..Call::default()
    });
    shop.call(Call {
        path: "/nowhere",
        user: None,
        ..Call::default()
    });
    shop
}

/// Every question in its shortest form.
const QUESTIONS: [&[&str]; 13] = [
    &["failures"],
    &["paths"],
    &["users"],
    &["codes"],
    &["slowest"],
    &["user", "u_1"],
    &["admins"],
    &["request", "none"],
    &["traffic"],
    &["endpoint", "GET /agents/{id}"],
    &["address", "127.0.0.1"],
    &["refusals"],
    &["count", "--by", "route,result", "--measure", "p95_ms,last"],
];

#[test]
fn each_question_has_an_answer_in_each_format() {
    let shop = shop();
    for question in QUESTIONS {
        let ask = |format: &str| {
            let arguments = [&["query"], question, &["--format", format]].concat();
            ran(shop.home(), &arguments)
        };
        let (code, table, complaint) = ask("table");
        assert_eq!((code, &*complaint), (0, ""), "{question:?}");
        assert!(table.contains("\nExact, from "), "{question:?}: {table}");
        // Without an end it has rows of the future, too.
        let end = [" until the end of the log", ", the whole log"];
        assert!(end.iter().any(|end| table.contains(end)), "{table}");
        let (_, whole, complaint) = ask("json");
        assert_eq!(complaint, "");
        let whole: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(whole["scope"]["exact"], true);
        assert_eq!(whole["question"], question[0]);
        assert_eq!(whole["place"], "ledger");
        let (_, lines, complaint) = ask("ndjson");
        assert!(
            complaint.starts_with("audithog: Exact, from "),
            "{complaint}"
        );
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(whole["lines"].as_array(), Some(&lines), "{question:?}");
        let (_, csv, complaint) = ask("csv");
        assert!(
            complaint.starts_with("audithog: Exact, from "),
            "{complaint}"
        );
        assert_eq!(csv.matches("\r\n").count(), lines.len() + 1, "{csv}");
    }
}

#[test]
fn answers_are_of_the_rows_that_the_filters_leave() {
    let shop = shop();
    let users = shop.lines(&["query", "users"]);
    assert_eq!(users.len(), 3, "{users:?}");
    assert_eq!(users[0]["user_id"], "u_1");
    assert_eq!(users[0]["count"], 2);
    assert_eq!(users[0]["failures"], 1);
    let id = users_request(&shop);
    for (filters, count) in [
        (&["--user", "u_1", "--user", "u_2"][..], 3),
        (&["--path", "/agents/*"], 3),
        (&["--path", "/agents/8"], 1),
        (&["--route", "/agents/{id}"], 3),
        (&["--status", "404,5xx"], 2),
        (&["--result", "failure"], 2),
        (&["--error-code", "DB_*"], 1),
        (&["--role", "admin"], 3),
        (&["--service", "shop", "--env", "test"], 4),
        (&["--service", "other"], 0),
        (&["--method", "get"], 4),
        (&["--method", "POST"], 0),
        (&["--org", "acme"], 0),
        (&["--event", "api_request"], 4),
        (&["--event", "agent_seen"], 0),
        (&["--request-id", &id], 1),
        (&["--trace-id", "0af7651916cd43dd8448eb211c80319c"], 0),
        (&["--ip", "::1"], 0),
        (&["--since", "yesterday", "--until", "today"], 0),
        (&["--since", "1h"], 4),
    ] {
        let lines = shop.lines(&[&["query", "users"], filters].concat());
        let found: u64 = lines
            .iter()
            .map(|line| line["count"].as_u64().unwrap())
            .sum();
        assert_eq!(found, count, "{filters:?}");
    }
    let rows = shop.lines(&["query", "request", &id]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    let events = shop.lines(&["query", "count", "--by", "event", "--event", "agent_seen"]);
    assert_eq!(events, [json!({"event": "agent_seen", "count": 1})]);
    let table = shop.prints(&["query", "user", "u_1", "--limit", "1"]);
    assert!(table.contains("There is more than this one:"), "{table}");
    assert!(table.contains("; user_id = u_1."), "{table}");
}

/// The id of the request of u_2.
fn users_request(shop: &Shop) -> String {
    let rows = shop.lines(&["query", "user", "u_2"]);
    rows[0]["request_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_wrong_question_is_refused_and_says_why() {
    let shop = shop();
    for (arguments, complaint) in [
        (&["whatever"][..], "possible values: failures, paths"),
        (
            &["user"],
            "the question `user` needs to know which: give USER_ID",
        ),
        (&["failures", "u_1"], "is about all"),
        (&["endpoint", "agents"], "is no endpoint"),
        (&["address", "localhost"], "is no ip"),
        (&["count"], "grouped by one to four fields"),
        (&["count", "--by", "path,path"], "path is given twice"),
        (&["count", "--by", "request_id"], "possible values: event"),
        (&["count", "x", "--by", "path"], "belongs into a filter"),
        (&["users", "--by", "path"], "are for `count`"),
        (
            &["users", "--since", "soon"],
            "--since: \"soon\" is no time: use 15m",
        ),
        (
            &["users", "--since", "2h", "--until", "3h"],
            "the time range is empty",
        ),
        (&["users", "--since", "2100-01-01"], "is in the future"),
        (&["users", "--limit", "0"], "1 to 50000 lines"),
        (&["users", "--status", "6000"], "is no status"),
    ] {
        let (code, printed, said) = ran(shop.home(), &[&["query"], arguments].concat());
        assert_eq!((code, &*printed), (2, ""), "{arguments:?}");
        assert!(said.contains(complaint), "{arguments:?}: {said}");
    }
}

#[test]
fn without_a_name_it_lists_the_questions() {
    let home = TempDir::new().unwrap();
    let (code, table, _) = ran(home.path(), &["query"]);
    assert_eq!(code, 0);
    let (_, list, _) = ran(home.path(), &["query", "--format", "json"]);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), QUESTIONS.len());
    for (question, entry) in QUESTIONS.iter().zip(&list) {
        assert_eq!(entry["name"], question[0]);
        assert!(table.contains(&format!("\n{} ", question[0])) || table.starts_with(question[0]));
    }
    // By their numbers, which is not by their times.
    assert!(!table.contains("the latest first"), "{table}");
    let (_, help, _) = ran(home.path(), &["query", "--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = "in the order in which they were written, the last first";
    assert!(help.contains(said), "{help}");
}

#[test]
fn the_statement_is_printed_without_a_ledger_and_its_values_apart() {
    let home = TempDir::new().unwrap();
    let hostile = "x' OR 1=1; --\u{1b}[2J";
    let (code, sql, _) = ran(home.path(), &["query", "user", hostile, "--sql"]);
    assert_eq!(code, 0);
    let (statement, values) = sql.split_once("\n-- ").unwrap();
    assert!(statement.starts_with("SELECT ") && !statement.contains("OR 1=1"));
    assert!(values.contains("= 'x'' OR 1=1; --\\u{1b}[2J'"), "{values}");
    let arguments = [
        "query", "user", hostile, "--sql", "--on", "posthog", "--format", "json",
    ];
    let (code, hogql, _) = ran(home.path(), &arguments);
    assert_eq!(code, 0);
    let object: Value = serde_json::from_str(&hogql).unwrap();
    assert!(object["sql"].as_str().unwrap().contains("FROM events"));
    let values = object["values"].as_object().unwrap();
    assert!(values.values().any(|value| value == hostile), "{object}");
}

#[test]
fn a_live_service_is_asked_and_goes_on() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    for n in 1..=3_u64 {
        demo.request("GET", "/agents", "", "");
        // Printed once committed; the commands that the demo shows have the path too.
        demo.wait_for("TOKEN_MISSING");
        let (code, printed, complaint) = ran(
            home.path(),
            &["query", "endpoint", "/agents", "--format", "json"],
        );
        assert_eq!(code, 0, "{complaint}");
        let answer: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(answer["lines"][0]["count"], n, "{printed}");
    }
}

/// The ledger with what is beside it.
fn copy(from: &Path, to: &Path) {
    for name in ["audit.db", "audit.db-wal", "audit.db-shm"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[test]
fn a_copy_in_a_directory_that_must_not_be_written_is_asked() {
    let shop = shop();
    let expected = shop.lines(&["query", "users"]);
    let copied = TempDir::new().unwrap();
    copy(shop.home(), copied.path());
    // Root may write all the same: what is there afterwards tells.
    let mode = |bits| fs::set_permissions(copied.path(), fs::Permissions::from_mode(bits)).unwrap();
    let names = |directory: &Path| {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                (
                    entry.as_ref().unwrap().file_name(),
                    fs::read(entry.unwrap().path()).unwrap(),
                )
            })
            .collect();
        names.sort();
        names
    };
    let before = names(copied.path());
    mode(0o555);
    let (code, printed, complaint) = ran(copied.path(), &["query", "users", "--format", "ndjson"]);
    mode(0o755);
    assert_eq!(code, 0, "{complaint}");
    let found: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found, expected);
    let after = names(copied.path());
    let unchanged = before.len() == after.len()
        && before
            .iter()
            .zip(&after)
            .all(|(before, after)| before == after || before.0.to_string_lossy().ends_with("-shm"));
    assert!(unchanged, "something was written");
}

#[test]
fn losses_and_what_retention_removed_are_told() {
    let shop = shop();
    let raw = raw(shop.home());
    raw.execute_batch("UPDATE audit_head SET pruned = 1; DELETE FROM audit_rows WHERE seq = 1")
        .unwrap();
    let table = shop.prints(&["query", "request", "x"]);
    assert!(
        table.contains("Note: retention removed the rows up to number 1"),
        "{table}"
    );
    let (_, _, remarks) = ran(shop.home(), &["query", "request", "x", "--format", "csv"]);
    assert!(
        remarks.contains("audithog: Note: retention removed"),
        "{remarks}"
    );
}

/// The file as somebody else writes it.
fn raw(home: &Path) -> Connection {
    let raw = Connection::open(home.join("audit.db")).unwrap();
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .unwrap();
    raw
}

/// A row whose texts attack terminals and spreadsheets, also past the library, which escapes what it stores.
fn hostile() -> Shop {
    let shop = Shop::open();
    shop.call(Call {
        path: "/agents/=cmd()",
        user: Some("=HYPERLINK(\"http://x\",\"u\")"),
        agent: "=cmd|' /C calc'!A0",
        status: 500,
        code: Some("@SUM(1)"),
        event: Some("+evil"),
    });
    let raw = raw(shop.home());
    // Of a packed row nothing is read from this column.
    let changed = raw.execute(
        "UPDATE audit_rows SET error_code = char(27) || '[2J' || char(155) || '31m' || char(8238), path = '/x' || char(10) || 'y', \
         flags = flags & ~32 WHERE flags & 257 = 1",
        [],
    );
    assert!(changed.unwrap() > 0);
    shop
}

/// A text without what a terminal would obey.
#[track_caller]
fn assert_harmless(text: &str) {
    let harm = |c: char| (c.is_control() && !matches!(c, '\n' | '\r')) || c == '\u{202e}';
    assert!(!text.contains(harm), "{text:?}");
}

#[test]
fn hostile_values_reach_neither_a_terminal_nor_a_spreadsheet() {
    let shop = hostile();
    for arguments in [
        &["query", "failures"][..],
        &["query", "codes"],
        &["query", "count", "--by", "user_agent,user_id,path"],
        &["query", "count", "--by", "event"],
        &["tail"],
        &[
            "sql",
            "SELECT *, char(27) || '[2J' AS \"\u{1b}x\" FROM audit_logs",
        ],
    ] {
        for format in ["table", "json", "ndjson", "csv"] {
            let arguments = [arguments, &["--format", format]].concat();
            let (code, printed, complaint) = ran(shop.home(), &arguments);
            assert_eq!(code, 0, "{complaint}");
            assert_harmless(&printed);
            assert_harmless(&complaint);
        }
        let (_, csv, _) = ran(shop.home(), &[arguments, &["--format", "csv"]].concat());
        for cell in cells(&csv) {
            let runs = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
            assert!(!runs || cell.parse::<f64>().is_ok(), "{cell:?}");
        }
    }
    let (_, table, _) = ran(shop.home(), &["query", "failures"]);
    assert!(table.contains("\\u{1b}[2J\\u{9b}31m\\u{202e}"), "{table}");
    assert_eq!(table.matches("\\n").count(), 1, "{table}");
    let (_, csv, _) = ran(shop.home(), &["query", "users", "--format", "csv"]);
    assert!(
        csv.contains("\"'=HYPERLINK(\"\"http://x\"\",\"\"u\"\")\""),
        "{csv}"
    );
    let id = shop.lines(&["query", "failures"])[0]["request_id"].clone();
    for format in ["text", "json", "ndjson"] {
        let arguments = ["show", id.as_str().unwrap(), "--format", format];
        assert_harmless(&ran(shop.home(), &arguments).1);
    }
}

/// The cells of CSV (RFC 4180).
fn cells(csv: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in csv.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' | '\n' if !quoted => cells.push(String::new()),
            '\r' if !quoted => {}
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[test]
fn times_are_local_in_tables_and_utc_for_machines() {
    let shop = shop();
    let run = |zone: &str, arguments: &[&str]| {
        let mut command = audithog(shop.home(), arguments);
        command.env("TZ", zone);
        String::from_utf8(output(command).stdout).unwrap()
    };
    // Half an hour off, so that nothing else can look like it.
    let table = run("Asia/Kolkata", &["query", "user", "u_1"]);
    assert_eq!(table.matches("+05:30").count(), 3, "{table}");
    let table = run("Asia/Kolkata", &["query", "user", "u_1", "--utc"]);
    assert!(
        !table.contains("+05:30") && table.contains("Z  api_request"),
        "{table}"
    );
    let json = run(
        "Asia/Kolkata",
        &["query", "user", "u_1", "--format", "ndjson"],
    );
    assert!(
        json.contains("Z\",\"event\"") || json.contains("Z\""),
        "{json}"
    );
    assert!(!json.contains("+05:30"), "{json}");
    // A time without a zone is one of the zone.
    let sql = run(
        "Asia/Kolkata",
        &["query", "users", "--sql", "--since", "2026-02-02 05:30"],
    );
    assert!(sql.contains("'2026-02-02T00:00:00.000000Z'"), "{sql}");
    let sql = run(
        "Asia/Kolkata",
        &[
            "query",
            "users",
            "--sql",
            "--utc",
            "--since",
            "2026-02-02 05:30",
        ],
    );
    assert!(sql.contains("'2026-02-02T05:30:00.000000Z'"), "{sql}");
}

#[test]
fn a_terminal_gets_lines_that_fit() {
    let shop = shop();
    let program = env!("CARGO_BIN_EXE_audithog");
    let typed = format!("stty rows 24 cols 60; '{program}' query failures; '{program}' tail");
    // script(1) runs it on a terminal.
    let mut command = std::process::Command::new("script");
    command
        .args(["-qec", &typed, "/dev/null"])
        .current_dir(shop.home())
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env_remove("NO_COLOR")
        .stdin(std::process::Stdio::null());
    let seen = String::from_utf8(output(command).stdout).unwrap();
    assert!(seen.contains("\u{1b}[1m"), "{seen:?}");
    let mut lines = 0;
    for line in seen.lines().filter(|line| line.contains("202")) {
        // Colours take no room.
        let mut text = String::new();
        let mut parts = line.trim_end().split("\u{1b}[");
        text.push_str(parts.next().unwrap());
        for part in parts {
            text.push_str(part.split_once('m').unwrap().1);
        }
        if !text.starts_with("Exact") {
            lines += 1;
            assert!(text.chars().count() <= 60, "{text}");
        }
    }
    assert!(lines >= 2, "{seen}");
    assert!(seen.contains("Cells were cut to the width"), "{seen}");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let shop = shop();
    let program = env!("CARGO_BIN_EXE_audithog");
    for arguments in [
        "query failures",
        "query",
        "tail",
        "sql 'WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n' --limit 50000",
        "man",
        "completions bash",
    ] {
        let typed = format!("'{program}' {arguments} | true; exit ${{PIPESTATUS[0]}}");
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &typed]).current_dir(shop.home());
        let ended = output(command);
        assert_eq!(ended.status.code(), Some(0), "{arguments}");
        assert_eq!(ended.stderr, b"", "{arguments}");
    }
}

#[test]
fn posthog_is_asked_with_the_personal_key() {
    let home = TempDir::new().unwrap();
    let posthog = PostHogStandIn::start().unwrap();
    posthog.answer_queries(|sql, values| {
        assert!(
            sql.contains("FROM events") && !sql.contains("evil"),
            "{sql}"
        );
        assert!(values.to_string().contains("evil"), "{values}");
        let line = json!(["GET", "/a\u{1b}[2J", 12, 3, 0.25, "2026-01-02 03:04:05", 1]);
        Some(vec![line.as_array().unwrap().clone()])
    });
    let ask = |format: &str| {
        let arguments = [
            "query", "paths", "--on", "posthog", "--user", "evil", "--utc", "--format", format,
        ];
        let mut command = audithog(home.path(), &arguments);
        command.envs([
            ("POSTHOG_HOST", &*posthog.url()),
            ("POSTHOG_PERSONAL_API_KEY", "phx_personal"),
            ("POSTHOG_PROJECT_ID", "7"),
        ]);
        let ended = output(command);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", text(ended.stderr));
        text(ended.stdout)
    };
    let table = ask("table");
    assert_harmless(&table);
    assert!(
        table.contains("25.0 %  2026-01-02 03:04:05.000Z"),
        "{table}"
    );
    assert!(
        table.contains("Sampled: some events stand for others"),
        "{table}"
    );
    assert!(
        table.contains("PostHog's project 7 on 127.0.0.1"),
        "{table}"
    );
    let answer: Value = serde_json::from_str(&ask("json")).unwrap();
    assert_eq!(answer["place"], "posthog");
    assert_eq!(answer["scope"]["exact"], false);

    let (code, _, complaint) = ran(home.path(), &["query", "paths", "--on", "posthog"]);
    assert_eq!(code, 2, "{complaint}");
    assert!(
        complaint.contains("POSTHOG_PERSONAL_API_KEY"),
        "{complaint}"
    );
}
