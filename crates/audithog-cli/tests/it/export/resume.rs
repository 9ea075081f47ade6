//! An export that was killed goes on, and ends as if nothing had been.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{export, exported, json_of, large, names};
use crate::shop::{Call, Shop};

/// Runs an export that is killed at the n-th of these system calls. Says whether there were so many.
fn killed(home: &Path, arguments: &[&str], calls: &str, n: u32) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={calls}"))
        .arg("-e")
        .arg(format!("inject={calls}:signal=KILL:when={n}"))
        .arg(env!("CARGO_BIN_EXE_audithog"))
        .args(arguments)
        .current_dir(home)
        .status()
        .expect("strace is needed: `cargo xtask setup` installs it");
    !status.success()
}

/// The bytes and the hash that an export has which nobody kills.
fn whole(format: &str) -> (Vec<u8>, Value) {
    let home = TempDir::new().unwrap();
    export(
        home.path(),
        &[
            &["-o", "x", "--format", format],
            &*large().enough_for(format),
        ]
        .concat(),
    );
    let bytes = fs::read(home.path().join("x")).unwrap();
    (
        bytes,
        json_of(&home.path().join("x.manifest.json"))["sha256"].clone(),
    )
}

/// Killed wherever something becomes durable, and gone on with each time until it is done.
fn is_the_same_after_kills(format: &str, every: usize) {
    let (bytes, sha256) = whole(format);
    let home = TempDir::new().unwrap();
    let resume = [
        &["export", "-o", "x", "--format", format, "--resume"],
        &*large().enough_for(format),
    ]
    .concat();
    let mut kills = 0;
    for calls in ["?rename,?renameat,?renameat2", "fdatasync", "fsync"]
        .iter()
        .cycle()
    {
        // Each run gets a little further: the second call is behind a complete chunk or a complete state.
        if !killed(home.path(), &resume, calls, 2) {
            break;
        }
        kills += 1;
        assert!(kills < 200, "it does not get on");
    }
    assert!(kills >= every, "{kills} kills");
    assert!(
        fs::read(home.path().join("x")).unwrap() == bytes,
        "{format}: other bytes"
    );
    assert_eq!(
        json_of(&home.path().join("x.manifest.json"))["sha256"],
        sha256
    );
    assert_eq!(names(home.path()), ["x", "x.manifest.json"]);
}

#[test]
fn killed_ndjson_goes_on_with_the_same_bytes() {
    is_the_same_after_kills("ndjson", 3);
}

#[test]
fn killed_csv_goes_on_with_the_same_bytes() {
    is_the_same_after_kills("csv", 3);
}

#[test]
fn killed_parquet_goes_on_with_the_same_bytes() {
    is_the_same_after_kills("parquet", 2);
}

/// The first chunk is complete, the second not.
fn interrupted() -> TempDir {
    let home = TempDir::new().unwrap();
    let arguments = [
        "export",
        "--db",
        large().db(),
        "-o",
        "x.ndjson",
        "--since",
        "3000d",
    ];
    assert!(killed(home.path(), &arguments, "fdatasync", 2));
    assert!(!home.path().join("x.ndjson").exists());
    home
}

