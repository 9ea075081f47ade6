//! The way to a host: directly, through a proxy's tunnel, or by handing a proxy the whole request.

use std::error::Error as StdError;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HeaderValue;
use http::uri::Scheme;
use http::{Uri, uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn StdError + Send + Sync>;
type Hop = MaybeHttpsStream<TokioIo<TcpStream>>;

/// An idle connection is probed after this, so that a host that went away without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Connects to a host, or to the proxy that the environment or the system names for it.
#[derive(Clone)]
pub(super) struct Connector {
    direct: HttpsConnector<HttpConnector>,
    tls: ClientConfig,
    proxies: Option<Arc<Matcher>>,
    timeout: Duration,
}

/// A connection to a host, whatever the way.
pub(super) struct Stream {
    io: MaybeHttpsStream<Hop>,
    /// The other end is a proxy that wants the whole address of each request.
    forwarded: bool,
}

impl Connector {
    /// `proxied`: the proxy variables are honoured. `timeout` covers the connect, the proxy and TLS.
    pub(super) fn new(tls: ClientConfig, proxied: bool, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // A request is written at once, and its reply waited for.
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        Self {
            direct: secured(tcp, tls.clone()),
            tls,
            proxies: proxied.then(|| Arc::new(Matcher::from_system())),
            timeout,
        }
    }

    /// What a proxy that is handed whole requests wants in each of them.
    pub(super) fn authorization(&self, to: &Uri) -> Option<HeaderValue> {
        let proxy = self.proxy(to).filter(|_| !is_https(to))?;
        let mut value = proxy.basic_auth()?.clone();
        value.set_sensitive(true);
        Some(value)
    }

    fn proxy(&self, to: &Uri) -> Option<Intercept> {
        self.proxies.as_ref()?.intercept(to)
    }

    async fn connect(mut self, to: Uri) -> Result<Stream, BoxError> {
        let Some(proxy) = self.proxy(&to) else {
            let io = MaybeHttpsStream::Http(self.direct.call(to).await?);
            return Ok(Stream {
                io,
                forwarded: false,
            });
        };
        let address = address(&proxy)?;
        if !is_https(&to) {
            let io = MaybeHttpsStream::Http(self.direct.call(address).await?);
            return Ok(Stream {
                io,
                forwarded: true,
            });
        }
        let mut tunnel = Tunnel::new(address, self.direct);
        if let Some(value) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(value.clone());
        }
        let io = secured(tunnel, self.tls).call(to).await?;
        Ok(Stream {
            io,
            forwarded: false,
        })
    }
}

fn secured<C>(inner: C, tls: ClientConfig) -> HttpsConnector<C> {
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(inner)
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// The proxy's address without what is said to it later: its URL may hold a user name and a password.
fn address(proxy: &Intercept) -> Result<Uri, BoxError> {
    let uri = proxy.uri();
    let scheme = uri.scheme_str().unwrap_or("http");
    if !matches!(scheme, "http" | "https") {
        return Err(format!("a proxy by {scheme}:// is not supported").into());
    }
    let host = uri.host().ok_or("the proxy's URL names no host")?;
    let authority = match uri.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let parts = uri::Builder::new().scheme(scheme).authority(authority);
    Ok(parts.path_and_query("/").build()?)
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        // The one that was found ready is the one that is called.
        let next = self.clone();
        let ready = std::mem::replace(self, next);
        Box::pin(async move {
            let timeout = ready.timeout;
            match tokio::time::timeout(timeout, ready.connect(to)).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("no connection within {} ms", timeout.as_millis()).into()),
            }
        })
    }
}

impl Stream {
    fn io(self: Pin<&mut Self>) -> Pin<&mut MaybeHttpsStream<Hop>> {
        Pin::new(&mut self.get_mut().io)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.forwarded)
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, slices)
    }
}
