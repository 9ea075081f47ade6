//! A row's fields as the columns of `audit_rows`.

use std::net::IpAddr;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement};
use uuid::Uuid;

use super::digest::{Line, hash};
use super::names::{Names, Origin};
use super::schema::flag;
use crate::record::{ActorType, Exchange, Outcome, RequestId, Row};

/// `audit_rows.actor_type` is a position in this list, which only ever grows at its end.
pub(super) const ACTOR_TYPES: [ActorType; 5] = [
    ActorType::User,
    ActorType::Service,
    ActorType::ApiKey,
    ActorType::Anonymous,
    ActorType::System,
];

/// The columns in the order in which they are bound here and read in `decode.rs`.
pub(super) const COLUMNS: &str = "seq, run, flags, id, ts, event, request_id, user_id, user_role, \
     org_id, actor_type, method, path, route, status_code, error_code, duration_us, user_agent, ip, \
     trace_id, upstream_request_id, on_behalf_of, distinct_id, properties";

pub(super) const COLUMN_COUNT: usize = 24;

/// Binds rows to the one insert statement.
pub(super) struct Binder<'a> {
    pub(super) connection: &'a Connection,
    pub(super) names: &'a mut Names,
    /// What each parameter holds: a binding stays until it is replaced, and many columns are the same in row after
    /// row.
    held: [Held; COLUMN_COUNT],
    column: usize,
    /// What is counted of the row that was bound last.
    pub(super) line: Line,
}

/// What a parameter of the statement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Null,
    Int(i64),
    /// Not worth comparing.
    Bytes,
}

impl<'a> Binder<'a> {
    /// For a statement whose parameters are all null, as cached statements are.
    pub(super) fn new(connection: &'a Connection, names: &'a mut Names) -> Self {
        Self {
            connection,
            names,
            held: [Held::Null; COLUMN_COUNT],
            column: 0,
            line: Line::default(),
        }
    }

    /// Without a `seq` SQLite gives the next number, which saves it the search for a place.
    pub(super) fn row(
        &mut self,
        to: &mut Statement<'_>,
        seq: Option<i64>,
        run: i64,
        row: &Row,
    ) -> rusqlite::Result<()> {
        self.column = 0;
        let flags = flags(row);
        self.line = Line {
            ts: row.ts.0,
            run: u32::try_from(run).unwrap_or(0),
            flags: Line::flags(flags),
            ..Line::default()
        };
        let exchange = row.exchange.as_ref();
        self.opt_int(to, seq)?;
        self.int(to, run)?;
        self.int(to, flags)?;
        self.blob(to, row.id.as_bytes())?;
        self.int(to, row.ts.0)?;
        self.line.event = self.name(to, Some(&row.event), Origin::Application)?;
        self.line.request_id = match &row.request_id {
            Some(RequestId::Uuid(id)) => hash::short_id(id.as_bytes()),
            Some(RequestId::Adopted(text)) => hash::short_text(text.as_bytes()),
            None => 0,
        };
        match &row.request_id {
            Some(RequestId::Uuid(id)) if *id == row.id => self.null(to)?,
            Some(RequestId::Uuid(id)) => self.blob(to, id.as_bytes())?,
            Some(RequestId::Adopted(text)) => self.text(to, text)?,
            None => self.null(to)?,
        }
        self.line.user_id = self.id(to, row.actor.user_id.as_deref())?;
        self.line.user_role = self.name(to, row.actor.user_role.as_deref(), Origin::Application)?;
        self.line.org_id = match row.actor.org_id.as_deref() {
            Some(org) if canonical_uuid(org).is_some() => self.id(to, Some(org))?,
            org => self.name(to, org, Origin::Peer)?.into(),
        };
        self.opt_int(to, row.actor.kind.and_then(actor_type))?;
        match exchange {
            Some(exchange) => self.exchange(to, exchange)?,
            None => {
                for _ in 0..8 {
                    self.null(to)?;
                }
            }
        }
        match &row.trace_id {
            Some(id) => {
                self.line.trace_id = hash::short_id(id);
                self.blob(to, id)?;
            }
            None => self.null(to)?,
        }
        self.text_or_uuid(to, exchange.and_then(|e| e.upstream_request_id.as_deref()))?;
        self.text_or_uuid(to, row.actor.on_behalf_of.as_deref())?;
        self.text_or_uuid(to, row.distinct_id.as_deref())?;
        self.opt_text(to, row.properties.as_deref())
    }

    /// The eight columns from `method` to `ip`.
    fn exchange(&mut self, to: &mut Statement<'_>, exchange: &Exchange) -> rusqlite::Result<()> {
        self.line.method = self.name(to, Some(&exchange.method), Origin::Peer)?;
        if path_is_route(exchange) {
            self.null(to)?;
        } else {
            self.text(to, &exchange.path)?;
        }
        self.line.route = self.name(to, exchange.route.as_deref(), Origin::Application)?;
        self.line.status = exchange.status_code.unwrap_or(0);
        self.opt_int(to, exchange.status_code.map(i64::from))?;
        self.line.error_code =
            self.name(to, exchange.error_code.as_deref(), Origin::Application)?;
        let duration = i64::try_from(exchange.duration_us).unwrap_or(i64::MAX);
        let duration = (exchange.outcome != Outcome::Open).then_some(duration);
        self.line.duration = duration.map_or(0, Line::duration);
        self.opt_int(to, duration)?;
        // Not by column: who sends new ones all the time must not make every row an odd one.
        let odd = self.line.odd;
        self.name(to, exchange.user_agent.as_deref(), Origin::Peer)?;
        self.line.odd = odd;
        match exchange.ip {
            // As a signed number, so that every address takes four bytes.
            Some(IpAddr::V4(ip)) => {
                let ip = i64::from(ip.to_bits().cast_signed());
                self.line.ip = hash::ipv4(ip);
                self.int(to, ip)
            }
            Some(IpAddr::V6(ip)) => {
                let ip = ip.to_string();
                self.line.ip = hash::text(ip.as_bytes());
                self.text(to, &ip)
            }
            None => self.null(to),
        }
    }

