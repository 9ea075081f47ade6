//! The files of the repository, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// What is built, fetched or recorded, and so not ours to keep tidy.
const SKIPPED_DIRECTORIES: &[&str] = &[".git", "node_modules", "target", "__pycache__"];
/// What the demo and the tests leave behind.
const SKIPPED_ENDINGS: &[&str] = &[".db", ".db-wal", ".db-shm", ".db-next", ".db-turn"];

/// Paths are relative to the repository, with `/`. Files that are not text have an empty text.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.read_directory(root, "")?;
        Ok(tree)
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str) -> Result<()> {
        let entries = directory
            .read_dir()
            .with_context(|| format!("`{}` cannot be read", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .with_context(|| format!("{name:?} is not a name in UTF-8"))?;
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED_DIRECTORIES.contains(&name) {
                self.read_directory(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file()
                && name != ".git"
                && !SKIPPED_ENDINGS.iter().any(|ending| name.ends_with(ending))
            {
                let bytes =
                    fs::read(entry.path()).with_context(|| format!("`{path}` cannot be read"))?;
                self.files
                    .insert(path, String::from_utf8(bytes).unwrap_or_default());
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// All files, ordered by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files whose name ends in `.ending`.
    pub(super) fn with_ending<'a>(
        &'a self,
        ending: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files().filter(move |(path, _)| {
            path.rsplit_once('.')
                .is_some_and(|(_, found)| found == ending)
        })
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a file or a directory has this path; the empty path is the repository itself.
    pub(super) fn contains(&self, path: &str) -> bool {
        let below = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.keys().any(|file| file.starts_with(&below))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
        }
    }
}
