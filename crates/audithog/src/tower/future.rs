//! From the request to the head of the response.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::body::{ResponseBody, Streaming};
use super::service::{X_REQUEST_ID, request_id_header};
use super::{AuditConnectInfo, ErrorCode};
use crate::capture::Guard;
use crate::record::End;

/// gRPC's UNKNOWN, which clients assume for a status that they cannot read (grpc/grpc: doc/PROTOCOL-HTTP2.md).
const GRPC_UNKNOWN: u32 = 2;

pin_project! {
    /// The future of an [`AuditService`](super::AuditService).
    ///
    /// Dropped before it is ready, it makes the request's row.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // None only while this is dropped.
        #[pin]
        inner: Option<F>,
        // None for a request that another layer watches, and once the response is there.
        watching: Option<Watching>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // What the application does while its future is dropped is still part of the request: it
            // is the current one, and its row is made afterwards, with `watching`.
            if let Some(watching) = this.watching {
                watching.guard.run(|| this.inner.set(None));
            }
        }
    }
}

struct Watching {
    guard: Guard,
    asked_for: AskedFor,
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

impl<F> ResponseFuture<F> {
    pub(super) fn pass_through(inner: F) -> Self {
        Self {
            inner: Some(inner),
            watching: None,
        }
    }

    pub(super) fn watched(
        inner: F,
        guard: Guard,
        method: &Method,
        connection: Option<AuditConnectInfo>,
    ) -> Self {
        let asked_for = match *method {
            Method::HEAD => AskedFor::Head,
            Method::CONNECT => AskedFor::Tunnel,
            _ => AskedFor::Body,
        };
        Self {
            inner: Some(inner),
            watching: Some(Watching {
                guard,
                asked_for,
                connection,
            }),
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Pending;
        };
        let polled = match this.watching {
            Some(watching) => watching.guard.run(|| inner.poll(cx)),
            None => inner.poll(cx),
        };
        let result = ready!(polled);
        let Some(watching) = this.watching.take() else {
            return Poll::Ready(result.map(|response| response.map(ResponseBody::pass_through)));
        };
        Poll::Ready(match result {
            Ok(response) => Ok(watching.head(response)),
            Err(error) => {
                watching.guard.finish(End::ServiceError);
                Err(error)
            }
        })
    }
}

impl Watching {
    /// The head is there: tells what it says, and ends the request if nothing follows.
    fn head<B: Body>(self, mut response: Response<B>) -> Response<ResponseBody<B>> {
        let Self {
            guard,
            asked_for,
            connection,
        } = self;
        guard.set_status(response.status().as_u16());
        if let Some(code) = response.extensions().get::<ErrorCode>() {
            guard.set_error_code(code.0.clone());
        }
        if let Some(id) = request_id_header(&guard.handle()) {
            // Replaces what a propagating layer inside set: one header, not two.
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        let grpc = is_grpc(response.headers());
        if grpc && let Some(status) = grpc_status(response.headers()) {
            guard.set_grpc_status(status);
        }
        let length = body_length(&response);
        let sends_no_body = match asked_for {
            AskedFor::Head => true,
            AskedFor::Tunnel if response.status().is_success() => true,
            _ => has_no_body(response.status()),
        };
        // A gRPC response ends with its trailers, whatever length it announced.
        let is_empty = response.body().is_end_stream() || (length == Some(0) && !grpc);
        if sends_no_body || is_empty {
            let handle = guard.handle();
            guard.finish(End::Complete);
            if let Some(connection) = connection.filter(|_| ends_http(response.status(), asked_for))
            {
                connection.upgraded(handle);
            }
            return response.map(ResponseBody::pass_through);
        }
        let streaming = Streaming {
            guard,
            remaining: if grpc { None } else { length },
            grpc,
        };
        response.map(|body| ResponseBody::watched(body, streaming))
    }
}

/// No other request can follow on an HTTP/1.1 connection: RFC 9110 §15.2.2 and §9.3.6.
fn ends_http(status: StatusCode, asked_for: AskedFor) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
        || (asked_for == AskedFor::Tunnel && status.is_success())
}

/// RFC 9110 §6.4.1.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// How long the body will be on the wire. Over HTTP/1.1 a server stops asking for frames after so many bytes.
fn body_length<B: Body>(response: &Response<B>) -> Option<u64> {
    let announced = response.headers().get(CONTENT_LENGTH);
    announced
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .or_else(|| response.body().size_hint().exact())
}

/// `application/grpc`, `application/grpc+proto`; not `application/grpc-web`, which has its trailers in the body.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content_type.and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// `grpc-status` in headers or trailers.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let status = headers.get("grpc-status")?;
    let code = status.to_str().ok().and_then(|code| code.parse().ok());
    Some(code.unwrap_or(GRPC_UNKNOWN))
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("watched", &self.watching.is_some())
            .finish_non_exhaustive()
    }
}
