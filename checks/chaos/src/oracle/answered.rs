//! What the clients saw answered, against the ledger.

use std::collections::HashMap;

use super::ledger::{Row, Run};
use super::losses::{self, Loss};
use super::{Books, End, Findings, Guarantee, Server};
use crate::load::{Answer, Asked, Kind};
use crate::round::WAIT_LIMIT;

/// A row is accepted some time before its client has read the answer to its end, and a process may be held up in between.
const SLACK: i64 = 2_000_000;
/// The ledger is fsynced at least this often.
const SYNC_EVERY: i64 = 1_000_000;

pub(super) fn judge(books: &Books, findings: &mut Findings) {
    let rows = request_rows(books, findings);
    let mut missing = Vec::new();
    for asked in &books.clients {
        match rows.get(asked.kind.path(&asked.id).as_str()) {
            Some(row) => agrees(books, asked, row, findings),
            None if must_have_a_row(asked, books.guarantee) => missing.push(asked),
            None => {}
        }
    }
    match books.guarantee {
        Guarantee::BestEffort => within_losses(books, &missing, findings),
        Guarantee::Durable => {
            let (late, in_time): (Vec<_>, Vec<_>) =
                missing.into_iter().partition(|asked| may_be_late(asked));
            refused_by_a_full_queue(books, &in_time, findings);
            // It went out at its limit: from there on it is as with best-effort.
            within_losses(books, &late, findings);
        }
        Guarantee::FailClosed => {
            for asked in missing {
                findings.add("answered is kept", format!("no row of {asked:?}"));
            }
            announced(books, &rows, findings);
        }
    }
    business(books, &rows, findings);
}

fn must_have_a_row(asked: &Asked, guarantee: Guarantee) -> bool {
    match (&asked.answer, guarantee) {
        (None, _) => false,
        // Refused before the handler; told by a merged loss.
        (Some(answer), Guarantee::FailClosed) => answer.status != 503,
        (Some(_), _) => true,
    }
}

/// The answer took as long as a durable response waits at most. The client's clock began before the server's.
fn may_be_late(asked: &Asked) -> bool {
    let took = |answer: &Answer| answer.at - asked.sent;
    let limit = i64::try_from(WAIT_LIMIT.as_micros()).unwrap_or(i64::MAX);
    asked
        .answer
        .as_ref()
        .is_some_and(|answer| took(answer) >= limit)
}

/// A durable answer that came in time has its row, unless the queue was full and its process told of it.
fn refused_by_a_full_queue(books: &Books, missing: &[&Asked], findings: &mut Findings) {
    let losses = losses::told(&books.ledger.rows);
    for (index, server) in books.servers.iter().enumerate() {
        let missing: Vec<_> = missing
            .iter()
            .filter(|asked| asked.server == index)
            .collect();
        let run = books.ledger.runs.iter().find(|run| run.pid == server.pid);
        let full: i64 = losses
            .iter()
            .filter(|loss| Some(loss.run) == run.map(|run| run.run) && loss.reason == "queue_full")
            .map(|loss| loss.count)
            .sum();
        let few = i64::try_from(missing.len()).unwrap_or(i64::MAX) <= full;
        findings.expect("answered is kept", few, || {
            format!(
                "{} requests of {run:?} were answered in time and have no row, {full} are told: {:?} …",
                missing.len(),
                missing[0]
            )
        });
    }
}

/// With fail-closed a request leaves a trace before it is handled.
fn announced(books: &Books, rows: &HashMap<&str, &Row>, findings: &mut Findings) {
    let started = books.ledger.rows.iter();
    let started: HashMap<_, i64> = started
        .filter(|row| row.event == "api_request_started")
        .map(|row| (row.request_id.as_deref(), row.seq))
        .collect();
    for row in rows.values() {
        let before = started.get(&row.request_id.as_deref());
        findings.expect(
            "announced",
            before.is_some_and(|seq| *seq < row.seq),
            || format!("no api_request_started before {row:?}"),
        );
    }
}

/// The rows of requests by path: one each, and none that nobody asked for.
fn request_rows<'a>(books: &'a Books, findings: &mut Findings) -> HashMap<&'a str, &'a Row> {
    let asked: HashMap<String, &Asked> = books
        .clients
        .iter()
        .map(|asked| (asked.kind.path(&asked.id), asked))
        .collect();
    let mut rows = HashMap::new();
    let requests = books.ledger.rows.iter();
    for row in requests.filter(|row| row.event == "api_request") {
        let path = row.path.as_deref().unwrap_or_default();
        let Some(asked) = asked.get(path) else {
            findings.add(
                "asked for",
                format!("nobody asked for row {}: {path}", row.seq),
            );
            continue;
        };
        if let Some(first) = rows.insert(path, row) {
            findings.add(
                "one row per request",
                format!("{path} is in rows {} and {}", first.seq, row.seq),
            );
        }
        let wrote = books.ledger.runs.iter().find(|run| run.run == row.run);
        let served = books.servers.get(asked.server);
        let same = wrote.map(|run| run.pid) == served.map(|server| server.pid);
        findings.expect("written by who served", same, || {
            format!("{path} was asked of {served:?} and written by {wrote:?}")
        });
    }
    rows
}

