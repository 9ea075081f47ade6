//! A row's fields as the columns of `audit_rows`.

use std::net::IpAddr;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection};
use uuid::Uuid;

use super::digest::{Line, hash};
use super::names::{Names, Origin};
use super::packed::Packed;
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

/// The columns of a packed row, in their order.
pub(super) const PACKED_COLUMNS: &str = "seq, run, flags, id, ts, event, request_id, user_id, \
     org_id, path, status_code, duration_us, ip, trace_id";

const PACKED_COLUMN_COUNT: usize = 14;

static INSERT: LazyLock<String> = LazyLock::new(|| insert_sql(COLUMNS, COLUMN_COUNT));
static INSERT_PACKED: LazyLock<String> =
    LazyLock::new(|| insert_sql(PACKED_COLUMNS, PACKED_COLUMN_COUNT));

fn insert_sql(columns: &str, count: usize) -> String {
    let marks = vec!["?"; count].join(", ");
    format!("INSERT INTO audit_rows ({columns}) VALUES ({marks})")
}

/// Inserts rows, one after the other.
pub(super) struct Inserter<'a> {
    connection: &'a Connection,
    names: &'a mut Names,
    /// Each once a row needs it: most groups need one of them.
    whole: Option<Insert<'a>>,
    packed: Option<Insert<'a>>,
    text: Packed,
    /// What is counted of the row that was inserted last.
    pub(super) line: Line,
}

/// A text, and its number if the dictionary has it.
#[derive(Clone, Copy)]
struct Named<'r>(Option<&'r str>, Option<i64>);

/// The texts of a row that the dictionary may have.
struct Texts<'r> {
    event: Named<'r>,
    user_role: Named<'r>,
    org_id: Named<'r>,
    method: Named<'r>,
    route: Named<'r>,
    error_code: Named<'r>,
    user_agent: Named<'r>,
}

impl<'a> Inserter<'a> {
    pub(super) fn new(connection: &'a Connection, names: &'a mut Names) -> Self {
        Self {
            connection,
            names,
            whole: None,
            packed: None,
            text: Packed::default(),
            line: Line::default(),
        }
    }

    /// Without a `seq` SQLite gives the next number, which saves it the search for a place.
    pub(super) fn row(&mut self, seq: Option<i64>, run: i64, row: &Row) -> rusqlite::Result<()> {
        let texts = self.texts(row)?;
        let flags = flags(row);
        self.line = line(run, flags, row, &texts);
        if flags & flag::PLAIN != 0 && pack(&mut self.text, row, &texts) {
            let flags = flags | flag::PACKED;
            let text = self.text.as_bytes();
            Insert::of(&mut self.packed, self.connection, &INSERT_PACKED)?.packed_row(
                (seq, run, flags),
                row,
                text,
                &texts,
                &mut self.line,
            )
        } else {
            Insert::of(&mut self.whole, self.connection, &INSERT)?.whole_row(
                (seq, run, flags),
                row,
                &texts,
                &mut self.line,
            )
        }
    }

    fn texts<'r>(&mut self, row: &'r Row) -> rusqlite::Result<Texts<'r>> {
        let exchange = row.exchange.as_ref();
        let actor = &row.actor;
        let application = Origin::Application;
        // One that is an id is no text to be numbered.
        let org_id = match actor.org_id.as_deref() {
            Some(org) if canonical_uuid(org).is_some() => Named(Some(org), None),
            org => self.named(org, Origin::Peer)?,
        };
        Ok(Texts {
            event: self.named(Some(&row.event), application)?,
            user_role: self.named(actor.user_role.as_deref(), application)?,
            org_id,
            method: self.named(exchange.map(|e| &*e.method), Origin::Peer)?,
            route: self.named(exchange.and_then(|e| e.route.as_deref()), application)?,
            error_code: self.named(exchange.and_then(|e| e.error_code.as_deref()), application)?,
            user_agent: self.named(exchange.and_then(|e| e.user_agent.as_deref()), Origin::Peer)?,
        })
    }

    fn named<'r>(&mut self, text: Option<&'r str>, origin: Origin) -> rusqlite::Result<Named<'r>> {
        let number = match text {
            Some(text) => self.names.number(self.connection, text, origin)?,
            None => None,
        };
        Ok(Named(text, number))
    }
}

