//! The clients: patient ones, and those that leave at the worst moment.

use std::future::Future;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Request, Response};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::{Gate, Handler, Hold, SLOW, SLOW_POST, Server, UPLOAD, Visit};

/// How long a handler is held, so that a duration without the hold would show. Time passes here;
/// nothing waits for anything.
const HELD_FOR: Duration = Duration::from_millis(2);

/// When a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Never,
    BeforeResponse,
    MidBody,
}

/// HTTP/1.1 clients that write what they want when they want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// Sends everything at once and reads to the end.
    Pipelined,
    /// Leaves while the first of several requests is being handled.
    PipelinedThenGone,
    /// Leaves at once.
    Gone,
    /// Closes its half of the connection after the request, and reads.
    HalfClosed,
    /// Leaves while most of its request body is unread.
    BodyUnread,
    /// Leaves in the middle of a request body that the handler wants.
    BodyHalfSent,
}

// === HTTP/1.1 with keep-alive ===

/// One request after the other; `leave` is about the last one.
pub(super) async fn keep_alive(
    server: &Server,
    name: &str,
    handlers: &[Handler],
    leave: Leave,
) -> Vec<Visit> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection.with_upgrades());
    let mut visits = Vec::new();
    for (n, handler) in handlers.iter().enumerate() {
        if client.ready().await.is_err() {
            break;
        }
        let plan = Plan::new(server, format!("{name}-{n}"), *handler);
        let answer = client.send_request(plan.request(""));
        if leave == Leave::Never || n + 1 < handlers.len() {
            visits.push(plan.patient(answer).await);
            continue;
        }
        let close = || connection.abort();
        visits.push(plan.leaves(leave, answer, close).await);
    }
    drop(client);
    // Returns at once after `abort`, or when the connection is closed: nothing is left of it.
    drop(connection.await);
    visits
}

// === HTTP/2 ===

/// All requests at once, on one connection; who leaves resets its stream.
pub(super) async fn http2(server: &Server, name: &str, streams: &[(Handler, Leave)]) -> Vec<Visit> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let io = TokioIo::new(stream);
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let visits = streams.iter().enumerate().map(|(n, (handler, leave))| {
        let plan = Plan::new(server, format!("{name}-{n}"), *handler);
        let authority = format!("http://{}", server.address);
        let answer = client.clone().send_request(plan.request(&authority));
        async move {
            match leave {
                Leave::Never => plan.patient(answer).await,
                leave => plan.leaves(*leave, answer, || ()).await,
            }
        }
    });
    let visits = join_all(visits).await;
    drop(client);
    drop(connection.await);
    visits
}

/// The whole connection goes while every stream waits in its handler.
pub(super) async fn http2_gone(server: &Server, name: &str, streams: usize) -> Vec<Visit> {
    let stream = std::net::TcpStream::connect(server.address).unwrap();
    stream.set_nonblocking(true).unwrap();
    // hyper keeps the connection in a task of its own, out of reach.
    let socket = stream.try_clone().unwrap();
    let io = TokioIo::new(TcpStream::from_std(stream).unwrap());
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let authority = format!("http://{}", server.address);
    let mut visits = Vec::new();
    let mut answers = Vec::new();
    for n in 0..streams {
        let plan = Plan::new(server, format!("{name}-{n}"), SLOW);
        answers.push(tokio::spawn(
            client.clone().send_request(plan.request(&authority)),
        ));
        plan.gate.arrived().await;
        visits.push(plan.visit(true, [CLOSED_BEFORE.to_owned()]));
    }
    socket.shutdown(Shutdown::Both).unwrap();
    drop(connection.await);
    drop(client);
    visits
}

// === HTTP/1.1 by hand ===

