//! Files that appear complete or not at all.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use audithog::ship;

use crate::failure::Failure;

/// A hidden file beside `path`, so that renaming it is one step: `.NAME` and `ending`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(ending);
    path.with_file_name(name)
}

/// What the name ends with behind its last dot, in small letters.
pub(crate) fn ending(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?;
    Some(ending.to_ascii_lowercase())
}

/// A new file that only its owner can read.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Gives a finished file its name. What it holds is on the disk before, and the name when this returns.
pub(crate) fn put_in_place(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(from, to)?;
    File::open(directory(to))?.sync_all()
}

/// What a ledger has beside itself, and itself.
const OF_LEDGER: [&str; 7] = ["", "-wal", "-shm", "-journal", "-reserve", "-next", "-turn"];

/// Refuses a path that is taken. `force` is for a file that somebody made: it gives nobody a ledger, a device or what a link leads to.
pub(crate) fn must_be_free(path: &Path, force: bool, ledger: &Path) -> Result<(), Failure> {
    must_not_be_of(ledger, path)?;
    // `new/` and `new/.` have a name to put a part beside, and cannot be a file's.
    let is_name = |name: &OsStr| path.as_os_str().as_bytes().ends_with(name.as_bytes());
    if !path.file_name().is_some_and(is_name) {
        let text = format!("{} is a directory: name a file", path.display());
        return Err(Failure::new(1, text));
    }
    let Ok(found) = path.symlink_metadata() else {
        // What else is wrong with it is found where it is made.
        return Ok(());
    };
    let is = if found.is_dir() {
        "is a directory: name a file"
    } else if found.is_symlink() {
        "is a symbolic link, and is not replaced: name a file"
    } else if !found.is_file() {
        "is no regular file, and is not replaced: name a file"
    } else if ship::find(path).is_ok() {
        "is an audithog ledger, and is not replaced: name another file"
    } else if !force {
        "is there already; --force replaces it"
    } else {
        return Ok(());
    };
    Err(Failure::new(1, format!("{} {is}", path.display())))
}

/// Refuses the ledger that is read and its files, by name and by what the name leads to.
pub(crate) fn must_not_be_of(ledger: &Path, path: &Path) -> Result<(), Failure> {
    let identity = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    let (place, leads_to) = (place(path), identity(path));
    // A ledger that was opened through a link has files at both of its names.
    let real = fs::canonicalize(ledger).unwrap_or_else(|_| ledger.to_owned());
    let is_of = |ledger: &Path, ending: &str| {
        let mut file = ledger.as_os_str().to_owned();
        file.push(ending);
        let file = PathBuf::from(file);
        place == self::place(&file) || (leads_to.is_some() && leads_to == identity(&file))
    };
    let taken = OF_LEDGER
        .iter()
        .any(|ending| is_of(ledger, ending) || is_of(&real, ending));
    if !taken {
        return Ok(());
    }
    let text = format!(
        "{} is the ledger that is read, or one of its files: name another file",
        path.display()
    );
    Err(Failure::new(1, text))
}

/// Where a file is or would be, whatever links its directory has.
pub(crate) fn place(path: &Path) -> PathBuf {
    let real = fs::canonicalize(directory(path));
    match (real, path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(crate) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::new(1, format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_beside_its_file() {
        let part = beside(Path::new("/tmp/x/letters.csv"), ".part");
        assert_eq!(part, Path::new("/tmp/x/.letters.csv.part"));
        assert_eq!(
            beside(Path::new("l.csv"), ".part"),
            Path::new(".l.csv.part")
        );
    }
}
