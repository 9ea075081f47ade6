use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use tower::{Layer, ServiceExt};

use super::{audit_with, exchange, only};
use crate::RequestHandle;
use crate::capture::{CaptureSettings, MaskedParam};
use crate::tower::RouteTapLayer;

fn request(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
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
