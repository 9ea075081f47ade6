//! Turns: several processes that write one ledger go one after the other.
//!
//! SQLite's own lock is taken by whoever asks first once it is free, and that is mostly the one
//! that had it: it is awake. Here a writer passes a turnstile of two locks on two empty files
//! beside the ledger: it takes `-next`, then `-turn`, and gives `-next` back. Whoever gives the turn
//! up must pass `-next` again, and that is held by the one who waits, so it cannot overtake.
//!
//! This is courtesy and not safety: SQLite's lock alone decides who writes. A writer that cannot
//! have its turn (no lock file, a stopped holder, a file system without locks) goes on without, as
//! every program does that knows nothing of turns. The locks are the kernel's: they end with their
//! process. A child that was forked and not executed shares them, so they are given back with a
//! call and not only by closing the file. The last process to close the ledger removes the files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::busy::{LONG_STEP, SHORT, pause};
use super::file::beside;

const NEXT: &str = "-next";
const TURN: &str = "-turn";
/// How long a writer waits for its turn. Longer than a slow disk needs for the fsyncs of a few
/// others; then whoever has the turn is taken for stopped.
const PATIENCE: Duration = Duration::from_secs(1);
/// After that, for so long, a turn is taken if it is free and not waited for.
const DISTRUST: Duration = Duration::from_secs(10);
/// Time between two looks at a lock, besides what the kernel adds (about 50 µs on Linux). Short: nobody
/// writes between the end of a turn and the next look.
const STEP: Duration = Duration::from_micros(10);

/// A writer's place at the turnstile.
#[derive(Debug)]
pub(super) struct Turnstile {
    ledger: PathBuf,
    locks: Option<Locks>,
    /// Not waited for until then: a holder did not go on.
    distrusted: Option<Instant>,
}

#[derive(Debug)]
struct Locks {
    next: File,
    turn: Arc<File>,
}

/// The turn, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn {
    held: Option<Arc<File>>,
    /// How long it was waited for.
    pub(super) waited: Duration,
}

impl Turnstile {
    /// The turnstile of the ledger at `path`, which exists. Without its files there are no turns.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            ledger: path.to_owned(),
            locks: Locks::open(path).inspect_err(no_turns).ok(),
            distrusted: None,
        }
    }

    /// Waits for the turn, but not for ever: who waited too long goes on without.
    pub(super) fn pass(&mut self) -> Turn {
        let since = Instant::now();
        self.distrusted = self.distrusted.filter(|until| since < *until);
        let patience = if self.distrusted.is_some() {
            Duration::ZERO
        } else {
            PATIENCE
        };
        if self.locks.as_ref().is_some_and(Locks::are_gone) {
            self.locks = Locks::open(&self.ledger).inspect_err(no_turns).ok();
        }
        let Some(locks) = &self.locks else {
            return Turn {
                held: None,
                waited: Duration::ZERO,
            };
        };
        let passed = locks.pass(since, patience);
        let waited = since.elapsed();
        let held = match passed {
            Ok(true) => Some(Arc::clone(&locks.turn)),
            Ok(false) => {
                self.distrusted.get_or_insert(since + waited + DISTRUST);
                None
            }
            Err(error) => {
                no_turns(&error);
                self.locks = None;
                None
            }
        };
        Turn { held, waited }
    }

    /// Removes the files; for the last one to close the ledger. Who opened it meanwhile makes them
    /// again.
    pub(super) fn remove(self) {
        if self.locks.is_some() {
            for suffix in [NEXT, TURN] {
                // Left behind they do no harm.
                let _ = fs::remove_file(beside(&self.ledger, suffix));
            }
        }
    }
}

impl Locks {
    fn open(ledger: &Path) -> io::Result<Self> {
        Ok(Self {
            next: open(ledger, NEXT)?,
            turn: Arc::new(open(ledger, TURN)?),
        })
    }

    /// Another process may have removed the files, and yet another has new ones.
    #[cfg(unix)]
    fn are_gone(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let is_gone = |file: &File| file.metadata().is_ok_and(|found| found.nlink() == 0);
        is_gone(&self.next) || is_gone(&self.turn)
    }

    /// An open file cannot be removed.
    #[cfg(not(unix))]
    fn are_gone(&self) -> bool {
        false
    }

    fn pass(&self, since: Instant, patience: Duration) -> io::Result<bool> {
        if !lock(&self.next, since, patience)? {
            return Ok(false);
        }
        let passed = lock(&self.turn, since, patience);
        self.next.unlock()?;
        passed
    }
}

#[cfg(test)]
impl Turn {
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turn) = &self.held {
            // Nothing is done about an error: nobody waits for the lock longer than `PATIENCE`.
            let _ = turn.unlock();
        }
    }
}

fn no_turns(error: &io::Error) {
    tracing::debug!(%error, "no locks beside the ledger: its writers take no turns");
}

/// False if it could not be had in time. Asks again and again, because a wait for a lock that a
/// stopped process holds could not be given up.
fn lock(file: &File, since: Instant, patience: Duration) -> io::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let waited = since.elapsed();
        if waited >= patience {
            return Ok(false);
        }
        pause(if waited < SHORT { STEP } else { LONG_STEP });
    }
}

/// Made with the ledger's mode and, for root, its owner, as SQLite does with its own files beside it.
fn open(ledger: &Path, suffix: &str) -> io::Result<File> {
    let path = beside(ledger, suffix);
    let mut options = OpenOptions::new();
    options.write(true);
    let like = fs::metadata(ledger)?;
    match make(options.clone(), &path, &like) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    // Opening a pipe would wait for its other end.
    if !fs::symlink_metadata(&path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    options.open(&path)
}

#[cfg(unix)]
fn make(mut options: OpenOptions, path: &Path, like: &fs::Metadata) -> io::Result<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let made = options
        .create_new(true)
        .mode(like.mode() & 0o666)
        .open(path)?;
    let is = made.metadata()?;
    if (is.uid(), is.gid()) != (like.uid(), like.gid()) {
        // Only root may; another user's file is of use to this user alone then.
        let _ = std::os::unix::fs::fchown(&made, Some(like.uid()), Some(like.gid()));
    }
    Ok(made)
}

#[cfg(not(unix))]
fn make(mut options: OpenOptions, path: &Path, _like: &fs::Metadata) -> io::Result<File> {
    options.create_new(true).open(path)
}
