//! What `--force` never replaces.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink},
    path::Path,
    process::Command,
};

use super::{export, exported, names};
use tempfile::TempDir;

use crate::{
    program::ran,
    shop::{Call, Shop},
};

/// Each file of the directory, and which one it is.
fn inventory(home: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(home).unwrap().map(Result::unwrap);
    let mut all: Vec<_> = entries
        .map(|entry| {
            let found = entry.path().symlink_metadata().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, found.ino())
        })
        .collect();
    all.sort();
    all
}

/// All three ways to name a file to be written, with `--force`.
#[track_caller]
fn refuses(home: &Path, target: &str, because: &str) {
    for arguments in [
        &["export", "-o", target, "--force"][..],
        &["export", "-o", "x", "--manifest", target, "--force"],
        &["export", "-o", "-", "--manifest", target, "--force"],
        &["dead-letters", "export", "-o", target, "--force"],
    ] {
        let before = inventory(home);
        let (code, printed, complaint) = ran(home, arguments);
        assert_eq!((code, &*printed), (1, ""), "{arguments:?}: {complaint}");
        assert!(complaint.contains(because), "{arguments:?}: {complaint}");
        assert_eq!(inventory(home), before, "{arguments:?}");
    }
}

#[test]
fn the_ledger_and_its_files_are_not_replaced() {
    let shop = Shop::open();
    shop.call(Call::default());
    let home = shop.home();
    fs::hard_link(home.join("audit.db"), home.join("hard.ndjson")).unwrap();
    symlink(home, home.join("here")).unwrap();
    let is = "is the ledger that is read, or one of its files";
    for ending in ["", "-wal", "-shm", "-journal", "-reserve", "-next", "-turn"] {
        refuses(home, &format!("audit.db{ending}"), is);
        refuses(home, &format!("here/audit.db{ending}"), is);
    }
    fs::create_dir(home.join("d")).unwrap();
    refuses(home, "./d/../audit.db", is);
    refuses(home, "hard.ndjson", is);
    // The name that the ledger is opened by may be a link: it has files at both.
    symlink("audit.db", home.join("link.db")).unwrap();
    for target in ["audit.db", "audit.db-wal", "link.db", "link.db-reserve"] {
        let arguments = ["--db", "link.db", "-o", target, "--force"];
        let (code, _, complaint) = exported(home, &arguments);
        assert_eq!(code, 1);
        assert!(complaint.contains(is), "{complaint}");
    }
    assert!(!shop.prints(&["query", "codes"]).is_empty());
}

#[test]
fn a_part_is_not_made_of_the_ledger() {
    let shop = Shop::open();
    shop.call(Call::default());
    let home = shop.home();
    fs::hard_link(home.join("audit.db"), home.join(".x.part")).unwrap();
    let before = inventory(home);
    for option in ["--force", "--resume"] {
        let (code, _, complaint) = exported(home, &["-o", "x", option]);
        assert_eq!(code, 1);
        assert!(complaint.contains(".x.part is the ledger"), "{complaint}");
    }
    assert_eq!(inventory(home), before);
    assert!(!shop.prints(&["query", "codes"]).is_empty());
}

#[test]
fn another_ledger_is_not_replaced() {
    let (shop, other) = (Shop::open(), Shop::open());
    assert!(other.logger.shutdown_blocking(None).closed);
    fs::copy(other.home().join("audit.db"), shop.home().join("other.db")).unwrap();
    refuses(shop.home(), "other.db", "other.db is an audithog ledger");
}

#[test]
fn only_a_regular_file_is_replaced() {
    let shop = Shop::open();
    shop.call(Call::default());
    let home = shop.home();
    fs::create_dir(home.join("d")).unwrap();
    refuses(home, "d", "d is a directory: name a file");
    let made = Command::new("mkfifo").arg(home.join("pipe")).status();
    assert!(made.unwrap().success());
    refuses(home, "pipe", "pipe is no regular file, and is not replaced");
    assert!(
        fs::symlink_metadata(home.join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    fs::write(home.join("target"), "keep me").unwrap();
    symlink("target", home.join("link")).unwrap();
    symlink("nowhere", home.join("dangling")).unwrap();
    for link in ["link", "dangling"] {
        refuses(home, link, "is a symbolic link, and is not replaced");
    }
    // And none of them is said to be replaced by --force.
    for target in ["pipe", "link", "dangling", "/dev/null"] {
        let (code, _, complaint) = exported(home, &["-o", target]);
        assert_eq!(code, 1);
        assert!(!complaint.contains("--force"), "{complaint}");
    }
    assert_eq!(fs::read(home.join("target")).unwrap(), b"keep me");
    // A file that somebody made is.
    export(home, &["-o", "target", "--force"]);
    assert!(fs::read(home.join("target")).unwrap().starts_with(b"{"));
}

#[test]
fn a_place_that_cannot_be_made_is_found_before_the_first_row() {
    let home = TempDir::new().unwrap();
    // The manifest's name is too long; the state's, beside a part that is not.
    let (long, longer) = ("n".repeat(240), "n".repeat(247));
    let long_name = "cannot be written: File name too long";
    for (arguments, because) in [
        (&["-o", "new/"][..], "new/ is a directory: name a file"),
        (&["-o", "new/."], "new/. is a directory: name a file"),
        (&["-o", "new/x"], "new/x cannot be written"),
        (&["-o", "x", "--manifest", "new/"], "new/ is a directory"),
        (
            &["-o", "x", "--manifest", "new/m.json"],
            "new/m.json cannot be written",
        ),
        (
            &["-o", "-", "--manifest", "new/m.json"],
            "new/m.json cannot be written",
        ),
        (&["-o", &long], long_name),
        (&["-o", &longer, "--manifest", "m"], long_name),
    ] {
        // There is no ledger: whatever is said is said before it is read.
        let (code, _, complaint) = exported(home.path(), arguments);
        assert_eq!(code, 1, "{arguments:?}");
        assert!(complaint.contains(because), "{arguments:?}: {complaint}");
        assert_eq!(names(home.path()), [""; 0], "{arguments:?}");
    }
    let (code, _, complaint) = ran(home.path(), &["dead-letters", "export", "-o", "new/"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("new/ is a directory"), "{complaint}");
}
