//! The clients: they ask, and write down what they saw.

mod held;
mod kind;
mod plain;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use kind::Kind;

/// A request that has not ended after this long is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// One request, as its client saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// In the path, and in no other request's.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Which server process.
    pub(crate) server: usize,
    /// Microseconds since 1970.
    pub(crate) sent: i64,
    /// None unless the whole answer came.
    pub(crate) answer: Option<Answer>,
}

/// A complete answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// When its last byte was seen, microseconds since 1970.
    pub(crate) at: i64,
    /// The header `x-request-id`.
    pub(crate) request_id: Option<String>,
}

/// Where a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: usize,
    pub(crate) address: SocketAddr,
}

/// How much is asked.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// Clients that ask one thing after the other over HTTP/1.1.
    pub(crate) http1: usize,
    /// Connections over HTTP/2, each with a few requests at once.
    pub(crate) http2: usize,
    /// A client rests this long after each request.
    pub(crate) rest: Duration,
    pub(crate) seed: u64,
}

/// Clients at work.
pub(crate) struct Load {
    runtime: Runtime,
    shared: Arc<Shared>,
    targets: watch::Sender<Vec<Target>>,
    tasks: JoinSet<()>,
}

/// What all clients share.
struct Shared {
    book: Mutex<Vec<Asked>>,
    next: AtomicU64,
    rest: Duration,
}

impl Shared {
    fn id(&self) -> String {
        format!("r{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn book(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    pub(crate) fn start(demand: &Demand) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("client")
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared {
            book: Mutex::default(),
            next: AtomicU64::new(0),
            rest: demand.rest,
        });
        let (targets, seen) = watch::channel(Vec::new());
        let mut tasks = JoinSet::new();
        let mut rng = fastrand::Rng::with_seed(demand.seed);
        for _ in 0..demand.http1 {
            let client = plain::one(Arc::clone(&shared), seen.clone(), rng.fork());
            tasks.spawn_on(client, runtime.handle());
        }
        for _ in 0..demand.http2 {
            let client = plain::many(Arc::clone(&shared), seen.clone(), rng.fork());
            tasks.spawn_on(client, runtime.handle());
        }
        let stream = held::stream(Arc::clone(&shared), seen.clone(), rng.fork());
        tasks.spawn_on(stream, runtime.handle());
        let socket = held::socket(Arc::clone(&shared), seen, rng.fork());
        tasks.spawn_on(socket, runtime.handle());
        Ok(Self {
            runtime,
            shared,
            targets,
            tasks,
        })
    }

    /// Where to ask from now on; nobody asks while there is no target.
    pub(crate) fn aim(&self, targets: Vec<Target>) {
        // Clients that ended need not know.
        let _ = self.targets.send(targets);
    }

    /// Lets the requests under way end, and returns every client's book.
    pub(crate) fn stop(self) -> Vec<Asked> {
        let Self {
            runtime,
            shared,
            targets,
            mut tasks,
        } = self;
        drop(targets);
        runtime.block_on(async { while tasks.join_next().await.is_some() {} });
        let mut book = std::mem::take(&mut *shared.book());
        book.sort_by_key(|asked| asked.sent);
        book
    }
}

/// The next target, chosen at random; none when the load ends.
async fn target(
    seen: &mut watch::Receiver<Vec<Target>>,
    rng: &mut fastrand::Rng,
) -> Option<Target> {
    loop {
        if seen.has_changed().is_err() {
            return None;
        }
        let chosen = rng.choice(seen.borrow_and_update().iter().copied());
        if chosen.is_some() {
            return chosen;
        }
        seen.changed().await.ok()?;
    }
}

/// Whether `target` is still to be asked.
fn stands(seen: &watch::Receiver<Vec<Target>>, target: Target) -> bool {
    seen.has_changed().is_ok() && seen.borrow().contains(&target)
}

/// A client's rest. Nothing waits for it: it is what keeps the load modest.
#[expect(
    clippy::disallowed_methods,
    reason = "a client that rests between its requests is what is wanted"
)]
async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}
