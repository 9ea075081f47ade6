//! The file and its neighbour, the write-ahead log: made private, and watched.
//!
//! Only `stat` looks at them here. A process that closes any descriptor of a file gives up all its
//! POSIX locks on it, SQLite's included, so no other descriptor is ever opened on a ledger.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{damaged, plain};
use crate::ledger::{StoreError, StoreErrorKind};

/// Which file a path led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// The ledger's files as they were when it was opened.
#[derive(Clone, Debug)]
pub(super) struct Files {
    path: PathBuf,
    wal: PathBuf,
    shm: PathBuf,
    db_identity: Identity,
    wal_identity: Identity,
    shm_identity: Identity,
    /// None if it could not be opened, or as another one.
    log: Option<Arc<fs::File>>,
}

/// What is left of the files that were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    All,
    /// The ledger's file is there; what SQLite keeps beside it was deleted or replaced.
    Ledger,
    Nothing,
}

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) db: u64,
    pub(super) wal: u64,
}

impl Files {
    /// Remembers which files SQLite has opened. Call it once the write-ahead log exists.
    pub(super) fn opened(path: &Path) -> Result<Self, StoreError> {
        let (wal, shm) = (beside(path, "-wal"), beside(path, "-shm"));
        let identity = |path: &Path| identity(path).map_err(|source| gone(path, Some(source)));
        let wal_identity = identity(&wal)?.0;
        Ok(Self {
            db_identity: identity(path)?.0,
            wal_identity,
            log: open_log(&wal, wal_identity).map(Arc::new),
            shm_identity: identity(&shm)?.0,
            path: path.to_owned(),
            wal,
            shm,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a write-ahead log: not after the last connection was closed.
    pub(super) fn has_log(&self) -> bool {
        self.wal.exists()
    }

    /// SQLite goes on writing into deleted files without an error, so each group looks before it
    /// and after it. The shared memory counts: a process that comes later would make its own, and
    /// two indexes of one log end in damage.
    pub(super) fn check(&self) -> Result<Sizes, StoreError> {
        let db = check_one(&self.path, self.db_identity)?;
        let wal = check_one(&self.wal, self.wal_identity)?;
        check_one(&self.shm, self.shm_identity)?;
        if db == 0 {
            return Err(damaged(format_args!(
                "the file {} was truncated to nothing",
                self.path.display()
            )));
        }
        Ok(Sizes { db, wal })
    }

    pub(super) fn left(&self) -> Left {
        if check_one(&self.path, self.db_identity).is_err() {
            Left::Nothing
        } else if check_one(&self.wal, self.wal_identity).is_err()
            || check_one(&self.shm, self.shm_identity).is_err()
        {
            Left::Ledger
        } else {
            Left::All
        }
    }

    /// A log that has something begins with SQLite's mark ("Database File Format", section "WAL File
    /// Format"), or its beginning was cut off: SQLite goes on behind the hole.
    pub(super) fn check_log(&self, size: u64) -> Result<(), StoreError> {
        let mut mark = [0; 4];
        let read = read_mark(self.log.as_deref(), &self.wal, &mut mark);
        let whole = matches!(u32::from_be_bytes(mark), 0x377f_0682 | 0x377f_0683);
        // Emptied since it was measured, or not to be read: that is another trouble.
        if size == 0 || whole || read.is_err() {
            return Ok(());
        }
        Err(damaged(format_args!(
            "the beginning of {} is gone",
            self.wal.display()
        )))
    }

    /// The log was deleted and nobody has written another. What is in the index of this process's
    /// connections is in the log that only they still have.
    pub(super) fn only_log_is_gone(&self) -> bool {
        let log = identity(&self.wal);
        let unwritten = log.as_ref().map_or(true, |(_, size)| *size == 0);
        let replaced = log.is_ok_and(|(found, _)| found == self.wal_identity);
        let index = identity(&self.shm).map_or(true, |(found, _)| found == self.shm_identity);
        unwritten && !replaced && index
    }

    /// Which file the ledger was.
    pub(super) fn ledger(&self) -> Identity {
        self.db_identity
    }
}

/// Makes the file with mode 0600 if there is none, before SQLite opens it: SQLite gives the same
/// mode to the files beside it. Returns its path with symbolic links resolved, because that is
/// where SQLite puts those, and whether it was made.
pub(super) fn create_private(path: &Path) -> Result<(PathBuf, bool), StoreError> {
    let unusable = |what: String, source: io::Error| StoreError {
        kind: StoreErrorKind::Unusable,
        message: what,
        source: Some(Box::new(source)),
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match fs::metadata(parent) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(plain(
                StoreErrorKind::Unusable,
                format!(
                    "the ledger's directory {} is not a directory",
                    parent.display()
                ),
            ));
        }
        Err(source) => {
            return Err(unusable(
                format!("the ledger's directory {} cannot be used", parent.display()),
                source,
            ));
        }
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let created = match options.open(path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(source) => {
            return Err(unusable(
                format!("the ledger {} cannot be made", path.display()),
                source,
            ));
        }
    };
    let real = fs::canonicalize(path).map_err(|source| {
        unusable(
            format!("the ledger {} cannot be found", path.display()),
            source,
        )
    })?;
    if real.is_dir() {
        return Err(plain(
            StoreErrorKind::Unusable,
            format!("the ledger {} is a directory", path.display()),
        ));
    }
    // Opening a pipe would wait for a writer, for ever.
    if !real.is_file() {
        return Err(plain(
            StoreErrorKind::Unusable,
            format!("the ledger {} is no regular file", path.display()),
        ));
    }
    Ok((real, created))
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Kept open, because each group looks into it. SQLite's locks are not on this file, so that closing it is safe.
#[cfg(unix)]
fn open_log(wal: &Path, expected: Identity) -> Option<fs::File> {
    let log = fs::File::open(wal).ok()?;
    let found = log.metadata().ok()?;
    (identity_of(&found) == expected).then_some(log)
}

/// An open file cannot be deleted: SQLite could not remove its log.
#[cfg(not(unix))]
fn open_log(_wal: &Path, _expected: Identity) -> Option<fs::File> {
    None
}

fn read_mark(log: Option<&fs::File>, wal: &Path, mark: &mut [u8; 4]) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(log) = log {
        return std::os::unix::fs::FileExt::read_exact_at(log, mark, 0);
    }
    #[cfg(not(unix))]
    let _ = log;
    io::Read::read_exact(&mut fs::File::open(wal)?, mark)
}

fn check_one(path: &Path, expected: Identity) -> Result<u64, StoreError> {
    match identity(path) {
        Ok((found, size)) if found == expected => Ok(size),
        Ok(_) => Err(gone(path, None)),
        Err(source) => Err(gone(path, Some(source))),
    }
}

#[cfg(unix)]
pub(super) fn identity(path: &Path) -> io::Result<(Identity, u64)> {
    let found = fs::metadata(path)?;
    Ok((identity_of(&found), found.len()))
}

#[cfg(unix)]
fn identity_of(found: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity {
        device: found.dev(),
        inode: found.ino(),
    }
}

/// Elsewhere an open file cannot be deleted; that it exists is all that is checked.
#[cfg(not(unix))]
pub(super) fn identity(path: &Path) -> io::Result<(Identity, u64)> {
    let found = fs::metadata(path)?;
    let identity = Identity {
        device: 0,
        inode: 0,
    };
    Ok((identity, found.len()))
}

pub(super) fn gone(path: &Path, source: Option<io::Error>) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Io,
        message: format!("the ledger file {} was deleted or replaced", path.display()),
        source: source.map(Into::into),
    }
}
