//! The close of connections, seen by the listener.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{Method, Response, StatusCode, Version};
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_layer::Layer as _;

use super::{audit, audited, exchange, only, verdict};
use crate::RequestHandle;
use crate::capture::collector::Collector;
use crate::record::{Actor, Row};
use crate::tower::{AuditConnectInfo, AuditIo, AuditListener};

/// A server whose connections are watched, and a way to stop it gracefully.
struct Server {
    sink: Arc<Collector>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    stopped: JoinHandle<()>,
}

impl Server {
    async fn start(router: Router) -> Self {
        let (sink, app) = audited(router);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.into_make_service_with_connect_info::<AuditConnectInfo>();
        let (stop, wish) = oneshot::channel::<()>();
        let serving =
            axum::serve(AuditListener::new(listener), app).with_graceful_shutdown(async move {
                let _ = wish.await;
            });
        let stopped = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            sink,
            address,
            stop,
            stopped,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Returns once every connection that is still HTTP was closed.
    async fn stop(self) -> Arc<Collector> {
        self.stop.send(()).unwrap();
        self.stopped.await.unwrap();
        self.sink
    }
}

const UPGRADE_REQUEST: &str =
    "GET /ws/7 HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

fn switching() -> Response<Body> {
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "echo")
        .body(Body::empty())
        .unwrap()
}

/// Greets, then sends back what it gets, until the client is gone. `kept` is dropped after that, before the connection.
fn echo<G: Send + 'static>(mut request: Request, kept: G) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        io.write_all(b"hi\r\n\r\n").await.unwrap();
        let mut word = [0; 64];
        while let Ok(read @ 1..) = io.read(&mut word).await {
            io.write_all(&word[..read]).await.unwrap();
        }
        drop(kept);
    });
    switching()
}

fn routes() -> Router {
    let plain = |handle: RequestHandle, request: Request| async move {
        handle.set_actor(Actor::user("u1"));
        echo(request, ())
    };
    let silent =
        |handle: RequestHandle, request: Request| async move { echo(request, handle.upgraded()) };
    let counting = |handle: RequestHandle, request: Request| async move {
        let closed = handle.upgraded();
        closed.received(1);
        echo(request, closed)
    };
    let refuses = || async { StatusCode::FORBIDDEN };
    Router::new()
        .route("/ws/{id}", get(plain))
        .route("/silent", get(silent))
        .route("/counting", get(counting))
        .route("/refused", get(refuses))
        .route("/abandoned", get(|| async { switching() }))
        .route(
            "/address",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        )
        .fallback(|request: Request| async move { tunnel(request) })
}

/// CONNECT.
fn tunnel(request: Request) -> Response<Body> {
    let mut response = echo(request, ());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().clear();
    response
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn send(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    read_head(stream).await
}

async fn upgrade(stream: &mut TcpStream, path: &str) {
    let head = send(stream, &UPGRADE_REQUEST.replace("/ws/7", path)).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(read_head(stream).await, "hi\r\n\r\n");
}

async fn say(stream: &mut TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).await.unwrap();
    let mut echo = vec![0; word.len()];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo, word.as_bytes());
}

/// The row of the request and that of the close.
#[track_caller]
fn opened_and_closed(rows: &[Row]) -> &Row {
    let [opened, closed] = rows else {
        panic!("not two rows: {rows:#?}");
    };
    assert_eq!(opened.event, "api_request");
    assert_eq!(closed.event, "api_connection_closed");
    assert_eq!(closed.request_id, opened.request_id);
    assert_ne!(closed.id, opened.id);
    closed
}