/// What is counted of the row, but for what [`Insert`] learns of it.
fn line(run: i64, flags: i64, row: &Row, texts: &Texts<'_>) -> Line {
    let exchange = row.exchange.as_ref();
    let mut line = Line {
        ts: row.ts.0,
        run: u32::try_from(run).unwrap_or(0),
        flags: Line::flags(flags),
        status: exchange.and_then(|e| e.status_code).unwrap_or(0),
        duration: exchange.and_then(duration).map_or(0, Line::duration),
        ..Line::default()
    };
    // Not the user agent: who sends new ones all the time must not make every row an odd one.
    line.event = texts.event.counted(&mut line);
    line.user_role = texts.user_role.counted(&mut line);
    line.method = texts.method.counted(&mut line);
    line.route = texts.route.counted(&mut line);
    line.error_code = texts.error_code.counted(&mut line);
    line
}

/// Makes the text of a packed row. False if something does not fit into it.
fn pack(text: &mut Packed, row: &Row, texts: &Texts<'_>) -> bool {
    text.clear();
    texts.event.pack(text)
        && texts.user_role.pack(text)
        && text.push(row.actor.kind.and_then(actor_type))
        && texts.method.pack(text)
        && texts.route.pack(text)
        && texts.error_code.pack(text)
        && texts.user_agent.pack(text)
}

impl Named<'_> {
    fn pack(self, into: &mut Packed) -> bool {
        let Self(text, number) = self;
        text.is_some() == number.is_some() && into.push(number)
    }

    /// The number that the row is counted by.
    fn counted(self, line: &mut Line) -> u16 {
        self.0.map_or(0, |_| line.name(self.1))
    }
}

/// An insert statement.
struct Insert<'a> {
    statement: CachedStatement<'a>,
    /// What each parameter holds: a binding stays until it is replaced, and many columns are the same in row after
    /// row. A cached statement comes with nulls.
    held: [Held; COLUMN_COUNT],
    column: usize,
}

/// What a parameter of the statement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Null,
    Int(i64),
    /// Not worth comparing.
    Bytes,
}

