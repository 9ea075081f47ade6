//! Each format against SQL over the same rows.

use std::{
    fs,
    io::Read as _,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use audithog::{Actor, query::Schema};
use serde_json::{Value, json};

use super::{
    cells::{csv, of_csv, of_parquet},
    export, exported, json_of, large, ndjson, sql,
};
use crate::{
    program::audithog,
    shop::{Call, Shop},
};

/// What a peer or a user may send to harm whoever opens the export.
const HOSTILE: [&str; 8] = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "a,\"b\"\r\n=1",
    "\t=1",
    "\u{1b}[31m\u{202e}",
    "＝1",
];

#[test]
fn the_ending_says_the_format_in_any_letters() {
    let shop = Shop::open();
    let home = shop.home();
    for (name, begins) in [
        ("x.csv", "seq,id,"),
        ("X.CSV", "seq,id,"),
        ("x.Parquet", "PAR1"),
        ("x.NDJSON", "{\"seq\":1,"),
        ("csv", "{\"seq\":1,"),
    ] {
        export(home, &["-o", name]);
        let written = fs::read(home.join(name)).unwrap();
        assert!(written.starts_with(begins.as_bytes()), "{name}");
    }
}

/// Requests that ended in several ways, business events, and what is hostile.
fn shop() -> Shop {
    let shop = Shop::open();
    let call = Call::default();
    shop.call(Call {
        event: Some("agent_published"),
        ..call
    });
    shop.call(Call {
        status: 500,
        user: None,
        ..call
    });
    shop.call(Call {
        path: "/nowhere",
        agent: "=HYPERLINK(\"http://x\")",
        ..call
    });
    shop.call(Call {
        status: 409,
        code: Some("=1+1"),
        path: "/agents/=1,2",
        ..call
    });
    for text in HOSTILE {
        shop.logger
            .event(text.to_owned())
            .actor(Actor::user(text).role(text).org(text).on_behalf_of(text))
            .property(text, json!([text, null, -1.5, {"a": text}]))
            .log();
    }
    shop.logger
        .event("numbers")
        .actor(Actor::user("-5"))
        .property("n", -5)
        .log();
    assert!(shop.logger.flush_blocking(None).blocked.is_none());
    shop
}

#[test]
fn every_format_has_every_cell_as_sql_has_it() {
    let shop = shop();
    let ledger = shop.home().join("audit.db");
    let expected = sql(&ledger, "1");
    assert_eq!(expected.len(), 1 + 5 + HOSTILE.len() + 1);
    for format in ["ndjson", "csv", "parquet"] {
        let name = format!("log.{format}");
        let printed = export(shop.home(), &["-o", &name]);
        assert!(printed.starts_with("15 rows in log."), "{printed}");
        let path = shop.home().join(&name);
        let found = match format {
            "ndjson" => ndjson(&path),
            "csv" => of_csv(&path),
            _ => of_parquet(&path).0,
        };
        assert_eq!(found, expected, "{format}");
    }
}

#[test]
fn no_cell_of_csv_is_run_by_a_spreadsheet() {
    let shop = shop();
    export(shop.home(), &["-o", "log.csv"]);
    let lines = csv(&shop.home().join("log.csv"));
    let user = lines[0].iter().position(|name| name == "user_id").unwrap();
    let users: Vec<&str> = lines.iter().map(|line| &*line[user]).collect();
    for neutral in [
        "'=cmd|' /C calc'!A0",
        "'+1+1",
        "'-2+3",
        "'@SUM(A1)",
        "'＝1",
        "-5",
    ] {
        assert!(users.contains(&neutral), "{neutral}: {users:?}");
    }
    for cell in lines.iter().flatten() {
        let runs = cell.starts_with(['=', '+', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
        let number = cell.parse::<f64>().is_ok();
        assert!(!runs && (number || !cell.starts_with('-')), "{cell}");
    }
}

#[test]
fn the_groups_of_parquet_are_bounded() {
    let home = tempfile::tempdir().unwrap();
    let large = large();
    export(home.path(), &["--db", large.db(), "-o", "x.parquet"]);
    let (rows, groups) = of_parquet(&home.path().join("x.parquet"));
    let numbers = rows.iter().map(|row| row["seq"].as_u64().unwrap());
    assert!(numbers.eq(1..=large.rows));
    assert_eq!(groups, 5);
    // And a file without any row.
    export(
        home.path(),
        &["--db", large.db(), "-o", "none.parquet", "--user", "nobody"],
    );
    assert_eq!(
        of_parquet(&home.path().join("none.parquet")),
        (Vec::new(), 0)
    );
}

#[test]
fn a_service_goes_on_writing_while_its_log_is_exported() {
    let shop = Shop::open();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writes = scope.spawn(|| {
            let mut n = 0_u64;
            while !done.load(Ordering::Relaxed) || n < 5_000 {
                shop.logger.event("thing_done").property("n", n).log();
                n += 1;
                if n.is_multiple_of(500) {
                    assert!(shop.logger.flush_blocking(None).blocked.is_none());
                }
            }
            n
        });
        for format in ["ndjson", "csv", "parquet"] {
            let name = format!("live.{format}");
            export(shop.home(), &["-o", &name]);
        }
        done.store(true, Ordering::Relaxed);
        assert!(writes.join().unwrap() >= 5_000);
    });
    let health = shop.logger.flush_blocking(None).health;
    health.check().unwrap();
    for format in ["ndjson", "csv", "parquet"] {
        let path = shop.home().join(format!("live.{format}"));
        let manifest = json_of(&shop.home().join(format!("live.{format}.manifest.json")));
        let expected = sql(
            &shop.home().join("audit.db"),
            &format!("seq <= {}", manifest["upto"]),
        );
        let found = match format {
            "ndjson" => ndjson(&path),
            "csv" => of_csv(&path),
            _ => of_parquet(&path).0,
        };
        assert_eq!(manifest["count"], found.len());
        assert_eq!(found, expected);
    }
}

