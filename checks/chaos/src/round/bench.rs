//! The processes of a round and where their files are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::disk::Disk;
use super::servers::{Live, Recipe, Servers};
use super::{ANSWER, WAIT_LIMIT, clock};
use crate::oracle::{Guarantee, Ledger};
use crate::process::Process;
use crate::standin::{Book, Order};

/// One flush while draining.
const FLUSH: Duration = Duration::from_secs(5);

/// How the servers are set up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) guarantee: Guarantee,
    pub(crate) queue_rows: u32,
    pub(crate) batch_size: u32,
    pub(crate) batch_interval: Duration,
    /// The ledger is on a small disk of its own.
    pub(crate) small_disk: bool,
    /// The servers' clock can be set.
    pub(crate) clock: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            guarantee: Guarantee::BestEffort,
            queue_rows: 65_536,
            batch_size: 100,
            batch_interval: Duration::from_secs(1),
            small_disk: false,
            clock: false,
        }
    }
}

/// PostHog's side, and servers to come.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) directory: PathBuf,
    pub(super) disk: Option<Disk>,
    pub(crate) recipe: Recipe,
    posthog: Process,
    pub(crate) servers: Servers,
}

/// What the books come to when only the counts are wanted.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Copies that PostHog took.
    pub(crate) stored: u64,
    pub(crate) delivered: u64,
    pub(crate) pending: i64,
}

impl Bench {
    pub(crate) fn start(directory: &Path, setting: &Setting) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("standin");
        let posthog = Process::start("posthog", command, &directory.join("posthog.log"))?;
        let address = posthog.hear("listening", ANSWER)?;
        let disk = match setting.small_disk {
            true => Some(Disk::mount(&directory.join("disk"))?),
            false => None,
        };
        let mut bench = Self {
            directory: directory.to_owned(),
            disk,
            recipe: Recipe {
                directory: directory.to_owned(),
                environment: environment(setting, &address),
            },
            posthog,
            servers: Servers::default(),
        };
        let ledger = bench.ledger().display().to_string();
        let environment = &mut bench.recipe.environment;
        environment.push(("AUDITHOG_DB".to_owned(), ledger));
        if setting.clock {
            environment.extend(clock::environment(directory)?);
        }
        Ok(bench)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        match &self.disk {
            Some(disk) => disk.path().join("audit.db"),
            None => self.directory.join("audit.db"),
        }
    }

    /// Tells PostHog's side; returns its answer.
    pub(crate) fn posthog(&mut self, order: &Order) -> Result<String> {
        self.posthog.tell(&serde_json::to_string(order)?)?;
        self.posthog.hear("done", ANSWER)
    }

    fn live(&mut self, place: usize) -> Result<&mut Live> {
        let live = self.servers.live.get_mut(place).and_then(Option::as_mut);
        live.context("no server runs there")
    }

    pub(crate) fn pid(&self, place: usize) -> Result<u32> {
        let live = self.servers.live.get(place).and_then(Option::as_ref);
        Ok(live.context("no server runs there")?.process.id())
    }

    pub(crate) fn tell(&mut self, place: usize, order: &str) -> Result<()> {
        self.live(place)?.process.tell(order)
    }

    pub(crate) fn hear(&mut self, place: usize, word: &str, within: Duration) -> Result<String> {
        self.live(place)?.process.hear(word, within)
    }

    /// One flush; true if nothing is left to do.
    pub(crate) fn drained(&mut self, place: usize) -> Result<bool> {
        let live = self.live(place)?;
        live.process.tell(&format!("drain {}", FLUSH.as_millis()))?;
        let report: Value = serde_json::from_str(&live.process.hear("drained", ANSWER)?)?;
        Ok(report["blocked"].is_null())
    }

    /// What PostHog's side holds.
    pub(crate) fn book(&mut self) -> Result<Book> {
        let path = self.directory.join("posthog.json");
        self.posthog(&Order::Book { path: path.clone() })?;
        let file = std::io::BufReader::new(std::fs::File::open(path)?);
        Ok(serde_json::from_reader(file)?)
    }

    /// Stops the server in the first place, and reads the counts alone.
    pub(crate) fn conclude(&mut self) -> Result<Totals> {
        self.servers.terminate(0)?;
        let stored = self.posthog(&Order::Count)?.parse()?;
        let sinks = Ledger::sinks_alone(&self.ledger())?;
        let (head, sink) = sinks;
        Ok(Totals {
            stored,
            delivered: u64::try_from(sink.delivered)?,
            pending: head - sink.cursor + sink.stragglers,
        })
    }
}

fn environment(setting: &Setting, posthog: &str) -> Vec<(String, String)> {
    let millis = |time: Duration| time.as_millis().to_string();
    [
        ("POSTHOG_HOST", format!("http://{posthog}")),
        ("POSTHOG_API_KEY", "phc_chaos".to_owned()),
        ("AUDITHOG_SERVICE", "chaos".to_owned()),
        ("AUDITHOG_GUARANTEE", setting.guarantee.as_str().to_owned()),
        ("AUDITHOG_GUARANTEE_TIMEOUT_MS", millis(WAIT_LIMIT)),
        ("AUDITHOG_QUEUE_ROWS", setting.queue_rows.to_string()),
        ("LOG_BATCH_SIZE", setting.batch_size.to_string()),
        ("LOG_BATCH_INTERVAL_MS", millis(setting.batch_interval)),
        ("AUDITHOG_SHUTDOWN_TIMEOUT_MS", "6000".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
