//! The manifest and the file's own properties.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{export, exported, json_of, names, ndjson, sql};
use crate::{
    program::Demo,
    shop::{Call, Shop},
};

fn sha256(path: &Path) -> String {
    let digest = digest(&SHA256, &fs::read(path).unwrap());
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn the_manifest_says_what_the_file_is() {
    let shop = Shop::open();
    for _ in 0..3 {
        shop.call(Call::default());
    }
    let home = shop.home();
    let options = [
        "--since",
        "2026-01-01T00:00:00Z",
        "--method",
        "get",
        "--utc",
    ];
    export(home, &[&["-o", "log.csv"], &options[..]].concat());
    assert_eq!(names(home), ["log.csv", "log.csv.manifest.json"]);
    for name in names(home) {
        let mode = fs::metadata(home.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let manifest = json_of(&home.join("log.csv.manifest.json"));
    let rows = sql(&home.join("audit.db"), "method = 'GET'");
    for (name, value) in [
        ("file", json!("log.csv")),
        ("format", json!("csv")),
        ("schema", json!("audithog")),
        ("schema_version", json!("1")),
        ("audithog", json!(env!("CARGO_PKG_VERSION"))),
        ("filters", json!(["method = get or GET"])),
        ("data_subject", Value::Null),
        ("since", json!("2026-01-01T00:00:00.000000Z")),
        ("until", Value::Null),
        ("zone", json!("UTC")),
        ("first_seq", rows[0]["seq"].clone()),
        ("last_seq", rows[2]["seq"].clone()),
        ("upto", rows[2]["seq"].clone()),
        ("count", json!(3)),
        (
            "bytes",
            json!(fs::metadata(home.join("log.csv")).unwrap().len()),
        ),
        ("sha256", json!(sha256(&home.join("log.csv")))),
        ("losses", json!([])),
        ("notes", json!([])),
    ] {
        assert_eq!(manifest[name], value, "{name}");
    }
    for time in ["began", "made"] {
        let text = manifest[time].as_str().unwrap();
        assert!(text.len() == 27 && text.ends_with('Z'), "{text}");
    }
    let columns = manifest["columns"].as_array().unwrap();
    let names: Vec<&str> = columns
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    let of_rows: Vec<&str> = audithog::query::LogRow::NAMES.to_vec();
    assert_eq!(names, of_rows);
    assert_eq!(columns[17]["unit"], "milliseconds");

    // What is there is not replaced unasked: neither the file nor its manifest.
    let (code, _, complaint) = exported(home, &["-o", "log.csv"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("log.csv is there already; --force replaces it"),
        "{complaint}"
    );
    fs::remove_file(home.join("log.csv")).unwrap();
    let (code, _, complaint) = exported(home, &["-o", "log.csv"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("log.csv.manifest.json is there already"),
        "{complaint}"
    );
    assert_eq!(super::names(home), ["log.csv.manifest.json"]);
    export(home, &["-o", "log.csv", "--force", "--quiet"]);
    assert_eq!(json_of(&home.join("log.csv.manifest.json"))["count"], 4);
}

#[test]
fn losses_in_the_time_are_told() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    demo.request("GET", "/agents", "", "");
    demo.signal("KILL");
    demo.ended();
    // The next start finds the unclean stop.
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    demo.signal("TERM");
    demo.ended();
    export(home.path(), &["-o", "log.ndjson"]);
    let told = sql(&home.path().join("audit.db"), "event = 'audit_loss'");
    assert_eq!(told.len(), 1);
    let properties = &told[0]["properties"];
    let expected = json!([{
        "reason": "unclean_stop", "count": properties["count"], "exact": false, "told": 1,
        "from": properties["from"], "until": properties["until"],
    }]);
    let losses =
        |name: &str| json_of(&home.path().join(format!("{name}.manifest.json")))["losses"].clone();
    assert_eq!(losses("log.ndjson"), expected);
    // The filters of rows are none of losses, their times are.
    export(home.path(), &["-o", "a.ndjson", "--user", "u_1"]);
    assert_eq!(losses("a.ndjson"), expected);
    let from = properties["from"].as_str().unwrap();
    export(home.path(), &["-o", "b.ndjson", "--until", from]);
    assert_eq!(losses("b.ndjson"), json!([]));
}

#[test]
fn a_bar_shows_on_a_terminal_only() {
    let shop = Shop::open();
    shop.call(Call::default());
    let on_terminal = |options: &str| {
        let program = env!("CARGO_BIN_EXE_audithog");
        let command = format!("{program} export --force -o log.ndjson {options}");
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .current_dir(shop.home())
            .env("TERM", "xterm")
            .output()
            .expect("`script` of bsdutils is needed");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = on_terminal("");
    assert!(
        shown.contains(" %  row ") && shown.contains("rows in log.ndjson"),
        "{shown:?}"
    );
    assert_eq!(on_terminal("--quiet"), "");
    // In a pipe: `export` wants an empty standard error.
    export(shop.home(), &["-o", "piped.ndjson"]);
}

#[test]
fn a_manifest_does_not_take_what_the_export_makes() {
    let shop = Shop::open();
    shop.call(Call::default());
    let home = shop.home();
    std::os::unix::fs::symlink(home, home.join("here")).unwrap();
    let mine = [
        ("x", "x"),
        ("x", "./x"),
        ("x", "here/x"),
        ("x", ".x.part"),
        ("x", ".x.part.state"),
        ("x", ".x.part.new"),
        (".m.manifest", "m"),
    ];
    for (output, manifest) in mine {
        let (code, _, complaint) = exported(home, &["-o", output, "--manifest", manifest]);
        assert_eq!(code, 2, "{output} {manifest}: {complaint}");
        assert!(
            complaint.contains("is a file that -o"),
            "{output} {manifest}: {complaint}"
        );
    }
    let (code, _, complaint) = exported(home, &["-o", "x", "--manifest", "-"]);
    assert_eq!(code, 2);
    assert!(complaint.contains("--manifest needs a file"), "{complaint}");
    assert_eq!(names(home), ["here"]);
    // A name that only looks like one of them.
    export(home, &["-o", "m", "--manifest", "m.part"]);
    assert_eq!(json_of(&home.join("m.part"))["file"], "m");
    assert!(!ndjson(&home.join("m")).is_empty());
}
