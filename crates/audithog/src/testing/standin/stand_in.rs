//! The handle: start, script, look, wait, stop.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use super::behaviour::Behaviour;
use super::event::CapturedEvent;
use super::exchange::ReceivedRequest;
use super::fault::Fault;
use super::faults::Verdict;
use super::server::{self, Shared};
use super::store::{Counts, NotArrived, Seen};

/// A running stand-in for PostHog; see the [module](super) for what it models.
///
/// It runs on a thread and a runtime of its own, so it works from plain tests and from any runtime, and several can run
/// side by side. Dropping it stops it and ends all its connections.
#[derive(Debug)]
pub struct PostHogStandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PostHogStandIn {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When the socket, the runtime or the thread cannot be made.
    pub fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts on this address. There is no TLS and no protection: keep it on a loopback address.
    ///
    /// # Errors
    ///
    /// When the address is taken, or the socket, the runtime or the thread cannot be made.
    pub fn start_on(address: SocketAddr) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let handle = runtime.handle().clone();
        let shared = Arc::new(Shared::new());
        let (stop, stopped) = oneshot::channel();
        let server = server::serve(listener, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("posthog-stand-in".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = server => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            shared,
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://127.0.0.1:port`, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it: connections end, the port is free. Dropping does the same.
    pub fn shutdown(self) {
        drop(self);
    }

    /// Changes the behaviour, from the next request on.
    pub fn configure(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut behaviour = self.shared.behaviour();
        change(Arc::make_mut(&mut behaviour));
    }

    /// Queues a fault for the next request it applies to; queued faults are used up in order.
    pub fn push_fault(&self, fault: Fault) {
        self.shared.faults().push(fault);
    }

    /// Lets a fault stand: it applies to every request that no queued fault and no earlier standing one applied to.
    pub fn stand_fault(&self, fault: Fault) {
        self.shared.faults().stand(fault);
    }

    /// How many queued faults are not used up yet.
    #[must_use]
    pub fn queued_faults(&self) -> usize {
        self.shared.faults().queued()
    }

    /// Overrules capture v1's verdicts: `judge` gets every event of a batch that was understood, with the number of
    /// times that v1 has received its uuid since the judge was set (1 = the first), and may say something else than the
    /// server would. It is not called for requests that are refused as a whole, and must not call the stand-in.
    pub fn judge(
        &self,
        judge: impl FnMut(&CapturedEvent, u32) -> Option<Verdict> + Send + 'static,
    ) {
        self.shared.faults().set_judge(judge);
    }

    /// Answers queries of the private API with these lines: `answer` gets the HogQL and its `values`, and may leave a query to the
    /// stand-in. It is asked only where the key is good, and must not call the stand-in.
    pub fn answer_queries(
        &self,
        answer: impl FnMut(&str, &Value) -> Option<Vec<Vec<Value>>> + Send + 'static,
    ) {
        self.shared.faults().set_oracle(answer);
    }

    /// Removes all faults, the judge and scripted answers. The [`Behaviour`] stays.
    pub fn heal(&self) {
        self.shared.faults().heal();
    }

    /// The requests in the order in which they were received to their end.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        self.shared.seen().requests().iter().cloned().collect()
    }

    /// Every stored event in order of arrival, duplicates included.
    #[must_use]
    pub fn stored(&self) -> Vec<Arc<CapturedEvent>> {
        self.shared.seen().stored().iter().cloned().collect()
    }

    /// The stored events after de-duplication: see [`Seen::events`].
    #[must_use]
    pub fn events(&self) -> Vec<Arc<CapturedEvent>> {
        self.shared.seen().events()
    }

    /// How many stored events were copies of one stored before.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.counts().duplicates
    }

    /// The totals.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.seen().counts()
    }

    /// Forgets everything that arrived, totals included. Faults and behaviour stay.
    pub fn clear(&self) {
        *self.shared.seen() = Seen::default();
        self.shared.announce();
    }

    /// Blocks until `arrived` says yes, at most for `within`. `arrived` is asked at once and after each request; it must
    /// not call the stand-in. Do not block an async task with this: use [`PostHogStandIn::wait_until`].
    ///
    /// A request counts as soon as it is decided, an instant before its reply is on the wire.
    ///
    /// # Errors
    ///
    /// [`NotArrived`], which prints what had arrived instead.
    pub fn wait_for(
        &self,
        within: Duration,
        mut arrived: impl FnMut(&Seen) -> bool,
    ) -> Result<(), NotArrived> {
        let deadline = Instant::now().checked_add(within);
        let mut seen = self.shared.seen();
        loop {
            if arrived(&seen) {
                return Ok(());
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            if left.is_zero() {
                return Err(NotArrived::new(within, &seen));
            }
            let woken = self.shared.arrived.wait_timeout(seen, left);
            seen = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// As [`PostHogStandIn::wait_for`], for async code on any runtime. Time is real time, also where tokio's clock is
    /// paused.
    ///
    /// # Errors
    ///
    /// [`NotArrived`], which prints what had arrived instead.
    pub async fn wait_until(
        &self,
        within: Duration,
        mut arrived: impl FnMut(&Seen) -> bool,
    ) -> Result<(), NotArrived> {
        let mut changes = self.shared.changes.subscribe();
        // The timer is on the stand-in's runtime: the caller's may have none, or a paused clock.
        let (alarm, mut rung) = oneshot::channel::<()>();
        self.runtime.spawn(async move {
            let _ = tokio::time::timeout(within, pending::<()>()).await;
            drop(alarm);
        });
        loop {
            changes.mark_unchanged();
            if arrived(&self.shared.seen()) {
                return Ok(());
            }
            tokio::select! {
                biased;
                // The sender lives as long as `self`.
                _ = changes.changed() => {}
                _ = &mut rung => return Err(NotArrived::new(within, &self.shared.seen())),
            }
        }
    }
}

impl Drop for PostHogStandIn {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only if the thread is.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            let _ = thread.join();
        }
    }
}
