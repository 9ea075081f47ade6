//! The oracle sees what it is there to see: each test plants one defect in books that agree.

use serde_json::json;

use super::ledger::{Block, Row, Run, Sink};
use super::{Books, End, Guarantee, Injected, Ledger, Server, judge};
use crate::load::{Answer, Asked, Kind};
use crate::standin::{Book, Receipt, Stored};

const NOW: i64 = 1_800_000_000_000_000;
const KILLED: u32 = 100;
const LAST: u32 = 101;

fn request(seq: i64, run: i64, kind: Kind, id: &str) -> Row {
    Row {
        seq,
        run,
        id: format!("id-{seq}"),
        ts: NOW + seq,
        event: "api_request".to_owned(),
        request_id: Some(format!("id-{seq}")),
        path: Some(kind.path(id)),
        status: Some(if kind == Kind::Order { 201 } else { 200 }),
        result: Some("success".to_owned()),
        ..Row::default()
    }
}

fn event(seq: i64, run: i64, name: &str, properties: serde_json::Value) -> Row {
    Row {
        seq,
        run,
        id: format!("id-{seq}"),
        ts: NOW + seq,
        event: name.to_owned(),
        properties,
        ..Row::default()
    }
}

fn asked(kind: Kind, id: &str, server: usize, request_id: &str) -> Asked {
    Asked {
        id: id.to_owned(),
        kind,
        server,
        sent: NOW,
        answer: Some(Answer {
            status: if kind == Kind::Order { 201 } else { 200 },
            at: NOW + 10,
            request_id: Some(request_id.to_owned()),
        }),
    }
}

fn sent(row: &Row) -> Stored {
    let mut properties = serde_json::Map::new();
    if let Some(path) = &row.path {
        properties.insert("path".to_owned(), json!(path));
        properties.insert("statusCode".to_owned(), json!(row.status));
    }
    Stored {
        uuid: row.id.clone(),
        event: row.event.clone(),
        distinct_id: "ann".to_owned(),
        at: row.ts,
        properties,
    }
}

fn receipt(at: i64, rows: &[Row]) -> Receipt {
    Receipt {
        at,
        status: Some(200),
        faulted: false,
        uuids: rows.iter().map(|row| row.id.clone()).collect(),
    }
}

/// A server that was killed with one answered request in memory, and one that shipped what there was.
fn books() -> Books {
    let loss = json!({
        "reason": "unclean_stop", "count": 16, "exact": false,
        "from": "2027-01-15T08:00:00.000000Z", "until": "2027-01-15T08:00:05.000000Z",
    });
    let mut order = event(4, 1, "order_placed", json!({"order": "r3"}));
    order.request_id = Some("id-5".to_owned());
    let rows = vec![
        event(1, 1, "audit_started", json!({})),
        request(2, 1, Kind::Quick, "r1"),
        request(3, 1, Kind::Quick, "r2"),
        order,
        request(5, 1, Kind::Order, "r3"),
        event(6, 2, "audit_started", json!({})),
        event(7, 2, "audit_loss", loss),
        event(8, 2, "audit_stopped", json!({})),
    ];
    let clients = vec![
        asked(Kind::Quick, "r1", 0, "id-2"),
        asked(Kind::Quick, "r2", 0, "id-3"),
        asked(Kind::Order, "r3", 0, "id-5"),
        asked(Kind::Quick, "r4", 0, "id-lost"),
    ];
    let posthog = Book {
        copies: rows.iter().map(sent).collect(),
        requests: vec![
            receipt(NOW + 1, &rows[..5]),
            receipt(NOW + 20_000_000, &rows[5..]),
        ],
        ..Book::default()
    };
    Books {
        guarantee: Guarantee::BestEffort,
        injected: Injected::default(),
        servers: vec![
            Server {
                pid: KILLED,
                end: End::Killed,
                ended_at: NOW + 4_000_000,
            },
            Server {
                pid: LAST,
                end: End::Stopped(Box::new(
                    json!({"closed": true, "blocked": null, "health": {
                        "accepted": 3, "stored": 3, "queued": 0, "lost": {},
                        "requests_seen": 0, "requests_in_progress": 0, "requests_accepted": 0, "requests_excluded": 0,
                    }}),
                )),
                ended_at: NOW + 21_000_000,
            },
        ],
        clients,
        ledger: ledger(rows),
        posthog,
    }
}

