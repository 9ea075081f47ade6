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
        let (program, arguments) = command(suite, variant);
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
