//! What axum adds: the route template, the peer's address, the extractor.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use axum::extract::connect_info::MockConnectInfo;
use axum::extract::{
    ConnectInfo, FromRequestParts, MatchedPath, OptionalFromRequestParts, OriginalUri,
};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use http::request::Parts;
use http::{Extensions, Request, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::{AuditConnectInfo, ErrorCode};
use crate::capture::RequestHandle;

pub(super) fn route(extensions: &Extensions) -> Option<&str> {
    extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}

pub(super) fn original_path(extensions: &Extensions) -> Option<&str> {
    extensions.get::<OriginalUri>().map(|uri| uri.path())
}

pub(super) fn connect_info(extensions: &Extensions) -> Option<&AuditConnectInfo> {
    let info = extensions.get::<ConnectInfo<AuditConnectInfo>>();
    info.map(|info| &info.0)
}

/// For extractors of the peer's address: our connect info is in the place of the address.
pub(super) fn set_address(extensions: &mut Extensions) {
    let info = connect_info(extensions);
    if let Some(peer) = info.and_then(AuditConnectInfo::peer)
        && extensions.get::<ConnectInfo<SocketAddr>>().is_none()
    {
        extensions.insert(ConnectInfo(peer));
    }
}

pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    let mock = || extensions.get::<MockConnectInfo<SocketAddr>>();
    peer.map(|peer| peer.0)
        .or_else(|| mock().map(|mock| mock.0))
}

// === the extractor ===

/// The rejection of the [`RequestHandle`] extractor: no audit layer has seen the request. Status 500.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MissingLayer;

impl fmt::Display for MissingLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no audit layer around this route: `.layer(logger.layer())` goes last, after all \
             routes and fallbacks",
        )
    }
}

impl std::error::Error for MissingLayer {}

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for RequestHandle {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        parts.extensions.get().cloned().ok_or(MissingLayer)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for RequestHandle {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

impl IntoResponseParts for ErrorCode {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

impl IntoResponse for ErrorCode {
    /// An empty response with the code: the last part of `(StatusCode::CONFLICT, ErrorCode::new("AGENT_LIMIT"))`.
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

// === the tap ===

/// Tells an audit layer around the whole service which route a request took: `router.layer(RouteTapLayer)`.
///
/// Needed only there. A layer added with `Router::layer` sees the route itself, and knows more: around the service nothing tells
/// whether a prefix of the path was taken away on the way. With a secret parameter and a catch-all (`/{token}/{*rest}`) the template
/// is stored in place of the path then. And a request that something between the layer and the router answers never gets to its
/// route: its row has no path, once another request has told the layer a route.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteTapLayer;

/// Made by [`RouteTapLayer`].
#[derive(Clone, Copy, Debug)]
pub struct RouteTap<S> {
    inner: S,
}

impl<S> Layer<S> for RouteTapLayer {
    type Service = RouteTap<S>;

    fn layer(&self, inner: S) -> RouteTap<S> {
        RouteTap { inner }
    }
}

impl<S, B> Service<Request<B>> for RouteTap<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let extensions = request.extensions();
        if let Some(handle) = extensions.get::<RequestHandle>() {
            handle.tapped(route(extensions));
        }
        self.inner.call(request)
    }
}
