//! When and how a request ends, by what its service does.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_LENGTH, HeaderMap, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode, Version};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{audit, exchange, only, verdict};
use crate::capture::collector::Collector;
use crate::current;
use crate::record::Actor;
use crate::tower::held::BoxError;

pub(super) fn frames<E>(
    frames: Vec<Result<Frame<Bytes>, E>>,
) -> StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, E>>> {
    StreamBody::new(stream::iter(frames))
}

pub(super) fn data(text: &'static str) -> Result<Frame<Bytes>, io::Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

pub(super) fn trailers(name: &'static str, value: &'static str) -> Result<Frame<Bytes>, io::Error> {
    let value = HeaderValue::from_static(value);
    Ok(Frame::trailers(HeaderMap::from_iter([(
        name.parse().unwrap(),
        value,
    )])))
}

/// Calls a service that answers with `response`, and hands back what the layer made of it.
async fn answer<B>(response: Response<B>) -> (Arc<Collector>, Response<crate::ResponseBody<B>>)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    answer_to(Method::GET, response).await
}

async fn answer_to<B>(
    method: Method,
    response: Response<B>,
) -> (Arc<Collector>, Response<crate::ResponseBody<B>>)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let request = Request::builder().method(method).body(()).unwrap();
    answer_over(request, response).await
}

pub(super) async fn answer_over<B>(
    request: Request<()>,
    response: Response<B>,
) -> (Arc<Collector>, Response<crate::ResponseBody<B>>)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (sink, layer) = audit();
    let response = Arc::new(std::sync::Mutex::new(Some(response)));
    let inner = service_fn(move |_: Request<()>| {
        let response = response.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    (sink, response)
}

#[tokio::test]
async fn the_row_is_made_with_the_last_byte_and_not_before() {
    let body = frames(vec![data("one"), data("two")]);
    let (sink, response) = answer_to(Method::GET, Response::new(body)).await;
    let mut body = response.into_body();
    for _ in 0..2 {
        assert!(body.frame().await.unwrap().is_ok());
        assert!(sink.rows().is_empty());
    }
    assert!(body.frame().await.is_none());
    assert_eq!(verdict(only(&sink.rows())), "200 success -");
}

#[tokio::test]
async fn a_body_that_reports_its_end_with_the_last_frame_is_complete_then() {
    let (sink, response) = answer(Response::new(Full::new(Bytes::from_static(b"all")))).await;
    let mut body = response.into_body();
    assert!(sink.rows().is_empty());
    assert!(body.frame().await.unwrap().is_ok());
    drop(body);
    assert_eq!(verdict(only(&sink.rows())), "200 success -");
}

/// Nobody asks for what comes after it.
async fn assert_complete_with_its_second_frame<B>(
    sink: &Collector,
    response: Response<crate::ResponseBody<B>>,
) where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(sink.rows().is_empty());
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(verdict(only(&sink.rows())), "200 success -");
}

#[tokio::test]
async fn a_stream_of_announced_length_is_complete_with_its_last_byte() {
    let stream = || frames(vec![data("one"), data("two"), data("beyond")]);
    let with_length = |length: &'static str| {
        let mut response = Response::new(stream());
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static(length));
        response
    };
    let (sink, response) = answer_to(Method::GET, with_length("6")).await;
    assert_complete_with_its_second_frame(&sink, response).await;

    let (sink, response) = answer_to(Method::GET, with_length("7")).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(
        verdict(only(&sink.rows())),
        "200 failure CLIENT_CLOSED_MID_BODY"
    );

    let (sink, response) = answer_to(Method::GET, with_length("0")).await;
    drop(response);
    assert_eq!(verdict(only(&sink.rows())), "200 success -");
}

#[tokio::test]
async fn a_body_that_is_shorter_than_announced_is_an_error_however_it_says_its_end() {
    let announced = |body| {
        let mut response = Response::new(body);
        let length = HeaderValue::from_static("4");
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    };
    let short = Body::new(Full::new(Bytes::from_static(b"one")));
    for body in [
        Body::new(frames(vec![data("one")])),
        Body::new(frames(vec![data("one"), trailers("x-sum", "1")])),
        short,
    ] {
        let (sink, response) = answer(announced(body)).await;
        response.into_body().collect().await.unwrap();
        let row = only(&sink.rows()).clone();
        assert_eq!(verdict(&row), "200 failure RESPONSE_BODY_ERROR");
    }
}

