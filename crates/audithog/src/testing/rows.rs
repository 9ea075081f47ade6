//! Rows as an application's own tests see them.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::Value;

use crate::queue::Queue;
use crate::record::Row;
use crate::{Builder, Error, Logger};

/// The rows of a recording logger, in the order in which they were logged.
///
/// Made by [`recorder`](super::recorder). Nothing is stored or sent, no thread runs, no port is
/// opened: a row is here as soon as the response is complete.
#[derive(Clone)]
pub struct Rows {
    queue: Arc<Queue>,
}

/// One row of a test, with checks that panic with a readable difference.
#[derive(Clone, Debug)]
pub struct Found {
    row: Row,
}

/// A logger with default settings whose rows stay in memory for the test, and these rows. It reads
/// no environment, starts no thread and opens no port.
///
/// ```
/// use audithog::{Actor, ErrorCode, Logger};
/// use axum::{Router, body::Body, http::{Request, StatusCode}, routing::post};
/// use tower::ServiceExt;
///
/// async fn create() -> (StatusCode, ErrorCode) {
///     audithog::set_actor(Actor::user("u1"));
///     (StatusCode::CONFLICT, ErrorCode::new("AGENT_LIMIT"))
/// }
///
/// fn app(logger: &Logger) -> Router {
///     Router::new().route("/agents", post(create)).layer(logger.layer())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (logger, rows) = audithog::testing::recorder();
/// let request = Request::post("/agents").body(Body::empty()).unwrap();
/// app(&logger).oneshot(request).await.unwrap();
///
/// rows.one("POST", "/agents").actor("u1").error_code("AGENT_LIMIT");
/// # }
/// ```
#[must_use]
pub fn recorder() -> (Logger, Rows) {
    // Defaults without an environment are never wrong.
    recorder_with(|builder| builder)
        .unwrap_or_else(|error| unreachable!("default settings: {error}"))
}

/// [`recorder`] with settings: `recorder_with(|builder| builder.trusted_proxies("10.0.0.0/8"))`.
///
/// # Errors
///
/// [`Error::is_config`] with every wrong setting.
pub fn recorder_with(settings: impl FnOnce(Builder) -> Builder) -> Result<(Logger, Rows), Error> {
    let (logger, queue) = settings(Logger::builder().environment::<&str, &str>([])).detached()?;
    Ok((logger, Rows { queue }))
}

impl Rows {
    /// Every row so far.
    #[must_use]
    pub fn all(&self) -> Vec<Row> {
        self.queue.rows()
    }

    /// The one `api_request` row with this method and path (the path as stored: no query string,
    /// secrets masked).
    ///
    /// # Panics
    ///
    /// When there is none or more than one; the message lists every row.
    #[must_use = "call a check, or `row()`"]
    #[track_caller]
    pub fn one(&self, method: &str, path: &str) -> Found {
        self.exactly_one(&format!("`api_request` row {method} {path}"), |row| {
            row.is_request() && row.method() == Some(method) && row.path() == Some(path)
        })
    }

    /// The one row of a business event.
    ///
    /// # Panics
    ///
    /// When there is none or more than one; the message lists every row.
    #[must_use = "call a check, or `row()`"]
    #[track_caller]
    pub fn event(&self, name: &str) -> Found {
        self.exactly_one(&format!("`{name}` row"), |row| row.event_name() == name)
    }

    #[track_caller]
    fn exactly_one(&self, what: &str, matches: impl Fn(&Row) -> bool) -> Found {
        let rows = self.all();
        let mut found: Vec<&Row> = rows.iter().filter(|row| matches(row)).collect();
        match (found.pop(), found.len()) {
            (Some(row), 0) => Found { row: row.clone() },
            (found_one, others) => {
                let n = others + usize::from(found_one.is_some());
                panic!(
                    "expected exactly one {what}, found {n}; the log has:\n{}",
                    listing(&rows)
                )
            }
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&listing(&self.all()))
    }
}

impl Found {
    /// The row itself.
    #[must_use]
    pub fn row(&self) -> &Row {
        &self.row
    }

