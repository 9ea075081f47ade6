//! New rows as they come: server-sent events with lines of the log's table.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use audithog::query::Filter;
use axum::Extension;
use axum::http::HeaderMap;
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::overview::{filter, range};
use super::{Reply, Visit};
use crate::answers::Failure;
use crate::range::ALL;
use crate::view::table;

/// Between two looks at the ledger.
const POLL: Duration = Duration::from_millis(300);
/// More rows than anyone can read in that time are told by their number.
const MOST: usize = 200;
/// A browser asks again then, and whether it may see the rows is decided again.
const LONGEST: Duration = Duration::from_secs(300);
/// What is looked through in one go.
const STRETCH: u64 = 100_000;

struct Stream {
    visit: Visit,
    filter: Filter,
    /// The last number that was looked at.
    seen: u64,
    poll: Interval,
    ends: Instant,
    _permit: OwnedSemaphorePermit,
}

pub(crate) async fn stream(Extension(visit): Extension<Visit>, headers: HeaderMap) -> Reply {
    let range = range(&visit.here, ALL)?;
    let filter = filter(&visit.here, &range)?;
    let Ok(permit) = Arc::clone(&visit.shared.streams).try_acquire_owned() else {
        return Err(Failure::busy(
            "Too many pages show new rows at the same time: close some.",
        ));
    };
    // A browser that lost the connection says what it has seen.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = last.or_else(|| visit.here.params.get("after"));
    let head = visit
        .read(filter.clone(), None, |log, _| Ok(log.head()?))
        .await?;
    let seen = after
        .and_then(|text| text.parse().ok())
        .unwrap_or(head)
        .min(head);
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = Stream {
        visit,
        filter,
        seen,
        poll,
        ends: Instant::now() + LONGEST,
        _permit: permit,
    };
    let events = stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    let alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

impl Stream {
    /// Waits for rows.
    async fn next(&mut self) -> Option<Event> {
        loop {
            self.poll.tick().await;
            if Instant::now() >= self.ends {
                return None;
            }
            let (filter, seen) = (self.filter.clone(), self.seen);
            let Visit { shared, access, .. } = &self.visit;
            let found = shared.ask(access, None, move |log| {
                let (head, pruned) = (log.head()?, log.pruned()?);
                if head < seen {
                    // Another ledger is in its place.
                    return Ok((Vec::new(), 0, head));
                }
                let upto = head.min(seen.max(pruned).saturating_add(STRETCH));
                let mut rows = Vec::new();
                let mut passed = 0_u64;
                for row in log.latest_rows(&filter, seen, upto)? {
                    let row = row?;
                    if rows.len() < MOST {
                        rows.push(row);
                    } else {
                        passed += 1;
                    }
                }
                Ok((rows, passed, upto))
            });
            let Ok((rows, passed, upto)) = found.await else {
                // The page says that the log cannot be read, by itself.
                continue;
            };
            self.seen = upto;
            if rows.is_empty() {
                continue;
            }
            let lines = table::log_rows(&self.visit.here, &rows).into_string();
            let data = serde_json::json!({ "rows": lines, "count": rows.len(), "passed": passed });
            return Some(Event::default().id(upto.to_string()).data(data.to_string()));
        }
    }
}
