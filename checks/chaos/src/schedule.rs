//! The faults, and the schedule that a seed draws from them.

use std::fmt;
use std::time::Duration;

use crate::oracle::Guarantee;
use crate::round::Setting;
use crate::standin::{Order, V1};

/// Everything that can go wrong in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL at a random moment.
    Kill,
    /// SIGKILL, and what no fsync covered is gone, too.
    PowerLoss,
    /// SIGTERM, with an event stream and a WebSocket open.
    Terminate,
    /// SIGTERM while PostHog refuses connections.
    TerminateInOutage,
    /// PostHog refuses connections.
    Outage,
    /// PostHog takes requests and never answers.
    Hang,
    /// PostHog answers one byte after the other.
    Drip,
    /// PostHog takes rows, and the connection is reset before it says so.
    LostReply,
    /// The connection is reset as a request begins.
    Reset,
    /// 429.
    Storm429,
    /// 429 with `Retry-After`.
    Storm429Later,
    /// 503.
    Storm503,
    /// 503 with `Retry-After`.
    Storm503Later,
    /// 500, which may be a row's fault.
    Storm500,
    /// 200 with a page that PostHog never wrote.
    Garbage,
    /// The key is refused.
    WrongKey,
    /// The project is over its quota.
    Quota,
    /// Single events are to be tried again, unnamed, dropped.
    Verdicts,
    /// 413 above a number of events.
    TooMany,
    /// 413 above a number of bytes.
    TooLarge,
    /// One row makes a batch be refused with 400.
    Poison,
    /// Capture v1 goes away, and comes back.
    V1Vanishes,
    /// The ledger's disk is small, and full for a while.
    FullDisk,
    /// fdatasync fails.
    SyncFails,
    /// fdatasync takes long.
    SyncHangs,
    /// Writes fail with EIO.
    WriteFails,
    /// Writes fail with ENOSPC.
    WriteNoSpace,
    /// Writes take long.
    WriteSlow,
    /// ftruncate fails.
    TruncateFails,
    /// Two processes on one ledger.
    TwoWriters,
    /// The wall clock is set forward or back.
    ClockStep,
}

impl Kind {
    pub(crate) const ALL: [Self; 31] = [
        Self::Kill,
        Self::PowerLoss,
        Self::Terminate,
        Self::TerminateInOutage,
        Self::Outage,
        Self::Hang,
        Self::Drip,
        Self::LostReply,
        Self::Reset,
        Self::Storm429,
        Self::Storm429Later,
        Self::Storm503,
        Self::Storm503Later,
        Self::Storm500,
        Self::Garbage,
        Self::WrongKey,
        Self::Quota,
        Self::Verdicts,
        Self::TooMany,
        Self::TooLarge,
        Self::Poison,
        Self::V1Vanishes,
        Self::FullDisk,
        Self::SyncFails,
        Self::SyncHangs,
        Self::WriteFails,
        Self::WriteNoSpace,
        Self::WriteSlow,
        Self::TruncateFails,
        Self::TwoWriters,
        Self::ClockStep,
    ];

    /// The ledger cannot be written meanwhile, or not in time.
    pub(crate) fn troubles_ledger(self) -> bool {
        matches!(
            self,
            Self::FullDisk
                | Self::SyncFails
                | Self::SyncHangs
                | Self::WriteFails
                | Self::WriteNoSpace
                | Self::WriteSlow
                | Self::TruncateFails
        )
    }

    fn goes_with_power_loss(self) -> bool {
        let ends_it = [
            Self::Kill,
            Self::Terminate,
            Self::TerminateInOutage,
            Self::TwoWriters,
        ];
        !self.troubles_ledger() && !ends_it.contains(&self)
    }

    /// PostHog may refuse a row for good meanwhile.
    fn refuses_rows(self) -> bool {
        matches!(self, Self::Verdicts | Self::Poison)
    }
}

/// What the driver does at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// SIGKILL to this server, and a new one in its place.
    Kill(usize),
    /// The first server's process and its unsynced writes are gone, and a new one is in its place.
    PowerLoss,
    /// SIGTERM to this server, and a new one in its place.
    Terminate(usize),
    Posthog(Order),
    /// strace tampers with the calls of this server.
    Tamper(usize, Tamper),
    /// It stops to.
    Leave,
    /// Fills the ledger's disk.
    FillDisk,
    FreeDisk,
    /// Sets the servers' clock to so many seconds off.
    SetClock(i64),
}

