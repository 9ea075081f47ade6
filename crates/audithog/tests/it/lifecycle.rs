//! A logger's life: when rows are sent, what a flush says, how it ends, and what the next one finds.

mod crash;
mod flush;
mod ledger;
mod memory;
mod processes;
mod several;
mod shutdown;
mod start;
mod triggers;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use audithog::testing::PostHogStandIn;
use audithog::{Builder, Logger, SinkHealth};
use tempfile::TempDir;

/// Far more than anything here needs: a wait that ends here has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stand-in, and a ledger's place.
struct Bench {
    posthog: PostHogStandIn,
    directory: TempDir,
}

/// One row as anyone with the file reads it.
#[derive(Debug)]
struct TableRow {
    seq: i64,
    id: String,
    event: String,
    properties: serde_json::Value,
}

impl Bench {
    fn new() -> Self {
        Self {
            posthog: PostHogStandIn::start().unwrap(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit.db")
    }

    /// A logger with this ledger that ships to the stand-in.
    fn builder(&self) -> Builder {
        self.builder_for(&self.posthog.url())
    }

    fn builder_for(&self, host: &str) -> Builder {
        Logger::builder()
            .environment([("POSTHOG_API_KEY", "phc_test"), ("POSTHOG_HOST", host)])
            .service("agents")
            .database(self.path())
    }

    /// A logger with this ledger and no key.
    fn silent(&self) -> Builder {
        Logger::builder()
            .environment::<&str, &str>([])
            .service("agents")
            .database(self.path())
    }

    fn table(&self) -> Vec<TableRow> {
        table(&self.path())
    }

    /// Every row of the table has arrived, once after de-duplication.
    fn assert_all_arrived(&self) {
        let events = self.posthog.events();
        let arrived: HashSet<String> = events.iter().map(|event| event.uuid.to_string()).collect();
        assert_eq!(arrived.len(), events.len(), "an event arrived twice");
        let stored: HashSet<String> = self.table().into_iter().map(|row| row.id).collect();
        assert_eq!(arrived, stored);
    }

    /// Rows of one kind in the table.
    fn rows_of(&self, event: &str) -> Vec<TableRow> {
        let rows = self.table().into_iter();
        rows.filter(|row| row.event == event).collect()
    }
}

fn table(path: &Path) -> Vec<TableRow> {
    let table =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
    let mut rows = table
        .prepare("SELECT seq, id, event, properties FROM audit_logs ORDER BY seq")
        .unwrap();
    let rows = rows.query_map([], |row| {
        let properties: Option<String> = row.get(3)?;
        Ok(TableRow {
            seq: row.get(0)?,
            id: row.get(1)?,
            event: row.get(2)?,
            properties: properties
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default(),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn posthog(logger: &Logger) -> SinkHealth {
    logger.health().sinks["posthog"].clone()
}

fn log(logger: &Logger, events: u64) {
    for n in 0..events {
        logger.event("counted").property("n", n).log();
    }
}

fn lost(logger: &Logger, reason: &str) -> u64 {
    lost_of(&logger.health().lost, reason)
}

fn lost_of(lost: &BTreeMap<String, u64>, reason: &str) -> u64 {
    lost.get(reason).copied().unwrap_or(0)
}

/// Looks again and again until `is_so`.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        // Only so that the looking leaves the core to what is looked at.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A port of 127.0.0.1 that refuses connections.
fn refusing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Nothing is left to do, and the books fit.
#[track_caller]
fn assert_flushed(logger: &Logger) {
    let report = logger.flush_blocking(Some(PATIENCE));
    assert_eq!(report.blocked, None, "{report:#?}");
    report.health.check().unwrap();
}

/// Everything was kept and delivered, and the books fit.
#[track_caller]
fn assert_ended_well(logger: &Logger) {
    let report = logger.shutdown_blocking(Some(PATIENCE));
    assert_eq!(report.blocked, None, "{report}");
    assert!(report.closed, "{report}");
    assert_eq!((report.lost(), report.pending()), (0, 0), "{report}");
    report.health.check().unwrap();
}
