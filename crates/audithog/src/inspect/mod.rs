//! Looking at a ledger's file: what a service's log is like, seen by another process.
//!
//! Works on the file of a live service, of a dead one, and on a copy; also where nothing may be
//! written. Nothing is made and nothing is changed, but by [`LedgerFile::replay`] and
//! [`LedgerFile::dismiss`]. Reads are short:
//! they do not keep a service from writing.
//!
//! ```no_run
//! use audithog::inspect::{LedgerFile, Limits};
//!
//! # fn main() -> Result<(), audithog::Error> {
//! let status = LedgerFile::open("audit.db")?.status()?;
//! for problem in status.problems(&Limits::default()) {
//!     println!("{}: {}", problem.text, problem.remedy);
//! }
//! # Ok(())
//! # }
//! ```

mod access;
mod assemble;
mod dead_letters;
mod dismiss;
mod equations;
mod problems;
mod projection;
mod replay;
mod session;
mod status;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use access::{AccessNote, Action};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use dismiss::Dismissed;
pub use problems::{Limits, Problem, ProblemKind};
pub use projection::{ProjectedEvents, Projection};
pub use replay::Replayed;
pub use status::{
    Access, Books, Equation, FileStatus, Hold, Loss, RowsStatus, RunState, RunStatus, SinkStatus,
    Status, Trouble,
};

use crate::error::Error;
use crate::ledger::Looker;

/// A ledger's file, open for reading.
#[derive(Debug)]
pub struct LedgerFile(Looker);

impl LedgerFile {
    /// Opens the ledger at `path`, as it is: a file of an older version is read and not migrated.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: there is no ledger at the path, or it cannot be read.
    /// [`Error::is_newer_ledger`]: a newer version has written it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Looker::open(path.as_ref()).map(Self).map_err(Error::from)
    }

    /// The file, with symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What the log is like now. Takes a few milliseconds whatever the size of the file.
    ///
    /// # Errors
    ///
    /// [`Error::is_ledger`]: the file cannot be read, or is damaged.
    pub fn status(&mut self) -> Result<Status, Error> {
        let facts = self.0.facts().map_err(Error::from)?;
        Ok(assemble::status(&self.0, facts))
    }
}
