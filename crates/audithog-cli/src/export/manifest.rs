//! The manifest beside an export: what is in the file, what is not, and how to know that it is whole.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use audithog::query::{Log, SchemaColumn};
use serde::Serialize;

use super::{losses::Loss, rows::Wanted, state::State};
use crate::{
    failure::Failure,
    files,
    output::{failed, number},
    when::Clock,
};

#[derive(Debug, Serialize)]
pub(super) struct Manifest<'a> {
    /// The file's name; null for standard output.
    file: Option<String>,
    format: &'static str,
    schema: &'static str,
    schema_version: &'static str,
    /// The version of the program.
    audithog: &'static str,
    /// When the export began and ended.
    began: String,
    made: String,
    ledger: &'a str,
    /// What was asked for, besides the time, and whose data.
    filters: &'a [String],
    data_subject: Option<DataSubject<'a>>,
    since: &'a Option<String>,
    until: &'a Option<String>,
    /// The zone in which times on the command line were read. All times here and in the file are UTC.
    zone: String,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    /// The last row of the log when the export began: later ones are not in it.
    upto: u64,
    count: u64,
    bytes: u64,
    sha256: String,
    losses: Vec<Loss>,
    notes: Vec<String>,
    columns: &'static [SchemaColumn],
}

/// A person's request for their data.
#[derive(Debug, Serialize)]
struct DataSubject<'a> {
    users: &'a [String],
    meaning: &'static str,
}

const MEANING: &str = "Every row that was kept, in the time and with the filters above, whose user_id or on_behalf_of is one of these users. \
Rows that name them elsewhere, as in a path or in business properties, and requests made before they signed in, are not among them.";

/// What is known at the end.
pub(super) struct Facts<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) state: &'a State,
    pub(super) wanted: &'a Wanted,
    pub(super) clock: &'a Clock,
    pub(super) sha256: String,
    pub(super) losses: Vec<Loss>,
    pub(super) notes: Vec<String>,
}

impl<'a> Manifest<'a> {
    pub(super) fn new(facts: Facts<'a>) -> Self {
        let Facts { state, wanted, .. } = facts;
        let (request, tally) = (&state.request, &state.tally);
        let schema = request.schema.schema();
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let any = tally.rows > 0;
        Self {
            file: facts.file.and_then(name),
            format: request.format.name(),
            schema: schema.name(),
            schema_version: schema.version(),
            audithog: env!("CARGO_PKG_VERSION"),
            began: utc(state.began()),
            made: utc(SystemTime::now()),
            ledger: &request.ledger,
            filters: &request.conditions,
            data_subject: (!wanted.users().is_empty()).then_some(DataSubject {
                users: wanted.users(),
                meaning: MEANING,
            }),
            since: &request.since,
            until: &request.until,
            zone: facts.clock.zone(),
            first_seq: any.then_some(tally.first_seq),
            last_seq: any.then_some(tally.last_seq),
            upto: state.upto,
            count: tally.rows,
            bytes: state.bytes,
            sha256: facts.sha256,
            losses: facts.losses,
            notes: facts.notes,
            columns: schema.columns(),
        }
    }

    /// Writes it beside its path and gives it its name.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let part = part(path);
        let written = || {
            let mut file = begin(&part)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.write_all(b"\n")?;
            files::put_in_place(&file, &part, path)
        };
        written().map_err(files::cannot_write(path))
    }
}

/// The manifest until it is complete. No file of an export ends so: neither takes the other's.
pub(super) fn part(path: &Path) -> PathBuf {
    files::beside(path, ".manifest")
}

/// An empty part; what a killed export left goes.
fn begin(part: &Path) -> io::Result<File> {
    let _ = fs::remove_file(part);
    files::create(part)
}

/// Before the first row: a manifest that cannot be written is no surprise after the last.
pub(super) fn try_place(path: &Path) -> Result<(), Failure> {
    let part = part(path);
    let tried = begin(&part).and_then(|_| fs::remove_file(&part));
    tried.map_err(files::cannot_write(path))
}

/// `FILE.manifest.json`
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".manifest.json");
    name.into()
}

/// What limits the export, in sentences.
pub(super) fn notes(log: &mut Log, wanted: &Wanted, state: &State) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    if state.pruned > 0 {
        let filter = wanted.common();
        let first = log.rows(&audithog::query::Filter::all(), 0, state.upto);
        let first = first.map_err(failed)?.next().transpose().map_err(failed)?;
        let begins = first.map(|row| row.time_text());
        let before = match (&begins, filter.since_text()) {
            (Some(begins), Some(since)) => since < *begins,
            _ => true,
        };
        if before {
            let begins = begins.map_or("nothing is left".to_owned(), |begins| {
                format!("what was left began at {begins}")
            });
            notes.push(format!(
                "retention had removed the rows up to number {} before the export: {begins}",
                number(state.pruned)
            ));
        }
    }
    if let Some(overtaken) = state.overtaken {
        notes.push(format!(
            "retention removed rows up to number {} while the export ran: some of them may be missing",
            number(overtaken)
        ));
    }
    Ok(notes)
}

fn utc(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => String::new(),
    }
}
