//! The one delivery thread, and the handle to it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::drive::{Context, Driver, Survivors, lock};
use super::flush::{Answer, Flush, SinkFlush};
use super::status::SinkStatus;
use super::{Ledger, Plan, Tuning};
use crate::clock::Clock;
use crate::error::{Error, Kind};

const THREAD: &str = "audithog-delivery";
/// A sink's loop that panicked starts again after this.
const PANIC_PAUSE: Duration = Duration::from_secs(1);
const PANIC_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The delivery thread, seen from outside.
///
/// No method blocks. Dropping it ends delivery without a flush.
pub(crate) struct Delivery {
    sinks: Vec<Handle>,
}

struct Handle {
    name: &'static str,
    commands: mpsc::UnboundedSender<Flush>,
    status: Arc<Mutex<SinkStatus>>,
}

impl Delivery {
    /// Starts the thread. With no plans it starts none: every flush is done at once.
    ///
    /// # Errors
    ///
    /// The thread or its runtime cannot be made, or the ledger gives no reader.
    pub(crate) fn start(
        ledger: &Arc<dyn Ledger>,
        plans: Vec<Plan>,
        tuning: Tuning,
        clock: &Clock,
    ) -> Result<Self, Error> {
        if plans.is_empty() {
            return Ok(Self { sinks: Vec::new() });
        }
        let mut sinks = Vec::with_capacity(plans.len());
        let mut drives = Vec::with_capacity(plans.len());
        // Unique per process and logger: two loggers in one process must not share a lease.
        let holder = format!("{}-{}", std::process::id(), Uuid::now_v7().simple());
        for plan in plans {
            let reader = ledger.reader().map_err(|error| {
                Error::new(Kind::Ledger, "cannot read the ledger for delivery").with_source(error)
            })?;
            let (commands, receiver) = mpsc::unbounded_channel();
            let status = Arc::new(Mutex::new(SinkStatus::default()));
            sinks.push(Handle {
                name: plan.sink.name(),
                commands,
                status: status.clone(),
            });
            let context = Context {
                ledger: ledger.clone(),
                plan,
                tuning,
                clock: clock.clone(),
                holder: holder.clone(),
                seed: RandomState::new().build_hasher().finish(),
                status,
            };
            let survivors = Survivors {
                commands: receiver,
                flushes: Vec::new(),
                reader,
                resume_at: Duration::ZERO,
            };
            drives.push((context, survivors));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(Kind::Thread, "cannot make the delivery runtime").with_source(error)
            })?;
        thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                let drives = drives
                    .into_iter()
                    .map(|(context, survivors)| drive(context, survivors));
                runtime.block_on(join_all(drives));
                // A look-up or the like that still runs must not keep the thread.
                runtime.shutdown_background();
            })
            .map_err(|error| {
                Error::new(Kind::Thread, "cannot start the delivery thread").with_source(error)
            })?;
        Ok(Self { sinks })
    }

    /// Calls back once everything up to `upto` is settled in every sink, or cannot be before
    /// `deadline` (monotonic, on the clock given at the start): then with the reasons. On the
    /// delivery thread, or on the caller's if there is nothing to wait for; must not block.
    ///
    /// One try is made at once of what waits for a quick retry. `Retry-After`, an open breaker and a
    /// hold are respected: the flush returns early.
    pub(crate) fn flush(
        &self,
        upto: i64,
        deadline: Duration,
        answer: impl FnOnce(Vec<SinkFlush>) + Send + 'static,
    ) {
        self.command(upto, deadline, false, Box::new(answer));
    }

    /// Like [`Delivery::flush`], and delivery ends with it: leases are given back, the thread ends.
    pub(crate) fn shutdown(
        &self,
        upto: i64,
        deadline: Duration,
        answer: impl FnOnce(Vec<SinkFlush>) + Send + 'static,
    ) {
        self.command(upto, deadline, true, Box::new(answer));
    }

    /// A snapshot for each sink, by name.
    pub(crate) fn status(&self) -> Vec<(&'static str, SinkStatus)> {
        self.sinks
            .iter()
            .map(|sink| (sink.name, lock(&sink.status).clone()))
            .collect()
    }

    fn command(
        &self,
        upto: i64,
        deadline: Duration,
        last: bool,
        callback: Box<dyn FnOnce(Vec<SinkFlush>) + Send>,
    ) {
        let names: Vec<_> = self.sinks.iter().map(|sink| sink.name).collect();
        for (sink, answer) in self.sinks.iter().zip(Answer::for_each(&names, callback)) {
            let flush = Flush {
                upto,
                deadline,
                last,
                answer,
            };
            // A loop that has ended drops the command, and the answer says so.
            drop(sink.commands.send(flush));
        }
    }
}

/// Drives one sink to its end, starting its loop again after a panic: the rows are safe in the
/// ledger.
async fn drive(context: Context, mut survivors: Survivors) {
    let mut pause = PANIC_PAUSE;
    loop {
        let run = async { Driver::new(&context, &mut survivors).run().await };
        if AssertUnwindSafe(run).catch_unwind().await.is_ok() {
            return;
        }
        let panics = {
            let mut status = lock(&context.status);
            status.panics += 1;
            status.panics
        };
        if panics == 1 {
            tracing::error!(
                sink = context.plan.sink.name(),
                "delivery panicked and starts again; please report this"
            );
        }
        survivors.resume_at = context.clock.monotonic().saturating_add(pause);
        pause = pause.saturating_mul(2).min(PANIC_PAUSE_MAX);
    }
}
