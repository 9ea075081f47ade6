//! A question answered from a ledger's file.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, AnswerColumn, CellKind, Scope};
use super::filter::wrong;
use super::groups::{Figure, Groups, KEYS, Slot};
use super::question::{Grouping, Key, Kind, Measure, Question, Shown};
use super::{Field, Log};
use crate::error::Error;
use crate::ledger::{Condition, Direction, Extent, RowFilter};
use crate::record::{Micros, StoredRow, text_of};

/// Rows read at a time.
const PAGE: usize = 1_000;
/// How far a clock may have been set back between a request's id and its rows.
pub(super) const CLOCK: Duration = Duration::from_secs(3_600);

impl Log {
    /// Answers from what the file holds now. Rows that a service commits meanwhile are not in it.
    ///
    /// Reads in short steps, so it never keeps a service from writing. It takes time with the rows of the range, and memory with the
    /// lines of the answer and the number of groups.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read. [`Error::is_question`]: more than a million groups.
    pub fn ask(&mut self, question: &Question) -> Result<Answer, Error> {
        let extent = self.looker.extent()?;
        let filter = narrowed(&self.visible(&question.filter.0));
        let mut answer = match &question.kind {
            Kind::Rows {
                columns,
                latest_first,
            } => self.rows_of(question, &filter, columns, *latest_first, extent)?,
            Kind::Groups(grouping) => self.groups_of(question, &filter, grouping, extent)?,
        };
        self.note_limits(question, extent, &mut answer.scope)?;
        Ok(answer)
    }

    fn rows_of(
        &mut self,
        question: &Question,
        filter: &RowFilter,
        columns: &[Shown],
        latest_first: bool,
        extent: Extent,
    ) -> Result<Answer, Error> {
        let direction = if latest_first {
            Direction::Backward
        } else {
            Direction::Forward
        };
        let mut walk = self
            .looker
            .walk(filter, direction, extent.pruned, extent.head)?;
        let mut lines = Vec::new();
        // One more than is shown tells whether there are more.
        while lines.len() <= question.limit && !walk.is_done() {
            let wanted = (question.limit + 1 - lines.len()).min(PAGE);
            for row in self.looker.step(filter, &mut walk, wanted)? {
                lines.push(columns.iter().map(|column| cell(*column, &row)).collect());
            }
        }
        let more = lines.len() > question.limit;
        lines.truncate(question.limit);
        Ok(Answer {
            columns: columns.iter().map(|column| shown(*column)).collect(),
            scope: Scope {
                rows: Some(lines.len() as u64),
                more,
                ..Scope::of(question)
            },
            lines,
        })
    }

    fn groups_of(
        &mut self,
        question: &Question,
        filter: &RowFilter,
        grouping: &Grouping,
        extent: Extent,
    ) -> Result<Answer, Error> {
        let mut groups = Groups::new(grouping, |field| self.looker.run_keys(field))?;
        let mut room = true;
        let columns = groups.columns();
        self.looker
            .slices(filter, columns, (extent.pruned, extent.head), |slice| {
                room = groups.add(slice);
                room
            })?;
        if !room {
            return Err(wrong(
                "the answer has more than a million groups: narrow the time or the filter"
                    .to_owned(),
            ));
        }
        let rows = groups.rows();
        let (slots, more) = groups.first(question.limit);
        let examples: Vec<i64> = slots.iter().map(|(_, slot)| slot.example).collect();
        let named = grouping.by.iter().any(|key| matches!(key, Key::Field(_)));
        let examples = match named {
            true => self.looker.rows_by_seq(&examples)?,
            false => vec![None; slots.len()],
        };
        let lines = slots.iter().zip(&examples);
        let lines = lines.map(|(slot, example)| line(grouping, slot, example.as_ref()));
        let mut scope = Scope {
            rows: Some(rows),
            more,
            ..Scope::of(question)
        };
        if grouping.has_percentiles() {
            let note = "percentiles are known to within 0.4 %, counts are exact";
            scope.notes.push(note.to_owned());
        }
        Ok(Answer {
            lines: lines.collect(),
            columns: columns_of(grouping),
            scope,
        })
    }

