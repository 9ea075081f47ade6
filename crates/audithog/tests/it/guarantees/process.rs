//! A server in a process of its own, so that it can be traced, hindered and killed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use audithog::{Guarantee, Logger};
use axum::Router;
use axum::body::Body;
use axum::extract::Path as Param;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use super::PATIENCE;

/// Names the ledger; tells the test binary that it is the server.
const DATABASE: &str = "GUARANTEES_DATABASE";
const TIMEOUT: &str = "GUARANTEES_TIMEOUT_MS";
/// Requests to `/together` and `/streamed` that are answered at once, when all of them are there.
pub(super) const TOGETHER: usize = 24;

/// A server process; killed when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    directory: TempDir,
    child: Child,
}

/// What a client got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) text: String,
    /// To its end, as HTTP/1.1 tells it.
    pub(super) complete: bool,
}

/// strace, attached to a server.
pub(super) struct Strace(Child);

impl Server {
    /// `before`: a program and arguments that the server is started with.
    pub(super) fn start(timeout_ms: u64, before: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let mut command = match before {
            [] => Command::new(program),
            [tracer, arguments @ ..] => {
                let mut command = Command::new(tracer);
                command.args(arguments).arg(program);
                command
            }
        };
        let mut child = command
            .args(["--exact", "--nocapture", "guarantees::process::serves"])
            .env(DATABASE, directory.path().join("audit.db"))
            .env(TIMEOUT, timeout_ms.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{before:?} cannot be started: {error}; {NEEDED}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let address = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("listening ")?.1.to_owned()));
        let address = address.unwrap_or_else(|| panic!("the server did not start; {NEEDED}"));
        Self {
            address: address.parse().unwrap(),
            directory,
            child,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("audit.db")
    }

    pub(super) fn get(&self, path: &str) -> Got {
        request(self.address, "GET", path)
    }

    pub(super) fn post(&self, path: &str) -> Got {
        request(self.address, "POST", path)
    }

    /// The server's own books.
    pub(super) fn books(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/books").text).unwrap()
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.directory, empty)
    }

    /// Meddles with the server's system calls until the answer is dropped.
    pub(super) fn inject(&self, injection: &str) -> Strace {
        let call = injection.split(':').next().unwrap();
        let mut child = Command::new("strace")
            .args(["-f", "-qqq", "-o", "/dev/null", "-e"])
            .arg(format!("trace={call}"))
            .arg("-e")
            .arg(format!("inject={injection}"))
            .args(["-p", &self.child.id().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("strace cannot be started: {error}; {NEEDED}"));
        // Every thread says whose it is.
        let id = child.id().to_string();
        let tasks = format!("/proc/{}/task", self.child.id());
        super::until("strace is attached", || {
            if child.try_wait().unwrap().is_some() {
                let mut said = String::new();
                let _ = child.stderr.take().unwrap().read_to_string(&mut said);
                panic!("strace could not attach: {said}; {NEEDED}");
            }
            std::fs::read_dir(&tasks).unwrap().all(|task| {
                let status = task.unwrap().path().join("status");
                // A thread may end meanwhile.
                std::fs::read_to_string(status).is_ok_and(|status| {
                    let tracer = status.lines().find(|line| line.starts_with("TracerPid:"));
                    tracer.is_some_and(|line| line.ends_with(&format!("\t{id}")))
                })
            })
        });
        Strace(child)
    }
}

const NEEDED: &str = "this test needs strace and the right to trace (root): `cargo xtask setup`";

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Strace {
    /// SIGTERM, on which strace lets go of what it holds.
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// One request on a connection of its own.
pub(super) fn request(address: SocketAddr, method: &str, path: &str) -> Got {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // What came before an error counts.
    let ended = stream.read_to_end(&mut answer);
    if let Err(error) = &ended {
        let waited = error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!waited, "{method} {path} is not answered");
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let header = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let complete = match header("content-length:") {
        Some(length) => body.len().to_string() == length,
        None => body.ends_with("0\r\n\r\n"),
    };
    Got {
        status: status.unwrap_or(0),
        text: body.to_owned(),
        complete,
    }
}

/// The server. Passes at once where it is not asked to be one.
#[test]
fn serves() {
    let (Ok(database), Ok(timeout)) = (std::env::var(DATABASE), std::env::var(TIMEOUT)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve(Path::new(&database), timeout));
}

async fn serve(database: &Path, timeout: String) {
    let logger = Logger::builder()
        .environment::<&str, &str>([])
        .service("guarded")
        .database(database)
        .set("AUDITHOG_GUARANTEE_TIMEOUT_MS", timeout)
        .guarantee(Guarantee::Durable)
        .guarantee_for(None, "/books", Guarantee::BestEffort)
        .guarantee_for(None, "/paid", Guarantee::FailClosed)
        .guarantee_for(None, "/crash", Guarantee::FailClosed)
        .start()
        .unwrap();
    let _ = logger.flush(None).await;
    let books = logger.clone();
    let together = Arc::new(Barrier::new(TOGETHER));
    let (sized, streamed) = (Arc::clone(&together), together);
    let app = Router::new()
        .route(
            "/one/{n}",
            get(|Param(n): Param<String>| async move { format!("done-{n}") }),
        )
        .route(
            "/together/{n}",
            get(move |Param(n): Param<String>| async move {
                sized.wait().await;
                format!("done-{n}")
            }),
        )
        .route(
            "/streamed/{n}",
            get(move |Param(n): Param<String>| async move {
                streamed.wait().await;
                let event = Ok::<_, std::convert::Infallible>(Bytes::from(format!("done-{n}")));
                Body::from_stream(stream::iter([event]))
            }),
        )
        .route("/paid", post(|| async { "paid" }))
        .route("/crash", post(crashes))
        .route(
            "/books",
            get(move || async move { serde_json::to_string(&books.health()).unwrap() }),
        )
        .layer(logger.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(
        clippy::print_stdout,
        reason = "how the parent knows where the server is"
    )]
    {
        println!("listening {address}");
    }
    axum::serve(listener, app).await.unwrap();
}

async fn crashes() -> &'static str {
    if true {
        std::process::abort();
    }
    "never said"
}
