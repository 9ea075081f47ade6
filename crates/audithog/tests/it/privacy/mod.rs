//! Secrets are planted wherever an application meets them, then looked for wherever audithog writes.
//!
//! A canary that may be kept is planted beside them: the search has to find it in every place where
//! rows go, so that an empty result means something.

mod watch;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::Path;

use audithog::testing::PostHogStandIn;
use audithog::testing::standin::{Fault, Verdict};
use audithog::{Actor, Builder, Error, ErrorCode, Logger, RequestHandle};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt as _;
use futures_util::stream;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use watch::{MARK, Place, Tap, capture_log, files, files_in_use, log, percent_encoded};

const CANARY: &str = "canary that may be kept";

/// Unique, and none of the encodings leaves it as it is.
fn secret(label: &str) -> String {
    format!("{MARK}{label}=end/é")
}

/// Of an API key: no character that a header or PostHog refuses.
fn key_secret(label: &str) -> String {
    format!("phc_{MARK}{label}=end/")
}

/// The labels of every secret that the application below meets.
const LABELS: [&str; 43] = [
    "query",
    "request-body",
    "response-body",
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "custom-header",
    "referer",
    "location",
    "forwarded-for",
    "request-id",
    "baggage",
    "path-token",
    "path-code",
    "path-nested",
    "path-rest",
    "path-numbered",
    "path-marked-by-code",
    "path-marked-by-handler",
    "path-405",
    "path-panic",
    "path-head",
    "property-password",
    "property-nested",
    "property-numbered",
    "property-list",
    "property-below-secret",
    "property-of-struct",
    "property-map-key",
    "property-long-name",
    "property-too-deep",
    "panic",
    "panic-in-body",
    "body-error",
    "error-body",
    "event-outside",
    "event-durable",
    "query-of-404",
    "fragment",
    "extension",
    "dead-letter",
];

fn secrets() -> Vec<String> {
    LABELS.iter().map(|label| secret(label)).collect()
}

#[derive(serde::Serialize)]
struct SignUp {
    note: &'static str,
    email: String,
    api_key: String,
    login: BTreeMap<String, String>,
}

// === The application ===

async fn invite(handle: RequestHandle, body: String) -> Response {
    assert!(body.contains(&secret("request-body")));
    handle.set_actor(Actor::user("plain-user").role("admin").org("acme"));
    let long_name = format!("{}_token", "x".repeat(300));
    let mut deep = json!({"password": secret("property-too-deep")});
    for _ in 0..12 {
        deep = json!([deep]);
    }
    handle
        .event("invited")
        .property("note", CANARY)
        .property("password", secret("property-password"))
        .property("newpassword2", secret("property-numbered"))
        .property(
            "login",
            json!({"session": {"authToken": secret("property-nested")}}),
        )
        .property(
            "list",
            json!([{"n": 1}, {"clientSecret": secret("property-list")}]),
        )
        .property(
            "credentials",
            json!({"left": [secret("property-below-secret")]}),
        )
        .property(long_name, secret("property-long-name"))
        .property("deep", deep)
        .properties(SignUp {
            note: CANARY,
            email: secret("property-of-struct"),
            api_key: secret("property-of-struct"),
            login: BTreeMap::from([("passwd".to_owned(), secret("property-map-key"))]),
        })
        .log();
    handle
        .event("will_be_refused")
        .property("secret", secret("dead-letter"))
        .log();
    let mut response = secret("response-body").into_response();
    for (name, label) in [("set-cookie", "set-cookie"), ("location", "location")] {
        response.headers_mut().insert(name, header(&secret(label)));
    }
    response.extensions_mut().insert(secret("extension"));
    response
}

async fn open_door(handle: RequestHandle) -> StatusCode {
    handle.mask_path_param("door");
    StatusCode::OK
}

async fn panics() -> StatusCode {
    if true {
        panic!("{}", secret("panic"));
    }
    StatusCode::OK
}

fn refuses() -> impl IntoResponse {
    let code = axum::Extension(ErrorCode::new("NO"));
    (StatusCode::FORBIDDEN, code, secret("error-body"))
}

fn app(logger: &Logger) -> Router {
    let ok = || async { "fine" };
    let nested = Router::new().route("/invites/{invite_code}/accept", get(ok));
    let broken = || async {
        let error = std::io::Error::other(secret("body-error"));
        Body::from_stream(stream::iter([Ok("first"), Err(error)]))
    };
    let panics_in_body = || async {
        Body::from_stream(stream::poll_fn(
            |_| -> std::task::Poll<Option<Result<&str, std::io::Error>>> {
                panic!("{}", secret("panic-in-body"))
            },
        ))
    };
    Router::new()
        .route("/invite", post(invite))
        .route("/reset/{token}", get(ok))
        .route("/magic/{code}", get(ok))
        .route("/files/{*key}", get(ok))
        .route("/confirm/{password2}", get(ok))
        .route("/links/{link}", get(ok))
        .route("/doors/{door}", get(open_door))
        .route("/panic/{password}", get(panics))
        .route("/panic-in-body", get(panics_in_body))
        .route("/broken", get(broken))
        .route("/refused", get(|| async { refuses() }))
        .nest("/orgs/{id}", nested)
        .layer(logger.layer())
}

