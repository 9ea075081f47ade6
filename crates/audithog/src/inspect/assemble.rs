//! From what the file says to what a status says.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::equations;
use super::status::{
    Access, Books, FileStatus, Hold, Loss, RowsStatus, RunState, RunStatus, SinkStatus, Status,
    Trouble,
};
use crate::books::LossReason;
use crate::ledger::{self, Facts, Looker, LossFact, RunFact, RunLife, SinkFact, SinkTotals};
use crate::record::Micros;

/// A process that cannot be seen from here and has said nothing for this long is taken for dead,
/// as the ledger's next start would.
const PRESUMED_DEAD: Duration = Duration::from_secs(60);

pub(super) fn status(file: &Looker, facts: Facts) -> Status {
    let now = Micros::now();
    let space = ledger::space(file.path());
    let latest = facts.latest();
    let settings: Value = latest
        .and_then(|run| serde_json::from_str(&run.settings_json).ok())
        .unwrap_or_default();
    let rows = rows(&facts, now);
    let sinks: Vec<SinkStatus> = facts
        .sinks
        .iter()
        .filter_map(|fact| {
            let totals = facts.totals.sinks.get(&fact.name)?;
            let mut sink = sink(fact, totals, facts.totals.head, now);
            sink.configured = settings.get(&fact.name).is_some_and(|own| !own.is_null());
            Some(sink)
        })
        .collect();
    let service = latest.map(|run| run.service.clone());
    let environment = latest.and_then(|run| run.environment.clone());
    let runs: Vec<RunStatus> = facts.runs.into_iter().map(|fact| run(fact, now)).collect();
    let equations = runs
        .iter()
        .filter_map(|run| Some(equations::of_run(run.run, run.books.as_ref()?)))
        .flatten()
        .chain(sinks.iter().map(|sink| equations::of_sink(&rows, sink)))
        .collect();
    Status {
        format: 1,
        at: now.to_string(),
        file: FileStatus {
            path: file.path().to_owned(),
            schema: u32::try_from(file.version()).unwrap_or(0),
            access: match file.access() {
                ledger::Access::Shared => Access::Shared,
                ledger::Access::Alone => Access::Alone,
                ledger::Access::Still => Access::Still,
            },
            bytes: facts.bytes,
            log_bytes: facts.log_bytes,
            disk_free_bytes: space.map(|(free, _)| free),
            disk_bytes: space.map(|(_, all)| all),
            reserve_in_use: ledger::reserve_in_use(file.path()),
            damaged: ledger::put_aside_before(file.path()),
        },
        service,
        environment,
        runs,
        rows,
        losses: facts
            .losses
            .into_iter()
            .map(|fact| loss(fact, now))
            .collect(),
        sinks,
        equations,
    }
}

fn rows(facts: &Facts, now: Micros) -> RowsStatus {
    let totals = &facts.totals;
    RowsStatus {
        head: count(totals.head),
        pruned: count(totals.pruned),
        kept: count(totals.head - totals.pruned),
        first: facts.first.map(|at| at.to_string()),
        last: facts.last.map(|at| at.to_string()),
        last_age_seconds: facts.last.map(|at| age(at, now)),
        requests: totals.requests,
    }
}

fn loss(fact: LossFact, now: Micros) -> Loss {
    let upper_bound = matches!(
        LossReason::parse(&fact.reason),
        Some(LossReason::UncleanStop | LossReason::LedgerReplaced | LossReason::LedgerDamaged)
    );
    Loss {
        reason: fact.reason,
        rows: fact.rows,
        upper_bound,
        last: fact.last.map(|at| at.to_string()),
        last_age_seconds: fact.last.map(|at| age(at, now)),
    }
}

fn run(fact: RunFact, now: Micros) -> RunStatus {
    let lately = now.since(fact.sign) <= PRESUMED_DEAD;
    RunStatus {
        run: fact.run,
        service: fact.service,
        environment: fact.environment,
        version: fact.version,
        instance: fact.instance,
        pid: fact.pid,
        state: match fact.life {
            RunLife::Alive => RunState::Alive,
            RunLife::Unknown if lately => RunState::Remote,
            RunLife::Unknown | RunLife::Gone => RunState::Dead,
            RunLife::Ended => RunState::Ended,
            RunLife::Killed => RunState::Killed,
        },
        started: fact.started.to_string(),
        sign: fact.sign.to_string(),
        sign_age_seconds: age(fact.sign, now),
        ended: fact.ended.map(|at| at.to_string()),
        queue_capacity: fact.queue_capacity,
        books: fact.books.and_then(|(at, json)| books(at, &json)),
        trouble: fact.trouble.map(|(until, text)| Trouble {
            text,
            until: until.to_string(),
            age_seconds: age(until, now),
        }),
    }
}

fn books(at: Micros, json: &str) -> Option<Books> {
    let mut counts: BTreeMap<String, Value> = serde_json::from_str(json).ok()?;
    let lost = counts.remove("lost").unwrap_or_default();
    let mut count = |name: &str| {
        let count = counts.remove(name);
        count.as_ref().and_then(Value::as_u64).unwrap_or(0)
    };
    Some(Books {
        at: at.to_string(),
        requests_seen: count("requestsSeen"),
        requests_in_progress: count("requestsInProgress"),
        requests_accepted: count("requestsAccepted"),
        requests_excluded: count("requestsExcluded"),
        accepted: count("accepted"),
        stored: count("stored"),
        queued: count("queued"),
        waiting: count("waiting"),
        late: count("late"),
        withheld: count("withheld"),
        aborted: count("aborted"),
        abandoned: count("abandoned"),
        lost: serde_json::from_value(lost).unwrap_or_default(),
        others: counts,
    })
}

fn sink(fact: &SinkFact, totals: &SinkTotals, head: i64, now: Micros) -> SinkStatus {
    let pending = totals.pending(head);
    SinkStatus {
        name: fact.name.clone(),
        configured: false,
        driven: fact.leased_until.is_some_and(|until| until > now),
        began: count(totals.began),
        cursor: count(totals.cursor),
        pending,
        stragglers: totals.stragglers,
        oldest_pending_seconds: fact
            .oldest
            .filter(|_| pending > 0)
            .map(|oldest| age(oldest, now)),
        delivered: totals.delivered,
        sampled_out: totals.sampled_out,
        held_back: totals.held_back,
        dead: totals.dead,
        dismissed: fact.dismissed,
        hold: fact.hold.as_ref().map(|reason| Hold {
            reason: reason.clone(),
            since: fact.hold_since.map(|at| at.to_string()),
            detail: fact.hold_detail.clone().unwrap_or_default(),
            remedy: fact.hold_remedy.clone().unwrap_or_default(),
        }),
        breaker: fact.breaker.clone(),
        breaker_since: fact.breaker_since.map(|at| at.to_string()),
        last_success: fact.last_success.map(|at| at.to_string()),
        last_success_age_seconds: fact.last_success.map(|at| age(at, now)),
        last_error: fact.last_error.clone(),
        last_error_at: fact.last_error_at.map(|at| at.to_string()),
        verified: fact.verified.is_some(),
        rows_verified: fact.rows_verified,
        as_of: fact.as_of.map(|at| at.to_string()),
    }
}

fn age(at: Micros, now: Micros) -> f64 {
    now.since(at).as_secs_f64()
}

/// Sequence numbers are never negative.
fn count(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}
