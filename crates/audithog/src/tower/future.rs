//! From the request to the head of the response.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::ahead::{Ahead, Called};
use super::body::{MAX_SLICE, ResponseBody, Said, Streaming};
use super::held::{BoxError, Panic, Unavailable};
use super::service::X_REQUEST_ID;
use super::{AuditConnectInfo, ErrorCode};
use crate::capture::{Guard, Instead, Promise, Release, RequestHandle};
use crate::record::End;

/// gRPC's UNKNOWN, which clients assume where they find no status, or none that they can read (grpc/grpc: doc/PROTOCOL-HTTP2.md
/// and doc/http-grpc-status-mapping.md).
pub(super) const GRPC_UNKNOWN: u32 = 2;

pin_project! {
    /// The future of an [`AuditService`](super::AuditService).
    ///
    /// Dropped before it is ready, it makes the request's row.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        // None before the service was called, and while this is dropped.
        #[pin]
        inner: Option<S::Future>,
        stage: Stage<S, B, S::Response, S::Error>,
    }

    impl<S, B> PinnedDrop for ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // What the application does while its future is dropped is still part of the request: it
            // is the current one, and its row is made afterwards, with the guard.
            if let Stage::Running(watching) = this.stage {
                watching.guard.run(|| this.inner.set(None));
            }
        }
    }
}

/// How far the request is. What only waiting requests need is boxed.
enum Stage<S, B, R, E> {
    /// Another layer watches the request.
    PassedThrough,
    /// The service was not called yet.
    Ahead(Box<Ahead<S, B>>),
    /// The service works on it.
    Running(Watching),
    /// Its answer waits for its row.
    Held(Box<Held<R, E>>),
    /// It is not handled.
    Refused(RequestHandle),
    /// The response was handed over.
    Done,
}

struct Held<R, E> {
    promise: Promise,
    handle: RequestHandle,
    answer: Answer<R, E>,
}

enum Answer<R, E> {
    /// A response without a body, and the connection if it ends HTTP on it.
    Response(R, Option<AuditConnectInfo>),
    /// A response with all of its body.
    Whole(Response<Bytes>),
    Error(E),
    Panic(Panic),
}

pub(super) struct Watching {
    pub(super) guard: Guard,
    /// The request's id, for the response.
    id: Option<HeaderValue>,
    asked_for: AskedFor,
    version: Version,
    /// Of a request that may end HTTP on it.
    connection: Option<AuditConnectInfo>,
}

