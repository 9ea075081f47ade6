//! `audithog console`.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use audithog::Logger;
use audithog_console::{Access, Console, Token};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    failure::Failure,
    ledger,
    output::{Output, unanswered, written},
    user,
};

const LONG_ABOUT: &str = "\
Show the log in a browser

Serves pages on 127.0.0.1: traffic, failures and latency over time, the log with live rows and filters, users, organisations and endpoints, and \
the health of the pipeline with its dead letters. Beside the running service, or on a copy. Nothing is loaded from elsewhere.

On any other address than a loopback one it needs a token, which a browser asks for once; programs send it as `Authorization: Bearer`. It speaks \
plain HTTP: put something that speaks TLS in front of it before it leaves the machine.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog console                                        http://127.0.0.1:4748
  audithog console --db /var/lib/shop/audit.db --listen 127.0.0.1:0
  audithog console --listen 0.0.0.0:4748 --token-file /run/secrets/console
  audithog console --trace-link 'https://tempo.example/trace/{trace_id}'

Environment:
  AUDITHOG_DB      The ledger's file
  AUDITHOG_ACCESS  Which looks at a log that is being written become rows of it: all, exports or off [default: all]

Exit codes:
  0    Ctrl-C or SIGTERM
  1    The ledger cannot be read, or something went wrong while it ran
  2    It cannot start like this: an address, a token, an argument";

/// Show the log in a browser
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The ledger's file [default: AUDITHOG_DB, else audit.db in $STATE_DIRECTORY or here]
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,

    /// Address and port; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4748")]
    listen: SocketAddr,

    /// File with the token that a browser is asked for; needed on other addresses than loopback
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Name by which a proxy calls a console on a loopback address; may be given again
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// Make trace ids links to this address, with the id in the place of {trace_id}
    #[arg(long, value_name = "URL")]
    trace_link: Option<String>,

    /// Offer nothing that changes anything: no dead letter is sent again or dismissed
    #[arg(long)]
    read_only: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let path = ledger::find(args.db.as_deref())?;
    // What cannot be read is said here, and not on a page.
    drop(ledger::open(Some(&path), None)?);
    let rows = Logger::builder().access_rows().map_err(unanswered)?;
    let token = args.token_file.as_deref().map(token).transpose()?;
    let by = format!("{} (console)", user::name());
    let read_only = args.read_only;
    let mut console = Console::new(path, move |_| {
        let access = Access::all(&by);
        if read_only {
            access
        } else {
            access.operating()
        }
    })
    .access_rows(rows);
    for name in &args.allow_host {
        console = console.allow_host(name);
    }
    if let Some(link) = &args.trace_link {
        console = console.trace_link(link).map_err(refused)?;
    }
    let runtime = Runtime::new().map_err(|error| Failure::new(1, error))?;
    runtime.block_on(serve(args.listen, token, console))
}

async fn serve(address: SocketAddr, token: Option<Token>, console: Console) -> Result<(), Failure> {
    let caught = |kind: SignalKind| signal(kind).map_err(|error| Failure::new(1, error));
    let (mut interrupt, mut terminate) = (
        caught(SignalKind::interrupt())?,
        caught(SignalKind::terminate())?,
    );
    let served = audithog_console::serve(address, token, console)
        .await
        .map_err(refused)?;
    let mut output = Output::standard();
    output
        .line(&format!("http://{}", served.address()))
        .map_err(written)?;
    output.flush().map_err(written)?;
    served.until(either(&mut interrupt, &mut terminate)).await;
    output.end()
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn token(file: &Path) -> Result<Token, Failure> {
    let named = |error: io::Error| {
        Failure::new(
            2,
            format!("--token-file: cannot read {}: {error}", file.display()),
        )
    };
    let text = fs::read_to_string(file).map_err(named)?;
    Token::new(text.trim()).map_err(|error| Failure::new(2, format!("--token-file: {error}")))
}

fn refused(error: audithog_console::Error) -> Failure {
    Failure::new(2, error)
}
