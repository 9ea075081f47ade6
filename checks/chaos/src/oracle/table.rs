//! The ledger by itself: is it whole, and do its own counts fit its rows?

use std::collections::HashMap;

use super::{Books, End, Findings};

pub(super) fn judge(books: &Books, findings: &mut Findings) {
    let ledger = &books.ledger;
    findings.expect("integrity", ledger.integrity == "ok", || {
        ledger.integrity.clone()
    });
    sequence(books, findings);
    blocks(books, findings);
    equations(books, findings);
    runs(books, findings);
    reports(books, findings);
}

fn sequence(books: &Books, findings: &mut Findings) {
    let ledger = &books.ledger;
    let mut ids = HashMap::new();
    for (row, expected) in ledger.rows.iter().zip(ledger.pruned + 1..) {
        if row.seq != expected {
            findings.add(
                "gapless",
                format!("row {} stands where {expected} belongs", row.seq),
            );
            break;
        }
    }
    for row in &ledger.rows {
        if let Some(first) = ids.insert(&row.id, row.seq) {
            findings.add(
                "no row twice",
                format!("rows {first} and {} are both {}", row.seq, row.id),
            );
        }
    }
    let last = ledger.rows.last().map_or(ledger.pruned, |row| row.seq);
    findings.expect("gapless", last == ledger.head, || {
        format!("the last row is {last}, the head says {}", ledger.head)
    });
}

/// Blocks cover the rows without a gap and have their times.
fn blocks(books: &Books, findings: &mut Findings) {
    let ledger = &books.ledger;
    let mut next = ledger.rows.first().map_or(ledger.head + 1, |row| row.seq);
    for block in &ledger.blocks {
        // The first may begin with rows that are pruned.
        let begins = block.first == next || (block.first < next && next == ledger.pruned + 1);
        findings.expect("blocks", begins && block.last >= block.first, || {
            format!("{block:?} follows row {}", next - 1)
        });
        next = block.last + 1;
        let rows = ledger
            .rows
            .iter()
            .filter(|row| (block.first..=block.last).contains(&row.seq));
        let outside = rows
            .filter(|row| !(block.min_ts..=block.max_ts).contains(&row.ts))
            .count();
        findings.expect("blocks", outside == 0, || {
            format!("{outside} rows are outside of the times of {block:?}")
        });
    }
    findings.expect("blocks", next == ledger.head + 1, || {
        format!("they end at {}, the rows at {}", next - 1, ledger.head)
    });
}

/// The conservation rule, from the tables alone.
fn equations(books: &Books, findings: &mut Findings) {
    let ledger = &books.ledger;
    for (name, sink) in &ledger.sinks {
        let pending = ledger.head - sink.cursor + sink.stragglers;
        let settled = sink.delivered + sink.sampled_out + sink.held_back + sink.dead;
        findings.expect(
            "conservation",
            ledger.head - sink.began == settled + pending,
            || format!("{name}: head {} with {sink:?}", ledger.head),
        );
        let counted = i64::try_from(sink.straggler_rows.len()).unwrap_or(i64::MAX);
        findings.expect("conservation", counted == sink.stragglers, || {
            format!(
                "{name}: {counted} stragglers, counted as {}",
                sink.stragglers
            )
        });
        let counted = i64::try_from(sink.dead_rows.len()).unwrap_or(i64::MAX);
        findings.expect("conservation", counted == sink.dead, || {
            format!("{name}: {counted} dead letters, counted as {}", sink.dead)
        });
        findings.expect("drained", pending == 0, || {
            format!("{name}: {pending} rows are still pending: {sink:?}")
        });
    }
    findings.expect("drained", !ledger.sinks.is_empty(), || {
        "the ledger knows no sink".to_owned()
    });
}

/// Every process is a run, and a run is unclean exactly if its process could not say goodbye.
fn runs(books: &Books, findings: &mut Findings) {
    for server in &books.servers {
        let Some(run) = books.ledger.runs.iter().find(|run| run.pid == server.pid) else {
            // A process may be killed before it has written anything.
            findings.expect("runs", !matches!(server.end, End::Stopped(_)), || {
                format!("process {} ended well and has no run", server.pid)
            });
            continue;
        };
        findings.expect("runs", run.ended, || {
            format!("{run:?} is still open, and its process gone")
        });
        match &server.end {
            End::Stopped(report) => {
                let closed = report["closed"] == true;
                findings.expect("runs", run.unclean != closed, || {
                    format!("{run:?}, and its report says closed: {closed}")
                });
            }
            // Killed after its last word is clean.
            End::Killed | End::PowerLost | End::Stuck => {}
            End::Broken(how) => findings.add("runs", format!("a server broke: {how}")),
        }
        if server.end == End::Stuck {
            findings.add(
                "shutdown",
                format!("process {} did not end in time", server.pid),
            );
        }
    }
    let known: Vec<u32> = books.servers.iter().map(|server| server.pid).collect();
    for run in &books.ledger.runs {
        findings.expect("runs", known.contains(&run.pid), || {
            format!("{run:?} is no process of this round")
        });
    }
}

/// What a process that closed its ledger says it saw.
fn requests_seen(server: &super::Server) -> Option<i64> {
    match &server.end {
        End::Stopped(report) if report["closed"] == true => {
            report["health"]["requests_seen"].as_i64()
        }
        _ => None,
    }
}

/// What a process said of itself at its end fits what is in the table.
fn reports(books: &Books, findings: &mut Findings) {
    let told: Vec<i64> = books.servers.iter().filter_map(requests_seen).collect();
    let (least, kept) = (told.iter().sum::<i64>(), books.ledger.requests);
    let all = told.len() == books.servers.len();
    findings.expect("requests", kept == least || (kept > least && !all), || {
        format!("the ledger counts {kept} requests, the processes {told:?}")
    });
    for server in &books.servers {
        let End::Stopped(report) = &server.end else {
            continue;
        };
        let health = &report["health"];
        let count = |name: &str| health[name].as_i64().unwrap_or(-1);
        let lost: i64 = health["lost"]
            .as_object()
            .map(|lost| lost.values().filter_map(serde_json::Value::as_i64).sum())
            .unwrap_or(-1);
        findings.expect(
            "conservation",
            count("accepted") == count("stored") + count("queued") + lost,
            || format!("process {} reports {health}", server.pid),
        );
        findings.expect(
            "conservation",
            count("requests_seen")
                == count("requests_in_progress")
                    + count("requests_accepted")
                    + count("requests_excluded"),
            || format!("process {} reports {health}", server.pid),
        );
        let Some(run) = books.ledger.runs.iter().find(|run| run.pid == server.pid) else {
            continue;
        };
        let in_table = books.ledger.rows.iter().filter(|row| row.run == run.run);
        let in_table = i64::try_from(in_table.count()).unwrap_or(i64::MAX);
        findings.expect("stored", in_table == count("stored"), || {
            format!(
                "process {} says that it stored {}, the table has {in_table}",
                server.pid,
                count("stored")
            )
        });
    }
}