    /// Says what the file no longer holds, or never got.
    fn note_limits(
        &mut self,
        question: &Question,
        extent: Extent,
        scope: &mut Scope,
    ) -> Result<(), Error> {
        let facts = self.looker.facts()?;
        if self.within.is_some() {
            // Always the same, whatever time is asked for: the times are those of others, too.
            if extent.pruned > 0 {
                scope
                    .notes
                    .push("retention has removed older rows of the log".to_owned());
            }
            if !facts.losses.is_empty() {
                let note = "rows of the log were lost: whose they were is not known";
                scope.notes.push(note.to_owned());
            }
            return Ok(());
        }
        let filter = &question.filter.0;
        if extent.pruned > 0
            && let Some(first) = facts.first
            && filter.since.is_none_or(|since| since < first)
            && filter.until.is_none_or(|until| until > Micros::FIRST)
        {
            scope.notes.push(format!(
                "retention removed the rows up to number {}: what is left begins at {first}",
                extent.pruned
            ));
        }
        for loss in &facts.losses {
            let Some(last) = loss.last else { continue };
            if filter.since.is_none_or(|since| last >= since) {
                scope.notes.push(format!(
                    "rows were lost ({}, the last time at {last}): the rows `audit_loss` say how many and when",
                    loss.reason
                ));
            }
        }
        Ok(())
    }
}

/// The id of a request made by audithog begins with its time, and none of its rows is older.
fn narrowed(filter: &RowFilter) -> RowFilter {
    let mut narrowed = filter.clone();
    for condition in &filter.conditions {
        let Condition::Is(Field::RequestId, ids) = condition else {
            continue;
        };
        let oldest = ids
            .iter()
            .map(|id| made_at(uuid::Uuid::try_parse(id).ok()?))
            .min()
            .flatten();
        let Some(oldest) = oldest else { continue };
        let from = oldest.saturating_sub(CLOCK);
        narrowed.since = narrowed.since.max(Some(from));
    }
    narrowed
}

/// The time in a UUIDv7.
pub(super) fn made_at(id: uuid::Uuid) -> Option<Micros> {
    if id.get_version_num() != 7 {
        return None;
    }
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    Some(Micros(
        seconds.checked_mul(1_000_000)? + i64::from(nanos / 1_000),
    ))
}

pub(super) fn columns_of(grouping: &Grouping) -> Vec<AnswerColumn> {
    let keys = grouping.by.iter().map(|key| {
        let kind = match key {
            Key::Field(_) => CellKind::Text,
            Key::Status => CellKind::Count,
            Key::Time(_) => CellKind::Time,
        };
        AnswerColumn::new(key.name(), kind)
    });
    let measures = grouping.measures.iter().map(|measure| {
        let kind = match measure {
            Measure::FailureRate | Measure::ServerErrorRate => CellKind::Rate,
            Measure::P50 | Measure::P95 | Measure::P99 => CellKind::Milliseconds,
            Measure::Last => CellKind::Time,
            _ => CellKind::Count,
        };
        AnswerColumn::new(measure.name(), kind)
    });
    keys.chain(measures).collect()
}

fn line(
    grouping: &Grouping,
    (numbers, slot): &([u64; KEYS], Slot),
    example: Option<&StoredRow>,
) -> Vec<Value> {
    let keys = grouping.by.iter().enumerate().map(|(at, key)| match key {
        Key::Time(step) => {
            let start = numbers[at].cast_signed().saturating_mul(*step);
            json!(Micros(start).to_string())
        }
        Key::Status => match numbers[at] {
            0 => Value::Null,
            status => json!(status),
        },
        // Retention may just have removed the row.
        Key::Field(field) => json!(example.and_then(|row| text_of(row, *field))),
    });
    let measures = grouping
        .measures
        .iter()
        .map(|measure| match slot.figure(*measure) {
            Figure::Count(count) => json!(count),
            Figure::Number(number) => json!(number),
            Figure::Time(time) => json!(Micros(time).to_string()),
        });
    keys.chain(measures).collect()
}

pub(super) fn shown(column: Shown) -> AnswerColumn {
    let kind = match column {
        Shown::Ts => CellKind::Time,
        Shown::StatusCode => CellKind::Count,
        Shown::DurationMs => CellKind::Milliseconds,
        Shown::Properties => CellKind::Json,
        Shown::Field(_) => CellKind::Text,
    };
    AnswerColumn::new(column.name(), kind)
}

fn cell(column: Shown, stored: &StoredRow) -> Value {
    let row = &stored.row;
    match column {
        Shown::Ts => json!(row.ts.to_string()),
        Shown::StatusCode => json!(row.status_code()),
        Shown::DurationMs => json!(row.duration().map(|took| took.as_micros() as f64 / 1_000.0)),
        Shown::Properties => row
            .properties_json()
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or(Value::Null),
        Shown::Field(field) => json!(text_of(stored, field)),
    }
}
