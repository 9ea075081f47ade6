//! audithog's own rows: `audit_started`, `audit_config_changed`, `audit_heartbeat`, `audit_loss`,
//! `audit_ledger_replaced`, `audit_retention` and `audit_stopped`. They are what tells silence from a stopped log.

use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Quarantined, Removal, Totals};
use crate::books::{Episode, Losers, LossReason, Losses};
use crate::clock::Clock;
use crate::queue::Counts;
use crate::record::{Actor, Micros, Row, properties};

/// Distance between heartbeats.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(300);
/// Longer than anything runs, and short enough to be added to any time.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Losses of one reason within this time are one row.
const LOSS_EVERY: Duration = Duration::from_secs(1);

/// Makes audithog's own rows at the right time.
pub(crate) struct OwnRows {
    clock: Clock,
    next_heartbeat: Duration,
    next_loss: Duration,
    waiting: Vec<Episode>,
    /// Counted, but not yet in the persisted totals.
    untold: Losses,
    /// What retention is about to remove, and why.
    removal: Option<(Removal, &'static str)>,
    /// The ledger was replaced by another one: what the row about it says.
    replaced: Option<Value>,
    /// `audit_stopped` was made.
    stopped: bool,
}

impl OwnRows {
    pub(crate) fn new(clock: Clock) -> Self {
        let now = clock.monotonic();
        Self {
            next_heartbeat: now + HEARTBEAT_EVERY,
            next_loss: now,
            clock,
            waiting: Vec::new(),
            untold: Losses::default(),
            removal: None,
            replaced: None,
            stopped: false,
        }
    }

    /// For a process that only ships what others left: no heartbeats, and no end of a service.
    pub(crate) fn of_shipment(clock: Clock) -> Self {
        let mut own = Self::new(clock);
        own.next_heartbeat = own.clock.monotonic() + NEVER;
        own.stopped = true;
        own
    }

    /// Time until one of these rows is due without anybody asking. `room`: see [`OwnRows::make`].
    pub(crate) fn due_in(&self, room: usize) -> Duration {
        if self.replaced.is_some() || self.removal.is_some() {
            return Duration::ZERO;
        }
        let next = if self.waiting.is_empty() || room < self.waiting.len() {
            self.next_heartbeat
        } else {
            self.next_heartbeat.min(self.next_loss)
        };
        next.saturating_sub(self.clock.monotonic())
    }

    /// Takes note of losses; they become rows with [`OwnRows::make`].
    pub(crate) fn note(&mut self, losses: &mut Vec<Episode>) {
        for episode in losses.drain(..) {
            // The store counts these two itself, in the transaction that refused the rows.
            if !matches!(
                episode.reason,
                LossReason::DuplicateId | LossReason::MemoryFull
            ) {
                self.untold.add(episode.reason, episode.count);
            }
            // A process that keeps nothing in memory, and was killed.
            if episode.count == 0 {
                continue;
            }
            // The row exists: only the second copy was refused, and its caller was told.
            if episode.reason == LossReason::DuplicateId {
                continue;
            }
            match self
                .waiting
                .iter_mut()
                .find(|known| known.reason == episode.reason && !known.inexact)
            {
                Some(known) => known.merge(&episode),
                None => self.waiting.push(episode),
            }
        }
    }

    /// The row comes before the removal: nothing is gone without a row that says so.
    pub(crate) fn note_removal(&mut self, removal: Removal, reason: &'static str) {
        self.removal = Some((removal, reason));
    }

    /// Another ledger is in the place of the one with these totals. What it held is a loss of the log's, not of
    /// the queue's: those rows stay counted as stored.
    pub(crate) fn note_replaced(&mut self, gone: &Totals) {
        self.replaced = Some(json!({"headBefore": gone.head}));
        let held = u64::try_from(gone.head - gone.pruned).unwrap_or(0);
        if held > 0 {
            self.untold.add(LossReason::LedgerReplaced, held);
            self.waiting.push(Episode {
                inexact: true,
                ..Episode::new(LossReason::LedgerReplaced, held, self.clock.wall())
            });
        }
    }

    /// A damaged ledger was put aside, and another begins.
    pub(crate) fn note_damaged(&mut self, aside: &Quarantined) {
        let file = aside.file.display().to_string();
        self.replaced = Some(json!({"headBefore": aside.head, "file": file}));
        if aside.held > 0 {
            self.untold.add(LossReason::LedgerDamaged, aside.held);
            self.waiting.push(Episode {
                inexact: true,
                file: Some(file),
                ..Episode::new(LossReason::LedgerDamaged, aside.held, self.clock.wall())
            });
        }
    }