#[test]
fn an_interrupted_export_is_gone_on_with_or_begun_anew_as_one_says() {
    let home = interrupted();
    let left = [".x.ndjson.part", ".x.ndjson.part.state"];
    assert_eq!(names(home.path()), left);
    let state = json_of(&home.path().join(left[1]));
    assert_eq!(state["tally"]["rows"], 10_000);
    let db = large().db();
    let base = ["--db", db, "-o", "x.ndjson"];
    let run = |more: &[&str]| exported(home.path(), &[&base, more].concat());
    let (code, _, complaint) = run(&["--since", "3000d"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("--resume continues it, --force begins anew"),
        "{complaint}"
    );
    for other in [
        &["--resume"][..],
        &["--resume", "--since", "3000d", "--user", "u_1"],
    ] {
        let (code, _, complaint) = run(other);
        assert_eq!(code, 2);
        assert!(complaint.contains("asked for other rows"), "{complaint}");
    }
    assert_eq!(names(home.path()), left);
    // A span is counted from when the export began, not from now.
    let (code, _, complaint) = run(&["--resume", "--since", "3000d"]);
    assert_eq!((code, &*complaint), (0, ""));
    let manifest = json_of(&home.path().join("x.ndjson.manifest.json"));
    assert_eq!(manifest["since"], state["request"]["since"]);
    assert_eq!(manifest["count"], large().rows);

    let home = interrupted();
    export(
        home.path(),
        &[&base[..], &["--force", "--user", "u_1"]].concat(),
    );
    assert_eq!(names(home.path()), ["x.ndjson", "x.ndjson.manifest.json"]);
    // Nothing to go on with: it begins.
    fs::remove_file(home.path().join("x.ndjson")).unwrap();
    fs::remove_file(home.path().join("x.ndjson.manifest.json")).unwrap();
    export(
        home.path(),
        &[&base[..], &["--resume", "--user", "u_1"]].concat(),
    );
}

#[test]
fn a_state_that_cannot_be_used_is_refused_and_left_as_it_is() {
    let home = interrupted();
    let (part, state) = (
        home.path().join(".x.ndjson.part"),
        home.path().join(".x.ndjson.part.state"),
    );
    let whole = fs::read_to_string(&state).unwrap();
    let changed = |name: &str, value: Value| {
        let mut changed: Value = serde_json::from_str(&whole).unwrap();
        changed[name] = value;
        changed.to_string()
    };
    let written = fs::read(&part).unwrap();
    let db = large().db();
    let arguments = ["--db", db, "-o", "x.ndjson", "--since", "3000d", "--resume"];
    for (text, why) in [
        (
            changed("audithog", json!("0.0.9")),
            "audithog 0.0.9 began it",
        ),
        (changed("version", json!(2)), "began it, and this is"),
        (changed("bytes", json!("many")), ".part.state is damaged"),
        (whole[..40].to_owned(), ".part.state is damaged"),
        (String::new(), ".part.state is damaged"),
    ] {
        fs::write(&state, &text).unwrap();
        let (code, _, complaint) = exported(home.path(), &arguments);
        assert_eq!(code, 1, "{text}");
        assert!(complaint.contains(why), "{complaint}");
        assert!(complaint.contains("--force to begin anew"), "{complaint}");
        assert!(fs::read(&part).unwrap() == written);
        assert_eq!(fs::read_to_string(&state).unwrap(), text);
    }
    // Nor is it thrown away by what fails before it is begun anew.
    let (code, _, _) = exported(
        home.path(),
        &["--db", "none.db", "-o", "x.ndjson", "--force"],
    );
    assert_eq!(code, 1);
    assert!(fs::read(&part).unwrap() == written);
    export(
        home.path(),
        &["--db", db, "-o", "x.ndjson", "--force", "--user", "u_1"],
    );
    assert_eq!(names(home.path()), ["x.ndjson", "x.ndjson.manifest.json"]);
}

#[test]
fn another_ledger_and_another_file_are_not_gone_on_with() {
    let shop = Shop::open();
    shop.call(Call::default());
    let home = interrupted();
    let db = large().db();
    // The state says which ledger it was; here another one has its place.
    let state = home.path().join(".x.ndjson.part.state");
    let mut changed = json_of(&state);
    changed["tally"]["last_id"] = json!("00000000-0000-7000-8000-000000000000");
    fs::write(&state, changed.to_string()).unwrap();
    let arguments = ["--db", db, "-o", "x.ndjson", "--since", "3000d", "--resume"];
    let (code, _, complaint) = exported(home.path(), &arguments);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("another ledger is there now"),
        "{complaint}"
    );

    let home = interrupted();
    let part = home.path().join(".x.ndjson.part");
    fs::write(&part, "cut").unwrap();
    let (code, _, complaint) = exported(home.path(), &arguments);
    assert_eq!(code, 1);
    assert!(complaint.contains("cannot be continued"), "{complaint}");

    // Somebody's own file in the part's place, or a link to one.
    let home = TempDir::new().unwrap();
    let target = home.path().join("precious");
    fs::write(&target, "keep me").unwrap();
    std::os::unix::fs::symlink(&target, home.path().join(".x.ndjson.part")).unwrap();
    for option in ["--force", "--resume"] {
        let (code, _, complaint) = exported(home.path(), &["--db", db, "-o", "x.ndjson", option]);
        assert_eq!(code, 1);
        assert!(
            complaint.contains("not this user's own file"),
            "{complaint}"
        );
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "keep me");
}