/// What the method says about the response's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AskedFor {
    Body,
    Head,
    Tunnel,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn at(stage: Stage<S, B, S::Response, S::Error>) -> Self {
        Self { inner: None, stage }
    }

    pub(super) fn pass_through(inner: S::Future) -> Self {
        Self {
            inner: Some(inner),
            stage: Stage::PassedThrough,
        }
    }

    pub(super) fn watched(inner: S::Future, watching: Watching) -> Self {
        Self {
            inner: Some(inner),
            stage: Stage::Running(watching),
        }
    }

    pub(super) fn ahead(ahead: Ahead<S, B>) -> Self {
        Self::at(Stage::Ahead(Box::new(ahead)))
    }

    pub(super) fn refused(handle: RequestHandle) -> Self {
        Self::at(Stage::Refused(handle))
    }

    /// The service panicked while it was called. Raised again at once, unless the panic waits for its row.
    pub(super) fn panicked(guard: &Guard, panic: Box<dyn Any + Send>) -> Self {
        Self::at(Stage::Held(hold_panic(guard, panic)))
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.stage {
                Stage::PassedThrough => {
                    let Some(inner) = this.inner.as_mut().as_pin_mut() else {
                        return Poll::Pending;
                    };
                    let result = ready!(inner.poll(cx));
                    return Poll::Ready(
                        result.map(|response| response.map(ResponseBody::pass_through)),
                    );
                }
                Stage::Ahead(ahead) => {
                    let called = ready!(ahead.poll(cx));
                    *this.stage = Stage::Done;
                    match called {
                        Called::Watched(inner, watching) => {
                            this.inner.set(Some(inner));
                            Stage::Running(watching)
                        }
                        Called::PassedThrough(inner) => {
                            this.inner.set(Some(inner));
                            Stage::PassedThrough
                        }
                        Called::Panicked(guard, panic) => Stage::Held(hold_panic(&guard, panic)),
                        Called::Failed(None, error) => return Poll::Ready(Err(error)),
                        Called::Failed(Some(watching), error) => match watching.failed(error) {
                            Head::Ready(result) => return Poll::Ready(result),
                            Head::Held(held) => Stage::Held(held),
                        },
                        Called::Not(watching) => {
                            return Poll::Ready(Ok(watching.unhandled()));
                        }
                    }
                }
                Stage::Running(watching) => {
                    let Some(inner) = this.inner.as_mut().as_pin_mut() else {
                        return Poll::Pending;
                    };
                    let result = match watching.guard.try_run(|| inner.poll(cx)) {
                        Ok(polled) => Ok(ready!(polled)),
                        Err(panic) => Err(panic),
                    };
                    let Some(watching) = take_watching(this.stage) else {
                        return Poll::Pending;
                    };
                    // A response is large, and so is the code that moves one.
                    let answer = match result {
                        Ok(Ok(mut response)) => match watching.head(&mut response) {
                            Following::Body(watching) => {
                                let body = |body| ResponseBody::watched(body, watching);
                                return Poll::Ready(Ok(response.map(body)));
                            }
                            Following::Wait(wait) => wait.begin(response, cx),
                        },
                        Ok(Err(error)) => watching.failed(error),
                        Err(panic) => Head::Held(hold_panic(&watching.guard, panic)),
                    };
                    match answer {
                        Head::Ready(result) => return Poll::Ready(result),
                        Head::Held(held) => Stage::Held(held),
                    }
                }
                Stage::Held(held) => {
                    let release = ready!(held.promise.poll(cx));
                    let Stage::Held(held) = std::mem::replace(this.stage, Stage::Done) else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(held.release(release));
                }
                Stage::Refused(handle) => {
                    let response = Unavailable::NotHandled.response(handle);
                    *this.stage = Stage::Done;
                    return Poll::Ready(Ok(response));
                }
                Stage::Done => return Poll::Pending,
            };
            *this.stage = next;
        }
    }
}

fn take_watching<S, B, R, E>(stage: &mut Stage<S, B, R, E>) -> Option<Watching> {
    match std::mem::replace(stage, Stage::Done) {
        Stage::Running(watching) => Some(watching),
        _ => None,
    }
}

/// Raises the panic again, now or as soon as its row is committed.
#[cold]
fn hold_panic<R, E>(guard: &Guard, panic: Box<dyn Any + Send>) -> Box<Held<R, E>> {
    let Some(promise) = guard.promise() else {
        resume_unwind(panic)
    };
    Held::new(promise, Answer::Panic(Panic::new(panic)))
}

impl<R, E> Held<R, E> {
    #[inline(never)]
    fn new(promise: Promise, answer: Answer<R, E>) -> Box<Self> {
        Box::new(Self {
            handle: promise.handle(),
            promise,
            answer,
        })
    }
}

impl<B, E> Held<Response<B>, E> {
    fn release(self, release: Release) -> Result<Response<ResponseBody<B>>, E> {
        if release == Release::Withhold {
            self.promise.withheld(Instead::Unavailable);
            return Ok(Unavailable::Withheld.response(&self.handle));
        }
        match self.answer {
            Answer::Response(response, connection) => {
                if let Some(connection) = connection {
                    connection.upgraded(self.handle);
                }
                Ok(response.map(ResponseBody::pass_through))
            }
            Answer::Whole(response) => Ok(response.map(ResponseBody::of)),
            Answer::Error(error) => Err(error),
            Answer::Panic(panic) => panic.resume(),
        }
    }
}

/// What is left to do once the head of a response was seen.
enum Following {
    /// It goes out; the body is watched, unless that was all.
    Body(Option<Streaming>),
    Wait(ToWait),
}

/// What keeps the head back.
enum ToWait {
    /// The body is short, and waits together with the head.
    Body(Streaming),
    /// That was all, and waits for its row; with it the connection if the response ends HTTP on it.
    Head(Promise, Option<AuditConnectInfo>),
}

