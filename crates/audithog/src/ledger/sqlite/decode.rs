//! The columns of `audit_rows` as a row's fields. The inverse of `encode.rs`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::encode::ACTOR_TYPES;
use super::error::{damaged, failed, newer};
use super::packed::{Numbers, Place};
use super::schema::flag;
use crate::ledger::StoreError;
use crate::record::{
    Actor, ActorType, Exchange, Measured, Micros, Outcome, RequestId, Row, Run, SharedRow,
    SharedText, StoredRow, Text,
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

/// The columns that were selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// `encode::COLUMNS`, which every row can be read from.
    All,
    /// `encode::PACKED_COLUMNS`, which packed rows can be read from.
    Packed,
}

impl Selected {
    /// Where the columns of a packed row are, from `user_id` on.
    fn of_packed(self) -> [usize; 7] {
        match self {
            Self::All => [7, 9, 12, 14, 16, 18, 19],
            Self::Packed => [7, 8, 9, 10, 11, 12, 13],
        }
    }
}

/// The row's flags, which are in both.
pub(super) fn flags(row: &rusqlite::Row<'_>) -> Result<i64, StoreError> {
    Columns { row, next: 2 }.int()
}

/// Hands out the columns from left to right.
struct Columns<'a, 'stmt> {
    row: &'a rusqlite::Row<'stmt>,
    next: usize,
}

/// A row's columns, those of the exchange and what few rows have aside.
struct Parts {
    event: Text,
    user_id: Option<Text>,
    user_role: Option<Text>,
    org_id: Option<Text>,
    kind: Option<ActorType>,
    exchange: Option<Exchange>,
    trace_id: Option<[u8; 16]>,
    rare: [Option<SharedText>; 4],
}

impl Decoder {
    /// A row whose columns are all there.
    pub(super) fn row(
        &mut self,
        connection: &Connection,
        row: &rusqlite::Row<'_>,
    ) -> Result<StoredRow, StoreError> {
        let flags = flags(row)?;
        let ((seq, run), row) = self.parts(connection, row, flags, Selected::All)?;
        Ok(StoredRow {
            seq,
            run,
            row: row.into(),
        })
    }

    /// A row with these flags, all of whose columns were selected.
    pub(super) fn gather(
        &mut self,
        connection: &Connection,
        row: &rusqlite::Row<'_>,
        flags: i64,
        selected: Selected,
        into: &mut Gathered,
    ) -> Result<(), StoreError> {
        let (number, row) = self.parts(connection, row, flags, selected)?;
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
        flags: i64,
        selected: Selected,
    ) -> Result<((i64, Arc<Run>), Row), StoreError> {
        let mut columns = Columns { row, next: 0 };
        let seq = columns.int()?;
        let run = columns.int()?;
        let run = self.run(connection, run)?;
        if flags & !flag::KNOWN != 0 {
            return Err(newer(seq));
        }
        columns.next += 1;
        let id = columns.uuid()?.ok_or_else(|| damaged("a row has no id"))?;
        let ts = Micros(columns.int()?);
        let event = columns.value()?;
        let request_id = if flags & flag::REQUEST_IS_ID != 0 {
            columns.next += 1;
            Some(RequestId::Uuid(id))
        } else {
            request_id(columns.value()?)?
        };
        let parts = if flags & flag::PACKED != 0 {
            self.packed_parts(connection, flags, event, row, selected)?
        } else {
            self.whole_parts(connection, flags, event, &mut columns)?
        };
        let mut exchange = parts.exchange;
        let [upstream_request_id, on_behalf_of, distinct_id, properties] = parts.rare;
        if let Some(exchange) = &mut exchange {
            exchange.upstream_request_id = upstream_request_id;
        }
        let row = Row {
            id,
            caller_id: flags & flag::CALLER_ID != 0,
            ts,
            event: parts.event,
            request_id,
            actor: Actor {
                user_id: parts.user_id,
                user_role: parts.user_role,
                org_id: parts.org_id,
                kind: parts.kind,
                on_behalf_of,
            },
            exchange,
            trace_id: parts.trace_id,
            trace_trusted: flags & flag::TRACE_TRUSTED != 0,
            distinct_id,
            properties,
            on_request_of: None,
            measured: Measured::default(),
        };
        Ok(((seq, run), row))
    }

