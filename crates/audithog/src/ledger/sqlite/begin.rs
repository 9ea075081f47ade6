//! How a store comes to a file, and a run begins in it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::digest::Collector;
use super::error::plain;
use super::names::Names;
use super::open;
use super::reserve::Reserve;
use super::runs::{self, Process, UncleanStop};
use super::store::SqliteStore;
use super::tail::{self, Tail};
use super::unclean::{self, Teller};
use crate::clock::Clock;
use crate::config::LedgerCare;
use crate::ledger::{StoreError, StoreErrorKind, Totals};
use crate::record::Run;

/// What a run begins with.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) path: PathBuf,
    pub(super) process: Process,
    pub(super) run: Arc<Run>,
    pub(super) settings_json: String,
    pub(super) queue_capacity: u64,
    pub(super) care: LedgerCare,
}

/// What opening found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenReport {
    /// The ledger is new.
    pub(crate) created: bool,
    /// Runs that ended without saying so. Each is reported once.
    pub(crate) unclean: Vec<UncleanStop>,
    /// The settings of the service's last run, if they were others.
    pub(crate) previous_settings: Option<String>,
}

impl SqliteStore {
    /// Opens the ledger at `path`, making it (mode 0600) if there is none, and begins a run.
    ///
    /// Takes the same short time whatever the size of the file. `queue_capacity` is recorded for
    /// whoever finds that this run stopped without saying so.
    ///
    /// # Errors
    ///
    /// `Unusable` for a place that cannot be used or a file that is no ledger, `Newer` for one of a
    /// later version; neither is changed. `Busy`, `Full`, `Io`, `Corrupt` as named. A damaged file is
    /// an error, or put aside, as `care` has it.
    pub(crate) fn open_with(
        path: &Path,
        run: &Run,
        settings_json: &str,
        clock: &Clock,
        queue_capacity: u64,
        care: LedgerCare,
    ) -> Result<(Self, OpenReport), StoreError> {
        // Made absolute: the working directory may change before it is reopened.
        let path = std::path::absolute(path).map_err(|source| StoreError {
            kind: StoreErrorKind::Unusable,
            message: "the ledger's path cannot be used".to_owned(),
            source: Some(Box::new(source)),
        })?;
        let mut store = Self {
            open: None,
            reserve: Reserve::new(&open::real_path(&path), care.reserve),
            start: Start {
                path,
                process: Process::current(),
                run: Arc::new(run.clone()),
                settings_json: settings_json.to_owned(),
                queue_capacity,
                care,
            },
            clock: clock.clone(),
            names: Names::new(),
            totals: Totals::default(),
            version: None,
            configured: Vec::new(),
            run: 0,
            unsynced: false,
            last_sign: clock.monotonic(),
            signs: 0,
            poisoned: false,
            unclean: Vec::new(),
            told: 0,
            replaced: false,
            continued: false,
            unreadable: Arc::default(),
            ledger: None,
            damage: 0,
            suspect: false,
            quarantined: None,
            aside: Arc::default(),
            seats: RefCell::default(),
            log_bytes: 0,
            tail: Arc::new(Tail::new(tail::LIMITS)),
            collector: Collector::default(),
            lines: Vec::new(),
            digested: 0,
        };
        let report = store.open_first().map_err(|error| match error.kind {
            StoreErrorKind::Unusable if store.open.is_some() => StoreError {
                message: format!(
                    "the ledger {} cannot be written",
                    store.start.path.display()
                ),
                ..error
            },
            _ => error,
        })?;
        Ok((store, report))
    }

    /// Like [`open_with`](Self::open_with), without a reserve, and with damage as an error.
    pub(crate) fn open(
        path: &Path,
        run: &Run,
        settings_json: &str,
        clock: &Clock,
        queue_capacity: u64,
    ) -> Result<(Self, OpenReport), StoreError> {
        let care = LedgerCare::none();
        Self::open_with(path, run, settings_json, clock, queue_capacity, care)
    }

    /// Continues this run if the file knows it, else adds it.
    pub(super) fn begin(&mut self, created: bool) -> Result<OpenReport, StoreError> {
        let now = self.clock.wall();
        let Start {
            process,
            run,
            settings_json,
            queue_capacity,
            ..
        } = &self.start;
        let (process, run) = (process.clone(), run.clone());
        let (settings_json, queue_capacity) = (settings_json.clone(), *queue_capacity);
        let known = self.run;
        self.check_tail()?;
        let (start, clock) = (self.start.clone(), self.clock.clone());
        let (number, continued, signs, report) =
            self.transact("begin a run", false, |connection, names, totals| {
                let before = runs::last_settings(connection, &run.service)?;
                let continued = runs::is_open(connection, known, &process)?;
                let number = if continued {
                    runs::go_on(connection, known)?;
                    known
                } else {
                    runs::begin(
                        connection,
                        &process,
                        &run,
                        &settings_json,
                        queue_capacity,
                        now,
                    )?
                };
                let unclean = start
                    .teller(number, &clock)
                    .tell(connection, names, totals)?;
                let report = OpenReport {
                    created,
                    unclean,
                    previous_settings: before.filter(|before| *before != settings_json),
                };
                let signs = runs::signs(connection, number)?;
                Ok((number, continued, signs, report))
            })?;
        self.run = number;
        self.continued = continued;
        self.told += unclean::told(&report.unclean);
        self.signs = signs;
        Ok(report)
    }

    /// The last row is the one that the head names, or all rows are pruned. A row too many would be
    /// in the way of every commit.
    fn check_tail(&mut self) -> Result<(), StoreError> {
        let (last, head, pruned): (Option<i64>, i64, i64) =
            self.transact("check its tail", false, |connection, _, _| {
                connection.query_row(
                    "SELECT (SELECT max(seq) FROM audit_rows), head, pruned FROM audit_head",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
            })?;
        if last.unwrap_or(pruned) == head {
            return Ok(());
        }
        let path = self.start.path.display();
        let found = last.map_or_else(
            || "there is none".to_owned(),
            |last| format!("it is {last}"),
        );
        Err(plain(
            StoreErrorKind::Corrupt,
            format!("the ledger {path} is damaged: its last row should be {head}, and {found}"),
        ))
    }
}

impl Start {
    pub(super) fn teller<'a>(&'a self, run: i64, clock: &'a Clock) -> Teller<'a> {
        Teller {
            process: &self.process,
            instance: self.run.instance.as_deref(),
            run,
            clock,
        }
    }
}
