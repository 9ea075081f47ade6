//! The one-line answers of the suite's own programs.

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A service's last words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Final {
    /// Requests, by the service's own count.
    pub(crate) answered: u64,
    pub(crate) rows_made: Option<u64>,
    pub(crate) rows_delivered: Option<u64>,
    pub(crate) rows_lost: Option<u64>,
    /// Rows besides those of requests.
    #[serde(default)]
    pub(crate) rows_own: Option<u64>,
    /// What the conservation check says: `ok`, or what does not hold.
    pub(crate) books: Option<String>,
}

impl Final {
    /// Requests without a row, and rows that are gone.
    pub(crate) fn missing(&self) -> u64 {
        let made = self.rows_made.unwrap_or(0);
        self.answered.saturating_sub(made) + self.rows_lost.unwrap_or(0)
    }
}

/// What the receiver has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) requests: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// By uuid.
    pub(crate) distinct: u64,
}

/// What the open-loop generator measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Samples during which the generator itself was off its core.
    pub(crate) late: u64,
    /// Requests that were due and not yet sent when the schedule ended.
    pub(crate) behind: u64,
    pub(crate) clean: Clean,
}

/// The samples that were not late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clean {
    pub(crate) n: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Clean {
    /// Fewer say nothing of the slowest hundredth.
    const ENOUGH: u64 = 1000;

    pub(crate) fn p50(&self) -> f64 {
        self.if_enough(self.p50_us)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.if_enough(self.p99_us)
    }

    /// Not a number, which no median counts, if too few requests were clean.
    fn if_enough(&self, value: f64) -> f64 {
        if self.n < Self::ENOUGH {
            f64::NAN
        } else {
            value
        }
    }
}

/// One line of a program in bench/parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    #[serde(default)]
    pub(crate) min: Option<f64>,
    #[serde(default)]
    pub(crate) max: Option<f64>,
    #[serde(default)]
    pub(crate) note: Option<String>,
}

/// The value in a line; the error names who wrote it and what.
pub(crate) fn line<T: DeserializeOwned>(who: &str, line: &str) -> Result<T> {
    serde_json::from_str(line).with_context(|| format!("{who} answered `{}`", shortened(line)))
}

/// The last line that is a JSON object: what comes before is talk.
pub(crate) fn last_object<'a>(who: &str, lines: &'a [String]) -> Result<&'a str> {
    lines
        .iter()
        .rev()
        .map(|line| line.trim())
        .find(|line| line.starts_with('{'))
        .with_context(|| match lines.last() {
            Some(last) => format!(
                "{who} ended without its JSON line; the last was `{}`",
                shortened(last)
            ),
            None => format!("{who} ended without a word"),
        })
}

/// Programs may print anything, and an error is for people.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn the_last_object_counts_and_nulls_are_nothing() {
        let all = lines(&[
            "{\"answered\":1}",
            "talk",
            r#"{"answered":7,"rows_made":null,"rows_delivered":null,"rows_lost":0,"books":"ok"}"#,
            "bye",
        ]);
        let last: Final = line("x", last_object("x", &all).unwrap()).unwrap();
        assert_eq!(
            (last.answered, last.rows_made, last.rows_lost),
            (7, None, Some(0))
        );
    }

    #[test]
    fn who_said_nothing_or_nonsense_is_named() {
        let problem = last_object("the service bare", &[])
            .unwrap_err()
            .to_string();
        assert_eq!(problem, "the service bare ended without a word");
        let problem = last_object("bare", &lines(&["panicked"]))
            .unwrap_err()
            .to_string();
        assert!(problem.contains("the last was `panicked`"), "{problem}");
        let garbage = format!("{{{}", "x".repeat(1000));
        let problem = format!("{:#}", line::<Final>("bare", &garbage).unwrap_err());
        assert!(problem.starts_with("bare answered `{xxx"), "{problem}");
        assert!(problem.len() < 400, "{problem}");
        let problem = format!(
            "{:#}",
            line::<Final>("bare", "{\"answered\":-1}").unwrap_err()
        );
        assert!(problem.contains("-1"), "{problem}");
    }

    #[test]
    fn a_part_needs_neither_bounds_nor_note() {
        let part: Part = line(
            "x",
            r#"{"group":"ledger","name":"append_ratio","value":0.93,"unit":"ratio"}"#,
        )
        .unwrap();
        assert_eq!((part.value, part.min, part.note), (0.93, None, None));
    }
}
