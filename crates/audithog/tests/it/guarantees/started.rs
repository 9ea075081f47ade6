//! The row of a request that begins, when the layer is around the whole service: it comes before anybody knows the route.

use std::time::Duration;

use audithog::{Builder, Guarantee, Logger, RequestHandle, RouteTapLayer};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Version};
use axum::routing::{any, get};
use tower::{Layer as _, ServiceExt as _};

use super::{Stall, rows};

/// Sends the requests through a layer that is outside of the router, and ends. Path, status and error code of the rows of both kinds.
async fn rows_of<const N: usize>(
    of: impl FnOnce(Builder) -> Builder,
    requests: [Request<Body>; N],
) -> [Vec<(String, Option<u16>, Option<String>)>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let builder = Logger::builder().environment::<&str, &str>([]);
    let builder = builder.database(&path).guarantee(Guarantee::FailClosed);
    let logger = of(builder).start().unwrap();
    let masks = |handle: RequestHandle| async move {
        assert!(handle.mask_path_param("link"));
    };
    let router = Router::new()
        .route("/reset/{token}", get(async || {}))
        .route("/magic/{link}", get(masks))
        .route("/healthz", get(async || {}))
        .route("/agents.Agents/Publish", any(async || {}))
        .layer(RouteTapLayer);
    let service = logger.layer().layer(router);
    for request in requests {
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert!(logger.shutdown(None).await.closed);
    ["api_request_started", "api_request"].map(|event| rows(&path, event))
}

fn at(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn paths(rows: &[(String, Option<u16>, Option<String>)]) -> Vec<&str> {
    rows.iter().map(|(path, ..)| &**path).collect()
}

#[tokio::test]
async fn no_path_is_stored_before_its_secrets_are_known() {
    let requests = [at("/reset/S3CRET"), at("/magic/S3CRET"), at("/healthz")];
    let [started, ended] = rows_of(|builder| builder, requests).await;
    assert_eq!(paths(&started), ["", "", ""]);
    assert_eq!(
        paths(&ended),
        ["/reset/{token}", "/magic/{link}", "/healthz"]
    );
}

#[tokio::test]
async fn a_remote_procedure_is_no_secret() {
    let mut call = at("/agents.Agents/Publish");
    *call.method_mut() = Method::POST;
    *call.version_mut() = Version::HTTP_2;
    let kind = "application/grpc+proto".parse().unwrap();
    call.headers_mut().insert("content-type", kind);
    let [started, _] = rows_of(|builder| builder, [call]).await;
    assert_eq!(paths(&started), ["/agents.Agents/Publish"]);
}

/// Nobody ever knows its route.
#[tokio::test]
async fn no_path_is_stored_of_a_request_whose_start_did_not_come_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let builder = Logger::builder().environment::<&str, &str>([]);
    let builder = builder.database(&path).guarantee(Guarantee::FailClosed);
    let limit = Duration::from_millis(100);
    let logger = builder.guarantee_timeout(limit).start().unwrap();
    let router = Router::new().route("/reset/{token}", get(async || {}));
    let service = logger.layer().layer(router.layer(RouteTapLayer));
    let stall = Stall::begin(&path);
    let response = service.oneshot(at("/reset/S3CRET")).await.unwrap();
    assert_eq!(response.status(), 503);
    stall.end();
    assert!(logger.shutdown(None).await.closed);
    for event in ["api_request_started", "api_request"] {
        assert_eq!(paths(&rows(&path, event)), [""], "{event}");
    }
}

/// A start without an end says that the handler crashed.
#[tokio::test]
async fn a_start_is_followed_by_its_end_although_the_route_is_excluded() {
    let exclude = |builder: Builder| builder.exclude(None, "/healthz");
    let [started, ended] = rows_of(exclude, [at("/healthz")]).await;
    assert_eq!((started.len(), ended.len()), (1, 1));
}
