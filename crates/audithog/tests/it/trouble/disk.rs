//! A disk that is full, read-only, or answers with errors.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use audithog::testing::PostHogStandIn;
use audithog::testing::standin::Fault;

use super::child::Start;
use super::strace::Strace;
use super::{assert_all_kept, assert_sound, counted, own_rows, read};

/// A small file system of its own, gone with this.
pub(super) struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    pub(super) fn new(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Self { directory };
        let options = format!("size={size},mode=0755");
        disk.mount(&["-t", "tmpfs", "-o", &options, "tmpfs"]);
        disk
    }

    fn mount(&self, arguments: &[&str]) {
        let mounted = Command::new("mount")
            .args(arguments)
            .arg(self.directory.path())
            .output()
            .expect("`mount` is needed");
        assert!(
            mounted.status.success(),
            "a small file system cannot be mounted here (root is needed): {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
    }

    fn remount(&self, options: &str) {
        self.mount(&["-o", &format!("remount,{options}")]);
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.directory.path().join("audit.db")
    }

    fn reserve(&self) -> PathBuf {
        self.directory.path().join("audit.db-reserve")
    }

    fn ballast(&self) -> PathBuf {
        self.directory.path().join("ballast")
    }

    /// Somebody else takes all the room there is.
    pub(super) fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        for block in [65_536, 4_096, 1] {
            let zeros = vec![0; block];
            while file.write_all(&zeros).is_ok() {}
        }
    }

    /// And gives it back.
    pub(super) fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a service that is being killed may still hold its files.
        drop(
            Command::new("umount")
                .arg("-l")
                .arg(self.directory.path())
                .status(),
        );
    }
}

const FULL: &str = "the disk of the audit ledger is full: its reserve is used";
const CANNOT: &str = "ERROR the audit ledger cannot be written";
const AGAIN: &str = "the audit ledger is written again";

#[test]
fn rows_wait_for_a_full_disk_and_none_is_lost() {
    let disk = Disk::new("64m");
    let mut service = Start::on(&disk.ledger()).up();
    service.log_events(100);
    service.flush_until_done();
    assert_eq!(std::fs::metadata(disk.reserve()).unwrap().len(), 8 << 20);
    disk.fill();
    service.log_large(6_000, 1_000);
    let trouble = service.wait_for_trouble();
    assert!(trouble.contains("full"), "{trouble}");
    assert!(trouble.contains("make room on the disk"), "{trouble}");
    service.wait_for(|service| (service.said(FULL) == 1).then_some(()));
    // Let go, so that there is room for what must be written.
    assert_eq!(std::fs::metadata(disk.reserve()).unwrap().len(), 0);
    disk.free();
    service.flush_until_done();
    assert_eq!(std::fs::metadata(disk.reserve()).unwrap().len(), 8 << 20);
    assert_eq!((service.said(CANNOT), service.said(FULL)), (1, 1));
    assert_eq!(service.said("its reserve is taken back"), 1);
    assert_eq!(service.said(AGAIN), 1);
    assert_all_kept(service, &disk.ledger(), 6_100);
}

#[test]
fn losses_are_told_while_the_disk_is_still_full() {
    let disk = Disk::new("64m");
    let mut service = Start::on(&disk.ledger())
        .set("AUDITHOG_QUEUE_ROWS", "1000")
        .up();
    service.log_events(100);
    service.flush_until_done();
    disk.fill();
    // The log has some space of its own: rows until it is used up, then until the queue is full.
    service.wait_for(|service| {
        service.log_large(1_000, 1_000);
        let health = service.health();
        health["lost"]["queue_full"].is_u64().then_some(())
    });
    // The end comes with a disk as full as ever: what is lost is in the ledger all the same.
    let report = service.shutdown(3_000);
    assert_eq!(report["closed"], false, "{report:#}");
    // The report came at its deadline; the last words may take a moment longer.
    let health = service.wait_for(|service| {
        let health = service.health();
        (health["queued"] == 0).then_some(health)
    });
    assert_sound(&disk.ledger(), &health);
    let told: u64 = own_rows(&disk.ledger(), "audit_loss")
        .iter()
        .map(|loss| loss["count"].as_u64().unwrap())
        .sum();
    let lost: u64 = health["lost"]
        .as_object()
        .unwrap()
        .values()
        .map(|rows| rows.as_u64().unwrap())
        .sum();
    assert_eq!(told, lost, "{health:#}");
    assert!(health["lost"]["ledger_failed"].is_u64(), "{health:#}");
    // A run that ended in good order: the next start has no unclean stop to tell of.
    let ended: i64 = read(&disk.ledger())
        .query_row("SELECT unclean FROM audit_runs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ended, 0);
    drop(service);
    // A start on the full disk works with the reserve, too.
    let mut service = Start::on(&disk.ledger()).up();
    let health = service.health();
    assert_eq!(health["check"], serde_json::Value::Null);
    disk.free();
    service.flush_until_done();
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&disk.ledger(), &report["health"]);
}