impl ToWait {
    fn begin<B, E>(self, response: Response<B>, cx: &mut Context<'_>) -> Head<B, E>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        match self {
            Self::Body(streaming) => ask(streaming, response, cx),
            Self::Head(promise, connection) => {
                Head::Held(Held::new(promise, Answer::Response(response, connection)))
            }
        }
    }
}

/// What follows from an answer that is not on its way yet.
enum Head<B, E> {
    Ready(Result<Response<ResponseBody<B>>, E>),
    Held(Box<Held<Response<B>, E>>),
}

impl Watching {
    pub(super) fn new<B>(
        guard: Guard,
        id: Option<HeaderValue>,
        connection: Option<AuditConnectInfo>,
        request: &Request<B>,
    ) -> Self {
        let asked_for = match *request.method() {
            Method::HEAD => AskedFor::Head,
            Method::CONNECT => AskedFor::Tunnel,
            _ => AskedFor::Body,
        };
        Self {
            guard,
            id,
            asked_for,
            version: request.version(),
            connection,
        }
    }

    fn unhandled<B>(self) -> Response<ResponseBody<B>> {
        let response = Unavailable::NotHandled.response(&self.guard.handle());
        self.guard.finish_unhandled(response.status().as_u16());
        response
    }

    #[cold]
    fn failed<B, E>(self, error: E) -> Head<B, E> {
        match self.guard.finish(End::ServiceError) {
            None => Head::Ready(Err(error)),
            Some(promise) => Head::Held(Held::new(promise, Answer::Error(error))),
        }
    }

    /// The head is there: tells what it says, and ends the request if nothing follows.
    fn head<B: Body>(self, response: &mut Response<B>) -> Following {
        let Self {
            guard,
            id,
            asked_for,
            version,
            connection,
        } = self;
        let status = response.status().as_u16();
        if let Some(code) = response.extensions().get::<ErrorCode>() {
            guard.set_error_code(code.0.clone().into());
        }
        if let Some(id) = id {
            // Replaces what a propagating layer inside set: one header, not two.
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        let Content { kind, length } = Content::of(response);
        if kind != Kind::Other
            && let Some(status) = grpc_status(response.headers())
        {
            guard.set_grpc_status(status);
        }
        // Over HTTP/2 the server asks for all of the body, whatever length it announced.
        let sends_all = version >= Version::HTTP_2;
        // Over HTTP/1.1 a body of known length has none, and nothing is asked for after its last byte.
        let trailers = kind == Kind::Grpc && sends_all;
        let sends_no_body = match asked_for {
            AskedFor::Head => true,
            AskedFor::Tunnel if response.status().is_success() => true,
            _ => has_no_body(response.status()),
        };
        let is_empty = response.body().is_end_stream() || (length == Some(0) && !sends_all);
        if sends_no_body || is_empty {
            guard.set_status(status);
            if kind == Kind::Grpc {
                guard.set_grpc_status_if_none(GRPC_UNKNOWN);
            }
            let end = match length {
                _ if is_no_answer(response.status(), version) => End::ResponseBodyError,
                // Over HTTP/1.1 the server corrects it.
                Some(1..) if !sends_no_body && sends_all => End::ResponseBodyError,
                _ => End::Complete,
            };
            let connection = connection
                .filter(|_| ends_http(response.status(), asked_for))
                .map(|connection| (connection, guard.handle()));
            if let Some(promise) = guard.finish(end) {
                return Following::Wait(ToWait::Head(promise, connection.map(|(of, _)| of)));
            }
            if let Some((connection, handle)) = connection {
                connection.upgraded(handle);
            }
            return Following::Body(None);
        }
        let waits = guard.waits();
        let unmarked = waits && length.is_none() && ends_with_its_connection(version, response);
        let streaming = Streaming {
            waits,
            unmarked: unmarked.then(Box::default),
            guard,
            remaining: if trailers { None } else { length },
            sends_all,
            grpc: kind == Kind::Grpc,
        };
        let is_short = |length: u64| length <= MAX_SLICE as u64;
        if waits && streaming.remaining.is_some_and(is_short) {
            return Following::Wait(ToWait::Body(streaming));
        }
        streaming.guard.set_status(status);
        Following::Body(Some(streaming))
    }
}

/// A short body that is there at once waits together with its head: sent on its own, the head would cost the server and the
/// client as much as the whole, and a client that had it could not be told any more that there is no answer.
#[inline(never)]
fn ask<B, E>(streaming: Streaming, response: Response<B>, cx: &mut Context<'_>) -> Head<B, E>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let (data, promise) = match streaming.ask(body, head.status.as_u16(), cx) {
        Said::Whole(data, promise) => (data, promise),
        Said::Part(body) => return Head::Ready(Ok(Response::from_parts(head, body))),
        Said::Panic(guard, panic) => return Head::Held(hold_panic(&guard, panic)),
    };
    let response = Response::from_parts(head, data);
    match promise {
        None => Head::Ready(Ok(response.map(ResponseBody::of))),
        Some(promise) => Head::Held(Held::new(promise, Answer::Whole(response))),
    }
}

