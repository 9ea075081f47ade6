//! A service with the audit layer, its ledger, and a console beside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use audithog::testing::ManualClock;
use audithog::{AccessRows, Actor, ErrorCode, Logger, RequestHandle};
use audithog_console::{Access, Console, Served, Token, serve};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Part, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rusqlite::Connection;
use rusqlite::types::FromSql;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

/// A service in a directory of its own. Its clock is moved by the test.
pub(crate) struct Shop {
    home: TempDir,
    pub(crate) logger: Logger,
    pub(crate) clock: ManualClock,
    app: Router,
}

/// Who makes a request, and what it is to end with.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) org: Option<&'a str>,
    pub(crate) agent: &'a str,
    pub(crate) status: u16,
    pub(crate) code: Option<&'a str>,
    pub(crate) note: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            user: None,
            org: None,
            agent: "test/1.0",
            status: 200,
            code: None,
            note: None,
        }
    }

    pub(crate) fn by(self, user: &'a str, org: &'a str) -> Self {
        Self {
            user: Some(user),
            org: Some(org),
            ..self
        }
    }

    pub(crate) fn ends(self, status: u16, code: &'a str) -> Self {
        Self {
            status,
            code: Some(code),
            ..self
        }
    }
}

/// Ends as the request says.
async fn handler(audit: RequestHandle, headers: HeaderMap) -> Response {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    };
    if let Some(user) = text("x-user") {
        let actor = Actor::user(user).role("member");
        audit.set_actor(match text("x-org") {
            Some(org) => actor.org(org),
            None => actor,
        });
    }
    if let Some(note) = text("x-note") {
        audit.event("agent_published").property("note", note).log();
    }
    let status = text("x-status").and_then(|status| status.parse().ok());
    let status = StatusCode::from_u16(status.unwrap_or(200)).unwrap();
    match text("x-code") {
        Some(code) => (status, ErrorCode::new(code.to_owned())).into_response(),
        None => status.into_response(),
    }
}

impl Shop {
    pub(crate) fn open() -> Self {
        Self::open_at(SystemTime::now())
    }

    pub(crate) fn open_at(start: SystemTime) -> Self {
        Self::started(start, &[])
    }

    pub(crate) fn started(start: SystemTime, variables: &[(&str, &str)]) -> Self {
        Self::of(TempDir::new().unwrap(), start, variables)
    }

    /// Starts it again, with its clock set to another time.
    pub(crate) async fn again_at(self, start: SystemTime) -> Self {
        let report = self.logger.shutdown(None).await;
        assert_eq!(report.health.queued, 0);
        Self::of(self.home, start, &[])
    }

