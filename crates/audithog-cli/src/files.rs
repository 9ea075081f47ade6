//! Files that appear complete or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// A hidden file beside `path`, so that renaming it is one step: `.NAME` and `ending`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(ending);
    path.with_file_name(name)
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
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// Refuses a path that is taken.
pub(crate) fn must_be_free(path: &Path, force: bool) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => {
            let text = format!("{} is a directory: name a file", path.display());
            Err(Failure::new(1, text))
        }
        Ok(_) if !force => {
            let text = format!("{} is there already; --force replaces it", path.display());
            Err(Failure::new(1, text))
        }
        _ => Ok(()),
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
