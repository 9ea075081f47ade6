//! The files of an export while it is made.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{sink::Sink, state::State};
use crate::{failure::Failure, files};

/// Beside `FILE`: `.FILE.part`, what is complete of it (`.FILE.part.state`) and what only Parquet needs (`.FILE.part.notes`).
#[derive(Debug)]
pub(super) struct Place {
    file: PathBuf,
    part: PathBuf,
    state: PathBuf,
    notes: PathBuf,
    /// The part is locked while this is held.
    locked: File,
    /// Notes that are written on.
    noted: u64,
}

/// What is written before FILE is there: part, state, notes, and the state before it has its name.
pub(super) fn paths(file: &Path) -> [PathBuf; 4] {
    [".part", ".part.state", ".part.notes", ".part.new"].map(|ending| files::beside(file, ending))
}

impl Place {
    /// Takes the place, and looks for what an interrupted export left there.
    pub(super) fn take(
        file: &Path,
        resume: bool,
        force: bool,
    ) -> Result<(Self, Option<State>), Failure> {
        let [part, state, notes, _] = paths(file);
        let cannot = files::cannot_write(file);
        // The longest names: what they are too long for shows before the first row.
        for path in [&state, &notes] {
            match path.symlink_metadata() {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
                _ => {}
            }
        }
        let before = OpenOptions::new().read(true).write(true).open(&part);
        let (locked, is_old) = match before {
            Ok(before) => (before, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (files::create(&part).map_err(&cannot)?, false)
            }
            Err(error) => return Err(cannot(error)),
        };
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("another export writes {}", file.display());
                return Err(Failure::new(1, text));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        if !is_ours(&part, &locked).map_err(&cannot)? {
            let text = format!(
                "{} is not this user's own file: remove it, or choose another FILE",
                part.display()
            );
            return Err(Failure::new(1, text));
        }
        let place = Self {
            file: file.to_owned(),
            part,
            state,
            notes,
            locked,
            noted: 0,
        };
        // A state without its part is of a part that is gone.
        if resume && is_old {
            let state = State::read(&place.state).map_err(|why| unusable(file, &why))?;
            return Ok((place, state));
        }
        if !is_old || resume || force {
            return Ok((place, None));
        }
        let text = format!(
            "an export of {} was interrupted: --resume continues it, --force begins anew",
            file.display()
        );
        Err(Failure::new(1, text))
    }

    /// An empty part. What was noted goes first: it must never belong to another part.
    pub(super) fn begin(&mut self) -> Result<Sink, Failure> {
        self.forget();
        let begun = || {
            self.locked.set_len(0)?;
            self.locked.try_clone()
        };
        begun()
            .map(Sink::file)
            .map_err(files::cannot_write(&self.file))
    }

    /// The part as the state describes it.
    pub(super) fn resume(&mut self, state: &State) -> Result<(Sink, Vec<u8>), Failure> {
        let resumed = || {
            let mut notes = fs::read(&self.notes).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(Vec::new()),
                _ => Err(error),
            })?;
            let noted = usize::try_from(state.notes).unwrap_or(usize::MAX);
            if notes.len() < noted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            notes.truncate(noted);
            let sink = Sink::resume(self.locked.try_clone()?, state.bytes)?;
            Ok((sink, notes))
        };
        let found = resumed().map_err(|error: io::Error| {
            let text = format!(
                "{} cannot be continued: {error}; --force begins anew",
                self.part.display()
            );
            Failure::new(1, text)
        })?;
        self.noted = state.notes;
        Ok(found)
    }

    /// Takes down what is complete. The part is on the disk before.
    pub(super) fn save(&mut self, state: &mut State, notes: &[u8]) -> io::Result<()> {
        let noted = usize::try_from(self.noted).unwrap_or(usize::MAX);
        if let Some(new) = notes.get(noted..).filter(|new| !new.is_empty()) {
            let mut file = match OpenOptions::new().write(true).open(&self.notes) {
                Ok(file) => file,
                Err(_) => files::create(&self.notes)?,
            };
            file.set_len(self.noted)?;
            file.seek(SeekFrom::End(0))?;
            file.write_all(new)?;
            file.sync_data()?;
        }
        state.notes = notes.len() as u64;
        state.write(&self.state)?;
        self.noted = state.notes;
        Ok(())
    }

    /// Gives the part its name.
    pub(super) fn finish(&self) -> io::Result<()> {
        files::put_in_place(&self.locked, &self.part, &self.file)?;
        self.forget();
        Ok(())
    }

    /// After a failure: what cannot be continued is not left behind. Says whether it can.
    pub(super) fn abandon(&self) -> bool {
        let state = State::read(&self.state);
        // One that this version cannot go on with is not this version's to remove.
        if let Ok(None) = state {
            let _ = fs::remove_file(&self.part);
            self.forget();
        }
        matches!(state, Ok(Some(_)))
    }

    fn forget(&self) {
        // Not there is what is wished for.
        let _ = fs::remove_file(&self.state);
        let _ = fs::remove_file(&self.notes);
    }
}

fn unusable(file: &Path, why: &str) -> Failure {
    let text = format!(
        "the interrupted export of {} cannot be gone on with: {why}\n\
         end it with the audithog that began it, or give --force to begin anew",
        file.display()
    );
    Failure::new(1, text)
}

/// The file still has this name, through no link, and belongs to who runs this: in a directory that others can write, somebody may have put
/// it there. One that was renamed in between is complete, and not to be written.
fn is_ours(path: &Path, file: &File) -> io::Result<bool> {
    let (named, open) = (path.symlink_metadata()?, file.metadata()?);
    let same = (named.dev(), named.ino()) == (open.dev(), open.ino());
    Ok(same && open.is_file() && open.uid() == rustix::process::geteuid().as_raw())
}
