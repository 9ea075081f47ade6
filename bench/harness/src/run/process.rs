//! A process of the suite: pinned to a core, its output read line by line, its CPU counted, gone when its handle is.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The service's core.
pub(crate) const SERVICE_CORE: usize = 0;
/// The core of everything that is not measured.
pub(crate) const LOAD_CORE: usize = 1;

/// What is to be started.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For messages.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// None leaves the choice to the kernel.
    pub(crate) core: Option<usize>,
    /// Where what it says on standard error goes.
    pub(crate) directory: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    errors: PathBuf,
    ended: bool,
}

/// What a process said next.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Line(String),
    /// Nothing in this time.
    Nothing,
    /// It closed its output: it has ended, or is about to.
    Closed,
}

/// A process that ended well.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) lines: Vec<String>,
    /// User and system time of its whole life.
    pub(crate) cpu: Duration,
}

impl Process {
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let errors = plan
            .directory
            .join(format!("{}.stderr", file_name(&plan.name)));
        let log = File::create(&errors)
            .with_context(|| format!("`{}` cannot be written", errors.display()))?;
        // Both replace themselves by what follows, so that the child is the program itself. The kernel ends it with this
        // program, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(core) = plan.core {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        let mut child = command
            .arg(&plan.program)
            .args(&plan.arguments)
            .envs(plan.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} could not be started", plan.name))?;
        let output = child.stdout.take().context("the output was asked for")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            name: plan.name.clone(),
            child,
            lines,
            errors,
            ended: false,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its next line.
    pub(crate) fn next(&self, limit: Duration) -> Said {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Said::Line(line),
            Err(RecvTimeoutError::Timeout) => Said::Nothing,
            Err(RecvTimeoutError::Disconnected) => Said::Closed,
        }
    }

    /// Waits until it says `ready HOST:PORT`.
    pub(crate) fn address(&self, limit: Duration) -> Result<SocketAddr> {
        match self.next(limit) {
            Said::Line(line) => line
                .strip_prefix("ready ")
                .and_then(|address| address.trim().parse().ok())
                .with_context(|| {
                    format!("{} said `{line}` instead of `ready HOST:PORT`", self.name)
                }),
            Said::Nothing => bail!(
                "{} was not ready after {limit:?}{}",
                self.name,
                self.complaint()
            ),
            Said::Closed => bail!(
                "{} ended before it was ready{}",
                self.name,
                self.complaint()
            ),
        }
    }

    /// User and system time until now, of all its threads, also of those that have ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let time = clock_getcpuclockid(self.pid()?)
            .and_then(clock_gettime)
            .with_context(|| format!("the CPU time of {} cannot be read", self.name))?;
        Ok(Duration::from(time))
    }

    /// A file of its directory in /proc.
    pub(crate) fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.id());
        std::fs::read_to_string(&path).with_context(|| format!("{} is gone: {path}", self.name))
    }

    /// Moves its threads whose name begins so to another core; says how many there were.
    pub(crate) fn move_threads(&self, prefix: &str, core: usize) -> Result<usize> {
        let mut cores = CpuSet::new();
        cores.set(core)?;
        let mut moved = 0;
        for entry in Path::new(&format!("/proc/{}/task", self.id())).read_dir()? {
            let path = entry?.path();
            // A thread may end at any time.
            let Ok(name) = std::fs::read_to_string(path.join("comm")) else {
                continue;
            };
            let id = path.file_name().and_then(|id| id.to_str()?.parse().ok());
            if let (true, Some(id)) = (name.starts_with(prefix), id) {
                moved += usize::from(sched_setaffinity(Pid::from_raw(id), &cores).is_ok());
            }
        }
        Ok(moved)
    }

    pub(crate) fn terminate(&self) -> Result<()> {
        kill(self.pid()?, Signal::SIGTERM)
            .with_context(|| format!("{} cannot be told to end", self.name))
    }

    /// Waits for its end, which has to be a good one. `watch` is called now and then, as long as it lives.
    pub(crate) fn finish(
        mut self,
        limit: Duration,
        mut watch: impl FnMut(&Self),
    ) -> Result<Finished> {
        const PAUSE: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + limit;
        let mut lines = Vec::new();
        loop {
            match self.next(PAUSE) {
                Said::Line(line) => lines.push(line),
                Said::Nothing => watch(&self),
                Said::Closed => break,
            }
            if Instant::now() > deadline {
                bail!(
                    "{} had not ended after {limit:?}{}",
                    self.name,
                    self.complaint()
                );
            }
        }
        // Only this child is waited for in between, so what is added is its time.
        let before = waited_for()?;
        let status = self.wait_until(deadline)?;
        let cpu = waited_for()?.saturating_sub(before);
        self.ended = true;
        if !status.success() {
            bail!("{} ended badly ({status}){}", self.name, self.complaint());
        }
        Ok(Finished { lines, cpu })
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<std::process::ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} closed its output and does not end", self.name);
            }
            pause(Duration::from_millis(1));
        }
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.id())?))
    }

    /// The end of what it wrote to standard error, for a message.
    pub(crate) fn complaint(&self) -> String {
        const LINES: usize = 5;
        let text = std::fs::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        match lines.len() {
            0 => String::new(),
            n => format!(":\n  {}", lines[n.saturating_sub(LINES)..].join("\n  ")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            // It may have ended by itself.
            let _already_gone = self.child.kill();
            let _already_gone = self.child.wait();
        }
    }
}

