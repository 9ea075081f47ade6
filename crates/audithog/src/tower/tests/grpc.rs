//! gRPC: where a response says how its call ended. And as it is on the wire: HTTP/2, the layer around a service that is no router.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer as _;

use super::ends::{answer_over, data, frames, trailers};
use super::{audit, exchange, only, verdict};
use crate::tower::PeerAddr;

fn call(version: Version) -> Request<()> {
    let request = Request::builder().method(Method::POST).version(version);
    request.body(()).unwrap()
}

fn answer<B>(content_type: &'static str, status: Option<&'static str>, body: B) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(status) = status {
        headers.insert("grpc-status", HeaderValue::from_static(status));
    }
    response
}

#[tokio::test]
async fn failures_are_failures_although_the_status_is_200() {
    for (content_type, status, expected) in [
        ("application/grpc", "0", "200 success -"),
        (
            "application/grpc+proto",
            "7",
            "200 failure GRPC_PERMISSION_DENIED",
        ),
        ("application/grpc", "seven", "200 failure GRPC_UNKNOWN"),
        ("application/json", "7", "200 success -"),
    ] {
        let body = frames(vec![data("x"), trailers("grpc-status", status)]);
        let mut response = answer(content_type, None, body);
        // A length does not end it: the trailers count.
        let length = HeaderValue::from_static("1");
        response.headers_mut().insert(CONTENT_LENGTH, length);
        let (sink, response) = answer_over(call(Version::HTTP_2), response).await;
        drop(response.into_body().collect().await);
        assert_eq!(
            verdict(only(&sink.rows())),
            expected,
            "{content_type} {status}"
        );
    }
}

#[tokio::test]
async fn a_call_without_a_body_says_it_in_its_head() {
    for (content_type, status, expected) in [
        ("application/grpc", Some("5"), "200 failure GRPC_NOT_FOUND"),
        ("application/grpc", None, "200 failure GRPC_UNKNOWN"),
        (
            "application/grpc-web+proto",
            Some("5"),
            "200 failure GRPC_NOT_FOUND",
        ),
        (
            "application/grpc-web-text",
            Some("5"),
            "200 failure GRPC_NOT_FOUND",
        ),
        ("application/grpc-web", None, "200 success -"),
        ("application/grpcish", Some("5"), "200 success -"),
    ] {
        let response = answer(content_type, status, Empty::<Bytes>::new());
        let (sink, _response) = answer_over(call(Version::HTTP_2), response).await;
        assert_eq!(verdict(only(&sink.rows())), expected, "{content_type}");
    }
}

/// As clients see it.
#[tokio::test]
async fn a_call_that_ends_without_a_status_is_a_failure() {
    let response = answer("application/grpc", None, frames(vec![data("x")]));
    let (sink, response) = answer_over(call(Version::HTTP_2), response).await;
    drop(response.into_body().collect().await);
    assert_eq!(verdict(only(&sink.rows())), "200 failure GRPC_UNKNOWN");
}

/// There a server stops asking after the last byte that was announced, so that nothing may wait for trailers.
#[tokio::test]
async fn over_http1_a_length_ends_a_call_as_it_ends_everything() {
    let mut response = answer("application/grpc", Some("0"), frames(vec![data("x")]));
    let length = HeaderValue::from_static("1");
    response.headers_mut().insert(CONTENT_LENGTH, length);
    let (sink, response) = answer_over(call(Version::HTTP_11), response).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(verdict(only(&sink.rows())), "200 success -");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_in_the_trailers_is_the_outcome() {
    let (sink, layer) = audit();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = layer.layer(tower::service_fn(|request: Request<Incoming>| async move {
        let status = HeaderValue::from_str(&request.uri().path()[1..]).unwrap();
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status)]);
        let frames = [
            Frame::data(Bytes::from_static(b"\0\0\0\0\0")),
            Frame::trailers(trailers),
        ];
        let frames = frames.map(Ok::<_, Infallible>);
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let mut response = Response::new(body);
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, grpc);
        Ok::<_, Infallible>(response)
    }));
    tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let service = tower::ServiceExt::map_request(service, move |mut request: Request<_>| {
            request.extensions_mut().insert(PeerAddr(peer));
            request
        });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .await
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    for (n, (status, expected)) in [
        ("0", "200 success -"),
        ("5", "200 failure GRPC_NOT_FOUND"),
        ("16", "200 failure GRPC_UNAUTHENTICATED"),
    ]
    .into_iter()
    .enumerate()
    {
        let uri = format!("http://{address}/{status}");
        let request = Request::post(uri).body(Empty::<Bytes>::new()).unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], status);
        let rows = sink.wait_for(n + 1);
        let row = only(&rows[n..]);
        assert_eq!(verdict(row), expected);
        assert_eq!(exchange(row).ip, Some(address.ip()));
        assert_eq!(exchange(row).route, None);
    }
}
