//! Rows by column, for those who count them.

use std::cell::RefCell;
use std::collections::HashMap;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::super::digest::{STRETCH, hash};
use super::super::error::{damaged, failed};
use super::super::packed;
use super::super::schema::flag;
use super::digests::{Plan, exact_ranges, fill, ranges};
use super::rows::{in_steps, in_stretches, stretches};
use super::select::Conditions;
use super::{DIGESTS, Looker};
use crate::ledger::{Column, Columns, FAILURE, HTTP, RowFilter, Slice, StoreError};
use crate::record::Field;

/// Texts that are not in the dictionary begin here: it has 65,536 places.
const FIRST_TEXT: u64 = 1 << 40;

impl Looker {
    /// Hands out the rows with `after < seq <= upto` that the filter admits, by column and in order. `visit` ends it with false.
    pub(crate) fn slices(
        &mut self,
        filter: &RowFilter,
        columns: Columns,
        (after, upto): (i64, i64),
        mut visit: impl FnMut(&Slice) -> bool,
    ) -> Result<(), StoreError> {
        let found = self.read(|connection, version| {
            let found = stretches(connection, filter, after, upto);
            let found = found.map_err(failed("look up a time"))?;
            Ok((found, Plan::of(connection, filter)?, version >= DIGESTS))
        })?;
        let (found, plan, digests) = found;
        let scan = Scan {
            filter,
            columns,
            texts: RefCell::default(),
            slice: RefCell::default(),
        };
        for part in found.into_iter().flat_map(in_stretches) {
            let todo = match digests {
                true => self.read(|connection, _| scan.digest(connection, &plan, part))?,
                false => Todo::whole(part),
            };
            if todo.counted && !visit(&scan.slice.borrow()) {
                return Ok(());
            }
            for step in todo.ranges.into_iter().flat_map(in_steps) {
                self.read(|connection, _| scan.rows(connection, step))?;
                if !visit(&scan.slice.borrow()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A number for each run, equal where the field's texts are.
    pub(crate) fn run_keys(&mut self, field: Field) -> Result<HashMap<u64, u64>, StoreError> {
        self.read(|connection, _| {
            let reading = failed("read its runs");
            let mut keys = HashMap::new();
            let mut first: HashMap<Option<String>, u64> = HashMap::new();
            let sql = format!("SELECT run, {} FROM audit_runs ORDER BY run", field.name());
            let mut statement = connection.prepare(&sql).map_err(&reading)?;
            let mut found = statement.query([]).map_err(&reading)?;
            while let Some(row) = found.next().map_err(&reading)? {
                let run = row.get::<_, i64>(0).map_err(&reading)?.cast_unsigned();
                let text = row.get(1).map_err(&reading)?;
                keys.insert(run, *first.entry(text).or_insert(run));
            }
            Ok(keys)
        })
    }
}

/// What is read of each row, and the rows that were read last.
struct Scan<'a> {
    filter: &'a RowFilter,
    columns: Columns,
    texts: RefCell<Texts>,
    slice: RefCell<Slice>,
}

/// What is left of a part of a stretch.
struct Todo {
    /// The slice has rows.
    counted: bool,
    /// Rows to be read.
    ranges: Vec<(i64, i64)>,
}

impl Todo {
    fn whole(part: (i64, i64)) -> Self {
        Self {
            counted: false,
            ranges: vec![part],
        }
    }
}

impl Scan<'_> {
    /// Counts by the stretch's digest, if it has one, or finds by it which rows have to be read.
    fn digest(
        &self,
        connection: &Connection,
        plan: &Plan,
        part: (i64, i64),
    ) -> Result<Todo, StoreError> {
        let suffices = plan.suffices(self.columns);
        if !suffices && !plan.narrows() {
            return Ok(Todo::whole(part));
        }
        let stretch = part.0 / STRETCH;
        let Some(mut chosen) = plan.choose(connection, stretch, part)? else {
            return Ok(Todo::whole(part));
        };
        if !suffices {
            return Ok(Todo {
                counted: false,
                ranges: ranges(stretch, &chosen),
            });
        }
        let mut counted = false;
        if !chosen.admitted.is_empty() {
            let mut slice = self.slice.borrow_mut();
            slice.clear();
            let filled = fill(connection, stretch, self.columns, &mut chosen, &mut slice)?;
            if filled.is_none() {
                return Ok(Todo::whole(part));
            }
            counted = !slice.selected.is_empty();
        }
        Ok(Todo {
            counted,
            // The others are counted.
            ranges: exact_ranges(stretch, &chosen),
        })
    }

    fn rows(&self, connection: &Connection, (after, upto): (i64, i64)) -> Result<(), StoreError> {
        let mut slice = self.slice.borrow_mut();
        let mut texts = self.texts.borrow_mut();
        slice.clear();
        let reading = failed("read rows");
        let before = vec![Value::Integer(after), Value::Integer(upto)];
        let conditions = Conditions::of(self.filter, before);
        let columns: String = self
            .columns
            .iter()
            .map(|column| format!(", {}", sql(column)))
            .collect();
        let statement = format!(
            "SELECT seq{columns} FROM audit_rows WHERE seq > ?1 AND seq <= ?2{} ORDER BY seq",
            conditions.sql
        );
        let mut statement = connection.prepare_cached(&statement).map_err(&reading)?;
        let mut found = statement
            .query(rusqlite::params_from_iter(&conditions.values))
            .map_err(&reading)?;
        while let Some(row) = found.next().map_err(&reading)? {
            slice.seqs.push(row.get(0).map_err(&reading)?);
            for (at, column) in self.columns.iter().enumerate() {
                let value = row.get_ref(at + 1).map_err(&reading)?;
                let number = texts.number(connection, column, value)?;
                slice.column_mut(column).push(number);
            }
        }
        let rows = u32::try_from(slice.seqs.len()).unwrap_or(0);
        slice.selected.extend(0..rows);
        Ok(())
    }
}

/// Where a column's number comes from.
fn sql(column: Column) -> String {
    match column {
        Column::Ts => "ts".to_owned(),
        Column::Run => "run".to_owned(),
        Column::Flags => "flags".to_owned(),
        Column::Event => packed::column("audit_rows", "event"),
        Column::Method => packed::column("audit_rows", "method"),
        Column::Route => packed::column("audit_rows", "route"),
        Column::Status => "status_code".to_owned(),
        Column::ErrorCode => packed::column("audit_rows", "error_code"),
        Column::Duration => "duration_us".to_owned(),
        Column::UserId => "user_id".to_owned(),
        Column::UserRole => packed::column("audit_rows", "user_role"),
        Column::OrgId => "org_id".to_owned(),
        Column::Ip => "ip".to_owned(),
        Column::RequestId => format!(
            "CASE WHEN flags & {} THEN id ELSE request_id END",
            flag::REQUEST_IS_ID
        ),
        Column::TraceId => "trace_id".to_owned(),
        Column::Path => format!(
            "CASE WHEN flags & {} THEN {} ELSE path END",
            flag::PATH_IS_ROUTE,
            packed::column("audit_rows", "route")
        ),
        Column::ActorType => packed::column("audit_rows", "actor_type"),
        Column::UserAgent => packed::column("audit_rows", "user_agent"),
        Column::OnBehalfOf => "on_behalf_of".to_owned(),
    }
}

/// Texts as numbers.
#[derive(Debug, Default)]
struct Texts(HashMap<Box<[u8]>, u64>);

impl Texts {
    fn number(
        &mut self,
        connection: &Connection,
        column: Column,
        value: ValueRef<'_>,
    ) -> Result<u64, StoreError> {
        match (column, value) {
            (Column::Duration | Column::ActorType, ValueRef::Integer(number)) => {
                Ok(number.cast_unsigned().saturating_add(1))
            }
            (Column::Flags, ValueRef::Integer(flags)) => {
                Ok(flags.cast_unsigned() & (HTTP | FAILURE))
            }
            (Column::Ip, ValueRef::Integer(ip)) => Ok(hash::ipv4(ip)),
            (Column::UserId | Column::OnBehalfOf | Column::Ip, ValueRef::Text(text)) => {
                Ok(hash::text(text))
            }
            (_, ValueRef::Null) => Ok(0),
            (_, ValueRef::Integer(number)) => Ok(number.cast_unsigned()),
            (_, ValueRef::Text(text)) => self.text(connection, text),
            (_, ValueRef::Blob(bytes)) => Ok(hash::blob(bytes)),
            (_, ValueRef::Real(_)) => Err(damaged("a row has a fraction in place of a text")),
        }
    }

    /// A text that stands in its row although it may be in the dictionary by now: rows from before then have it so.
    fn text(&mut self, connection: &Connection, text: &[u8]) -> Result<u64, StoreError> {
        if let Some(number) = self.0.get(text) {
            return Ok(*number);
        }
        let shown = std::str::from_utf8(text).map_err(|_| damaged("a text is not UTF-8"))?;
        let named: Option<i64> = connection
            .prepare_cached("SELECT name FROM audit_names WHERE text = ?1")
            .and_then(|mut named| named.query_row([shown], |row| row.get(0)).optional())
            .map_err(failed("read a text"))?;
        let number = match named {
            Some(name) => name.cast_unsigned(),
            None => FIRST_TEXT + self.0.len() as u64,
        };
        self.0.insert(text.into(), number);
        Ok(number)
    }
}
