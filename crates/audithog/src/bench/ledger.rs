//! Rows into a ledger's file and out of it, without queue and threads of the library.

use std::path::Path;

use crate::clock::Clock;
use crate::config::LedgerCare;
use crate::error::Error;
use crate::ledger::{Group, Reader, SqliteStore, Store};
use crate::record::{
    Actor, End, Exchange, Micros, Outcome, RequestId, Row, Run, derived_error_code,
};

/// What a benchmark says of one request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// A UUIDv7.
    pub id: u128,
    /// Microseconds since 1970.
    pub ts: i64,
    pub user: &'a str,
    pub role: &'static str,
    pub org: &'a str,
    pub method: &'static str,
    pub path: &'a str,
    pub route: Option<&'a str>,
    pub status: u16,
    pub duration_us: u64,
    pub user_agent: &'a str,
    pub ip: [u8; 4],
}

/// The row of a request, as the layer makes it.
#[must_use]
pub fn request_row(request: &Request<'_>) -> Row {
    let id = uuid::Uuid::from_u128(request.id);
    let mut row = Row::event(id, Micros(request.ts), "api_request".into());
    row.request_id = Some(RequestId::Uuid(id));
    row.actor = Actor::user(request.user)
        .role(request.role)
        .org(request.org);
    row.exchange = Some(Exchange {
        method: request.method.into(),
        path: request.path.into(),
        route: request.route.map(Into::into),
        status_code: Some(request.status),
        outcome: Outcome::of(End::Complete, Some(request.status), None),
        error_code: derived_error_code(End::Complete, Some(request.status), None),
        duration_us: request.duration_us,
        user_agent: Some(request.user_agent.into()),
        ip: Some(request.ip.into()),
        upstream_request_id: None,
    });
    row
}

/// A ledger's file, open for writing.
#[derive(Debug)]
pub struct Ledger(SqliteStore);

impl Ledger {
    /// Opens or makes the ledger at `path`.
    ///
    /// # Errors
    ///
    /// As `Builder::start`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let run = Run {
            service: "bench".to_owned(),
            environment: Some("production".to_owned()),
            version: Some("1.0.0".to_owned()),
            instance: Some("bench-1".to_owned()),
        };
        let care = LedgerCare::none();
        SqliteStore::open_with(path, &run, "{}", &Clock::system(), 65_536, care)
            .map(|(store, _)| Self(store))
            .map_err(Error::from)
    }

    /// One group commit and what follows it, as the writer does it: a full stretch of rows is kept by column.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn append(&mut self, rows: &[Row], sync: bool) -> Result<(), Error> {
        self.append_rows(rows, sync)?;
        while self.0.digest(false)? {}
        Ok(())
    }

    /// The commit alone.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn append_rows(&mut self, rows: &[Row], sync: bool) -> Result<(), Error> {
        let group = Group {
            rows,
            requests: rows.len() as u64,
            sync,
            ..Group::default()
        };
        self.0.commit(&group)?;
        Ok(())
    }

    /// The number of the last row.
    #[must_use]
    pub fn head(&self) -> i64 {
        self.0.totals().head
    }

    /// Ends the run and closes the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn close(mut self) -> Result<(), Error> {
        self.0.close().map_err(Error::from)
    }

    /// A reader with a connection of its own.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn reader(&self) -> Result<LedgerReader, Error> {
        self.0.reader().map(LedgerReader).map_err(Error::from)
    }
}

/// What sinks and look-ups read with.
#[expect(missing_debug_implementations, reason = "any reader may be behind it")]
pub struct LedgerReader(Box<dyn Reader>);

impl LedgerReader {
    /// How many rows are found with `after < seq <= upto`, `limit` at most.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn rows(&mut self, after: i64, upto: i64, limit: usize) -> Result<usize, Error> {
        let rows = self.0.rows(after, upto, limit).map_err(Error::from)?;
        Ok(std::hint::black_box(rows).len())
    }

    /// The number of the last row that is surely older than `micros`, by blocks.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn last_before(&mut self, micros: i64) -> Result<i64, Error> {
        self.0.last_before(Micros(micros)).map_err(Error::from)
    }
}
