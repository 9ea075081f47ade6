//! A disk that does not answer.

use super::assert_all_kept;
use super::child::Start;
use super::strace::Strace;

const HANGS: &str = "WARN the audit ledger hangs";

#[test]
fn a_hanging_fsync_is_seen_said_and_survived() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let mut service = Start::on(&path).up();
    service.log_events(100);
    service.flush_until_done();
    let strace = hang(service.pid(), &path);
    service.log_events(100);
    let report = service.flush(3_000);
    let blocked = report["blocked"].as_str().unwrap_or_default();
    assert!(blocked.contains("hung for"), "{report:#}");
    // Without an error, and without waiting for the disk.
    let trouble = service.wait_for_trouble();
    assert!(trouble.contains("hung for "), "{trouble}");
    service.wait_for(|service| (service.said(HANGS) == 1).then_some(()));
    service.log_events(100);
    assert_eq!(service.health()["check"], serde_json::Value::Null);
    strace.end();
    service.flush_until_done();
    service.wait_for(|service| (service.said("the audit ledger answers again") == 1).then_some(()));
    assert_eq!(service.said(HANGS), 1);
    assert_all_kept(service, &path, 300);
}

#[test]
fn a_shutdown_on_a_hanging_disk_ends_by_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let mut service = Start::on(&path).up();
    service.log_events(100);
    service.flush_until_done();
    let strace = hang(service.pid(), &path);
    service.log_events(100);
    let report = service.shutdown(4_000);
    assert_eq!(report["closed"], false, "{report:#}");
    let blocked = report["blocked"].as_str().unwrap_or_default();
    assert!(blocked.contains("hung for"), "{report:#}");
    assert_eq!(report["health"]["check"], serde_json::Value::Null);
    assert!(report["health"]["queued"].as_u64() > Some(0), "{report:#}");
    strace.end();
    service.kill();
}

fn hang(pid: u32, path: &std::path::Path) -> Strace {
    Strace::inject(
        pid,
        path,
        &["", "-wal"],
        &["fdatasync:delay_enter=600s", "fsync:delay_enter=600s"],
    )
}
