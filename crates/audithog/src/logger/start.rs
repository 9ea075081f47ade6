//! From settings to a running logger.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;

use super::intake::Intake;
use super::link::Link;
use super::shutdown::Ending;
use super::{Logger, Shared, lock};
use crate::capture::{CaptureSettings, Recorder, RowSink as _};
use crate::clock::Clock;
#[cfg(any(test, feature = "testing", feature = "__bench"))]
use crate::config::QueueSettings;
use crate::config::{Builder, Database, QueueFull, Resolved, Settings};
use crate::delivery::{Delivery, Plan, Tuning};
use crate::error::{Error, Kind};
use crate::ledger::own_rows::{OwnRows, own_row};
use crate::ledger::progress::Board;
use crate::ledger::writer::{Writer, WriterParts};
use crate::ledger::{MemoryStore, OpenReport, SqliteStore, Store, StoreErrorKind, place};
use crate::queue::Queue;
use crate::record::Row;

impl Builder {
    /// Opens the ledger and starts the threads `audithog-writer` and, with a sink, `audithog-delivery`.
    ///
    /// Says where the ledger is and where rows are shipped to in one info line each.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] with every wrong setting, one a line; [`Error::is_ledger`] when the file
    /// cannot be used. Nothing runs then.
    pub fn start(self) -> Result<Logger, Error> {
        start(&self.resolve()?, &Clock::system())
    }

    /// Like [`start`](Self::start), on a clock that a test moves.
    #[cfg(feature = "testing")]
    pub fn start_with_clock(self, clock: &crate::testing::ManualClock) -> Result<Logger, Error> {
        start(&self.resolve()?, &clock.0)
    }

    /// A logger without a ledger, threads or sinks: its rows are for a test to look at.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn detached(self) -> Result<(Logger, Arc<Queue>), Error> {
        self.in_front_of(Queue::detached)
    }

    /// A logger in front of a queue that nothing of it empties.
    #[cfg(any(test, feature = "testing", feature = "__bench"))]
    pub(crate) fn in_front_of(
        self,
        queue: fn(QueueSettings) -> Queue,
    ) -> Result<(Logger, Arc<Queue>), Error> {
        let resolved = self.resolve()?;
        let queue = Arc::new(queue(resolved.settings.queue));
        let intake = Intake {
            queue: Arc::clone(&queue),
            board: Arc::new(Board::new(crate::ledger::Totals::default())),
            clock: Clock::system(),
            path: None,
            sinks: Vec::new(),
            close_within: std::time::Duration::ZERO,
            queue_full: resolved.settings.queue.full,
            answers: Arc::default(),
            delivery: Mutex::default(),
            meter: Mutex::default(),
            ending: Ending::default(),
            told_of_own_name: AtomicBool::default(),
        };
        Ok((logger(intake, resolved.capture, &resolved.settings), queue))
    }
}

fn start(resolved: &Resolved, clock: &Clock) -> Result<Logger, Error> {
    let opened = open(resolved, clock)?;
    let head_before = opened.store.totals().head;
    let own = OwnRows::new(clock.clone());
    let first_rows = first_rows(resolved, &opened.report, clock);
    let logger = launch(resolved, clock, opened, own, first_rows)?;
    logger.start_meter()?;
    logger.start_check(head_before);
    Ok(logger)
}

/// Starts the threads behind an open store.
pub(super) fn launch(
    resolved: &Resolved,
    clock: &Clock,
    opened: Opened,
    mut own: OwnRows,
    first_rows: Vec<Row>,
) -> Result<Logger, Error> {
    let settings = resolved.settings.clone();
    let path = opened.path.clone();
    let queue = Arc::new(Queue::new(settings.queue));
    let mut store = opened.store;
    let mut plans = plans(&settings, clock)?;
    for plan in &mut plans {
        if store.totals().sinks.contains_key(plan.sink.name()) {
            plan.backfill = None;
        }
        store.register_sink(plan.sink.name()).map_err(Error::from)?;
    }
    // Before the first commit the books show what earlier runs left.
    let board = Arc::new(Board::new(store.totals().clone()));
    board.stands(store.standing());
    let readers = plans
        .iter()
        .map(|_| store.follower())
        .collect::<Result<_, _>>()
        .map_err(Error::from)?;
    let link: Arc<dyn crate::delivery::Ledger> = Arc::new(Link::new(&queue, &board, readers));

    if let Some(aside) = store.take_quarantined() {
        own.note_damaged(&aside);
    }
    let writer = Writer::new(WriterParts {
        queue: Arc::clone(&queue),
        store,
        board: Arc::clone(&board),
        clock: clock.clone(),
        own,
        retention: settings.retention,
        max_bytes: settings.max_bytes,
    });
    thread::Builder::new()
        .name("audithog-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| {
            Error::new(Kind::Thread, "cannot start the writer thread").with_source(error)
        })?;

    let intake = Intake {
        queue,
        board,
        clock: clock.clone(),
        path,
        sinks: plans.iter().map(|plan| plan.sink.name()).collect(),
        close_within: settings.shutdown_timeout,
        queue_full: settings.queue.full,
        answers: Arc::default(),
        delivery: Mutex::default(),
        meter: Mutex::default(),
        ending: Ending::default(),
        told_of_own_name: AtomicBool::default(),
    };
    for row in first_rows {
        intake.accept(row, None);
    }
    // From here on an early return drops the intake, which ends the writer.
    let delivery = Delivery::start(&link, plans, Tuning::from(&settings), clock)?;
    *lock(&intake.delivery) = Some(delivery);
    let logger = logger(intake, resolved.capture.clone(), &settings);
    let waits = resolved.capture.guarantees.strongest().waits();
    if waits || settings.queue.full == QueueFull::Wait {
        logger.0.recorder.keep_time().map_err(|error| {
            Error::new(Kind::Thread, "cannot start the thread of time limits").with_source(error)
        })?;
    }
    Ok(logger)
}

