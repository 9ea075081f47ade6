//! What an interrupted export leaves, so that `--resume` can go on.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::form::{Form, Names, Tally};
use crate::files;

/// Another number: another version of audithog, which continues nothing of this one's.
const VERSION: u32 = 1;

/// Where an export stands; written after each chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// The program's version: another one might write other bytes.
    audithog: String,
    pub(super) request: Request,
    /// When it began, which spans of time are counted back from: microseconds since 1970.
    began: u64,
    /// The last row there was when it began.
    pub(super) upto: u64,
    /// The last row that retention had removed by then.
    pub(super) pruned: u64,
    /// Retention overtook the export: it removed rows up to this number that may not have been read.
    pub(super) overtaken: Option<u64>,
    pub(super) tally: Tally,
    /// Complete bytes of the file, and of the notes beside it.
    pub(super) bytes: u64,
    pub(super) notes: u64,
}

/// What was asked for. `--resume` goes on only with the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) ledger: String,
    pub(super) format: Form,
    pub(super) schema: Names,
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
    pub(super) conditions: Vec<String>,
}

/// What every version's state has.
#[derive(Debug, Deserialize)]
struct Made {
    version: u32,
    audithog: String,
}

impl State {
    pub(super) fn new(request: Request, began: SystemTime, upto: u64, pruned: u64) -> Self {
        let began = began.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            version: VERSION,
            audithog: env!("CARGO_PKG_VERSION").to_owned(),
            request,
            began: began.map_or(0, |began| u64::try_from(began.as_micros()).unwrap_or(0)),
            upto,
            pruned,
            overtaken: None,
            tally: Tally::default(),
            bytes: 0,
            notes: 0,
        }
    }

    /// None: there is none. What cannot be gone on with is an error that says why.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, String> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        let damaged = |_| format!("{} is damaged", path.display());
        let made: Made = serde_json::from_slice(&text).map_err(damaged)?;
        if (made.version, &*made.audithog) != (VERSION, env!("CARGO_PKG_VERSION")) {
            return Err(format!(
                "audithog {} began it, and this is {}",
                made.audithog,
                env!("CARGO_PKG_VERSION")
            ));
        }
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    pub(super) fn began(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.began)
    }

    /// Replaces the file in one step.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let mut file: File = files::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        files::put_in_place(&file, &new, path)
    }
}