#[test]
fn old_rows_are_removed_while_the_disk_is_full() {
    let disk = Disk::new("64m");
    let mut service = Start::on(&disk.ledger())
        .set("AUDITHOG_RETENTION", "1s")
        .up();
    service.log_large(4_000, 1_000);
    service.flush_until_done();
    disk.fill();
    // Old enough once the disk is full: deleting is what makes room.
    service.wait_for(|service| {
        service.log_large(500, 1_000);
        let health = service.flush(1_000)["health"].clone();
        (health["ledger"]["pruned"].as_u64() >= Some(1_000)).then_some(())
    });
    assert!(service.said(FULL) >= 1, "{:#?}", service.log());
    disk.free();
    service.flush_until_done();
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&disk.ledger(), &report["health"]);
    let removed: u64 = own_rows(&disk.ledger(), "audit_retention")
        .iter()
        .map(|row| row["count"].as_u64().unwrap())
        .sum();
    assert!(removed >= 1_000, "{removed}");
}

/// Without the settlements no row would become one that may go.
#[test]
fn a_disk_that_a_backlog_has_filled_heals_once_posthog_is_back() {
    let disk = Disk::new("32m");
    let posthog = PostHogStandIn::start().unwrap();
    posthog.stand_fault(Fault::status(503));
    let mut service = Start::on(&disk.ledger())
        .set("POSTHOG_API_KEY", "phc_test")
        .set("POSTHOG_HOST", posthog.url())
        .set("AUDITHOG_RETENTION", "1s")
        .up();
    service.wait_for(|service| {
        service.log_large(500, 10_000);
        let trouble = service.health()["ledger"]["trouble"].clone();
        trouble.as_str().map(|_| ())
    });
    posthog.heal();
    service.wait_for(|service| {
        service.health()["ledger"]["trouble"]
            .is_null()
            .then_some(())
    });
    assert!(service.said(FULL) >= 1, "{:#?}", service.log());
    service.flush_until_done();
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&disk.ledger(), &report["health"]);
    let delivered = report["health"]["sinks"]["posthog"]["delivered"].as_u64();
    assert_eq!(posthog.counts().stored as u64, delivered.unwrap());
    assert_eq!(posthog.counts().duplicates, 0, "{:?}", posthog.counts());
}

#[test]
fn a_disk_too_small_for_a_reserve_is_said_and_used_all_the_same() {
    let disk = Disk::new("512k");
    let mut service = Start::on(&disk.ledger()).up();
    assert_eq!(service.said("no space could be reserved"), 1);
    assert!(!disk.reserve().exists());
    service.log_events(100);
    service.flush_until_done();
    disk.fill();
    service.log_large(2_000, 1_000);
    service.wait_for_trouble();
    disk.remount("size=16m");
    service.flush_until_done();
    assert_all_kept(service, &disk.ledger(), 2_100);
}

#[test]
fn on_a_small_disk_less_is_reserved() {
    let disk = Disk::new("8m");
    let service = Start::on(&disk.ledger()).up();
    assert_eq!(
        service.said("less is reserved for a full disk than was wanted"),
        1
    );
    assert_eq!(std::fs::metadata(disk.reserve()).unwrap().len(), 2 << 20);
    assert_all_kept(service, &disk.ledger(), 0);
}

#[test]
fn a_reserve_can_be_turned_off() {
    let disk = Disk::new("64m");
    let service = Start::on(&disk.ledger()).up();
    assert_eq!(std::fs::metadata(disk.reserve()).unwrap().len(), 8 << 20);
    assert_all_kept(service, &disk.ledger(), 0);
    let service = Start::on(&disk.ledger())
        .set("AUDITHOG_DB_RESERVE", "off")
        .up();
    assert!(!disk.reserve().exists());
    assert_all_kept(service, &disk.ledger(), 0);
}

#[test]
fn a_read_only_file_system_is_an_error_at_the_start() {
    let disk = Disk::new("64m");
    disk.remount("ro");
    let (error, _) = Start::on(&disk.ledger()).refused();
    assert!(error.contains("cannot be made"), "{error}");
    disk.remount("rw");
    let service = Start::on(&disk.ledger()).up();
    assert_all_kept(service, &disk.ledger(), 0);
    disk.remount("ro");
    let (error, _) = Start::on(&disk.ledger()).refused();
    assert!(error.contains("cannot be"), "{error}");
    disk.remount("rw");
    assert_eq!(counted(&disk.ledger()), [] as [u64; 0]);
}

