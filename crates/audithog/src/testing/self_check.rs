//! Does the layer see every request?

mod diagnosis;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN,
};
use http::{Request, Response};
use tower_service::Service;

use super::rows::{Rows, recorder};
use crate::Logger;
use crate::record::Row;

/// A path that no service has.
const UNKNOWN: &str = "/audithog-self-check-b5d8e1c2";
/// A safe method (RFC 4918 §9.1) that next to no route serves.
const WRONG_METHOD: &str = "PROPFIND";

/// [`SelfCheck`] without named routes: an unknown path and a preflight must each give one row.
///
/// Finds a layer that is missing, misses the fallback, or is inside something that answers every
/// request: authentication around the whole router, CORS. A layer that routes were added after,
/// and authentication on some routes only, show on named routes alone.
///
/// ```
/// # use audithog::Logger;
/// # use axum::{Router, routing::get};
/// fn app(logger: Logger) -> Router {
///     Router::new().route("/agents", get(async || "[]")).layer(logger.layer())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// audithog::testing::self_check(app).await.unwrap();
/// # }
/// ```
///
/// # Errors
///
/// What is wrong and how to put it right. `Debug` says the same as `Display`, so that `unwrap` is readable.
pub async fn self_check<S, B>(app: impl FnOnce(Logger) -> S) -> Result<(), SelfCheckError>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: fmt::Display,
{
    SelfCheck::new(app).run().await
}

/// Sends requests to an application and looks whether each gives exactly one row with the status
/// and the `x-request-id` that the client sees.
///
/// Always sent: a GET of an unknown path and a CORS preflight of it. For each named route: the
/// request itself, the path with a method that it does not serve (PROPFIND), and a preflight. All
/// without credentials and bodies, from 127.0.0.1; handlers run, so name routes that do no harm.
/// Response bodies are not read. Waits for as long as the application takes to answer.
///
/// ```
/// # use audithog::Logger;
/// # use axum::{Router, http::StatusCode, routing::get};
/// # fn app(logger: Logger) -> Router {
/// #     Router::new()
/// #         .route("/healthz", get(async || "ok"))
/// #         .route("/api/agents", get(async || StatusCode::UNAUTHORIZED))
/// #         .layer(logger.layer())
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use audithog::testing::SelfCheck;
///
/// let check = SelfCheck::new(|logger| app(logger));
/// check.route("GET", "/healthz").protected("GET", "/api/agents").run().await.unwrap();
/// # }
/// ```
#[must_use = "nothing is sent before `run`"]
pub struct SelfCheck<S> {
    app: S,
    rows: Rows,
    named: Vec<Probe>,
}

/// What [`SelfCheck`] found: each request that did not get its row, why, and what to change.
pub struct SelfCheckError {
    text: String,
}

/// A request of the check.
#[derive(Clone, Debug)]
struct Probe {
    purpose: Purpose,
    method: String,
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Unknown,
    Preflight,
    WrongMethod,
    Route,
    Protected,
}

/// What came of it.
struct Answer {
    status: u16,
    request_id: Option<String>,
    /// A CORS layer answered it.
    is_cors: bool,
    /// The `api_request` rows that it gave.
    rows: Vec<Row>,
}

/// A probe with its answer, or why there is none.
struct Sent {
    probe: Probe,
    answer: Result<Answer, String>,
}

impl<S> SelfCheck<S> {
    /// Checks the application that `app` builds around the logger.
    pub fn new(app: impl FnOnce(Logger) -> S) -> Self {
        let (logger, rows) = recorder();
        Self::built(app(logger), rows)
    }

    /// Checks an application that was built around the logger of these rows, by [`recorder`] or
    /// [`recorder_with`](super::recorder_with). For applications whose making is async.
    pub fn built(app: S, rows: Rows) -> Self {
        Self {
            app,
            rows,
            named: Vec::new(),
        }
    }

    /// Names a route: a method that it serves, and a path with values in place of its parameters.
    /// It may answer anything but the 404 of an unknown path.
    pub fn route(self, method: &str, path: &str) -> Self {
        self.name(Purpose::Route, method, path)
    }

    /// Names a route that needs credentials: without them it must refuse (401, 403, 407) or
    /// redirect to the sign-in.
    pub fn protected(self, method: &str, path: &str) -> Self {
        self.name(Purpose::Protected, method, path)
    }

    fn name(mut self, purpose: Purpose, method: &str, path: &str) -> Self {
        self.named.push(Probe::new(purpose, method, path));
        self
    }

    /// Sends the requests.
    ///
    /// # Errors
    ///
    /// Every request without exactly one fitting row, why, and what to change.
    pub async fn run<B>(mut self) -> Result<(), SelfCheckError>
    where
        S: Service<Request<Body>, Response = Response<B>>,
        S::Error: fmt::Display,
    {
        let mut sent = Vec::new();
        for probe in probes(&self.named) {
            let answer = self.send(&probe).await;
            sent.push(Sent { probe, answer });
        }
        diagnosis::of(&sent).map_or(Ok(()), |text| Err(SelfCheckError { text }))
    }

    async fn send<B>(&mut self, probe: &Probe) -> Result<Answer, String>
    where
        S: Service<Request<Body>, Response = Response<B>>,
        S::Error: fmt::Display,
    {
        let request = probe
            .request()
            .map_err(|error| format!("is no request: {error}"))?;
        let before = self.rows.all().len();
        let failed = |error: S::Error| format!("got an error from the service: {error}");
        poll_fn(|cx| self.app.poll_ready(cx))
            .await
            .map_err(failed)?;
        let response = self.app.call(request).await.map_err(failed)?;
        // The body is dropped unread: a stream may never end, and the row is made in any case.
        let (head, _) = response.into_parts();
        let headers = &head.headers;
        let request_id = headers
            .get("x-request-id")
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        let mut rows = self.rows.all().split_off(before);
        rows.retain(Row::is_request);
        Ok(Answer {
            status: head.status.as_u16(),
            request_id,
            is_cors: probe.purpose == Purpose::Preflight
                && (headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
                    || headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS)),
            rows,
        })
    }
}

fn probes(named: &[Probe]) -> Vec<Probe> {
    let mut probes = vec![
        Probe::new(Purpose::Unknown, "GET", UNKNOWN),
        Probe::new(Purpose::Preflight, "OPTIONS", UNKNOWN),
    ];
    for probe in named {
        probes.push(probe.clone());
        probes.push(Probe::new(Purpose::WrongMethod, WRONG_METHOD, &probe.path));
        probes.push(Probe::new(Purpose::Preflight, "OPTIONS", &probe.path));
    }
    probes
}

impl Probe {
    fn new(purpose: Purpose, method: &str, path: &str) -> Self {
        Self {
            purpose,
            method: method.to_owned(),
            path: path.to_owned(),
        }
    }

    fn request(&self) -> Result<Request<Body>, http::Error> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 49152));
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(&self.path)
            .extension(ConnectInfo(peer));
        if self.purpose == Purpose::Preflight {
            request = request
                .header(ORIGIN, "https://self-check.invalid")
                .header(ACCESS_CONTROL_REQUEST_METHOD, "GET");
        }
        request.body(Body::empty())
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let preflight = match self.purpose {
            Purpose::Preflight => "preflight ",
            _ => "",
        };
        write!(f, "{preflight}{} {}", self.method, self.path)
    }
}

impl<S> fmt::Debug for SelfCheck<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfCheck")
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SelfCheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SelfCheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SelfCheckError {}
