//! A ledger that cannot be written for a while.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use audithog::Blocked;
use rusqlite::Connection;

use super::{Bench, assert_ended_well, assert_flushed, log, lost, posthog, table, wait_until};

/// Keeps every other connection from writing until it is dropped.
struct WriteLock(Connection);

impl WriteLock {
    fn take(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(super::PATIENCE).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        fs::remove_file(name).unwrap();
    }
}

#[test]
fn a_full_queue_counts_the_newest_and_tells_of_them_in_one_row() {
    let bench = Bench::new();
    let logger = bench
        .silent()
        .set("AUDITHOG_QUEUE_ROWS", "16")
        .start()
        .unwrap();
    assert_flushed(&logger);
    let lock = WriteLock::take(&bench.path());
    log(&logger, 1_000);
    let books = logger.health();
    books.check().unwrap();
    // The bound is of everything in memory, the writer's hand included.
    assert_eq!(lost(&logger, "queue_full"), 984);
    // One more if the writer took its rows in the midst of the losses: the row that tells of them.
    assert!((16..=17).contains(&books.queued), "{books:?}");
    drop(lock);
    assert_flushed(&logger);
    assert_ended_with_losses(&logger, 984);
    let kept: Vec<_> = bench.rows_of("counted");
    let kept: Vec<_> = kept
        .iter()
        .map(|row| row.properties["n"].as_u64().unwrap())
        .collect();
    assert_eq!(kept, (0..16).collect::<Vec<_>>());
    let losses = bench.rows_of("audit_loss");
    // Two in that case.
    assert!(losses.len() <= 2, "{losses:?}");
    let told: u64 = losses
        .iter()
        .map(|row| row.properties["count"].as_u64().unwrap())
        .sum();
    assert_eq!(told, 984);
    assert!(losses.iter().all(|row| row.properties["exact"] == true));
}

fn assert_ended_with_losses(logger: &audithog::Logger, losses: u64) {
    let report = logger.shutdown_blocking(None);
    report.health.check().unwrap();
    assert_eq!(report.blocked, None, "{report}");
    assert_eq!(
        (report.health.queued, report.lost()),
        (0, losses),
        "{report}"
    );
}

#[test]
fn a_flush_covers_rows_that_were_queued_while_the_ledger_was_locked() {
    let bench = Bench::new();
    let logger = bench.silent().start().unwrap();
    assert_flushed(&logger);
    let lock = WriteLock::take(&bench.path());
    // The first is in the writer's hand, the second in the queue behind it.
    log(&logger, 1);
    wait_until("the writer holds the first row", || {
        log(&logger, 1);
        logger.health().queued > 20
    });
    let accepted = logger.health().accepted;
    let flush = std::thread::spawn({
        let logger = logger.clone();
        move || logger.flush_blocking(Some(super::PATIENCE))
    });
    drop(lock);
    let report = flush.join().unwrap();
    assert_eq!(report.blocked, None, "{report:?}");
    assert!(report.health.stored >= accepted, "{report:?}");
    assert_eq!(bench.table().len() as u64, accepted);
}

#[test]
fn the_books_fit_at_every_moment() {
    let bench = Bench::new();
    let logger = bench
        .builder()
        .set("AUDITHOG_QUEUE_ROWS", "64")
        .batch_size(20)
        .start()
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let lookers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut looks = 0_u64;
                    while !done.load(Ordering::Relaxed) {
                        logger.health().check().unwrap();
                        looks += 1;
                    }
                    looks
                })
            })
            .collect();
        let writers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| log(&logger, 5_000)))
            .collect();
        let locks = scope.spawn(|| {
            for _ in 0..5 {
                drop(WriteLock::take(&bench.path()));
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        locks.join().unwrap();
        done.store(true, Ordering::Relaxed);
        for looker in lookers {
            assert!(looker.join().unwrap() > 0);
        }
    });
    let report = logger.shutdown_blocking(Some(super::PATIENCE));
    report.health.check().unwrap();
    assert!(report.closed, "{report}");
    assert_eq!(report.health.queued, 0, "{report}");
    let stored = bench.rows_of("counted").len() as u64;
    assert_eq!(
        stored + super::lost_of(&report.health.lost, "queue_full"),
        20_000
    );
}

#[test]
fn a_ledger_that_is_gone_blocks_a_flush_and_is_made_again() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    log(&logger, 50);
    assert_flushed(&logger);
    let before = bench.table();
    remove(&bench.path());
    fs::create_dir(bench.path()).unwrap();
    log(&logger, 10);
    let report = logger.flush_blocking(Some(super::PATIENCE));
    assert!(
        matches!(report.blocked, Some(Blocked::LedgerNotWriting(_))),
        "{report:?}"
    );
    report.health.check().unwrap();
    assert!(report.health.ledger.trouble.is_some());
    assert_eq!(report.health.queued, 10);

    fs::remove_dir(bench.path()).unwrap();
    wait_until("the ledger is written again", || {
        let report = logger.flush_blocking(Some(Duration::from_secs(5)));
        report.health.check().unwrap();
        report.health.queued == 0
    });
    // The new file begins anew, says so, and what is in it is delivered.
    assert_flushed(&logger);
    let replaced = bench.rows_of("audit_ledger_replaced");
    assert_eq!(replaced.len(), 1);
    assert_eq!(replaced[0].properties["headBefore"], before.len());
    // What went with the old file is a loss of the log's, and stays among what this process stored.
    let losses = bench.rows_of("audit_loss");
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0].properties["reason"], "ledger_replaced");
    assert_eq!(losses[0].properties["count"], before.len());
    assert_eq!(losses[0].properties["exact"], false);
    let health = logger.health();
    health.check().unwrap();
    assert_eq!(health.ledger.lost["ledger_replaced"], before.len() as u64);
    assert!(health.lost.is_empty(), "{health:?}");
    assert_eq!(posthog(&logger).pending, 0);
    let after = table(&bench.path());
    assert_eq!(after[0].seq, 1);
    assert_eq!(
        after.iter().filter(|row| row.event == "counted").count(),
        10
    );
    assert_ended_well(&logger);
    let events = bench.posthog.events();
    let arrived = |id: &str| events.iter().any(|event| event.uuid.to_string() == id);
    for row in before.iter().chain(&table(&bench.path())) {
        assert!(arrived(&row.id), "{row:?}");
    }
}
