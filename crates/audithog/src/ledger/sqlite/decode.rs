//! The columns of `audit_rows` as a row's fields. The inverse of `encode.rs`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::encode::ACTOR_TYPES;
use super::error::{damaged, failed};
use super::schema::flag;
use crate::ledger::StoreError;
use crate::record::{
    Actor, Exchange, Measured, Micros, Outcome, RequestId, Row, Run, SharedRow, SharedText,
    StoredRow, Text,
};

/// Texts known to a reader; beyond this the memory starts afresh.
const KNOWN_NAMES: usize = 8_192;
/// Numbers are given one after the other, and this many at most: see `names.rs`.
const LARGEST_NAME: usize = 65_536;
const KNOWN_RUNS: usize = 256;

/// What rows refer to, remembered between reads.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// By number.
    names: Vec<Option<Name>>,
    known_names: usize,
    runs: HashMap<i64, Arc<Run>>,
    /// Most rows are of the run of the one before.
    last_run: Option<(i64, Arc<Run>)>,
}

/// A text of the dictionary.
#[derive(Clone, Debug)]
struct Name {
    /// A short one lies here: one look less for each column that has one.
    text: Text,
    /// Once a row wanted it shared.
    shared: Option<SharedText>,
}

/// Rows that were read together, and stay together: see [`SharedRow::among`].
#[derive(Debug, Default)]
pub(super) struct Gathered {
    numbers: Vec<(i64, Arc<Run>)>,
    rows: Vec<Row>,
}

impl Gathered {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            numbers: Vec::with_capacity(rows),
            rows: Vec::with_capacity(rows),
        }
    }

    pub(super) fn into_rows(self) -> Vec<StoredRow> {
        let rows = Arc::new(self.rows);
        let numbers = self.numbers.into_iter().enumerate();
        numbers
            .map(|(at, (seq, run))| StoredRow {
                seq,
                run,
                row: SharedRow::among(&rows, at),
            })
            .collect()
    }
}

/// Hands out the columns from left to right.
struct Columns<'a, 'stmt> {
    row: &'a rusqlite::Row<'stmt>,
    next: usize,
}

impl Decoder {
    pub(super) fn row(
        &mut self,
        connection: &Connection,
        row: &rusqlite::Row<'_>,
    ) -> Result<StoredRow, StoreError> {
        let ((seq, run), row) = self.parts(connection, row)?;
        Ok(StoredRow {
            seq,
            run,
            row: row.into(),
        })
    }

    pub(super) fn gather(
        &mut self,
        connection: &Connection,
        row: &rusqlite::Row<'_>,
        into: &mut Gathered,
    ) -> Result<(), StoreError> {
        let (number, row) = self.parts(connection, row)?;
        into.numbers.push(number);
        into.rows.push(row);
        Ok(())
    }

    // In the callers, so that a row is made where it stays: it is large.
    #[inline(always)]
    fn parts(
        &mut self,
        connection: &Connection,
        row: &rusqlite::Row<'_>,
    ) -> Result<((i64, Arc<Run>), Row), StoreError> {
        let mut columns = Columns { row, next: 0 };
        let seq = columns.int()?;
        let run = columns.int()?;
        let run = self.run(connection, run)?;
        let flags = columns.int()?;
        let id = columns.uuid()?.ok_or_else(|| damaged("a row has no id"))?;
        let ts = Micros(columns.int()?);
        let event = self
            .text(connection, columns.value()?)?
            .ok_or_else(|| damaged("a row has no event"))?;
        let request_id = if flags & flag::REQUEST_IS_ID != 0 {
            columns.next += 1;
            Some(RequestId::Uuid(id))
        } else {
            request_id(columns.value()?)?
        };
        let user_id = self.text(connection, columns.value()?)?;
        let user_role = self.text(connection, columns.value()?)?;
        let org_id = self.text(connection, columns.value()?)?;
        let kind = match columns.opt_int()? {
            Some(at) => Some(
                usize::try_from(at)
                    .ok()
                    .and_then(|at| ACTOR_TYPES.get(at).copied())
                    .ok_or_else(|| damaged("a row has an unknown actor type"))?,
            ),
            None => None,
        };
        let mut exchange = self.exchange(connection, flags, &mut columns)?;
        let trace_id = columns.uuid()?.map(Uuid::into_bytes);
        let [upstream_request_id, on_behalf_of, distinct_id, properties] =
            if flags & flag::PLAIN != 0 {
                [const { None }; 4]
            } else {
                let mut next = || self.shared(connection, columns.value()?);
                [next()?, next()?, next()?, next()?]
            };
        if let Some(exchange) = &mut exchange {
            exchange.upstream_request_id = upstream_request_id;
        }
        let row = Row {
            id,
            caller_id: flags & flag::CALLER_ID != 0,
            ts,
            event,
            request_id,
            actor: Actor {
                user_id,
                user_role,
                org_id,
                kind,
                on_behalf_of,
            },
            exchange,
            trace_id,
            trace_trusted: flags & flag::TRACE_TRUSTED != 0,
            distinct_id,
            properties,
            on_request_of: None,
            measured: Measured::default(),
        };
        Ok(((seq, run), row))
    }

