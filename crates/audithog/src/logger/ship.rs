//! Ledgers whose processes are gone: found, looked at, and shipped by somebody else.
//!
//! The volume of a pod that does not come back, the disk of a machine that was replaced: what waits in such a
//! ledger is shipped by [`Builder::ship`], with the settings for PostHog that the builder has.

mod find;
mod look;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

pub use find::{Found, find};
pub use look::{Waiting, look};

use super::report::Blocked;
use super::shutdown::deadline;
use super::start::{Opened, launch};
use super::{Logger, SinkHealth};
use crate::capture::RowSink as _;
use crate::clock::Clock;
use crate::config::{Builder, Database, Resolved};
use crate::error::{Error, Kind};
use crate::ledger::own_rows::{OwnRows, own_row};
use crate::ledger::{OpenRun, SinkTotals, SqliteStore, StoreError, StoreErrorKind, Whereabouts};
use crate::ledger::{check, lacks_access, place};

/// The one destination there is.
const SINK: &str = "posthog";
/// One look at how far it is; a flush that comes to nothing returns earlier.
const STEP: Duration = Duration::from_secs(5);
/// Rest between two tries that came to nothing. A flush hastens the next try of what failed, so not too often.
const REST: Duration = Duration::from_secs(1);
/// For the shipment's own row and the close.
const CLOSE: Duration = Duration::from_secs(30);

/// What [`Builder::ship`] did with one ledger.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[must_use = "rows may still be pending; `blocked` says why"]
pub struct ShipReport {
    /// The ledger.
    pub path: PathBuf,
    /// Rows that PostHog took this time, audithog's own rows about the shipment included.
    pub delivered: u64,
    /// Rows that a sampling rule left out this time.
    pub sampled_out: u64,
    /// Rows older than `AUDITHOG_POSTHOG_BACKFILL`, in a ledger that never had a key before. They stay in the file.
    pub held_back: u64,
    /// Rows that PostHog refused for good this time. They stay in the file, with the reason.
    pub dead: u64,
    /// Rows that still wait.
    pub pending: u64,
    /// Runs that had ended without saying so, and now have their `audit_loss` row.
    pub unclean_stops: u64,
    /// Why rows still wait; absent when none does.
    pub blocked: Option<Blocked>,
    /// The ledger was closed in good order; false also when there was nothing to do and it was not opened for writing.
    pub closed: bool,
    /// How long it took.
    #[serde(skip)]
    pub took: Duration,
}

impl Builder {
    /// Ships what waits in the ledger at `path`, whose process is gone, with this builder's settings for PostHog.
    /// Blocks; returns once nothing waits any more, or when waiting on is in vain: at once at a hold, else after
    /// `patience` without progress.
    ///
    /// Every row keeps the service, environment, version and instance of the run that wrote it. Runs that ended
    /// without saying so get their `audit_loss` row, as at any start. A shipment that settled something appends one
    /// row, `audit_shipped`, and ships that too. Retention removes nothing. In a ledger that never had a key
    /// `AUDITHOG_POSTHOG_BACKFILL` applies; pin it to ship everything. `AUDITHOG_DB` is ignored.
    ///
    /// Killed at any moment it can be run again: rows whose outcome is not known are sent again with the same uuid,
    /// and PostHog de-duplicates.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] for wrong settings, and without a key; [`Error::is_in_use`] while a process of this
    /// host has the ledger open, or one elsewhere may have it (after `patience`); [`Error::is_ledger`] when there
    /// is no ledger at `path` or it cannot be used: shipping writes the cursor into it, so a read-only volume must
    /// be copied first.
    pub fn ship(self, path: impl AsRef<Path>, patience: Duration) -> Result<ShipReport, Error> {
        let started = Instant::now();
        let (path, clock) = (path.as_ref(), Clock::system());
        let resolved = self.resolve()?.for_shipping(path)?;
        let waiting = wait_until_free(path, patience, &clock)?;
        if waiting.pending == 0 && waiting.unclean_stops == 0 {
            return Ok(ShipReport::nothing(path, started));
        }
        let logger = open(&resolved, path, &waiting, &clock)?;
        let blocked = logger.ship_all(patience);
        Ok(logger.end_shipment(&waiting, blocked, started))
    }
}

impl Resolved {
    fn for_shipping(mut self, path: &Path) -> Result<Self, Error> {
        if self.settings.posthog.is_none() {
            return Err(Error::new(
                Kind::Config,
                "POSTHOG_API_KEY is not set: nothing can be shipped without it",
            ));
        }
        self.settings.database = Database::File(path.to_owned());
        // What is removed, and when, is the service's business.
        self.settings.retention = None;
        self.settings.max_bytes = None;
        Ok(self)
    }
}

/// Waits while a process elsewhere may have the ledger.
fn wait_until_free(path: &Path, patience: Duration, clock: &Clock) -> Result<Waiting, Error> {
    let until = deadline(patience);
    loop {
        let waiting = look::at(path, clock.wall())?;
        let Some(run) = waiting.in_the_way() else {
            return Ok(waiting);
        };
        let left = until.saturating_duration_since(Instant::now());
        if run.at == Whereabouts::Here || left.is_zero() {
            return Err(Error::new(Kind::InUse, in_use(run, path, clock)));
        }
        // Nothing signals that another host's process is gone: its last sign grows old.
        std::thread::park_timeout(REST.min(left));
    }
}

