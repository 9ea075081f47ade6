use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path};
use axum::http::header::{HeaderMap, HeaderValue};
use axum::http::{Request, Response, StatusCode};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{any_service, get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::request_id::{
    MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};

use super::{audit, audited, exchange, only, recorder, verdict};
use crate::capture::CaptureSettings;
use crate::record::{Actor, End, Row};
use crate::tower::{AuditLayer, ErrorCode, PeerAddr, RouteTapLayer};
use crate::{RequestHandle, current};

fn request(method: &str, uri: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    request.body(Body::empty()).unwrap()
}

/// Sends a request, reads the whole response, and checks that there is one row.
async fn row_of(router: Router, request: Request<Body>) -> (Row, Response<Bytes>) {
    let (sink, app) = audited(router);
    let response = app.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        only(&sink.rows()).clone(),
        Response::from_parts(parts, body),
    )
}

async fn get_row(router: Router, uri: &str) -> Row {
    row_of(router, request("GET", uri)).await.0
}

#[tokio::test]
async fn each_kind_of_answer_is_one_row() {
    let router = || {
        Router::new()
            .route("/ok", get(|| async { "fine" }))
            .route("/empty", get(|| async {}))
            .route("/none", get(|| async { StatusCode::NO_CONTENT }))
            .route("/same", get(|| async { StatusCode::NOT_MODIFIED }))
            .route("/fail", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
            .route(
                "/limit",
                post(|| async { (StatusCode::CONFLICT, ErrorCode::new("AGENT_LIMIT"), "no") }),
            )
            .route(
                "/unused",
                get(|| async { (ErrorCode::new("UNUSED"), "fine") }),
            )
    };
    for (method, uri, route, expected) in [
        ("GET", "/ok", Some("/ok"), "200 success -"),
        ("HEAD", "/ok", Some("/ok"), "200 success -"),
        ("GET", "/empty", Some("/empty"), "200 success -"),
        ("GET", "/none", Some("/none"), "204 success -"),
        ("GET", "/same", Some("/same"), "304 success -"),
        (
            "GET",
            "/fail",
            Some("/fail"),
            "500 failure INTERNAL_SERVER_ERROR",
        ),
        ("POST", "/limit", Some("/limit"), "409 failure AGENT_LIMIT"),
        ("GET", "/unused", Some("/unused"), "200 success -"),
        (
            "DELETE",
            "/ok",
            Some("/ok"),
            "405 failure METHOD_NOT_ALLOWED",
        ),
        ("GET", "/nowhere?q=s3cret", None, "404 failure NOT_FOUND"),
    ] {
        let (row, _) = row_of(router(), request(method, uri)).await;
        assert_eq!(verdict(&row), expected, "{method} {uri}");
        assert_eq!(exchange(&row).route.as_deref(), route, "{method} {uri}");
        assert_eq!(&*exchange(&row).method, method);
        assert!(!format!("{row:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn handlers_and_inner_middleware_say_who_and_why() {
    async fn authenticate(
        handle: RequestHandle,
        request: axum::extract::Request,
        next: Next,
    ) -> impl IntoResponse {
        handle.set_actor(Actor::user("u1").role("admin"));
        next.run(request).await
    }
    let handler = |handle: RequestHandle, missing: Option<Extension<u8>>| async move {
        assert!(missing.is_none());
        handle.set_error_code("FROM_HANDLE");
        assert_eq!(current().unwrap().request_id(), handle.request_id());
        (StatusCode::BAD_REQUEST, handle.request_id().to_owned())
    };
    let router = Router::new()
        .route("/", get(handler))
        .layer(middleware::from_fn(authenticate));
    let (row, response) = row_of(router, request("GET", "/")).await;
    assert_eq!(verdict(&row), "400 failure FROM_HANDLE");
    assert_eq!(row.actor.user_id(), Some("u1"));
    assert_eq!(response.headers()["x-request-id"], row.id.to_string());
    assert_eq!(response.body(), row.id.to_string().as_bytes());
    assert!(current().is_none());
}

#[tokio::test]
async fn an_empty_code_on_a_response_is_none() {
    let with = |code: &'static str| {
        move |handle: RequestHandle| async move {
            handle.set_error_code("FROM_HANDLE");
            (StatusCode::BAD_REQUEST, ErrorCode::new(code))
        }
    };
    let only = || async { (StatusCode::BAD_REQUEST, ErrorCode::new("")) };
    let router = Router::new()
        .route("/empty", get(with("")))
        .route("/blank", get(with(" \t")))
        .route("/given", get(with("FROM_RESPONSE")))
        .route("/only", get(only));
    for (uri, expected) in [
        ("/empty", "400 failure FROM_HANDLE"),
        ("/blank", "400 failure FROM_HANDLE"),
        ("/given", "400 failure FROM_RESPONSE"),
        ("/only", "400 failure BAD_REQUEST"),
    ] {
        assert_eq!(
            verdict(&get_row(router.clone(), uri).await),
            expected,
            "{uri}"
        );
    }
}

#[tokio::test]
async fn an_inner_refusal_has_a_row_with_its_route() {
    let refuse = |_: axum::extract::Request, _: Next| async { StatusCode::UNAUTHORIZED };
    let router = Router::new()
        .route("/reset/{token}", get(|| async {}))
        .layer(middleware::from_fn(refuse));
    let row = get_row(router, "/reset/s3cret").await;
    assert_eq!(verdict(&row), "401 failure UNAUTHORIZED");
    assert_eq!(&*exchange(&row).path, "/reset/{token}");
}

#[tokio::test]
async fn without_a_layer_the_extractor_says_what_to_do() {
    let required = |_: RequestHandle| async {};
    let optional = |handle: Option<RequestHandle>| async move { assert!(handle.is_none()) };
    let app: Router = Router::new()
        .route("/required", get(required))
        .route("/optional", get(optional));
    let status = |uri| {
        app.clone()
            .oneshot(request("GET", uri))
            .map(|r| r.unwrap().status())
    };
    assert_eq!(status("/required").await, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(status("/optional").await, StatusCode::OK);
    assert!(crate::MissingLayer.to_string().contains("goes last"));
}

#[tokio::test]
async fn nested_routers_fallbacks_and_nested_services() {
    let inner = Router::new().route(
        "/agents/{id}",
        get(|Path(id): Path<String>| async move { id }),
    );
    let router = Router::new()
        .nest("/api", inner.clone())
        .nest_service("/files", inner.clone())
        .fallback(|| async { (StatusCode::NOT_FOUND, "custom") });
    for (uri, path, route, expected) in [
        (
            "/api/agents/7",
            "/api/agents/7",
            Some("/api/agents/{id}"),
            "200 success -",
        ),
        ("/api/nope", "/api/nope", None, "404 failure NOT_FOUND"),
        ("/files/agents/7", "/files/agents/7", None, "200 success -"),
        ("/nope", "/nope", None, "404 failure NOT_FOUND"),
    ] {
        let row = get_row(router.clone(), uri).await;
        assert_eq!(verdict(&row), expected, "{uri}");
        assert_eq!(&*exchange(&row).path, path);
        assert_eq!(exchange(&row).route.as_deref(), route, "{uri}");
    }
    // A layer inside a nested router: the path is still the whole one.
    let (sink, nested) = audited(inner);
    let app: Router = Router::new()
        .nest("/api", nested.clone())
        .nest_service("/files", nested);
    for path in ["/api/agents/7", "/files/agents/7"] {
        let response = app.clone().oneshot(request("GET", path)).await.unwrap();
        drop(response.into_body().collect().await);
        assert_eq!(&*exchange(sink.rows().last().unwrap()).path, path);
    }
}

#[tokio::test]
async fn two_layers_make_one_row() {
    let (inner_sink, inner) = audit();
    let router = Router::new()
        .route(
            "/",
            get(|handle: RequestHandle| async move {
                handle.set_actor(Actor::user("u1"));
                "x"
            }),
        )
        .layer(inner);
    let (row, response) = row_of(router, request("GET", "/")).await;
    assert_eq!(verdict(&row), "200 success -");
    assert_eq!(row.actor.user_id(), Some("u1"));
    assert_eq!(inner_sink.seen(), 0);
    assert_eq!(response.headers().get_all("x-request-id").iter().count(), 1);
}

/// Also where a shutdown ends the request between the two: it is one request.
#[tokio::test]
async fn a_request_that_a_shutdown_ended_passes_the_layer_inside() {
    let (sink, recorder) = recorder(CaptureSettings::default());
    let layer = AuditLayer::new(recorder.clone());
    let kept: Arc<std::sync::Mutex<Option<RequestHandle>>> = Arc::default();
    let slot = Arc::clone(&kept);
    let shut_down = move |request: axum::extract::Request, next: Next| {
        *slot.lock().unwrap() = request.extensions().get().cloned();
        recorder.finish_all(End::ServerShutdown);
        next.run(request)
    };
    let app = Router::new()
        .route("/", get(|| async {}))
        .layer(layer.clone())
        .layer(middleware::from_fn(shut_down))
        .layer(layer.clone());
    let response = app.oneshot(request("GET", "/")).await.unwrap();
    assert_eq!(response.status(), 200);
    drop(response);
    assert_eq!(sink.seen(), 1);
    assert_eq!(verdict(only(&sink.rows())), "- failure SERVER_SHUTDOWN");
    // Another request, whose extensions someone took over from it.
    let mut next = request("GET", "/");
    next.extensions_mut()
        .insert(kept.lock().unwrap().clone().unwrap());
    let app = Router::new().route("/", get(|| async {})).layer(layer);
    app.oneshot(next).await.unwrap();
    assert_eq!((sink.seen(), sink.rows().len()), (2, 2));
}

#[tokio::test]
async fn extensions_that_outlived_their_request_do_not_hide_the_next() {
    let (sink, app) = audited(Router::new().route("/", get(|| async {})));
    let kept: std::sync::Mutex<Option<RequestHandle>> = std::sync::Mutex::default();
    let kept = Arc::new(kept);
    let slot = Arc::clone(&kept);
    let keep = service_fn(move |request: Request<Body>| {
        *slot.lock().unwrap() = request.extensions().get().cloned();
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let (_, layer) = audit();
    layer
        .layer(keep)
        .oneshot(request("GET", "/first"))
        .await
        .unwrap();
    let mut next = request("GET", "/");
    next.extensions_mut()
        .insert(kept.lock().unwrap().clone().unwrap());
    app.oneshot(next).await.unwrap();
    assert_eq!(only(&sink.rows()).event, "api_request");
}

#[tokio::test]
async fn around_the_whole_service_a_tap_tells_the_route() {
    let router = Router::new().route("/reset/{token}", get(|| async { "x" }));
    for (router, route) in [
        (router.clone(), None),
        (router.clone().layer(RouteTapLayer), Some("/reset/{token}")),
        (router.layer(audit().1), Some("/reset/{token}")),
    ] {
        let (sink, layer) = audit();
        let app = layer.layer(NormalizePathLayer::trim_trailing_slash().layer(router));
        let response = app.oneshot(request("GET", "/reset/abc/")).await.unwrap();
        assert_eq!(response.status(), 200);
        drop(response.into_body().collect().await);
        let rows = sink.rows();
        assert_eq!(exchange(only(&rows)).route.as_deref(), route);
        let path = if route.is_some() {
            "/reset/{token}/"
        } else {
            "/reset/abc/"
        };
        assert_eq!(&*exchange(only(&rows)).path, path);
    }
}

#[tokio::test]
async fn the_request_id_is_one_for_all() {
    let ids = |Extension(theirs): Extension<RequestId>, ours: RequestHandle, headers: HeaderMap| async move {
        assert_eq!(theirs.header_value(), ours.request_id());
        assert_eq!(headers["x-request-id"], ours.request_id());
        assert_eq!(headers.get_all("x-request-id").iter().count(), 1);
    };
    let router = Router::new()
        .route("/", get(ids))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid));
    let mut request = request("GET", "/");
    request
        .headers_mut()
        .append("x-request-id", HeaderValue::from_static("forged"));
    request
        .headers_mut()
        .append("x-request-id", HeaderValue::from_static("forged too"));
    let (row, response) = row_of(router, request).await;
    assert_eq!(verdict(&row), "200 success -");
    let headers: Vec<_> = response.headers().get_all("x-request-id").iter().collect();
    assert_eq!(headers, [&row.id.to_string()]);
    assert_eq!(exchange(&row).upstream_request_id, None);
}

#[tokio::test]
async fn the_peer_is_found_where_servers_put_it() {
    let peer: SocketAddr = "192.0.2.7:4711".parse().unwrap();
    let ip_with = |put: fn(&mut Request<Body>, SocketAddr)| async move {
        let mut request = request("GET", "/");
        put(&mut request, peer);
        let (row, _) = row_of(Router::new(), request).await;
        exchange(&row).ip
    };
    let own = ip_with(|r, peer| {
        r.extensions_mut().insert(PeerAddr(peer));
    })
    .await;
    let axums = ip_with(|r, peer| {
        r.extensions_mut().insert(ConnectInfo(peer));
    })
    .await;
    let none = ip_with(|_, _| {}).await;
    assert_eq!((own, axums, none), (Some(peer.ip()), Some(peer.ip()), None));
}

#[tokio::test]
async fn any_service_may_be_audited_inside_a_router() {
    let (sink, layer) = audit();
    let plain = service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"x"))))
    });
    let app: Router = Router::new().route("/", any_service(layer.layer(plain)));
    let response = app.oneshot(request("GET", "/")).await.unwrap();
    drop(response.into_body().collect().await);
    assert_eq!(verdict(only(&sink.rows())), "200 success -");
}
