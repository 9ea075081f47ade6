//! Asking the ledger, off the threads that serve.

use std::sync::Arc;
use std::time::{Duration, Instant};

use audithog::inspect::LedgerFile;
use audithog::query::{Filter, Log, LogRow};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::Shared;
use crate::access::{Access, Scope};
use crate::record::Note;

/// How long one page's questions may take. A browser that has left cannot stop them, and a reader that reads keeps others waiting.
const LONGEST: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) text: String,
}

impl Failure {
    /// What was asked for cannot be.
    pub(crate) fn wrong(text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            title: "That cannot be asked",
            text: text.into(),
        }
    }

    pub(crate) fn missing(text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            title: "Not found",
            text: text.into(),
        }
    }

    pub(crate) fn denied() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            title: "Not for you",
            text: "You may not see this. Ask whoever runs the service for access.".to_owned(),
        }
    }

    pub(crate) fn refused(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            title: "Refused",
            text: text.to_owned(),
        }
    }

    pub(crate) fn busy(text: &str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            title: "Busy",
            text: text.to_owned(),
        }
    }

    fn late() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            title: "That takes too long",
            text: format!(
                "No answer after {} s. Choose a shorter time, or filters; the `audithog query` command takes as long as it takes.",
                LONGEST.as_secs()
            ),
        }
    }

    fn ledger(text: String) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            title: "The ledger cannot be read",
            text,
        }
    }
}

/// Only its status, with what the guard needs to make a page of it.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<audithog::Error> for Failure {
    fn from(error: audithog::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        if error.is_question() {
            Self::wrong(text)
        } else if error.is_deadline() {
            Self::late()
        } else {
            Self::ledger(text)
        }
    }
}

impl Shared {
    /// Records the look, opens the log for what this access may see of it, and asks.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        access: &Access,
        note: Option<Note>,
        ask: impl FnOnce(&mut Log) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (shared, access) = (Arc::clone(self), access.clone());
        self.blocking(move || {
            shared.record(note);
            ask(&mut shared.log(&access)?.deadline(Instant::now() + LONGEST))
        })
        .await
    }

    /// The same for the file as a whole.
    pub(crate) async fn inspect<T: Send + 'static>(
        self: &Arc<Self>,
        access: &Access,
        note: Option<Note>,
        look: impl FnOnce(&mut LedgerFile) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if !access.sees_all() {
            return Err(Failure::denied());
        }
        let shared = Arc::clone(self);
        self.blocking(move || {
            shared.record(note);
            look(&mut LedgerFile::open(&shared.path)?)
        })
        .await
    }

    /// The log, as far as this access may see it.
    pub(crate) fn log(&self, access: &Access) -> Result<Log, Failure> {
        match &access.scope {
            Scope::All => Ok(Log::open(&self.path)?),
            Scope::Org(org) => Ok(Log::open(&self.path)?.within_org(org)),
            Scope::Deny => Err(Failure::denied()),
        }
    }

    /// Works on a thread of its own, a few at the same time.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let broken = || Failure::busy("The console is being shut down.");
        let permit = Arc::clone(&self.readers).acquire_owned().await;
        let permit = permit.map_err(|_| broken())?;
        let done = tokio::task::spawn_blocking(move || {
            // Whoever asked may be gone; the disk is in use until the answer is there.
            let _permit = permit;
            work()
        });
        done.await.unwrap_or_else(|_| Err(broken()))
    }
}

/// Some rows, the last written first.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<LogRow>,
    /// Where to go on: below this number. None: there is nothing before.
    pub(crate) before: Option<u64>,
}

/// Numbers that are looked at between two looks at the clock.
const STRETCH: u64 = 500_000;
/// A page is shown with what was found by then.
const PATIENCE: Duration = Duration::from_millis(700);

/// Up to `count` rows that the filter admits with numbers below `before`, the last written first. Rare rows are looked for until the time is up.
pub(crate) fn page(
    log: &mut Log,
    filter: &Filter,
    before: Option<u64>,
    count: usize,
) -> Result<Page, Failure> {
    let begun = Instant::now();
    let (head, pruned) = (log.head()?, log.pruned()?);
    let mut upto = before.map_or(head, |before| before.saturating_sub(1).min(head));
    let mut rows: Vec<LogRow> = Vec::new();
    while upto > pruned {
        let after = upto.saturating_sub(STRETCH).max(pruned);
        for row in log
            .latest_rows(filter, after, upto)?
            .take(count - rows.len())
        {
            rows.push(row?);
        }
        if rows.len() == count {
            let last = rows.last().map_or(0, LogRow::seq);
            return Ok(Page {
                rows,
                before: Some(last).filter(|last| *last > pruned + 1),
            });
        }
        upto = after;
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(Page {
        rows,
        before: Some(upto + 1).filter(|_| upto > pruned),
    })
}

#[cfg(test)]
mod tests {
    use audithog::Logger;

    use super::*;

    #[test]
    fn what_takes_too_long_is_said_so() {
        let home = tempfile::TempDir::new().unwrap();
        let path = home.path().join("audit.db");
        let logger = Logger::builder()
            .environment([("AUDITHOG_DB", &path)])
            .start()
            .unwrap();
        assert_eq!(logger.shutdown_blocking(None).health.queued, 0);
        let mut log = Log::open(&path).unwrap().deadline(Instant::now());
        let failure = Failure::from(log.head().unwrap_err());
        assert_eq!(failure.title, "That takes too long");
        assert_eq!(failure.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