    /// Checks the actor's id.
    ///
    /// # Panics
    ///
    /// When it differs.
    #[track_caller]
    pub fn actor(self, id: &str) -> Self {
        self.same("actor", self.row.actor().user_id(), Some(id))
    }

    /// Checks that no actor id is known.
    ///
    /// # Panics
    ///
    /// When one is.
    #[track_caller]
    pub fn no_actor(self) -> Self {
        self.same("actor", self.row.actor().user_id(), None)
    }

    /// Checks the organisation.
    ///
    /// # Panics
    ///
    /// When it differs.
    #[track_caller]
    pub fn org(self, id: &str) -> Self {
        self.same("organisation", self.row.actor().org_id(), Some(id))
    }

    /// Checks the role.
    ///
    /// # Panics
    ///
    /// When it differs.
    #[track_caller]
    pub fn role(self, role: &str) -> Self {
        self.same("role", self.row.actor().user_role(), Some(role))
    }

    /// Checks the error code.
    ///
    /// # Panics
    ///
    /// When it differs or is absent.
    #[track_caller]
    pub fn error_code(self, code: &str) -> Self {
        self.same("error code", self.row.error_code(), Some(code))
    }

    /// Checks the status code.
    ///
    /// # Panics
    ///
    /// When it differs or is absent.
    #[track_caller]
    pub fn status(self, status: u16) -> Self {
        self.same("status", self.row.status_code(), Some(status))
    }

    /// Checks the route template.
    ///
    /// # Panics
    ///
    /// When it differs or is absent.
    #[track_caller]
    pub fn route(self, route: &str) -> Self {
        self.same("route", self.row.route(), Some(route))
    }

    /// Checks that the request succeeded.
    ///
    /// # Panics
    ///
    /// When it failed.
    #[track_caller]
    pub fn success(self) -> Self {
        self.same("result", self.row.result(), Some("success"))
    }

    /// Checks that the request failed.
    ///
    /// # Panics
    ///
    /// When it succeeded.
    #[track_caller]
    pub fn failure(self) -> Self {
        self.same("result", self.row.result(), Some("failure"))
    }

    /// Checks a business property.
    ///
    /// # Panics
    ///
    /// When it differs or is absent.
    #[track_caller]
    pub fn property(self, name: &str, value: impl Into<Value>) -> Self {
        self.same(
            &format!("property `{name}`"),
            self.row.property(name),
            Some(value.into()),
        )
    }

    /// Checks that the row belongs to the request of another one.
    ///
    /// # Panics
    ///
    /// When the request ids differ or are absent.
    #[track_caller]
    pub fn same_request(self, other: &Row) -> Self {
        assert!(
            other.request_id().is_some(),
            "the other row has no request id:\n  {}",
            line(other)
        );
        self.same("request id", self.row.request_id(), other.request_id())
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "callers compare temporaries")]
    fn same<T: PartialEq + fmt::Debug>(&self, what: &str, found: T, expected: T) -> Self {
        assert!(
            found == expected,
            "{what} differs\n  expected  {expected:?}\n  found     {found:?}\n  in        {}",
            line(&self.row)
        );
        self.clone()
    }
}

fn listing(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "  no rows at all: is the layer on the router, after all routes and the fallback?"
            .to_owned();
    }
    rows.iter().fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "  {}", line(row));
        text
    })
}

/// One row on one line, only what is set.
fn line(row: &Row) -> String {
    let mut parts = vec![row.event_name().to_owned()];
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            parts.push(format!("{name}={value}"));
        }
    };
    add("method", row.method().map(str::to_owned));
    add("path", row.path().map(str::to_owned));
    add("route", row.route().map(str::to_owned));
    add("status", row.status_code().map(|status| status.to_string()));
    add("result", row.result().map(str::to_owned));
    add("error_code", row.error_code().map(str::to_owned));
    add("actor", row.actor().user_id().map(str::to_owned));
    add("role", row.actor().user_role().map(str::to_owned));
    add("org", row.actor().org_id().map(str::to_owned));
    add("properties", row.properties_json().map(str::to_owned));
    parts.join(" ")
}

// They use the extractor.
#[cfg(test)]
#[cfg(feature = "axum")]
mod tests;