impl<'a> Insert<'a> {
    /// The one that is there, or a new one.
    fn of<'i>(
        place: &'i mut Option<Self>,
        connection: &'a Connection,
        sql: &str,
    ) -> rusqlite::Result<&'i mut Self> {
        match place {
            Some(insert) => Ok(insert),
            None => Ok(place.insert(Self {
                statement: connection.prepare_cached(sql)?,
                held: [Held::Null; COLUMN_COUNT],
                column: 0,
            })),
        }
    }

    fn packed_row(
        &mut self,
        numbers: (Option<i64>, i64, i64),
        row: &Row,
        text: &[u8],
        texts: &Texts<'_>,
        line: &mut Line,
    ) -> rusqlite::Result<()> {
        let exchange = row.exchange.as_ref();
        self.begin(numbers, row)?;
        self.bind(Held::Bytes, ValueRef::Text(text))?;
        line.request_id = self.request_id(row)?;
        line.user_id = self.id(row.actor.user_id.as_deref())?;
        line.org_id = self.org_id(texts.org_id, line)?;
        self.opt_text(exchange.and_then(path))?;
        self.opt_int(exchange.and_then(|e| e.status_code).map(i64::from))?;
        self.opt_int(exchange.and_then(duration))?;
        line.ip = self.ip(exchange.and_then(|e| e.ip))?;
        line.trace_id = self.trace_id(row)?;
        self.statement.raw_execute().map(drop)
    }

    fn whole_row(
        &mut self,
        numbers: (Option<i64>, i64, i64),
        row: &Row,
        texts: &Texts<'_>,
        line: &mut Line,
    ) -> rusqlite::Result<()> {
        let exchange = row.exchange.as_ref();
        self.begin(numbers, row)?;
        self.named(texts.event)?;
        line.request_id = self.request_id(row)?;
        line.user_id = self.id(row.actor.user_id.as_deref())?;
        self.named(texts.user_role)?;
        line.org_id = self.org_id(texts.org_id, line)?;
        self.opt_int(row.actor.kind.and_then(actor_type))?;
        self.named(texts.method)?;
        self.opt_text(exchange.and_then(path))?;
        self.named(texts.route)?;
        self.opt_int(exchange.and_then(|e| e.status_code).map(i64::from))?;
        self.named(texts.error_code)?;
        self.opt_int(exchange.and_then(duration))?;
        self.named(texts.user_agent)?;
        line.ip = self.ip(exchange.and_then(|e| e.ip))?;
        line.trace_id = self.trace_id(row)?;
        self.text_or_uuid(exchange.and_then(|e| e.upstream_request_id.as_deref()))?;
        self.text_or_uuid(row.actor.on_behalf_of.as_deref())?;
        self.text_or_uuid(row.distinct_id.as_deref())?;
        self.opt_text(row.properties.as_deref())?;
        self.statement.raw_execute().map(drop)
    }

    /// The five columns from `seq` to `ts`.
    fn begin(
        &mut self,
        (seq, run, flags): (Option<i64>, i64, i64),
        row: &Row,
    ) -> rusqlite::Result<()> {
        self.column = 0;
        self.opt_int(seq)?;
        self.int(run)?;
        self.int(flags)?;
        self.blob(row.id.as_bytes())?;
        self.int(row.ts.0)
    }

    /// Those that the row is counted by return the number for that, from here on.
    fn request_id(&mut self, row: &Row) -> rusqlite::Result<u32> {
        match &row.request_id {
            Some(RequestId::Uuid(id)) => {
                if *id == row.id {
                    self.null()?;
                } else {
                    self.blob(id.as_bytes())?;
                }
                Ok(hash::short_id(id.as_bytes()))
            }
            Some(RequestId::Adopted(text)) => {
                self.text(text)?;
                Ok(hash::short_text(text.as_bytes()))
            }
            None => self.null().map(|()| 0),
        }
    }

    /// Text that may be a UUID.
    fn id(&mut self, text: Option<&str>) -> rusqlite::Result<u64> {
        let Some(text) = text else {
            return self.null().map(|()| 0);
        };
        match canonical_uuid(text) {
            Some(id) => {
                self.blob(id.as_bytes())?;
                Ok(hash::blob(id.as_bytes()))
            }
            None => {
                self.text(text)?;
                Ok(hash::text(text.as_bytes()))
            }
        }
    }

    fn org_id(&mut self, org: Named<'_>, line: &mut Line) -> rusqlite::Result<u64> {
        match org {
            Named(Some(text), None) if canonical_uuid(text).is_some() => self.id(Some(text)),
            org => {
                self.named(org)?;
                Ok(org.counted(line).into())
            }
        }
    }

    fn ip(&mut self, ip: Option<IpAddr>) -> rusqlite::Result<u64> {
        match ip {
            // As a signed number, so that every address takes four bytes.
            Some(IpAddr::V4(ip)) => {
                let ip = i64::from(ip.to_bits().cast_signed());
                self.int(ip)?;
                Ok(hash::ipv4(ip))
            }
            Some(IpAddr::V6(ip)) => {
                let ip = ip.to_string();
                self.text(&ip)?;
                Ok(hash::text(ip.as_bytes()))
            }
            None => self.null().map(|()| 0),
        }
    }

    fn trace_id(&mut self, row: &Row) -> rusqlite::Result<u32> {
        match &row.trace_id {
            Some(id) => {
                self.blob(id)?;
                Ok(hash::short_id(id))
            }
            None => self.null().map(|()| 0),
        }
    }

    fn named(&mut self, named: Named<'_>) -> rusqlite::Result<()> {
        match named {
            Named(_, Some(number)) => self.int(number),
            Named(text, None) => self.opt_text(text),
        }
    }

    /// Text that may be a UUID, and that nothing is counted by.
    fn text_or_uuid(&mut self, text: Option<&str>) -> rusqlite::Result<()> {
        match text.and_then(canonical_uuid) {
            Some(id) => self.blob(id.as_bytes()),
            None => self.opt_text(text),
        }
    }

    fn opt_text(&mut self, text: Option<&str>) -> rusqlite::Result<()> {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    fn opt_int(&mut self, number: Option<i64>) -> rusqlite::Result<()> {
        match number {
            Some(number) => self.int(number),
            None => self.null(),
        }
    }

    fn text(&mut self, text: &str) -> rusqlite::Result<()> {
        self.bind(Held::Bytes, ValueRef::Text(text.as_bytes()))
    }

    fn blob(&mut self, bytes: &[u8]) -> rusqlite::Result<()> {
        self.bind(Held::Bytes, ValueRef::Blob(bytes))
    }

    fn int(&mut self, number: i64) -> rusqlite::Result<()> {
        self.bind(Held::Int(number), ValueRef::Integer(number))
    }

    fn null(&mut self) -> rusqlite::Result<()> {
        self.bind(Held::Null, ValueRef::Null)
    }

    fn bind(&mut self, held: Held, value: ValueRef<'_>) -> rusqlite::Result<()> {
        let before = std::mem::replace(&mut self.held[self.column], held);
        self.column += 1;
        if held == before && held != Held::Bytes {
            return Ok(());
        }
        self.statement
            .raw_bind_parameter(self.column, ToSqlOutput::Borrowed(value))
    }
}

/// None while the request has no end.
fn duration(exchange: &Exchange) -> Option<i64> {
    let duration = i64::try_from(exchange.duration_us).unwrap_or(i64::MAX);
    (exchange.outcome != Outcome::Open).then_some(duration)
}

/// None if the route says it.
fn path(exchange: &Exchange) -> Option<&str> {
    (!path_is_route(exchange)).then_some(&*exchange.path)
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
