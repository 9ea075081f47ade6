//! What PostHog holds, against the ledger.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::ledger::Row;
use super::{Books, End, Findings};
use crate::standin::{Receipt, Stored};

pub(super) fn judge(books: &Books, findings: &mut Findings) {
    let ledger = &books.ledger;
    let rows: HashMap<&str, &Row> = ledger
        .rows
        .iter()
        .map(|row| (row.id.as_str(), row))
        .collect();
    let mut held: BTreeMap<&str, Vec<&Stored>> = BTreeMap::new();
    for copy in &books.posthog.copies {
        held.entry(&copy.uuid).or_default().push(copy);
    }
    for (uuid, copies) in &held {
        match rows.get(uuid) {
            Some(row) => same(row, copies, findings),
            None => findings.add(
                "PostHog is never ahead",
                format!("the ledger has no row of {:?}", copies[0]),
            ),
        }
    }
    for sink in ledger.sinks.values() {
        let excused: HashSet<i64> = sink
            .dead_rows
            .iter()
            .chain(&sink.straggler_rows)
            .copied()
            .collect();
        let due = ledger
            .rows
            .iter()
            .filter(|row| row.seq > sink.began && row.seq <= sink.cursor);
        for row in due.filter(|row| !excused.contains(&row.seq)) {
            findings.expect("delivered", held.contains_key(row.id.as_str()), || {
                format!("PostHog does not hold {row:?}")
            });
        }
        let dead = sink.dead_rows.len();
        findings.expect("dead letters", dead == 0 || books.injected.refusals, || {
            format!("{dead} rows are dead letters, and nothing was refused")
        });
    }
    duplicates(books, &held, findings);
}

/// Every copy is the row, and all copies are one to PostHog.
fn same(row: &Row, copies: &[&Stored], findings: &mut Findings) {
    for copy in copies {
        let path = copy.properties.get("path").and_then(Value::as_str);
        let status = copy.properties.get("statusCode").and_then(Value::as_i64);
        let agrees = copy.event == row.event
            && copy.at / 1_000 == row.ts.div_euclid(1_000)
            && (row.event != "api_request"
                || (path == row.path.as_deref() && status == row.status));
        findings.expect("event agrees", agrees, || format!("{row:?} and {copy:?}"));
        let first = copies[0];
        let one = copy.distinct_id == first.distinct_id && copy.at == first.at;
        findings.expect("copies are one", one, || format!("{first:?} and {copy:?}"));
    }
}

/// A row is sent again only after an outcome that its process could not know.
fn duplicates(books: &Books, held: &BTreeMap<&str, Vec<&Stored>>, findings: &mut Findings) {
    let mut receipts: HashMap<&str, Vec<&Receipt>> = HashMap::new();
    for request in &books.posthog.requests {
        for uuid in &request.uuids {
            receipts.entry(uuid).or_default().push(request);
        }
    }
    for (uuid, copies) in held.iter().filter(|(_, copies)| copies.len() > 1) {
        let sent = receipts.get(uuid).map_or(&[][..], Vec::as_slice);
        let pairs = sent.iter().zip(sent.iter().skip(1));
        let unknown = pairs
            .filter(|(request, next)| is_unknown(books, uuid, request, next.at))
            .count();
        findings.expect("sent again", copies.len() <= unknown + 1, || {
            format!(
                "{uuid} ({}) is stored {} times, and of its requests {unknown} had an unknown outcome: {:?}",
                copies[0].event,
                copies.len(),
                sent.iter()
                    .map(|request| (request.at, request.status, request.faulted))
                    .collect::<Vec<_>>()
            )
        });
    }
}

/// A request may wait in the sockets' buffers while its sender dies.
const IN_BUFFERS: i64 = 3_000_000;

/// Whether the sender could not know by `next` what became of a request.
fn is_unknown(books: &Books, uuid: &str, request: &Receipt, next: i64) -> bool {
    let answered = request.status.is_some() && !request.faulted;
    let died = |server: &super::Server| {
        // A process that stops in good order takes note of every reply before it does.
        let took_note = matches!(&server.end, End::Stopped(report) if report["closed"] == true
            && report["blocked"].is_null());
        !took_note && (request.at - IN_BUFFERS..=next).contains(&server.ended_at)
    };
    !answered || books.posthog.unsaid.contains(uuid) || books.servers.iter().any(died)
}