    /// Through the dictionary where the text is in it. Returns the number that the row is counted by.
    fn name(
        &mut self,
        to: &mut Statement<'_>,
        text: Option<&str>,
        origin: Origin,
    ) -> rusqlite::Result<u16> {
        let Some(text) = text else {
            self.null(to)?;
            return Ok(0);
        };
        let name = self.names.number(self.connection, text, origin)?;
        match name {
            Some(name) => self.int(to, name)?,
            None => self.text(to, text)?,
        }
        Ok(self.line.name(name))
    }

    /// Text that may be a UUID. Returns the number that the row is counted by.
    fn id(&mut self, to: &mut Statement<'_>, text: Option<&str>) -> rusqlite::Result<u64> {
        let (Some(text), id) = (text, text.and_then(canonical_uuid)) else {
            self.null(to)?;
            return Ok(0);
        };
        match id {
            Some(id) => {
                self.blob(to, id.as_bytes())?;
                Ok(hash::blob(id.as_bytes()))
            }
            None => {
                self.text(to, text)?;
                Ok(hash::text(text.as_bytes()))
            }
        }
    }

    /// Text that may be a UUID, and that nothing is counted by.
    fn text_or_uuid(&mut self, to: &mut Statement<'_>, text: Option<&str>) -> rusqlite::Result<()> {
        match (text, text.and_then(canonical_uuid)) {
            (_, Some(id)) => self.blob(to, id.as_bytes()),
            (Some(text), None) => self.text(to, text),
            (None, None) => self.null(to),
        }
    }

    fn opt_text(&mut self, to: &mut Statement<'_>, text: Option<&str>) -> rusqlite::Result<()> {
        match text {
            Some(text) => self.text(to, text),
            None => self.null(to),
        }
    }

    fn opt_int(&mut self, to: &mut Statement<'_>, number: Option<i64>) -> rusqlite::Result<()> {
        match number {
            Some(number) => self.int(to, number),
            None => self.null(to),
        }
    }

    fn text(&mut self, to: &mut Statement<'_>, text: &str) -> rusqlite::Result<()> {
        self.bind(to, Held::Bytes, ValueRef::Text(text.as_bytes()))
    }

    fn blob(&mut self, to: &mut Statement<'_>, bytes: &[u8]) -> rusqlite::Result<()> {
        self.bind(to, Held::Bytes, ValueRef::Blob(bytes))
    }

    fn int(&mut self, to: &mut Statement<'_>, number: i64) -> rusqlite::Result<()> {
        self.bind(to, Held::Int(number), ValueRef::Integer(number))
    }

    fn null(&mut self, to: &mut Statement<'_>) -> rusqlite::Result<()> {
        self.bind(to, Held::Null, ValueRef::Null)
    }

    fn bind(
        &mut self,
        to: &mut Statement<'_>,
        held: Held,
        value: ValueRef<'_>,
    ) -> rusqlite::Result<()> {
        let before = std::mem::replace(&mut self.held[self.column], held);
        self.column += 1;
        if held == before && held != Held::Bytes {
            return Ok(());
        }
        to.raw_bind_parameter(self.column, ToSqlOutput::Borrowed(value))
    }
}

fn flags(row: &Row) -> i64 {
    let exchange = row.exchange.as_ref();
    let set = |condition: bool, bit: i64| if condition { bit } else { 0 };
    let open = exchange.is_some_and(|e| e.outcome == Outcome::Open);
    set(exchange.is_some() && !open, flag::HTTP)
        | set(open, flag::OPEN)
        | set(
            exchange.is_some_and(|e| e.outcome == Outcome::Failure),
            flag::FAILURE,
        )
        | set(
            row.request_id == Some(RequestId::Uuid(row.id)),
            flag::REQUEST_IS_ID,
        )
        | set(row.trace_trusted, flag::TRACE_TRUSTED)
        | set(row.caller_id, flag::CALLER_ID)
        | set(exchange.is_some_and(path_is_route), flag::PATH_IS_ROUTE)
        | set(is_plain(row), flag::PLAIN)
}

fn is_plain(row: &Row) -> bool {
    let upstream = row
        .exchange
        .as_ref()
        .and_then(|exchange| exchange.upstream_request_id.as_ref());
    upstream.is_none()
        && row.actor.on_behalf_of.is_none()
        && row.distinct_id.is_none()
        && row.properties.is_none()
}

fn path_is_route(exchange: &Exchange) -> bool {
    exchange.route.as_deref() == Some(&*exchange.path)
}

fn actor_type(kind: ActorType) -> Option<i64> {
    let at = ACTOR_TYPES.iter().position(|known| *known == kind)?;
    i64::try_from(at).ok()
}

/// Lower case, hyphenated: what the view prints, so that text comes back as it went in.
pub(super) fn canonical_uuid(text: &str) -> Option<Uuid> {
    if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Uuid::try_parse(text).ok()
}
