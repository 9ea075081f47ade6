//! Who sees what, and who may do what.

use std::time::{Duration, SystemTime};

use audithog::AccessRows;
use audithog::testing::{PostHogStandIn, standin::Verdict};
use audithog_console::{Access, Console};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt as _;
use proptest::prelude::*;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::shop::{Call, Shop, ask, get_page};

/// What every text of the other organisation contains, and no request.
const SECRET: &str = "zq7secret";

#[derive(Clone, Debug)]
struct Made {
    ours: bool,
    user: u8,
    kind: u8,
    path: String,
}

fn made() -> impl Strategy<Value = Made> {
    (any::<bool>(), 0..4_u8, 0..5_u8, "[a-z0-9]{1,8}").prop_map(|(ours, user, kind, path)| Made {
        ours,
        user,
        kind,
        path,
    })
}

/// Users have the same names in both organisations: only the organisation tells them apart.
async fn make(shop: &Shop, made: &Made) {
    let user = format!("user-{}", made.user);
    let (org, mark) = if made.ours {
        ("acme", "ours")
    } else {
        ("globex", SECRET)
    };
    let path = format!("/agents/{mark}-{}", made.path);
    let agent = format!("agent-{mark}");
    let code = format!("CODE_{}", mark.to_uppercase());
    let call = Call {
        agent: &agent,
        note: (made.kind == 1).then_some(mark),
        ..Call::get(&path).by(&user, org)
    };
    shop.call(match made.kind {
        2 => call.ends(404, &code),
        3 => call.ends(500, &code),
        _ => call,
    })
    .await;
}

/// All that can be asked, with values of both organisations.
fn requests(shop: &Shop) -> Vec<String> {
    let foreign = |column: &str| -> Option<String> {
        let sql =
            format!("SELECT (SELECT {column} FROM audit_logs WHERE org_id = 'globex' LIMIT 1)");
        shop.sql(&sql)
    };
    let mut all: Vec<String> = [
        "/",
        "/?since=all",
        "/log",
        "/log?org=globex",
        "/log?org=globex&org=acme",
        "/log?user=user-1",
        "/log?status=5xx",
        "/log?path=%2Fagents%2F*",
        "/user?id=user-1&since=all",
        "/user?id=user-2",
        "/org?id=globex&since=all",
        "/org?id=acme",
        "/endpoint?route=%2Fagents%2F%7Bid%7D&method=GET",
        "/endpoint?route=%2Fagents%2F%7Bid%7D",
        "/log/export?format=ndjson",
        "/log/export?format=csv",
        "/log/export?org=globex",
        "/pulse",
        "/health",
        "/search?q=globex",
        "/search?q=org%3Aglobex",
        "/row?id=seq:1",
        "/nowhere",
    ]
    .map(str::to_owned)
    .into();
    for (page, column) in [
        ("row?id=", "id"),
        ("row.json?id=", "id"),
        ("row?id=seq:", "seq || ''"),
        ("row.json?id=seq:", "seq || ''"),
        ("log?request-id=", "request_id"),
        ("search?q=", "request_id"),
    ] {
        if let Some(value) = foreign(column) {
            all.push(format!("/{page}{value}"));
        }
    }
    let head: i64 = shop.sql("SELECT max(seq) FROM audit_logs");
    all.extend((1..=head).map(|seq| format!("/row?id=seq:{seq}")));
    all
}

/// The first event of a stream.
async fn first_event(app: &Router, uri: &str) -> String {
    let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains("data: ") || !text.ends_with("\n\n") {
        let part = stream.next().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&part).unwrap());
    }
    text
}

