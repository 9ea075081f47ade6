//! The service under test, with a response of every kind, and clients that write down what they see.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use audithog::{Actor, Builder, Logger};
use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{PATIENCE, rows};

/// Bytes of the body of `/large`: several of the slices that the layer hands over.
pub(super) const LARGE: usize = 200 * 1024;

/// A server, its logger and its ledger.
pub(super) struct Service {
    pub(super) logger: Logger,
    pub(super) address: SocketAddr,
    /// How often the handler of `/counted` ran. It answers with the number of `api_request_started` rows.
    pub(super) handled: Arc<AtomicUsize>,
    directory: TempDir,
    server: JoinHandle<()>,
}

/// What a client has seen of a response so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) bytes: usize,
    pub(super) text: String,
    pub(super) trailers: Option<HeaderMap>,
    /// The response is complete.
    pub(super) complete: bool,
    /// It never will be.
    pub(super) broken: bool,
}

/// A request under way.
pub(super) struct Visit {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Where nothing but the close of the connection ends a body of unknown length.
    Http10,
    Http1,
    Http2,
}

impl Service {
    pub(super) async fn start(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let builder = Logger::builder()
            .environment::<&str, &str>([])
            .service("guarded")
            .database(directory.path().join("audit.db"));
        let logger = settings(builder).start().unwrap();
        let handled = Arc::<AtomicUsize>::default();
        let path = directory.path().join("audit.db");
        let app = routes(Arc::clone(&handled), path).layer(logger.layer());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        // So that no row of the start is in the way.
        let report = logger.flush(Some(PATIENCE)).await;
        assert_eq!(report.blocked, None);
        Self {
            logger,
            address,
            handled,
            directory,
            server,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("audit.db")
    }

    pub(super) fn get(&self, protocol: Protocol, path: &str) -> Visit {
        self.send(protocol, Method::GET, path)
    }

    /// Sends a request on a connection of its own.
    pub(super) fn send(&self, protocol: Protocol, method: Method, path: &str) -> Visit {
        let seen = Arc::<Mutex<Seen>>::default();
        let uri = match protocol {
            Protocol::Http10 | Protocol::Http1 => path.to_owned(),
            Protocol::Http2 => format!("http://{}{path}", self.address),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if protocol == Protocol::Http10 {
            request = request.version(Version::HTTP_10);
        }
        if path == "/upgrade" {
            request = request
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, "echo");
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (address, noted) = (self.address, Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
            match protocol {
                Protocol::Http10 | Protocol::Http1 => {
                    let (mut client, connection) = http1::handshake(io).await.unwrap();
                    let connection = tokio::spawn(connection.with_upgrades());
                    read(client.send_request(request).await, &noted).await;
                    connection.abort();
                }
                Protocol::Http2 => {
                    let executor = TokioExecutor::new();
                    let (mut client, connection) = http2::handshake(executor, io).await.unwrap();
                    let connection = tokio::spawn(connection);
                    read(client.send_request(request).await, &noted).await;
                    connection.abort();
                }
            }
        });
        Visit { seen, task }
    }

    /// Ends in good order: everything is kept, and the books fit. The ledger stays as long as the answer.
    pub(super) async fn end(self) -> TempDir {
        let report = self.logger.shutdown(Some(PATIENCE)).await;
        assert!(report.closed, "{report}");
        report.health.check().unwrap();
        assert_eq!(report.health.guarantee.waiting, 0, "{report:#?}");
        self.server.abort();
        self.directory
    }
}

impl Visit {
    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// To the end, or to where it breaks.
    pub(super) async fn end(self) -> Seen {
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("a response never ends").unwrap();
        self.seen.lock().unwrap().clone()
    }

