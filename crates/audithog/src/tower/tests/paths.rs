use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Version};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::util::MapRequest;
use tower::{Layer, ServiceExt};

use super::{audit, audit_with, exchange, only};
use crate::RequestHandle;
use crate::capture::{CaptureSettings, MaskedParam};
use crate::tower::RouteTapLayer;

fn request(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn grpc(uri: &str) -> Request<Body> {
    Request::post(uri)
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .unwrap()
}

fn resets() -> Router {
    Router::new().route("/reset/{token}", get(|| async {}))
}

/// Lets nobody through.
fn no_room() -> GlobalConcurrencyLimitLayer {
    GlobalConcurrencyLimitLayer::with_semaphore(Arc::new(Semaphore::new(0)))
}

#[tokio::test]
async fn a_request_that_did_not_come_to_its_router_leaves_no_path_that_may_have_a_secret() {
    for (request, expected) in [
        (request("/reset/S3CRET"), ""),
        (request("/nowhere"), ""),
        (grpc("/agents.Agents/Publish"), "/agents.Agents/Publish"),
    ] {
        let (sink, layer) = audit();
        let app = layer.layer(no_room().layer(resets().layer(RouteTapLayer)));
        assert!(app.oneshot(request).now_or_never().is_none(), "it waits");
        let rows = sink.rows();
        let row = exchange(only(&rows));
        assert_eq!((&*row.path, row.route.as_deref()), (expected, None));
    }
}

/// A client says so, and may say it of any request.
#[tokio::test]
async fn only_what_looks_like_grpc_in_all_is_taken_for_a_call() {
    let (post, http2) = (Method::POST, Version::HTTP_2);
    for (method, version, kind, is_call) in [
        (&post, http2, "application/grpc", true),
        (&post, http2, "application/grpc+proto", true),
        (&post, http2, "application/grpc;charset=utf-8", true),
        (&post, http2, "application/grpc-web", true),
        (&post, http2, "application/grpc-web+proto", true),
        (&post, http2, "application/grpc-web-text", true),
        (&post, http2, "application/grpc-web-text+proto", true),
        (&post, http2, "application/grpcish", false),
        (&post, http2, "application/grpc-webbed", false),
        (&post, http2, "application/json", false),
        (&post, Version::HTTP_11, "application/grpc", false),
        (&Method::GET, http2, "application/grpc", false),
        (&Method::PUT, http2, "application/grpc", false),
    ] {
        let (sink, layer) = audit();
        let app = layer.layer(no_room().layer(resets()));
        let mut request = grpc("/reset/S3CRET");
        *request.method_mut() = method.clone();
        *request.version_mut() = version;
        let content_type = kind.parse().unwrap();
        request.headers_mut().insert("content-type", content_type);
        assert!(app.oneshot(request).now_or_never().is_none(), "it waits");
        let rows = sink.rows();
        let expected = if is_call { "/reset/S3CRET" } else { "" };
        let path = &*exchange(only(&rows)).path;
        assert_eq!(path, expected, "{method} {version:?} {kind}");
    }
}

/// Its template masks it.
#[tokio::test]
async fn within_its_router_a_request_that_waited_in_vain_has_its_path() {
    let (sink, layer) = audit();
    let app = resets().layer((layer, no_room()));
    let waits = app.oneshot(request("/reset/S3CRET")).now_or_never();
    assert!(waits.is_none());
    assert_eq!(&*exchange(only(&sink.rows())).path, "/reset/{token}");
}

#[tokio::test]
async fn what_a_middleware_in_front_of_a_tapped_router_answers_leaves_no_path() {
    async fn signed_in(request: Request<Body>, next: Next) -> Response {
        if request.headers().contains_key("authorization") {
            next.run(request).await
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        }
    }
    let signed = |uri: &str| {
        let mut request = request(uri);
        let key = "x".parse().unwrap();
        request.headers_mut().insert("authorization", key);
        request
    };
    let requests = || {
        [
            // A 404 that the router answers.
            signed("/nowhere"),
            signed("/reset/S3CRET"),
            request("/reset/S3CRET"),
            request("/nowhere"),
            grpc("/agents.Agents/Publish"),
            signed("/nowhere"),
        ]
    };
    let call = "/agents.Agents/Publish";
    for (tapped, expected) in [
        (
            true,
            ["/nowhere", "/reset/{token}", "", "", call, "/nowhere"],
        ),
        // Nothing tells a route: no path would be left.
        (
            false,
            [
                "/nowhere",
                "/reset/S3CRET",
                "/reset/S3CRET",
                "/nowhere",
                call,
                "/nowhere",
            ],
        ),
    ] {
        let (sink, layer) = audit();
        let router = if tapped {
            resets().layer(RouteTapLayer)
        } else {
            resets()
        };
        let app = layer.layer(from_fn(signed_in).layer(router));
        for request in requests() {
            let _status = app.clone().oneshot(request).await.unwrap();
        }
        let rows = sink.rows();
        let paths: Vec<&str> = rows.iter().map(|row| &*exchange(row).path).collect();
        assert_eq!(paths, expected);
    }
}

/// A router that dispatches to others, by host for example, has a route of its own.
#[tokio::test]
async fn the_secrets_of_a_router_within_another_are_masked_too() {
    for (inner, path, expected) in [
        ("/reset/{token}", "/reset/S3CRET", "/reset/{token}"),
        ("/reset/{id}", "/reset/7", "/reset/7"),
        // By the handle.
        ("/magic/{link}", "/magic/S3CRET", "/magic/{link}"),
        // A prefix was taken away.
        ("/reset/{token}", "/v1/reset/S3CRET", "/v1/reset/{token}"),
        ("/{token}/{*rest}", "/v1/S3CRET/a", "/{token}/{rest}"),
    ] {
        let masks = |handle: RequestHandle| async move {
            handle.mask_path_param("link");
        };
        let inner = Router::new().route(inner, get(masks));
        for inner in [inner.clone().layer(RouteTapLayer), inner.layer(audit().1)] {
            let inner = MapRequest::new(inner, without_prefix);
            let dispatch = move |request: Request<Body>| inner.clone().oneshot(request);
            let (sink, layer) = audit();
            let app = Router::new().route("/{*path}", any(dispatch)).layer(layer);
            let response = app.oneshot(request(path)).await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            let rows = sink.rows();
            let row = exchange(only(&rows));
            assert_eq!(&*row.path, expected);
            assert_eq!(row.route.as_deref(), Some("/{*path}"));
        }
    }
}

/// As a handler that takes many requests in one does.
#[tokio::test]
async fn what_is_asked_for_within_a_request_of_plain_text_hides_no_path() {
    let inner = resets().layer(RouteTapLayer);
    let batch = move |mut request: Request<Body>| {
        *request.uri_mut() = "/reset/S3CRET".parse().unwrap();
        inner.clone().oneshot(request)
    };
    let (sink, layer) = audit();
    let app = Router::new().route("/batch", any(batch)).layer(layer);
    let response = app.oneshot(request("/batch")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(&*exchange(only(&sink.rows())).path, "/batch");
}

#[tokio::test]
async fn a_secret_is_masked_however_long_the_template_before_it_is() {
    let long = "a".repeat(510);
    let by_route = CaptureSettings {
        masked_params: vec![MaskedParam {
            route: Some(format!("/{long}/{{link}}")),
            name: "link".to_owned(),
        }],
        ..CaptureSettings::default()
    };
    for (parameter, settings, is_masked) in [
        ("token", CaptureSettings::default(), true),
        ("link", by_route.clone(), true),
        ("other", by_route, false),
        ("said", CaptureSettings::default(), true),
    ] {
        let answer = async move |handle: RequestHandle| {
            if parameter == "said" {
                handle.mask_path_param(parameter);
            }
        };
        let router = Router::new().route(&format!("/{long}/{{{parameter}}}"), get(answer));
        for around in [false, true] {
            let (sink, layer) = audit_with(settings.clone());
            let path = format!("/{long}/S3CRET");
            let (request, router) = (request(&path), router.clone());
            let status = if around {
                let app = layer.layer(router.layer(RouteTapLayer));
                app.oneshot(request).await.unwrap().status()
            } else {
                router.layer(layer).oneshot(request).await.unwrap().status()
            };
            assert_eq!(status, 200);
            let rows = sink.rows();
            let row = exchange(only(&rows));
            let expected = if is_masked {
                row.route.as_deref().unwrap()
            } else {
                &path
            };
            assert_eq!(&*row.path, expected, "{parameter} {around}");
            assert!(
                row.route
                    .as_deref()
                    .is_some_and(|route| route.ends_with('…'))
            );
        }
    }
}

/// What is kept of it ends elsewhere.
#[tokio::test]
async fn a_path_that_is_too_long_to_be_kept_is_replaced_by_its_template() {
    // Fits a URI, and is longer than 64 KiB with its escapes.
    let long = "\u{202e}".repeat(15_000);
    let path = format!("/v1/S3CRET/{long}/7");
    for (route, expected) in [
        ("/{token}/{name}/{id}", Some("/{token}/{name}/{id}")),
        // Nothing is secret.
        ("/{agent}/{name}/{id}", None),
    ] {
        let router = Router::new().route(route, get(|| async {}));
        for router in [router.clone().layer(RouteTapLayer), router.layer(audit().1)] {
            let (sink, layer) = audit();
            let app = layer.layer(MapRequest::new(router, without_prefix));
            let response = app.oneshot(request(&path)).await.unwrap();
            assert_eq!(response.status(), 200);
            let rows = sink.rows();
            let stored = &*exchange(only(&rows)).path;
            match expected {
                Some(expected) => assert_eq!(stored, expected),
                None => {
                    assert!(stored.starts_with(r"/v1/S3CRET/\u{202e}") && stored.ends_with('…'));
                }
            }
        }
    }
}

/// Takes `/v1` away, as a gateway in front of a router does.
fn without_prefix(mut request: Request<Body>) -> Request<Body> {
    let path = request.uri().path();
    let inner = path.strip_prefix("/v1").unwrap_or(path).parse();
    *request.uri_mut() = inner.unwrap();
    request
}

#[tokio::test]
async fn behind_a_prefix_that_was_taken_away_no_secret_is_taken_for_another_segment() {
    for (route, path, expected) in [
        ("/{token}/{*rest}", "/v1/S3CRET/a/b", "/{token}/{rest}"),
        ("/{token}/{*rest}", "/S3CRET/a/b", "/{token}/{rest}"),
        ("/{token}/{*rest}", "/v1/S3CRET//", "/{token}/{rest}"),
        (
            "/f/{token}/{*rest}",
            "/v1/f/S3CRET/a/b",
            "/v1/f/{token}/a/b",
        ),
        ("/{token}/{id}", "/v1/S3CRET/7", "/v1/{token}/7"),
        ("/{id}/{*rest}", "/v1/7/a/b", "/v1/7/a/b"),
    ] {
        let router = Router::new().route(route, get(|| async {}));
        for router in [router.clone().layer(RouteTapLayer), router.layer(audit().1)] {
            let (sink, layer) = audit();
            let app = layer.layer(MapRequest::new(router, without_prefix));
            let response = app.oneshot(request(path)).await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            let rows = sink.rows();
            assert_eq!(&*exchange(only(&rows)).path, expected, "{path} by {route}");
        }
    }
}

#[tokio::test]
async fn a_catch_all_is_masked_exactly_where_the_layer_sees_the_route() {
    let ok = || get(|| async {});
    let nested = Router::new().route("/{token}/{*rest}", ok());
    let router = Router::new()
        .route("/{token}/{*rest}", ok())
        .nest("/v1/{org}", nested);
    for (path, expected) in [
        ("/S3CRET/a/b", "/{token}/a/b"),
        ("/v1/7/S3CRET/a/b", "/v1/7/{token}/a/b"),
    ] {
        let (sink, layer) = audit();
        let app = router.clone().layer(layer);
        let response = app.oneshot(request(path)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let rows = sink.rows();
        assert_eq!(&*exchange(only(&rows)).path, expected);
    }
}

#[tokio::test]
async fn a_layer_within_a_router_knows_that_a_prefix_was_taken_away() {
    for (route, expected) in [
        ("/{token}/{*rest}", "/{token}/{rest}"),
        ("/{token}/a/{*rest}", "/v1/{token}/a/b"),
    ] {
        let (sink, layer) = audit();
        let inner = Router::new().route(route, get(|| async {})).layer(layer);
        let app = Router::new().fallback_service(MapRequest::new(inner, without_prefix));
        let response = app.oneshot(request("/v1/S3CRET/a/b")).await.unwrap();
        assert_eq!(response.status(), 200);
        let rows = sink.rows();
        assert_eq!(&*exchange(only(&rows)).path, expected);
    }
}
