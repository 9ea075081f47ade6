//! Rows out of a ledger, into a request's body, and what the reply says of them.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Resolved;
use crate::error::{Error, Kind};
use crate::ledger::{Reader, SqliteReader, StoreError};
use crate::record::{Row, Run, StoredRow};
use crate::sink::posthog::PosthogSink;

/// Reads a ledger as delivery does.
#[derive(Debug)]
pub struct Source(SqliteReader);

/// Rows of a ledger, in order.
#[derive(Debug)]
pub struct Rows(Vec<StoredRow>);

impl Source {
    /// The ledger at `path`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        SqliteReader::open(path).map(Self).map_err(unreadable)
    }

    /// The next `limit` rows after `after`.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn read(&mut self, after: i64, limit: usize) -> Result<Rows, Error> {
        let rows = self.0.rows(after, i64::MAX, limit);
        rows.map(Rows).map_err(unreadable)
    }
}

impl Rows {
    /// As if read from a ledger: numbered from 1, all of one run.
    #[must_use]
    pub fn of(rows: impl IntoIterator<Item = Row>) -> Self {
        let run = Arc::new(Run {
            service: "bench".to_owned(),
            environment: Some("production".to_owned()),
            version: Some("1.0.0".to_owned()),
            instance: Some("bench-1".to_owned()),
        });
        let stored = (1..).zip(rows).map(|(seq, row)| StoredRow {
            seq,
            run: Arc::clone(&run),
            row: row.into(),
        });
        Self(stored.collect())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of the last one.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        self.0.last().map(|row| row.seq)
    }

    /// Their ids, as a request names them.
    #[must_use]
    pub fn ids(&self) -> Vec<Uuid> {
        self.0.iter().map(|row| row.row.id).collect()
    }
}

/// The PostHog sink, without delivery behind it.
#[derive(Debug)]
pub struct Sink(PosthogSink);

impl Sink {
    /// With the settings of a service that sets nothing but a key.
    ///
    /// # Errors
    ///
    /// As `Builder::start`.
    pub fn new() -> Result<Self, Error> {
        let environment = [
            ("POSTHOG_API_KEY", "phc_benchmark"),
            ("POSTHOG_HOST", "http://127.0.0.1:1"),
        ];
        let resolved: Resolved = crate::Logger::builder()
            .environment(environment)
            .resolve()?;
        let settings = resolved
            .settings
            .posthog
            .ok_or_else(|| Error::new(Kind::Config, "there is a key and no sink"))?;
        PosthogSink::new(&settings, Clock::system()).map(Self)
    }

    /// How many rows one request holds.
    #[must_use]
    pub fn request_rows(&self) -> usize {
        crate::sink::Sink::limits(&self.0).rows
    }

    /// The body of one request, built and compressed.
    ///
    /// # Errors
    ///
    /// It cannot be compressed.
    pub fn body(&self, rows: &Rows) -> std::io::Result<Vec<u8>> {
        self.0.bench_body(&rows.0)
    }

    /// Appends the events, uncompressed.
    pub fn events(&self, rows: &Rows, out: &mut Vec<u8>) {
        self.0.bench_events(&rows.0, out);
    }

    /// How many of `ids` the body of an answer with status 200 takes.
    #[must_use]
    pub fn verdict(&self, ids: &[Uuid], body: Vec<u8>) -> usize {
        self.0.bench_verdict(ids, body)
    }
}

fn unreadable(error: StoreError) -> Error {
    let unreadable = Error::new(Kind::Ledger, error.message);
    match error.source {
        Some(source) => unreadable.with_source(source),
        None => unreadable,
    }
}