/// System calls of the ledger's files that fail or take long.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tamper {
    pub(crate) calls: &'static str,
    /// As strace's `inject` takes it.
    pub(crate) effect: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Since the round began.
    pub(crate) at: Duration,
    pub(crate) act: Act,
}

/// How the servers of a round end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Kill,
    Terminate,
}

/// One round, drawn from its seed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) setting: Setting,
    pub(crate) kinds: Vec<Kind>,
    /// The kinds were given, not drawn.
    pub(crate) chosen: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) length: Duration,
    pub(crate) ending: Ending,
}

impl Plan {
    /// The plan of a seed: always the same. What is not given the seed chooses, too.
    pub(crate) fn draw(seed: u64, guarantee: Option<Guarantee>, kinds: &[Kind]) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let drawn = *rng
            .choice(Guarantee::PLAYED)
            .unwrap_or(&Guarantee::BestEffort);
        let (guarantee, chosen) = (guarantee.unwrap_or(drawn), !kinds.is_empty());
        let kinds = match kinds {
            [] => some(&mut rng),
            kinds => kinds.to_vec(),
        };
        let length = Duration::from_millis(rng.u64(1_500..3_500));
        let mut plan = Self {
            seed,
            setting: Setting {
                guarantee,
                queue_rows: *rng.choice(&[256, 1_024, 8_192]).unwrap_or(&1_024),
                batch_size: rng.u32(1..300),
                batch_interval: Duration::from_millis(rng.u64(20..600)),
                small_disk: kinds.contains(&Kind::FullDisk),
                clock: kinds.contains(&Kind::ClockStep),
            },
            kinds: kinds.clone(),
            chosen,
            steps: Vec::new(),
            length,
            ending: if rng.bool() {
                Ending::Kill
            } else {
                Ending::Terminate
            },
        };
        for kind in kinds {
            plan.add(kind, &mut rng);
        }
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    /// One server that lives through everything; its faults come by [`Plan::cycle`].
    pub(crate) fn soak(seed: u64) -> Self {
        Self {
            seed,
            setting: Setting {
                queue_rows: 8_192,
                ..Setting::default()
            },
            kinds: vec![Kind::Verdicts],
            chosen: true,
            steps: Vec::new(),
            length: Duration::ZERO,
            ending: Ending::Terminate,
        }
    }