fn header(value: &str) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap()
}

/// The requests of one client, each with its secrets; a panic is caught where a server would.
async fn use_it(app: &Router) {
    let part = |label: &str| percent_encoded(&secret(label));
    for (method, uri) in [
        ("POST", format!("/invite?token={}&q=1", part("query"))),
        ("GET", format!("/reset/{}", part("path-token"))),
        ("HEAD", format!("/reset/{}", part("path-head"))),
        ("DELETE", format!("/reset/{}", part("path-405"))),
        ("GET", format!("/magic/{}", part("path-code"))),
        (
            "GET",
            format!("/orgs/7/invites/{}/accept", part("path-nested")),
        ),
        ("GET", format!("/files/a/{}/b", part("path-rest"))),
        ("GET", format!("/confirm/{}", part("path-numbered"))),
        ("GET", format!("/links/{}", part("path-marked-by-code"))),
        ("GET", format!("/doors/{}", part("path-marked-by-handler"))),
        ("GET", format!("/panic/{}", part("path-panic"))),
        ("GET", "/panic-in-body".to_owned()),
        ("GET", "/broken".to_owned()),
        ("GET", "/refused".to_owned()),
        ("GET", format!("/nowhere?{}", part("query-of-404"))),
        ("GET", format!("http://host/refused?a#{}", part("fragment"))),
    ] {
        let mut request = Request::builder().method(method).uri(uri);
        let headers = request.headers_mut().unwrap();
        for (name, label) in [
            ("authorization", "authorization"),
            ("proxy-authorization", "proxy-authorization"),
            ("cookie", "cookie"),
            ("x-api-key", "x-api-key"),
            ("x-custom", "custom-header"),
            ("referer", "referer"),
            ("x-forwarded-for", "forwarded-for"),
            ("x-request-id", "request-id"),
            ("traceparent", "baggage"),
            ("baggage", "baggage"),
        ] {
            headers.insert(name, header(&secret(label)));
        }
        headers.insert("user-agent", header("canary/1"));
        let request = request.body(Body::from(secret("request-body"))).unwrap();
        let exchange = async {
            let response = app.clone().oneshot(request).await.unwrap();
            drop(response.into_body().collect().await);
        };
        drop(std::panic::AssertUnwindSafe(exchange).catch_unwind().await);
    }
}