/// No other request can follow on an HTTP/1.1 connection: RFC 9110 §15.2.2 and §9.3.6.
fn ends_http(status: StatusCode, asked_for: AskedFor) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
        || (asked_for == AskedFor::Tunnel && status.is_success())
}

/// Over HTTP/1.0 a body of unknown length ends with its connection (RFC 9112 §6.3), so that nothing tells its end from a
/// connection that broke. Not so for server-sent events: such a stream is never complete, and each of its events is
/// wanted at once.
fn ends_with_its_connection<B>(asked: Version, response: &Response<B>) -> bool {
    // A server answers in the lower version of the two.
    let version = asked.min(response.version());
    let content_type = response.headers().get(CONTENT_TYPE);
    let is_events =
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    asked < Version::HTTP_2 && version < Version::HTTP_11 && !is_events
}

/// An interim status where the last one is wanted: a server sends a 500 in its place, or breaks the stream off. Over HTTP/1.1
/// a 101 is the last one.
fn is_no_answer(status: StatusCode, version: Version) -> bool {
    let switches = status == StatusCode::SWITCHING_PROTOCOLS && version < Version::HTTP_2;
    status.is_informational() && !switches
}

/// RFC 9110 §6.4.1.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// What a response says of its body.
struct Content {
    kind: Kind,
    /// How long the body will be on the wire. Over HTTP/1.1 a server stops asking for frames after so many bytes.
    length: Option<u64>,
}

impl Content {
    /// In one pass over the headers: to look each up would cost more, because each name is hashed.
    fn of<B: Body>(response: &Response<B>) -> Self {
        let (mut kind, mut announced) = (None, None);
        for (name, value) in response.headers() {
            match name.as_str() {
                "content-type" => kind = kind.or(Some(value)),
                "content-length" => announced = announced.or(Some(value)),
                _ => {}
            }
        }
        let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
        Self {
            kind: kind.map_or(Kind::Other, |kind| Kind::of(kind.as_bytes())),
            length: announced.or_else(|| response.body().size_hint().exact()),
        }
    }
}

/// Where a response says how its call ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In its trailers, or in its headers if it has no body: `application/grpc`, `application/grpc+proto`.
    Grpc,
    /// In its headers if it has no body, else in the body, which is not read: `application/grpc-web`, `application/grpc-web-text`.
    GrpcWeb,
    Other,
}

impl Kind {
    fn of(content_type: &[u8]) -> Self {
        let Some(rest) = content_type.strip_prefix(b"application/grpc") else {
            return Self::Other;
        };
        match rest.first() {
            None | Some(b'+' | b';') => Self::Grpc,
            Some(_) if rest.starts_with(b"-web") => Self::GrpcWeb,
            Some(_) => Self::Other,
        }
    }
}

/// `grpc-status` in headers or trailers.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let status = headers.get("grpc-status")?;
    let code = status.to_str().ok().and_then(|code| code.parse().ok());
    Some(code.unwrap_or(GRPC_UNKNOWN))
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watched = !matches!(self.stage, Stage::PassedThrough | Stage::Done);
        f.debug_struct("ResponseFuture")
            .field("watched", &watched)
            .finish_non_exhaustive()
    }
}