const FILES: &[&str] = &["", "-wal", "-shm"];

/// The service rides out calls that fail from one moment to another. Returns those calls.
#[track_caller]
fn rides_out(faults: &[&str], suffixes: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let mut service = Start::on(&path).up();
    service.log_events(100);
    service.flush_until_done();
    let strace = Strace::inject(service.pid(), &path, suffixes, faults);
    service.log_events(1_000);
    let report = service.flush(30_000);
    let blocked = report["blocked"].as_str().unwrap_or_default();
    assert!(blocked.contains("cannot be written"), "{report:#}");
    assert_eq!(report["health"]["check"], serde_json::Value::Null);
    let trouble = report["health"]["ledger"]["trouble"].as_str().unwrap();
    assert!(trouble.contains("; "), "no remedy: {trouble}");
    service.log_events(1_000);
    // A few tries more: one episode, said once.
    service.flush(30_000);
    service.flush(30_000);
    assert_eq!(service.said(CANNOT), 1, "{:#?}", service.log());
    let calls = strace.end();
    service.flush_until_done();
    assert_eq!(service.said(AGAIN), 1, "{:#?}", service.log());
    assert_all_kept(service, &path, 2_100);
    calls
}

#[test]
fn a_failed_fsync_is_never_repeated_on_its_handle() {
    let calls = rides_out(&["fdatasync:error=EIO", "fsync:error=EIO"], &["", "-wal"]);
    assert!(calls.iter().any(|call| call.contains("INJECTED")));
    // On each handle one sync, which failed; its file is opened anew before the next.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let mut service = Start::on(&path).up();
    service.log_events(100);
    service.flush_until_done();
    let strace = Strace::inject_and_watch(
        service.pid(),
        &path,
        &["", "-wal"],
        &["fdatasync:error=EIO", "fsync:error=EIO"],
        "openat,close",
    );
    service.log_events(100);
    for _ in 0..3 {
        service.flush(30_000);
    }
    let calls = strace.end();
    let mut failed: Vec<String> = Vec::new();
    let mut failures = 0;
    for call in &calls {
        let Some((name, rest)) = call.split_once('(') else {
            continue;
        };
        let handle = rest.split(['<', ')']).next().unwrap_or_default().to_owned();
        if name.ends_with("sync") {
            assert!(!failed.contains(&handle), "{call} of {calls:#?}");
            failures += 1;
            failed.push(handle);
        } else if name.ends_with("close") {
            failed.retain(|known| *known != handle);
        }
    }
    assert!(failures >= 2, "{calls:#?}");
    service.flush_until_done();
    assert_all_kept(service, &path, 200);
}

#[test]
fn failed_writes_lose_nothing() {
    rides_out(&["pwrite64:error=EIO", "write:error=EIO"], FILES);
}

#[test]
fn failed_reads_and_writes_lose_nothing() {
    rides_out(&["pread64:error=EIO", "pwrite64:error=EIO"], FILES);
}

#[test]
fn a_file_system_that_becomes_read_only_loses_nothing() {
    rides_out(
        &[
            "pwrite64:error=EROFS",
            "write:error=EROFS",
            "ftruncate:error=EROFS",
            "fdatasync:error=EROFS",
            "fsync:error=EROFS",
        ],
        FILES,
    );
}

#[test]
fn no_space_on_any_write_loses_nothing() {
    rides_out(
        &[
            "pwrite64:error=ENOSPC",
            "write:error=ENOSPC",
            "ftruncate:error=ENOSPC",
        ],
        FILES,
    );
}

/// The log can be written, but not moved into the file.
#[test]
fn a_checkpoint_without_space_is_said_and_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let mut service = Start::on(&path).up();
    service.log_events(100);
    service.flush_until_done();
    let strace = Strace::inject(
        service.pid(),
        &path,
        &[""],
        &["pwrite64:error=ENOSPC", "ftruncate:error=ENOSPC"],
    );
    const SAID: &str = "audithog could not checkpoint its ledger";
    let mut events = 100;
    service.wait_for(|service| {
        service.log_large(2_000, 1_000);
        events += 2_000;
        service.flush(30_000);
        (service.said(SAID) > 0).then_some(())
    });
    service.log_large(8_000, 1_000);
    events += 8_000;
    let report = service.flush(30_000);
    assert_eq!(report["blocked"], serde_json::Value::Null, "{report:#}");
    assert_eq!(service.said(SAID), 1, "{:#?}", service.log());
    strace.end();
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    // Everything is in the file.
    assert!(!directory.path().join("audit.db-wal").exists());
    assert_sound(&path, &report["health"]);
    assert_eq!(counted(&path), (0..events).collect::<Vec<_>>());
}
