//! One round: processes, load and faults; then calm, a drain, and the oracle.

mod clock;
mod disk;
mod servers;
mod tamper;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::load::{Demand, Load};
use crate::oracle::{self, Books, Finding, Injected, Ledger};
use crate::process::Process;
use crate::schedule::{Act, Ending, Kind, Plan};
use crate::standin::Order;
use disk::Disk;
use servers::{Recipe, Servers};
use tamper::Tampering;

/// How long a response waits for its row at most.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_millis(1_000);
/// One flush while draining.
const FLUSH: Duration = Duration::from_secs(5);
/// Rows that wait for another try on their own do so for at most a minute.
const DRAIN: Duration = Duration::from_secs(150);
const ANSWER: Duration = Duration::from_secs(60);

/// What a round came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
    pub(crate) books: Books,
    pub(crate) took: Duration,
}

/// Plays a plan in an empty directory.
pub(crate) fn play(plan: &Plan, directory: &Path) -> Result<Outcome> {
    let started = Instant::now();
    let mut round = Round::start(plan, directory)?;
    round.faults()?;
    round.end()?;
    let books = round.settle()?;
    Ok(Outcome {
        findings: oracle::judge(&books),
        books,
        took: started.elapsed(),
    })
}

struct Round<'a> {
    plan: &'a Plan,
    directory: PathBuf,
    disk: Option<Disk>,
    recipe: Recipe,
    posthog: Process,
    servers: Servers,
    load: Load,
    tampering: Option<Tampering>,
    began: Instant,
}

impl<'a> Round<'a> {
    fn start(plan: &'a Plan, directory: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("standin");
        let posthog = Process::start("posthog", command, &directory.join("posthog.log"))?;
        let address = posthog.hear("listening", ANSWER)?;
        let disk = match plan.has(Kind::FullDisk) {
            true => Some(Disk::mount(&directory.join("disk"))?),
            false => None,
        };
        let mut recipe = Recipe {
            directory: directory.to_owned(),
            environment: environment(plan, &address),
        };
        let ledger = match &disk {
            Some(disk) => disk.path().join("audit.db"),
            None => directory.join("audit.db"),
        };
        recipe
            .environment
            .push(("AUDITHOG_DB".to_owned(), ledger.display().to_string()));
        if plan.has(Kind::ClockStep) {
            recipe.environment.extend(clock::environment(directory)?);
        }
        let load = Load::start(&Demand {
            http1: 6,
            http2: 1,
            rest: Duration::from_millis(8),
            seed: plan.seed,
        })?;
        let mut round = Self {
            plan,
            directory: directory.to_owned(),
            disk,
            recipe,
            posthog,
            servers: Servers::default(),
            load,
            tampering: None,
            began: Instant::now(),
        };
        for place in 0..plan.servers() {
            round.servers.start(place, &round.recipe)?;
        }
        round.load.aim(round.servers.targets());
        round.began = Instant::now();
        Ok(round)
    }

    /// Plays the steps.
    fn faults(&mut self) -> Result<()> {
        let plan = self.plan;
        for step in &plan.steps {
            self.wait_for(step.at);
            self.act(&step.act)
                .with_context(|| format!("{:?}", step.act))?;
        }
        self.wait_for(plan.length);
        Ok(())
    }

