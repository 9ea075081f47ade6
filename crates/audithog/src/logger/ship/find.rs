//! Ledgers in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::unusable;
use crate::error::{Error, Kind};
use crate::ledger::Content;

/// What [`find`] found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// Ledgers, by path. Files that audithog has put aside as damaged (`….damaged-…`) are among them, whatever they
    /// hold.
    pub ledgers: Vec<PathBuf>,
    /// Files and directories that could not be looked into, with the reason: also what may be left of a ledger but cannot
    /// be recognised as one, and symbolic links that lead elsewhere.
    pub unreadable: Vec<(PathBuf, Error)>,
}

/// In the names of files that audithog has put aside.
const PUT_ASIDE: &str = ".damaged-";
/// Audithog's own files beside a ledger.
const OWN: [&str; 3] = ["-reserve", "-next", "-turn"];
/// What a file system keeps for its own repairs, for root alone.
const REPAIRS: &str = "lost+found";

/// Finds the ledgers at `path`: the file itself, or all below the directory. Symbolic links below it are not
/// followed; those that lead to a directory or a ledger elsewhere, or to nothing, are named. Nothing is changed; other
/// files are read up to their first 72 bytes.
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
    let is_ledger = || Content::of(path).map(|content| content == Content::Ledger);
    if !metadata.is_file() || !(is_put_aside(path) || is_ledger().map_err(unusable)?) {
        return Err(not_one());
    }
    found.ledgers.push(path.to_owned());
    Ok(found)
}

impl Found {
    fn walk(&mut self, root: &Path) {
        let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
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
                    Ok((path, kind)) if kind.is_symlink() => self.consider_link(path, &real),
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
        if let Some(missing) = log_without_file(&path) {
            let (path_text, missing) = (path.display(), missing.display());
            let why = format!(
                "{path_text} is the log of the database {missing}, which is not there: if that is a ledger, rows are left in it"
            );
            self.doubtful(path, why);
            return;
        }
        if is_put_aside(&path) {
            self.ledgers.push(path);
            return;
        }
        match Content::of(&path) {
            Ok(Content::Ledger) => self.ledgers.push(path),
            Ok(content) => {
                if let Some(why) = remains(&path, content) {
                    self.doubtful(path, why);
                }
            }
            Err(error) => self.unreadable.push((path, unusable(error))),
        }
    }

    /// What a link leads to below `root` is found there.
    fn consider_link(&mut self, path: PathBuf, root: &Path) {
        let target = match fs::canonicalize(&path) {
            Ok(target) if target.starts_with(root) => return,
            Ok(target) => target,
            Err(error) => {
                self.cannot(path, error);
                return;
            }
        };
        let may_be_one = || {
            is_put_aside(&target)
                || Content::of(&target).map_or(true, |content| {
                    content == Content::Ledger || remains(&target, content).is_some()
                })
        };
        if target.is_dir() || target.is_file() && may_be_one() {
            let (link, shown) = (path.display(), target.display());
            let why = format!(
                "{link} is a symbolic link and not followed: give {shown}, where it leads, as a path too"
            );
            self.doubtful(path, why);
        }
    }

    fn doubtful(&mut self, path: PathBuf, why: String) {
        self.unreadable.push((path, Error::new(Kind::Ledger, why)));
    }

    fn cannot(&mut self, path: PathBuf, source: std::io::Error) {
        let what = format!("{} cannot be looked into", path.display());
        let error = Error::new(Kind::Ledger, what).with_source(source);
        self.unreadable.push((path, error));
    }
}

/// SQLite's files beside a database, and audithog's beside a ledger. The latter have no content, and may be another user's.
fn is_beside(path: &Path) -> bool {
    // Somebody may have named a ledger so: then no file has the name without it.
    without_end(path, &["-shm", "-journal"]).is_some()
        || without_end(path, &["-wal"]).is_some() && log_without_file(path).is_none()
        || without_end(path, &OWN).is_some_and(|ledger| ledger.is_file())
}

/// The file that a log with something in it belongs to, where that is gone.
fn log_without_file(path: &Path) -> Option<PathBuf> {
    let file = without_end(path, &["-wal"])?;
    let empty = fs::metadata(path).is_ok_and(|log| log.len() == 0);
    (!empty && !file.is_file()).then_some(file)
}

fn without_end(path: &Path, ends: &[&str]) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let name = ends.iter().find_map(|end| name.strip_suffix(end))?;
    Some(path.with_file_name(name))
}

/// Why a file that is no ledger may have been one.
fn remains(path: &Path, content: Content) -> Option<String> {
    let shown = path.display();
    if content == Content::Damaged {
        return Some(format!(
            "{shown} has a ledger's mark, but does not begin as one: it is damaged"
        ));
    }
    // Other applications' databases have logs too.
    let log = (content == Content::NoDatabase).then_some("-wal");
    let beside = log.into_iter().chain(OWN).find_map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        let file = PathBuf::from(name);
        file.exists().then_some(file)
    })?;
    Some(format!(
        "{shown} is no ledger, but {} beside it belongs to one: emptied, damaged or overwritten; rows may be left",
        beside.display()
    ))
}

fn is_put_aside(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.contains(PUT_ASIDE))
}