    /// The client leaves.
    pub(super) async fn leave(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

async fn read(answer: hyper::Result<Response<Incoming>>, seen: &Mutex<Seen>) {
    let Ok(mut response) = answer else {
        seen.lock().unwrap().broken = true;
        return;
    };
    {
        let mut seen = seen.lock().unwrap();
        seen.status = Some(response.status().as_u16());
        seen.headers = response.headers().clone();
    }
    while let Some(frame) = response.frame().await {
        let mut seen = seen.lock().unwrap();
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                seen.bytes += data.len();
                seen.text += &String::from_utf8_lossy(&data);
            }
            Ok(Err(frame)) => seen.trailers = frame.into_trailers().ok(),
            Err(_) => {
                seen.broken = true;
                return;
            }
        }
    }
    seen.lock().unwrap().complete = true;
}

fn routes(handled: Arc<AtomicUsize>, ledger: PathBuf) -> Router {
    // Says how many requests the ledger knows to have begun.
    let counted = move || async move {
        handled.fetch_add(1, Ordering::Relaxed);
        rows(&ledger, "api_request_started").len().to_string()
    };
    Router::new()
        .route("/sized", get(|| async { "fine" }))
        .route(
            "/pieces",
            get(|| async { sized(6, stream::iter([Ok("two"), Ok("one")])) }),
        )
        .route("/later", get(|| async { sized(4, stream::once(later())) }))
        .route("/short", get(|| async { sized(6, stream::empty()) }))
        .route(
            "/trailers-at-once",
            get(|| async { announced(5, trailers()) }),
        )
        .route(
            "/says-goodbye",
            get(|| async { goodbye(Goodbye::NamesTheUser) }),
        )
        .route("/panic-in-drop", get(|| async { goodbye(Goodbye::Panics) }))
        .route(
            "/limited",
            get(|| async { unsteady(5, 0, Some(Err(planned()))) }),
        )
        .route("/less", get(|| async { unsteady(6, 0, Some(Ok("two"))) }))
        .route(
            "/constant",
            get(|| async { unsteady(3, 3, Some(Ok("bye"))) }),
        )
        .route(
            "/cut",
            get(|| async { announced(6, eager(vec!["two"], None)) }),
        )
        .route(
            "/sized-trailers",
            get(|| async { announced(5, one_and_trailers()) }),
        )
        .route("/fails", get(|| async { sized(6, stream::once(fails())) }))
        .route(
            "/panic-in-sized-body",
            get(|| async { sized(6, stream::once(panics_while_read())) }),
        )
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route(
            "/stream",
            get(|| async { events(None, "text/event-stream") }),
        )
        .route(
            "/trailers",
            get(|| async { events(Some("checksum"), "text/plain") }),
        )
        .route(
            "/grpc",
            post(|| async { events(Some("grpc-status"), "application/grpc") }),
        )
        .route(
            "/eager",
            get(|| async { Body::new(eager(vec!["two", "one"], None)) }),
        )
        .route("/empty", get(|| async {}))
        .route("/no-content", get(|| async { StatusCode::NO_CONTENT }))
        .route("/not-modified", get(|| async { StatusCode::NOT_MODIFIED }))
        .route("/panic", get(panics))
        .route("/panic-in-body", get(panics_in_body))
        .route("/upgrade", get(upgrades))
        .route("/counted", any(counted))
        .route("/pending", get(std::future::pending::<()>))
}

async fn panics() -> StatusCode {
    if true {
        panic!("planned: the handler");
    }
    StatusCode::OK
}

async fn panics_in_body() -> Body {
    let mut sent = false;
    Body::from_stream(stream::poll_fn(move |_| {
        assert!(!std::mem::replace(&mut sent, true), "planned: the body");
        Poll::Ready(Some(Ok::<_, Infallible>("first")))
    }))
}

/// A body that announces so many bytes.
fn announced<B>(length: usize, body: B) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    Response::builder()
        .header(CONTENT_LENGTH, length)
        .body(Body::new(body))
        .unwrap()
}

fn sized(
    length: usize,
    pieces: impl Stream<Item = io::Result<&'static str>> + Send + 'static,
) -> Response<Body> {
    announced(length, Body::from_stream(pieces))
}

fn eager(texts: Vec<&'static str>, _goodbye: Option<Goodbye>) -> Eager {
    Eager { texts, _goodbye }
}

fn goodbye(then: Goodbye) -> Response<Body> {
    announced(3, eager(vec!["bye"], Some(then)))
}

fn one_and_trailers() -> impl http_body::Body<Data = Bytes, Error = Infallible> {
    let frames = [Ok(Frame::data("one\r\n".into())), Ok(checksum())];
    StreamBody::new(stream::iter(frames))
}

fn trailers() -> impl http_body::Body<Data = Bytes, Error = Infallible> {
    StreamBody::new(stream::iter([Ok(checksum())]))
}

fn checksum() -> Frame<Bytes> {
    let name = "checksum".parse().unwrap();
    Frame::trailers(HeaderMap::from_iter([(name, HeaderValue::from(0))]))
}

/// Not there when it is asked first.
async fn later() -> io::Result<&'static str> {
    tokio::task::yield_now().await;
    Ok("late")
}

async fn fails() -> io::Result<&'static str> {
    Err(planned())
}

fn planned() -> io::Error {
    io::Error::other("planned: the body")
}

/// Without a header that says how long it is.
pub(super) fn unsteady(says: u64, then: u64, frame: Option<io::Result<&'static str>>) -> Body {
    Body::new(Unsteady { says, then, frame })
}

async fn panics_while_read() -> io::Result<&'static str> {
    panic!("planned: the body of a known length")
}

async fn upgrades(mut request: axum::extract::Request) -> impl axum::response::IntoResponse {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move { drop(upgrade.await) });
    let head = [(CONNECTION, "upgrade"), (UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, head)
}

/// Three events of five bytes, of a length that nobody knows; with a trailer, 0, or none.
fn events(trailer: Option<&'static str>, content_type: &'static str) -> Response<Body> {
    let data = ["one\r\n", "two\r\n", "six\r\n"].map(|event| Frame::data(Bytes::from(event)));
    let trailers = trailer.map(|name| {
        let value = HeaderValue::from_static("0");
        Frame::trailers(HeaderMap::from_iter([(name.parse().unwrap(), value)]))
    });
    let frames = data.into_iter().chain(trailers).map(Ok::<_, Infallible>);
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    Response::builder()
        .header(CONTENT_TYPE, content_type)
        .body(body)
        .unwrap()
}

/// Of a length that nobody knows, and says that it is at its end together with its last frame.
struct Eager {
    texts: Vec<&'static str>,
    _goodbye: Option<Goodbye>,
}

impl http_body::Body for Eager {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.texts.pop();
        Poll::Ready(next.map(|text| Ok(Frame::data(Bytes::from(text)))))
    }

    fn is_end_stream(&self) -> bool {
        self.texts.is_empty()
    }
}

/// What a body does when it is dropped.
enum Goodbye {
    NamesTheUser,
    Panics,
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        match self {
            Self::NamesTheUser => assert!(audithog::set_actor(Actor::user("seen off"))),
            Self::Panics => panic!("planned: the end of a body"),
        }
    }
}

/// Of one frame, if any. Says how long it is before it is asked, and something else then.
struct Unsteady {
    says: u64,
    then: u64,
    frame: Option<io::Result<&'static str>>,
}

impl http_body::Body for Unsteady {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.says = self.then;
        let frame = self.frame.take();
        Poll::Ready(frame.map(|frame| frame.map(|text| Frame::data(text.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.says)
    }
}