    fn exchange(
        &mut self,
        connection: &Connection,
        flags: i64,
        columns: &mut Columns<'_, '_>,
    ) -> Result<Option<Exchange>, StoreError> {
        if flags & (flag::HTTP | flag::OPEN) == 0 {
            columns.next += 8;
            return Ok(None);
        }
        let method = self.text(connection, columns.value()?)?;
        let path = if flags & flag::PATH_IS_ROUTE != 0 {
            columns.next += 1;
            None
        } else {
            self.text(connection, columns.value()?)?
        };
        let route = self.text(connection, columns.value()?)?;
        let status_code = columns
            .opt_int()?
            .map(u16::try_from)
            .transpose()
            .map_err(|_| damaged("a row has an impossible status code"))?;
        let error_code = self.shared(connection, columns.value()?)?;
        let duration_us = columns.opt_int()?.unwrap_or(0);
        let user_agent = self.shared(connection, columns.value()?)?;
        let ip = ip(columns.value()?)?;
        let path = if flags & flag::PATH_IS_ROUTE != 0 {
            route.clone()
        } else {
            path
        };
        Ok(Some(Exchange {
            method: method.ok_or_else(|| damaged("a row has no method"))?,
            path: path.ok_or_else(|| damaged("a row has no path"))?,
            route,
            status_code,
            outcome: match flags {
                _ if flags & flag::OPEN != 0 => Outcome::Open,
                _ if flags & flag::FAILURE != 0 => Outcome::Failure,
                _ => Outcome::Success,
            },
            error_code,
            duration_us: u64::try_from(duration_us).unwrap_or(0),
            user_agent,
            ip,
            upstream_request_id: None,
        }))
    }

    /// Text as it is, by number, or as a UUID.
    fn text(
        &mut self,
        connection: &Connection,
        value: ValueRef<'_>,
    ) -> Result<Option<Text>, StoreError> {
        match value {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => Ok(Some(utf8(bytes)?.into())),
            ValueRef::Integer(name) => self
                .name(connection, name, |name| name.text.clone())
                .map(Some),
            ValueRef::Blob(bytes) => Ok(Some(blob_uuid(bytes)?.as_hyphenated().to_string().into())),
            ValueRef::Real(_) => Err(damaged("a row has a number in place of a text")),
        }
    }

    /// Like [`Decoder::text`]; one that has a number is not copied.
    fn shared(
        &mut self,
        connection: &Connection,
        value: ValueRef<'_>,
    ) -> Result<Option<SharedText>, StoreError> {
        match value {
            ValueRef::Integer(name) => self.name(connection, name, Name::share).map(Some),
            other => Ok(self.text(connection, other)?.map(Into::into)),
        }
    }

