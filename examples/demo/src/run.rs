//! Start, serve, drain, report: the order that loses nothing.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    panic::{self, PanicHookInfo},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use audithog::Logger;
use audithog_console::{Access, Served};
use tokio::sync::oneshot;
use tracing_subscriber::filter::LevelFilter;

use crate::{
    Error, app,
    banner::Banner,
    console::Console,
    live::{Arrivals, Live, Table},
    server::{self, Server},
    signals::Signals,
    traffic,
};

/// A key of the right shape for the stand-in, which knows no projects.
const STANDIN_KEY: &str = "phc_demo";

/// Nobody wants to wait for the usual 30 s to see something arrive.
const STANDIN_INTERVAL: Duration = Duration::from_secs(2);

/// What the demo is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes any that is free. The log's console has the next one, or any that is free too.
    pub port: u16,
    /// The ledger's file; none: `AUDITHOG_DB`, else `audit.db` in the working directory.
    pub database: Option<PathBuf>,
    /// Make requests of its own.
    pub traffic: bool,
    /// Print a line for each row.
    pub live: bool,
    /// Ship to a PostHog stand-in on this machine, and print what it receives.
    pub posthog_standin: bool,
}

/// Runs the demo until Ctrl-C, SIGTERM, or the end of whoever reads its output.
///
/// It is a whole program: it takes the signals, the panic hook and the `tracing` subscriber of the process. A second
/// signal ends the process at once.
///
/// # Errors
///
/// [`Error::exit_code`] tells settings that cannot work from what went wrong later.
pub async fn run(options: Options) -> Result<(), Error> {
    report_problems();
    let mut signals = Signals::catch().map_err(|error| Error::io("cannot catch signals", error))?;
    // Before the logger: a demo that cannot run leaves no file behind.
    let listener = server::listen(options.port).await?;
    let address = listener
        .local_addr()
        .map_err(|error| Error::io("cannot tell the port", error))?;
    let arrivals = options.posthog_standin.then(Arrivals::start).transpose()?;
    let logger = start_logger(&options, arrivals.as_ref())?;

    let pages = pages(&options, &logger).await?;
    let console = Arc::new(Console::stdout());
    let books = logger.health();
    let rows_before = books.ledger.head_at_start;
    Banner {
        address,
        pages: pages.as_ref().map(Served::address),
        table: logger.ledger_path(),
        rows_before,
        ships: books.sinks.contains_key("posthog"),
        standin: options.posthog_standin,
        traffic: options.traffic,
    }
    .print(&console);
    let table = logger.ledger_path().filter(|_| options.live);
    let table = table.map(|path| Table::new(path.to_owned(), rows_before));
    let live = Live::start(Arc::clone(&console), table, arrivals)
        .map_err(|error| Error::io("cannot start a thread", error))?;
    let server = Server::start(listener, app(&logger));
    let traffic = options.traffic.then(|| traffic::start(address));
    let (close, closed) = oneshot::channel::<()>();
    if let Some(pages) = pages {
        tokio::spawn(pages.until(async {
            // Told, or its owner is gone: either way it is time.
            let _ = closed.await;
        }));
    }

    tokio::select! {
        () = signals.next() => {}
        () = console.closed() => {}
    }
    console.line("stopping: requests under way may end; a second Ctrl-C stops at once");
    signals.next_one_exits();
    drop(traffic);
    drop(close);
    server.stop().await;
    let report = logger.shutdown(None).await;
    live.finish();
    console.line(&report);
    if report.closed && report.lost() == 0 {
        Ok(())
    } else {
        Err(Error::running(
            "the audit log is not complete; the report says what is missing",
        ))
    }
}

/// The console of the demo's log, on a port of its own: what people look at is no traffic of the service.
async fn pages(options: &Options, logger: &Logger) -> Result<Option<Served>, Error> {
    let Some(path) = logger.ledger_path() else {
        return Ok(None);
    };
    let port = match options.port {
        0 => 0,
        port => port.checked_add(1).unwrap_or(0),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let pages = audithog_console::Console::new(path, |_| Access::all("demo").operating());
    let served = audithog_console::serve(address, None, pages).await;
    served.map(Some).map_err(|error| {
        Error::start(format!(
            "the console: {error}; --port chooses another pair of ports, --port 0 any that are free"
        ))
    })
}

/// As any service starts it; only what was asked for on the command line counts more than the environment.
fn start_logger(options: &Options, standin: Option<&Arrivals>) -> Result<Logger, Error> {
    let mut builder = Logger::builder()
        .service("agents-marketplace")
        .version(env!("CARGO_PKG_VERSION"));
    if let Some(path) = &options.database {
        let path = path
            .to_str()
            .ok_or_else(|| Error::start("the path of --db is not valid UTF-8"))?;
        builder = builder.pin("AUDITHOG_DB", path);
    }
    if let Some(standin) = standin {
        builder = builder
            .pin("POSTHOG_HOST", standin.url())
            .pin("POSTHOG_API_KEY", STANDIN_KEY)
            .pin("POSTHOG_PROJECT_TOKEN", STANDIN_KEY)
            .batch_interval(STANDIN_INTERVAL);
    }
    builder.start().map_err(Error::logger)
}

/// What goes wrong on the way is a line on standard error.
fn report_problems() {
    // Another subscriber or none: either is fine.
    let _ = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(io::stderr)
        .try_init();
    panic::set_hook(Box::new(report_panic));
}

/// One line for a panic: the demo makes some on purpose.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("without a message");
    let place = panic.location().map(ToString::to_string);
    // Nobody may be reading.
    let _ = writeln!(
        io::stderr(),
        "panic at {}: {message}",
        place.as_deref().unwrap_or("an unknown place")
    );
}