    fn of(home: TempDir, start: SystemTime, variables: &[(&str, &str)]) -> Self {
        let clock = ManualClock::new(start);
        let logger = Logger::builder()
            .environment(variables.iter().copied())
            .service("shop")
            .deployment_environment("test")
            .database(home.path().join("audit.db"))
            .start_with_clock(&clock)
            .unwrap();
        let app = Router::new()
            .route("/agents", get(handler).post(handler))
            .route("/agents/{id}", get(handler).delete(handler))
            .route("/endless", get(std::future::pending::<()>))
            .route(
                "/agents/{id}/publish",
                post(
                    |_: Part<String>, audit: RequestHandle, headers: HeaderMap| {
                        handler(audit, headers)
                    },
                ),
            );
        let app = (0..50)
            .fold(app, |app, n| {
                app.route(&format!("/things/{n}/of/many"), get(handler))
            })
            .layer(logger.layer());
        Self {
            home,
            logger,
            clock,
            app,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("audit.db")
    }

    /// Makes a request, and moves the clock on.
    pub(crate) async fn call(&self, call: Call<'_>) {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header("user-agent", call.agent)
            .header("x-status", call.status);
        for (name, value) in [
            ("x-user", call.user),
            ("x-org", call.org),
            ("x-code", call.code),
            ("x-note", call.note),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        self.clock.advance(Duration::from_millis(10));
    }

    /// Makes a request, and leaves before there is a response.
    pub(crate) async fn abandon(&self) {
        let request = Request::get("/endless").body(Body::empty()).unwrap();
        let mut response = pin!(self.app.clone().oneshot(request));
        let mut context = Context::from_waker(Waker::noop());
        assert!(response.as_mut().poll(&mut context).is_pending());
        self.clock.advance(Duration::from_millis(10));
    }

    /// Until all rows are in the file.
    pub(crate) async fn written(&self) {
        let flushed = self.logger.flush(Some(Duration::from_secs(30))).await;
        assert_eq!(flushed.health.queued, 0, "{flushed:#?}");
    }

    /// Some hundred requests over an hour: many kinds, several users and organisations.
    pub(crate) async fn traffic(&self, requests: usize) {
        let users = ["ada", "ben", "cleo", "dan"];
        for n in 0..requests {
            let user = users[n % 3 + usize::from(n % 10 == 0)];
            let org = ["acme", "globex"][n % 2];
            let path = format!("/agents/{}", n % 7);
            let call = match n % 12 {
                3 => Call::get("/nowhere"),
                5 => Call::get(&path).by(user, org).ends(404, "AGENT_NOT_FOUND"),
                7 => Call::get("/agents").by(user, org).ends(500, "DB_DOWN"),
                8 => Call::get("/agents").by(user, org).ends(429, "RATE_LIMIT"),
                9 => Call {
                    method: "POST",
                    note: Some("weekly"),
                    ..Call::get("/agents").by(user, org)
                },
                _ => Call::get(&path).by(user, org),
            };
            self.call(call).await;
            self.clock.advance(Duration::from_secs(7));
        }
        self.written().await;
    }

    /// A day of requests to fifty routes by as many users, all of which fail now and then.
    pub(crate) async fn many_routes(&self) {
        for n in 0..600 {
            let path = format!("/things/{}/of/many", n % 50);
            let user = format!("customer-{}@some-company.example", n % 47);
            let call = Call::get(&path).by(&user, "some-company");
            let code = format!("UPSTREAM_{}_UNAVAILABLE", n % 13);
            self.call(match n % 3 {
                0 => call.ends(503, &code),
                1 => call.ends(404, &code),
                _ => call,
            })
            .await;
            self.clock.advance(Duration::from_secs(140));
        }
        self.written().await;
    }

    /// One value by SQL over the same rows.
    pub(crate) fn sql<T: FromSql>(&self, sql: &str) -> T {
        one(&self.path(), sql)
    }
}

pub(crate) fn one<T: FromSql>(path: &Path, sql: &str) -> T {
    let table = Connection::open(path).unwrap();
    table
        .query_row(sql, [], |row| row.get(0))
        .unwrap_or_else(|error| panic!("{error}: {sql}"))
}

/// The console of the whole log, which adds nothing to it.
pub(crate) fn quiet(path: impl Into<PathBuf>) -> Console {
    Console::new(path, |_| Access::all("tester").operating()).access_rows(AccessRows::Off)
}

/// A console that listens, until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Running {
    /// For the whole log, with the right to operate.
    pub(crate) async fn all(path: PathBuf) -> Self {
        Self::with(quiet(path), None).await
    }

    pub(crate) async fn with(console: Console, token: Option<&str>) -> Self {
        let token = token.map(|token| Token::new(token).unwrap());
        let served = serve("127.0.0.1:0".parse().unwrap(), token, console)
            .await
            .unwrap();
        Self::of(served)
    }

    fn of(served: Served) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let address = served.address();
        tokio::spawn(served.until(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            _stop: stop,
        }
    }

    pub(crate) fn url(&self, page: &str) -> String {
        format!("http://{}/{page}", self.address)
    }
}

/// What is read of a part of a page.
pub(crate) fn text_of(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    text.trim().to_owned()
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// Asks a router, without a network in between.
pub(crate) async fn ask(app: &Router, request: Request) -> Reply {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    Reply {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) async fn get_page(app: &Router, uri: &str) -> Reply {
    let request = Request::builder()
        .uri(uri)
        .header("host", "shop.example")
        .body(Body::empty())
        .unwrap();
    ask(app, request).await
}
