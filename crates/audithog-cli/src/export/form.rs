//! The formats.

use std::{
    io::{self, Write as _},
    path::Path,
};

use audithog::query::{LogRow, Schema, csv};
use serde::{Deserialize, Serialize};

use super::{parquet::Parquet, sink::Sink};
use crate::{failure::Failure, files};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// One JSON object a line
    Ndjson,
    /// RFC 4180, with a line of names; what a spreadsheet would run gets an apostrophe in front
    Csv,
    /// Apache Parquet, typed columns, compressed with zstd
    Parquet,
}

/// The schemas by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Names {
    /// The columns of the view `audit_logs`
    Audithog,
    /// Open Cybersecurity Schema Framework, API Activity; ndjson only
    Ocsf,
    /// Elastic Common Schema; ndjson only
    Ecs,
    /// OpenTelemetry log records as OTLP JSON; ndjson only
    Otel,
}

/// Rows of a text in one chunk: what an interrupted export repeats at most.
const CHUNK_ROWS: u64 = 10_000;
const CHUNK_BYTES: u64 = 16 << 20;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    /// The id of the last row: another ledger has another one there.
    pub(super) last_id: String,
}

/// Rows as they are read.
pub(super) type RowsIn<'a> = &'a mut dyn Iterator<Item = Result<LogRow, Failure>>;
/// A failed write, or why the rows ended early.
pub(super) type Written<T> = Result<T, WriteFailure>;

pub(super) enum WriteFailure {
    Write(io::Error),
    Rows(Failure),
}

impl From<io::Error> for WriteFailure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

pub(super) enum Writer {
    Ndjson(Schema),
    Csv,
    Parquet(Box<Parquet>),
}

impl Form {
    /// By the file's name, unless it is said.
    pub(super) fn of(asked: Option<Self>, path: &Path) -> Self {
        asked.unwrap_or(match files::ending(path).as_deref() {
            Some("csv") => Self::Csv,
            Some("parquet") => Self::Parquet,
            _ => Self::Ndjson,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// # Errors
    ///
    /// Exit code 2: a nested schema in a flat format.
    pub(super) fn writer(self, names: Names) -> Result<Writer, Failure> {
        let schema = names.schema();
        match self {
            Self::Ndjson => Ok(Writer::Ndjson(schema)),
            _ if schema != Schema::Audithog => {
                let text = format!(
                    "--schema {} is nested, and {} has flat columns: use --format ndjson",
                    schema.name(),
                    self.name()
                );
                Err(Failure::new(2, text))
            }
            Self::Csv => Ok(Writer::Csv),
            Self::Parquet => match Parquet::new() {
                Ok(parquet) => Ok(Writer::Parquet(Box::new(parquet))),
                Err(error) => Err(Failure::new(1, error)),
            },
        }
    }
}

impl Names {
    pub(super) fn schema(self) -> Schema {
        match self {
            Self::Audithog => Schema::Audithog,
            Self::Ocsf => Schema::Ocsf,
            Self::Ecs => Schema::Ecs,
            Self::Otel => Schema::Otel,
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, row: &LogRow) {
        if self.rows == 0 {
            self.first_seq = row.seq();
        }
        self.rows += 1;
        self.last_seq = row.seq();
        self.last_id = row.row().id().as_hyphenated().to_string();
    }
}

impl Writer {
    /// What comes before the first row.
    pub(super) fn begin(&self, to: &mut Sink) -> io::Result<()> {
        match self {
            Self::Ndjson(_) => Ok(()),
            Self::Csv => csv::line(to, LogRow::NAMES),
            Self::Parquet(_) => Parquet::begin(to),
        }
    }

    /// Writes rows up to the end of a chunk, and says whether there may be more.
    pub(super) fn chunk(
        &mut self,
        rows: RowsIn<'_>,
        to: &mut Sink,
        tally: &mut Tally,
    ) -> Written<bool> {
        if let Self::Parquet(parquet) = self {
            return parquet.group(rows, to, tally);
        }
        let (from, bytes) = (tally.rows, to.bytes());
        while tally.rows - from < CHUNK_ROWS && to.bytes() - bytes < CHUNK_BYTES {
            let Some(row) = rows.next() else {
                return Ok(false);
            };
            let row = row.map_err(WriteFailure::Rows)?;
            self.text(&row, to)?;
            tally.add(&row);
        }
        Ok(true)
    }

    fn text(&self, row: &LogRow, to: &mut Sink) -> io::Result<()> {
        match self {
            Self::Ndjson(Schema::Audithog) => {
                serde_json::to_writer(&mut *to, row)?;
                writeln!(to)
            }
            Self::Ndjson(schema) => {
                serde_json::to_writer(&mut *to, &schema.row(row))?;
                writeln!(to)
            }
            Self::Csv | Self::Parquet(_) => {
                let cells = row.fields().into_iter();
                csv::line(to, cells.map(|(_, value)| csv::cell(&value)))
            }
        }
    }

    /// What comes after the last row.
    pub(super) fn end(&mut self, to: &mut Sink) -> io::Result<()> {
        match self {
            Self::Ndjson(_) | Self::Csv => Ok(()),
            Self::Parquet(parquet) => parquet.end(to),
        }
    }

    /// What an interrupted file needs besides its bytes; grows at its end.
    pub(super) fn notes(&self) -> &[u8] {
        match self {
            Self::Parquet(parquet) => parquet.notes(),
            _ => &[],
        }
    }

    /// Continues with these notes.
    pub(super) fn resume(&mut self, notes: Vec<u8>) {
        if let Self::Parquet(parquet) = self {
            parquet.resume(notes);
        }
    }
}
