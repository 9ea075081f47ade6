//! A ledger written by the library in this process: what a service that is asked writes meanwhile.

use std::path::Path;

use audithog::{Actor, ErrorCode, Logger};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::any,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::program::ran;

/// A service with one route, and its home.
pub(crate) struct Shop {
    home: TempDir,
    runtime: Runtime,
    pub(crate) logger: Logger,
}

/// One request, as the test wants it to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) path: &'static str,
    pub(crate) user: Option<&'static str>,
    pub(crate) agent: &'static str,
    pub(crate) status: u16,
    pub(crate) code: Option<&'static str>,
    /// A business event inside of it.
    pub(crate) event: Option<&'static str>,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            path: "/agents/7",
            user: Some("u_1"),
            agent: "test",
            status: 200,
            code: None,
            event: None,
        }
    }
}

impl Shop {
    pub(crate) fn open() -> Self {
        let home = TempDir::new().unwrap();
        let logger = Logger::builder()
            .service("shop")
            .deployment_environment("test")
            .database(home.path().join("audit.db"))
            .start()
            .unwrap();
        Self {
            home,
            runtime: Runtime::new().unwrap(),
            logger,
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Makes the request; it is in the file when this returns.
    pub(crate) fn call(&self, call: Call) {
        let request = Request::get(call.path)
            .header("user-agent", call.agent)
            .body(Body::empty())
            .unwrap();
        let handler = move || async move {
            if let Some(user) = call.user {
                audithog::set_actor(Actor::user(user).role("admin"));
            }
            if let Some(event) = call.event {
                let handle = audithog::current().unwrap();
                handle.event(event).property("plan", "\u{9b}31m=1").log();
            }
            let status = StatusCode::from_u16(call.status).unwrap();
            let code = ErrorCode::new(call.code.unwrap_or("OTHER"));
            match call.code {
                Some(_) => axum::response::IntoResponse::into_response((status, code)),
                None => axum::response::IntoResponse::into_response(status),
            }
        };
        let app = Router::new()
            .route("/agents/{id}", any(handler))
            .layer(self.logger.layer());
        let answer = self.runtime.block_on(app.oneshot(request)).unwrap();
        // The row is made with the end of the body.
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX);
        self.runtime.block_on(body).unwrap();
        assert!(self.logger.flush_blocking(None).blocked.is_none());
    }

    /// `audithog` with these arguments must succeed; what it printed.
    #[track_caller]
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        let (code, printed, complaint) = ran(self.home(), arguments);
        assert_eq!(code, 0, "{arguments:?}: {complaint}");
        printed
    }

    /// The lines of NDJSON that it prints.
    #[track_caller]
    pub(crate) fn lines(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let printed = self.prints(&[arguments, &["--format", "ndjson"]].concat());
        let lines = printed.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
