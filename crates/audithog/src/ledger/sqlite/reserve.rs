//! Space that is kept back for a full disk: with it, rows can still be removed and losses told.
//!
//! A file beside the ledger, filled with bytes. While it is whole, rows are appended. When a commit
//! finds the disk full, the file is emptied: what it frees is for what sinks settle, for removing rows and for
//! audithog's own rows. Everything else waits until the file could be filled again.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::file::beside;
use crate::ledger::{StoreError, StoreErrorKind};

const BLOCK: usize = 64 * 1024;
/// Less than this is of no use.
const LEAST: u64 = 256 * 1024;

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    size: u64,
    leave: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not wanted, or there is no room for one: rows are appended as long as they can be.
    Absent,
    Held,
    /// In use.
    Released,
}

/// Where the reserve of the ledger at `ledger` is.
pub(super) fn path(ledger: &Path) -> PathBuf {
    beside(ledger, "-reserve")
}

/// Whether the reserve of the ledger at `ledger` is in use, as others see it.
pub(crate) fn in_use(ledger: &Path) -> bool {
    fs::metadata(path(ledger)).is_ok_and(|found| found.len() == 0)
}

impl Reserve {
    /// `size` in bytes; zero wants none, and None leaves what is there.
    pub(super) fn new(ledger: &Path, size: Option<u64>) -> Self {
        Self {
            path: path(ledger),
            size: size.unwrap_or(0),
            leave: size.is_none(),
            state: State::Absent,
        }
    }

    /// Takes what is wanted and not there yet. Says so if there is no room for it.
    pub(super) fn take_first(&mut self) {
        if self.leave {
            return;
        }
        if self.size == 0 {
            // Left over from other settings.
            let _ = fs::remove_file(&self.path);
            return;
        }
        let wanted = self.size;
        let mut refused = None;
        while self.size >= LEAST {
            match self.fill() {
                Ok(()) => {
                    self.state = State::Held;
                    break;
                }
                Err(error) => refused = Some(error),
            }
            let _ = self.empty();
            self.size /= 2;
        }
        let Some(error) = refused else {
            return;
        };
        if self.state == State::Held {
            tracing::warn!(
                wanted,
                bytes = self.size,
                "there is little room beside the audit ledger: less is reserved for a full disk than was wanted"
            );
            return;
        }
        let _ = fs::remove_file(&self.path);
        tracing::warn!(
            %error,
            wanted,
            "no space could be reserved beside the audit ledger: on a full disk old rows cannot be removed, and \
             losses not told"
        );
    }

    /// Whether rows may be appended. Tries to take back what was released, by whatever process.
    pub(super) fn is_whole(&mut self) -> bool {
        if self.state == State::Absent || (self.state == State::Held && self.is_filled()) {
            return true;
        }
        self.state = State::Released;
        if self.fill().is_err() {
            // What was written must not take the room either.
            let _ = self.empty();
            return false;
        }
        self.state = State::Held;
        tracing::info!(
            "the disk of the audit ledger has room again, and its reserve is taken back"
        );
        true
    }

    /// Frees the space. False if there is none to free.
    pub(super) fn release(&mut self) -> bool {
        match self.state {
            State::Absent => false,
            State::Released => true,
            State::Held => {
                if let Err(error) = self.empty() {
                    tracing::debug!(%error, "the reserve could not be released");
                    return false;
                }
                self.state = State::Released;
                tracing::warn!(
                    bytes = self.size,
                    "the disk of the audit ledger is full: its reserve is used to remove old rows and to tell \
                     of losses; other rows wait in memory: make room"
                );
                true
            }
        }
    }

    /// Frees what an earlier process reserved. False if there is nothing.
    pub(super) fn release_found(&mut self) -> bool {
        let found = self.size > 0 && fs::metadata(&self.path).is_ok_and(|found| found.len() > 0);
        if found {
            self.state = State::Held;
        }
        found && self.release()
    }

    pub(super) fn waits_for_room() -> StoreError {
        StoreError::new(
            StoreErrorKind::Full,
            "the disk of the ledger is full, and rows wait until its reserve can be taken back",
        )
    }

    fn is_filled(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.len() >= self.size)
    }

    /// Writes twice the size and gives the half back: the reserve is not the last that there is.
    fn fill(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path)?;
        let filled = file.metadata()?.len();
        if filled < self.size {
            file.seek(SeekFrom::Start(0))?;
            // Not zeros, which some file systems do not store.
            let block: Vec<u8> = (0..BLOCK)
                .map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8)
                .collect();
            let mut left = self.size * 2;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
                file.write_all(&block[..part])?;
                left -= part as u64;
            }
        }
        file.set_len(self.size)
    }

    fn empty(&self) -> io::Result<()> {
        match OpenOptions::new().write(true).open(&self.path) {
            Ok(file) => file.set_len(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
