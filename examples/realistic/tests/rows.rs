//! The row of each request, over a real socket.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a failed test"
)]

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use audithog::{
    ActorType, Logger, Row,
    testing::{Rows, SelfCheck, recorder},
};
use audithog_realistic::{App, AppState, Config, app, serve};
use axum::http::HeaderValue;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tracing_subscriber::fmt::format::FmtSpan;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);
/// Small, so that a server soon notices a client that does not read.
const SOCKET_BUFFER: u32 = 16 * 1024;
const WEB_ORIGIN: &str = "https://agents.example";

/// The spans of all requests of all tests, in the way the service's own log shows them. Global and there before any
/// service is, because tracing caches per process which spans are of interest.
static SPANS: LazyLock<Spans> = LazyLock::new(|| {
    let spans = Spans::default();
    let writer = spans.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_span_events(FmtSpan::NEW)
        .with_writer(move || writer.clone())
        .init();
    spans
});

fn service(log: Logger) -> App {
    LazyLock::force(&SPANS);
    app(AppState::new(Config {
        log,
        jwt_secret: "a secret for tests only".to_owned(),
        web_origin: HeaderValue::from_static(WEB_ORIGIN),
    }))
}

/// The service on a socket, with its rows.
struct Server {
    address: SocketAddr,
    log: Logger,
    rows: Rows,
    stop: oneshot::Sender<()>,
    running: JoinHandle<io::Result<()>>,
}

/// A response with its whole body.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Server {
    fn start() -> Self {
        let (log, rows) = recorder();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(SOCKET_BUFFER).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(serve(listener, service(log.clone()), async move {
            stopped.await.unwrap();
        }));
        Self {
            address,
            log,
            rows,
            stop,
            running,
        }
    }

    /// Sends a request on a connection of its own, which the server closes after the response.
    async fn send(&self, line: &str, headers: &str, body: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: agents\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn call(&self, line: &str, headers: &str, body: &str) -> Answer {
        let mut stream = self.send(line, headers, body).await;
        let head = head(&mut stream).await;
        let body = rest(&mut stream).await;
        Answer { head, body }
    }

    /// The header of a signed-in user.
    async fn sign_in(&self, user: &str, password: &str) -> String {
        let credentials = json!({ "user": user, "password": password }).to_string();
        let answer = self.call("POST /login", "", &credentials).await;
        let token: Value = serde_json::from_slice(&answer.body).unwrap();
        format!(
            "authorization: Bearer {}\r\n",
            token["token"].as_str().unwrap()
        )
    }

    /// Stops the service, which ends every request, and hands out the rows.
    async fn stop(self) -> Rows {
        self.stop.send(()).unwrap();
        let end = timeout(DEADLINE, self.running).await;
        end.expect("a service that ends").unwrap().unwrap();
        self.rows
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|line| line.0 == name).map(|line| line.1)
}

/// Reads the head of a response, and not a byte more.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut body = Vec::new();
    let read = stream.read_to_end(&mut body);
    timeout(DEADLINE, read).await.unwrap().unwrap();
    body
}

/// The one row of the request, which must have the status and the id that the client saw.
#[track_caller]
fn row_of(rows: &Rows, method: &str, path: &str, answer: &str) -> Row {
    let row = rows.one(method, path).row().clone();
    let status = answer.split(' ').nth(1).unwrap();
    assert_eq!(row.status_code(), Some(status.parse().unwrap()));
    assert_eq!(row.request_id().as_deref(), header(answer, "x-request-id"));
    assert_eq!(row.ip().unwrap().to_string(), "127.0.0.1");
    row
}

#[tokio::test]
async fn a_preflight_has_a_row() {
    let server = Server::start();
    let headers = format!("origin: {WEB_ORIGIN}\r\naccess-control-request-method: POST\r\n");
    let answer = server.call("OPTIONS /api/agents", &headers, "").await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some(WEB_ORIGIN)
    );
    let rows = server.stop().await;
    let row = row_of(&rows, "OPTIONS", "/api/agents", &answer.head);
    assert_eq!(
        (row.status_code(), row.result()),
        (Some(200), Some("success"))
    );
    assert_eq!(rows.all().len(), 1, "{rows:?}");
}