    /// The schedule is about time: there is nothing else to wait for.
    fn wait_for(&self, at: Duration) {
        while let Some(left) = at.checked_sub(self.began.elapsed()) {
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
    }

    fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Kill(place) => {
                self.servers.kill(*place)?;
                self.replace(*place)
            }
            Act::Terminate(place) => {
                self.servers.terminate(*place)?;
                self.replace(*place)
            }
            Act::Posthog(order) => self.posthog(order),
            Act::Tamper(place, tamper) => {
                // Two cannot have hold of one process.
                self.tampering = None;
                if let Some(Some(live)) = self.servers.live.get(*place) {
                    let ledger = self.ledger();
                    self.tampering = Some(Tampering::start(tamper, live.process.id(), &ledger)?);
                }
                Ok(())
            }
            Act::Leave => {
                // Dropped, strace lets go.
                self.tampering = None;
                Ok(())
            }
            Act::FillDisk => self.disk.as_ref().map_or(Ok(()), Disk::fill),
            Act::FreeDisk => self.disk.as_ref().map_or(Ok(()), Disk::free),
            Act::SetClock(seconds) => clock::set(&self.directory, *seconds),
        }
    }

    /// A new server in a place whose server is gone.
    fn replace(&mut self, place: usize) -> Result<()> {
        self.load.aim(self.servers.targets());
        let started = self.servers.start(place, &self.recipe);
        self.load.aim(self.servers.targets());
        match started {
            // With a ledger that cannot be written a service may refuse to start; it is started when it can.
            Err(_) if self.plan.troubles_ledger() => Ok(()),
            other => other,
        }
    }

    fn posthog(&mut self, order: &Order) -> Result<()> {
        self.posthog.tell(&serde_json::to_string(order)?)?;
        self.posthog.hear("done", ANSWER)?;
        Ok(())
    }

    fn ledger(&self) -> PathBuf {
        match &self.disk {
            Some(disk) => disk.path().join("audit.db"),
            None => self.directory.join("audit.db"),
        }
    }

    /// Ends the servers under load, whatever else goes wrong at that moment.
    fn end(&mut self) -> Result<()> {
        for place in 0..self.servers.live.len() {
            match self.plan.ending {
                Ending::Kill => self.servers.kill(place)?,
                Ending::Terminate => self.servers.terminate(place)?,
            }
        }
        self.tampering = None;
        Ok(())
    }

    /// All is well again: one more server ships what there is, and every book is read.
    fn settle(mut self) -> Result<Books> {
        self.load.aim(Vec::new());
        self.posthog(&Order::Heal)?;
        if let Some(disk) = &self.disk {
            disk.free()?;
        }
        self.servers.start(0, &self.recipe)?;
        self.drain()?;
        self.servers.terminate(0)?;
        let book = self.directory.join("posthog.json");
        self.posthog(&Order::Book { path: book.clone() })?;
        let posthog = serde_json::from_reader(std::io::BufReader::new(std::fs::File::open(book)?))?;
        let ledger = self.ledger();
        let kept = self.directory.join("audit.db");
        if ledger != kept {
            std::fs::copy(&ledger, &kept)?;
        }
        Ok(Books {
            guarantee: self.plan.guarantee,
            injected: Injected {
                clock: self.plan.has(Kind::ClockStep),
                refusals: self.plan.refuses_rows(),
            },
            servers: self.servers.ended.into_iter().flatten().collect(),
            clients: self.load.stop(),
            ledger: Ledger::read(&kept)?,
            posthog,
        })
    }

    fn drain(&mut self) -> Result<()> {
        let live = self.servers.live[0].as_mut().context("no server")?;
        let deadline = Instant::now() + DRAIN;
        loop {
            live.process.tell(&format!("drain {}", FLUSH.as_millis()))?;
            let report: Value = serde_json::from_str(&live.process.hear("drained", ANSWER)?)?;
            if report["blocked"].is_null() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not drained after {DRAIN:?}: {report}");
            }
            // A blocked flush returns at once.
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }
}

fn environment(plan: &Plan, posthog: &str) -> Vec<(String, String)> {
    [
        ("POSTHOG_HOST", format!("http://{posthog}")),
        ("POSTHOG_API_KEY", "phc_chaos".to_owned()),
        ("AUDITHOG_SERVICE", "chaos".to_owned()),
        ("AUDITHOG_GUARANTEE", plan.guarantee.as_str().to_owned()),
        (
            "AUDITHOG_GUARANTEE_TIMEOUT_MS",
            WAIT_LIMIT.as_millis().to_string(),
        ),
        ("AUDITHOG_QUEUE_ROWS", plan.queue_rows.to_string()),
        ("LOG_BATCH_SIZE", plan.batch_size.to_string()),
        (
            "LOG_BATCH_INTERVAL_MS",
            plan.batch_interval.as_millis().to_string(),
        ),
        ("AUDITHOG_POSTHOG_TIMEOUT_MS", "3000".to_owned()),
        ("AUDITHOG_SHUTDOWN_TIMEOUT_MS", "6000".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