#[test]
fn filters_narrow_down_and_a_user_gets_all_that_concerns_them() {
    let shop = shop();
    let home = shop.home();
    let ledger = home.join("audit.db");
    let logged = |actor: Actor| shop.logger.event("did").actor(actor).log();
    logged(Actor::user("u_2"));
    logged(Actor::user("support").on_behalf_of("u_2"));
    logged(Actor::user("u_2").on_behalf_of("u_2"));
    logged(Actor::user("u_22").on_behalf_of("u_3"));
    assert!(shop.logger.flush_blocking(None).blocked.is_none());
    export(home, &["-o", "failed.ndjson", "--result", "failure"]);
    assert_eq!(
        ndjson(&home.join("failed.ndjson")),
        sql(&ledger, "result = 'failure'")
    );
    export(home, &["-o", "u_2.csv", "--user", "u_2"]);
    let found = of_csv(&home.join("u_2.csv"));
    assert_eq!(found.len(), 3);
    assert_eq!(
        found,
        sql(&ledger, "user_id = 'u_2' OR on_behalf_of = 'u_2'")
    );
    let manifest = json_of(&home.join("u_2.csv.manifest.json"));
    assert_eq!(manifest["data_subject"]["users"], json!(["u_2"]));
    assert_eq!(
        manifest["filters"],
        json!(["user_id = u_2, or on_behalf_of = u_2"])
    );
    // With a filter besides, both must hold; several users are one request.
    export(
        home,
        &[
            "-o",
            "both.ndjson",
            "--user",
            "u_2",
            "--user",
            "u_3",
            "--event",
            "did",
        ],
    );
    let condition =
        "event = 'did' AND (user_id IN ('u_2', 'u_3') OR on_behalf_of IN ('u_2', 'u_3'))";
    let found = ndjson(&home.join("both.ndjson"));
    assert_eq!((found.len(), &found), (4, &sql(&ledger, condition)));
}

#[test]
fn schemas_have_every_row_once() {
    let shop = shop();
    let home = shop.home();
    let expected = sql(&home.join("audit.db"), "1");
    let ids: Vec<&Value> = expected.iter().map(|row| &row["id"]).collect();
    for schema in Schema::ALL {
        let name = format!("{}.ndjson", schema.name());
        export(home, &["-o", &name, "--schema", schema.name()]);
        let rows = ndjson(&home.join(&name));
        let found: Vec<Value> = rows
            .iter()
            .map(|row| match schema {
                Schema::Ocsf => row["metadata"]["uid"].clone(),
                Schema::Ecs => row["event"]["id"].clone(),
                Schema::Otel => {
                    let record = &row["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
                    record["attributes"][0]["value"]["stringValue"].clone()
                }
                _ => row["id"].clone(),
            })
            .collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), ids, "{}", schema.name());
        let manifest = json_of(&home.join(format!("{name}.manifest.json")));
        assert_eq!(manifest["schema_version"], schema.version());
        let columns = manifest["columns"].as_array().unwrap();
        assert_eq!(columns.len(), schema.columns().len());
    }
    for format in ["csv", "parquet"] {
        let (code, _, complaint) =
            exported(home, &["-o", "x", "--schema", "ecs", "--format", format]);
        assert_eq!(code, 2);
        assert!(complaint.contains("--schema ecs is nested"), "{complaint}");
        assert!(!home.join("x").exists());
    }
}

#[test]
fn standard_output_has_the_same_bytes_and_may_be_closed() {
    let home = tempfile::tempdir().unwrap();
    let large = large();
    for format in ["ndjson", "csv", "parquet"] {
        let file = format!("x.{format}");
        export(
            home.path(),
            &["--db", large.db(), "-o", &file, "--user", "u_7"],
        );
        let arguments = ["export", "--db", large.db(), "-o", "-", "--format", format];
        let more = ["--user", "u_7", "--manifest", "m.json", "--force"];
        let output = audithog(home.path(), &[&arguments[..], &more].concat())
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(
            output.stdout == fs::read(home.path().join(&file)).unwrap(),
            "{format}"
        );
        let (file, output) = (
            format!("{file}.manifest.json"),
            json_of(&home.path().join("m.json")),
        );
        let file = json_of(&home.path().join(file));
        assert_eq!(
            (&file["sha256"], &file["count"]),
            (&output["sha256"], &output["count"])
        );
        assert_eq!(output["file"], Value::Null);

        let mut child = audithog(home.path(), &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut some = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(
            (ended.status.code(), &*ended.stderr),
            (Some(0), &b""[..]),
            "{format}"
        );
    }
}
