//! The service under test: a handler of every kind behind a real socket, gates that hold them, and
//! a count of every call that is taken outside of the audit layer.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use audithog::testing::{Rows, recorder_with};
use audithog::{Builder, ErrorCode, Guarantee, Logger, RequestHandle, Row};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, UPGRADE, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::{StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tower::Layer as _;
use tower::util::MapRequestLayer;
use tower_http::timeout::TimeoutLayer;

/// Long enough for any machine; a test that waits this long fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The server's own time limits. Their handlers never answer, so the length does not matter.
const TIME_LIMIT: Duration = Duration::from_millis(5);
/// Several of the slices that the layer hands over, and still less than the sockets buffer.
const SIZED: usize = 200 * 1024;

/// One kind of handler, and what has to become of a request to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Handler {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Status, result and error code of the row if the client stays to the end.
    pub(super) row: &'static str,
    /// The status that such a client sees; none where the connection may break before it is sent.
    pub(super) seen: Option<u16>,
    /// Where the handler waits for its gate.
    pub(super) gate: Hold,
    /// The response has a body that a client can leave in the middle of.
    pub(super) body: bool,
    /// An HTTP/1.1 connection does not outlive this request.
    pub(super) last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Never,
    BeforeResponse,
    MidBody,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

const fn plain(method: &'static str, path: &'static str, row: &'static str, seen: u16) -> Handler {
    Handler {
        method,
        path,
        row,
        seen: Some(seen),
        gate: Hold::Never,
        body: true,
        last: false,
    }
}

const fn bare(handler: Handler) -> Handler {
    Handler {
        body: false,
        ..handler
    }
}

const fn held(gate: Hold, handler: Handler) -> Handler {
    Handler { gate, ..handler }
}

const fn last(handler: Handler) -> Handler {
    Handler {
        last: true,
        ..handler
    }
}

const fn broken(handler: Handler) -> Handler {
    Handler {
        seen: None,
        ..last(handler)
    }
}

pub(super) const SLOW: Handler = held(
    Hold::BeforeResponse,
    plain("GET", "/slow", "200 success -", 200),
);
pub(super) const STREAM: Handler =
    held(Hold::MidBody, plain("GET", "/stream", "200 success -", 200));
pub(super) const UPLOAD: Handler = held(
    Hold::BeforeResponse,
    plain("POST", "/upload", "200 success -", 200),
);
pub(super) const SLOW_POST: Handler = Handler {
    method: "POST",
    ..SLOW
};
/// Only over HTTP/1.1.
pub(super) const UPGRADE_101: Handler = bare(last(plain("GET", "/upgrade", "101 success -", 101)));
/// Larger than all buffers between the server and a client that reads nothing.
pub(super) const LARGE: Handler = plain("GET", "/large", "200 success -", 200);
pub(super) const LARGE_SIZE: usize = 64 << 20;

/// Every kind that HTTP/1.1 and HTTP/2 have in common.
pub(super) const HANDLERS: [Handler; 20] = [
    plain("GET", "/immediate", "200 success -", 200),
    SLOW,
    STREAM,
    plain("GET", "/sized", "200 success -", 200),
    plain("GET", "/error", "500 failure INTERNAL_SERVER_ERROR", 500),
    plain("GET", "/own-code", "409 failure AGENT_LIMIT", 409),
    broken(bare(plain("GET", "/panic", "- failure PANIC", 500))),
    broken(plain("GET", "/panic-in-body", "200 failure PANIC", 200)),
    broken(plain(
        "GET",
        "/broken-body",
        "200 failure RESPONSE_BODY_ERROR",
        200,
    )),
    bare(plain("GET", "/empty", "200 success -", 200)),
    bare(plain("HEAD", "/immediate", "200 success -", 200)),
    bare(plain("HEAD", "/stream", "200 success -", 200)),
    bare(plain("GET", "/no-content", "204 success -", 204)),
    bare(plain("GET", "/not-modified", "304 success -", 304)),
    bare(plain("GET", "/nowhere", "404 failure NOT_FOUND", 404)),
    bare(plain(
        "DELETE",
        "/immediate",
        "405 failure METHOD_NOT_ALLOWED",
        405,
    )),
    bare(plain(
        "GET",
        "/inner-timeout",
        "408 failure REQUEST_TIMEOUT",
        408,
    )),
    // The layer that answers is outside: for the audit layer nobody waits for the response any more.
    bare(plain(
        "GET",
        "/outer-timeout",
        "- failure CLIENT_CLOSED_BEFORE_RESPONSE",
        408,
    )),
    plain("GET", "/private/x", "401 failure UNAUTHORIZED", 401),
    UPLOAD,
];

// === Gates ===

/// Holds one handler.
pub(super) struct Gate {
    arrived: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Gate {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self {
            arrived: watch::Sender::new(false),
            open: watch::Sender::new(open),
        })
    }

    /// The handler's side.
    async fn pass(&self) {
        self.arrived.send_replace(true);
        // The sender lives as long as `self`.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    pub(super) async fn arrived(&self) {
        let _ = self.arrived.subscribe().wait_for(|arrived| *arrived).await;
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }
}

