//! What a request says about itself outside of its headers.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, Request};

use super::AuditConnectInfo;

/// The other end of a connection, for servers that do not say it in a way that the layer knows.
///
/// Put it into the extensions of each request before the layer sees it. With axum's
/// `into_make_service_with_connect_info::<SocketAddr>()` it is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

pub(super) struct Facts<'a> {
    /// Of the original URI, without the query.
    pub(super) path: &'a str,
    /// The URI has another path by now: something took a prefix away.
    pub(super) is_stripped: bool,
    pub(super) route: Option<&'a str>,
    pub(super) peer: Option<IpAddr>,
    pub(super) connection: Option<&'a AuditConnectInfo>,
}

impl<'a> Facts<'a> {
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        let extensions = request.extensions();
        let connection = AuditConnectInfo::of(extensions);
        let path = path(request);
        Self {
            path,
            // Their lengths say enough, and need no look at either.
            is_stripped: path.len() != request.uri().path().len(),
            route: route(extensions),
            peer: peer(extensions, connection),
            connection,
        }
    }
}

fn path<B>(request: &Request<B>) -> &str {
    let original = original_path(request.extensions());
    original.unwrap_or_else(|| request.uri().path())
}

fn peer(extensions: &Extensions, connection: Option<&AuditConnectInfo>) -> Option<IpAddr> {
    let own = extensions.get::<PeerAddr>().map(|peer| peer.0);
    let own = own.or_else(|| connection?.peer());
    #[cfg(feature = "axum")]
    let own = own.or_else(|| super::axum::peer(extensions));
    own.map(|peer| peer.ip())
}

#[cfg(feature = "axum")]
pub(super) use super::axum::route;

#[cfg(feature = "axum")]
use super::axum::original_path;

#[cfg(not(feature = "axum"))]
fn original_path(_: &Extensions) -> Option<&str> {
    None
}

#[cfg(not(feature = "axum"))]
pub(super) fn route(_: &Extensions) -> Option<&str> {
    None
}
