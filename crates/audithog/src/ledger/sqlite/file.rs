//! The file and its neighbour, the write-ahead log: made private, and watched.
//!
//! Only `stat` looks at them here. A process that closes any descriptor of a file gives up all its
//! POSIX locks on it, SQLite's included, so no other descriptor is ever opened on a ledger.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::plain;
use crate::ledger::{StoreError, StoreErrorKind};

/// Which file a path led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// The ledger's files as they were when it was opened.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    wal: PathBuf,
    db_identity: Identity,
    wal_identity: Identity,
}

impl Files {
    /// Remembers which files SQLite has opened. Call it once the write-ahead log exists.
    pub(super) fn opened(path: &Path) -> Result<Self, StoreError> {
        let wal = beside(path, "-wal");
        let db_identity = identity(path).map_err(|source| gone(path, Some(source)))?.0;
        let wal_identity = identity(&wal).map_err(|source| gone(&wal, Some(source)))?.0;
        Ok(Self {
            path: path.to_owned(),
            wal,
            db_identity,
            wal_identity,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a write-ahead log: not after the last connection was closed.
    pub(super) fn has_log(&self) -> bool {
        self.wal.exists()
    }

    /// SQLite goes on writing into deleted files without an error, so each group looks first.
    /// Returns the size of the write-ahead log in bytes.
    pub(super) fn check(&self) -> Result<u64, StoreError> {
        check_one(&self.path, self.db_identity)?;
        check_one(&self.wal, self.wal_identity)
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

fn check_one(path: &Path, expected: Identity) -> Result<u64, StoreError> {
    match identity(path) {
        Ok((found, size)) if found == expected => Ok(size),
        Ok(_) => Err(gone(path, None)),
        Err(source) => Err(gone(path, Some(source))),
    }
}

#[cfg(unix)]
pub(super) fn identity(path: &Path) -> io::Result<(Identity, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(path)?;
    let identity = Identity {
        device: found.dev(),
        inode: found.ino(),
    };
    Ok((identity, found.size()))
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