    #[inline(always)]
    fn whole_parts(
        &mut self,
        connection: &Connection,
        flags: i64,
        event: ValueRef<'_>,
        columns: &mut Columns<'_, '_>,
    ) -> Result<Parts, StoreError> {
        let event = self.text(connection, event)?;
        let user_id = self.text(connection, columns.value()?)?;
        let user_role = self.text(connection, columns.value()?)?;
        let org_id = self.text(connection, columns.value()?)?;
        let kind = columns.opt_int()?.map(actor_type).transpose()?;
        let exchange = self.exchange(connection, flags, columns)?;
        let trace_id = columns.uuid()?.map(Uuid::into_bytes);
        let rare = if flags & flag::PLAIN != 0 {
            [const { None }; 4]
        } else {
            let mut next = || self.shared(connection, columns.value()?);
            [next()?, next()?, next()?, next()?]
        };
        Ok(Parts {
            event: event.ok_or_else(|| damaged("a row has no event"))?,
            user_id,
            user_role,
            org_id,
            kind,
            exchange,
            trace_id,
            rare,
        })
    }

    #[inline(always)]
    fn packed_parts(
        &mut self,
        connection: &Connection,
        flags: i64,
        packed: ValueRef<'_>,
        row: &rusqlite::Row<'_>,
        selected: Selected,
    ) -> Result<Parts, StoreError> {
        let ValueRef::Text(packed) = packed else {
            return Err(damaged("a packed row has no text"));
        };
        let numbers = Numbers::of(utf8(packed)?)
            .ok_or_else(|| damaged("a packed row has a text of another kind"))?;
        let [user_id, org_id, path, status, duration, address, trace_id] = selected.of_packed();
        let at = |next| Columns { row, next };
        let event = self.numbered(connection, numbers.at(Place::Event))?;
        let user_id = self.text(connection, at(user_id).value()?)?;
        let org_id = self.text(connection, at(org_id).value()?)?;
        let kind = numbers.at(Place::ActorType).map(actor_type).transpose()?;
        let exchange = if flags & (flag::HTTP | flag::OPEN) == 0 {
            None
        } else {
            let method = self.numbered(connection, numbers.at(Place::Method))?;
            let route = self.numbered(connection, numbers.at(Place::Route))?;
            let path = if flags & flag::PATH_IS_ROUTE != 0 {
                route.clone()
            } else {
                self.text(connection, at(path).value()?)?
            };
            Some(Exchange {
                method: method.ok_or_else(|| damaged("a row has no method"))?,
                path: path.ok_or_else(|| damaged("a row has no path"))?,
                route,
                status_code: at(status).opt_int()?.map(status_code).transpose()?,
                outcome: outcome(flags),
                error_code: self.numbered_shared(connection, numbers.at(Place::ErrorCode))?,
                duration_us: u64::try_from(at(duration).opt_int()?.unwrap_or(0)).unwrap_or(0),
                user_agent: self.numbered_shared(connection, numbers.at(Place::UserAgent))?,
                ip: ip(at(address).value()?)?,
                upstream_request_id: None,
            })
        };
        Ok(Parts {
            event: event.ok_or_else(|| damaged("a row has no event"))?,
            user_id,
            user_role: self.numbered(connection, numbers.at(Place::UserRole))?,
            org_id,
            kind,
            exchange,
            trace_id: at(trace_id).uuid()?.map(Uuid::into_bytes),
            rare: [const { None }; 4],
        })
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
        let status_code = columns.opt_int()?.map(status_code).transpose()?;
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
            outcome: outcome(flags),
            error_code,
            duration_us: u64::try_from(duration_us).unwrap_or(0),
            user_agent,
            ip,
            upstream_request_id: None,
        }))
    }

    /// The text with this number.
    fn numbered(
        &mut self,
        connection: &Connection,
        number: Option<i64>,
    ) -> Result<Option<Text>, StoreError> {
        number
            .map(|number| self.name(connection, number, |name| name.text.clone()))
            .transpose()
    }

    /// Like [`Decoder::numbered`], and not copied.
    fn numbered_shared(
        &mut self,
        connection: &Connection,
        number: Option<i64>,
    ) -> Result<Option<SharedText>, StoreError> {
        number
            .map(|number| self.name(connection, number, Name::share))
            .transpose()
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

fn outcome(flags: i64) -> Outcome {
    match flags {
        _ if flags & flag::OPEN != 0 => Outcome::Open,
        _ if flags & flag::FAILURE != 0 => Outcome::Failure,
        _ => Outcome::Success,
    }
}

fn actor_type(at: i64) -> Result<ActorType, StoreError> {
    let kind = usize::try_from(at).ok();
    kind.and_then(|at| ACTOR_TYPES.get(at).copied())
        .ok_or_else(|| damaged("a row has an unknown actor type"))
}

fn status_code(code: i64) -> Result<u16, StoreError> {
    u16::try_from(code).map_err(|_| damaged("a row has an impossible status code"))
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