/// The gates by the requests' user agents, which are unique and reach the rows.
#[derive(Default)]
pub(super) struct Gates(Mutex<HashMap<String, Arc<Gate>>>);

impl Gates {
    pub(super) fn add(&self, id: &str, open: bool) -> Arc<Gate> {
        let gate = Gate::new(open);
        lock(&self.0).insert(id.to_owned(), Arc::clone(&gate));
        gate
    }

    fn of(&self, headers: &HeaderMap) -> Arc<Gate> {
        let gate = lock(&self.0).get(user_agent(headers)).cloned();
        gate.unwrap_or_else(|| Gate::new(true))
    }

    fn open_all(&self) {
        for gate in lock(&self.0).values() {
            gate.open();
        }
    }
}

// === Handlers ===

async fn slow(State(gates): State<Arc<Gates>>, headers: HeaderMap) -> &'static str {
    gates.of(&headers).pass().await;
    "late"
}

async fn streamed(State(gates): State<Arc<Gates>>, headers: HeaderMap) -> Body {
    let gate = gates.of(&headers);
    let end = stream::once(async move {
        gate.pass().await;
        Ok::<_, Infallible>("last")
    });
    Body::from_stream(stream::once(async { Ok("first") }).chain(end))
}

async fn upload(State(gates): State<Arc<Gates>>, headers: HeaderMap, body: Body) -> StatusCode {
    gates.of(&headers).pass().await;
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::BAD_REQUEST,
    }
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

async fn breaks_in_body() -> Body {
    let parts = [Ok("first"), Err(std::io::Error::other("planned"))];
    Body::from_stream(stream::iter(parts))
}

async fn upgrades(handle: RequestHandle, mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _closed = handle.upgraded();
        if let Ok(connection) = upgrade.await {
            // The client may be gone.
            let _ = TokioIo::new(connection).write_all(b"bye").await;
        }
    });
    let head = [(CONNECTION, "upgrade"), (UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, head).into_response()
}

async fn rejects_private(request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/private") {
        return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
    }
    next.run(request).await
}

fn routes(gates: Arc<Gates>) -> Router {
    let limit = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIME_LIMIT);
    Router::new()
        .route("/inner-timeout", get(std::future::pending::<()>))
        .layer(limit)
        .route("/immediate", get(|| async { "fine" }))
        .route("/slow", any(slow))
        .route("/stream", get(streamed))
        .route("/sized", get(|| async { vec![b'x'; SIZED] }))
        .route("/large", get(|| async { vec![0; LARGE_SIZE] }))
        .route(
            "/error",
            get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "sorry") }),
        )
        .route(
            "/own-code",
            get(|| async {
                let code = ErrorCode::new("AGENT_LIMIT");
                (StatusCode::CONFLICT, axum::Extension(code), "too many")
            }),
        )
        .route("/panic", get(panics))
        .route("/panic-in-body", get(panics_in_body))
        .route("/broken-body", get(breaks_in_body))
        .route("/empty", get(|| async {}))
        .route("/no-content", get(|| async { StatusCode::NO_CONTENT }))
        .route("/not-modified", get(|| async { StatusCode::NOT_MODIFIED }))
        .route("/outer-timeout", get(std::future::pending::<()>))
        .route("/private/x", get(|| async { "never shown" }))
        .route("/upload", post(upload))
        .route("/upgrade", get(upgrades))
        .layer(from_fn(rejects_private))
        .with_state(gates)
}

// === The server ===

/// One call of the outermost service.
#[derive(Debug)]
struct Call {
    method: String,
    path: String,
}

/// By the request's user agent.
type Calls = Arc<Mutex<BTreeMap<String, Vec<Call>>>>;

/// A running service and everything that is known about its requests.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) gates: Arc<Gates>,
    logger: Logger,
    rows: Rows,
    calls: Calls,
    started: Instant,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

/// What the client knows about a request that it made.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) id: String,
    pub(super) handler: Handler,
    /// The server must have seen it: the client saw an answer, or the handler begin.
    pub(super) arrived: bool,
    /// "status result error-code" of the row, any one of these.
    pub(super) allowed: Vec<String>,
    /// Measured by the client between two moments at which the request was certainly open.
    pub(super) open_for: Duration,
    /// The `x-request-id` of the answer, if there was one.
    pub(super) request_id: Option<String>,
}

