//! A wall clock that is set while a process runs: libfaketime, which reads the time from a file at each call.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const FILE: &str = "clock";

/// The variables for a server whose clock is set by [`set`]. Its monotonic clock goes on.
pub(super) fn environment(directory: &Path) -> Result<Vec<(String, String)>> {
    set(directory, 0)?;
    let library = library().context(
        "libfaketime is needed (Debian package `libfaketime`; `cargo xtask setup` installs it)",
    )?;
    Ok([
        ("LD_PRELOAD", library.display().to_string()),
        (
            "FAKETIME_TIMESTAMP_FILE",
            directory.join(FILE).display().to_string(),
        ),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_FORCE_MONOTONIC_FIX", "0".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec())
}

/// Sets the clock so many seconds off.
pub(super) fn set(directory: &Path, seconds: i64) -> Result<()> {
    // Replaced as a whole: a reader never sees half a number.
    let new = directory.join("clock.new");
    fs::write(&new, format!("{seconds:+}\n"))?;
    Ok(fs::rename(new, directory.join(FILE))?)
}

/// Debian puts it into a directory named for the machine.
fn library() -> Option<PathBuf> {
    fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file())
}
