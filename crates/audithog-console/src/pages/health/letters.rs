//! Dead letters, by why they were refused.

use std::collections::BTreeMap;

use audithog::inspect::{DeadLetter, DeadLetters, LedgerFile};
use maud::{Markup, html};

use crate::answers::Failure;
use crate::pages::Here;
use crate::params::Params;
use crate::view::cells;

/// Letters that are looked through for their reasons; a page is no export.
const READ: usize = 5_000;
/// Of one reason.
const SHOWN: usize = 10;

/// What waits for somebody's decision.
#[derive(Debug)]
pub(super) struct Letters {
    /// By destination and reason: how many, and the first of them.
    groups: BTreeMap<(String, String), (u64, Vec<DeadLetter>)>,
    more: bool,
}

impl Letters {
    pub(super) fn read(file: &mut LedgerFile) -> Result<Self, Failure> {
        let mut letters = Self {
            groups: BTreeMap::new(),
            more: false,
        };
        for (read, letter) in file
            .dead_letters(DeadLetters::all().not_dismissed())
            .enumerate()
        {
            if read >= READ {
                letters.more = true;
                break;
            }
            let letter = letter?;
            let key = (letter.sink().to_owned(), letter.reason().to_owned());
            let (count, first) = letters.groups.entry(key).or_default();
            *count += 1;
            if first.len() < SHOWN {
                first.push(letter);
            }
        }
        Ok(letters)
    }

    /// `token`: what a form has to repeat; none for somebody who may only read.
    pub(super) fn show(&self, here: &Here, token: Option<&str>) -> Markup {
        html! {
            @if !self.groups.is_empty() {
                section.letters #dead-letters {
                    h2 { "Dead letters" }
                    p.about { "Rows that a destination refused for good. They are in the ledger; sent again, each goes out once more as it was." }
                    @if self.more { p.scope { b { "sampled" } ": the first " (cells::count(READ as u64)) " of them" } }
                    @for ((sink, reason), (count, first)) in &self.groups {
                        article.letter {
                            header {
                                h3 { (sink) ": " (reason) }
                                span.count { (cells::count(*count)) @if *count == 1 { " row" } @else { " rows" } }
                                (forms(here, token, sink, ("reason", reason), ["Send all again", "Dismiss all"]))
                            }
                            div.wide tabindex="0" { table {
                                thead { tr { th.n { "number" } th { "time" } th { "what" } th { "refused" } @if token.is_some() { th {} } } }
                                tbody { @for letter in first { (line(here, token, letter)) } }
                            } }
                        }
                    }
                }
            }
        }
    }
}

fn line(here: &Here, token: Option<&str>, letter: &DeadLetter) -> Markup {
    let seq = letter.seq().to_string();
    let row = Params::default().with("id", &format!("seq:{seq}"));
    html! {
        tr {
            td.n { (seq) }
            td { (cells::second(&letter.time_text())) }
            td {
                @if let Some(found) = letter.row() {
                    a href=(here.link("row", &row)) {
                        @match (found.method(), found.path()) {
                            (Some(method), Some(path)) => { (method) " " (path) }
                            _ => (found.event_name())
                        }
                    }
                } @else { span.none { "removed by retention: dismiss it" } }
            }
            td { @if let Some(refused) = letter.refused_text() { (cells::second(&refused)) } }
            @if token.is_some() { td { (forms(here, token, letter.sink(), ("seq", &seq), ["Send again", "Dismiss"])) } }
        }
    }
}

fn forms(
    here: &Here,
    token: Option<&str>,
    sink: &str,
    which: (&str, &str),
    [again, dismiss]: [&str; 2],
) -> Markup {
    let form = |page: &str, label: &str| {
        html! {
            form method="post" action=(here.link(page, &Params::default())) {
                input type="hidden" name="form" value=(token.unwrap_or_default());
                input type="hidden" name="sink" value=(sink);
                input type="hidden" name=(which.0) value=(which.1);
                button type="submit" { (label) }
            }
        }
    };
    html! {
        @if token.is_some() {
            span.forms { (form("health/replay", again)) (form("health/dismiss", dismiss)) }
        }
    }
}