impl Server {
    pub(super) async fn start(guarantee: Guarantee) -> Self {
        // A recording logger answers for its rows at once, and opens no file.
        let settings = |builder: Builder| builder.guarantee(guarantee).database("unused.db");
        let (logger, rows) = recorder_with(settings).unwrap();
        let gates = Arc::new(Gates::default());
        let calls = Calls::default();
        let audited = routes(Arc::clone(&gates)).layer(logger.layer());
        let limit = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIME_LIMIT);
        let counted = Arc::clone(&calls);
        // Runs in `Service::call`, before everything else.
        let count = MapRequestLayer::new(move |request: Request| {
            let call = Call {
                method: request.method().to_string(),
                path: request.uri().path().to_owned(),
            };
            let id = user_agent(request.headers()).to_owned();
            lock(&counted).entry(id).or_default().push(call);
            request
        });
        let limited = limit.layer(audited.clone());
        let app = Router::new()
            .route_service("/outer-timeout", limited)
            .fallback_service(audited)
            .layer(count)
            .into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let server = axum::serve(listener, app);
            let stopped = async move { stopped.notified().await };
            server.with_graceful_shutdown(stopped).await.unwrap();
        });
        Self {
            address,
            gates,
            logger,
            rows,
            calls,
            started: Instant::now(),
            stop,
            task,
        }
    }

    async fn recorded(&self, id: &str) {
        let is_it = |row: &Row| row.user_agent() == Some(id);
        let recorded = holds(|| self.requests().iter().any(is_it)).await;
        assert!(recorded, "no row of the request {id}: {:?}", self.rows);
    }

    /// To be called when all clients are gone: ends what still runs, then holds the rows against
    /// the calls and against what the clients know.
    pub(super) async fn check(mut self, visits: &[Visit]) {
        // Where the outcome is certain, no gate has to open for it.
        for visit in visits.iter().filter(|visit| visit.is_certain()) {
            self.recorded(&visit.id).await;
        }
        self.gates.open_all();
        self.stop.notify_one();
        let ended = tokio::time::timeout(PATIENCE, &mut self.task).await;
        ended.expect("connections stay open").unwrap();
        // HTTP/2 streams are tasks of their own: they end, or even begin, a moment after their
        // connection. Whoever can still make a call holds the counts; a call that has been counted
        // reaches the audit layer a moment later.
        let settled = || {
            let idle = Arc::strong_count(&self.calls) == 1;
            idle && self.requests().len() == self.called()
        };
        let settled = holds(settled).await;
        let elapsed = self.started.elapsed();
        let rows = self.requests();
        let calls = lock(&self.calls);
        let of_rows: Vec<_> = rows
            .iter()
            .map(|row| (row.user_agent(), verdict(row)))
            .collect();
        assert!(
            settled,
            "not one row for each call: {of_rows:#?}\n{calls:#?}"
        );
        let health = self.logger.health();
        health.check().unwrap();
        assert_eq!(health.requests_seen, rows.len() as u64, "{health:#?}");
        for (id, calls) in &*calls {
            let [call] = calls.as_slice() else {
                panic!("the request {id} was called more than once: {calls:?}");
            };
            let row = one(&rows, id);
            assert_eq!(row.method(), Some(call.method.as_str()), "{row:#?}");
            assert_eq!(row.path(), Some(call.path.as_str()), "{row:#?}");
            assert!(row.duration().unwrap() <= elapsed, "{row:#?}");
        }
        for visit in visits {
            let was_called = calls.contains_key(&visit.id);
            assert!(was_called || !visit.arrived, "not called: {visit:#?}");
            if was_called {
                agree(visit, one(&rows, &visit.id));
            }
        }
    }

    fn called(&self) -> usize {
        lock(&self.calls).values().map(Vec::len).sum()
    }

    fn requests(&self) -> Vec<Row> {
        self.rows.all().into_iter().filter(is_request).collect()
    }
}

impl Visit {
    /// The client's leaving, if it left, cannot race with the response.
    fn is_certain(&self) -> bool {
        self.arrived && self.allowed.len() == 1
    }
}

fn agree(visit: &Visit, row: &Row) {
    let verdict = verdict(row);
    assert!(
        visit.allowed.contains(&verdict),
        "{} {}: `{verdict}` is none of {:?}\n{row:#?}",
        visit.handler.method,
        visit.handler.path,
        visit.allowed
    );
    // The row counts whole microseconds.
    let open_for = visit.open_for.as_micros();
    let duration = row.duration().unwrap().as_micros();
    assert!(open_for <= duration, "{open_for} µs: {visit:#?}\n{row:#?}");
    if visit.request_id.is_some() {
        assert_eq!(visit.request_id, row.request_id(), "{visit:#?}");
    }
}

fn is_request(row: &Row) -> bool {
    row.event_name() == "api_request"
}

fn one<'a>(rows: &'a [Row], id: &str) -> &'a Row {
    let found: Vec<&Row> = rows
        .iter()
        .filter(|row| row.user_agent() == Some(id))
        .collect();
    let [row] = found.as_slice() else {
        panic!("{} rows of the request {id}: {found:#?}", found.len());
    };
    row
}

fn verdict(row: &Row) -> String {
    let status = row
        .status_code()
        .map_or("-".to_owned(), |code| code.to_string());
    let result = row.result().unwrap_or("?");
    format!("{status} {result} {}", row.error_code().unwrap_or("-"))
}

/// Waits for what nobody signals, by looking again every millisecond. False if it waited in vain.
async fn holds(condition: impl Fn() -> bool) -> bool {
    let mut look = tokio::time::interval(Duration::from_millis(1));
    let found = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            look.tick().await;
        }
    });
    found.await.is_ok()
}

fn user_agent(headers: &HeaderMap) -> &str {
    let value = headers.get(USER_AGENT);
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