#[tokio::test]
async fn what_has_no_body_is_complete_with_its_head() {
    let never = || frames(vec![data("never sent")]);
    for (method, status) in [
        (Method::HEAD, 200),
        (Method::HEAD, 404),
        (Method::CONNECT, 200),
        (Method::GET, 101),
        (Method::GET, 204),
        (Method::GET, 304),
    ] {
        let mut response = Response::new(never());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let (sink, response) = answer_to(method.clone(), response).await;
        assert_eq!(exchange(only(&sink.rows())).status_code, Some(status));
        drop(response);
        let rows = sink.rows();
        assert!(
            !verdict(only(&rows)).contains("CLIENT"),
            "{method} {status}"
        );
    }
    let (sink, response) = answer(Response::new(Empty::<Bytes>::new())).await;
    drop(response);
    assert_eq!(verdict(only(&sink.rows())), "200 success -");
    // A refused CONNECT has a body like any other.
    let mut refused = Response::new(never());
    *refused.status_mut() = StatusCode::FORBIDDEN;
    refused
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET"));
    let (sink, response) = answer_to(Method::CONNECT, refused).await;
    assert!(sink.rows().is_empty());
    drop(response);
    assert_eq!(
        verdict(only(&sink.rows())),
        "403 failure CLIENT_CLOSED_MID_BODY"
    );
}

/// hyper writes a 500 in its place over HTTP/1.1 (see `socket.rs`), and h2 breaks the stream off.
#[tokio::test]
async fn an_interim_status_is_no_answer() {
    for (version, status, expected) in [
        (Version::HTTP_11, 100, "100 failure RESPONSE_BODY_ERROR"),
        (Version::HTTP_11, 103, "103 failure RESPONSE_BODY_ERROR"),
        (Version::HTTP_11, 101, "101 success -"),
        (Version::HTTP_2, 101, "101 failure RESPONSE_BODY_ERROR"),
        (Version::HTTP_2, 103, "103 failure RESPONSE_BODY_ERROR"),
    ] {
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let mut request = Request::new(());
        *request.version_mut() = version;
        let (sink, response) = answer_over(request, response).await;
        drop(response);
        assert_eq!(verdict(only(&sink.rows())), expected, "{version:?}");
    }
}

#[tokio::test]
async fn an_empty_body_of_another_length_is_none_that_a_client_can_take_over_http2() {
    for (version, method, expected) in [
        (
            Version::HTTP_2,
            Method::GET,
            "200 failure RESPONSE_BODY_ERROR",
        ),
        (Version::HTTP_2, Method::HEAD, "200 success -"),
        // The server corrects the length: see `socket.rs`.
        (Version::HTTP_11, Method::GET, "200 success -"),
        (Version::HTTP_10, Method::GET, "200 success -"),
    ] {
        let mut response = Response::new(Empty::<Bytes>::new());
        let length = HeaderValue::from_static("5");
        response.headers_mut().insert(CONTENT_LENGTH, length);
        let mut request = Request::new(());
        (*request.version_mut(), *request.method_mut()) = (version, method);
        let (sink, response) = answer_over(request, response).await;
        drop(response);
        assert_eq!(verdict(only(&sink.rows())), expected, "{version:?}");
    }
}

/// A body that panics when it is asked whether it is at its end, or how long it is, once it has given a frame.
struct Unsteady {
    begun: bool,
    panics_at_once: bool,
}

impl HttpBody for Unsteady {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.begun = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }

    fn is_end_stream(&self) -> bool {
        assert!(!self.begun, "private");
        false
    }

    fn size_hint(&self) -> SizeHint {
        assert!(!self.panics_at_once, "private");
        SizeHint::default()
    }
}

#[tokio::test]
async fn a_panic_of_a_body_that_is_asked_about_itself_is_no_fault_of_the_client() {
    for (panics_at_once, expected) in [(true, "- failure PANIC"), (false, "200 failure PANIC")] {
        let (sink, layer) = audit();
        let inner = service_fn(move |_: Request<()>| async move {
            Ok::<_, Infallible>(Response::new(Unsteady {
                begun: false,
                panics_at_once,
            }))
        });
        let answer = async {
            let response = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
            response.into_body().collect().await
        };
        assert!(AssertUnwindSafe(answer).catch_unwind().await.is_err());
        assert_eq!(verdict(only(&sink.rows())), expected);
    }
}

