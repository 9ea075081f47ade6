//! Dead letters: read page by page, in constant memory.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::LedgerFile;
use crate::error::Error;
use crate::ledger::{LetterFilter, LetterRow};
use crate::record::{Row, fields};

/// Letters read at a time: a short read transaction.
const PAGE: usize = 200;

/// A row that a destination refused for good.
#[derive(Clone, Debug)]
pub struct DeadLetter(pub(super) LetterRow);

impl DeadLetter {
    /// The destination.
    #[must_use]
    pub fn sink(&self) -> &str {
        &self.0.sink
    }

    /// The row's sequence number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        u64::try_from(self.0.seq).unwrap_or(0)
    }

    /// The row's time.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        let micros = u64::try_from(self.0.ts.0).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
    }

    /// The row's time, RFC 3339.
    #[must_use]
    pub fn time_text(&self) -> String {
        self.0.ts.to_string()
    }

    /// When the destination gave the row up, RFC 3339; none for a letter that a version before the
    /// ledger's schema 2 wrote.
    #[must_use]
    pub fn refused_text(&self) -> Option<String> {
        self.0.refused.map(|at| at.to_string())
    }

    /// When the letter was dismissed, RFC 3339.
    #[must_use]
    pub fn dismissed_text(&self) -> Option<String> {
        self.0.dismissed.as_ref().map(|(at, _)| at.to_string())
    }

    /// Who dismissed the letter; see [`LedgerFile::dismiss`].
    #[must_use]
    pub fn dismissed_by(&self) -> Option<&str> {
        self.0.dismissed.as_ref().map(|(_, by)| &**by)
    }

    /// Why it was refused.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The row; none if retention has removed it.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        self.0.row.as_ref().map(|stored| &*stored.row)
    }

    /// The letter and its row, by the names of the view `audit_logs`, in a fixed order; what is not
    /// set is null. Also its JSON.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Value)> {
        let LetterRow {
            sink,
            seq,
            ts,
            reason,
            refused,
            dismissed,
            row,
        } = &self.0;
        let (dismissed, by) = dismissed.as_ref().map(|(at, by)| (at, by)).unzip();
        let stored = row.as_ref();
        let id = stored.map(|stored| stored.row.id().as_hyphenated().to_string());
        let mut all = vec![
            ("sink", json!(sink)),
            ("reason", json!(reason)),
            ("refused_at", json!(refused.map(|at| at.to_string()))),
            ("dismissed_at", json!(dismissed.map(ToString::to_string))),
            ("dismissed_by", json!(by)),
            ("seq", json!(seq)),
            ("id", json!(id)),
            ("ts", json!(ts.to_string())),
        ];
        all.extend(fields(stored));
        all
    }
}

impl Serialize for DeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.fields())
    }
}

/// Which dead letters. All by default.
#[derive(Clone, Debug, Default)]
pub struct DeadLetters(pub(super) LetterFilter);

impl DeadLetters {
    /// All there are.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only of this destination.
    #[must_use]
    pub fn of_sink(mut self, sink: impl Into<String>) -> Self {
        self.0.sink = Some(sink.into());
        self
    }

    /// Only those with exactly this reason.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Only those with one of these sequence numbers.
    #[must_use]
    pub fn with_seqs(mut self, seqs: impl IntoIterator<Item = u64>) -> Self {
        let seqs = seqs.into_iter();
        self.0.seqs = Some(seqs.filter_map(|seq| i64::try_from(seq).ok()).collect());
        self
    }

    /// Only those that nobody has dismissed.
    #[must_use]
    pub fn not_dismissed(mut self) -> Self {
        self.0.open = true;
        self
    }

    /// Only those whose row retention has removed.
    #[must_use]
    pub fn without_row(mut self) -> Self {
        self.0.without_row = true;
        self
    }
}

impl LedgerFile {
    /// The dead letters, by sink and sequence number, read as they are asked for: any number of them
    /// takes the same memory.
    pub fn dead_letters(
        &mut self,
        which: DeadLetters,
    ) -> impl Iterator<Item = Result<DeadLetter, Error>> + '_ {
        let mut page = VecDeque::new();
        let mut next = Some((String::new(), i64::MIN));
        std::iter::from_fn(move || {
            loop {
                if let Some(letter) = page.pop_front() {
                    return Some(Ok(DeadLetter(letter)));
                }
                let after = next.take()?;
                match self.0.letters(&which.0, &after, PAGE) {
                    Ok((letters, after)) => {
                        page.extend(letters);
                        next = after;
                    }
                    Err(error) => return Some(Err(error.into())),
                }
            }
        })
    }
}
