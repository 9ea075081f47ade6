//! Looking at a ledger from outside of the process that writes it: a live service's file, a dead
//! one's, a copy, also where nothing may be written. Nothing is made and nothing is changed.
//!
//! What SQLite needs depends on the files beside the ledger's:
//!
//! | `-wal` | `-shm` | read |
//! |---|---|---|
//! | there | there | as any other process. Where `-shm` cannot be written SQLite keeps an index of its own. |
//! | there | gone | a copy, or a dead container's: as the only process, with the index in memory. The usual way would make `-shm` and leave it. |
//! | gone | | closed in good order: as a file that does not change. The usual way would make both. |
//!
//! In the last two cases no locks are held, so the files are compared before and after: if
//! somebody has opened the ledger meanwhile, it is read again.

mod ad_hoc;
mod by_id;
mod dead_letters;
mod digests;
mod facts;
mod orphan;
mod rows;
mod select;
#[cfg(feature = "posthog")]
mod settled;
mod slices;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub(crate) use ad_hoc::{AdHoc, AdHocEnd, AdHocLimits};
pub(crate) use dead_letters::{LetterFilter, LetterRow};
pub(crate) use facts::{Facts, LossFact, RunFact, RunLife, SinkFact};
pub(crate) use orphan::{Content, Glance};
pub(crate) use rows::{Direction, Extent, Walk};
#[cfg(feature = "posthog")]
pub(crate) use settled::Passed;

use super::error::{failed, plain};
use super::{file, open};
use crate::ledger::{StoreError, StoreErrorKind};

/// Since this schema rows are kept by column as well.
const DIGESTS: i32 = 3;
/// Reads that found the files changed meanwhile are repeated this often.
const TRIES: usize = 5;

/// How the file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Beside others, with SQLite's locks.
    Shared,
    /// With the log, but as the only process.
    Alone,
    /// Without a log: it does not change.
    Still,
}

/// A ledger's file, for reading.
#[derive(Debug)]
pub(crate) struct Looker {
    /// With symbolic links resolved: there the files beside it are.
    path: PathBuf,
    connection: Connection,
    access: Access,
    stamp: Stamp,
    version: i32,
    /// Nothing is read later.
    deadline: Option<Instant>,
}

/// What tells that somebody has opened, written or replaced the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    identity: file::Identity,
    bytes: u64,
    changed: Option<SystemTime>,
    wal: bool,
    shm: bool,
}

impl Looker {
    /// Opens the ledger at `path`.
    ///
    /// # Errors
    ///
    /// `Unusable` if there is none, or no regular file, or no ledger, or no permission; `Newer`;
    /// what SQLite says.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let real = find(path)?;
        let stamp = Stamp::of(&real)?;
        let access = stamp.access();
        let connection = connect(&real, access)?;
        let version = open::version(&connection, &real)?;
        Ok(Self {
            path: real,
            connection,
            access,
            stamp,
            version,
            deadline: None,
        })
    }

    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// The file's schema.
    pub(crate) fn version(&self) -> i32 {
        self.version
    }

    /// Runs `work` in one short read transaction, so that all it reads fits together.
    fn read<T>(
        &mut self,
        work: impl Fn(&Connection, i32) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.deadline.is_some_and(|end| Instant::now() >= end) {
            return Err(plain(StoreErrorKind::Late, "the time for it is over"));
        }
        let mut last = None;
        for _ in 0..TRIES {
            let stamp = Stamp::of(&self.path)?;
            if !self.stamp.allows(&stamp, self.access) {
                *self = Self {
                    deadline: self.deadline,
                    ..Self::open(&self.path)?
                };
            }
            let found = self.transaction(&work);
            let after = Stamp::of(&self.path)?;
            if self.stamp.allows(&after, self.access) {
                return found;
            }
            last = found.err();
        }
        Err(last.unwrap_or_else(|| {
            plain(
                StoreErrorKind::Busy,
                format!("the ledger {} changes all the time", self.path.display()),
            )
        }))
    }

    fn transaction<T>(
        &self,
        work: impl Fn(&Connection, i32) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let reading = failed("be read");
        let transaction = self.connection.unchecked_transaction().map_err(&reading)?;
        let found = work(&transaction, self.version)?;
        transaction.finish().map_err(&reading)?;
        Ok(found)
    }
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, StoreError> {
        let (identity, bytes) =
            file::identity(path).map_err(|source| file::gone(path, Some(source)))?;
        let changed = fs::metadata(path).and_then(|found| found.modified()).ok();
        Ok(Self {
            identity,
            bytes,
            changed,
            wal: exists(&file::beside(path, "-wal")),
            shm: exists(&file::beside(path, "-shm")),
        })
    }

    fn access(&self) -> Access {
        match (self.wal, self.shm) {
            (true, false) if cfg!(unix) => Access::Alone,
            (true, _) => Access::Shared,
            (false, _) => Access::Still,
        }
    }

    /// Whether what was opened when the files were like this is still the ledger.
    fn allows(&self, now: &Self, access: Access) -> bool {
        match access {
            Access::Shared => self.identity == now.identity,
            Access::Alone | Access::Still => self == now,
        }
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The real path, if a ledger can be there.
fn find(path: &Path) -> Result<PathBuf, StoreError> {
    let shown = path.display();
    let found = fs::canonicalize(path).and_then(|real| Ok((fs::metadata(&real)?, real)));
    match found {
        Ok((found, real)) if found.is_file() => Ok(real),
        // Opening a pipe would wait for a writer, for ever.
        Ok(_) => Err(plain(
            StoreErrorKind::Unusable,
            format!("{shown} is no regular file"),
        )),
        Err(source) => Err(StoreError {
            kind: StoreErrorKind::Unusable,
            message: match source.kind() {
                io::ErrorKind::NotFound => format!("there is no ledger at {shown}"),
                _ => format!("the ledger {shown} cannot be looked at"),
            },
            source: Some(Box::new(source)),
        }),
    }
}

fn connect(path: &Path, access: Access) -> Result<Connection, StoreError> {
    match access {
        Access::Shared => open::reader(path),
        Access::Alone => {
            // Without locks SQLite would take itself for the last to leave, and move the log into
            // the file.
            let connection = open::with_vfs(path, "unix-none")?;
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .and_then(|_| connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE"))
                .map_err(failed("be opened"))?;
            Ok(connection)
        }
        Access::Still => {
            let name = format!("file:{}?immutable=1", percent(path));
            open::with_flags(Path::new(&name), path, OpenFlags::SQLITE_OPEN_URI)
        }
    }
}

/// A path as part of a URI: SQLite decodes bytes (sqlite.org/uri.html).
fn percent(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|&byte| match byte {
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Space on the disk that `path` is on, in bytes: free for this user, and in all.
#[cfg(unix)]
pub(crate) fn space(path: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some((
        found.f_bavail.saturating_mul(found.f_frsize),
        found.f_blocks.saturating_mul(found.f_frsize),
    ))
}

#[cfg(not(unix))]
pub(crate) fn space(_path: &Path) -> Option<(u64, u64)> {
    None
}