#[tokio::test]
async fn large_frames_are_handed_over_in_slices_of_the_same_memory() {
    let whole = Bytes::from(vec![7; 200_000]);
    let (sink, response) = answer(Response::new(Full::new(whole.clone()))).await;
    let mut body = response.into_body();
    let mut at = 0;
    while let Some(frame) = body.frame().await {
        let slice = frame.unwrap().into_data().unwrap();
        assert!(slice.len() <= 64 * 1024);
        assert_eq!(slice.as_ptr(), whole[at..].as_ptr());
        at += slice.len();
        let left = whole.len() - at;
        assert_eq!(body.size_hint().exact(), Some(left as u64));
        assert_eq!(body.is_end_stream(), left == 0);
        assert_eq!(sink.rows().len(), usize::from(left == 0));
    }
    assert_eq!(at, whole.len());
}

/// A body of unknown length that reports its end with its only frame, as bodies off the wire do.
struct Once(Option<Bytes>);

impl HttpBody for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(Frame::data).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_complete_once_it_reports_its_end() {
    let body = Once(Some(Bytes::from(vec![0; 100_000])));
    let (sink, response) = answer(Response::new(body)).await;
    // The rest of the frame is still to come after the first.
    assert_complete_with_its_second_frame(&sink, response).await;
}

/// A body that knows its bounds, which are not those of a stream.
#[derive(Clone)]
struct Bounded;

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; 100_000])))))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(5);
        hint.set_upper(9);
        hint
    }
}

#[tokio::test]
async fn bounds_of_the_length_go_through() {
    let (_sink, response) = answer(Response::new(Bounded)).await;
    let mut body = response.into_body();
    let bounds = |hint: SizeHint| (hint.lower(), hint.upper());
    assert_eq!(bounds(body.size_hint()), (5, Some(9)));
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let left = 100_000 - first.len() as u64;
    assert_eq!(bounds(body.size_hint()), (5 + left, Some(9 + left)));
}

#[tokio::test]
async fn errors_of_the_service_and_of_the_body_are_told_apart() {
    let (sink, layer) = audit();
    let failing = service_fn(|_: Request<()>| async {
        Err::<Response<Empty<Bytes>>, _>(io::Error::other("private"))
    });
    let result = layer.layer(failing).oneshot(Request::new(())).await;
    assert_eq!(result.unwrap_err().to_string(), "private");
    assert_eq!(verdict(only(&sink.rows())), "- failure SERVICE_ERROR");
    assert!(!format!("{:?}", sink.rows()).contains("private"));

    let body = frames(vec![data("x"), Err(io::Error::other("private"))]);
    let (sink, response) = answer_to(Method::GET, Response::new(body)).await;
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(
        verdict(only(&sink.rows())),
        "200 failure RESPONSE_BODY_ERROR"
    );
}

/// No answer gets out after a panic that the row tells of, even if somebody asks again.
#[tokio::test]
async fn a_request_that_panicked_is_at_its_end() {
    let (sink, layer) = audit();
    let inner = service_fn(|_: Request<Body>| {
        let mut asked = false;
        poll_fn(move |_| {
            assert!(std::mem::replace(&mut asked, true), "the first time");
            Poll::Ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        })
    });
    let mut answer = Box::pin(layer.layer(inner).call(Request::new(Body::empty())));
    assert!(
        AssertUnwindSafe(answer.as_mut())
            .catch_unwind()
            .await
            .is_err()
    );
    assert!(answer.as_mut().now_or_never().is_none());
    drop(answer);
    assert_eq!(verdict(only(&sink.rows())), "- failure PANIC");
}