// === The search ===

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_is_in_files_events_logs_or_debug_output() {
    capture_log();
    let posthog = PostHogStandIn::start().unwrap();
    posthog.judge(|event, _| {
        (event.event == "will_be_refused").then(|| Verdict::Drop("not_wanted".to_owned()))
    });
    let tap = Tap::before(posthog.address()).await;
    let (keys, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = place.path().join("audit.db");
    let builder = builder(&tap, keys.path(), &path);
    let mut debug = format!("{builder:?}");
    let logger = builder.start().unwrap();
    let app = app(&logger);
    use_it(&app).await;
    logger
        .event("outside")
        .property("note", CANARY)
        .property("apiKey", secret("event-outside"))
        .log();
    let durable = logger
        .event("durable")
        .property("otp", secret("event-durable"));
    debug += &format!("{durable:?}");
    durable.log_durable().await.unwrap();

    let flushed = logger.flush(None).await;
    assert_eq!(flushed.blocked, None, "{flushed:#?}");
    flushed.health.check().unwrap();
    assert_eq!(flushed.health.sinks["posthog"].dead, 1, "{flushed:#?}");
    debug += &format!("{logger:?} {:?} {flushed:?}", logger.layer());
    let mut places = files_in_use(place.path());
    assert!(places.len() >= 3, "the file, its log and its index");
    assert!(places.iter().any(|place| place.holds(CANARY)));
    let report = logger.shutdown(None).await;
    assert!(report.closed, "{report}");
    debug += &format!("{report:?} {report}");

    let wire = tap.sent();
    assert!(wire.holds(CANARY) && wire.holds("canary/1"));
    assert!(
        !wire.holds("plain-user"),
        "sent although only its HMAC may be"
    );
    let closed = files(place.path());
    assert!(closed.iter().any(|place| place.holds(CANARY)));
    let rows = rows(&path);
    assert!(rows.holds(CANARY) && rows.holds("plain-user"));
    assert!(log().holds(path.to_str().unwrap()) && log().holds("refused a row for good"));

    let mut secrets = secrets();
    secrets.push(key_secret("hmac"));
    // The project key is in every batch, by PostHog's protocol, and nowhere else.
    assert!(wire.holds(&key_secret("project")));
    places.push(wire);
    let mut leaks: Vec<String> = places
        .iter()
        .flat_map(|place| place.leaks(&secrets))
        .collect();
    secrets.push(key_secret("project"));
    places.pop();
    places.extend(closed);
    places.extend([rows, log(), Place::new("debug output", debug)]);
    leaks.extend(places.iter().flat_map(|place| place.leaks(&secrets)));
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

/// Keys in files, ids as HMACs, nothing compressed.
fn builder(tap: &Tap, keys: &Path, path: &Path) -> Builder {
    let (project, hmac) = (keys.join("project"), keys.join("hmac"));
    std::fs::write(&project, key_secret("project")).unwrap();
    std::fs::write(&hmac, key_secret("hmac")).unwrap();
    Logger::builder()
        .environment([
            ("POSTHOG_API_KEY_FILE", project.to_str().unwrap()),
            ("AUDITHOG_POSTHOG_HMAC_KEY_FILE", hmac.to_str().unwrap()),
            ("POSTHOG_HOST", &format!("http://{}", tap.address)),
            ("AUDITHOG_POSTHOG_COMPRESSION", "none"),
            ("AUDITHOG_POSTHOG_DISTINCT_ID", "hmac"),
            ("AUDITHOG_POSTHOG_USER", "hmac"),
        ])
        .mask_path_param(None, "link")
        .database(path)
}

fn rows(path: &Path) -> Place {
    let table = rusqlite::Connection::open(path).unwrap();
    let mut query = table.prepare("select * from audit_logs").unwrap();
    let columns = query.column_count();
    let rows = query.query_map([], |row| {
        let cells = (0..columns).map(|n| format!("{:?}", row.get_ref(n).unwrap()));
        let text = (0..columns).filter_map(|n| row.get::<_, String>(n).ok());
        Ok(cells.chain(text).collect::<String>())
    });
    Place::new(
        "the table",
        rows.unwrap().map(Result::unwrap).collect::<String>(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_not_in_the_log_the_report_or_the_ledger() {
    capture_log();
    let posthog = PostHogStandIn::start().unwrap();
    let key = key_secret("refused");
    // As some proxies do, the answer repeats what it was sent.
    let answer = json!({"error": "bad_key", "error_description": format!("no project has {key}")});
    posthog.stand_fault(Fault::status(401).body(answer.to_string()));
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("audit.db");
    let logger = Logger::builder()
        .environment([
            ("POSTHOG_API_KEY", key.as_str()),
            ("POSTHOG_HOST", &posthog.url()),
        ])
        .mask_path_param(Some("/links/{link}"), "link")
        .database(&path)
        .start()
        .unwrap();
    use_it(&app(&logger)).await;
    let flushed = logger.flush(None).await;
    assert!(flushed.blocked.is_some(), "{flushed:#?}");
    assert!(log().holds("delivery is held"));
    let report = logger.shutdown(None).await;
    let said = format!(
        "{logger:?} {flushed:?} {report:?} {report} {:?}",
        logger.health()
    );
    let mut places = files(place.path());
    places.extend([rows(&path), log(), Place::new("the reports", said)]);
    let mut secrets = secrets();
    secrets.push(key);
    let leaks: Vec<String> = places
        .iter()
        .flat_map(|place| place.leaks(&secrets))
        .collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

#[test]
fn a_wrong_setting_does_not_show_a_secret() {
    capture_log();
    let spaced = |label: &str| format!("{} with a space", key_secret(label));
    let (key, hmac) = (spaced("key"), key_secret("hmac"));
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("key");
    std::fs::write(&file, spaced("file")).unwrap();
    let file = file.to_str().unwrap();
    let host = format!(
        "https://user:{}@posthog.example",
        percent_encoded(&secret("host"))
    );
    let sets: [&[(&str, &str)]; 6] = [
        &[("POSTHOG_API_KEY", &key), ("POSTHOG_PROJECT_TOKEN", &hmac)],
        &[("POSTHOG_PROJECT_TOKEN", &key)],
        &[("POSTHOG_API_KEY_FILE", file)],
        &[
            ("AUDITHOG_POSTHOG_HMAC_KEY", &hmac),
            ("AUDITHOG_POSTHOG_HMAC_KEY_FILE", file),
        ],
        // A name that does not exist, a likely place for a key.
        &[("AUDITHOG_POSTHOG_API_KEY", &hmac), ("AUDITHOG_KEY", &key)],
        &[("POSTHOG_HOST", &host)],
    ];
    let secrets = [
        key_secret("key"),
        key_secret("file"),
        hmac.clone(),
        secret("host"),
    ];
    for set in sets {
        let builder = Logger::builder()
            .environment(set.iter().copied())
            .posthog_api_key(key_secret("key"))
            .pin("AUDITHOG_DB", "off");
        let debug = format!("{builder:?}");
        let said = format!("{debug} {}", full_text(&builder.start().unwrap_err()));
        let leaks = Place::new(format!("the error about {set:?}"), said).leaks(&secrets);
        assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    }
    assert!(log().leaks(&secrets).is_empty());
}

fn full_text(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}
