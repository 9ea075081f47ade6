//! Puts one look at the books together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::health::{GuaranteeHealth, Health, LedgerHealth, SinkHealth};
use super::intake::Intake;
use super::{Logger, lock};
use crate::books::{LossReason, Losses};
use crate::delivery::{Delivery, LeaseState, SinkStatus};
use crate::ledger::SinkTotals;
use crate::record::Micros;

impl Logger {
    /// The books now: cheap enough for a probe every second, too dear for every request.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.intake.health()
    }
}

impl Intake {
    pub(super) fn health(&self) -> Health {
        let status = lock(&self.delivery).as_ref().map(Delivery::status);
        self.books(status.unwrap_or_default())
    }

    fn guarantee(&self, refused: u64) -> GuaranteeHealth {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answers = &self.answers;
        GuaranteeHealth {
            waiting: count(&answers.waiting),
            late: count(&answers.late),
            refused,
            withheld: count(&answers.withheld),
            aborted: count(&answers.aborted),
            abandoned: count(&answers.abandoned),
        }
    }

    /// The books with what delivery says of its sinks.
    pub(super) fn books(&self, sinks: Vec<(&'static str, SinkStatus)>) -> Health {
        let board = &self.board;
        let totals = board.totals();
        let now = self.clock.wall();
        let statuses: BTreeMap<&str, SinkStatus> = sinks.into_iter().collect();
        let sinks = totals
            .sinks
            .iter()
            .map(|(name, sink)| {
                let mut health = sink_health(sink, totals.head, statuses.get(name.as_str()), now);
                health.configured = self.sinks.iter().any(|sink| sink == name);
                (name.clone(), health)
            })
            .collect();
        let standing = board.standing();
        let ledger = LedgerHealth {
            path: self.path.clone(),
            head: count(totals.head),
            head_at_start: count(board.head_at_start()),
            synced: count(board.progress().synced),
            pruned: count(totals.pruned),
            requests: totals.requests,
            lost: by_reason(&totals.losses),
            trouble: board.obstacle(),
            log_bytes: standing.log_bytes,
            damaged: standing.damaged.to_vec(),
        };
        // The queue's counts come after the ledger's, so that rows on their way are seen twice by
        // no one: both sides of each equation come from one critical section.
        let counts = self.queue.counts();
        let excluded = board.requests_excluded();
        let seen = board
            .requests_seen()
            .max(counts.accepted_requests + excluded);
        Health {
            requests_seen: seen,
            requests_in_progress: seen - counts.accepted_requests - excluded,
            requests_accepted: counts.accepted_requests,
            requests_excluded: excluded,
            accepted: counts.accepted,
            stored: counts.stored,
            queued: counts.queued(),
            lost: by_reason(&counts.losses),
            guarantee: self.guarantee(counts.losses.get(LossReason::Refused)),
            ledger,
            sinks,
        }
    }
}

fn sink_health(
    sink: &SinkTotals,
    head: i64,
    status: Option<&SinkStatus>,
    now: Micros,
) -> SinkHealth {
    let hold = status.and_then(|status| status.hold.as_ref());
    SinkHealth {
        configured: true,
        began: count(sink.began),
        cursor: count(sink.cursor),
        delivered: sink.delivered,
        sampled_out: sink.sampled_out,
        held_back: sink.held_back,
        dead: sink.dead,
        pending: sink.pending(head),
        stragglers: sink.stragglers,
        oldest_pending: status
            .and_then(|status| status.oldest_pending)
            .map(|oldest| now.since(oldest)),
        hold: hold.map(|hold| hold.reason.as_str().to_owned()),
        remedy: hold.map(|hold| hold.reason.remedy().to_owned()),
        breaker: status
            .map_or("closed", |status| status.breaker.as_str())
            .to_owned(),
        lease_elsewhere: status.is_some_and(|status| status.lease == LeaseState::Elsewhere),
        verified: sink.verified,
        last_success: status
            .and_then(|status| status.last_success)
            .map(|at| now.since(at)),
    }
}

fn by_reason(losses: &Losses) -> BTreeMap<String, u64> {
    losses
        .iter()
        .map(|(reason, n)| (reason.to_string(), n))
        .collect()
}

/// Sequence numbers are never negative.
fn count(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}
