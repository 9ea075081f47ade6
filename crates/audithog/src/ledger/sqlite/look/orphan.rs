//! Files that may be ledgers, and ledgers that may be nobody's.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use super::super::error::{failed, plain};
use super::super::runs::{self, OpenRun, Process, Whereabouts};
use super::super::{file, schema, settle};
use super::Looker;
use crate::ledger::{StoreError, StoreErrorKind, Totals};
use crate::record::Micros;

/// The first bytes of each SQLite file, and where the application id is (sqlite.org/fileformat2.html, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const APPLICATION_ID_AT: usize = 68;
const HEADER: usize = APPLICATION_ID_AT + 4;

/// A ledger as it is now, from outside.
#[derive(Debug)]
pub(crate) struct Glance {
    pub(crate) totals: Totals,
    /// Runs that have not ended in good order, oldest first.
    pub(crate) open_runs: Vec<OpenRun>,
}

impl Looker {
    /// The counters, and the runs that have not ended.
    pub(crate) fn glance(&mut self, now: Micros) -> Result<Glance, StoreError> {
        let process = Process::current();
        let mut glance = self.read(|connection, _| {
            let look = || {
                Ok(Glance {
                    totals: settle::load(connection)?,
                    open_runs: runs::open_runs(connection, &process, now)?,
                })
            };
            look().map_err(failed("be looked at"))
        })?;
        for run in &mut glance.open_runs {
            // A moment without the file is one of opening it again.
            let silent = now.since(run.alive) > runs::PRESUMED_STOPPED;
            if run.at == Whereabouts::Here
                && silent
                && has_open(&run.pid.to_string(), self.path()) == Some(false)
            {
                run.at = Whereabouts::Left;
            }
        }
        Ok(glance)
    }

    /// Whether the process with this id has this very file open, or nobody can tell.
    pub(crate) fn may_be_open_in(&self, pid: u32) -> bool {
        has_open(&pid.to_string(), self.path()) != Some(false)
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Ledger,
    /// It has a ledger's mark, but not the beginning of a database.
    Damaged,
    /// SQLite's, of another application.
    OtherDatabase,
    /// Also what is too short for a database.
    NoDatabase,
}

impl Content {
    /// By the first bytes of the file at `path` and, where those do not tell, by its tables.
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let unreadable = |source: std::io::Error| StoreError {
            source: Some(Box::new(source)),
            ..plain(
                StoreErrorKind::Unusable,
                format!("the file {} cannot be read", path.display()),
            )
        };
        if is_open_here(path) {
            return by_tables(path);
        }
        let mut header = [0_u8; HEADER];
        match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Ok(Self::NoDatabase);
            }
            Err(error) => return Err(unreadable(error)),
        }
        let (head, id) = header.split_at(APPLICATION_ID_AT);
        let marked = id == schema::APPLICATION_ID.to_be_bytes();
        match (head.starts_with(MAGIC), marked) {
            (true, true) => return Ok(Self::Ledger),
            (false, true) => return Ok(Self::Damaged),
            (false, false) => return Ok(Self::NoDatabase),
            (true, false) => {}
        }
        // A young ledger's id may be in the write-ahead log alone.
        let log = std::fs::metadata(file::beside(path, "-wal"));
        if id != [0; 4] || !log.is_ok_and(|log| log.len() > 0) {
            return Ok(Self::OtherDatabase);
        }
        by_tables(path)
    }
}

fn by_tables(path: &Path) -> Result<Content, StoreError> {
    match Looker::open(path) {
        Ok(_) => Ok(Content::Ledger),
        Err(error) if error.source.is_none() && error.kind == StoreErrorKind::Unusable => {
            Ok(Content::OtherDatabase)
        }
        Err(error) => Err(error),
    }
}

/// Whether this process has the file open: closing another descriptor of it would take away SQLite's locks (see
/// `file`). Without /proc nobody can tell; there a file is named to look at it, not walked over.
fn is_open_here(path: &Path) -> bool {
    has_open("self", path).unwrap_or(false)
}

/// Whether a process, by its name in /proc, has the file open; None if nobody can tell.
fn has_open(process: &str, path: &Path) -> Option<bool> {
    let (wanted, _) = file::identity(path).ok()?;
    let mut descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    Some(descriptors.any(|descriptor| {
        // One that went away meanwhile is not the ledger's: that stays open.
        descriptor.is_ok_and(|descriptor| {
            file::identity(&descriptor.path()).is_ok_and(|(found, _)| found == wanted)
        })
    }))
}
