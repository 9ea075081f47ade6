//! What only a server and a client can show: who leaves when, and what the server still takes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use axum::http::{HeaderValue, Request, Response, StatusCode, Version};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{audit_with, audited, exchange, only, verdict};
use crate::capture::CaptureSettings;
use crate::capture::collector::Collector;
use crate::record::Actor;
use crate::{Guarantee, RequestHandle};

/// Serves until the test's runtime ends.
async fn serve(router: Router) -> (Arc<Collector>, SocketAddr) {
    let (sink, app) = audited(router);
    (sink, listen(app).await)
}

pub(super) async fn listen(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

async fn http1(address: SocketAddr) -> http1::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    client
}

async fn http2(address: SocketAddr) -> http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request = request
        .header("host", "test")
        .header("user-agent", "test/1");
    request.body(Empty::new()).unwrap()
}

fn http2_request(address: SocketAddr, path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("http://{address}{path}");
    Request::builder().uri(uri).body(Empty::new()).unwrap()
}

/// What a client takes from `path`; none if the answer breaks off or is malformed.
async fn taken(address: SocketAddr, version: Version, path: &str) -> Option<Bytes> {
    let answer = if version == Version::HTTP_2 {
        let request = http2_request(address, path);
        http2(address).await.send_request(request).await
    } else {
        http1(address)
            .await
            .send_request(request("GET", path))
            .await
    };
    let body = answer.ok()?.into_body().collect().await;
    Some(body.ok()?.to_bytes())
}

/// A body that sends `x` and then nothing, for ever.
fn endless() -> Body {
    let mut sent = false;
    Body::from_stream(stream::poll_fn(move |_| {
        if std::mem::replace(&mut sent, true) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok::<_, Infallible>("x")))
    }))
}

