//! A reply, and the body it is sent with.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;
use tokio::time::Interval;

/// What is answered.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self::with_type(status, "text/plain; charset=utf-8", body.into())
    }

    pub(super) fn html(status: StatusCode, body: &'static str) -> Self {
        Self::with_type(status, "text/html; charset=utf-8", body.to_owned())
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::with_type(status, "application/json", body.to_string())
    }

    fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self::empty(status)
            .header(CONTENT_TYPE, HeaderValue::from_static(content_type))
            .body(body)
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// As a response whose body comes at once, or one byte per `drip`.
    pub(super) fn into_response(self, drip: Option<Duration>) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody {
            rest: self.body,
            drip: drip.map(tokio::time::interval),
        });
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The body of a reply.
#[derive(Debug)]
pub(super) struct ReplyBody {
    rest: Bytes,
    drip: Option<Interval>,
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = match &mut self.drip {
            Some(drip) => {
                ready!(drip.poll_tick(cx));
                1
            }
            None => self.rest.len(),
        };
        let part = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}