/// User and system time of all children that were waited for.
fn waited_for() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |value: nix::sys::time::TimeVal| -> Result<Duration> {
        let micros = u64::try_from(value.tv_usec())?;
        Ok(Duration::from_secs(u64::try_from(value.tv_sec())?) + Duration::from_micros(micros))
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "/proc and a process's state can only be looked at again; every caller has a deadline"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn file_name(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Process {
        let plan = Plan {
            name: "the fake".to_owned(),
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("GREETING", "hello".into())],
            core: Some(SERVICE_CORE),
            directory: std::env::temp_dir(),
        };
        Process::start(&plan).unwrap()
    }

    #[test]
    fn a_process_says_its_address_and_ends_when_told() {
        let process = shell(
            "trap 'echo $GREETING; exit 0' TERM; echo ready 127.0.0.1:99; while :; do :; done",
        );
        assert_eq!(process.address(SOON).unwrap().port(), 99);
        process.terminate().unwrap();
        let finished = process.finish(SOON, |_| ()).unwrap();
        assert_eq!(finished.lines, ["hello"]);
    }

    #[test]
    fn one_that_dies_or_talks_nonsense_is_named_with_its_last_words() {
        let problem = shell("echo no disk >&2; exit 3").address(SOON).unwrap_err();
        let problem = problem.to_string();
        assert!(
            problem.contains("the fake ended before") && problem.contains("no disk"),
            "{problem}"
        );
        let problem = shell("echo hi").address(SOON).unwrap_err().to_string();
        assert!(problem.contains("the fake said `hi`"), "{problem}");
        let problem = shell("echo no disk >&2; exit 3")
            .finish(SOON, |_| ())
            .unwrap_err()
            .to_string();
        assert!(
            problem.contains("ended badly") && problem.contains("no disk"),
            "{problem}"
        );
    }

    #[test]
    fn the_time_of_a_whole_life_holds_what_was_seen_on_the_way() {
        let process = shell(
            "trap 'exit 0' TERM; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready 127.0.0.1:1; while :; do :; done",
        );
        process.address(SOON).unwrap();
        let on_the_way = process.cpu().unwrap();
        assert!(on_the_way > Duration::ZERO);
        process.terminate().unwrap();
        let whole = process.finish(SOON, |_| ()).unwrap().cpu;
        // The kernel gives the whole in microseconds.
        assert!(
            whole + Duration::from_micros(2) > on_the_way,
            "{whole:?} {on_the_way:?}"
        );
    }

    #[test]
    fn a_dropped_handle_leaves_no_process() {
        let process = shell("echo ready 127.0.0.1:1; while :; do :; done");
        process.address(SOON).unwrap();
        let directory = format!("/proc/{}", process.id());
        assert!(Path::new(&directory).exists());
        drop(process);
        assert!(!Path::new(&directory).exists());
    }

    #[test]
    fn threads_are_moved_by_their_name() {
        let process = shell("echo ready 127.0.0.1:1; while :; do :; done");
        process.address(SOON).unwrap();
        assert_eq!(process.move_threads("audithog-", LOAD_CORE).unwrap(), 0);
        assert_eq!(process.move_threads("sh", LOAD_CORE).unwrap(), 1);
        let status = process.proc("status").unwrap();
        assert!(status.contains("Cpus_allowed_list:\t1\n"), "{status}");
    }
}