fn ledger(rows: Vec<Row>) -> Ledger {
    let run = |run, pid, unclean| Run {
        run,
        pid,
        queue_capacity: 16,
        ended: true,
        unclean,
    };
    Ledger {
        runs: vec![run(1, KILLED, true), run(2, LAST, false)],
        head: 8,
        pruned: 0,
        requests: 4,
        losses: [("unclean_stop".to_owned(), 16)].into(),
        sinks: [(
            "posthog".to_owned(),
            Sink {
                cursor: 8,
                delivered: 8,
                ..Sink::default()
            },
        )]
        .into(),
        blocks: vec![Block {
            first: 1,
            last: 8,
            min_ts: NOW + 1,
            max_ts: NOW + 8,
        }],
        integrity: "ok".to_owned(),
        rows,
    }
}

/// The rules that `plant` breaks.
fn broken(plant: impl FnOnce(&mut Books)) -> Vec<&'static str> {
    let mut books = books();
    plant(&mut books);
    let mut rules: Vec<&str> = judge(&books).iter().map(|finding| finding.rule).collect();
    rules.dedup();
    rules
}

#[track_caller]
fn assert_breaks(rule: &str, plant: impl FnOnce(&mut Books)) {
    let rules = broken(plant);
    assert!(rules.contains(&rule), "broken are {rules:?}, not {rule}");
}

fn sink(books: &mut Books) -> &mut Sink {
    books.ledger.sinks.entry("posthog".to_owned()).or_default()
}

#[test]
fn books_that_agree_are_not_complained_about() {
    assert_eq!(judge(&books()), []);
}

#[test]
fn a_row_that_vanished_from_the_ledger_is_missed() {
    // The counts were made to fit: only the other books know.
    let vanish = |books: &mut Books| {
        books.ledger.rows.remove(2);
        for (row, seq) in books.ledger.rows.iter_mut().zip(1..) {
            row.seq = seq;
        }
        books.ledger.head = 7;
        books.ledger.blocks[0].last = 7;
        sink(books).cursor = 7;
        sink(books).delivered = 7;
    };
    assert_eq!(broken(vanish), ["PostHog is never ahead"]);
    assert_breaks("answered is kept", |books| {
        books.guarantee = Guarantee::Durable;
        vanish(books);
    });
}

#[test]
fn more_missing_than_told_is_no_excuse() {
    assert_breaks("missing is a loss", |books| {
        books.ledger.runs[0].queue_capacity = 0;
    });
    assert_breaks("missing is a loss", |books| {
        books.clients[3].server = 1;
    });
    // Counted in the memory of a process that was killed while it could not write; one that was not killed tells.
    let rules = broken(|books| {
        books.injected.ledger_trouble = true;
        books.ledger.runs[0].queue_capacity = 0;
    });
    assert_eq!(rules, [""; 0]);
    assert_breaks("missing is a loss", |books| {
        books.injected.ledger_trouble = true;
        books.clients[3].server = 1;
    });
}

