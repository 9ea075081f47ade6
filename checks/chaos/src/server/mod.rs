//! The process under test: a service built with audithog as a user would build it.
//!
//! Settings come from the environment. It says on its output where it listens, and takes orders on its input:
//!
//! | order | answer |
//! |---|---|
//! | `drain MS` | `drained {…}`: the report of a flush of at most so many milliseconds |
//! | `fill ROWS` | `filled {…}`: it has logged so many business events itself, never faster than the ledger took them |
//!
//! The end of its input means that whoever started it is gone: it ends as if told by SIGTERM.

mod app;
mod fill;

use std::io::{self, BufRead as _, Write as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use audithog::{AuditConnectInfo, Logger};
use axum::Router;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing_subscriber::filter::LevelFilter;

/// How long connections may go on once the server is told to stop. Streams never end by themselves.
const GRACE: Duration = Duration::from_millis(500);

pub(crate) fn run() -> Result<()> {
    // Another subscriber or none: either is fine.
    let _ = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_ansi(false)
        .with_writer(io::stderr)
        .try_init();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(serve())
}

async fn serve() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let logger = Logger::from_env()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let app: Router = app::app(&logger);
    let server = axum::serve(
        logger.listener(listener),
        app.into_make_service_with_connect_info::<AuditConnectInfo>(),
    )
    .with_graceful_shutdown(async {
        // Told, or the teller is gone: the same.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    say("listening", &address.to_string())?;

    let mut orders = orders()?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            order = orders.recv() => match order {
                Some(order) => obey(&logger, &order).await?,
                None => break,
            },
        }
    }
    drop(stop);
    // What is still open then is cut by the logger's shutdown, as in any service.
    let _ = timeout(GRACE, server).await;
    let report = logger.shutdown(None).await;
    eprintln!("{report}");
    say_json("stopped", &report)
}

async fn obey(logger: &Logger, order: &str) -> Result<()> {
    match order.split_once(' ') {
        Some(("drain", limit)) => {
            let limit = Duration::from_millis(limit.trim().parse()?);
            say_json("drained", &logger.flush(Some(limit)).await)
        }
        Some(("fill", rows)) => {
            let rows = rows.trim().parse()?;
            let logger = logger.clone();
            let filled = tokio::task::spawn_blocking(move || fill::fill(&logger, rows)).await?;
            say_json("filled", &filled)
        }
        _ => anyhow::bail!("the order `{order}` is not known"),
    }
}

/// Lines of standard input, read by a thread of its own: such a read cannot be cancelled.
fn orders() -> Result<mpsc::UnboundedReceiver<String>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        })
        .context("no thread to read orders")?;
    Ok(receiver)
}

fn say_json(word: &str, report: &impl Serialize) -> Result<()> {
    say(word, &serde_json::to_string(report)?)
}

fn say(word: &str, rest: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{word} {rest}")?;
    Ok(out.flush()?)
}
