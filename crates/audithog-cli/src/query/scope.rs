//! What an answer is about, and how sure it is.

use audithog::query::{Answer, Scope};
use serde_json::{Value, json};

use super::On;
use crate::{
    output::{counted, number, plain},
    sheet::Sheet,
    when::Clock,
};

pub(crate) const CUT: &str =
    "Cells were cut to the width of the terminal: --format csv, or a pipe, has them whole.";

/// The sentences under a table.
pub(super) fn sentences(scope: &Scope, lines: usize, clock: &Clock) -> Vec<String> {
    let mut about = if scope.exact {
        "Exact".to_owned()
    } else {
        "Sampled: some events stand for others, so counts are estimates".to_owned()
    };
    if let Some(rows) = scope.rows {
        about += &format!(", from {}", counted(rows, "row"));
    }
    about += &match (&scope.since, &scope.until) {
        (None, None) => ", the whole log".to_owned(),
        (Some(since), None) => format!(", {} until the end of the log", clock.local(since)),
        (None, Some(until)) => format!(", until {}", clock.local(until)),
        (Some(since), Some(until)) => {
            format!(", {} until {}", clock.local(since), clock.local(until))
        }
    };
    if !scope.conditions.is_empty() {
        about += &format!("; {}", plain(&scope.conditions.join(", ")));
    }
    let mut sentences = vec![format!("{about}.")];
    if scope.more {
        sentences.push(match lines {
            1 => "There is more than this one: --limit shows more.".to_owned(),
            lines => format!(
                "There are more than these {}: --limit shows more.",
                number(lines as u64)
            ),
        });
    }
    sentences.extend(
        scope
            .notes
            .iter()
            .map(|note| format!("Note: {}.", plain(note))),
    );
    sentences
}

/// The answer as one JSON object.
pub(super) fn report(on: On, name: &str, answer: &Answer, sheet: &Sheet) -> Value {
    let place = match on {
        On::Ledger => "ledger",
        On::Posthog => "posthog",
    };
    json!({
        "question": name,
        "place": place,
        "scope": answer.scope,
        "columns": answer.columns,
        "lines": sheet.objects().collect::<Vec<_>>(),
    })
}
