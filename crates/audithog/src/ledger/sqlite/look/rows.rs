//! Rows that a filter admits, stretch by stretch: no read transaction lives long.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::super::decode::Decoder;
use super::super::encode::COLUMNS;
use super::super::error::failed;
use super::Looker;
use super::select::Conditions;
use crate::ledger::{RowFilter, StoreError};
use crate::record::StoredRow;

/// Rows looked at in one read transaction: some milliseconds.
const STRETCH: i64 = 10_000;

/// Which way through the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The oldest first, by `seq`.
    Forward,
    /// The latest first.
    Backward,
}

/// What part of the log there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The last row.
    pub(crate) head: i64,
    /// The last row that retention removed.
    pub(crate) pruned: i64,
}

/// A place in a walk through rows: what is left of it.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    direction: Direction,
    /// Stretches `(after, upto]` that may have rows, in the order of the walk.
    stretches: std::collections::VecDeque<(i64, i64)>,
}

impl Walk {
    /// Nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.stretches.is_empty()
    }
}

impl Looker {
    pub(crate) fn extent(&mut self) -> Result<Extent, StoreError> {
        self.read(|connection, _| extent(connection).map_err(failed("read its head")))
    }

    /// A walk through the rows with `after < seq <= upto` that may have times as the filter wants.
    pub(crate) fn walk(
        &mut self,
        filter: &RowFilter,
        direction: Direction,
        after: i64,
        upto: i64,
    ) -> Result<Walk, StoreError> {
        let found = self.read(|connection, _| {
            stretches(connection, filter, after, upto).map_err(failed("look up a time"))
        })?;
        let mut stretches: std::collections::VecDeque<_> =
            found.into_iter().flat_map(in_steps).collect();
        if direction == Direction::Backward {
            stretches.make_contiguous().reverse();
        }
        Ok(Walk {
            direction,
            stretches,
        })
    }

    /// The next rows of the walk, at most `limit`. None may be found although the walk goes on.
    pub(crate) fn step(
        &mut self,
        filter: &RowFilter,
        walk: &mut Walk,
        limit: usize,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let Some((after, upto)) = walk.stretches.pop_front() else {
            return Ok(Vec::new());
        };
        let rows = self.stretch(filter, walk.direction, (after, upto), limit)?;
        if rows.len() >= limit
            && let Some(last) = rows.last()
        {
            let left = match walk.direction {
                Direction::Forward => (last.seq, upto),
                Direction::Backward => (after, last.seq - 1),
            };
            if left.0 < left.1 {
                walk.stretches.push_front(left);
            }
        }
        Ok(rows)
    }

    fn stretch(
        &mut self,
        filter: &RowFilter,
        direction: Direction,
        (after, upto): (i64, i64),
        limit: usize,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let order = match direction {
            Direction::Forward => "",
            Direction::Backward => " DESC",
        };
        let before = vec![
            Value::Integer(after),
            Value::Integer(upto),
            Value::Integer(limit),
        ];
        let conditions = Conditions::of(filter, before);
        let sql = format!(
            "SELECT {COLUMNS} FROM audit_rows WHERE seq > ?1 AND seq <= ?2{} ORDER BY seq{order} LIMIT ?3",
            conditions.sql
        );
        self.read(|connection, _| {
            let reading = failed("read rows");
            let mut decoder = Decoder::default();
            let mut statement = connection.prepare_cached(&sql).map_err(&reading)?;
            let mut found = statement
                .query(rusqlite::params_from_iter(&conditions.values))
                .map_err(&reading)?;
            let mut rows = Vec::new();
            while let Some(row) = found.next().map_err(&reading)? {
                rows.push(decoder.row(connection, row)?);
            }
            Ok(rows)
        })
    }
}

pub(super) fn extent(connection: &Connection) -> rusqlite::Result<Extent> {
    connection
        .prepare_cached("SELECT head, pruned FROM audit_head")?
        .query_row([], |row| {
            Ok(Extent {
                head: row.get(0)?,
                pruned: row.get(1)?,
            })
        })
}

/// Stretches `(after, upto]` of the log whose blocks have times in the filter's range, in order; neighbours are one.
pub(super) fn stretches(
    connection: &Connection,
    filter: &RowFilter,
    after: i64,
    upto: i64,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let Extent { head, pruned } = extent(connection)?;
    let (after, upto) = (after.max(pruned), upto.min(head));
    if after >= upto || filter.is_empty() {
        return Ok(Vec::new());
    }
    let since = filter.since.map_or(i64::MIN, |since| since.0);
    let until = filter.until.map_or(i64::MAX, |until| until.0);
    let mut statement = connection.prepare_cached(
        "SELECT first_seq, last_seq FROM audit_blocks
         WHERE last_seq > ?1 AND first_seq <= ?2 AND max_ts >= ?3 AND min_ts < ?4 ORDER BY first_seq",
    )?;
    let mut found = statement.query([after, upto, since, until])?;
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    while let Some(block) = found.next()? {
        let from = block.get::<_, i64>(0)? - 1;
        let (from, to) = (from.max(after), block.get::<_, i64>(1)?.min(upto));
        match stretches.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => stretches.push((from, to)),
        }
    }
    Ok(stretches)
}

/// A stretch in parts that are read in a moment.
pub(super) fn in_steps((after, upto): (i64, i64)) -> impl Iterator<Item = (i64, i64)> {
    let mut next = after;
    std::iter::from_fn(move || {
        if next >= upto {
            return None;
        }
        let step = (next, upto.min(next.saturating_add(STRETCH)));
        next = step.1;
        Some(step)
    })
}