#[tokio::test]
async fn a_request_without_a_valid_token_has_a_row() {
    let server = Server::start();
    let missing = server.call("GET /api/agents?token=secret", "", "").await;
    let forged = "authorization: Bearer forged\r\n";
    let forged = server.call("GET /api/orgs/acme/members", forged, "").await;
    let rows = server.stop().await;
    for (path, code, answer) in [
        ("/api/agents", "TOKEN_MISSING", missing),
        ("/api/orgs/acme/members", "TOKEN_INVALID", forged),
    ] {
        let row = row_of(&rows, "GET", path, &answer.head);
        assert_eq!(
            (row.status_code(), row.error_code()),
            (Some(401), Some(code))
        );
        assert_eq!(row.actor().user_id(), None);
    }
    assert_eq!(rows.all().len(), 2, "{rows:?}");
}

#[tokio::test]
async fn unknown_paths_and_methods_have_rows() {
    let server = Server::start();
    let nowhere = server.call("GET /nowhere", "", "").await;
    let method = server.call("DELETE /healthz", "", "").await;
    let rows = server.stop().await;
    let row = row_of(&rows, "GET", "/nowhere", &nowhere.head);
    assert_eq!(
        (row.status_code(), row.error_code()),
        (Some(404), Some("NO_SUCH_ROUTE"))
    );
    assert_eq!(row.route(), None);
    let row = row_of(&rows, "DELETE", "/healthz", &method.head);
    assert_eq!(
        (row.status_code(), row.error_code()),
        (Some(405), Some("METHOD_NOT_ALLOWED"))
    );
    assert_eq!(row.route(), Some("/healthz"));
    assert_eq!(rows.all().len(), 2, "{rows:?}");
}

