//! System calls of a running process that fail, or hang, from now until this is dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

/// `strace`, attached to a process.
pub(super) struct Strace {
    child: Child,
    errors: BufReader<ChildStderr>,
    output: tempfile::TempDir,
}

impl Strace {
    /// `faults`: as strace's `-e inject=` has them, such as `fdatasync:error=EIO`. Only calls that
    /// are about the ledger's own files, with these suffixes, are touched.
    pub(super) fn inject(pid: u32, ledger: &Path, suffixes: &[&str], faults: &[&str]) -> Self {
        Self::inject_and_watch(pid, ledger, suffixes, faults, "")
    }

    /// The same, and looks at other calls too.
    pub(super) fn inject_and_watch(
        pid: u32,
        ledger: &Path,
        suffixes: &[&str],
        faults: &[&str],
        watched: &str,
    ) -> Self {
        let mut arguments = Vec::new();
        for fault in faults {
            arguments.push("-e".to_owned());
            arguments.push(format!("inject={fault}"));
        }
        let faulty = faults.iter().map(|fault| fault.split(':').next().unwrap());
        let calls: Vec<&str> = faulty
            .chain((!watched.is_empty()).then_some(watched))
            .collect();
        arguments.push("-e".to_owned());
        arguments.push(format!("trace={}", calls.join(",")));
        Self::attach(pid, ledger, suffixes, &arguments)
    }

    fn attach(pid: u32, ledger: &Path, suffixes: &[&str], arguments: &[String]) -> Self {
        let output = tempfile::tempdir().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-yy", "-ttt", "-p", &pid.to_string(), "-o"]);
        command.arg(output.path().join("trace"));
        for suffix in suffixes {
            let mut path = ledger.as_os_str().to_owned();
            path.push(suffix);
            command.arg("-P").arg(path);
        }
        let mut child = command
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is needed: `cargo xtask setup` installs it");
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = errors.read_line(&mut line).unwrap();
            said.push_str(&line);
            if line.contains("attached") {
                break;
            }
            assert!(
                read > 0,
                "strace cannot attach to a process here (root and ptrace are needed): {said}"
            );
        }
        Self {
            child,
            errors,
            output,
        }
    }

    fn trace(&self) -> PathBuf {
        self.output.path().join("trace")
    }

    /// What was called so far, one call a line.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.trace()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Ends the faults; the process goes on, also with a call that hangs.
    pub(super) fn end(mut self) -> Vec<String> {
        self.detach();
        self.calls()
    }

    fn detach(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // SIGINT makes strace let go of the process; a kill would leave the end to the kernel.
        let pid = self.child.id().to_string();
        drop(
            Command::new("sh")
                .args(["-c", &format!("kill -INT {pid}")])
                .status(),
        );
        let mut rest = String::new();
        while self.errors.read_line(&mut rest).is_ok_and(|read| read > 0) {}
        drop(self.child.wait());
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.detach();
    }
}
