//! The console alone, on an address.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use ring::hmac;
use tokio::net::TcpListener;

use crate::guard::{self, SESSION};
use crate::{Console, Error};

/// Fewer characters can be guessed.
const SHORTEST: usize = 16;

/// What somebody must know to see the console.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A token of at least 16 printable ASCII characters, without spaces.
    ///
    /// # Errors
    ///
    /// [`Error::is_setting`]: another text. The error does not show it.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::setting(format!(
                "the console's token must have at least {SHORTEST} printable ASCII characters and no spaces: make one with `openssl rand -hex 24`"
            )));
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn is(&self, given: &str) -> bool {
        same(&self.0, given)
    }

    /// What the cookie has: who reads it cannot tell the token.
    pub(crate) fn session(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let tag = hmac::sign(&key, b"audithog console session 1");
        tag.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The request has the cookie, or the token itself as `Authorization: Bearer`.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let session = guard::cookie(headers, SESSION);
        session.is_some_and(|session| same(&self.session(), session))
            || guard::bearer(headers).is_some_and(|token| self.is(token))
    }
}

/// Compares hashes of both, so that the time says nothing about where they differ.
fn same(known: &str, given: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"audithog console compares");
    let known = hmac::sign(&key, known.as_bytes());
    hmac::verify(&key, given.as_bytes(), known.as_ref()).is_ok()
}

/// A console that listens.
#[derive(Debug)]
pub struct Served {
    listener: TcpListener,
    address: SocketAddr,
    app: Router,
}

/// Listens on `address` for the console alone. On an address that others can reach it needs a token; on a loopback address it
/// answers requests only that name this machine as their host, so that no site can read it through a name of its own (DNS rebinding).
///
/// # Errors
///
/// [`Error::is_setting`]: the address is not a loopback one, and there is no token. [`Error::is_listen`]: it cannot be listened on.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub async fn serve(
    address: SocketAddr,
    token: Option<Token>,
    console: Console,
) -> Result<Served, Error> {
    let loopback = address.ip().is_loopback();
    if !loopback && token.is_none() {
        return Err(Error::setting(format!(
            "{address} can be reached from other machines, and there is no token: give one, or listen on 127.0.0.1"
        )));
    }
    let refused = |error: io::Error| {
        let text = match error.kind() {
            io::ErrorKind::AddrInUse => format!("{address} is taken: choose another port"),
            _ => format!("cannot listen on {address}"),
        };
        Error::listen(text, error)
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let mut console = console;
    console.shared.loopback_only = loopback;
    console.shared.token = token;
    Ok(Served {
        listener,
        address: bound,
        app: console.router(),
    })
}

impl Served {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stopped` completes. Streams that are open then are cut: nothing is lost with them.
    pub async fn until(self, stopped: impl Future<Output = ()>) {
        let serving = axum::serve(self.listener, self.app).into_future();
        tokio::select! {
            // It ends only when it cannot accept any more, and tries again by itself before.
            _ = serving => {}
            () = stopped => {}
        }
    }
}
