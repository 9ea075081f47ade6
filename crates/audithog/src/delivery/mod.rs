//! Delivery: what to send when, what to try again, what to give up.
//!
//! Decisions are pure and know no time of their own: `triggers` (when rows are sent), `breaker` and
//! `backoff` (whether and how soon), `line` (the window between cursor and head), `stragglers` (rows
//! beside the line), `course` (all of them together, one per sink). `drive` does what the course
//! says; `worker` is the one thread on which every sink is driven.
//!
//! What always holds, at every settlement that is handed over:
//!
//! * every row up to the cursor is delivered, sampled out, held back, dead or a straggler, once;
//! * `head - began = delivered + sampled_out + held_back + dead + pending`;
//! * only rows that are fsynced are sent;
//! * a row keeps its bytes, and is sent again only after an unknown outcome or a `retry`, or where the process ended before what became of
//!   it and of all before it was settled.

mod backoff;
mod breaker;
mod course;
mod drive;
mod flush;
mod id_hash;
mod lease;
mod line;
mod request;
mod status;
mod stragglers;
mod triggers;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

pub(crate) use flush::{FlushBlock, SinkFlush};
pub(crate) use status::{LeaseState, SinkStatus};
pub(crate) use worker::Delivery;

use crate::config::{RetrySettings, Settings};
use crate::ledger::progress::{Progress, Ticket};
use crate::ledger::{Reader, Settlement, SinkState, SinkTotals, StoreError};
use crate::record::Micros;
use crate::sink::Sink;

/// What delivery needs from the ledger's writer. No call blocks.
///
/// Settlements and lease requests of one sink are worked off in the order in which they were made:
/// the answer to a lease request comes after the settlements handed over before it are committed.
pub(crate) trait Ledger: Send + Sync + 'static {
    /// How far the writer is; changes with each commit, sync and settlement.
    fn progress(&self) -> watch::Receiver<Progress>;

    /// Asks for an fsync of what is committed; `Progress::synced` follows.
    fn request_sync(&self);

    /// Hands over a settlement: it is committed with the next group. `Progress::settled` reaches the
    /// returned ticket once it is. A settlement that cannot be committed now is kept and tried
    /// again.
    fn settle(&self, settlement: Settlement) -> Ticket;

    /// Says what the sink is like, for other processes to see. Written as soon as the ledger can be;
    /// of two states only the later one matters.
    fn report(&self, state: SinkState);

    /// Takes, renews or (`until` now or earlier) releases the right to drive `sink`. Answers with the
    /// sink's committed totals when it is the holder's, with `None` while somebody else has it. A
    /// dropped answer means that the ledger could not say.
    fn lease(
        &self,
        sink: &'static str,
        holder: &str,
        until: Micros,
    ) -> oneshot::Receiver<Option<SinkTotals>>;

    /// A reader for the delivery thread. Called once per sink, at the start.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// A sink to drive.
pub(crate) struct Plan {
    pub(crate) sink: Arc<dyn Sink>,
    /// The ledger meets this sink for the first time: of what it held before, only rows this young
    /// are sent. None for a sink that is known, whatever it has sent so far.
    pub(crate) backfill: Option<Duration>,
}

/// When to send and how to try again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    pub(crate) batch_size: usize,
    pub(crate) batch_interval: Duration,
    pub(crate) retry: RetrySettings,
}

impl From<&Settings> for Tuning {
    fn from(settings: &Settings) -> Self {
        Self {
            batch_size: settings.batch_size,
            batch_interval: settings.batch_interval,
            retry: settings.retry,
        }
    }
}
