//! What `audithog ship` takes for a ledger, for the remains of one, and for neither.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{Volume, outage, text};
use crate::program::output;

#[test]
fn what_lies_beside_a_ledger_is_none() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 3);
    let mut live = volume.serve("orders-next", 1);
    live.signal("TERM");
    assert_eq!(live.ended(), Some(0));
    volume.posthog.heal();
    // One that is named as a lock file would be, beside no ledger.
    let odd = volume.path().join("orders-next");
    fs::rename(odd.join("audit.db"), odd.join("audit.db-next")).unwrap();
    // What a shipment of a file that was put aside leaves when it is killed.
    let aside = volume.path().join("orders/audit.db.damaged-1");
    fs::copy(odd.join("audit.db-next"), &aside).unwrap();
    for end in ["-next", "-turn", "-reserve", "-wal"] {
        for ledger in ["audit.db", "audit.db.damaged-1"] {
            let path = volume.path().join(format!("orders/{ledger}{end}"));
            if !path.exists() {
                fs::write(path, "").unwrap();
            }
        }
    }

    let (printed, code) = volume.ship(&["--dry-run", "."]);
    assert_eq!(code, Some(3), "{printed}");
    let lines = printed.lines().filter_map(|line| line.split_once(": "));
    let ledgers: Vec<&str> = lines.map(|(path, _)| path).collect();
    let expected = [
        "./orders/audit.db",
        "./orders/audit.db.damaged-1",
        "./orders-next/audit.db-next",
        "total",
    ];
    assert_eq!(ledgers, expected, "{printed}");
    assert!(printed.contains(" 0 skipped"), "{printed}");
}

/// The files of a ledger, in another directory of the volume.
fn copy(volume: &Volume, from: &str, to: &str) -> PathBuf {
    let directory = volume.path().join(to);
    fs::create_dir(&directory).unwrap();
    for entry in fs::read_dir(volume.path().join(from)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    directory.join("audit.db")
}

fn zero_the_beginning(path: &Path) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(&[0; 16]).unwrap();
}

#[test]
fn what_may_have_been_a_ledger_is_skipped_and_never_passed_over() {
    let volume = Volume::new();
    volume.posthog.stand_fault(outage());
    volume.orphan("orders", 3);
    let mut closed = volume.serve("closed", 3);
    closed.signal("TERM");
    assert_eq!(closed.ended(), Some(0));
    volume.posthog.heal();
    assert!(
        volume
            .path()
            .join("orders/audit.db-wal")
            .metadata()
            .unwrap()
            .len()
            > 0
    );
    zero_the_beginning(&copy(&volume, "orders", "zeroed"));
    fs::write(copy(&volume, "orders", "emptied"), "").unwrap();
    let gone = copy(&volume, "orders", "gone");
    for end in ["", "-reserve", "-next", "-turn"] {
        let _ = fs::remove_file(format!("{}{end}", gone.display()));
    }
    // No log is left of this one.
    let closed = volume.ledger("closed");
    zero_the_beginning(&closed);
    let overwritten = volume.path().join("overwritten.db");
    fs::write(&overwritten, "x".repeat(1_000)).unwrap();
    fs::write(volume.path().join("overwritten.db-turn"), "").unwrap();

    for wanted in [&["."][..], &["--dry-run", "."]] {
        let (printed, code) = volume.ship(wanted);
        assert_eq!(code, Some(3), "{printed}");
        for path in [
            "./zeroed/audit.db: skipped: ./zeroed/audit.db is no ledger, but ./zeroed/audit.db-wal",
            "./emptied/audit.db: skipped: ./emptied/audit.db is no ledger, but ./emptied/audit.db-wal",
            "./gone/audit.db-wal: skipped: ./gone/audit.db-wal is the log of the database ./gone/audit.db,",
            "./closed/audit.db: skipped: ./closed/audit.db has a ledger's mark",
            "./overwritten.db: skipped: ./overwritten.db is no ledger, but ./overwritten.db-turn",
        ] {
            assert!(printed.contains(path), "{path}: {printed}");
        }
        assert!(printed.contains("total: 6 ledgers, "), "{printed}");
        assert!(printed.contains(", 5 skipped"), "{printed}");
    }
    volume.assert_arrived("orders");
    // Each alone, without a good one beside it.
    for directory in ["zeroed", "emptied", "gone", "closed"] {
        let (printed, code) = volume.ship(&[directory]);
        assert_eq!(code, Some(3), "{printed}");
        assert!(printed.contains(" 1 skipped"), "{printed}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_is_not_followed_is_skipped_unless_its_target_is_found() {
    use std::os::unix::fs::symlink;

    let elsewhere = Volume::new();
    elsewhere.posthog.stand_fault(outage());
    elsewhere.orphan("orders", 3);
    elsewhere.posthog.heal();
    let orders = elsewhere.path().join("orders");
    fs::write(elsewhere.path().join("app.log"), "started").unwrap();
    let volume = TempDir::new().unwrap();
    let link = |target: &Path, name: &str| symlink(target, volume.path().join(name)).unwrap();
    let ship = |arguments: &[&str]| {
        let mut command = elsewhere.ship_command(arguments);
        command.current_dir(volume.path());
        text(&output(command))
    };
    // Neither an ordinary file nor what is found anyway.
    link(&elsewhere.path().join("app.log"), "current.log");
    link(volume.path(), "here");
    link(Path::new("/dev/null"), "null");
    let (printed, code) = ship(&["."]);
    assert_eq!((&*printed, code), ("no ledger found\n", Some(0)));

    link(&orders, "directory");
    link(&orders.join("audit.db"), "audit.db");
    link(&volume.path().join("nothing"), "dangling");
    let (printed, code) = ship(&["."]);
    assert_eq!(code, Some(3), "{printed}");
    for line in [
        "./directory: skipped: ./directory is a symbolic link and not followed: give ",
        "./audit.db: skipped: ./audit.db is a symbolic link",
        "./dangling: skipped: ./dangling cannot be looked into: ",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    assert!(printed.contains(" 3 skipped"), "{printed}");
    assert_eq!(elsewhere.posthog.duplicates(), 0);

    fs::remove_file(volume.path().join("dangling")).unwrap();
    let (printed, code) = ship(&[".", orders.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("total: 1 ledger, "), "{printed}");
    elsewhere.assert_arrived("orders");
}

#[test]
fn a_directory_with_nothing_of_a_ledger_is_no_failure() {
    let volume = Volume::new();
    fs::create_dir(volume.path().join("lost+found")).unwrap();
    for (name, content) in [
        ("app.log", "started"),
        ("empty.db", ""),
        ("x-wal", ""),
        ("y-next", "z"),
    ] {
        fs::write(volume.path().join(name), content).unwrap();
    }
    // Another application's, while that runs.
    let other = Connection::open(volume.path().join("app.db")).unwrap();
    other
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    assert!(volume.path().join("app.db-wal").metadata().unwrap().len() > 0);
    for wanted in [&["."][..], &["--dry-run", "."]] {
        let (printed, code) = volume.ship(wanted);
        assert_eq!((&*printed, code), ("no ledger found\n", Some(0)));
    }
}