fn routes() -> Router {
    Router::new()
        .route("/ok", get(|| async { "fine" }))
        .route("/pending", get(std::future::pending::<()>))
        .route("/endless", get(|| async { endless() }))
        .route(
            "/panic",
            get(|handle: RequestHandle| async move {
                handle.set_actor(Actor::user("u1"));
                if true {
                    panic!("private");
                }
            }),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_http1_and_http2_are_one_row_each() {
    let (sink, address) = serve(routes()).await;
    let mut client = http1(address).await;
    for (n, (method, path, expected)) in [
        ("GET", "/ok", "200 success -"),
        ("HEAD", "/ok", "200 success -"),
        ("GET", "/nope", "404 failure NOT_FOUND"),
        ("DELETE", "/ok", "405 failure METHOD_NOT_ALLOWED"),
    ]
    .into_iter()
    .enumerate()
    {
        client.ready().await.unwrap();
        let response = client.send_request(request(method, path)).await.unwrap();
        response.into_body().collect().await.unwrap();
        let rows = sink.wait_for(n + 1);
        assert_eq!(rows.len(), n + 1);
        assert_eq!(verdict(&rows[n]), expected, "{method} {path}");
        assert_eq!(exchange(&rows[n]).ip, Some(address.ip()));
        assert_eq!(exchange(&rows[n]).user_agent.as_deref(), Some("test/1"));
    }
    let mut client = http2(address).await;
    let response = client
        .send_request(http2_request(address, "/ok"))
        .await
        .unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(verdict(&sink.wait_for(5)[4]), "200 success -");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_recorded_with_its_actor_and_kills_the_connection_as_before() {
    let (sink, address) = serve(routes()).await;
    let answer = http1(address)
        .await
        .send_request(request("GET", "/panic"))
        .await;
    assert!(answer.is_err());
    let rows = sink.settled();
    assert_eq!(verdict(only(&rows)), "- failure PANIC");
    assert_eq!(only(&rows).actor.user_id(), Some("u1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_response_is_a_row_without_status() {
    let (sink, address) = serve(routes()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /pending HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    sink.wait_seen(1);
    drop(stream);
    assert_eq!(
        verdict(only(&sink.settled())),
        "- failure CLIENT_CLOSED_BEFORE_RESPONSE"
    );

    let mut client = http2(address).await;
    let answer = tokio::spawn(client.send_request(http2_request(address, "/pending")));
    sink.wait_seen(2);
    // Resets the stream; the connection stays.
    answer.abort();
    let rows = sink.wait_for(2);
    assert_eq!(verdict(&rows[1]), "- failure CLIENT_CLOSED_BEFORE_RESPONSE");
    let response = client
        .send_request(http2_request(address, "/ok"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_mid_body_is_a_failure_with_the_status_it_saw() {
    let (sink, address) = serve(routes()).await;
    let mut client = http1(address).await;
    let response = client
        .send_request(request("GET", "/endless"))
        .await
        .unwrap();
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "x"
    );
    assert!(sink.rows().is_empty());
    drop((body, client));
    assert_eq!(
        verdict(only(&sink.settled())),
        "200 failure CLIENT_CLOSED_MID_BODY"
    );

    let mut client = http2(address).await;
    let response = client
        .send_request(http2_request(address, "/endless"))
        .await
        .unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(
        verdict(&sink.wait_for(2)[1]),
        "200 failure CLIENT_CLOSED_MID_BODY"
    );
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_a_content_length_is_complete_although_the_server_never_asks_for_its_end() {
    let polled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polled);
    let handler = move || async move {
        let parts = stream::poll_fn(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Poll::Ready(Some(Ok::<_, Infallible>("four"))),
            _ => Poll::Pending,
        });
        let mut response = Response::new(Body::from_stream(parts));
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("8"));
        response
    };
    let (sink, address) = serve(Router::new().route("/", get(handler))).await;
    let mut client = http1(address).await;
    let response = client.send_request(request("GET", "/")).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "fourfour"
    );
    assert_eq!(verdict(only(&sink.settled())), "200 success -");
    assert_eq!(polled.load(Ordering::SeqCst), 2);
}

/// The length that is announced, and the pieces of the body; what a client takes over HTTP/1.1, and over HTTP/2.
type Case = (
    &'static str,
    &'static [&'static str],
    Option<&'static str>,
    Option<&'static str>,
);

/// Over HTTP/1.1 hyper cuts a body at the length that was announced, and corrects the length of one that is empty. Over
/// HTTP/2 it sends both as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_length_is_a_success_if_the_client_can_take_what_the_server_makes_of_it()
{
    const FINE: &str = "200 success -";
    const BROKEN: &str = "200 failure RESPONSE_BODY_ERROR";
    let cases: [Case; 9] = [
        ("3", &["0123456789"], Some("012"), None),
        ("3", &["012", "3456789"], Some("012"), None),
        ("0", &["0123456789"], Some(""), None),
        ("5", &[], Some(""), None),
        ("5", &[""], None, None),
        ("5", &["012"], None, None),
        ("0", &[""], Some(""), Some("")),
        ("3", &["012"], Some("012"), Some("012")),
        ("3", &["01", "2", ""], Some("012"), Some("012")),
    ];
    for (announced, pieces, http1, http2) in cases {
        for (version, expected) in [(Version::HTTP_11, http1), (Version::HTTP_2, http2)] {
            for guarantee in [Guarantee::BestEffort, Guarantee::Durable] {
                let handler = move || async move {
                    let pieces = pieces.iter().map(|piece| Ok::<_, Infallible>(*piece));
                    let body = match pieces.len() {
                        0 => Body::empty(),
                        _ => Body::from_stream(stream::iter(pieces)),
                    };
                    ([(CONTENT_LENGTH, announced)], body)
                };
                let mut settings = CaptureSettings::default();
                settings.guarantees.default = guarantee;
                let (sink, layer) = audit_with(settings);
                let router = Router::new().route("/", get(handler)).layer(layer);
                let taken = taken(listen(router).await, version, "/").await;
                let case = format!("{announced} {pieces:?} {version:?} {guarantee}");
                assert_eq!(taken.as_deref(), expected.map(str::as_bytes), "{case}");
                // A row that the last frame waits for is made before anybody knows what follows.
                let too_early = guarantee == Guarantee::Durable && pieces.len() == 2;
                let is_fine = taken.is_some() || too_early;
                let verdict = verdict(only(&sink.settled()));
                assert_eq!(verdict, if is_fine { FINE } else { BROKEN }, "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_of_one_large_frame_has_not_got_it() {
    const SIZE: usize = 64 * 1024 * 1024;
    let handler = || async { Bytes::from(vec![0_u8; SIZE]) };
    let (sink, address) = serve(Router::new().route("/", get(handler))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    // The head and a little of the body, so that the server has begun to send it.
    let mut start = [0; 256];
    stream.read_exact(&mut start).await.unwrap();
    assert!(start.starts_with(b"HTTP/1.1 200 OK"));
    assert!(sink.rows().is_empty());
    drop(stream);
    assert_eq!(
        verdict(only(&sink.settled())),
        "200 failure CLIENT_CLOSED_MID_BODY"
    );

    // A client that reads gets it whole.
    let mut client = http1(address).await;
    let response = client.send_request(request("GET", "/")).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), SIZE);
    assert_eq!(verdict(&sink.wait_for(2)[1]), "200 success -");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_a_row_at_once_and_another_when_its_connection_closes() {
    let handler = |handle: RequestHandle, mut request: axum::extract::Request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let closed = handle.upgraded();
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            closed.received(io.read_exact(&mut word).await.unwrap());
            io.write_all(&word).await.unwrap();
            closed.sent(word.len());
            // Until the client is gone.
            closed.received(io.read(&mut word).await.unwrap());
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "echo")
            .body(Body::empty())
            .unwrap()
    };
    let (sink, address) = serve(Router::new().route("/ws/{id}", get(handler))).await;
    let mut request = request("GET", "/ws/7");
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    request
        .headers_mut()
        .insert(UPGRADE, HeaderValue::from_static("echo"));
    let response = http1(address).await.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let opened = sink.settled();
    assert_eq!(verdict(only(&opened)), "101 success -");
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    io.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    io.read_exact(&mut echo).await.unwrap();
    assert_eq!(sink.rows().len(), 1);
    drop(io);
    let closed = &sink.wait_for(2)[1];
    assert_eq!(closed.event, "api_connection_closed");
    assert_eq!(closed.request_id, opened[0].request_id);
    assert_eq!(exchange(closed).route.as_deref(), Some("/ws/{id}"));
    assert_eq!(
        closed.properties.as_deref(),
        Some(r#"{"bytesReceived":4,"bytesSent":4}"#)
    );
}
