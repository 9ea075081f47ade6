//! The audit log in a browser: what happened, who did it, and whether every row arrived.
//!
//! An axum application mounts it behind its own authentication, and says what each request may see:
//!
//! ```no_run
//! use audithog_console::{Access, Console};
//! use axum::{Router, http::request::Parts};
//!
//! # #[derive(Clone)] struct Admin { name: String, org: Option<String> }
//! // Set by the application's own authentication.
//! fn access(request: &Parts) -> Access {
//!     match request.extensions.get::<Admin>() {
//!         Some(Admin { name, org: None }) => Access::all(name).operating(),
//!         Some(Admin { name, org: Some(org) }) => Access::org(org, name),
//!         None => Access::deny(),
//!     }
//! }
//!
//! let console = Console::new("/var/lib/shop/audit.db", access);
//! let app: Router = Router::new().nest_service("/audit", console.router());
//! # let _ = app;
//! ```
//!
//! [`serve`] runs it alone, as `audithog console` does.
//!
//! Pages are made on the server. They work without JavaScript, with it they are live. Nothing is loaded from anywhere else.

mod access;
mod answers;
mod assets;
mod error;
mod guard;
mod pace;
mod pages;
mod params;
mod range;
mod record;
mod routes;
mod serve;
mod view;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use audithog::AccessRows;
use axum::Router;
use axum::http::request::Parts;
use tokio::sync::Semaphore;

pub use access::Access;
pub use error::Error;
pub use serve::{Served, Token, serve};

/// The code in the repository's page is compiled with this crate's own examples.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/how-to/console.md")]
struct HowTo;

/// Questions that are answered at the same time: more would take the disk and the cores from the service.
const READERS: usize = 4;
/// Streams of new rows at the same time.
const STREAMS: usize = 32;

/// What a trace link has in the place of the id.
const TRACE_ID: &str = "{trace_id}";

/// The console of one ledger.
#[derive(Debug)]
pub struct Console {
    shared: Shared,
}

type Allow = dyn Fn(&Parts) -> Access + Send + Sync;

/// What all requests use.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) allow: Box<Allow>,
    /// Before and behind a trace's id.
    pub(crate) trace_link: Option<(String, String)>,
    /// Where it is mounted, if requests do not show it.
    pub(crate) base: Option<String>,
    pub(crate) token: Option<Token>,
    /// Only hosts that are this machine: nothing else protects it from a name that an attacker made point here.
    pub(crate) loopback_only: bool,
    /// Other names by which such a console may be called.
    pub(crate) hosts: Vec<String>,
    pub(crate) readers: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) looks: Mutex<VecDeque<pace::Look>>,
    pub(crate) access_rows: AccessRows,
    pub(crate) recorded: Mutex<record::Recorded>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("path", &self.path)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Console {
    /// The console of the ledger at `path`, which a service may write meanwhile. `allow` says for each request what it may see and do; it
    /// runs on every request, so it must not block.
    pub fn new(
        path: impl Into<PathBuf>,
        allow: impl Fn(&Parts) -> Access + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared: Shared {
                path: path.into(),
                allow: Box::new(allow),
                trace_link: None,
                base: None,
                token: None,
                loopback_only: false,
                hosts: Vec::new(),
                readers: Arc::new(Semaphore::new(READERS)),
                streams: Arc::new(Semaphore::new(STREAMS)),
                looks: Mutex::default(),
                access_rows: AccessRows::default(),
                recorded: Mutex::default(),
            },
        }
    }

    /// Makes trace ids links: to this address, with the id in the place of `{trace_id}`.
    ///
    /// # Errors
    ///
    /// [`Error::is_setting`]: it is no `http://` or `https://` address, or has no `{trace_id}`.
    pub fn trace_link(mut self, address: &str) -> Result<Self, Error> {
        let http = ["http://", "https://"];
        let Some((before, behind)) = address
            .split_once(TRACE_ID)
            .filter(|_| http.iter().any(|scheme| address.starts_with(scheme)))
        else {
            return Err(Error::setting(format!(
                "{address:?} is no link to a trace: give an http:// or https:// address with {TRACE_ID} in it"
            )));
        };
        self.shared.trace_link = Some((before.to_owned(), behind.to_owned()));
        Ok(self)
    }

    /// Where it is mounted, as browsers see it: `/audit`. Only needed if something in front takes a part of the path away;
    /// [`Router::nest`] is seen.
    ///
    /// # Errors
    ///
    /// [`Error::is_setting`]: it does not begin with `/`, or has characters that are none of a path.
    pub fn mounted_at(mut self, base: &str) -> Result<Self, Error> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
        if !base.starts_with('/') || base.starts_with("//") || !base.chars().all(fine) {
            return Err(Error::setting(format!(
                "{base:?} is no place for the console: give a path as /audit"
            )));
        }
        self.shared.base = Some(base.trim_end_matches('/').to_owned());
        Ok(self)
    }

    /// Another name by which requests may call a console that [`serve`] has on a loopback address: that of a proxy in front of it. Without the port.
    #[must_use]
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.shared.hosts.push(name.into());
        self
    }

    /// Which looks become rows of the log (`audit_access`), in a ledger that a service writes now; default: all of them. The same page again within five
    /// minutes is one.
    #[must_use]
    pub fn access_rows(mut self, rows: AccessRows) -> Self {
        self.shared.access_rows = rows;
        self
    }

    /// As a router, to be nested or merged.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        routes::router(Arc::new(self.shared))
    }
}