fn in_use(run: &OpenRun, path: &Path, clock: &Clock) -> String {
    let (path, service, pid) = (path.display(), &run.run.service, run.pid);
    match run.at {
        Whereabouts::Here => format!(
            "the ledger {path} is in use: {service} runs here as process {pid} and ships it itself, given a key"
        ),
        _ => format!(
            "the ledger {path} may be in use in another container or on another host: {service} as process {pid}{}, \
             last sign of life {} s ago; if it is gone, try again a minute after that",
            run.run
                .instance
                .as_ref()
                .map(|instance| format!(" of {instance}"))
                .unwrap_or_default(),
            clock.wall().since(run.alive).as_secs()
        ),
    }
}

fn open(
    resolved: &Resolved,
    path: &Path,
    waiting: &Waiting,
    clock: &Clock,
) -> Result<Logger, Error> {
    place::refuse_network(path).map_err(with_copy)?;
    // Not the queue's bound: this process has no requests. If it dies before the losses of the runs it has found are
    // told, whoever finds its own end tells at least as much.
    let (store, report) = SqliteStore::open(
        path,
        &resolved.settings.run,
        &serde_json::json!({"shipping": env!("CARGO_PKG_VERSION")}).to_string(),
        clock,
        waiting.bound,
    )
    .map_err(unusable)?;
    let opened = Opened {
        store: Box::new(store),
        report,
        path: Some(path.to_owned()),
    };
    let own = OwnRows::of_shipment(clock.clone());
    launch(resolved, clock, opened, own, Vec::new())
}

/// With the way out where the file must not be written.
fn unusable(error: StoreError) -> Error {
    if lacks_access(&error) {
        return with_copy(error);
    }
    error.into()
}

fn with_copy(mut error: StoreError) -> Error {
    error.message += "; shipping writes into the ledger: if its volume is read-only or the file another user's, copy it \
                      with its -wal file to where you can write, and ship the copy (PostHog de-duplicates what was \
                      shipped before)";
    error.into()
}

impl Logger {
    fn destination(&self) -> SinkHealth {
        let sinks = self.health().sinks;
        sinks.get(SINK).cloned().unwrap_or_default()
    }

    /// Ships until nothing waits, something blocks that waiting cannot cure, or nothing moved for `patience`.
    fn ship_all(&self, patience: Duration) -> Option<Blocked> {
        let mut moved = (Instant::now(), self.destination().settled());
        let mut checked = false;
        loop {
            let blocked = self.flush_until(deadline(STEP)).blocked?;
            let settled = self.destination().settled();
            if settled != moved.1 {
                moved = (Instant::now(), settled);
                continue;
            }
            let unreadable = matches!(blocked, Blocked::LedgerNotWriting(_));
            if unreadable
                && !std::mem::replace(&mut checked, true)
                && let Some(damage) = self.damage()
            {
                return Some(damage);
            }
            let given_up = moved.0.elapsed() >= patience;
            if given_up || matches!(blocked, Blocked::Hold(_) | Blocked::Stopped) {
                return Some(blocked);
            }
            // What ends an outage, or a lease, signals nobody.
            std::thread::park_timeout(REST);
        }
    }

    /// What is wrong with the file, if anything is.
    fn damage(&self) -> Option<Blocked> {
        let path = self.ledger_path()?;
        let head = self.0.intake.board.totals().head;
        let found = check::run(path, head, || true).err()?;
        (found.kind == StoreErrorKind::Corrupt).then(|| {
            Blocked::LedgerNotWriting(format!(
                "{found}; keep the file: what can still be read of it is there for SQL"
            ))
        })
    }

    fn end_shipment(
        &self,
        waiting: &Waiting,
        blocked: Option<Blocked>,
        started: Instant,
    ) -> ShipReport {
        let (path, unclean_stops) = (&waiting.path, waiting.unclean_stops);
        let before: &SinkTotals = &waiting.before;
        let after = self.destination();
        let intake = &self.0.intake;
        let settled = before.delivered + before.sampled_out + before.held_back + before.dead;
        if after.settled() > settled {
            let details = serde_json::json!({
                "version": env!("CARGO_PKG_VERSION"),
                "pid": std::process::id(),
                "path": path.display().to_string(),
                "delivered": after.delivered - before.delivered,
                "sampledOut": after.sampled_out - before.sampled_out,
                "heldBack": after.held_back - before.held_back,
                "dead": after.dead - before.dead,
                "pending": after.pending,
                "uncleanStops": unclean_stops,
            });
            intake.accept(own_row(&intake.clock, "audit_shipped", details), None);
        }
        let ended = self.shutdown_until(deadline(CLOSE));
        let after = ended.health.sinks.get(SINK).cloned().unwrap_or_default();
        ShipReport {
            path: path.clone(),
            delivered: after.delivered - before.delivered,
            sampled_out: after.sampled_out - before.sampled_out,
            held_back: after.held_back - before.held_back,
            dead: after.dead - before.dead,
            pending: after.pending,
            unclean_stops,
            blocked: blocked.filter(|_| after.pending > 0).or(ended.blocked),
            closed: ended.closed,
            took: started.elapsed(),
        }
    }
}

impl SinkHealth {
    fn settled(&self) -> u64 {
        self.delivered + self.sampled_out + self.held_back + self.dead
    }
}

impl ShipReport {
    fn nothing(path: &Path, started: Instant) -> Self {
        Self {
            path: path.to_owned(),
            delivered: 0,
            sampled_out: 0,
            held_back: 0,
            dead: 0,
            pending: 0,
            unclean_stops: 0,
            blocked: None,
            closed: false,
            took: started.elapsed(),
        }
    }

    /// Nothing waits, and nothing was refused: PostHog has everything it was to get of this ledger.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pending == 0 && self.dead == 0 && self.blocked.is_none()
    }
}
