//! Which ledger a command is about.

use std::path::{Path, PathBuf};

use audithog::{
    Logger,
    inspect::{AccessNote, LedgerFile},
    query::Log,
};

use crate::{
    access,
    failure::{Failure, sentence},
    output::failed,
    when::Clock,
};

/// Which ledger is asked, and in which zone.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Which {
    /// The ledger's file [default: AUDITHOG_DB, else audit.db in $STATE_DIRECTORY or here]
    #[arg(long, value_name = "PATH")]
    pub(crate) db: Option<PathBuf>,

    /// Read and show times in UTC instead of the local zone
    #[arg(long)]
    pub(crate) utc: bool,
}

impl Which {
    pub(crate) fn clock(&self) -> Clock {
        Clock::system(self.utc)
    }
}

/// Opens the ledger at `path`, or the one that AUDITHOG_DB names. With a note its rows are looked at, or changed, which is recorded first.
pub(crate) fn open(path: Option<&Path>, note: Option<AccessNote>) -> Result<LedgerFile, Failure> {
    let path = find(path)?;
    let file = LedgerFile::open(&path).map_err(|error| unopened(&error, &path))?;
    if let Some(note) = note {
        access::record(&path, note)?;
    }
    Ok(file)
}

/// The same, to ask it.
pub(crate) fn log(path: Option<&Path>, note: AccessNote) -> Result<Log, Failure> {
    Ok(log_and_head(path, note)?.0)
}

/// With the last row's number, as it was before this look became a row.
pub(crate) fn log_and_head(path: Option<&Path>, note: AccessNote) -> Result<(Log, u64), Failure> {
    let path = find(path)?;
    let mut log = Log::open(&path).map_err(|error| unopened(&error, &path))?;
    let head = log.head().map_err(failed)?;
    access::record(&path, note)?;
    Ok((log, head))
}

/// Another way to the same log.
pub(crate) fn again(log: &Log) -> Result<Log, Failure> {
    Log::open(log.path()).map_err(|error| unopened(&error, log.path()))
}

fn unopened(error: &audithog::Error, path: &Path) -> Failure {
    let text = sentence(error);
    Failure::new(
        1,
        match remedy(error, path) {
            Some(remedy) => format!("{text}\n{remedy}"),
            None => text,
        },
    )
}

/// What to do about a file that cannot be opened.
fn remedy(error: &audithog::Error, path: &Path) -> Option<&'static str> {
    if error.is_newer_ledger() {
        return Some("use the newer audithog that wrote it");
    }
    if !error.is_ledger() {
        return None;
    }
    Some(match path.try_exists() {
        Ok(false) => {
            "name the file, or set AUDITHOG_DB; the service says where it is in the line `audit ledger open`"
        }
        _ => {
            "run this as the user that the service runs as; `AUDITHOG_DB=FILE audithog doctor` looks closer"
        }
    })
}

/// Where the ledger is, or would be.
pub(crate) fn find(path: Option<&Path>) -> Result<PathBuf, Failure> {
    path.map(Path::to_owned)
        .or_else(|| Logger::builder().ledger_path())
        .ok_or_else(|| {
            Failure::new(
                2,
                "AUDITHOG_DB is off, so there is no file to look at; name one",
            )
        })
}
