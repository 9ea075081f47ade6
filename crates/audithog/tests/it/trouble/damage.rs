//! Damage: what is put aside, what is refused, and what is only the mark of a crash.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;

use super::child::{Service, Start};
use super::{assert_sound, counted, own_rows};

const ASIDE: &str = "ERROR the audit ledger is damaged: it is put aside and a new one begins";

/// Where a ledger is, and what it held when a service left it.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn with_rows(events: u64) -> Self {
        let place = Self::new();
        let mut service = Start::on(&place.path()).up();
        service.log_events(events);
        let report = service.shutdown(60_000);
        assert_eq!(report["closed"], true, "{report:#}");
        place
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit.db")
    }

    /// What was put aside.
    fn aside(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains(".damaged-"))
            .collect();
        found.sort();
        found
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn cut(path: &Path, to: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(to).unwrap();
}

fn scribble(path: &Path, from: u64, bytes: usize) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0xa5; bytes]).unwrap();
}

/// The service runs on a new ledger; the old one is beside it, byte for byte, and told of.
#[track_caller]
fn assert_put_aside(mut service: Service, place: &Place, before: &[u8], head: Option<u64>) {
    let path = place.path();
    service.log_events(5);
    service.flush_until_done();
    assert_eq!(service.said(ASIDE), 1, "{:#?}", service.log());
    let aside = place.aside();
    assert_eq!(fs::read(&aside[0]).unwrap(), before);
    let health = service.health();
    let shown = [Value::from(aside[0].to_str().unwrap())];
    assert_eq!(health["ledger"]["damaged"], Value::from(shown.to_vec()));
    let losses = own_rows(&path, "audit_loss");
    let loss = losses
        .iter()
        .find(|loss| loss["reason"] == "ledger_damaged")
        .unwrap_or_else(|| panic!("{losses:?}"));
    assert_eq!(loss["exact"], false);
    assert_eq!(loss["file"], aside[0].to_str().unwrap());
    let first: i64 = super::read(&path)
        .query_row("SELECT min(seq) FROM audit_logs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(first.unsigned_abs(), head.unwrap_or(0) + 1);
    if let Some(head) = head {
        assert_eq!(loss["count"], head);
    }
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&path, &report["health"]);
    // Still shown by the next one, and nothing more is told.
    let mut service = Start::on(&path).up();
    assert_eq!(
        service.health()["ledger"]["damaged"],
        Value::from(shown.to_vec())
    );
    assert_eq!(service.said("damaged audit ledgers were put aside here"), 1);
    drop(service.shutdown(60_000));
    assert_eq!(own_rows(&path, "audit_ledger_replaced").len(), 1);
}

#[test]
fn a_truncated_ledger_is_put_aside_at_the_start() {
    let place = Place::with_rows(3_000);
    cut(&place.path(), length(&place.path()) / 2 / 4_096 * 4_096);
    let before = fs::read(place.path()).unwrap();
    let service = Start::on(&place.path()).up();
    // Started, 3,000 events, stopped.
    assert_put_aside(service, &place, &before, Some(3_002));
}

#[test]
fn damaged_pages_at_the_end_are_put_aside_at_the_start() {
    let place = Place::with_rows(3_000);
    let whole = length(&place.path());
    scribble(
        &place.path(),
        whole / 2,
        usize::try_from(whole / 2).unwrap(),
    );
    let before = fs::read(place.path()).unwrap();
    let service = Start::on(&place.path()).up();
    assert_put_aside(service, &place, &before, Some(3_002));
}

#[test]
fn damage_can_be_refused() {
    let place = Place::with_rows(3_000);
    cut(&place.path(), length(&place.path()) / 2 / 4_096 * 4_096);
    let before = fs::read(place.path()).unwrap();
    let (error, _) = Start::on(&place.path())
        .set("AUDITHOG_DB_DAMAGED", "refuse")
        .refused();
    assert!(
        error.contains("damaged") || error.contains("ledger"),
        "{error}"
    );
    assert_eq!(fs::read(place.path()).unwrap(), before);
    assert_eq!(place.aside(), [] as [PathBuf; 0]);
}

#[test]
fn a_file_of_garbage_is_refused_and_not_touched() {
    let place = Place::new();
    fs::write(place.path(), vec![0xa5; 20_000]).unwrap();
    let (error, _) = Start::on(&place.path()).refused();
    assert!(error.contains("is not an audithog ledger"), "{error}");
    assert_eq!(fs::read(place.path()).unwrap(), vec![0xa5; 20_000]);
    assert_eq!(place.aside(), [] as [PathBuf; 0]);
}

