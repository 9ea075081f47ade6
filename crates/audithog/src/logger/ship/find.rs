//! Ledgers in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::unusable;
use crate::error::{Error, Kind};
use crate::ledger::is_ledger;

/// What [`find`] found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// Ledgers, by path. Files that audithog has put aside as damaged (`….damaged-…`) are among them, whatever they
    /// hold.
    pub ledgers: Vec<PathBuf>,
    /// Files and directories that could not be looked into, with the reason.
    pub unreadable: Vec<(PathBuf, Error)>,
}

/// In the names of files that audithog has put aside.
const PUT_ASIDE: &str = ".damaged-";
/// What a file system keeps for its own repairs, for root alone.
const REPAIRS: &str = "lost+found";

/// Finds the ledgers at `path`: the file itself, or all below the directory. Symbolic links below it are not
/// followed. Nothing is changed; other files are read up to their first 72 bytes.
///
/// # Errors
///
/// When there is nothing at `path`, or a file that is no ledger.
pub fn find(path: impl AsRef<Path>) -> Result<Found, Error> {
    let path = path.as_ref();
    let metadata = fs::metadata(path).map_err(|source| {
        Error::new(Kind::Ledger, format!("{} cannot be found", path.display())).with_source(source)
    })?;
    let mut found = Found::default();
    if metadata.is_dir() {
        found.walk(path);
        found.ledgers.sort();
        return Ok(found);
    }
    let not_one = || {
        let shown = path.display();
        Error::new(
            Kind::Ledger,
            format!("the file {shown} is not an audithog ledger"),
        )
    };
    if !metadata.is_file() || !(is_put_aside(path) || is_ledger(path).map_err(unusable)?) {
        return Err(not_one());
    }
    found.ledgers.push(path.to_owned());
    Ok(found)
}

impl Found {
    fn walk(&mut self, root: &Path) {
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(_) if directory.ends_with(REPAIRS) => continue,
                Err(error) => {
                    self.cannot(directory, error);
                    continue;
                }
            };
            for entry in entries {
                match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                    Ok((path, kind)) if kind.is_dir() => directories.push(path),
                    Ok((path, kind)) if kind.is_file() => self.consider(path),
                    Ok(_) => {}
                    Err(error) => self.cannot(directory.clone(), error),
                }
            }
        }
    }

    fn consider(&mut self, path: PathBuf) {
        if is_beside(&path) {
            return;
        }
        if is_put_aside(&path) {
            self.ledgers.push(path);
            return;
        }
        match is_ledger(&path) {
            Ok(true) => self.ledgers.push(path),
            Ok(false) => {}
            Err(error) => self.unreadable.push((path, unusable(error))),
        }
    }

    fn cannot(&mut self, path: PathBuf, source: std::io::Error) {
        let what = format!("{} cannot be looked into", path.display());
        let error = Error::new(Kind::Ledger, what).with_source(source);
        self.unreadable.push((path, error));
    }
}

/// SQLite's files beside a database, and audithog's beside a ledger. The latter have no content, and may be another user's.
fn is_beside(path: &Path) -> bool {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else {
        return false;
    };
    if ["-wal", "-shm", "-journal"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        return true;
    }
    // Somebody may have named a ledger so: then no file has the name without it.
    let of = ["-reserve", "-next", "-turn"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    of.is_some_and(|ledger| path.with_file_name(ledger).is_file())
}

fn is_put_aside(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.contains(PUT_ASIDE))
}