    /// A row is due that tells of losses, or of another ledger.
    pub(crate) fn has_news(&self) -> bool {
        self.replaced.is_some() || !self.waiting.is_empty()
    }

    /// Losses since the last call, for the persisted totals.
    pub(crate) fn take_untold(&mut self) -> Losses {
        std::mem::take(&mut self.untold)
    }

    /// The other way round: the commit that should have told them failed for good.
    pub(crate) fn put_back(&mut self, losses: Losses) {
        self.untold.merge(losses);
    }

    /// Appends the rows that are due. Rows that tell of losses wait until the store has `room` for
    /// them after `rows`: refused, they would be losses to tell of.
    pub(crate) fn make(
        &mut self,
        counts: &Counts,
        totals: &Totals,
        stopping: bool,
        room: usize,
        rows: &mut Vec<Row>,
    ) {
        let now = self.clock.monotonic();
        if let Some(details) = self.replaced.take() {
            rows.push(self.row("audit_ledger_replaced", details));
        }
        let due = !self.waiting.is_empty() && now >= self.next_loss;
        if stopping || (due && rows.len().saturating_add(self.waiting.len()) <= room) {
            self.next_loss = now + LOSS_EVERY;
            for episode in std::mem::take(&mut self.waiting) {
                rows.push(loss_row(&self.clock, &episode));
            }
        }
        if let Some((removal, reason)) = self.removal.take() {
            let details = json!({
                "reason": reason,
                "from": removal.after + 1,
                "upto": removal.upto,
                "count": removal.upto - removal.after,
                "deadLetters": removal.dead_letters,
            });
            rows.push(self.row("audit_retention", details));
        }
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + HEARTBEAT_EVERY;
            rows.push(self.row("audit_heartbeat", counters(counts, totals)));
        }
        if stopping && !self.stopped {
            self.stopped = true;
            rows.push(self.row("audit_stopped", counters(counts, totals)));
        }
    }

    /// One of audithog's own rows, by the system, now.
    pub(crate) fn row(&self, event: &'static str, details: Value) -> Row {
        own_row(&self.clock, event, details)
    }
}

/// The row that tells of a loss.
pub(crate) fn loss_row(clock: &Clock, episode: &Episode) -> Row {
    let mut details = json!({
        "reason": episode.reason.as_str(),
        "count": episode.count,
        "from": episode.first.to_string(),
        "until": episode.last.to_string(),
        "exact": !episode.inexact,
    });
    if let Some((clients, others)) = episode.losers.describe() {
        details["clients"] = clients;
        details["otherClients"] = others.into();
    }
    if let Some(file) = &episode.file {
        details["file"] = file.as_str().into();
    }
    own_row(clock, "audit_loss", details)
}

/// One of audithog's own rows.
pub(crate) fn own_row(clock: &Clock, event: &'static str, details: Value) -> Row {
    let mut row = Row::event(Uuid::now_v7(), clock.wall(), event.into());
    row.actor = Actor::system();
    if let Value::Object(details) = details {
        row.properties = properties::freeze(details);
    }
    row
}

fn counters(counts: &Counts, totals: &Totals) -> Value {
    let lost: Map<String, Value> = counts
        .losses
        .iter()
        .map(|(reason, n)| (reason.to_string(), n.into()))
        .collect();
    let sinks: Map<String, Value> = totals
        .sinks
        .iter()
        .map(|(name, sink)| {
            let sink = json!({
                "delivered": sink.delivered,
                "sampledOut": sink.sampled_out,
                "heldBack": sink.held_back,
                "dead": sink.dead,
                "pending": sink.pending(totals.head),
            });
            (name.clone(), sink)
        })
        .collect();
    json!({
        "requests": counts.accepted_requests,
        "accepted": counts.accepted,
        "stored": counts.stored,
        "queued": counts.queued(),
        "lost": lost,
        "head": totals.head,
        "sinks": sinks,
    })
}

/// The start of the time range of an inexact loss, as the row says it.
pub(crate) fn unclean_stop(count: u64, last_sign: Micros, found: Micros) -> Episode {
    Episode {
        reason: LossReason::UncleanStop,
        count,
        // The clock may have been set back in between.
        first: last_sign.min(found),
        last: last_sign.max(found),
        inexact: true,
        losers: Losers::default(),
        file: None,
    }
}

#[cfg(test)]
mod tests;
