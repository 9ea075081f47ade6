//! Defects put into the books of a real round: an oracle that does not see them proves nothing.

use std::path::Path;

use anyhow::{Context as _, Result};
use rusqlite::Connection;

use crate::oracle::{Books, Ledger, judge};

type Defect = fn(&mut Books);

const DEFECTS: &[(&str, Defect)] = &[
    (
        "an answered request's row is gone, and the numbers are closed up",
        |books| {
            if let Some(place) = a_request(books) {
                books.ledger.rows.remove(place);
                for row in &mut books.ledger.rows[place..] {
                    row.seq -= 1;
                }
                books.ledger.head -= 1;
            }
        },
    ),
    ("a row is there twice", |books| {
        if let Some(place) = a_request(books) {
            let mut row = books.ledger.rows[place].clone();
            row.seq = books.ledger.head + 1;
            row.id.push('2');
            books.ledger.rows.push(row);
            books.ledger.head += 1;
        }
    }),
    ("PostHog lacks an event", |books| {
        books.posthog.copies.pop();
    }),
    ("PostHog has an event that the ledger lacks", |books| {
        if let Some(mut copy) = books.posthog.copies.first().cloned() {
            copy.uuid = "from nowhere".to_owned();
            books.posthog.copies.push(copy);
        }
    }),
    ("an event was sent twice without need", |books| {
        let again = books.posthog.copies.last().cloned();
        books.posthog.copies.extend(again);
    }),
    ("a count is off by one", |books| {
        for sink in books.ledger.sinks.values_mut() {
            sink.delivered += 1;
        }
    }),
    ("a loss is in no row", |books| {
        books.ledger.losses.insert("unclean_stop".to_owned(), 1);
    }),
];

/// Whether the oracle sees each defect, and one in a copy of the file itself.
pub(super) fn all_are_seen(books: &Books, ledger: &Path) -> Result<bool> {
    let mut blind = Vec::new();
    for (name, defect) in DEFECTS {
        let mut spoiled = books.clone();
        defect(&mut spoiled);
        if judge(&spoiled).is_empty() {
            blind.push(*name);
        }
    }
    let spoiled = Books {
        ledger: without_a_row(ledger)?,
        ..books.clone()
    };
    if judge(&spoiled).is_empty() {
        blind.push("a row was deleted from the file");
    }
    println!(
        "     {} defects planted, {} seen",
        DEFECTS.len() + 1,
        DEFECTS.len() + 1 - blind.len()
    );
    for name in &blind {
        println!("     RED  the oracle does not see that {name}");
    }
    Ok(blind.is_empty())
}

/// The place of an answered request's row, with rows behind it.
fn a_request(books: &Books) -> Option<usize> {
    let answered = |path: &str| {
        let mut asked = books.clients.iter();
        asked.any(|asked| asked.answer.is_some() && asked.kind.path(&asked.id) == path)
    };
    let mut rows = books.ledger.rows.iter();
    rows.position(|row| row.event == "api_request" && row.path.as_deref().is_some_and(answered))
}

fn without_a_row(ledger: &Path) -> Result<Ledger> {
    let copy = ledger.with_extension("spoiled");
    std::fs::copy(ledger, &copy)?;
    let file = Connection::open(&copy)?;
    // The triggers stop accidents, not this.
    file.execute_batch("DROP TRIGGER audit_rows_delete; DELETE FROM audit_rows WHERE seq = 7")
        .context("no row could be deleted")?;
    drop(file);
    Ledger::read(&copy)
}
