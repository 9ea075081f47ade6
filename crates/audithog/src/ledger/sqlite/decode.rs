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
    ActorType, Exchange, Micros, Outcome, RequestId, Row, Run, SharedRow, SharedText, StoredRow,
    Text,
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

impl Decoder {
    /// A row whose columns are all there.
    pub(super) fn row(
        &mut self,
        connection: &Connection,
        row: &rusqlite::Row<'_>,
    ) -> Result<StoredRow, StoreError> {
        let flags = flags(row)?;
        let mut into = nothing();
        let (seq, run) = self.fill(connection, row, flags, Selected::All, &mut into)?;
        Ok(StoredRow {
            seq,
            run,
            row: into.into(),
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
        let Gathered { numbers, rows } = into;
        let at = rows.len();
        // A row is large: it is filled where it stays.
        rows.push(nothing());
        match self.fill(connection, row, flags, selected, &mut rows[at]) {
            Ok(number) => {
                numbers.push(number);
                Ok(())
            }
            Err(error) => {
                rows.truncate(at);
                Err(error)
            }
        }
    }

    fn fill(
        &mut self,
        connection: &Connection,
        row: &rusqlite::Row<'_>,
        flags: i64,
        selected: Selected,
        into: &mut Row,
    ) -> Result<(i64, Arc<Run>), StoreError> {
        let mut columns = Columns { row, next: 0 };
        let seq = columns.int()?;
        let run = columns.int()?;
        let run = self.run(connection, run)?;
        if flags & !flag::KNOWN != 0 {
            return Err(newer(seq));
        }
        columns.next += 1;
        let id = columns.uuid()?.ok_or_else(|| damaged("a row has no id"))?;
        into.id = id;
        into.caller_id = flags & flag::CALLER_ID != 0;
        into.trace_trusted = flags & flag::TRACE_TRUSTED != 0;
        into.ts = Micros(columns.int()?);
        let event = columns.value()?;
        into.request_id = if flags & flag::REQUEST_IS_ID != 0 {
            columns.next += 1;
            Some(RequestId::Uuid(id))
        } else {
            request_id(columns.value()?)?
        };
        if flags & flag::PACKED != 0 {
            self.packed(connection, flags, event, row, selected, into)?;
        } else {
            self.whole(connection, flags, event, &mut columns, into)?;
        }
        Ok((seq, run))
    }

    fn whole(
        &mut self,
        connection: &Connection,
        flags: i64,
        event: ValueRef<'_>,
        columns: &mut Columns<'_, '_>,
        into: &mut Row,
    ) -> Result<(), StoreError> {
        let event = self.text(connection, event)?;
        into.event = event.ok_or_else(|| damaged("a row has no event"))?;
        into.actor.user_id = self.text(connection, columns.value()?)?;
        into.actor.user_role = self.text(connection, columns.value()?)?;
        into.actor.org_id = self.text(connection, columns.value()?)?;
        into.actor.kind = columns.opt_int()?.map(actor_type).transpose()?;
        into.exchange = self.exchange(connection, flags, columns)?;
        into.trace_id = columns.uuid()?.map(Uuid::into_bytes);
        if flags & flag::PLAIN == 0 {
            let mut next = || self.shared(connection, columns.value()?);
            let upstream = next()?;
            if let Some(exchange) = &mut into.exchange {
                exchange.upstream_request_id = upstream;
            }
            into.actor.on_behalf_of = next()?;
            into.distinct_id = next()?;
            into.properties = next()?;
        }
        Ok(())
    }

    fn packed(
        &mut self,
        connection: &Connection,
        flags: i64,
        packed: ValueRef<'_>,
        row: &rusqlite::Row<'_>,
        selected: Selected,
        into: &mut Row,
    ) -> Result<(), StoreError> {
        let ValueRef::Text(packed) = packed else {
            return Err(damaged("a packed row has no text"));
        };
        let numbers = Numbers::of(utf8(packed)?)
            .ok_or_else(|| damaged("a packed row has a text of another kind"))?;
        let [user_id, org_id, path, status, duration, address, trace_id] = selected.of_packed();
        let at = |next| Columns { row, next };
        let number = |place| numbers.at(place);
        // Each into its place: a copy of a short text that was just written, byte by byte, has to wait for those bytes.
        let has_event = self.number(connection, number(Place::Event), |name| {
            into.event = name.text.clone();
        })?;
        if !has_event {
            return Err(damaged("a row has no event"));
        }
        let actor = &mut into.actor;
        self.put(connection, at(user_id).value()?, |id| {
            actor.user_id = Some(id);
        })?;
        self.number(connection, number(Place::UserRole), |name| {
            actor.user_role = Some(name.text.clone());
        })?;
        self.put(connection, at(org_id).value()?, |id| {
            actor.org_id = Some(id);
        })?;
        actor.kind = number(Place::ActorType).map(actor_type).transpose()?;
        into.trace_id = at(trace_id).uuid()?.map(Uuid::into_bytes);
        if flags & (flag::HTTP | flag::OPEN) == 0 {
            return Ok(());
        }
        let exchange = into.exchange.insert(Exchange {
            method: Text::default(),
            path: Text::default(),
            route: None,
            status_code: None,
            outcome: outcome(flags),
            error_code: None,
            duration_us: 0,
            user_agent: None,
            ip: None,
            upstream_request_id: None,
        });
        let has_method = self.number(connection, number(Place::Method), |name| {
            exchange.method = name.text.clone();
        })?;
        if !has_method {
            return Err(damaged("a row has no method"));
        }
        self.number(connection, number(Place::Route), |name| {
            exchange.route = Some(name.text.clone());
        })?;
        let has_path = if flags & flag::PATH_IS_ROUTE != 0 {
            if let Some(route) = &exchange.route {
                exchange.path = route.clone();
            }
            exchange.route.is_some()
        } else {
            self.put(connection, at(path).value()?, |path| exchange.path = path)?
        };
        if !has_path {
            return Err(damaged("a row has no path"));
        }
        exchange.status_code = at(status).opt_int()?.map(status_code).transpose()?;
        let duration = at(duration).opt_int()?.unwrap_or(0);
        exchange.duration_us = u64::try_from(duration).unwrap_or(0);
        self.number(connection, number(Place::ErrorCode), |name| {
            exchange.error_code = Some(name.share());
        })?;
        self.number(connection, number(Place::UserAgent), |name| {
            exchange.user_agent = Some(name.share());
        })?;
        exchange.ip = ip(at(address).value()?)?;
        Ok(())
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

    /// Hands out the text with this number. False if there is no number.
    fn number(
        &mut self,
        connection: &Connection,
        number: Option<i64>,
        take: impl FnOnce(&mut Name),
    ) -> Result<bool, StoreError> {
        let Some(number) = number else {
            return Ok(false);
        };
        self.name(connection, number, take)?;
        Ok(true)
    }

    /// Puts text where it belongs: text as it is, by number, or as a UUID. False if there is none.
    fn put(
        &mut self,
        connection: &Connection,
        value: ValueRef<'_>,
        put: impl FnOnce(Text),
    ) -> Result<bool, StoreError> {
        match value {
            ValueRef::Null => return Ok(false),
            ValueRef::Text(bytes) => put(utf8(bytes)?.into()),
            ValueRef::Integer(name) => {
                self.name(connection, name, |name| put(name.text.clone()))?;
            }
            ValueRef::Blob(bytes) => put(blob_uuid(bytes)?.as_hyphenated().to_string().into()),
            ValueRef::Real(_) => {
                return Err(damaged("a row has a number in place of a text"));
            }
        }
        Ok(true)
    }

    /// Like [`Decoder::put`].
    fn text(
        &mut self,
        connection: &Connection,
        value: ValueRef<'_>,
    ) -> Result<Option<Text>, StoreError> {
        let mut found = None;
        self.put(connection, value, |text| found = Some(text))?;
        Ok(found)
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
    #[inline(always)]
    fn value(&mut self) -> Result<ValueRef<'a>, StoreError> {
        let at = self.next;
        self.next += 1;
        match self.row.get_ref(at) {
            Ok(value) => Ok(value),
            Err(error) => Err(unread(error)),
        }
    }

    #[inline(always)]
    fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            _ => Err(damaged("a row has something else in place of a number")),
        }
    }

    #[inline(always)]
    fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?
            .ok_or_else(|| damaged("a row lacks a number"))
    }

    #[inline(always)]
    fn uuid(&mut self) -> Result<Option<Uuid>, StoreError> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => blob_uuid(bytes).map(Some),
            _ => Err(damaged("a row has something else in place of an id")),
        }
    }
}

/// A row of which nothing was read yet.
fn nothing() -> Row {
    Row::event(Uuid::nil(), Micros(0), Text::default())
}

#[cold]
fn unread(error: rusqlite::Error) -> StoreError {
    failed("read a column")(error)
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
