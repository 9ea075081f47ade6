//! Running other programs: shown before they start, waited for, their failure turned into one line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A command line that is printed before it runs.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
    /// Environment that the reader needs to repeat the line by hand.
    shown_env: Vec<(String, String)>,
}

impl Run {
    pub(crate) fn new(program: impl AsRef<OsStr>, directory: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(directory);
        Self {
            command,
            shown_env: Vec::new(),
        }
    }

    /// The cargo that runs this program, in `directory`.
    pub(crate) fn cargo(directory: &Path) -> Self {
        let mut run = Self::new(
            std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")),
            directory,
        );
        // `cargo run` sets these for xtask itself; build scripts below must not see them.
        for name in [
            "CARGO_MANIFEST_DIR",
            "CARGO_MANIFEST_PATH",
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION",
        ] {
            run.command.env_remove(name);
        }
        if std::env::var_os("CI").is_some() && std::env::var_os("CARGO_INCREMENTAL").is_none() {
            // Nothing is built a second time there: the bookkeeping would cost time and disk for nothing.
            run.command.env("CARGO_INCREMENTAL", "0");
        }
        run
    }

    /// Adds arguments from one string, separated by spaces.
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.command.args(words.split_whitespace());
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self.shown_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The line a person would type.
    pub(crate) fn line(&self) -> String {
        let program = Path::new(self.command.get_program());
        // The full path of cargo says nothing that a reader needs.
        let program = program.file_name().unwrap_or(program.as_os_str());
        let env = self
            .shown_env
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = std::iter::once(program)
            .chain(self.command.get_args())
            .map(|word| quoted(&word.to_string_lossy()));
        env.chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs with this program's own input and output.
    pub(crate) fn check(mut self) -> Result<()> {
        let line = self.line();
        println!("$ {line}");
        let status = self
            .command
            .status()
            .with_context(|| format!("`{line}` could not be started"))?;
        if !status.success() {
            bail!("`{line}` failed ({status})");
        }
        Ok(())
    }

    /// Runs with its output held back, which is shown only if it fails.
    pub(crate) fn check_quietly(mut self) -> Result<()> {
        let line = self.line();
        println!("$ {line}");
        let output = self
            .command
            .output()
            .with_context(|| format!("`{line}` could not be started"))?;
        if !output.status.success() {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            bail!("`{line}` failed ({})", output.status);
        }
        Ok(())
    }

    /// Runs quietly and returns what was written to standard output; on failure what was written to standard error is
    /// shown.
    pub(crate) fn output(mut self) -> Result<String> {
        let line = self.line();
        let output = self
            .command
            .output()
            .with_context(|| format!("`{line}` could not be started"))?;
        if !output.status.success() {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            bail!("`{line}` failed ({})", output.status);
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("`{line}` wrote something that is not UTF-8"))
    }

    /// Whether the program exists and ends well; its output is dropped.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command
            .output()
            .is_ok_and(|output| output.status.success())
    }
}

/// Where a program is on the search path, if anywhere.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_can_be_pasted_into_a_shell() {
        let run = Run::new("/opt/bin/cargo", Path::new("."))
            .words("doc --no-deps")
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(run.line(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_failure_names_the_command() {
        let directory = Path::new(".");
        let problem = Run::new("false", directory)
            .arg("--flag")
            .check()
            .unwrap_err()
            .to_string();
        assert!(problem.contains("`false --flag` failed"), "{problem}");
        let problem = Run::new("no-such-program-here", directory)
            .check()
            .unwrap_err()
            .to_string();
        assert!(problem.contains("could not be started"), "{problem}");
    }

    #[test]
    fn programs_are_found_on_the_search_path_only() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-here"), None);
    }
}
