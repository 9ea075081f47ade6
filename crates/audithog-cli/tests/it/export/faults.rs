//! A disk that refuses: no half file has the final name.

use std::{
    fs::{self, File},
    process::Command,
};

use tempfile::TempDir;

use super::{export, exported, large, names};

/// An export whose files may not grow beyond so many bytes, as on a disk that is full then.
fn limited(home: &TempDir, kibibytes: u64, arguments: &[&str]) -> (Option<i32>, String) {
    // The shell counts blocks of 512 bytes; an ignored signal stays ignored, so writing fails instead.
    let script = format!(
        "trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"",
        kibibytes * 2
    );
    let output = Command::new("/bin/sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_audithog"), "export"])
        .args(arguments)
        .current_dir(home.path())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_full_disk_leaves_what_can_be_gone_on_with_and_no_file() {
    for format in ["ndjson", "csv", "parquet"] {
        let home = TempDir::new().unwrap();
        let base = [
            &["-o", "x", "--format", format],
            &*large().enough_for(format),
        ]
        .concat();
        export(home.path(), &base);
        let whole = fs::read(home.path().join("x")).unwrap();
        fs::remove_file(home.path().join("x")).unwrap();
        fs::remove_file(home.path().join("x.manifest.json")).unwrap();

        let kibibytes = whole.len() as u64 / 1024 * 2 / 3;
        let (code, complaint) = limited(&home, kibibytes, &base);
        assert_eq!(code, Some(1), "{format}: {complaint}");
        assert!(
            complaint.contains("x cannot be written: File too large"),
            "{complaint}"
        );
        assert!(
            complaint.contains("--resume goes on where it stopped"),
            "{complaint}"
        );
        assert!(!names(home.path()).contains(&"x".to_owned()));
        export(home.path(), &[&*base, &["--resume"]].concat());
        assert!(
            fs::read(home.path().join("x")).unwrap() == whole,
            "{format}"
        );
        assert_eq!(names(home.path()), ["x", "x.manifest.json"]);

        // Before anything was complete, nothing is left.
        let home = TempDir::new().unwrap();
        let (code, complaint) = limited(&home, 4, &base);
        assert_eq!(code, Some(1), "{format}: {complaint}");
        assert_eq!(names(home.path()), [""; 0], "{format}");
        assert!(!complaint.contains("--resume"), "{complaint}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_said_and_left_as_it_was() {
    let home = TempDir::new().unwrap();
    let db = large().db();
    let run = |arguments: &[&str]| exported(home.path(), &[&["--db", db], arguments].concat());
    let (code, _, complaint) = run(&["-o", "missing/x.csv"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("missing/x.csv cannot be written"),
        "{complaint}"
    );
    let (code, _, complaint) = run(&[
        "-o",
        "x.csv",
        "--user",
        "u_1",
        "--manifest",
        "missing/m.json",
    ]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("missing/m.json cannot be written"),
        "{complaint}"
    );
    fs::create_dir(home.path().join("d")).unwrap();
    let (code, _, complaint) = run(&["-o", "d", "--force"]);
    assert_eq!(
        (code, &*complaint),
        (1, "audithog: d is a directory: name a file\n")
    );
    let (code, _, complaint) = run(&["-o", "-", "--resume"]);
    assert_eq!(code, 2);
    assert!(complaint.contains("--resume needs a file"), "{complaint}");
    let (code, _, complaint) = exported(home.path(), &["--db", "none.db", "-o", "x.csv"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("none.db"), "{complaint}");
    let (code, _, _) = run(&["-o", "x.csv", "--since", "soon"]);
    assert_eq!(code, 2);
    assert_eq!(names(home.path()), ["d"]);
}

#[test]
fn two_exports_to_one_file_do_not_mix() {
    let home = TempDir::new().unwrap();
    let part = home.path().join(".x.ndjson.part");
    let other = File::create(&part).unwrap();
    other.lock().unwrap();
    for option in ["--force", "--resume"] {
        let arguments = ["--db", large().db(), "-o", "x.ndjson", option];
        let (code, _, complaint) = exported(home.path(), &arguments);
        assert_eq!(code, 1);
        assert_eq!(complaint, "audithog: another export writes x.ndjson\n");
    }
    assert!(part.exists());
    drop(other);
    export(
        home.path(),
        &["--db", large().db(), "-o", "x.ndjson", "--force"],
    );
}