#[tokio::test]
async fn panics_are_recorded_and_raised_again_wherever_they_happen() {
    // In `call`, before there is a future.
    let (sink, layer) = audit();
    let in_call = service_fn(
        |_: Request<()>| -> std::future::Ready<Result<Response<Empty<Bytes>>, Infallible>> {
            panic!("private")
        },
    );
    let raised = AssertUnwindSafe(layer.layer(in_call).oneshot(Request::new(())))
        .catch_unwind()
        .await;
    assert!(raised.is_err());
    assert_eq!(verdict(only(&sink.rows())), "- failure PANIC");

    // In the future.
    let (sink, layer) = audit();
    let in_future = service_fn(|_: Request<()>| async {
        current().unwrap().set_actor(Actor::user("u1"));
        tokio::task::yield_now().await;
        if true {
            panic!("private");
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let raised = AssertUnwindSafe(layer.layer(in_future).oneshot(Request::new(())))
        .catch_unwind()
        .await;
    assert!(raised.is_err());
    assert_eq!(verdict(only(&sink.rows())), "- failure PANIC");
    assert_eq!(only(&sink.rows()).actor.user_id(), Some("u1"));

    // In the body.
    let body = StreamBody::new(stream::iter([0, 1]).map_panic());
    let (sink, response) = answer_to(Method::GET, Response::new(body)).await;
    let raised = AssertUnwindSafe(response.into_body().collect())
        .catch_unwind()
        .await;
    assert!(raised.is_err());
    assert_eq!(verdict(only(&sink.rows())), "200 failure PANIC");
    assert!(current().is_none());
}

/// Panics at the second item.
trait MapPanic: stream::Stream<Item = i32> + Sized {
    fn map_panic(self) -> impl stream::Stream<Item = Result<Frame<Bytes>, Infallible>> {
        use futures_util::StreamExt;
        self.map(|item| {
            assert_eq!(item, 0, "private");
            Ok(Frame::data(Bytes::from_static(b"x")))
        })
    }
}

impl<S: stream::Stream<Item = i32>> MapPanic for S {}

#[tokio::test]
async fn the_request_is_current_while_its_body_is_polled() {
    use futures_util::StreamExt;
    let stream = stream::iter([0]).map(|_| {
        let id = current().unwrap().request_id().to_owned();
        Ok::<_, Infallible>(Frame::data(Bytes::from(id)))
    });
    let (sink, response) = answer_to(Method::GET, Response::new(StreamBody::new(stream))).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, only(&sink.rows()).id.to_string());
}

#[tokio::test]
async fn a_future_that_is_dropped_is_a_row_also_if_it_was_never_polled() {
    let (sink, layer) = audit();
    let pending = service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    });
    let mut service = layer.layer(pending);
    let never_polled = service.call(Request::new(()));
    assert_eq!(sink.seen(), 1);
    drop(never_polled);
    assert_eq!(
        verdict(only(&sink.rows())),
        "- failure CLIENT_CLOSED_BEFORE_RESPONSE"
    );
    let mut polled = Box::pin(service.call(Request::new(())));
    assert!(polled.as_mut().now_or_never().is_none());
    drop(polled);
    assert_eq!(sink.rows().len(), 2);
}

/// Logs an event when it is dropped, as a guard in a handler does that was cancelled.
#[cfg(feature = "testing")]
struct LogsItsEnd(crate::Logger);

#[cfg(feature = "testing")]
impl Drop for LogsItsEnd {
    fn drop(&mut self) {
        crate::set_actor(Actor::user("late"));
        self.0.event("given_up").log();
    }
}

#[cfg(feature = "testing")]
#[tokio::test]
async fn what_is_dropped_with_a_request_is_still_part_of_it() {
    let (logger, rows) = crate::testing::recorder();
    let held = logger.clone();
    let pending = service_fn(move |_: Request<()>| {
        let guard = LogsItsEnd(held.clone());
        async move {
            let _guard = guard;
            std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
        }
    });
    let mut cancelled = Box::pin(logger.layer().layer(pending).oneshot(Request::new(())));
    assert!(cancelled.as_mut().now_or_never().is_none());
    drop(cancelled);
    assert_given_up(&rows.all(), "CLIENT_CLOSED_BEFORE_RESPONSE");

    let (logger, rows) = crate::testing::recorder();
    let held = logger.clone();
    let streaming = service_fn(move |_: Request<()>| {
        let guard = LogsItsEnd(held.clone());
        let stream = stream::poll_fn(move |_| {
            let _ = &guard;
            Poll::<Option<Result<Frame<Bytes>, Infallible>>>::Pending
        });
        async { Ok::<_, Infallible>(Response::new(StreamBody::new(stream))) }
    });
    let service = logger.layer().layer(streaming);
    let response = service.oneshot(Request::new(())).await.unwrap();
    drop(response);
    assert_given_up(&rows.all(), "CLIENT_CLOSED_MID_BODY");
    assert!(current().is_none());
}

/// The event first, then its request's one row, which knows what was said last.
#[cfg(feature = "testing")]
#[track_caller]
fn assert_given_up(rows: &[crate::record::Row], error_code: &str) {
    let [event, request] = rows else {
        panic!("not two rows: {rows:#?}");
    };
    assert_eq!(event.event_name(), "given_up");
    assert!(request.is_request());
    assert!(request.request_id().is_some());
    assert_eq!(event.request_id(), request.request_id());
    assert_eq!(request.actor.user_id(), Some("late"));
    assert_eq!(request.error_code(), Some(error_code));
}
