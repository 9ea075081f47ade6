//! System calls that fail or hang: strace, attached to a running server, for its ledger's files only.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::schedule::Tamper;

const PATIENCE: Duration = Duration::from_secs(10);

/// An strace that has hold of a process. Dropped, it lets go.
#[derive(Debug)]
pub(super) struct Strace {
    child: Child,
    /// Kept open: it may have more to say.
    _said: BufReader<ChildStderr>,
}

impl Strace {
    /// Makes the calls of `tamper` go wrong.
    pub(super) fn tamper(tamper: &Tamper, pid: u32, ledger: &Path) -> Result<Self> {
        Self::attach(pid, ledger, |command| {
            command.args(["-o", "/dev/null"]);
            command.arg("-e").arg(format!("trace={}", tamper.calls));
            let inject = format!("inject={}:{}", tamper.calls, tamper.effect);
            command.arg("-e").arg(inject);
        })
    }

    pub(super) fn attach(
        pid: u32,
        ledger: &Path,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut command = Command::new("strace");
        command.arg("-f");
        for suffix in ["", "-wal", "-shm"] {
            command.arg("-P").arg(with_suffix(ledger, suffix));
        }
        arguments(&mut command);
        let mut child = command
            .arg("-p")
            .arg(pid.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(
                "strace is needed (Debian package `strace`; `cargo xtask setup` installs it)",
            )?;
        let mut said = BufReader::new(child.stderr.take().context("no output")?);
        let mut told = String::new();
        loop {
            let mut line = String::new();
            if said.read_line(&mut line)? == 0 {
                bail!("strace did not attach to {pid} (it takes root or CAP_SYS_PTRACE): {told}");
            }
            if line.contains("attached") {
                let _said = said;
                return Ok(Self { child, _said });
            }
            told.push_str(&line);
        }
    }

    /// Waits for its end, which is that of the process it has hold of.
    pub(super) fn wait(mut self) -> Result<()> {
        if self.ended_within(PATIENCE) {
            return Ok(());
        }
        bail!("strace goes on although its process is dead")
    }

    fn ended_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        false
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Drop for Strace {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // Asked like this it detaches; killed it could leave a call tampered with.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
        if !self.ended_within(PATIENCE) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
