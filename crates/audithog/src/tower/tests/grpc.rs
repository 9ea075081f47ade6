//! gRPC as it is on the wire: HTTP/2, the outcome in the trailers, the layer around a service that is no router.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer as _;

use super::{audit, exchange, only, verdict};
use crate::tower::PeerAddr;

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
