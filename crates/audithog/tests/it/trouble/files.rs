//! Files that go away, or come from elsewhere, under the running service.

use std::fs;
use std::path::{Path, PathBuf};

use super::child::{Service, Start};
use super::{assert_all_kept, assert_sound, counted, own_rows};

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// With a sink, whose reader keeps a connection of its own.
fn started(directory: &Path) -> (Service, PathBuf) {
    let path = directory.join("audit.db");
    let mut service = Start::on(&path)
        .set("POSTHOG_API_KEY", "phc_test")
        // Nobody is there: rows are read and wait.
        .set("POSTHOG_HOST", "http://127.0.0.1:9")
        .set("LOG_BATCH_SIZE", "10")
        .up();
    service.log_events(500);
    service.wait_for(|service| {
        let health = service.flush(1_000)["health"].clone();
        (health["ledger"]["synced"].as_u64() >= Some(500)).then_some(())
    });
    (service, path)
}

/// Nobody takes the rows: a flush never succeeds, but what was accepted is stored.
fn stored(service: &mut Service, rows: u64) {
    service.wait_for(|service| {
        let health = service.flush(500)["health"].clone();
        assert_eq!(health["check"], serde_json::Value::Null, "{health:#}");
        (health["stored"].as_u64() >= Some(rows) && health["queued"] == 0).then_some(())
    });
}

#[test]
fn a_deleted_write_ahead_log_loses_no_row() {
    let directory = tempfile::tempdir().unwrap();
    let (mut service, path) = started(directory.path());
    fs::remove_file(beside(&path, "-wal")).unwrap();
    service.log_events(500);
    stored(&mut service, 1_001);
    assert_eq!(
        service.said("write-ahead log was deleted under the service; what it held was saved"),
        1,
        "{:#?}",
        service.log()
    );
    let report = service.shutdown(10_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&path, &report["health"]);
    assert_eq!(counted(&path), (0..1_000).collect::<Vec<_>>());
    assert_eq!(own_rows(&path, "audit_loss"), [] as [serde_json::Value; 0]);
}

#[test]
fn a_deleted_shared_memory_loses_no_row() {
    let directory = tempfile::tempdir().unwrap();
    let (mut service, path) = started(directory.path());
    fs::remove_file(beside(&path, "-shm")).unwrap();
    service.log_events(500);
    stored(&mut service, 1_001);
    // Another process sees the same log.
    assert_eq!(counted(&path).len(), 1_000);
    let report = service.shutdown(10_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&path, &report["health"]);
    assert_eq!(counted(&path), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_ledger_moved_away_is_made_again_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let (mut service, path) = started(directory.path());
    let moved = directory.path().join("moved.db");
    fs::rename(&path, &moved).unwrap();
    for suffix in ["-wal", "-shm"] {
        fs::rename(beside(&path, suffix), beside(&moved, suffix)).unwrap();
    }
    service.log_events(500);
    stored(&mut service, 1_001);
    assert_eq!(
        service.said("the audit ledger was gone and is made again"),
        1
    );
    let report = service.shutdown(10_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&path, &report["health"]);
    // Between them they have every row once.
    assert_eq!(counted(&moved), (0..500).collect::<Vec<_>>());
    assert_eq!(counted(&path), (500..1_000).collect::<Vec<_>>());
    let losses = own_rows(&path, "audit_loss");
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert_eq!(losses[0]["reason"], "ledger_replaced");
}

/// As by `mv audit.db …`, by hand: most rows are in the log alone.
#[test]
fn the_log_of_a_ledger_that_was_moved_without_it_is_kept_and_fits() {
    let directory = tempfile::tempdir().unwrap();
    let (mut service, path) = started(directory.path());
    let moved = directory.path().join("moved.db");
    fs::rename(&path, &moved).unwrap();
    service.log_events(500);
    stored(&mut service, 1_001);
    let kept = "the audit ledger's file went away without its write-ahead log: the log is kept";
    assert_eq!(service.said(kept), 1, "{:#?}", service.log());
    let log = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with("Z-wal"));
    fs::rename(log.unwrap(), beside(&moved, "-wal")).unwrap();
    service.shutdown(10_000);
    assert_eq!(counted(&moved), (0..500).collect::<Vec<_>>());
    assert_eq!(counted(&path), (500..1_000).collect::<Vec<_>>());
}

#[test]
fn a_ledger_that_is_found_gone_by_the_very_last_commit_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let mut service = Start::on(&path).up();
    service.log_events(10);
    service.flush_until_done();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(beside(&path, suffix)).unwrap();
    }
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&path, &report["health"]);
    assert_eq!(own_rows(&path, "audit_ledger_replaced").len(), 1);
    assert_eq!(own_rows(&path, "audit_loss").len(), 1);
    assert_eq!(own_rows(&path, "audit_stopped").len(), 1);
}

#[test]
fn a_directory_that_vanishes_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("data");
    fs::create_dir(&place).unwrap();
    let path = place.join("audit.db");
    let mut service = Start::on(&path).up();
    service.log_events(100);
    service.flush_until_done();
    fs::remove_dir_all(&place).unwrap();
    service.log_events(100);
    let trouble = service.wait_for_trouble();
    assert!(
        trouble.contains("deleted or replaced") || trouble.contains("cannot be used"),
        "{trouble}"
    );
    fs::create_dir(&place).unwrap();
    service.flush_until_done();
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&path, &report["health"]);
    assert_eq!(counted(&path), (100..200).collect::<Vec<_>>());
    assert_eq!(own_rows(&path, "audit_ledger_replaced").len(), 1);
}

#[test]
fn without_permission_there_is_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let mode = |path: &Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(directory.path(), 0o755);
    let path = directory.path().join("audit.db");
    // Not even a new one.
    let (error, _) = Start::through(&nobody, &path).refused();
    assert_eq!(
        error,
        format!("the ledger {} cannot be made", path.display())
    );
    // Nor another's.
    let service = Start::on(&path).up();
    assert_all_kept(service, &path, 0);
    let before = fs::read(&path).unwrap();
    let (error, _) = Start::through(&nobody, &path).refused();
    assert!(error.contains("cannot be opened"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    // Nor one that may be read, in a directory where nothing can be made.
    mode(&path, 0o666);
    let (error, _) = Start::through(&nobody, &path).refused();
    assert!(error.contains("cannot be"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}
