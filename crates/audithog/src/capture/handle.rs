//! The request handle: what the application says about a request.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::context::Scoped;
use super::recorder::RowSink;
use super::upgrade::UpgradeGuard;
use super::watch::Watch;
use crate::record::{Actor, RequestId};

/// The request that is being handled: set its actor and error code, log business events, read its id.
///
/// It is in the request's extensions, an axum extractor, and [`current()`](crate::current). Clones are
/// cheap and name the same request; a handle may outlive it and move to other tasks and threads.
///
/// What is set after the row was made changes nothing: a row is frozen. The setters say so by returning false.
#[derive(Clone)]
pub struct RequestHandle(pub(super) Arc<Watch>);

/// What an event takes over from the request it is logged in.
pub(crate) struct Snapshot {
    pub(crate) request_id: RequestId,
    pub(crate) actor: Actor,
    pub(crate) trace_id: Option<[u8; 16]>,
    pub(crate) trace_trusted: bool,
    pub(crate) ip: Option<std::net::IpAddr>,
}

impl RequestHandle {
    /// Says who made the request. The last call counts. Control characters in it are escaped.
    ///
    /// Returns false if the row was made before.
    pub fn set_actor(&self, actor: Actor) -> bool {
        self.0.set_actor(actor)
    }

    /// Says why the request fails, in the application's own words: `"AGENT_LIMIT"`. Cut at 128 bytes. The last call counts, and
    /// an [`ErrorCode`](crate::ErrorCode) on the response counts more.
    ///
    /// In the row only if the request fails: by status (4xx, 5xx, a gRPC status) or by ending early.
    /// A request that got no response has the reason for that instead.
    ///
    /// Returns false if the row was made before.
    pub fn set_error_code(&self, code: impl Into<Cow<'static, str>>) -> bool {
        self.0.set_error_code(code.into().into())
    }

    /// Masks a parameter of the route in the stored path: `/magic/{link}` instead of the link. For
    /// secrets whose name does not say so; `token`, `code`, `secret`, `key`, `password`, `email` and names
    /// like `reset_token` are masked without.
    ///
    /// A request that is refused before this is called keeps its path, and so does the `api_request_started` row of a
    /// fail-closed request, which is committed before the handler runs. The logger's builder masks by route for all
    /// requests and rows.
    ///
    /// Returns false if the row was made before.
    pub fn mask_path_param(&self, name: impl Into<Cow<'static, str>>) -> bool {
        self.0.mask_path_param(name.into().into())
    }

    /// The request's id, as in the `x-request-id` header: a UUID, or what a trusted proxy sent.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.0.request_id_text()
    }

    /// The request id, to be sent.
    pub(crate) fn request_id_bytes(&self) -> Bytes {
        self.0.request_id_bytes()
    }

    /// Runs a future as part of this request, so that [`current()`](crate::current) finds it there. For spawned
    /// tasks: `tokio::spawn(handle.scope(work()))`. It may go on after the response.
    pub fn scope<F>(&self, future: F) -> Scoped<F> {
        Scoped::new(self.clone(), future)
    }

    /// To be kept by the task that serves an upgraded connection (WebSocket, CONNECT): when it is dropped the connection
    /// is over, and an `api_connection_closed` row says so.
    ///
    /// ```no_run
    /// # fn serve(handle: audithog::RequestHandle) {
    /// let _closed = handle.upgraded();
    /// // … serve the connection …
    /// # }
    /// ```
    #[must_use = "the connection counts as closed when this is dropped"]
    pub fn upgraded(&self) -> UpgradeGuard {
        UpgradeGuard::new(Arc::clone(&self.0))
    }

    /// Says that the upgraded connection is over, with the bytes it carried each way. Makes the `api_connection_closed`
    /// row at once; a later call makes none.
    pub fn connection_closed(&self, bytes_received: u64, bytes_sent: u64) {
        self.0.connection_closed(Some((bytes_received, bytes_sent)));
    }

    /// The connection's own stream will tell of the close, and of the bytes.
    pub(crate) fn close_is_seen(&self) {
        self.0.close_is_seen();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// Where the request's own row goes.
    pub(crate) fn sink(&self) -> &Arc<dyn RowSink> {
        self.0.sink()
    }

    /// The row was made.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// A shutdown has made the row, and the request goes on.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.0.is_shut_down()
    }

    /// Tells a route template, for layers that learn it later than the outermost one. The first one counts: it is
    /// the outermost router's, the whole path. Others only mask secrets.
    pub(crate) fn tell_route(&self, route: &str) {
        self.0.tell_route(route);
    }

    /// Says that the request has come to where routes are told, and which one it took if any.
    #[cfg(feature = "axum")]
    pub(crate) fn tapped(&self, route: Option<&str>) {
        self.0.tapped(route);
    }
}

impl fmt::Debug for RequestHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestHandle")
            .field(&self.request_id())
            .finish()
    }
}