fn logger(intake: Intake, capture: CaptureSettings, settings: &Settings) -> Logger {
    let answers = Arc::clone(&intake.answers);
    intake.board.count_more(Box::new(move || answers.counts()));
    let intake = Arc::new(intake);
    let recorder = Recorder::new(capture, Arc::clone(&intake) as _);
    Logger(Arc::new(Shared {
        intake,
        recorder,
        shutdown_timeout: settings.shutdown_timeout,
    }))
}

impl Logger {
    /// Checks what earlier runs left, in the background. Rows are kept and delivered whatever it finds.
    fn start_check(&self, head: i64) {
        let Some(path) = self.0.intake.path.clone().filter(|_| head > 0) else {
            return;
        };
        let intake = Arc::downgrade(&self.0.intake);
        let check = move || {
            let wanted = || intake.upgrade().is_some_and(|intake| intake.is_running());
            match crate::ledger::check::run(&path, head, wanted) {
                Ok(_) => {}
                Err(error) if error.kind == StoreErrorKind::Corrupt => {
                    tracing::error!(%error, path = %path.display(), "the audit ledger is damaged");
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "the audit ledger could not be checked to its end");
                }
            }
        };
        if let Err(error) = thread::Builder::new()
            .name("audithog-check".to_owned())
            .spawn(check)
        {
            tracing::warn!(%error, "the audit ledger is not checked: no thread could be started");
        }
    }
}

/// An open store.
pub(super) struct Opened {
    pub(super) store: Box<dyn Store>,
    pub(super) report: OpenReport,
    pub(super) path: Option<std::path::PathBuf>,
}

fn open(resolved: &Resolved, clock: &Clock) -> Result<Opened, Error> {
    let run = resolved.settings.run.clone();
    match resolved.settings.database.clone() {
        Database::Off { max_rows } => {
            tracing::info!(
                max_rows,
                "audit rows are kept in memory only (AUDITHOG_DB=off)"
            );
            Ok(Opened {
                store: Box::new(MemoryStore::new(max_rows, &run)),
                report: OpenReport::default(),
                path: None,
            })
        }
        Database::File(path) => {
            place::check(&path).map_err(Error::from)?;
            let settings = resolved.public().to_string();
            let care = resolved.settings.care;
            let capacity = u64::try_from(resolved.settings.queue.max_rows).unwrap_or(u64::MAX);
            let (store, report) =
                SqliteStore::open_with(&path, &run, &settings, clock, capacity, care)
                    .map_err(Error::from)?;
            tracing::info!(path = %path.display(), rows = store.totals().head, "audit ledger open");
            Ok(Opened {
                store: Box::new(store),
                report,
                path: Some(path),
            })
        }
    }
}

/// `audit_started`, and `audit_config_changed` when the settings differ from the last run's.
fn first_rows(resolved: &Resolved, report: &OpenReport, clock: &Clock) -> Vec<Row> {
    let now = resolved.public();
    let mut details = now.clone();
    if let Some(details) = details.as_object_mut() {
        // Without a listener wrapper only the upgrade task can tell of a close.
        details.insert("connectionClosesSeen".to_owned(), false.into());
    }
    let mut rows = vec![own_row(clock, "audit_started", details)];
    let before = report
        .previous_settings
        .as_deref()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    if let Some(before) = before {
        let changed: Vec<&String> = now
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| before.get(name.as_str()) != Some(value))
            .map(|(name, _)| name)
            .collect();
        if !changed.is_empty() {
            let was: serde_json::Map<String, serde_json::Value> = changed
                .iter()
                .map(|name| {
                    (
                        (*name).clone(),
                        before.get(name.as_str()).cloned().unwrap_or_default(),
                    )
                })
                .collect();
            let is: serde_json::Map<String, serde_json::Value> = changed
                .iter()
                .map(|name| ((*name).clone(), now[name.as_str()].clone()))
                .collect();
            rows.push(own_row(
                clock,
                "audit_config_changed",
                serde_json::json!({"from": was, "to": is}),
            ));
        }
    }
    rows
}

#[cfg(feature = "posthog")]
fn plans(settings: &Settings, clock: &Clock) -> Result<Vec<Plan>, Error> {
    let Some(posthog) = &settings.posthog else {
        tracing::info!(
            "no POSTHOG_API_KEY: audit rows are kept in the ledger, nothing leaves the process"
        );
        return Ok(Vec::new());
    };
    let sink = crate::sink::posthog::PosthogSink::new(posthog, clock.clone())?;
    let endpoint = sink.endpoint();
    tracing::info!(
        region = endpoint.region(),
        host = endpoint.host(),
        "audit rows are shipped to PostHog; unverified until a row has been read back"
    );
    if let Some(hint) = crate::sink::posthog::endpoint::key_hint(posthog.key.expose()) {
        tracing::warn!("POSTHOG_API_KEY {hint}");
    }
    Ok(vec![Plan {
        sink: Arc::new(sink),
        backfill: Some(posthog.backfill),
    }])
}

#[cfg(not(feature = "posthog"))]
fn plans(_settings: &Settings, _clock: &Clock) -> Result<Vec<Plan>, Error> {
    Ok(Vec::new())
}
