//! A service's process: `PROGRAM STACK`, with `BENCH_RECEIVER` and `BENCH_DIR` in the environment.

use std::env;
use std::error::Error;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::serve::{Listener as _, ListenerExt as _, TapIo};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::service;

/// What a drain gets at most.
pub const DRAIN: Duration = Duration::from_secs(120);

/// Whatever ends a process early.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What the process was asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The first argument.
    pub stack: String,
    /// Where rows go; delivery is off without.
    pub receiver: Option<String>,
    /// For the stack's files.
    pub directory: PathBuf,
}

impl Settings {
    /// From arguments and environment.
    ///
    /// # Errors
    ///
    /// If the stack or the directory is not named.
    pub fn read() -> Result<Self, Failure> {
        let stack = env::args().nth(1).ok_or("usage: PROGRAM STACK")?;
        let receiver = env::var("BENCH_RECEIVER")
            .ok()
            .filter(|url| !url.is_empty());
        let directory = env::var_os("BENCH_DIR")
            .ok_or("BENCH_DIR is not set")?
            .into();
        Ok(Self {
            stack,
            receiver,
            directory,
        })
    }

    /// For stacks that cannot do without.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn need_receiver(&self) -> Result<&str, Failure> {
        Ok(self
            .receiver
            .as_deref()
            .ok_or("this stack needs BENCH_RECEIVER")?)
    }

    /// For a name that the program does not have.
    #[must_use]
    pub fn unknown(&self) -> Failure {
        format!("{}: no such stack", self.stack).into()
    }
}

/// What a stack knows of its rows after the drain. Nothing where it cannot know.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rows {
    /// One for each request, if all is well.
    pub rows_made: Option<u64>,
    /// Of these, rows that the destination took.
    pub rows_delivered: Option<u64>,
    /// Of these, rows that are gone.
    pub rows_lost: Option<u64>,
    /// Rows besides: what the stack made of itself, and rows that say that a request began.
    pub rows_own: Option<u64>,
    /// `ok`, or the equation that does not hold.
    pub books: Option<String>,
}

#[derive(Serialize)]
struct Last {
    answered: u64,
    #[serde(flatten)]
    rows: Rows,
}

/// The runtime of all stacks: one thread, so that the service has one core.
///
/// # Errors
///
/// What `main` returns, or the runtime's own.
pub fn run(main: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(main)
}

/// Serves a router that needs no peer address.
///
/// # Errors
///
/// If nothing can be bound or written.
pub async fn serve(router: Router) -> Result<(), Failure> {
    let listener = listen().await?;
    let terminated = terminated(listener.local_addr()?)?;
    axum::serve(listener, router)
        .with_graceful_shutdown(terminated)
        .await?;
    Ok(())
}

/// Serves a router whose layers want the peer's address.
///
/// # Errors
///
/// If nothing can be bound or written.
pub async fn serve_with_peers(router: Router) -> Result<(), Failure> {
    let listener = listen().await?;
    let terminated = terminated(listener.local_addr()?)?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(terminated)
        .await?;
    Ok(())
}

/// The last line.
///
/// # Errors
///
/// If it cannot be written.
pub fn finish(rows: Rows) -> Result<(), Failure> {
    let last = Last {
        answered: service::answered(),
        rows,
    };
    say(&serde_json::to_string(&last)?)?;
    Ok(())
}

type NoDelay = TapIo<TcpListener, fn(&mut TcpStream)>;

async fn listen() -> io::Result<NoDelay> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let no_delay: fn(&mut TcpStream) = |stream| {
        // A connection that is gone already shows at its first read.
        let _ = stream.set_nodelay(true);
    };
    Ok(listener.tap_io(no_delay))
}

/// Says that the service is ready, once the signal is caught.
fn terminated(address: SocketAddr) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut signal = signal(SignalKind::terminate())?;
    say(&format!("ready {address}"))?;
    Ok(async move {
        signal.recv().await;
    })
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}
