//! What the stand-in took, over all its lives, and the book that the oracle reads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use audithog::testing::PostHogStandIn;
use audithog::testing::standin::{CapturedEvent, ReceivedRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The events and requests of lives that have ended.
#[derive(Clone, Default)]
pub(super) struct Store {
    events: Vec<Arc<CapturedEvent>>,
    requests: Vec<Receipt>,
    /// Copies that were taken, kept or not.
    taken: usize,
}

/// Everything that PostHog holds, and how it got there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Book {
    /// Every stored copy, in order of arrival.
    pub(crate) copies: Vec<Stored>,
    pub(crate) requests: Vec<Receipt>,
    /// Events that were stored although the reply did not name them.
    pub(crate) unsaid: BTreeSet<String>,
}

/// One stored copy of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) uuid: String,
    pub(crate) event: String,
    pub(crate) distinct_id: String,
    /// Microseconds since 1970.
    pub(crate) at: i64,
    pub(crate) properties: Map<String, Value>,
}

/// One request with events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// Microseconds since 1970, when its head had arrived.
    pub(crate) at: i64,
    pub(crate) status: Option<u16>,
    /// A fault decided the answer.
    pub(crate) faulted: bool,
    pub(crate) uuids: Vec<String>,
}

impl Store {
    pub(super) fn count(&self) -> usize {
        self.taken
    }

    pub(super) fn take(&mut self, standin: &PostHogStandIn) {
        self.taken += standin.counts().stored;
        self.events.extend(standin.stored());
        let requests = standin.requests();
        self.requests
            .extend(requests.iter().map(|request| Receipt::of(request)));
    }

    pub(super) fn into_book(self, unsaid: &[String]) -> Book {
        Book {
            copies: self.events.iter().map(|event| Stored::of(event)).collect(),
            requests: self
                .requests
                .into_iter()
                .filter(|request| !request.uuids.is_empty())
                .collect(),
            unsaid: unsaid.iter().cloned().collect(),
        }
    }
}

impl Stored {
    fn of(event: &CapturedEvent) -> Self {
        Self {
            uuid: event.uuid.to_string(),
            event: event.event.clone(),
            distinct_id: event.distinct_id.clone(),
            at: event.timestamp.as_microsecond(),
            properties: event.properties.clone(),
        }
    }
}

impl Receipt {
    fn of(request: &ReceivedRequest) -> Self {
        let uuids = request.events.iter().map(|event| event.uuid.to_string());
        Self {
            at: crate::time::micros(SystemTime::now()) - micros_since(request),
            status: request.status,
            faulted: request.faulted,
            uuids: uuids.collect(),
        }
    }
}

fn micros_since(request: &ReceivedRequest) -> i64 {
    i64::try_from(request.received.elapsed().as_micros()).unwrap_or(i64::MAX)
}
