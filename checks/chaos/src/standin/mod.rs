//! PostHog's side as a process of its own: the library's stand-in, told what goes wrong by lines of JSON.
//!
//! It outlives the servers, and its store outlives its own outages.

mod order;
mod store;

use std::io::{self, BufRead as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use audithog::testing::PostHogStandIn;
use audithog::testing::standin::{Fault, Quota, Verdict};

pub(crate) use order::{Order, V1};
use store::Store;
pub(crate) use store::{Book, Receipt, Stored};

/// How long a port that was just given up may stay busy.
const REBIND: Duration = Duration::from_secs(10);

pub(crate) fn run() -> Result<()> {
    let mut process = Process::start()?;
    let mut out = io::stdout().lock();
    writeln!(out, "listening {}", process.address)?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?).context("an order that is not known")?;
        let count = matches!(order, Order::Count);
        process.obey(order)?;
        match count {
            true => writeln!(out, "done {}", process.count())?,
            false => writeln!(out, "done")?,
        }
        out.flush()?;
    }
    Ok(())
}

struct Process {
    address: SocketAddr,
    /// None during an outage.
    standin: Option<PostHogStandIn>,
    /// What earlier lives of it took.
    store: Store,
    /// Events stored although the reply said nothing of them.
    unsaid: Arc<Mutex<Vec<String>>>,
    v1: V1,
    over_quota: bool,
    keep: Option<usize>,
}

impl Process {
    fn start() -> Result<Self> {
        let standin = PostHogStandIn::start()?;
        Ok(Self {
            address: standin.address(),
            standin: Some(standin),
            store: Store::default(),
            unsaid: Arc::default(),
            v1: V1::Present,
            over_quota: false,
            keep: None,
        })
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Count => Ok(()),
            Order::Keep { events } => {
                self.keep = Some(events);
                self.configure();
                Ok(())
            }
            Order::Down => self.down(),
            Order::Up => self.up(),
            Order::Heal => self.heal(),
            Order::Book { path } => self.write_book(&path),
            Order::V1 { route } => {
                self.v1 = route;
                self.configure();
                Ok(())
            }
            Order::OverQuota => {
                self.over_quota = true;
                self.configure();
                Ok(())
            }
            Order::Verdicts { seed } => {
                self.judge(seed);
                Ok(())
            }
            other => {
                let fault = fault(&other).context("no fault")?;
                // Nothing is worse than an outage.
                if let Some(standin) = &self.standin {
                    standin.stand_fault(fault);
                }
                Ok(())
            }
        }
    }

    /// Refuses connections from now on, and ends those it has.
    fn down(&mut self) -> Result<()> {
        let Some(standin) = self.standin.take() else {
            return Ok(());
        };
        // What arrives after this is not stored, so that nothing is stored after the store was read.
        standin.heal();
        standin.stand_fault(Fault::close());
        pass_through(self.address)?;
        self.store.take(&standin);
        standin.shutdown();
        Ok(())
    }

    fn up(&mut self) -> Result<()> {
        if self.standin.is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + REBIND;
        let standin = loop {
            match PostHogStandIn::start_on(self.address) {
                Ok(standin) => break standin,
                // A connection on its way somewhere else may have been given the port for a moment.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    if Instant::now() > deadline {
                        bail!("{} stays taken", self.address);
                    }
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.standin = Some(standin);
        self.configure();
        Ok(())
    }

    /// As a PostHog without any trouble.
    fn heal(&mut self) -> Result<()> {
        self.v1 = V1::Present;
        self.over_quota = false;
        self.up()?;
        if let Some(standin) = &self.standin {
            standin.heal();
        }
        self.configure();
        Ok(())
    }

    fn configure(&self) {
        let (v1, over_quota, keep) = (self.v1, self.over_quota, self.keep);
        let Some(standin) = &self.standin else {
            return;
        };
        standin.configure(|behaviour| {
            behaviour.v1 = v1.into();
            behaviour.keep = keep;
            behaviour.quota = if over_quota {
                Quota::Exceeded
            } else {
                Quota::Within
            };
        });
    }

    /// Copies that all its lives took.
    fn count(&self) -> usize {
        let now = self.standin.as_ref().map(|standin| standin.counts().stored);
        self.store.count() + now.unwrap_or(0)
    }

    /// Single events fare differently from their batch, each at most three times.
    fn judge(&self, seed: u64) {
        let mut chance = fastrand::Rng::with_seed(seed);
        let unsaid = Arc::clone(&self.unsaid);
        let Some(standin) = &self.standin else {
            return;
        };
        standin.judge(move |event, times| {
            if times > 2 {
                return None;
            }
            match chance.u32(..100) {
                0..8 => Some(Verdict::Retry),
                8..12 => Some(Verdict::Missing { stored: false }),
                12..18 => {
                    let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
                    unsaid.push(event.uuid.to_string());
                    Some(Verdict::Missing { stored: true })
                }
                18..25 => Some(Verdict::Warning("as drawn".to_owned())),
                25..27 => Some(Verdict::Drop("as drawn".to_owned())),
                27..29 => Some(Verdict::Other("as drawn".to_owned())),
                _ => None,
            }
        });
    }

    fn write_book(&mut self, path: &std::path::Path) -> Result<()> {
        let mut book = self.store.clone();
        if let Some(standin) = &self.standin {
            book.take(standin);
        }
        let unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        let book = book.into_book(&unsaid);
        let file = io::BufWriter::new(std::fs::File::create(path)?);
        Ok(serde_json::to_writer(file, &book)?)
    }
}

/// Returns when every request that was decided before is in the store: the stand-in has one thread, which takes and
/// keeps a request without a pause.
fn pass_through(address: SocketAddr) -> Result<()> {
    use std::io::Read as _;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(REBIND))?;
    stream.write_all(b"GET /login HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(())
}

fn fault(order: &Order) -> Option<Fault> {
    let fault = match *order {
        Order::Hang => Fault::hang(),
        Order::Drip { pause_ms } => Fault::slow_reply(Duration::from_millis(pause_ms)),
        Order::LoseReplies { chance, seed } => {
            Fault::lose_acknowledgement().with_chance(chance, seed)
        }
        Order::ResetUnread { chance, seed } => {
            Fault::reset_before_reading().with_chance(chance, seed)
        }
        Order::Status {
            status,
            retry_after,
            chance,
            seed,
        } => {
            let fault = Fault::status(status).with_chance(chance, seed);
            match retry_after {
                Some(seconds) => fault.header("retry-after", &seconds.to_string()),
                None => fault,
            }
        }
        Order::Garbage { chance, seed } => Fault::garbage().with_chance(chance, seed),
        Order::TooManyEvents { above } => Fault::status(413).above_events(above),
        Order::TooManyBytes { above } => Fault::status(413).above_bytes(above),
        Order::Poison { status } => Fault::status(status).for_event(|event| {
            let path = event.properties.get("path").and_then(|path| path.as_str());
            path.is_some_and(|path| path.starts_with("/poison/"))
        }),
        _ => return None,
    };
    Some(fault)
}
