//! A write-ahead log that grows because somebody reads for long.

use super::assert_all_kept;
use super::child::Start;
use super::read;

const HELD: &str = "a reader of the audit ledger keeps its write-ahead log from being emptied";
const SHORT: &str = "the audit ledger's write-ahead log is short again";

#[test]
fn a_long_read_lets_the_log_grow_which_is_said_once_and_over_with_the_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let mut service = Start::on(&path).up();
    service.log_events(10);
    service.flush_until_done();
    let reader = read(&path);
    reader.execute_batch("BEGIN").unwrap();
    let rows: i64 = reader
        .query_row("SELECT count(*) FROM audit_logs", [], |row| row.get(0))
        .unwrap();
    assert!(rows > 0);
    let mut events = 10;
    let grown = service.wait_for(|service| {
        service.log_large(1_000, 8_000);
        events += 1_000;
        let health = service.flush(30_000)["health"].clone();
        (service.said(HELD) > 0).then(|| health["ledger"]["log_bytes"].as_u64().unwrap())
    });
    assert!(grown >= 64 << 20, "{grown}");
    for _ in 0..3 {
        service.log_large(1_000, 8_000);
        events += 1_000;
        service.flush(30_000);
    }
    assert_eq!(service.said(HELD), 1);
    reader.execute_batch("ROLLBACK").unwrap();
    service.wait_for(|service| {
        service.log_large(1_000, 8_000);
        events += 1_000;
        service.flush(30_000);
        (service.said(SHORT) == 1).then_some(())
    });
    let health = service.flush_until_done();
    assert!(
        health["ledger"]["log_bytes"].as_u64() < Some(64 << 20),
        "{health:#}"
    );
    assert_all_kept(service, &path, events);
}
