//! The service: where a request is seen.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Version};
use http_body::Body;
use tower_service::Service;

use super::ahead::Ahead;
use super::facts::{Facts, route};
use super::future::{ResponseFuture, Watching};
use super::held::BoxError;
use crate::capture::{Announcement, Arrival, Headers, Recorder, RequestHandle};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A service whose requests get a row. Made by [`AuditLayer`](super::AuditLayer).
///
/// It takes a request at once, also while the service inside is not ready. A request that waits for that is watched already: it has its row
/// and its whole duration, and so have those whose client does not wait that long, or whose service fails to become ready.
#[derive(Debug)]
pub struct AuditService<S> {
    inner: S,
    recorder: Recorder,
    /// `inner` may be called.
    ready: bool,
}

impl<S: Clone> Clone for AuditService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.recorder.clone())
    }
}

impl<S> AuditService<S> {
    pub(super) fn new(inner: S, recorder: Recorder) -> Self {
        Self {
            inner,
            recorder,
            ready: false,
        }
    }

    /// Counts the request and puts its handle and its id on it.
    fn start<B>(&self, request: &mut Request<B>) -> Watching {
        let facts = Facts::of(request);
        if facts.peer.is_none() && self.recorder.tell_of_no_peer() {
            tracing::warn!(
                "audit rows have no client address: serve with \
                 `into_make_service_with_connect_info::<SocketAddr>()`, or put an \
                 `audithog::PeerAddr` into the extensions of each request"
            );
        }
        let guard = self.recorder.start(&Arrival {
            method: request.method().as_str(),
            path: facts.path,
            route: facts.route,
            is_call: facts.route.is_none() && is_call(request),
            is_stripped: facts.is_stripped,
            peer: facts.peer,
            headers: request.headers(),
        });
        let connection = facts.connection;
        #[cfg(feature = "axum")]
        let has_connection = connection.is_some();
        let connection = connection.and_then(|connection| connection.for_upgrade(request));
        let handle = guard.handle();
        let id = request_id_header(&handle);
        match &id {
            Some(id) => request.headers_mut().insert(X_REQUEST_ID, id.clone()),
            // Not reached: ids are visible ASCII. What the client sent must not stay in any case.
            None => request.headers_mut().remove(X_REQUEST_ID),
        };
        request.extensions_mut().insert(handle);
        #[cfg(feature = "axum")]
        if has_connection {
            super::axum::set_address(request.extensions_mut());
        }
        Watching::new(guard, id, connection, request)
    }
}

impl<S: Clone> AuditService<S> {
    /// The call of a service that cannot be called yet: of the one that was asked, which may have a place in a queue.
    #[cold]
    #[inline(never)]
    fn ahead<B>(
        &mut self,
        ready: bool,
        request: Request<B>,
        watching: Option<Watching>,
        announcement: Option<Announcement>,
    ) -> ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        let next = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, next);
        ResponseFuture::ahead(Ahead::new(service, ready, request, watching, announcement))
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for AuditService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<super::ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    /// Ready at once: servers ask within the request's own future, and what waits here is no request yet that anybody sees.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let asked = catch_unwind(AssertUnwindSafe(|| self.inner.poll_ready(cx)));
        self.ready = match asked {
            Ok(Poll::Ready(Ok(()))) => true,
            Ok(Poll::Pending) => false,
            Ok(Poll::Ready(Err(_))) | Err(_) => {
                // One that failed must not be asked again. The request meets the failure of another, and its row says so.
                self.inner = self.inner.clone();
                false
            }
        };
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let ready = std::mem::take(&mut self.ready);
        if is_watched(&request) {
            if !ready {
                return self.ahead(ready, request, None, None);
            }
            return ResponseFuture::pass_through(self.inner.call(request));
        }
        let mut watching = self.start(&mut request);
        let Ok(announcement) = watching.guard.admit() else {
            return ResponseFuture::refused(watching.guard.handle());
        };
        if !ready || announcement.is_some() {
            return self.ahead(ready, request, Some(watching), announcement);
        }
        match watching.guard.try_call(|| self.inner.call(request)) {
            Ok(inner) => ResponseFuture::watched(inner, watching),
            Err(panic) => ResponseFuture::panicked(&watching.guard, panic),
        }
    }
}

/// True if a layer further out watches this request. Tells it the route if it could not know it.
fn is_watched<B>(request: &Request<B>) -> bool {
    // A handle whose row was made came with extensions that someone kept: this is another request. Not so where a shutdown made
    // the row while the request was between two layers.
    let watched = request.extensions().get::<RequestHandle>();
    let goes_on = |handle: &&RequestHandle| !handle.is_finished() || handle.is_shut_down();
    let Some(handle) = watched.filter(goes_on) else {
        return false;
    };
    if let Some(route) = route(request.extensions()) {
        handle.tell_route(route);
    }
    true
}

/// gRPC names the procedure in the path (grpc/grpc: doc/PROTOCOL-HTTP2.md and doc/PROTOCOL-WEB.md).
fn is_call<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST
        && request.version() >= Version::HTTP_2
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| is_grpc(kind.as_bytes()))
}

fn is_grpc(content_type: &[u8]) -> bool {
    let Some(rest) = content_type.strip_prefix(b"application/grpc") else {
        return false;
    };
    let mut ends = [&b"-web-text"[..], b"-web", b""].into_iter();
    let format = ends.find_map(|end| rest.strip_prefix(end));
    matches!(format.and_then(<[u8]>::first), None | Some(b'+' | b';'))
}

pub(super) fn request_id_header(handle: &RequestHandle) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(handle.request_id_bytes()).ok()
}

impl Headers for HeaderMap {
    fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let lines = self.iter();
        lines.map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    fn values<'a>(&'a self, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}
