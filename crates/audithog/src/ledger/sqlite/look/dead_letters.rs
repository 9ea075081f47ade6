//! Dead letters, page by page.

use rusqlite::params;

use super::super::decode::Decoder;
use super::super::encode::COLUMNS;
use super::super::error::failed;
use super::Looker;
use super::facts::since_2;
use crate::ledger::StoreError;
use crate::record::{Micros, StoredRow};

/// Which dead letters.
#[derive(Clone, Debug, Default)]
pub(crate) struct LetterFilter {
    pub(crate) sink: Option<String>,
    /// The whole reason as it is kept.
    pub(crate) reason: Option<String>,
    /// None: all. The order does not matter.
    pub(crate) seqs: Option<Vec<i64>>,
    /// Not those that somebody dismissed.
    pub(crate) open: bool,
    /// Only those whose row retention removed.
    pub(crate) without_row: bool,
}

/// Where a page ended: sink and number.
pub(crate) type Mark = (String, i64);

/// A dead letter with its row.
#[derive(Clone, Debug)]
pub(crate) struct LetterRow {
    pub(crate) sink: String,
    pub(crate) seq: i64,
    /// Arrival of the row.
    pub(crate) ts: Micros,
    pub(crate) reason: String,
    /// When the sink gave it up. None: an older version did not say.
    pub(crate) refused: Option<Micros>,
    /// When, and by whom.
    pub(crate) dismissed: Option<(Micros, String)>,
    /// None: retention removed the row.
    pub(crate) row: Option<StoredRow>,
}

impl Looker {
    /// Rows with `after < seq <= upto`, in order, at most `limit`.
    pub(crate) fn rows(
        &mut self,
        after: i64,
        upto: i64,
        limit: usize,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|connection, _| {
            let reading = failed("read rows");
            let mut decoder = Decoder::default();
            let mut statement = connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM audit_rows WHERE seq > ?1 AND seq <= ?2
                     ORDER BY seq LIMIT ?3"
                ))
                .map_err(&reading)?;
            let mut found = statement
                .query(params![after, upto, limit])
                .map_err(&reading)?;
            let mut rows = Vec::new();
            while let Some(row) = found.next().map_err(&reading)? {
                rows.push(decoder.row(connection, row)?);
            }
            Ok(rows)
        })
    }

    /// The letters after `after`, by sink and number, at most `limit`, and with what was looked at
    /// last: the next page begins there. None: there are no more.
    pub(crate) fn letters(
        &mut self,
        filter: &LetterFilter,
        after: &Mark,
        limit: usize,
    ) -> Result<(Vec<LetterRow>, Option<Mark>), StoreError> {
        let sql_limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut letters = self.read(|connection, version| {
            let reading = failed("read dead letters");
            let since_2 = since_2(version, "refused_ts, dismissed_ts, dismissed_by");
            let mut statement = connection
                .prepare_cached(&format!(
                    "SELECT sink, seq, ts, reason, {since_2} FROM audit_dead_letters
                     WHERE (sink, seq) > (?1, ?2) ORDER BY sink, seq LIMIT ?3"
                ))
                .map_err(&reading)?;
            let found = statement.query_map(params![after.0, after.1, sql_limit], |row| {
                let dismissed: Option<i64> = row.get(5)?;
                let by: Option<String> = row.get(6)?;
                Ok(LetterRow {
                    sink: row.get(0)?,
                    seq: row.get(1)?,
                    ts: Micros(row.get(2)?),
                    reason: row.get(3)?,
                    refused: row.get::<_, Option<i64>>(4)?.map(Micros),
                    dismissed: dismissed.map(|at| (Micros(at), by.unwrap_or_default())),
                    row: None,
                })
            });
            found
                .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
                .map_err(&reading)
        })?;
        let next = letters
            .last()
            .filter(|_| letters.len() >= limit)
            .map(|letter| (letter.sink.clone(), letter.seq));
        letters.retain(|letter| filter.admits(letter));
        let seqs: Vec<i64> = letters.iter().map(|letter| letter.seq).collect();
        let rows = self.rows_by_seq(&seqs)?;
        for (letter, row) in letters.iter_mut().zip(rows) {
            letter.row = row;
        }
        letters.retain(|letter| !filter.without_row || letter.row.is_none());
        Ok((letters, next))
    }

    /// The rows with these numbers, one for each; none where it is pruned.
    pub(crate) fn rows_by_seq(
        &mut self,
        seqs: &[i64],
    ) -> Result<Vec<Option<StoredRow>>, StoreError> {
        self.read(|connection, _| {
            let reading = failed("read rows");
            let mut decoder = Decoder::default();
            let mut statement = connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM audit_rows WHERE seq = ?1"))
                .map_err(&reading)?;
            let mut rows = Vec::with_capacity(seqs.len());
            for seq in seqs {
                let mut found = statement.query([seq]).map_err(&reading)?;
                let row = match found.next().map_err(&reading)? {
                    Some(row) => Some(decoder.row(connection, row)?),
                    None => None,
                };
                rows.push(row);
            }
            Ok(rows)
        })
    }
}

impl LetterFilter {
    fn admits(&self, letter: &LetterRow) -> bool {
        !(self.open && letter.dismissed.is_some())
            && self.sink.as_ref().is_none_or(|sink| *sink == letter.sink)
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| *reason == letter.reason)
            && self
                .seqs
                .as_ref()
                .is_none_or(|seqs| seqs.contains(&letter.seq))
    }
}