    /// What `take` takes of a text in the dictionary.
    fn name<T>(
        &mut self,
        connection: &Connection,
        name: i64,
        take: impl FnOnce(&mut Name) -> T,
    ) -> Result<T, StoreError> {
        let place = usize::try_from(name).ok();
        if let Some(Some(known)) = place.and_then(|place| self.names.get_mut(place)) {
            return Ok(take(known));
        }
        let text: Option<String> = connection
            .prepare_cached("SELECT text FROM audit_names WHERE name = ?1")
            .and_then(|mut by_name| by_name.query_row([name], |row| row.get(0)).optional())
            .map_err(failed("read a text"))?;
        let text = text.ok_or_else(|| damaged(format_args!("text {name} is missing")))?;
        let mut known = Name {
            text: text.into(),
            shared: None,
        };
        let taken = take(&mut known);
        if let Some(place) = place.filter(|place| *place <= LARGEST_NAME) {
            if self.known_names >= KNOWN_NAMES {
                self.names.clear();
                self.known_names = 0;
            }
            if self.names.len() <= place {
                self.names.resize(place + 1, None);
            }
            self.names[place] = Some(known);
            self.known_names += 1;
        }
        Ok(taken)
    }

    fn run(&mut self, connection: &Connection, run: i64) -> Result<Arc<Run>, StoreError> {
        if let Some((last, known)) = &self.last_run
            && *last == run
        {
            return Ok(Arc::clone(known));
        }
        let found = self.some_run(connection, run)?;
        self.last_run = Some((run, Arc::clone(&found)));
        Ok(found)
    }

    fn some_run(&mut self, connection: &Connection, run: i64) -> Result<Arc<Run>, StoreError> {
        if let Some(known) = self.runs.get(&run) {
            return Ok(Arc::clone(known));
        }
        let found = super::runs::constants(connection, run)
            .map_err(failed("read a run"))?
            .ok_or_else(|| damaged(format_args!("run {run} is missing")))?;
        if self.runs.len() >= KNOWN_RUNS {
            self.runs.clear();
        }
        let found = Arc::new(found);
        self.runs.insert(run, Arc::clone(&found));
        Ok(found)
    }
}

impl Name {
    fn share(&mut self) -> SharedText {
        let text = || self.text.clone().into();
        self.shared.get_or_insert_with(text).clone()
    }
}

impl<'a> Columns<'a, '_> {
    fn value(&mut self) -> Result<ValueRef<'a>, StoreError> {
        let at = self.next;
        self.next += 1;
        self.row.get_ref(at).map_err(failed("read a column"))
    }

    fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            _ => Err(damaged("a row has something else in place of a number")),
        }
    }

    fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?
            .ok_or_else(|| damaged("a row lacks a number"))
    }

    fn uuid(&mut self) -> Result<Option<Uuid>, StoreError> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => blob_uuid(bytes).map(Some),
            _ => Err(damaged("a row has something else in place of an id")),
        }
    }
}

fn request_id(value: ValueRef<'_>) -> Result<Option<RequestId>, StoreError> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(RequestId::Uuid(blob_uuid(bytes)?))),
        ValueRef::Text(bytes) => Ok(Some(RequestId::Adopted(utf8(bytes)?.into()))),
        _ => Err(damaged("a row has a number in place of a request id")),
    }
}

fn ip(value: ValueRef<'_>) -> Result<Option<IpAddr>, StoreError> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => i32::try_from(number)
            .map(|bits| Some(Ipv4Addr::from_bits(bits.cast_unsigned()).into()))
            .map_err(|_| damaged("a row has an impossible address")),
        ValueRef::Text(bytes) => utf8(bytes)?
            .parse()
            .map(Some)
            .map_err(|_| damaged("a row has an impossible address")),
        _ => Err(damaged("a row has something else in place of an address")),
    }
}

fn blob_uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|_| damaged("an id does not have 16 bytes"))
}

fn utf8(bytes: &[u8]) -> Result<&str, StoreError> {
    std::str::from_utf8(bytes).map_err(|_| damaged("a text is not UTF-8"))
}