#[test]
fn a_ledger_truncated_to_nothing_is_not_taken_for_a_new_one() {
    let place = Place::with_rows(100);
    cut(&place.path(), 0);
    let mut service = Start::on(&place.path()).up();
    service.log_events(5);
    service.flush_until_done();
    assert_eq!(service.said(ASIDE), 1, "{:#?}", service.log());
    // Nothing of it is left: how much it held cannot be said.
    let aside = place.aside();
    assert_eq!(length(&aside[0]), 0);
    let told = own_rows(&place.path(), "audit_ledger_replaced");
    assert_eq!(told[0]["file"], aside[0].to_str().unwrap());
    let report = service.shutdown(60_000);
    assert_sound(&place.path(), &report["health"]);
}

#[test]
fn a_log_without_its_ledger_is_put_aside_and_not_deleted() {
    let place = Place::new();
    let mut service = Start::on(&place.path()).up();
    service.log_events(100);
    service.flush_until_done();
    service.kill();
    fs::remove_file(place.path()).unwrap();
    let log = place.directory.path().join("audit.db-wal");
    let before = fs::read(&log).unwrap();
    let mut service = Start::on(&place.path()).up();
    service.flush_until_done();
    assert_eq!(service.said(ASIDE), 1, "{:#?}", service.log());
    let kept = place
        .aside()
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with("-wal"));
    assert_eq!(fs::read(kept.unwrap()).unwrap(), before);
    let report = service.shutdown(60_000);
    assert_sound(&place.path(), &report["health"]);
}

#[test]
fn an_empty_file_is_begun_in() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    let mut service = Start::on(&place.path()).up();
    assert_eq!(service.said("the audit ledger's file was empty"), 1);
    service.log_events(1);
    let report = service.shutdown(60_000);
    assert_sound(&place.path(), &report["health"]);
}

#[test]
fn a_ledger_that_is_gone_is_said_at_the_start() {
    let place = Place::with_rows(10);
    fs::remove_file(place.path()).unwrap();
    let mut service = Start::on(&place.path()).up();
    assert_eq!(service.said("the audit ledger that was here is gone"), 1);
    let report = service.shutdown(60_000);
    assert_sound(&place.path(), &report["health"]);
}

#[test]
fn a_torn_log_is_what_a_crash_leaves_and_just_recovers() {
    let place = Place::new();
    let mut service = Start::on(&place.path()).up();
    service.log_events(100);
    service.flush_until_done();
    service.log_events(100);
    service.wait_for(|service| (service.health()["queued"] == 0).then_some(()));
    service.kill();
    let log = place.directory.path().join("audit.db-wal");
    // The last frame is half there, as after a power loss.
    cut(&log, length(&log) - 2_000);
    let mut service = Start::on(&place.path()).up();
    service.flush_until_done();
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true);
    assert_sound(&place.path(), &report["health"]);
    let kept = counted(&place.path());
    assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>());
    assert!((100..200).contains(&kept.len()), "{}", kept.len());
    assert_eq!(place.aside(), [] as [PathBuf; 0]);
    let losses = own_rows(&place.path(), "audit_loss");
    assert_eq!(losses[0]["reason"], "unclean_stop");
}

#[test]
fn a_hot_journal_is_rolled_back() {
    let place = Place::with_rows(100);
    // A ledger in the middle of a change in SQLite's older mode, whose process died: its files are
    // copied while the change is under way.
    let busy = tempfile::tempdir().unwrap();
    let copy = busy.path().join("audit.db");
    fs::copy(place.path(), &copy).unwrap();
    let connection = Connection::open(&copy).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE;
             UPDATE audit_runs SET signs = signs + 1; CREATE TABLE x (y);
             INSERT INTO x WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             SELECT hex(randomblob(200)) FROM n;",
        )
        .unwrap();
    let hot = busy.path().join("audit.db-journal");
    assert!(length(&hot) > 512);
    let mut journal = Vec::new();
    fs::File::open(&hot)
        .unwrap()
        .read_to_end(&mut journal)
        .unwrap();
    let mut pages = Vec::new();
    fs::File::open(&copy)
        .unwrap()
        .read_to_end(&mut pages)
        .unwrap();
    fs::write(place.path(), &pages).unwrap();
    fs::write(place.directory.path().join("audit.db-journal"), &journal).unwrap();
    drop(connection);
    let service = Start::on(&place.path()).up();
    assert!(!place.directory.path().join("audit.db-journal").exists());
    drop(service);
    assert_eq!(counted(&place.path()), (0..100).collect::<Vec<_>>());
    assert_eq!(place.aside(), [] as [PathBuf; 0]);
}

#[test]
fn rows_that_wait_and_cannot_be_read_do_not_stop_delivery_for_ever() {
    let place = Place::with_rows(3_000);
    // In the middle: a start does not look there, and writing goes on.
    let middle = length(&place.path()) / 3 / 4_096 * 4_096;
    scribble(&place.path(), middle, 16 * 4_096);
    let before = fs::read(place.path()).unwrap();
    let posthog = audithog::testing::PostHogStandIn::start().unwrap();
    let mut service = Start::on(&place.path())
        .set("POSTHOG_API_KEY", "phc_test")
        .set("POSTHOG_HOST", posthog.url())
        .set("LOG_BATCH_SIZE", "10")
        .up();
    service.wait_for(|service| {
        service.flush(1_000);
        (service.said(ASIDE) == 1).then_some(())
    });
    service.log_events(50);
    service.flush_until_done();
    let arrived = posthog.events();
    let counted = arrived.iter().filter(|event| event.event == "counted");
    assert!(counted.count() >= 50);
    let aside = place.aside();
    assert_eq!(length(&aside[0]), before.len() as u64);
    let losses = own_rows(&place.path(), "audit_loss");
    assert_eq!(losses[0]["reason"], "ledger_damaged");
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&place.path(), &report["health"]);
}

