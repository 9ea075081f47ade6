//! One connection: the stream that sees its bytes and its close, and what a request on it knows of it.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use http::header::UPGRADE;
use http::{Extensions, Method, Request, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::capture::RequestHandle;

/// A connection whose close is seen. From [`Logger::listener`](crate::Logger::listener) or
/// [`Logger::connection`](crate::Logger::connection).
///
/// Bytes go through unchanged. When a request ends HTTP on the connection (an upgrade's 101, a CONNECT over HTTP/1.1) the bytes are
/// counted from there, and dropping the stream makes the request's `api_connection_closed` row:
///
/// * `bytesSent` begins after the head of the 101 or 2xx.
/// * `bytesReceived` begins when that answer is ready. What a client sends before it has the answer may not be in it.
/// * Both are application bytes where `T` is a TLS stream, and wire bytes where it is a TCP stream.
pub struct AuditIo<T> {
    io: T,
    connection: Arc<Connection>,
    traffic: Traffic,
}

/// What a request knows of its connection: the peer's address, and whom to tell of an upgrade.
///
/// The layer finds it in the extensions of a request, as it is or as axum's `ConnectInfo<AuditConnectInfo>`. With axum the layer
/// also sets `ConnectInfo<SocketAddr>` from it, so that extractors of the address go on working.
#[derive(Clone)]
pub struct AuditConnectInfo(Arc<Connection>);

struct Connection {
    peer: Option<SocketAddr>,
    /// The request that ended HTTP on this connection.
    tunnel: OnceLock<RequestHandle>,
}

/// Bytes since HTTP ended.
#[derive(Default)]
struct Traffic {
    received: u64,
    sent: u64,
    /// How much of [`END_OF_HEAD`] was just sent; its whole length once the head is over.
    matched: usize,
}

/// RFC 9112 §2.1.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

impl<T> AuditIo<T> {
    pub(crate) fn new(io: T, peer: Option<SocketAddr>) -> Self {
        let tunnel = OnceLock::new();
        Self {
            io,
            connection: Arc::new(Connection { peer, tunnel }),
            traffic: Traffic::default(),
        }
    }

    /// To be put into the extensions of each request of this connection. axum does it by itself.
    pub fn connect_info(&self) -> AuditConnectInfo {
        AuditConnectInfo(Arc::clone(&self.connection))
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    fn is_tunnel(&self) -> bool {
        self.connection.tunnel.get().is_some()
    }
}

impl<T> Drop for AuditIo<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.connection.tunnel.get() {
            handle.connection_closed(self.traffic.received, self.traffic.sent);
        }
    }
}

impl AuditConnectInfo {
    /// The other end of the connection; none if the listener's addresses are no IP addresses.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    pub(super) fn of(extensions: &Extensions) -> Option<&Self> {
        let own = extensions.get::<Self>();
        #[cfg(feature = "axum")]
        let own = own.or_else(|| super::axum::connect_info(extensions));
        own
    }

    /// Itself, for a request that may end HTTP on it. Over HTTP/2 only a stream can be upgraded.
    pub(super) fn for_upgrade<B>(&self, request: &Request<B>) -> Option<Self> {
        let may_upgrade = request.version() <= Version::HTTP_11
            && (request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE));
        may_upgrade.then(|| self.clone())
    }

    /// The request was answered so that no other can follow it.
    pub(super) fn upgraded(&self, handle: RequestHandle) {
        handle.close_is_seen();
        // Set before: that request has the connection.
        drop(self.0.tunnel.set(handle));
    }
}

impl Traffic {
    fn sent(&mut self, mut bytes: &[u8]) {
        while self.matched < END_OF_HEAD.len() {
            let Some((&byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            self.matched = match byte {
                byte if byte == END_OF_HEAD[self.matched] => self.matched + 1,
                b'\r' => 1,
                _ => 0,
            };
        }
        self.sent += bytes.len() as u64;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for AuditIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if self.is_tunnel() {
            self.traffic.received += (buf.filled().len() - before) as u64;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for AuditIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        if self.is_tunnel() {
            self.traffic.sent(buf.get(..written).unwrap_or(buf));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        if self.is_tunnel() {
            let mut left = written;
            for buf in bufs {
                let taken = buf.len().min(left);
                self.traffic.sent(&buf[..taken]);
                left -= taken;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T> fmt::Debug for AuditIo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditIo")
            .field("peer", &self.connection.peer)
            .field("upgraded", &self.is_tunnel())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AuditConnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditConnectInfo")
            .field("peer", &self.0.peer)
            .finish_non_exhaustive()
    }
}