#[test]
fn a_loss_covers_its_own_time_only() {
    assert_breaks("missing is in a loss's time", |books| {
        if let Some(answer) = &mut books.clients[3].answer {
            answer.at = NOW - 60_000_000;
        }
    });
    // With a clock that was set, times prove nothing.
    let rules = broken(|books| {
        books.injected.clock = true;
        if let Some(answer) = &mut books.clients[3].answer {
            answer.at = NOW - 60_000_000;
        }
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn an_answer_without_a_row_breaks_both_strong_guarantees() {
    let fail_closed = |books: &mut Books| {
        books.guarantee = Guarantee::FailClosed;
        for seq in [2, 3, 5] {
            let mut started = event(seq - 10, 1, "api_request_started", json!({}));
            started.request_id = Some(format!("id-{seq}"));
            books.ledger.rows.push(started);
        }
    };
    assert_breaks("answered is kept", |books| {
        books.guarantee = Guarantee::Durable;
    });
    assert_breaks("answered is kept", fail_closed);
    // A refusal needs none.
    let rules = broken(|books| {
        fail_closed(books);
        if let Some(answer) = &mut books.clients[3].answer {
            answer.status = 503;
        }
    });
    assert!(!rules.contains(&"answered is kept"), "{rules:?}");
    assert!(!rules.contains(&"announced"), "{rules:?}");
    assert_breaks("announced", |books| books.guarantee = Guarantee::FailClosed);
}

#[test]
fn a_durable_answer_may_be_late_or_counted_and_is_told_then() {
    let durable = |books: &mut Books| books.guarantee = Guarantee::Durable;
    let late = |books: &mut Books| {
        durable(books);
        books.clients[3].sent -= 1_000_000;
    };
    assert_eq!(broken(late), [""; 0]);
    assert_breaks("missing is a loss", |books| {
        late(books);
        books.ledger.runs[0].queue_capacity = 0;
    });
    let full = |count: i64| {
        move |books: &mut Books| {
            books.guarantee = Guarantee::Durable;
            let row = &mut books.ledger.rows[6];
            row.run = 1;
            row.properties["reason"] = json!("queue_full");
            row.properties["count"] = json!(count);
        }
    };
    let kept = |rules: Vec<&str>| !rules.contains(&"answered is kept");
    assert!(kept(broken(full(1))));
    assert!(!kept(broken(full(0))));
}

#[test]
fn an_answer_that_was_held_back_is_told() {
    let held_back = |books: &mut Books| {
        if let Some(answer) = &mut books.clients[0].answer {
            answer.status = 503;
        }
    };
    assert_breaks("row agrees", held_back);
    let rules = broken(|books| {
        held_back(books);
        let mut told = event(9, 1, "audit_response_withheld", json!({}));
        told.request_id = Some("id-2".to_owned());
        books.ledger.rows.push(told);
    });
    assert!(!rules.contains(&"row agrees"), "{rules:?}");
}

#[test]
fn a_request_has_one_row_and_it_is_its_own() {
    assert_breaks("one row per request", |books| {
        books.ledger.rows[2].path = books.ledger.rows[1].path.clone();
    });
    assert_breaks("asked for", |books| {
        books.ledger.rows[2].path = Some("/quick/nobody".to_owned());
    });
    assert_breaks("written by who served", |books| books.clients[0].server = 1);
    assert_breaks("row agrees", |books| {
        books.ledger.rows[1].status = Some(404);
    });
    assert_breaks("row agrees", |books| {
        books.ledger.rows[1].result = Some("failure".to_owned());
    });
    assert_breaks("row agrees", |books| {
        books.ledger.rows[1].request_id = Some("another".to_owned());
    });
}

#[test]
fn events_come_before_their_request_and_durable_ones_are_there() {
    assert_breaks("event before its request", |books| {
        books.ledger.rows[3].properties = json!({"order": "another"});
    });
    assert_breaks("event before its request", |books| {
        let later = event(9, 1, "order_placed", json!({"order": "r3"}));
        books.ledger.rows[3].properties = json!({});
        books.ledger.rows.push(later);
    });
    assert_breaks("event of its request", |books| {
        books.ledger.rows[3].request_id = None;
    });
    assert_breaks("durable event", |books| {
        let mut deed = asked(Kind::Deed, "r9", 0, "id-9");
        if let Some(answer) = &mut deed.answer {
            answer.status = 201;
        }
        books.clients.push(deed);
    });
    assert_breaks("one row per event", |books| {
        let twice = event(9, 1, "order_placed", json!({"order": "r3"}));
        books.ledger.rows.push(twice);
    });
}

#[test]
fn the_table_is_whole() {
    assert_breaks("integrity", |books| {
        books.ledger.integrity = "row 3 missing from index".to_owned();
    });
    assert_breaks("gapless", |books| {
        books.ledger.rows.remove(2);
    });
    assert_breaks("gapless", |books| books.ledger.head = 9);
    assert_breaks("no row twice", |books| {
        books.ledger.rows[2].id = books.ledger.rows[1].id.clone();
    });
    assert_breaks("blocks", |books| books.ledger.blocks[0].max_ts -= 1);
    assert_breaks("blocks", |books| books.ledger.blocks[0].last -= 1);
    assert_breaks("blocks", |books| books.ledger.blocks[0].first += 1);
}

#[test]
fn the_counts_fit() {
    assert_breaks("conservation", |books| sink(books).delivered -= 1);
    assert_breaks("conservation", |books| sink(books).dead_rows.push(2));
    assert_breaks("conservation", |books| sink(books).straggler_rows.push(2));
    assert_breaks("drained", |books| {
        sink(books).cursor -= 1;
        sink(books).delivered -= 1;
    });
    assert_breaks("drained", |books| books.ledger.sinks.clear());
    for count in ["accepted", "requests_seen"] {
        assert_breaks("conservation", |books| {
            if let End::Stopped(report) = &mut books.servers[1].end {
                report["health"][count] = json!(77);
            }
        });
    }
    assert_breaks("stored", |books| {
        if let End::Stopped(report) = &mut books.servers[1].end {
            report["health"]["stored"] = json!(2);
            report["health"]["accepted"] = json!(2);
        }
    });
}

#[test]
fn the_requests_are_counted() {
    // Of a killed process the ledger knows at least what it kept.
    assert_breaks("requests", |books| books.ledger.requests = -1);
    assert_breaks("requests", |books| {
        books.servers.remove(0);
    });
}

#[test]
fn ends_and_losses_are_told() {
    assert_breaks("unclean stops are rows", |books| {
        books.ledger.rows[6].event = "other".to_owned();
        books.ledger.losses.clear();
    });
    assert_breaks("losses are rows", |books| {
        books.ledger.runs[0].unclean = false;
        books.ledger.losses.insert("queue_full".to_owned(), 3);
    });
    assert_breaks("losses are rows", |books| {
        books.ledger.losses.insert("unclean_stop".to_owned(), 17);
    });
    assert_breaks("losses are rows", |books| books.ledger.losses.clear());
    assert_breaks("losses", |books| {
        books.ledger.rows[6].properties["until"] = json!("2026-01-15T08:00:05.000000Z");
    });
    assert_breaks("runs", |books| books.ledger.runs[0].ended = false);
    assert_breaks("runs", |books| books.ledger.runs[1].unclean = true);
    assert_breaks("runs", |books| books.ledger.runs[1].pid = 7);
    assert_breaks("shutdown", |books| books.servers[0].end = End::Stuck);
    assert_breaks("runs", |books| {
        books.servers[0].end = End::Broken("exit status: 101".to_owned());
    });
}

#[test]
fn posthog_holds_what_the_ledger_does_and_no_more() {
    assert_breaks("delivered", |books| {
        books.posthog.copies.remove(2);
    });
    assert_breaks("PostHog is never ahead", |books| {
        let mut ahead = books.posthog.copies[2].clone();
        ahead.uuid = "id-of-nobody".to_owned();
        books.posthog.copies.push(ahead);
    });
    assert_breaks("event agrees", |books| {
        books.posthog.copies[2]
            .properties
            .insert("statusCode".to_owned(), json!(500));
    });
    assert_breaks("event agrees", |books| {
        books.posthog.copies[2].at += 60_000_000;
    });
    // A dead letter excuses, if something was refused.
    let dead = |books: &mut Books| {
        books.posthog.copies.remove(2);
        let sink = sink(books);
        (sink.delivered, sink.dead) = (7, 1);
        sink.dead_rows.push(3);
    };
    assert_breaks("dead letters", dead);
    let rules = broken(|books| {
        books.injected.refusals = true;
        dead(books);
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn a_row_is_sent_again_only_after_an_unknown_outcome() {
    let again = |books: &mut Books, at: i64| {
        let copy = books.posthog.copies[1].clone();
        books.posthog.copies.push(copy);
        let rows = [books.ledger.rows[1].clone()];
        books.posthog.requests.insert(1, receipt(at, &rows));
    };
    assert_breaks("sent again", |books| again(books, NOW + 1_000_000));
    // Its sender died in between.
    assert_eq!(broken(|books| again(books, NOW + 9_000_000)), [""; 0]);
    // Its reply was lost.
    let rules = broken(|books| {
        again(books, NOW + 1_000_000);
        books.posthog.requests[0].status = None;
    });
    assert_eq!(rules, [""; 0]);
    assert_breaks("copies are one", |books| {
        again(books, NOW + 9_000_000);
        if let Some(copy) = books.posthog.copies.last_mut() {
            copy.distinct_id = "bob".to_owned();
        }
    });
}

#[test]
fn of_many_findings_of_one_rule_a_few_are_told() {
    let mut books = books();
    books.posthog.copies.clear();
    let told = judge(&books);
    assert_eq!(told.len(), super::TOLD + 1, "{told:?}");
    assert!(told[super::TOLD].what.contains("8 in all"), "{told:?}");
}