// === While the service runs ===

#[test]
fn two_services_put_one_damaged_ledger_aside_once() {
    let place = Place::with_rows(3_000);
    let mut services = [Start::on(&place.path()).up(), Start::on(&place.path()).up()];
    for service in &mut services {
        service.log_events(10);
        service.flush_until_done();
    }
    cut(&place.path(), 8_192);
    for service in &mut services {
        service.send("log 100 0");
        service.send("flush 60000");
    }
    for service in &mut services {
        service.reply("log");
        assert_eq!(service.reply("flush")["health"]["check"], Value::Null);
        service.flush_until_done();
    }
    let files = place.aside().into_iter();
    let whole = files.filter(|path| {
        !path.to_string_lossy().ends_with("-wal") && !path.to_string_lossy().ends_with("-shm")
    });
    assert_eq!(whole.count(), 1);
    let said: usize = services.iter().map(|service| service.said(ASIDE)).sum();
    assert_eq!(said, 1);
    let mut stored = counted(&place.path());
    stored.sort_unstable();
    let both: Vec<u64> = (10..110).flat_map(|n| [n, n]).collect();
    assert_eq!(stored, both);
    for mut service in services {
        let report = service.shutdown(60_000);
        assert_eq!(report["closed"], true, "{report:#}");
        assert_sound(&place.path(), &report["health"]);
    }
}

#[test]
fn a_running_service_puts_a_truncated_ledger_aside_and_goes_on() {
    for left in [0, 8_192] {
        let place = Place::with_rows(3_000);
        let mut service = Start::on(&place.path()).up();
        service.log_events(10);
        service.flush_until_done();
        let head = service.health()["ledger"]["head"].as_u64().unwrap();
        cut(&place.path(), left);
        let before = fs::read(place.path()).unwrap();
        service.log_events(10);
        service.flush_until_done();
        let health = service.health();
        assert_eq!(
            health["ledger"]["lost"]["ledger_damaged"], head,
            "{health:#}"
        );
        assert_eq!(
            own_rows(&place.path(), "audit_ledger_replaced")[0]["headBefore"],
            head
        );
        // The rows that were in the writer's hand.
        assert_eq!(counted(&place.path()), (10..20).collect::<Vec<_>>());
        assert_put_aside(service, &place, &before, Some(head));
    }
}

#[test]
fn a_running_service_puts_an_overwritten_ledger_aside_and_goes_on() {
    let place = Place::with_rows(3_000);
    let mut service = Start::on(&place.path()).up();
    service.log_events(10);
    service.flush_until_done();
    let head = service.health()["ledger"]["head"].as_u64().unwrap();
    let whole = usize::try_from(length(&place.path())).unwrap();
    scribble(&place.path(), 0, whole);
    // The log is emptied too, so that nothing of the pages is left but in memory.
    cut(&place.directory.path().join("audit.db-wal"), 0);
    service.log_events(10);
    service.flush_until_done();
    assert_eq!(counted(&place.path()), (10..20).collect::<Vec<_>>());
    let before = vec![0xa5; whole];
    assert_put_aside(service, &place, &before, Some(head));
}

#[test]
fn a_running_service_that_refuses_damage_cannot_write_until_it_is_mended() {
    let place = Place::with_rows(3_000);
    let mut service = Start::on(&place.path())
        .set("AUDITHOG_DB_DAMAGED", "refuse")
        .up();
    service.log_events(10);
    service.flush_until_done();
    let copy = place.directory.path().join("copy");
    fs::copy(place.path(), &copy).unwrap();
    cut(&place.path(), 8_192);
    service.log_events(10);
    let trouble = service.wait_for_trouble();
    assert!(trouble.contains("truncated"), "{trouble}");
    assert_eq!(place.aside(), [] as [PathBuf; 0]);
    let health = service.health();
    assert_eq!(health["check"], Value::Null);
    assert!(health["queued"].as_u64() >= Some(10), "{health:#}");
    // Somebody puts the pages back.
    let pages = fs::read(&copy).unwrap();
    let mut file = OpenOptions::new().write(true).open(place.path()).unwrap();
    file.write_all(&pages).unwrap();
    service.flush_until_done();
    let report = service.shutdown(60_000);
    assert_eq!(report["closed"], true, "{report:#}");
    assert_sound(&place.path(), &report["health"]);
}
