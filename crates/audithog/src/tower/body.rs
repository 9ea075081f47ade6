//! From the head of the response to its last byte.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::future::{GRPC_UNKNOWN, grpc_status};
use super::held::{BoxError, NotAudited, Panic};
use crate::capture::{Guard, Instead, Promise, Release};
use crate::record::End;

/// The most that is handed to the server at once. A server takes a frame whole, however large, and only then looks whether
/// the client reads; slices let it look in between. (hyper buffers about 400 KB of an HTTP/1.1 response.)
pub(super) const MAX_SLICE: usize = 64 * 1024;

pin_project! {
    /// The body of a response that is watched.
    ///
    /// Frames, errors and trailers go through unchanged, except that data of more than 64 KiB is handed over
    /// in slices, without a copy. Dropped before its end, it makes the request's row.
    pub struct ResponseBody<B> {
        // None while this is dropped, and for a body of our own.
        #[pin]
        inner: Option<Inner<B>>,
        // What is left of a large frame.
        rest: Bytes,
        // None for a request that another layer watches, and once the row was made.
        watching: Option<Streaming>,
        // What waits for the row.
        held: Option<Box<Held>>,
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

pin_project! {
    /// The service's body.
    #[project = InnerProjection]
    enum Inner<B> {
        Unasked { #[pin] body: B },
        // Asked before the head was handed over: it stays where it was asked.
        Asked { asked: Pin<Box<Asked<B>>> },
    }
}

pin_project! {
    struct Asked<B> {
        #[pin]
        body: B,
        // What it said of its length before it was asked. The server goes by that, also for what is to come after an answer that was none.
        announced: Option<SizeHint>,
    }
}

pub(super) struct Streaming {
    pub(super) guard: Guard,
    /// Bytes that are still to come, if the length is known.
    pub(super) remaining: Option<u64>,
    /// HTTP/2: the server sends whatever comes, until the body says its end. Over HTTP/1.1 it stops at the length.
    pub(super) sends_all: bool,
    pub(super) grpc: bool,
    /// The end waits for the row.
    pub(super) waits: bool,
    /// For a waiting body that nothing but the close of its connection ends.
    pub(super) unmarked: Option<Box<Unmarked>>,
}

/// The body's last data so far, kept back until what follows is known: it is all that can wait for the row where no
/// end marker is sent. None before the first data.
#[derive(Default)]
pub(super) struct Unmarked(Option<Bytes>);

struct Held {
    /// None if nothing is to be waited for after all.
    promise: Option<Promise>,
    then: Then,
}

/// What a body says that is asked before the head of its response is handed over.
pub(super) enum Said<B> {
    /// All that it will ever say. Its row was made.
    Whole(Bytes, Option<Promise>),
    /// Not all.
    Part(ResponseBody<B>),
    Panic(Guard, Box<dyn Any + Send>),
}

/// What ends the body.
enum Then {
    /// The frame that completes a known length, or trailers.
    Frame(Frame<Bytes>),
    End,
    Error(BoxError),
    Panic(Panic),
}

impl<B> ResponseBody<B> {
    pub(super) fn pass_through(body: B) -> Self {
        Self::watched(body, None)
    }

    /// A body of our own, for whatever type the service's has.
    pub(super) fn of(bytes: Bytes) -> Self {
        Self {
            inner: None,
            rest: bytes,
            watching: None,
            held: None,
        }
    }

    /// Unless there is nothing to watch.
    pub(super) fn watched(body: B, watching: Option<Streaming>) -> Self {
        Self {
            inner: Some(Inner::Unasked { body }),
            rest: Bytes::new(),
            watching,
            held: None,
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            inner.is_polled();
        }
        loop {
            if let Some(held) = this.held {
                let release = match &mut held.promise {
                    Some(promise) => ready!(promise.poll(cx)),
                    None => Release::Go,
                };
                let held = this.held.take();
                if release == Release::Withhold {
                    // What is left must not get out after the error either.
                    this.inner.set(None);
                }
                return Poll::Ready(held.and_then(|held| held.release(release)));
            }
            let frame = if this.rest.is_empty() {
                let Some(inner) = this.inner.as_mut().as_pin_mut() else {
                    return Poll::Ready(None);
                };
                let polled = match this.watching {
                    Some(streaming) => streaming.guard.try_run(|| inner.poll_frame(cx)),
                    None => return inner.poll_frame(cx).map_err(Into::into),
                };
                let ended = match polled {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(Some(Ok(frame)))) => Ok(frame),
                    Ok(Poll::Ready(None)) => Err(match take_kept_back(this.watching) {
                        Some(last) => {
                            // Asked for more after its last frame, it must not be polled again.
                            this.inner.set(None);
                            (finish_body(this.watching), Then::Frame(last))
                        }
                        None => (finish_body(this.watching), Then::End),
                    }),
                    Ok(Poll::Ready(Some(Err(error)))) => {
                        let promise = finish(this.watching, End::ResponseBodyError);
                        Err((promise, Then::Error(error.into())))
                    }
                    Err(panic) => {
                        let streaming = this.watching.take();
                        let promise = streaming.and_then(|streaming| streaming.guard.promise());
                        Err((promise, Then::Panic(Panic::new(panic))))
                    }
                };
                match ended {
                    Ok(frame) => frame,
                    Err((promise @ Some(_), then)) => {
                        *this.held = Some(Box::new(Held { promise, then }));
                        continue;
                    }
                    Err((None, then)) => return Poll::Ready(then.now()),
                }
            } else {
                Frame::data(std::mem::take(this.rest))
            };
            let (promise, frame) = match frame.into_data() {
                Ok(data) => {
                    let slice = split(data, this.rest);
                    let Some(slice) = keep_back(this.watching, slice) else {
                        continue;
                    };
                    let ends = this.rest.is_empty() && is_at_end(&this.inner);
                    let promise = after_data(this.watching, slice.len(), this.rest.len(), ends);
                    (promise, Frame::data(slice))
                }
                Err(frame) => {
                    let kept_back = take_kept_back(this.watching);
                    let promise = after_other(this.watching, &frame);
                    // Where nothing marks the end, no trailers are sent either.
                    (promise, kept_back.unwrap_or(frame))
                }
            };
            if promise.is_none() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let then = Then::Frame(frame);
            *this.held = Some(Box::new(Held { promise, then }));
        }
    }

    fn is_end_stream(&self) -> bool {
        // The end that waits is handed over by a poll of its own.
        let waits = self.watching.as_ref().is_some_and(|watched| watched.waits);
        !waits && self.held.is_none() && self.rest.is_empty() && is_at_end(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(announced) = self.inner.as_ref().and_then(Inner::announced) {
            return *announced;
        }
        let inner = self.inner.as_ref().map(Body::size_hint);
        let inner = inner.unwrap_or_else(|| SizeHint::with_exact(0));
        let held = self.held.as_ref().map_or(0, |held| held.then.len());
        let kept_back = self.watching.as_ref().map_or(0, Streaming::kept_back);
        let rest = self.rest.len() as u64 + held + kept_back;
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

impl<B> Inner<B> {
    /// Of the whole body, until the server asks for it.
    fn announced(&self) -> Option<&SizeHint> {
        match self {
            Self::Unasked { .. } => None,
            Self::Asked { asked } => asked.announced.as_ref(),
        }
    }

    fn is_polled(self: Pin<&mut Self>) {
        if let InnerProjection::Asked { asked } = self.project() {
            *asked.as_mut().project().announced = None;
        }
    }
}

impl<B: Body> Body for Inner<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project() {
            InnerProjection::Unasked { body } => body.poll_frame(cx),
            InnerProjection::Asked { asked } => asked.as_mut().project().body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Unasked { body } => body.is_end_stream(),
            Self::Asked { asked } => asked.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Unasked { body } => body.size_hint(),
            Self::Asked { asked } => asked.body.size_hint(),
        }
    }
}

impl Streaming {
    /// Asks `body` once, before the head of the response is handed over. The guard does not know its status yet: if the body
    /// panics the response never had a head.
    pub(super) fn ask<B>(mut self, body: B, status: u16, cx: &mut Context<'_>) -> Said<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        // It must not be moved from now on, and what is handed over is.
        let mut asked = Box::pin(Asked {
            announced: Some(body.size_hint()),
            body,
        });
        let polled = match self
            .guard
            .try_run(|| asked.as_mut().project().body.poll_frame(cx))
        {
            Ok(polled) => polled,
            Err(panic) => return Said::Panic(self.guard, panic),
        };
        let mut rest = Bytes::new();
        let other = match polled {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    let is_all = self.remaining == Some(data.len() as u64);
                    if is_all && asked.body.is_end_stream() {
                        return self.whole(asked, data, status);
                    }
                    rest = data;
                    None
                }
                Err(frame) => Some(Some(Ok(frame))),
            },
            Poll::Ready(None) if self.remaining == Some(0) => {
                return self.whole(asked, rest, status);
            }
            Poll::Ready(other) => Some(other),
        };
        self.guard.set_status(status);
        let mut watching = Some(self);
        let held = other.map(|other| {
            let (promise, then) = match other {
                Some(Ok(frame)) => (after_other(&mut watching, &frame), Then::Frame(frame)),
                Some(Err(error)) => {
                    let promise = finish(&mut watching, End::ResponseBodyError);
                    (promise, Then::Error(error.into()))
                }
                None => (finish_body(&mut watching), Then::End),
            };
            Box::new(Held { promise, then })
        });
        Said::Part(ResponseBody {
            inner: Some(Inner::Asked { asked }),
            rest,
            watching,
            held,
        })
    }

    /// The body has said all, and goes: still part of the request.
    fn whole<B>(mut self, body: Pin<Box<Asked<B>>>, data: Bytes, status: u16) -> Said<B> {
        if let Err(panic) = self.guard.try_run(|| drop(body)) {
            return Said::Panic(self.guard, panic);
        }
        self.guard.set_status(status);
        Said::Whole(data, self.guard.finish(End::Complete))
    }

    /// Bytes of the body.
    fn kept_back(&self) -> u64 {
        let data = self.unmarked.as_ref().and_then(|kept| kept.0.as_ref());
        data.map_or(0, |data| data.len() as u64)
    }
}

impl Held {
    fn release(self, release: Release) -> Option<Result<Frame<Bytes>, BoxError>> {
        match self.promise {
            Some(promise) if release == Release::Withhold => {
                promise.withheld(Instead::Abort);
                Some(Err(NotAudited.into()))
            }
            _ => self.then.now(),
        }
    }
}

impl Then {
    fn now(self) -> Option<Result<Frame<Bytes>, BoxError>> {
        match self {
            Self::Frame(frame) => Some(Ok(frame)),
            Self::End => None,
            Self::Error(error) => Some(Err(error)),
            Self::Panic(panic) => panic.resume(),
        }
    }

    /// Bytes of the body that wait.
    fn len(&self) -> u64 {
        match self {
            Self::Frame(frame) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        }
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

/// What is to be handed over in place of `data`.
fn keep_back(watching: &mut Option<Streaming>, data: Bytes) -> Option<Bytes> {
    match watching
        .as_mut()
        .and_then(|streaming| streaming.unmarked.as_mut())
    {
        Some(unmarked) => unmarked.0.replace(data),
        None => Some(data),
    }
}

fn take_kept_back(watching: &mut Option<Streaming>) -> Option<Frame<Bytes>> {
    let unmarked = watching.as_mut()?.unmarked.as_mut()?;
    unmarked.0.take().map(Frame::data)
}

/// `len` bytes are handed over, and `rest` are left of the frame; `ends` if the body says that nothing follows.
fn after_data(
    watching: &mut Option<Streaming>,
    len: usize,
    rest: usize,
    ends: bool,
) -> Option<Promise> {
    let streaming = watching.as_mut()?;
    let Some(remaining) = &mut streaming.remaining else {
        // Of a stream only the end marker waits, and it comes with the next poll.
        let ends = ends && !streaming.waits;
        return if ends { finish_body(watching) } else { None };
    };
    if streaming.sends_all && (len + rest) as u64 > *remaining {
        // Malformed (RFC 9113 §8.1.1): no client can take it.
        return finish(watching, End::ResponseBodyError);
    }
    *remaining = remaining.saturating_sub(len as u64);
    // What waits is the last frame. Otherwise more may follow, and be too much, until the body says its end.
    let is_last = *remaining == 0 && (streaming.waits || !streaming.sends_all);
    if ends || is_last {
        return finish_body(watching);
    }
    None
}

/// Trailers end a body. Other kinds of frames are not known, and not ours to judge.
fn after_other(watching: &mut Option<Streaming>, frame: &Frame<Bytes>) -> Option<Promise> {
    let trailers = frame.trailers_ref()?;
    if let Some(streaming) = watching
        && streaming.grpc
        && let Some(status) = grpc_status(trailers)
    {
        streaming.guard.set_grpc_status(status);
    }
    finish_body(watching)
}

/// The body says that it is at its end. One that is shorter than it announced is none that a client can take:
/// over HTTP/1.1 the server breaks the connection, over HTTP/2 the response is malformed (RFC 9113 §8.1.1).
fn finish_body(watching: &mut Option<Streaming>) -> Option<Promise> {
    let short = watching
        .as_ref()
        .is_some_and(|streaming| streaming.remaining.is_some_and(|left| left > 0));
    if let Some(streaming) = watching
        && streaming.grpc
    {
        streaming.guard.set_grpc_status_if_none(GRPC_UNKNOWN);
    }
    let end = if short {
        End::ResponseBodyError
    } else {
        End::Complete
    };
    finish(watching, end)
}

fn finish(watching: &mut Option<Streaming>, end: End) -> Option<Promise> {
    watching.take()?.guard.finish(end)
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
