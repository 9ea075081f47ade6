//! A disk that is small, and can be full.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Holds the rows of a round, and little more.
const SIZE: &str = "size=24m";

/// A tmpfs. Dropped, it is unmounted.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn mount(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(path)
            .status()
            .context("mount could not be started")?;
        if !status.success() {
            bail!(
                "a tmpfs could not be mounted on {} (it takes root)",
                path.display()
            );
        }
        Ok(Self(path.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no byte free.
    pub(super) fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.0.join("ballast"))?;
        let mut size = 1 << 20;
        while size > 0 {
            match ballast.write(&vec![b'b'; size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn free(&self) -> Result<()> {
        match fs::remove_file(self.0.join("ballast")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was killed may hold a file for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