#[tokio::test]
async fn events_carry_the_request_and_its_actor() {
    let server = Server::start();
    let bob = server.sign_in("bob", "builder").await;
    let created = server
        .call("POST /api/agents", &bob, r#"{"name":"Mole"}"#)
        .await;
    let agent = created.header("location").unwrap().to_owned();
    let publish = format!("{agent}/publish");
    server.call(&format!("POST {publish}"), &bob, "").await;
    let again = server.call(&format!("POST {publish}"), &bob, "").await;
    let rows = server.stop().await;

    let request = row_of(&rows, "POST", "/api/agents", &created.head);
    let id = agent.rsplit('/').next().unwrap();
    rows.event("agent_created")
        .actor("bob")
        .role("member")
        .org("acme")
        .property("id", id)
        .same_request(&request);
    // The second publication fails: no event.
    let published = rows.event("agent_published").actor("bob").row().clone();
    assert_ne!(
        published.request_id().as_deref(),
        again.header("x-request-id")
    );
    let all = rows.all();
    let rows = all.iter().filter(|row| row.path() == Some(&*publish));
    let outcomes: Vec<_> = rows
        .map(|row| (row.status_code(), row.error_code()))
        .collect();
    assert_eq!(
        outcomes,
        [(Some(200), None), (Some(409), Some("ALREADY_PUBLISHED"))]
    );
}

#[tokio::test]
async fn a_timeout_has_a_row_with_its_actor() {
    let server = Server::start();
    let bob = server.sign_in("bob", "builder").await;
    let created = server
        .call("POST /api/agents", &bob, r#"{"name":"Mole"}"#)
        .await;
    let path = format!("{}/published", created.header("location").unwrap());
    let mut waiting = server.send(&format!("GET {path}"), &bob, "").await;
    timeout(DEADLINE, async {
        while server.log.health().requests_in_progress == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the request arrives");
    // The handler waits for a publication that does not come.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    let answer = head(&mut waiting).await;
    let rows = server.stop().await;
    let row = row_of(&rows, "GET", &path, &answer);
    assert_eq!(
        (row.status_code(), row.error_code()),
        (Some(504), Some("GATEWAY_TIMEOUT"))
    );
    assert_eq!(row.actor().user_id(), Some("bob"));
    assert_eq!(row.route(), Some("/api/agents/{id}/published"));
}

#[tokio::test]
async fn a_panic_has_a_row_that_keeps_its_actor() {
    let server = Server::start();
    let bob = server.sign_in("bob", "builder").await;
    let answer = server.call("GET /api/agents?per_page=0", &bob, "").await;
    let rows = server.stop().await;
    let row = row_of(&rows, "GET", "/api/agents", &answer.head);
    assert_eq!(
        (row.status_code(), row.result()),
        (Some(500), Some("failure"))
    );
    assert_eq!(row.error_code(), Some("INTERNAL"));
    let actor = row.actor();
    assert_eq!(actor.actor_type(), Some(ActorType::User));
    let actor = (actor.user_id(), actor.user_role(), actor.org_id());
    assert_eq!(actor, (Some("bob"), Some("member"), Some("acme")));
}

#[tokio::test]
async fn the_row_of_a_compressed_stream_is_made_after_its_last_byte() {
    const EXPORT: &str = "/api/agents/export";
    let server = Server::start();
    let bob = server.sign_in("bob", "builder").await;
    // Much more than the buffers between server and client hold, also when it is compressed.
    for seed in 0..64 {
        let agent = json!({ "name": noise(seed, 64 * 1024) }).to_string();
        server.call("POST /api/agents", &bob, &agent).await;
    }
    let sent = Instant::now();
    let gzip = format!("{bob}accept-encoding: gzip\r\n");
    let mut stream = server.send(&format!("GET {EXPORT}"), &gzip, "").await;
    let head = head(&mut stream).await;
    assert_eq!(header(&head, "content-encoding"), Some("gzip"));
    let head_after = sent.elapsed();
    // Other requests come and go for longer than the head took.
    let open = Instant::now();
    while open.elapsed() <= head_after {
        server.call("GET /healthz", "", "").await;
    }
    let open = open.elapsed();
    let of_export = |row: &Row| row.path() == Some(EXPORT);
    assert!(!server.rows.all().iter().any(of_export));
    assert!(rest(&mut stream).await.len() > 1 << 20);

    let rows = server.stop().await;
    let row = row_of(&rows, "GET", EXPORT, &head);
    assert_eq!(
        (row.status_code(), row.result()),
        (Some(200), Some("success"))
    );
    // A duration up to the head could not be this long.
    assert!(row.duration().unwrap() >= open, "{row:?}");
}

/// Text that hardly compresses.
fn noise(seed: u32, length: usize) -> String {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let letter = |_| {
        // xorshift32 (George Marsaglia, 2003)
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b'0' + u8::try_from(state >> 26).unwrap())
    };
    (0..length)
        .map(letter)
        .collect::<String>()
        .replace('\\', "/")
}

#[tokio::test]
async fn tower_https_request_id_is_the_rows() {
    let server = Server::start();
    // What an untrusted client sends is not taken over.
    let answer = server
        .call("GET /healthz", "x-request-id: forged\r\n", "")
        .await;
    let rows = server.stop().await;
    let row = row_of(&rows, "GET", "/healthz", &answer.head);
    assert_eq!(answer.head.matches("x-request-id").count(), 1);
    let spans = String::from_utf8(SPANS.0.lock().unwrap().clone()).unwrap();
    let id = format!("id=\"{}\"", row.request_id().unwrap());
    assert!(spans.contains(&id) && !spans.contains("forged"), "{spans}");
}

/// What the subscriber wrote.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<u8>>>);

impl io::Write for Spans {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_layer_sees_every_request() {
    SelfCheck::new(service)
        .route("GET", "/healthz")
        .route("POST", "/login")
        .protected("GET", "/api/agents")
        .protected("POST", "/api/agents")
        .protected("GET", "/api/orgs/acme/members")
        .run()
        .await
        .unwrap();
}
