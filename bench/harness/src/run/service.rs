//! A service under test: one process, one stack.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::process::{Plan, Process, SERVICE_CORE, Said};
use super::receiver::Receiver;
use crate::read::procfs::kilobytes;
use crate::read::programs::{self, Final};
use crate::suite::{Suite, Variant};

#[derive(Debug)]
pub(crate) struct Service {
    process: Process,
    pub(crate) address: SocketAddr,
}

/// A service that has drained everything and is gone.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) last: Final,
    /// Of its whole life.
    pub(crate) cpu: Duration,
    pub(crate) peak_kb: u64,
}

const START: Duration = Duration::from_secs(60);
/// A service may drain for two minutes.
const END: Duration = Duration::from_secs(150);
/// How long a service may go on working after the load has ended, before it is measured all the same.
const REST: Duration = Duration::from_secs(20);

impl Service {
    pub(crate) fn start(
        suite: &Suite,
        variant: &Variant,
        directory: &Path,
        receiver: Option<&Receiver>,
    ) -> Result<Self> {
        Self::start_under(&[], suite, variant, directory, receiver)
    }

    /// Started by another program, whose command line begins with `words`.
    pub(crate) fn start_under(
        words: &[OsString],
        suite: &Suite,
        variant: &Variant,
        directory: &Path,
        receiver: Option<&Receiver>,
    ) -> Result<Self> {
        let (program, arguments) = under(words, command(suite, variant));
        let url = receiver.map(Receiver::url).unwrap_or_default();
        let process = Process::start(&Plan {
            name: format!("the service `{}`", variant.label()),
            program,
            arguments,
            environment: vec![
                ("BENCH_RECEIVER", url.into()),
                ("BENCH_DIR", directory.into()),
            ],
            core: Some(SERVICE_CORE),
            directory: directory.to_owned(),
        })?;
        let address = process.address(START)?;
        Ok(Self { process, address })
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.process.cpu()
    }

    pub(crate) fn memory_kb(&self) -> Result<u64> {
        kilobytes(&self.process.proc("status")?, "VmRSS")
    }

    /// Waits until it does next to nothing, so that what it still owes for earlier requests is not charged to later
    /// ones. Says whether it came to rest.
    pub(crate) fn rest(&self) -> Result<bool> {
        const SLICE: Duration = Duration::from_millis(50);
        /// In a slice: a fiftieth of a core.
        const NOTHING: Duration = Duration::from_millis(1);
        const QUIET_SLICES: usize = 4;
        let deadline = Instant::now() + REST;
        let mut quiet = 0;
        let mut before = self.cpu()?;
        while quiet < QUIET_SLICES {
            if Instant::now() > deadline {
                return Ok(false);
            }
            self.pass(SLICE)?;
            let now = self.cpu()?;
            quiet = if now.saturating_sub(before) < NOTHING {
                quiet + 1
            } else {
                0
            };
            before = now;
        }
        Ok(true)
    }

    /// Lets time pass; a service that dies meanwhile is an error.
    fn pass(&self, time: Duration) -> Result<()> {
        match self.process.next(time) {
            Said::Nothing => Ok(()),
            Said::Line(line) => bail!("{} said `{line}` while it served", self.process.name()),
            Said::Closed => bail!(
                "{} ended while it served{}",
                self.process.name(),
                self.process.complaint()
            ),
        }
    }

    /// Gives audithog's threads a core of their own; says how many there are.
    pub(crate) fn move_audit_threads(&self, core: usize) -> Result<usize> {
        self.process.move_threads("audithog-", core)
    }

    /// Lets it finish, drain and end.
    pub(crate) fn end(self) -> Result<Ended> {
        let name = self.process.name().to_owned();
        let mut peak_kb = self.peak_kb()?;
        self.process.terminate()?;
        let finished = self.process.finish(END, |process| {
            // The last look may find no memory any more.
            let now = process
                .proc("status")
                .and_then(|status| kilobytes(&status, "VmHWM"));
            peak_kb = peak_kb.max(now.unwrap_or(0));
        })?;
        let last: Final = programs::line(&name, programs::last_object(&name, &finished.lines)?)?;
        if let Some(books) = last.books.as_deref().filter(|books| *books != "ok") {
            bail!("{name}: the books do not balance: {books}");
        }
        Ok(Ended {
            last,
            cpu: finished.cpu,
            peak_kb,
        })
    }

    fn peak_kb(&self) -> Result<u64> {
        kilobytes(&self.process.proc("status")?, "VmHWM")
            .with_context(|| format!("the memory of {}", self.process.name()))
    }
}

fn under(
    words: &[OsString],
    (program, mut arguments): (PathBuf, Vec<OsString>),
) -> (PathBuf, Vec<OsString>) {
    let Some((first, rest)) = words.split_first() else {
        return (program, arguments);
    };
    arguments.splice(0..0, rest.iter().cloned().chain([program.into()]));
    (first.into(), arguments)
}

/// The program and its arguments.
fn command(suite: &Suite, variant: &Variant) -> (PathBuf, Vec<OsString>) {
    if variant.is_node() {
        let main = suite.node_main();
        (
            PathBuf::from("node"),
            vec![main.into(), variant.stack.clone().into()],
        )
    } else {
        (
            suite.program(variant.program()),
            vec![variant.stack.clone().into()],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{scratch, write_script};

    /// Runs a shell script in the place of a stack, until it has ended.
    fn ended(script: &str) -> Result<Ended> {
        let scratch = scratch();
        let directory = scratch.path();
        let program = directory.join("stacks");
        write_script(&program, script);
        let variant = Variant::new("audithog-memory", false);
        let suite = Suite::in_directory(directory);
        Service::start(&suite, &variant, directory, None)?.end()
    }

    /// One that serves until it is told to end.
    fn serving(last_words: &str) -> String {
        format!("trap '{last_words}' TERM\necho ready 127.0.0.1:9\nwhile :; do :; done")
    }

    fn problem(script: &str) -> String {
        format!("{:#}", ended(script).unwrap_err())
    }

    #[test]
    fn a_service_tells_its_counts_at_the_end() {
        let words = r#"echo draining; echo "{\"answered\":7,\"rows_made\":7,\"rows_delivered\":null,\"rows_lost\":0,\"books\":\"ok\"}"; exit 0"#;
        let ended = ended(&serving(words)).unwrap();
        assert_eq!((ended.last.answered, ended.last.rows_made), (7, Some(7)));
        assert!(ended.peak_kb > 0);
    }

    #[test]
    fn a_service_that_fails_is_named_with_what_it_did() {
        let name = "the service `audithog-memory, no delivery`";
        let unbalanced = r#"echo "{\"answered\":7,\"rows_made\":7,\"rows_delivered\":null,\"rows_lost\":0,\"books\":\"seen 7, accepted 6\"}"; exit 0"#;
        for (script, what) in [
            (
                "echo no disk >&2; exit 1".to_owned(),
                "ended before it was ready",
            ),
            ("echo hello".to_owned(), "said `hello`"),
            (serving("exit 0"), "ended without a word"),
            (serving("echo bye; exit 0"), "the last was `bye`"),
            (serving("echo {7}; exit 0"), "answered `{7}`"),
            (serving("exit 4"), "ended badly"),
            (
                serving(unbalanced),
                "the books do not balance: seen 7, accepted 6",
            ),
        ] {
            let problem = problem(&script);
            assert!(
                problem.contains(name) && problem.contains(what),
                "{what}: {problem}"
            );
        }
    }
}