/// The row says what the client saw.
fn agrees(books: &Books, asked: &Asked, row: &Row, findings: &mut Findings) {
    let Some(answer) = &asked.answer else {
        return;
    };
    let status = i64::from(answer.status);
    // The answer was held back; the row says what it would have been, and another that it was held back.
    let held_back = |row: &Row| {
        let rows = books.ledger.rows.iter();
        let mut withheld = rows.filter(|row| row.event == "audit_response_withheld");
        withheld.any(|other| other.request_id == row.request_id)
    };
    let refused = status == 503 && held_back(row);
    findings.expect("row agrees", row.status == Some(status) || refused, || {
        format!("{asked:?} and {row:?}")
    });
    let result = if status < 400 { "success" } else { "failure" };
    let coded = row.error_code.is_some() == (status >= 400);
    findings.expect(
        "row agrees",
        (coded && row.result.as_deref() == Some(result)) || refused,
        || format!("{asked:?} and {row:?}"),
    );
    if let (Some(seen), Some(kept)) = (&answer.request_id, &row.request_id) {
        findings.expect("row agrees", seen == kept, || {
            format!("x-request-id was {seen}: {row:?}")
        });
    }
}

/// Every answered request without a row is one that the log says it may have lost: in number, of its process, and in
/// time.
fn within_losses(books: &Books, missing: &[&Asked], findings: &mut Findings) {
    let losses = losses::told(&books.ledger.rows);
    for (index, server) in books.servers.iter().enumerate() {
        let missing: Vec<&&Asked> = missing
            .iter()
            .filter(|asked| asked.server == index)
            .collect();
        if missing.is_empty() {
            continue;
        }
        if server.end == End::PowerLost {
            since_the_last_fsync(server, &missing, findings);
            continue;
        }
        let run = books.ledger.runs.iter().find(|run| run.pid == server.pid);
        let of_run: Vec<&Loss> = losses.iter().filter(|loss| concerns(loss, run)).collect();
        let bound: i64 = exact(&of_run) + run.map_or(0, unclean_bound);
        // What a full queue refused while nothing could be written is counted in memory; a kill takes the count along.
        let untold = books.injected.ledger_trouble && run.is_some_and(|run| run.unclean);
        findings.expect(
            "missing is a loss",
            untold || i64::try_from(missing.len()).unwrap_or(i64::MAX) <= bound,
            || {
                format!(
                    "{} answered requests of {run:?} have no row, told are {bound}: {:?} …",
                    missing.len(),
                    missing[0]
                )
            },
        );
        if books.injected.clock {
            continue;
        }
        for asked in missing {
            let at = asked.answer.as_ref().map_or(asked.sent, |answer| answer.at);
            let covered = of_run
                .iter()
                .any(|loss| loss.from - SLACK <= at && at <= loss.until + SLACK);
            findings.expect("missing is in a loss's time", covered, || {
                format!("{asked:?} of {run:?}; told are {of_run:?}")
            });
        }
    }
}

/// What a power loss takes is younger than the last fsync, and that is a second old at most.
fn since_the_last_fsync(server: &Server, missing: &[&&Asked], findings: &mut Findings) {
    for asked in missing {
        let at = asked.answer.as_ref().map_or(asked.sent, |answer| answer.at);
        let age = server.ended_at - at;
        findings.expect("power takes a second", age <= SYNC_EVERY + SLACK, || {
            format!("{asked:?} was answered {age} µs before the power went")
        });
    }
}

/// Exact losses are told by the run that had them; an unclean stop is told by a later one.
fn concerns(loss: &Loss, run: Option<&Run>) -> bool {
    match run {
        Some(run) if loss.exact => loss.run == run.run,
        Some(run) => run.unclean && !loss.exact,
        None => false,
    }
}

fn exact(losses: &[&Loss]) -> i64 {
    losses
        .iter()
        .filter(|loss| loss.exact)
        .map(|loss| loss.count)
        .sum()
}

fn unclean_bound(run: &Run) -> i64 {
    if run.unclean { run.queue_capacity } else { 0 }
}

/// Business events: not after their request, and there if their handler waited for them.
fn business(books: &Books, rows: &HashMap<&str, &Row>, findings: &mut Findings) {
    let mut events: HashMap<&str, &Row> = HashMap::new();
    for row in &books.ledger.rows {
        let name = match row.event.as_str() {
            "order_placed" => "order",
            "deed_signed" => "deed",
            _ => continue,
        };
        if let Some(id) = row.properties[name].as_str()
            && let Some(first) = events.insert(id, row)
        {
            findings.add(
                "one row per event",
                format!("{id} is in rows {} and {}", first.seq, row.seq),
            );
        }
    }
    // A full queue may refuse an event and then take its request.
    let refusals = losses::told(&books.ledger.rows)
        .iter()
        .any(|loss| loss.exact);
    for asked in &books.clients {
        let event = events.get(asked.id.as_str());
        let row = rows.get(asked.kind.path(&asked.id).as_str());
        if asked.kind == Kind::Deed
            && asked
                .answer
                .as_ref()
                .is_some_and(|answer| answer.status == 201)
        {
            findings.expect("durable event", event.is_some(), || {
                format!("{asked:?} was answered after its event was durable, and there is none")
            });
        }
        let (Kind::Order | Kind::Deed, Some(row)) = (asked.kind, row) else {
            continue;
        };
        match event {
            Some(event) => {
                findings.expect("event before its request", event.seq < row.seq, || {
                    format!("{event:?} and {row:?}")
                });
                findings.expect(
                    "event of its request",
                    event.request_id == row.request_id,
                    || format!("{event:?} and {row:?}"),
                );
            }
            None if row.status == Some(201) && !refusals => {
                findings.add("event before its request", format!("{row:?} has no event"));
            }
            None => {}
        }
    }
}
