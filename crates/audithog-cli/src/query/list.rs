//! `audithog query` without a question.

use std::time::Duration;

use audithog::query::{Named, csv};
use serde_json::json;

use super::{COUNT, count};
use crate::{
    failure::Failure,
    output::{Output, age, written},
    sheet::Format,
};

/// The column of names.
const INDENT: usize = 22;

struct Entry {
    name: &'static str,
    subject: Option<&'static str>,
    about: &'static str,
    looks_back: Option<Duration>,
}

fn entries() -> impl Iterator<Item = Entry> {
    let named = Named::ALL.into_iter().map(|named| Entry {
        name: named.name(),
        subject: named.subject(),
        about: named.about(),
        looks_back: named.looks_back(),
    });
    named.chain([Entry {
        name: COUNT,
        subject: Some("--by FIELD"),
        about: count::ABOUT,
        looks_back: Some(count::LOOKS_BACK),
    }])
}

/// The questions, and what they ask.
pub(super) fn print(format: Format) -> Result<(), Failure> {
    let mut output = Output::standard();
    if format == Format::Table {
        for entry in entries() {
            let name = format!("{} {}", entry.name, entry.subject.unwrap_or_default());
            let back = entry.looks_back.map_or_else(
                || "the whole log".to_owned(),
                |back| format!("the last {}", age(back.as_secs_f64())),
            );
            let text = format!("{} ({back})", entry.about);
            output.entry(&name, INDENT, &text).map_err(written)?;
        }
        let more =
            "`audithog query NAME`, with filters and --since; `audithog query --help` has all.";
        output.line("").map_err(written)?;
        output.entry("", 0, more).map_err(written)?;
        return output.end();
    }
    let list: Vec<_> = entries()
        .map(|entry| {
            json!({
                "name": entry.name,
                "subject": entry.subject,
                "about": entry.about,
                "looks_back_seconds": entry.looks_back.map(|back| back.as_secs()),
            })
        })
        .collect();
    match format {
        Format::Json => output.json(&list)?,
        Format::Ndjson => {
            for entry in &list {
                output.ndjson(entry).map_err(written)?;
            }
        }
        Format::Table | Format::Csv => {
            let names = ["name", "subject", "about", "looks_back_seconds"];
            output.csv(names).map_err(written)?;
            for entry in &list {
                let cells = names.map(|name| csv::cell(&entry[name]));
                output.csv(cells).map_err(written)?;
            }
        }
    }
    output.end()
}