/// `handlers` are what the client asks for, unless its kind says more.
pub(super) async fn raw(
    server: &Server,
    name: &str,
    kind: Raw,
    handlers: &[Handler],
) -> Vec<Visit> {
    match kind {
        Raw::Pipelined => pipelined(server, name, handlers).await,
        Raw::PipelinedThenGone => {
            let handlers: Vec<Handler> = [SLOW].iter().chain(handlers).copied().collect();
            let plans = plans(server, name, &handlers);
            for plan in &plans[1..] {
                plan.gate.open();
            }
            gone_while_held(server, plans, "").await
        }
        Raw::Gone => {
            let plans = plans(server, name, handlers);
            let mut stream = send(server, &plans, "").await;
            let _ = stream.flush().await;
            drop(stream);
            plans.into_iter().map(|plan| plan.race(false)).collect()
        }
        Raw::HalfClosed => {
            let plans = plans(server, name, &handlers[..1]);
            plans[0].gate.open();
            let mut stream = send(server, &plans, "").await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            plans.into_iter().map(|plan| plan.race(false)).collect()
        }
        Raw::BodyUnread => {
            let plans = plans(server, name, &[SLOW_POST]);
            gone_while_held(server, plans, &"x".repeat(100_000)).await
        }
        Raw::BodyHalfSent => {
            let plans = plans(server, name, &[UPLOAD]);
            let mut visits = gone_while_held(server, plans, "half").await;
            // The handler sees the broken body if it is asked before the server notices the client.
            visits[0].allowed.push("400 failure BAD_REQUEST".to_owned());
            visits
        }
    }
}

async fn pipelined(server: &Server, name: &str, handlers: &[Handler]) -> Vec<Visit> {
    let plans = plans(server, name, handlers);
    for plan in &plans {
        plan.gate.open();
    }
    let mut stream = send(server, &plans, "").await;
    // Ends with an error where the server closes with requests unread.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    let end = handlers.iter().position(|handler| handler.last);
    let answered = end.map_or(handlers.len(), |end| end + 1);
    let visits = plans.into_iter().enumerate();
    visits
        .map(|(n, plan)| match n < answered {
            true => {
                let row = plan.handler.row.to_owned();
                plan.visit(true, [row])
            }
            false => plan.race(false),
        })
        .collect()
}

/// Leaves when the first handler has begun; what becomes of the requests then is a race, since a
/// server does not look at a connection with unread bytes.
async fn gone_while_held(server: &Server, plans: Vec<Plan>, body: &str) -> Vec<Visit> {
    let stream = send(server, &plans, body).await;
    plans[0].gate.arrived().await;
    let began = Instant::now();
    pass_time().await;
    let open_for = began.elapsed();
    drop(stream);
    plans[0].gate.open();
    let mut visits: Vec<Visit> = plans.into_iter().map(|plan| plan.race(false)).collect();
    visits[0].arrived = true;
    visits[0].open_for = open_for;
    visits
}

fn plans(server: &Server, name: &str, handlers: &[Handler]) -> Vec<Plan> {
    let handlers = handlers.iter().enumerate();
    handlers
        .map(|(n, handler)| Plan::new(server, format!("{name}-{n}"), *handler))
        .collect()
}

/// Everything in one go; the last request asks for the connection to be closed. A `body` is the
/// beginning of a longer one.
async fn send(server: &Server, plans: &[Plan], body: &str) -> TcpStream {
    let mut text = String::new();
    for (n, plan) in plans.iter().enumerate() {
        let Handler { method, path, .. } = plan.handler;
        text += &format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nuser-agent: {}\r\n",
            plan.id
        );
        if path == "/upgrade" {
            text += "connection: upgrade\r\nupgrade: echo\r\n";
        } else if n + 1 == plans.len() {
            text += "connection: close\r\n";
        }
        match (method, body) {
            ("POST", "") => text += "content-length: 4\r\n\r\nbody",
            ("POST", _) => text += "content-length: 1000000\r\n\r\n",
            _ => text += "\r\n",
        }
    }
    text += body;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may close first.
    let _ = stream.write_all(text.as_bytes()).await;
    stream
}

// === One request ===

const CLOSED_BEFORE: &str = "- failure CLIENT_CLOSED_BEFORE_RESPONSE";

/// A request about to be made.
struct Plan {
    id: String,
    handler: Handler,
    gate: Arc<Gate>,
}

impl Plan {
    fn new(server: &Server, id: String, handler: Handler) -> Self {
        let gate = server.gates.add(&id, false);
        Self { id, handler, gate }
    }

