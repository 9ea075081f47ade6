//! Destinations that follow the ledger. A sink knows no HTTP framework and keeps no cursor:
//! it sends a batch and says what became of each row. When to send, what to try again and
//! what to give up is decided in `delivery`.

#[cfg(feature = "posthog")]
pub(crate) mod posthog;
pub(crate) mod sampling;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use uuid::Uuid;

use crate::record::{Micros, StoredRow};

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A destination.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Its name in tables, metrics and pages: `posthog`.
    fn name(&self) -> &'static str;

    /// Whether this row is sent. Decided from the row alone, so that a replay decides the same.
    fn admit(&self, row: &StoredRow) -> Admission;

    /// About how many bytes the row adds to a request, before compression.
    fn weight(&self, row: &StoredRow) -> usize;

    /// What one request may hold.
    fn limits(&self) -> RequestLimits;

    /// Whether rows come faster than they are sent, so that the sink may hold a core longer at a time.
    fn hurry(&self, _hurry: bool) {}

    /// Sends one request. The ids of `rows` are distinct and `rows` is never empty.
    fn send<'a>(&'a self, rows: &'a [StoredRow], attempt: Attempt) -> BoxFuture<'a, Reply>;
}

/// Whether a row is sent to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Send,
    SampledOut,
}

/// What one request to a sink may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLimits {
    pub(crate) rows: usize,
    /// Sum of `Sink::weight`.
    pub(crate) bytes: usize,
}

/// Names one request through all its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The same on each try of a request, also when the rows still to send have become fewer.
    pub(crate) request: Uuid,
    /// When the request was first made.
    pub(crate) created: Micros,
    /// Grows with each try. From 1, or for rows that were tried on their own from the number of
    /// those tries.
    pub(crate) number: u32,
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// One verdict for each row, in the order of the rows.
    Rows {
        verdicts: Vec<Verdict>,
        /// The least time before rows with `Verdict::Retry` or `Verdict::Hold` are sent again.
        retry_after: Option<Duration>,
    },
    /// The request failed as a whole or its fate is unknown; the same rows may be sent again.
    Retry {
        reason: String,
        retry_after: Option<Duration>,
        /// The server answered with 500 and the like: one bad row may be the cause. False for
        /// network errors, time-outs, 429 and 503.
        suspect_rows: bool,
    },
    /// Retrying cannot help until somebody acts.
    Hold {
        hold: Hold,
        /// The least time before the next probe.
        retry_after: Option<Duration>,
    },
    /// The request is too large (413): send fewer rows.
    TooLarge { reason: String },
    /// The request was refused because of some row in it (400): find it.
    Refused { reason: String },
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// Not kept, or unknown: send again with the same id.
    Retry(String),
    /// Refused for good.
    Dead(String),
    /// Not kept because of a quota or the like: keep it, hold the sink.
    Hold(Hold),
}

/// Why a sink stopped sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) reason: HoldReason,
    /// What the server said, bounded and without secrets.
    pub(crate) detail: String,
}

/// Why retrying cannot help now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HoldReason {
    /// The key was refused (401).
    BadKey,
    /// Forbidden (403).
    Forbidden,
    /// Over quota or unpaid (402, `billing_limit_exceeded`, `*_over_quota`).
    Quota,
}

impl HoldReason {
    /// As written in pages and metrics.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BadKey => "bad_key",
            Self::Forbidden => "forbidden",
            Self::Quota => "quota",
        }
    }

    /// What to do about it.
    #[must_use]
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::BadKey => "set POSTHOG_API_KEY to the project's API key (phc_…) and restart",
            Self::Forbidden => {
                "allow this key and this address in PostHog or in the proxy before it"
            }
            Self::Quota => "raise the billing limit in PostHog, or sample with AUDITHOG_SAMPLE",
        }
    }
}
