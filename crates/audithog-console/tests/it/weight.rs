//! What a page weighs on the wire.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use tower::ServiceExt as _;

use crate::browser::driver::Browser;
use crate::shop::{Running, Shop, quiet};

async fn headers(app: &Router, uri: &str, given: &[(&str, &str)]) -> HeaderMap {
    let mut request = Request::builder()
        .uri(uri)
        .header("host", "shop.example")
        .header("accept-encoding", "gzip, deflate, br");
    for (name, value) in given {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    // A stream of new rows does not end: its body is left.
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{uri}");
    response.headers().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_compressed_and_streams_are_not() {
    let shop = Shop::open();
    shop.traffic(20).await;
    let app: Router = quiet(shop.path()).router();
    let asked = [("sec-fetch-site", "same-origin")];
    for (uri, compressed) in [
        ("/", true),
        ("/log", true),
        ("/health", true),
        ("/assets/console.css", true),
        ("/assets/console.js", true),
        ("/log/live", false),
        ("/log/export?format=csv", false),
        ("/log/export?format=ndjson", false),
    ] {
        let headers = headers(&app, uri, &asked).await;
        let encoding = headers.get("content-encoding");
        assert_eq!(encoding.is_some_and(|by| by == "gzip"), compressed, "{uri}");
    }
}

/// Whoever leads a browser here with words of their own must not see by the length which of them the page has, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_site_led_to_has_its_full_length() {
    let shop = Shop::open();
    shop.traffic(20).await;
    let app: Router = quiet(shop.path()).router();
    let https = ("x-forwarded-proto", "https");
    for (given, compressed) in [
        (&[("sec-fetch-site", "none"), https][..], true),
        (&[("sec-fetch-site", "same-origin"), https], true),
        (
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                https,
            ],
            false,
        ),
        (
            &[
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-mode", "navigate"),
                https,
            ],
            false,
        ),
        // A browser that does not say, over TLS and without.
        (&[https], false),
        (&[], true),
    ] {
        for uri in ["/log?user=ada", "/health", "/?since=7d"] {
            let headers = headers(&app, uri, given).await;
            let encoded = headers.contains_key("content-encoding");
            assert_eq!(encoded, compressed, "{uri} {given:?}");
        }
    }
}

/// Bytes of a page and all that it loads.
const TRANSFERRED: &str = "const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]; \
                           return all.reduce((sum, entry) => sum + entry.transferSize, 0)";

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_is_small_however_much_is_shown() {
    let shop = Shop::open_at(SystemTime::now() - Duration::from_secs(86_000));
    shop.many_routes().await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("")).await;
    browser
        .until("return /last row .* ago/.test(document.querySelector('#pulse').textContent)")
        .await;
    assert!(browser.count(".answers tbody tr").await >= 60);
    assert!(browser.count(".chart svg a").await >= 90);
    let transferred = browser.run(TRANSFERRED).await.as_f64().unwrap();
    assert!(
        transferred > 10_000.0 && transferred <= 150.0 * 1_024.0,
        "{transferred} bytes"
    );
}
