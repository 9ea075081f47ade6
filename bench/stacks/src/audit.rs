//! The peers' middleware, as lean as one can be written: no boxed future, nothing copied that can be shared.
//! It makes a request id, measures to the end of the handler, and hands a record with the 13 fields to a sink.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

use crate::actor::{Actor, Slot};

/// What becomes of a record.
pub trait Sink: Clone {
    /// On the request's thread.
    fn record(&self, record: &Record);
}

/// The 13 fields.
#[derive(Debug)]
pub struct Record {
    /// `requestId`.
    pub request_id: Uuid,
    slot: Slot,
    /// `method`.
    pub method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    /// `statusCode`.
    pub status: StatusCode,
    /// `duration_ms`.
    pub duration_ms: f64,
    agent: Option<HeaderValue>,
    /// `ip`.
    pub ip: Option<IpAddr>,
}

impl Record {
    /// `userId`, `userRole`, `orgId`.
    #[must_use]
    pub fn actor(&self) -> [&str; 3] {
        match self.slot.get() {
            Some(Actor { user, role, org }) => [user, role, org].map(text),
            None => [""; 3],
        }
    }

    /// `path`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// `route`.
    #[must_use]
    pub fn route(&self) -> &str {
        self.route.as_ref().map_or("", MatchedPath::as_str)
    }

    /// `result`.
    #[must_use]
    pub fn result(&self) -> &'static str {
        if self.status.as_u16() < 400 {
            "success"
        } else {
            "failure"
        }
    }

    /// `errorCode`.
    #[must_use]
    pub fn error_code(&self) -> &'static str {
        match self.status.as_u16() {
            ..400 => "",
            404 => "NOT_FOUND",
            500.. => "INTERNAL_ERROR",
            _ => "CLIENT_ERROR",
        }
    }

    /// `userAgent`.
    #[must_use]
    pub fn agent(&self) -> &str {
        self.agent.as_ref().map_or("", text)
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// The middleware.
#[derive(Clone, Copy, Debug)]
pub struct Audit<K>(pub K);

impl<S, K: Sink> Layer<S> for Audit<K> {
    type Service = Audited<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Audited {
            inner,
            sink: self.0.clone(),
        }
    }
}

/// See [`Audit`].
#[derive(Clone, Debug)]
pub struct Audited<S, K> {
    inner: S,
    sink: K,
}

impl<S, K> Service<Request> for Audited<S, K>
where
    S: Service<Request, Response = Response>,
    K: Sink,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Recording<S::Future, K>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let slot = Slot::default();
        request.extensions_mut().insert(slot.clone());
        let record = Record {
            request_id: Uuid::now_v7(),
            slot,
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: request.extensions().get().cloned(),
            status: StatusCode::OK,
            duration_ms: 0.0,
            agent: request.headers().get(header::USER_AGENT).cloned(),
            ip: client(&request),
        };
        Recording {
            begun: Instant::now(),
            inner: self.inner.call(request),
            record,
            sink: self.sink.clone(),
        }
    }
}

/// The peer, or what a trusted peer says.
fn client(request: &Request) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    if peer.ip().is_loopback() {
        forwarded(request.headers()).or(Some(peer.ip()))
    } else {
        Some(peer.ip())
    }
}

fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get("x-forwarded-for")?.to_str().ok()?;
    value.rsplit(',').next()?.trim().parse().ok()
}

pin_project! {
    /// See [`Audit`].
    pub struct Recording<F, K> {
        #[pin]
        inner: F,
        begun: Instant,
        record: Record,
        sink: K,
    }
}

impl<F, K> fmt::Debug for Recording<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

impl<F, E, K> Future for Recording<F, K>
where
    F: Future<Output = Result<Response, E>>,
    K: Sink,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        this.record.status = response.status();
        this.record.duration_ms = this.begun.elapsed().as_secs_f64() * 1000.0;
        let mut buffer = Uuid::encode_buffer();
        let id = this
            .record
            .request_id
            .hyphenated()
            .encode_lower(&mut buffer);
        if let Ok(id) = HeaderValue::from_str(id) {
            response.headers_mut().insert("x-request-id", id);
        }
        this.sink.record(this.record);
        Poll::Ready(Ok(response))
    }
}
