//! Which ledger a command is about.

use std::path::{Path, PathBuf};

use audithog::{Builder, Logger, inspect::LedgerFile};

use crate::{failure::Failure, output::failed};

/// Opens the ledger at `path`, or the one that AUDITHOG_DB names.
pub(crate) fn open(path: Option<&Path>) -> Result<LedgerFile, Failure> {
    LedgerFile::open(find(path, &Logger::builder())?).map_err(failed)
}

fn find(path: Option<&Path>, settings: &Builder) -> Result<PathBuf, Failure> {
    path.map(Path::to_owned)
        .or_else(|| settings.ledger_path())
        .ok_or_else(|| {
            Failure::new(
                2,
                "AUDITHOG_DB is off, so there is no file to look at; name one",
            )
        })
}