    fn request(&self, authority: &str) -> Request<Full<Bytes>> {
        let Handler { method, path, .. } = self.handler;
        let body = if method == "POST" { "body" } else { "" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{authority}{path}"))
            .header("user-agent", &self.id)
            .body(Full::from(body))
            .unwrap();
        if authority.is_empty() {
            request
                .headers_mut()
                .insert("host", HeaderValue::from_static("test"));
        }
        if path == "/upgrade" {
            for (name, value) in [("connection", "upgrade"), ("upgrade", "echo")] {
                request
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value));
            }
        }
        request
    }

    /// Stays to the end, and holds the handler for a while if it can be held.
    async fn patient(self, answer: impl Future<Output = Answer>) -> Visit {
        let reading = async {
            let response = answer.await.ok()?;
            let head = (response.status().as_u16(), request_id(&response));
            // An error for a body that breaks.
            drop(response.into_body().collect().await);
            Some(head)
        };
        let (head, open_for) = tokio::join!(reading, self.hold());
        let head = head.unzip();
        assert!(
            head.0 == self.handler.seen || self.handler.seen.is_none(),
            "{:?} was answered with {head:?}",
            self.handler
        );
        Visit {
            open_for,
            // Where a layer further out gave the answer, it has no id.
            request_id: head.1.flatten(),
            ..self.certain()
        }
    }

    /// Leaves, by dropping the answer and calling `close`. Where the handler is held at that point
    /// the outcome is certain.
    async fn leaves(
        self,
        leave: Leave,
        answer: impl Future<Output = Answer> + Send + 'static,
        close: impl FnOnce(),
    ) -> Visit {
        let mut answer = tokio::spawn(answer);
        match (leave, self.handler.gate) {
            (Leave::BeforeResponse, Hold::BeforeResponse) => {
                let open_for = self.held().await;
                answer.abort();
                close();
                Visit {
                    open_for,
                    ..self.visit(true, [CLOSED_BEFORE.to_owned()])
                }
            }
            (Leave::MidBody, Hold::MidBody) => {
                let mut body = (&mut answer).await.unwrap().unwrap().into_body();
                body.frame().await.unwrap().unwrap();
                let open_for = self.held().await;
                drop(body);
                close();
                let row = "200 failure CLIENT_CLOSED_MID_BODY".to_owned();
                Visit {
                    open_for,
                    ..self.visit(true, [row])
                }
            }
            (Leave::MidBody, _) => {
                self.gate.open();
                let answer = answer.await.unwrap();
                let arrived = answer.is_ok();
                drop(answer);
                close();
                self.race(arrived)
            }
            _ => {
                answer.abort();
                close();
                self.race(false)
            }
        }
    }

    /// Waits until the handler is held, holds it for a while, and lets it go.
    async fn hold(&self) -> Duration {
        if self.handler.gate == Hold::Never || self.handler.method == "HEAD" {
            return Duration::ZERO;
        }
        let open_for = self.held().await;
        self.gate.open();
        open_for
    }

    async fn held(&self) -> Duration {
        self.gate.arrived().await;
        let began = Instant::now();
        pass_time().await;
        began.elapsed()
    }

    fn certain(self) -> Visit {
        let row = self.handler.row.to_owned();
        self.visit(true, [row])
    }

    /// The client's leaving and the response race.
    fn race(self, arrived: bool) -> Visit {
        let Handler { row, body, .. } = self.handler;
        let mut allowed = vec![row.to_owned(), CLOSED_BEFORE.to_owned()];
        if body && let Some((status, _)) = row.split_once(' ') {
            allowed.push(format!("{status} failure CLIENT_CLOSED_MID_BODY"));
        }
        self.visit(arrived, allowed)
    }

    fn visit(self, arrived: bool, allowed: impl IntoIterator<Item = String>) -> Visit {
        Visit {
            id: self.id,
            handler: self.handler,
            arrived,
            allowed: allowed.into_iter().collect(),
            open_for: Duration::ZERO,
            request_id: None,
        }
    }
}

type Answer = hyper::Result<Response<Incoming>>;

fn request_id(response: &Response<Incoming>) -> Option<String> {
    let id = response.headers().get("x-request-id")?;
    Some(id.to_str().unwrap().to_owned())
}

async fn pass_time() {
    tokio::time::interval_at(tokio::time::Instant::now() + HELD_FOR, HELD_FOR)
        .tick()
        .await;
}