fn bytes(row: &Row) -> &str {
    row.properties.as_deref().unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_has_a_row_when_it_closes_without_any_help() {
    let server = Server::start(routes()).await;
    let mut stream = server.connect().await;
    upgrade(&mut stream, "/ws/7").await;
    assert_eq!(verdict(only(&server.sink.settled())), "101 success -");
    say(&mut stream, "hello").await;
    say(&mut stream, "you").await;
    assert_eq!(server.sink.rows().len(), 1);
    drop(stream);
    server.sink.wait_for(2);
    let rows = server.stop().await.rows();
    let closed = opened_and_closed(&rows);
    // Six of greeting, and eight each way; the head of the 101 does not count.
    assert_eq!(bytes(closed), r#"{"bytesReceived":8,"bytesSent":14}"#);
    assert_eq!(closed.actor.user_id(), Some("u1"));
    assert_eq!(exchange(closed).route.as_deref(), Some("/ws/{id}"));
    assert!(exchange(closed).ip.unwrap().is_loopback());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_connection_is_seen_too() {
    let server = Server::start(routes()).await;
    let mut stream = server.connect().await;
    upgrade(&mut stream, "/ws/7").await;
    say(&mut stream, "hello").await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    server.sink.wait_for(2);
    let rows = server.stop().await.rows();
    let closed = opened_and_closed(&rows);
    assert_eq!(bytes(closed), r#"{"bytesReceived":5,"bytesSent":11}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_helper_there_is_still_one_row() {
    for (path, expected) in [
        // It knows nothing: the listener's figures.
        ("/silent", r#"{"bytesReceived":5,"bytesSent":11}"#),
        // The application knows better.
        ("/counting", r#"{"bytesReceived":1,"bytesSent":0}"#),
    ] {
        let server = Server::start(routes()).await;
        let mut stream = server.connect().await;
        upgrade(&mut stream, path).await;
        say(&mut stream, "hello").await;
        stream.shutdown().await.unwrap();
        // The server's end is closed once this returns; its stream was dropped with it.
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        server.sink.wait_for(2);
        let rows = server.stop().await.rows();
        assert_eq!(bytes(opened_and_closed(&rows)), expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_without_an_upgrade_has_no_close() {
    let server = Server::start(routes()).await;
    let mut stream = server.connect().await;
    let address = stream.local_addr().unwrap().to_string();
    // An extractor of the address works although the connect info is another.
    let request = "GET /address HTTP/1.1\r\nhost: test\r\n\r\n";
    for _ in 0..2 {
        let head = send(&mut stream, request).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut body = vec![0; address.len()];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(body, address.as_bytes());
    }
    let refused = UPGRADE_REQUEST.replace("/ws/7", "/refused");
    let head = send(&mut stream, &refused).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    drop(stream);
    let idle = server.connect().await;
    let rows = server.stop().await.rows();
    drop(idle);
    let events: Vec<_> = rows.iter().map(|row| &*row.event).collect();
    assert_eq!(events, ["api_request"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_nobody_takes_is_closed_at_once() {
    let server = Server::start(routes()).await;
    let mut stream = server.connect().await;
    let request = UPGRADE_REQUEST.replace("/ws/7", "/abandoned");
    let head = send(&mut stream, &request).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    server.sink.wait_for(2);
    let rows = server.stop().await.rows();
    let closed = opened_and_closed(&rows);
    assert_eq!(bytes(closed), r#"{"bytesReceived":0,"bytesSent":0}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_an_upgrade_and_a_request_before_it_is_not() {
    let server = Server::start(routes()).await;
    let mut stream = server.connect().await;
    let request = "GET /refused HTTP/1.1\r\nhost: test\r\n\r\n";
    let head = send(&mut stream, request).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let connect = "CONNECT other.test:443 HTTP/1.1\r\nhost: other.test:443\r\n\r\n";
    let head = send(&mut stream, connect).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(read_head(&mut stream).await, "hi\r\n\r\n");
    say(&mut stream, "hello").await;
    drop(stream);
    server.sink.wait_for(3);
    let rows = server.stop().await.rows();
    let closed = opened_and_closed(&rows[1..]);
    assert_eq!(exchange(closed).method, "CONNECT");
    assert_eq!(bytes(closed), r#"{"bytesReceived":5,"bytesSent":11}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_outlives_the_server_is_seen_to_close() {
    let server = Server::start(routes()).await;
    let mut stream = server.connect().await;
    upgrade(&mut stream, "/ws/7").await;
    // A graceful shutdown does not wait for what is HTTP no more.
    let sink = server.stop().await;
    assert_eq!(sink.rows().len(), 1);
    say(&mut stream, "hello").await;
    drop(stream);
    let rows = sink.wait_for(2);
    let closed = opened_and_closed(&rows);
    assert_eq!(bytes(closed), r#"{"bytesReceived":5,"bytesSent":11}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_ones_own_tells_its_requests_of_their_connection() {
    let (sink, layer) = audit();
    let app = layer.layer(routes());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let io = AuditIo::new(stream, Some(peer));
        let info = io.connect_info();
        let service = tower::ServiceExt::map_request(app, move |mut request: http::Request<_>| {
            request.extensions_mut().insert(info.clone());
            request
        });
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(service))
            .with_upgrades()
            .await
            .unwrap();
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    upgrade(&mut stream, "/ws/7").await;
    drop(stream);
    serving.await.unwrap();
    let rows = sink.wait_for(2);
    let closed = opened_and_closed(&rows);
    assert_eq!(bytes(closed), r#"{"bytesReceived":0,"bytesSent":6}"#);
    assert_eq!(exchange(closed).ip, Some(address.ip()));
}

#[tokio::test]
async fn bytes_are_counted_from_the_end_of_the_head_however_it_is_cut() {
    let head = "HTTP/1.1 101 x\r\nupgrade: a\r\r\n\r\r\n\r\n";
    let text = format!("{head}\r\n\r\nrest");
    for cut in 1..text.len() {
        let (mut far, near) = tokio::io::duplex(1024);
        let mut io = AuditIo::new(near, None);
        let (sink, layer) = audit();
        let service = tower::service_fn(|_: Request<Empty<Bytes>>| async {
            Ok::<_, std::convert::Infallible>(switching())
        });
        io.write_all(b"of earlier answers\r\n\r\n").await.unwrap();
        let mut request = Request::new(Empty::new());
        request
            .headers_mut()
            .insert(UPGRADE, "echo".parse().unwrap());
        request.extensions_mut().insert(io.connect_info());
        drop(tower::ServiceExt::oneshot(layer.layer(service), request).await);
        let (start, end) = text.as_bytes().split_at(cut);
        io.write_all(start).await.unwrap();
        io.write_all(end).await.unwrap();
        far.write_all(b"xyz").await.unwrap();
        io.read_exact(&mut [0; 3]).await.unwrap();
        drop(io);
        let rows = sink.rows();
        let closed = opened_and_closed(&rows);
        assert_eq!(
            bytes(closed),
            r#"{"bytesReceived":3,"bytesSent":8}"#,
            "{cut}"
        );
    }
}

#[tokio::test]
async fn a_tunnel_over_http2_is_a_stream_and_not_the_connection() {
    for (version, rows) in [(Version::HTTP_11, 2), (Version::HTTP_2, 1)] {
        let io = AuditIo::new(tokio::io::empty(), None);
        let (sink, layer) = audit();
        let service = tower::service_fn(|_: Request<Empty<Bytes>>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
        });
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = version;
        request.extensions_mut().insert(io.connect_info());
        drop(tower::ServiceExt::oneshot(layer.layer(service), request).await);
        drop(io);
        assert_eq!(sink.rows().len(), rows, "{version:?}");
    }
}
