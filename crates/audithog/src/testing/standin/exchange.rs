//! One request and its outcome, independent of the socket.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::event::CapturedEvent;
use super::reply::Reply;

/// Which part of PostHog a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// Capture v0, `/batch`.
    V0Batch,
    /// Capture v0, one of the other paths.
    V0Event,
    /// Capture v1.
    V1,
    /// `POST /api/projects/:id/query/`.
    Query,
    /// Another path of the private API, below `/api/`.
    Private,
    /// Anything else.
    Other,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        match path {
            "/batch" => Self::V0Batch,
            "/i/v0/e" | "/e" | "/capture" | "/track" | "/engage" => Self::V0Event,
            "/i/v1/analytics/events" => Self::V1,
            _ if is_query(path) => Self::Query,
            _ if path.starts_with("/api/") => Self::Private,
            _ => Self::Other,
        }
    }

    /// Whether events are sent here.
    pub(super) fn is_capture(self) -> bool {
        matches!(self, Self::V0Batch | Self::V0Event | Self::V1)
    }
}

fn is_query(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("")
        && parts.next() == Some("api")
        && matches!(parts.next(), Some("projects" | "environments"))
        && parts.next().is_some_and(|id| !id.is_empty())
        && parts.next() == Some("query")
        && parts.next().is_none()
}

/// A request as it came in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) route: Route,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    /// As sent; cut once it is past the largest limit of its route.
    pub(super) body: Bytes,
    /// As sent, in full.
    pub(super) raw_bytes: usize,
    pub(super) received: Instant,
}

impl Incoming {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }
}

/// What becomes of a request, decided but not yet done.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) reply: Reply,
    /// The events of an understood request.
    pub(super) events: Vec<Arc<CapturedEvent>>,
    /// Those of them that are stored.
    pub(super) stored: Vec<Arc<CapturedEvent>>,
    /// The size of the body decompressed, if it could be.
    pub(super) decompressed_bytes: Option<usize>,
}

impl Outcome {
    pub(super) fn only(reply: Reply) -> Self {
        Self {
            reply,
            events: Vec::new(),
            stored: Vec::new(),
            decompressed_bytes: None,
        }
    }
}

/// A request that the stand-in received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// Which part of PostHog it was for.
    pub route: Route,
    /// The method.
    pub method: Method,
    /// The path as sent.
    pub path: String,
    /// The query string, without the question mark.
    pub query: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// Bytes of the body as sent.
    pub raw_bytes: usize,
    /// Bytes of the body after decompression; `None` when that failed or the body was not looked at.
    pub decompressed_bytes: Option<usize>,
    /// The events in it, stored or not; empty when the request was refused as a whole.
    pub events: Vec<Arc<CapturedEvent>>,
    /// The status that was answered; `None` when a fault kept the reply back or the client left before its end.
    pub status: Option<u16>,
    /// Whether a scripted fault decided the answer.
    pub faulted: bool,
    /// When the head of the request had arrived.
    pub received: Instant,
}
