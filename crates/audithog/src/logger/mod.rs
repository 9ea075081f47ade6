//! The logger: the cheap, clonable handle an application holds; the only way in for rows.

mod connections;
mod event;
mod health;
mod intake;
mod link;
mod meter;
mod report;
pub mod ship;
mod shutdown;
mod snapshot;
mod start;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub use event::Event;
pub use health::{GuaranteeHealth, Health, LedgerHealth, SinkHealth};
pub use report::{Blocked, FlushReport, ShutdownReport};

use intake::Intake;

use crate::capture::Recorder;
use crate::config::Builder;
use crate::error::Error;
use crate::tower::AuditLayer;

/// The handle to the audit log. Clones are cheap and share everything.
///
/// Call [`shutdown`](Self::shutdown) when the server has stopped. Dropping the last handle, and the
/// last layer made from it, ends the threads too: what is in memory is committed, and the drop waits for
/// that for a second at most, on the thread that drops. Nobody waits for delivery.
#[derive(Clone)]
pub struct Logger(Arc<Shared>);

struct Shared {
    intake: Arc<Intake>,
    recorder: Recorder,
    shutdown_timeout: Duration,
}

impl Logger {
    /// A logger configured by the environment alone.
    ///
    /// # Errors
    ///
    /// See [`Builder::start`].
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Settings: the environment over what code says here over the defaults.
    pub fn builder() -> Builder {
        Builder::from_process()
    }

    /// The tower layer that gives each request its row. It belongs outermost: the last `.layer()`,
    /// after all routes and the fallback.
    #[must_use]
    pub fn layer(&self) -> AuditLayer {
        AuditLayer::new(self.0.recorder.clone())
    }

    /// A business event of this logger. While a request is being handled on this task it carries the request's id
    /// and actor, also if another logger watches the request; otherwise set an actor, or leave it without one.
    ///
    /// A name of audithog's own rows (`api_request`, or what begins with `audit_`) becomes `event:api_request`, and an
    /// empty one `unnamed_event`: the event is kept in any case.
    pub fn event(&self, name: impl Into<Cow<'static, str>>) -> Event {
        let event = Event::new(Arc::clone(&self.0.intake) as _, name.into());
        match crate::capture::current() {
            Some(request) => event.within(request.snapshot()),
            None => event,
        }
    }

    /// Returns once everything accepted before the call is committed, fsynced and settled at every
    /// sink, or earlier with the reason why it cannot be ([`FlushReport::blocked`]). `limit` bounds
    /// the whole call; none means 30 s. Works on any executor: a short-lived thread does the waiting.
    pub async fn flush(&self, limit: Option<Duration>) -> FlushReport {
        let this = self.clone();
        let deadline = shutdown::deadline(limit.unwrap_or(shutdown::DEFAULT_FLUSH));
        off_thread(move || this.flush_until(deadline))
            .await
            .unwrap_or_else(|| self.flush_until(Instant::now()))
    }

    /// [`flush`](Self::flush) for threads.
    pub fn flush_blocking(&self, limit: Option<Duration>) -> FlushReport {
        self.flush_until(shutdown::deadline(limit.unwrap_or(shutdown::DEFAULT_FLUSH)))
    }

    /// Ends the log in good order: waits for open requests (at most half of the time, then they are
    /// recorded with `SERVER_SHUTDOWN`), stops intake, commits and fsyncs, delivers, closes. `limit`
    /// bounds the whole call; none means `AUDITHOG_SHUTDOWN_TIMEOUT_MS` (25 s). Rows logged
    /// afterwards are counted losses (`after_shutdown`). A second call waits for the first one, and
    /// reports.
    pub async fn shutdown(&self, limit: Option<Duration>) -> ShutdownReport {
        let this = self.clone();
        let deadline = shutdown::deadline(limit.unwrap_or(self.0.shutdown_timeout));
        off_thread(move || this.shutdown_until(deadline))
            .await
            .unwrap_or_else(|| self.shutdown_until(Instant::now()))
    }

    /// [`shutdown`](Self::shutdown) for threads.
    pub fn shutdown_blocking(&self, limit: Option<Duration>) -> ShutdownReport {
        self.shutdown_until(shutdown::deadline(limit.unwrap_or(self.0.shutdown_timeout)))
    }

    /// The ledger's file; none for memory only.
    #[must_use]
    pub fn ledger_path(&self) -> Option<&Path> {
        self.0.intake.path.as_deref()
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger")
            .field("ledger", &self.0.intake.path)
            .finish_non_exhaustive()
    }
}

/// Runs `work` on a thread of its own and waits without blocking the caller's executor. None if
/// the thread could not be started.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("audithog-wait".to_owned())
        .spawn(move || drop(done.send(work())))
        .ok()?;
    result.await.ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
