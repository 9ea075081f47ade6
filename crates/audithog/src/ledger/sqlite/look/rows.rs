//! Rows that a filter admits, stretch by stretch: no read transaction lives long.

use std::collections::VecDeque;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::super::decode::Decoder;
use super::super::digest::STRETCH;
use super::super::encode::COLUMNS;
use super::super::error::failed;
use super::digests::{Plan, ranges};
use super::select::Conditions;
use super::{DIGESTS, Looker};
use crate::ledger::{RowFilter, StoreError};
use crate::record::StoredRow;

/// Rows looked at in one read transaction: some milliseconds.
const STEP: i64 = 10_000;
/// Stretches that a step looks through by their digests before it answers, also without a row.
const STRETCHES: usize = 64;

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
#[derive(Debug)]
pub(crate) struct Walk {
    direction: Direction,
    plan: Plan,
    /// Parts that may have rows, in the order of the walk.
    parts: VecDeque<Part>,
}

/// Rows with `after < seq <= upto`.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Of one stretch, whose digest may tell where the rows are.
    Unseen(i64, i64),
    /// To be read.
    Seen(i64, i64),
}

impl Walk {
    /// Puts ranges, which are in the order of the log, before everything else.
    fn read_next(&mut self, ranges: Vec<(i64, i64)>) {
        let mut steps: Vec<(i64, i64)> = ranges.into_iter().flat_map(in_steps).collect();
        if self.direction == Direction::Forward {
            steps.reverse();
        }
        for (after, upto) in steps {
            self.parts.push_front(Part::Seen(after, upto));
        }
    }

    /// Nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.parts.is_empty()
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
        let (found, plan, digests) = self.read(|connection, version| {
            let found = stretches(connection, filter, after, upto);
            let found = found.map_err(failed("look up a time"))?;
            Ok((found, Plan::of(connection, filter)?, version >= DIGESTS))
        })?;
        let unseen = digests && plan.narrows();
        let mut walk = Walk {
            direction,
            plan,
            parts: VecDeque::new(),
        };
        if unseen {
            let parts = found.into_iter().flat_map(in_stretches);
            walk.parts = parts
                .map(|(after, upto)| Part::Unseen(after, upto))
                .collect();
            if direction == Direction::Backward {
                walk.parts.make_contiguous().reverse();
            }
        } else {
            walk.read_next(found);
        }
        Ok(walk)
    }

    /// The next rows of the walk, at most `limit`. None may be found although the walk goes on.
    pub(crate) fn step(
        &mut self,
        filter: &RowFilter,
        walk: &mut Walk,
        limit: usize,
    ) -> Result<Vec<StoredRow>, StoreError> {
        for _ in 0..STRETCHES {
            match walk.parts.pop_front() {
                None => break,
                Some(Part::Seen(after, upto)) => {
                    return self.read_part(filter, walk, (after, upto), limit);
                }
                Some(Part::Unseen(after, upto)) => {
                    let stretch = after / STRETCH;
                    let plan = &walk.plan;
                    let chosen =
                        self.read(|connection, _| plan.choose(connection, stretch, (after, upto)))?;
                    let found = match chosen {
                        Some(chosen) => ranges(stretch, &chosen),
                        None => vec![(after, upto)],
                    };
                    walk.read_next(found);
                }
            }
        }
        Ok(Vec::new())
    }

    fn read_part(
        &mut self,
        filter: &RowFilter,
        walk: &mut Walk,
        (after, upto): (i64, i64),
        limit: usize,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let rows = self.stretch(filter, walk.direction, (after, upto), limit)?;
        if rows.len() >= limit
            && let Some(last) = rows.last()
        {
            let (after, upto) = match walk.direction {
                Direction::Forward => (last.seq, upto),
                Direction::Backward => (after, last.seq - 1),
            };
            if after < upto {
                walk.parts.push_front(Part::Seen(after, upto));
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

/// Parts that are read in a moment.
pub(super) fn in_steps(part: (i64, i64)) -> impl Iterator<Item = (i64, i64)> {
    cut(part, |after| after.saturating_add(STEP))
}

/// Parts of one stretch each.
pub(super) fn in_stretches(part: (i64, i64)) -> impl Iterator<Item = (i64, i64)> {
    cut(part, |after| (after / STRETCH + 1).saturating_mul(STRETCH))
}

fn cut((after, upto): (i64, i64), end: impl Fn(i64) -> i64) -> impl Iterator<Item = (i64, i64)> {
    let mut next = after;
    std::iter::from_fn(move || {
        if next >= upto {
            return None;
        }
        let part = (next, upto.min(end(next)));
        next = part.1;
        Some(part)
    })
}
