//! From the head of the response to its last byte.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::future::grpc_status;
use crate::capture::Guard;
use crate::record::End;

/// The most that is handed to the server at once. A server takes a frame whole, however large, and only then looks whether
/// the client reads; slices let it look in between. (hyper buffers about 400 KB of an HTTP/1.1 response.)
const MAX_SLICE: usize = 64 * 1024;

pin_project! {
    /// The body of a response that is watched.
    ///
    /// Frames, errors and trailers go through unchanged, except that data of more than 64 KiB is handed over
    /// in slices, without a copy. Dropped before its end, it makes the request's row.
    pub struct ResponseBody<B> {
        // None only while this is dropped.
        #[pin]
        inner: Option<B>,
        // What is left of a large frame.
        rest: Bytes,
        // None for a request that another layer watches, and once the row was made.
        watching: Option<Streaming>,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // What the application does while its unfinished body is dropped is still part of the request: it
            // is the current one, and its row is made afterwards, with `watching`.
            if let Some(streaming) = this.watching {
                streaming.guard.run(|| this.inner.set(None));
            }
        }
    }
}

pub(super) struct Streaming {
    pub(super) guard: Guard,
    /// Bytes that the server will still take, if the length is known.
    pub(super) remaining: Option<u64>,
    pub(super) grpc: bool,
}

impl<B> ResponseBody<B> {
    pub(super) fn pass_through(inner: B) -> Self {
        Self {
            inner: Some(inner),
            rest: Bytes::new(),
            watching: None,
        }
    }

    pub(super) fn watched(inner: B, streaming: Streaming) -> Self {
        Self {
            inner: Some(inner),
            rest: Bytes::new(),
            watching: Some(streaming),
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = if this.rest.is_empty() {
            let Some(inner) = this.inner.as_mut().as_pin_mut() else {
                return Poll::Ready(None);
            };
            let polled = match this.watching {
                Some(streaming) => streaming.guard.run(|| inner.poll_frame(cx)),
                None => return inner.poll_frame(cx),
            };
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    finish_body(this.watching);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    finish(this.watching, End::ResponseBodyError);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            }
        } else {
            Frame::data(std::mem::take(this.rest))
        };
        let frame = match frame.into_data() {
            Ok(data) => {
                let slice = split(data, this.rest);
                let ends = this.rest.is_empty() && is_at_end(&this.inner);
                after_data(this.watching, slice.len(), ends);
                Frame::data(slice)
            }
            Err(frame) => {
                after_other(this.watching, &frame);
                frame
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && is_at_end(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref().map(Body::size_hint).unwrap_or_default();
        let rest = self.rest.len() as u64;
        if rest == 0 {
            return inner;
        }
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

fn is_at_end<B: Body>(inner: &Option<B>) -> bool {
    inner.as_ref().is_none_or(Body::is_end_stream)
}

/// The first slice of `data`; what follows it goes to `rest`.
fn split(mut data: Bytes, rest: &mut Bytes) -> Bytes {
    if data.len() > MAX_SLICE {
        *rest = data.split_off(MAX_SLICE);
    }
    data
}

/// `len` bytes are handed over; `ends` if the body says that nothing follows.
fn after_data(watching: &mut Option<Streaming>, len: usize, ends: bool) {
    let Some(streaming) = watching else { return };
    if let Some(remaining) = &mut streaming.remaining {
        *remaining = remaining.saturating_sub(len as u64);
    }
    if ends || streaming.remaining == Some(0) {
        finish_body(watching);
    }
}

/// Trailers end a body. Other kinds of frames are not known, and not ours to judge.
fn after_other(watching: &mut Option<Streaming>, frame: &Frame<Bytes>) {
    let Some(trailers) = frame.trailers_ref() else {
        return;
    };
    if let Some(streaming) = watching
        && streaming.grpc
        && let Some(status) = grpc_status(trailers)
    {
        streaming.guard.set_grpc_status(status);
    }
    finish_body(watching);
}

/// The body says that it is at its end. One that is shorter than it announced is none that a client can take:
/// over HTTP/1.1 the server breaks the connection, over HTTP/2 the response is malformed (RFC 9113 §8.1.1).
fn finish_body(watching: &mut Option<Streaming>) {
    let short = watching
        .as_ref()
        .is_some_and(|streaming| streaming.remaining.is_some_and(|left| left > 0));
    let end = if short {
        End::ResponseBodyError
    } else {
        End::Complete
    };
    finish(watching, end);
}

fn finish(watching: &mut Option<Streaming>, end: End) {
    if let Some(streaming) = watching.take() {
        streaming.guard.finish(end);
    }
}

impl<B: Default> Default for ResponseBody<B> {
    /// A body that nobody watches, for what replaces a body by an empty one.
    fn default() -> Self {
        Self::pass_through(B::default())
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("watched", &self.watching.is_some())
            .finish_non_exhaustive()
    }
}