    /// One fault within such a time.
    pub(crate) fn cycle(kind: Kind, length: Duration, rng: &mut fastrand::Rng) -> Self {
        let mut plan = Self {
            length,
            ..Self::soak(0)
        };
        plan.add(kind, rng);
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    pub(crate) fn troubles_ledger(&self) -> bool {
        self.kinds.iter().any(|kind| kind.troubles_ledger())
    }

    pub(crate) fn refuses_rows(&self) -> bool {
        self.kinds.iter().any(|kind| kind.refuses_rows())
    }

    pub(crate) fn servers(&self) -> usize {
        if self.has(Kind::TwoWriters) { 2 } else { 1 }
    }

    fn add(&mut self, kind: Kind, rng: &mut fastrand::Rng) {
        let from = self.moment(rng, 0.1, 0.5);
        let until = self.moment(rng, 0.6, 1.0);
        let server = rng.usize(..self.servers());
        match kind {
            Kind::Kill => {
                for _ in 0..rng.u32(1..4) {
                    let at = self.moment(rng, 0.1, 0.95);
                    self.step(at, Act::Kill(rng.usize(..self.servers())));
                }
            }
            Kind::PowerLoss => self.step(until, Act::PowerLoss),
            Kind::Terminate => self.step(from, Act::Terminate(server)),
            Kind::TerminateInOutage => {
                let middle = (from + until) / 2;
                self.step(from, Act::Posthog(Order::Down));
                self.step(middle, Act::Terminate(server));
                self.step(until, Act::Posthog(Order::Up));
            }
            Kind::Outage => {
                self.step(from, Act::Posthog(Order::Down));
                self.step(until, Act::Posthog(Order::Up));
            }
            Kind::V1Vanishes => {
                let forms = [
                    V1::NotFound,
                    V1::LoginRedirect,
                    V1::CsrfForbidden,
                    V1::HtmlPage,
                ];
                let route = *rng.choice(&forms).unwrap_or(&V1::NotFound);
                self.step(from, Act::Posthog(Order::V1 { route }));
                let route = V1::Present;
                self.step(until, Act::Posthog(Order::V1 { route }));
            }
            Kind::FullDisk => {
                self.step(from, Act::FillDisk);
                self.step(until, Act::FreeDisk);
            }
            Kind::TwoWriters => {}
            Kind::ClockStep => {
                for _ in 0..rng.u32(1..4) {
                    let at = self.moment(rng, 0.1, 0.95);
                    // PostHog moves a time that is more than 23 hours ahead.
                    let steps = [-86_400, -3_600, -5, 1, 90, 3_600, 79_200];
                    let seconds = *rng.choice(&steps).unwrap_or(&90);
                    self.step(at, Act::SetClock(seconds));
                }
            }
            _ => {
                if let Some(tamper) = tamper(kind, rng) {
                    self.step(from, Act::Tamper(server, tamper));
                    self.step(until, Act::Leave);
                } else if let Some(order) = fault(kind, rng) {
                    self.step(from, Act::Posthog(order));
                    self.step(until, Act::Posthog(Order::Heal));
                }
            }
        }
    }

    fn step(&mut self, at: Duration, act: Act) {
        self.steps.push(Step { at, act });
    }

    /// A moment between these parts of the round.
    fn moment(&self, rng: &mut fastrand::Rng, from: f64, until: f64) -> Duration {
        self.length.mul_f64(from + rng.f64() * (until - from))
    }
}

/// One to three kinds.
fn some(rng: &mut fastrand::Rng) -> Vec<Kind> {
    let mut kinds = rng.choose_multiple(Kind::ALL, rng.clone().usize(1..4));
    kinds.sort_unstable();
    // The machine that loses its power has one process, whose calls strace only watches, from its start.
    if kinds.contains(&Kind::PowerLoss) {
        kinds.retain(|kind| kind.goes_with_power_loss());
    }
    kinds
}

/// Standing faults of PostHog's side.
fn fault(kind: Kind, rng: &mut fastrand::Rng) -> Option<Order> {
    let chance = *rng.choice(&[0.3, 0.7, 1.0]).unwrap_or(&1.0);
    let seed = rng.u64(..);
    let status = |status, retry_after| Order::Status {
        status,
        retry_after,
        chance,
        seed,
    };
    Some(match kind {
        Kind::Hang => Order::Hang,
        Kind::Drip => Order::Drip {
            pause_ms: rng.u64(5..200),
        },
        Kind::LostReply => Order::LoseReplies { chance, seed },
        Kind::Reset => Order::ResetUnread { chance, seed },
        Kind::Storm429 => status(429, None),
        Kind::Storm429Later => status(429, Some(1)),
        Kind::Storm503 => status(503, None),
        Kind::Storm503Later => status(503, Some(1)),
        Kind::Storm500 => status(500, None),
        Kind::WrongKey => status(401, None),
        Kind::Garbage => Order::Garbage { chance, seed },
        Kind::Quota => Order::OverQuota,
        Kind::Verdicts => Order::Verdicts { seed },
        Kind::TooMany => Order::TooManyEvents {
            above: rng.usize(1..40),
        },
        Kind::TooLarge => Order::TooManyBytes {
            above: rng.usize(1_500..8_000),
        },
        Kind::Poison => Order::Poison { status: 400 },
        _ => return None,
    })
}

fn tamper(kind: Kind, rng: &mut fastrand::Rng) -> Option<Tamper> {
    const SYNC: &str = "fsync,fdatasync";
    const WRITE: &str = "write,pwrite64";
    // The first that fails, and every which after it.
    let often = format!("when={}+{}", rng.u32(1..4), rng.u32(1..5));
    let delay = rng.u32(20_000..400_000);
    let (calls, effect) = match kind {
        Kind::SyncFails => (SYNC, format!("error=EIO:{often}")),
        Kind::SyncHangs => (SYNC, format!("delay_enter={delay}")),
        Kind::WriteFails => (WRITE, format!("error=EIO:{often}")),
        Kind::WriteNoSpace => (WRITE, format!("error=ENOSPC:{often}")),
        Kind::WriteSlow => (WRITE, format!("delay_enter={}", delay / 10)),
        Kind::TruncateFails => ("ftruncate", format!("error=EIO:{often}")),
        _ => return None,
    };
    Some(Tamper { calls, effect })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self.kinds.iter().map(|kind| format!("{kind:?}")).collect();
        write!(
            f,
            "{} {} ({:.1} s, queue {}, batches of {} or {} ms, then {:?})",
            self.setting.guarantee.as_str(),
            kinds.join("+"),
            self.length.as_secs_f64(),
            self.setting.queue_rows,
            self.setting.batch_size,
            self.setting.batch_interval.as_millis(),
            self.ending,
        )
    }
}