/// The rows of an export.
fn exported(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_organisation_sees_no_byte_of_another(all in proptest::collection::vec(made(), 4..30)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let shop = Shop::open_at(SystemTime::now() - Duration::from_secs(1_800));
            for made in &all {
                make(&shop, made).await;
            }
            shop.written().await;
            let app: Router = Console::new(shop.path(), |_| Access::org("acme", "an admin").operating()).access_rows(AccessRows::Off).router();
            for uri in requests(&shop) {
                let reply = get_page(&app, &uri).await;
                let lower = reply.text.to_lowercase();
                assert!(!lower.contains(SECRET), "{uri}: {}", reply.text);
            }
            let ours: i64 = shop.sql("SELECT count(*) FROM audit_logs WHERE org_id = 'acme'");
            let rows = exported(&get_page(&app, "/log/export?format=ndjson").await.text);
            assert_eq!(rows.len() as i64, ours);
            let none = exported(&get_page(&app, "/log/export?org=globex").await.text);
            assert_eq!(none.len(), 0);
            // Counts are of its own rows too.
            let page = get_page(&app, "/?since=all").await.text;
            let requests: i64 = shop.sql("SELECT count(*) FROM audit_logs WHERE org_id = 'acme' AND event = 'api_request'");
            let expected = match requests {
                0 => "No request yet".to_owned(),
                requests => format!("<span class=\"name\">requests</span><b>{requests}</b>"),
            };
            assert!(page.contains(&expected), "{requests}: {page}");
            // Nor how many rows others have: no number beyond its last.
            let log = get_page(&app, "/log").await.text;
            let last: i64 = shop.sql("SELECT ifnull((SELECT max(seq) FROM audit_logs WHERE org_id = 'acme'), 0)");
            assert!(log.contains(&format!("data-head=\"{last}\"")), "{last}: {log}");
            if ours > 0 {
                let live = first_event(&app, "/log/live?after=0").await;
                assert!(!live.to_lowercase().contains(SECRET), "{live}");
                assert!(live.contains(&format!("\"count\":{ours},")), "{ours}: {live}");
            }
            let pulse: Value = serde_json::from_str(&get_page(&app, "/pulse").await.text).unwrap();
            let last: Option<i64> = shop.sql("SELECT max(seq) FROM audit_logs WHERE org_id = 'acme'");
            assert_eq!(pulse["seq"], last.unwrap_or(0));
            assert_eq!(get_page(&app, "/health").await.status, StatusCode::FORBIDDEN);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_application_decides_for_each_request() {
    let shop = Shop::open();
    shop.traffic(20).await;
    let app: Router = Console::new(shop.path(), |request| {
        match request
            .headers
            .get("x-admin")
            .and_then(|name| name.to_str().ok())
        {
            Some("root") => Access::all("root"),
            Some(org) => Access::org(org, "admin"),
            None => Access::deny(),
        }
    })
    .router();
    let as_admin = |uri: &str, admin: Option<&str>| {
        let mut request = Request::builder().uri(uri);
        if let Some(admin) = admin {
            request = request.header("x-admin", admin);
        }
        ask_it(app.clone(), request.body(Body::empty()).unwrap())
    };
    for page in [
        "/",
        "/log",
        "/row?id=seq:1",
        "/user?id=ada",
        "/health",
        "/log/export",
        "/pulse",
        "/log/live",
        "/search?q=x",
        "/row.json?id=seq:1",
    ] {
        assert_eq!(as_admin(page, None).await, StatusCode::FORBIDDEN, "{page}");
    }
    assert_eq!(as_admin("/health", Some("root")).await, StatusCode::OK);
    assert_eq!(
        as_admin("/health", Some("acme")).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(as_admin("/log", Some("acme")).await, StatusCode::OK);
}

async fn ask_it(app: Router, request: Request<Body>) -> StatusCode {
    ask(&app, request).await.status
}

/// A request with these headers.
async fn with(
    app: &Router,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> crate::shop::Reply {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(app, request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_gets_nothing() {
    let shop = Shop::open();
    let app: Router = Console::new(shop.path(), |_| Access::all("tester")).router();
    let host = ("host", "shop.example");
    for (headers, status) in [
        (vec![host], 200),
        (vec![host, ("origin", "https://shop.example")], 200),
        (vec![host, ("sec-fetch-site", "same-origin")], 200),
        // A proxy called the host by another name; no script can say that the site is the same.
        (
            vec![
                host,
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://audit.example"),
            ],
            200,
        ),
        (
            vec![
                host,
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
            ],
            200,
        ),
        (vec![host, ("origin", "https://evil.example")], 403),
        (vec![host, ("origin", "null")], 403),
        (
            vec![
                host,
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "cors"),
            ],
            403,
        ),
        (
            vec![
                host,
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-mode", "no-cors"),
            ],
            403,
        ),
    ] {
        let reply = with(&app, "GET", "/log", &headers, "").await;
        assert_eq!(reply.status, status, "{headers:?}");
    }
}

/// A ledger with three dead letters.
async fn refused(posthog: &PostHogStandIn) -> Shop {
    let key = [
        ("POSTHOG_API_KEY", "phc_test"),
        ("POSTHOG_HOST", &*posthog.url()),
        ("LOG_BATCH_SIZE", "1"),
    ];
    posthog.judge(|event, _| {
        let path = event.properties.get("path").and_then(Value::as_str);
        path.is_some_and(|path| path.starts_with("/agents/"))
            .then(|| Verdict::Drop("too strange".to_owned()))
    });
    let shop = Shop::started(SystemTime::now(), &key);
    for path in ["/agents/1", "/agents/2", "/agents/3", "/agents"] {
        shop.call(Call::get(path)).await;
    }
    shop.written().await;
    shop
}

fn dead(shop: &Shop) -> u64 {
    let status = audithog::inspect::LedgerFile::open(shop.path())
        .unwrap()
        .status()
        .unwrap();
    status.sinks[0].dead - status.sinks[0].dismissed
}

/// A console's page, its cookie, and the body of a form of it.
struct Form {
    app: Router,
    cookie: String,
    token: String,
    reason: String,
}

const HOST: (&str, &str) = ("host", "shop.example");
const SAME: (&str, &str) = ("origin", "http://shop.example");

impl Form {
    async fn of(shop: &Shop) -> Self {
        let console = Console::new(shop.path(), |_| Access::all("olga").operating());
        let app: Router = console.access_rows(AccessRows::Off).router();
        let reply = get_page(&app, "/health").await;
        assert!(reply.text.contains("too strange"), "{}", reply.text);
        let cookie = reply.headers["set-cookie"].to_str().unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let reason: String = shop.sql("SELECT reason FROM audit_dead_letters LIMIT 1");
        Self {
            app,
            token: cookie.split_once('=').unwrap().1.to_owned(),
            cookie,
            reason: form_urlencoded::byte_serialize(reason.as_bytes()).collect(),
        }
    }

    fn all(&self, token: &str) -> String {
        format!("form={token}&sink=posthog&reason={}", self.reason)
    }

    async fn send(&self, body: &str) -> crate::shop::Reply {
        let headers = [HOST, SAME, ("cookie", &*self.cookie)];
        with(&self.app, "POST", "/health/dismiss", &headers, body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_dismissed_by_those_who_may() {
    let posthog = PostHogStandIn::start().unwrap();
    let shop = refused(&posthog).await;
    assert_eq!(dead(&shop), 3);
    let form = Form::of(&shop).await;
    let one: i64 = shop.sql("SELECT seq FROM audit_dead_letters ORDER BY seq LIMIT 1");
    let reply = form
        .send(&format!("form={}&sink=posthog&seq={one}", form.token))
        .await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text);
    assert_eq!(reply.headers["location"], "/health?dismissed=1");
    assert_eq!(dead(&shop), 2);
    let reply = form.send(&form.all(&form.token)).await;
    assert_eq!(reply.headers["location"], "/health?dismissed=2");
    assert_eq!(dead(&shop), 0);
    let by: String = shop.sql("SELECT json_extract(properties, '$.by') FROM audit_logs WHERE event = 'audit_dead_letters_dismissed' LIMIT 1");
    assert_eq!(by, "olga");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_without_right_and_form() {
    let posthog = PostHogStandIn::start().unwrap();
    let shop = refused(&posthog).await;
    let form = Form::of(&shop).await;
    let reader: Router = Console::new(shop.path(), |_| Access::all("rita")).router();
    let page = get_page(&reader, "/health").await.text;
    assert!(page.contains("too strange"), "{page}");
    assert!(!page.contains("action=\"/health"), "{page}");

    let good = form.all(&form.token);
    let cookie = ("cookie", &*form.cookie);
    let evil = ("origin", "http://evil.example");
    let other = form.all("0123456789abcdef0123456789abcdef");
    let of_none = ("cookie", "audithog_form=");
    for (app, headers, body, status) in [
        (&form.app, vec![HOST, SAME], &good, 400),
        (&form.app, vec![HOST, SAME, cookie], &other, 400),
        (&form.app, vec![HOST, SAME, of_none], &form.all(""), 400),
        (&form.app, vec![HOST, evil, cookie], &good, 403),
        (&reader, vec![HOST, SAME, cookie], &good, 403),
    ] {
        let reply = with(app, "POST", "/health/dismiss", &headers, body).await;
        assert_eq!(reply.status, status, "{headers:?} {body}: {}", reply.text);
    }
    for rest in ["sink=posthog", "sink=posthog&seq=x", "seq=1"] {
        let reply = form.send(&format!("form={}&{rest}", form.token)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{rest}");
    }
    let got = with(&form.app, "GET", "/health/dismiss", &[HOST, cookie], &good).await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(dead(&shop), 3);
}

/// What an address says of its endpoint is part of the look, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_an_endpoint_names_it_once() {
    let shop = Shop::open();
    shop.traffic(20).await;
    let app = Console::new(shop.path(), |_| Access::all("olga")).router();
    let page = "/endpoint?method=GET&route=%2Fagents%2F%7Bid%7D&status=404";
    let page = get_page(&app, page).await;
    assert!(page.text.contains("<b>2</b>"), "{}", page.text);
    let asked: String = shop.sql(
        "SELECT json_extract(properties, '$.filter') FROM audit_logs WHERE event = 'audit_access'",
    );
    let mut asked: Vec<String> = serde_json::from_str(&asked).unwrap();
    asked.sort();
    assert_eq!(
        asked,
        ["method = GET", "route = /agents/{id}", "status_code = 404"]
    );
}

/// Who looked, at what, within what: each once, and in the log itself.
#[tokio::test(flavor = "multi_thread")]
async fn looks_at_the_log_are_rows_of_it() {
    let shop = Shop::open();
    shop.traffic(20).await;
    let console = |rows| -> Router {
        let console = Console::new(shop.path(), |request| match request.headers.get("x-org") {
            Some(_) => Access::org("acme", "ada"),
            None => Access::all("olga").operating(),
        });
        console.access_rows(rows).router()
    };
    let looks = |condition: &str| -> i64 {
        shop.sql(&format!(
            "SELECT count(*) FROM audit_logs WHERE event = 'audit_access' {condition}"
        ))
    };
    let app = console(AccessRows::All);
    for _ in 0..3 {
        get_page(&app, "/log?user=ada&status=5xx").await;
        get_page(&app, "/pulse").await;
    }
    assert_eq!(looks(""), 1);
    let details: String =
        shop.sql("SELECT properties FROM audit_logs WHERE event = 'audit_access'");
    let details: Value = serde_json::from_str(&details).unwrap();
    assert_eq!(
        details,
        serde_json::json!({"action": "read", "by": "olga", "through": "console /log", "filter": ["user_id = ada", "status_code = 5xx"]})
    );
    // In the name of the service whose log it is.
    let service: String = shop
        .sql("SELECT service || ' ' || environment FROM audit_logs WHERE event = 'audit_access'");
    assert_eq!(service, "shop test");

    let id: String = shop.sql("SELECT id FROM audit_logs WHERE event = 'api_request' LIMIT 1");
    get_page(&app, &format!("/row?id={id}")).await;
    assert_eq!(
        looks(&format!(
            "AND json_extract(properties, '$.filter[0]') = 'id = {id}'"
        )),
        1
    );
    with(&app, "GET", "/log/export", &[("x-org", "acme")], "").await;
    with(&app, "GET", "/log/export", &[("x-org", "acme")], "").await;
    assert_eq!(
        looks(
            "AND properties ->> '$.action' = 'export' AND properties ->> '$.withinOrg' = 'acme' AND properties ->> '$.by' = 'ada'"
        ),
        2
    );
    assert_eq!(looks(""), 4);

    let app = console(AccessRows::Exports);
    get_page(&app, "/log").await;
    assert_eq!(looks(""), 4);
    get_page(&app, "/log/export").await;
    assert_eq!(looks(""), 5);
    get_page(&console(AccessRows::Off), "/log/export").await;
    assert_eq!(looks(""), 5);
    // The service goes on behind them, and the books fit.
    shop.traffic(5).await;
    shop.logger.health().check().unwrap();
    let status = audithog::inspect::LedgerFile::open(shop.path())
        .unwrap()
        .status()
        .unwrap();
    assert!(
        status.equations.iter().all(|equation| equation.holds),
        "{status:#?}"
    );
    let gaps: i64 = shop.sql("SELECT count(*) - max(seq) FROM audit_logs");
    assert_eq!(gaps, 0);
}

/// A copy, or what a stopped service left, stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_nobody_writes_is_not_written() {
    let shop = Shop::open();
    shop.traffic(10).await;
    let report = shop.logger.shutdown(None).await;
    assert!(report.closed);
    let before: i64 = shop.sql("SELECT max(seq) FROM audit_logs");
    let app: Router = Console::new(shop.path(), |_| Access::all("olga")).router();
    assert_eq!(get_page(&app, "/log").await.status, StatusCode::OK);
    assert_eq!(shop.sql::<i64>("SELECT max(seq) FROM audit_logs"), before);
}
