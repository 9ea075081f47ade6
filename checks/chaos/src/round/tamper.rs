//! System calls that fail or hang: strace, attached to a running server, for its ledger's files only.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::schedule::Tamper;

/// An strace that has hold of a process. Dropped, it lets go.
#[derive(Debug)]
pub(super) struct Tampering(Child);

impl Tampering {
    pub(super) fn start(tamper: &Tamper, pid: u32, ledger: &Path) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null"]);
        for suffix in ["", "-wal", "-shm"] {
            command.arg("-P").arg(with_suffix(ledger, suffix));
        }
        let mut child = command
            .arg("-e")
            .arg(format!("trace={}", tamper.calls))
            .arg("-e")
            .arg(format!("inject={}:{}", tamper.calls, tamper.effect))
            .arg("-p")
            .arg(pid.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(
                "strace is needed (Debian package `strace`; `cargo xtask setup` installs it)",
            )?;
        let said = child.stderr.take().context("no output")?;
        let this = Self(child);
        let mut told = String::new();
        for line in BufReader::new(said).lines() {
            let line = line?;
            if line.contains("attached") {
                return Ok(this);
            }
            if line.contains("Resolved path") || line.contains("Requested path") {
                continue;
            }
            told.push_str(&line);
        }
        bail!("strace did not attach to {pid} (it takes root or CAP_SYS_PTRACE): {told}")
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Drop for Tampering {
    fn drop(&mut self) {
        // Asked like this it detaches; killed it could leave a call tampered with.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
