//! Each stack as a process: ready, a few requests, SIGTERM, and a last line that agrees with what was answered and received.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bench_load::receiver::{Mode, Receiver};
use bench_load::requests;
use serde_json::Value;

const REQUESTS: usize = 300;

/// Killed if a test fails before the end.
struct Service {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(stack: &str, receiver: Option<SocketAddr>, directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stacks"))
            .arg(stack)
            .env(
                "BENCH_RECEIVER",
                receiver.map_or_else(String::new, |to| format!("http://{to}")),
            )
            .env("BENCH_DIR", directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("ready ")
            .unwrap_or_else(|| panic!("{stack}: {line:?}"));
        Self {
            address: address.parse().unwrap(),
            child,
            lines,
        }
    }

    /// The last line.
    fn stop(mut self) -> Value {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(killed.success());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        serde_json::from_str(rest.trim()).unwrap_or_else(|error| panic!("{error}: {rest:?}"))
    }
}

fn receiver() -> SocketAddr {
    let receiver = Receiver::bind(Mode::Ok).unwrap();
    let address = receiver.address();
    thread::spawn(move || receiver.serve());
    address
}

/// Status, head and body of the answer.
fn exchange(stream: &mut BufReader<TcpStream>, request: &[u8]) -> (u16, String, String) {
    stream.get_mut().write_all(request).unwrap();
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
        let line = head[from..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, String::from_utf8(body).unwrap())
}

fn connect(to: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(to).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    BufReader::new(stream)
}

fn received(from: SocketAddr) -> Value {
    let request = format!("GET /count HTTP/1.1\r\nhost: {from}\r\n\r\n");
    let (_, _, body) = exchange(&mut connect(from), request.as_bytes());
    serde_json::from_str(&body).unwrap()
}

/// Sends the first requests of the list and checks the answers; returns the last line.
fn drive(stack: &str, receiver: Option<SocketAddr>) -> Value {
    let directory = tempfile::tempdir().unwrap();
    drive_in(directory.path(), stack, receiver)
}

fn drive_in(directory: &Path, stack: &str, receiver: Option<SocketAddr>) -> Value {
    let service = Service::start(stack, receiver, directory);
    let host = service.address.to_string();
    let mut stream = connect(service.address);
    let identified = !matches!(stack, "bare" | "noop");
    for request in requests::list().iter().take(REQUESTS) {
        let (status, head, body) = exchange(&mut stream, &request.to_bytes(&host));
        assert_eq!(status, request.expected_status(), "{}", request.path);
        assert_eq!(
            head.to_ascii_lowercase().contains("x-request-id: "),
            identified
        );
        if status == 200 {
            let (_, id) = request.path.rsplit_once('/').unwrap();
            assert_eq!(body, format!(r#"{{"id":"{id}","name":"item","ok":true}}"#));
        }
    }
    drop(stream);
    let last = service.stop();
    assert_eq!(last["answered"], REQUESTS, "{last}");
    last
}

#[test]
fn the_floor_makes_no_rows() {
    for stack in ["bare", "noop"] {
        assert_eq!(drive(stack, None)["rows_made"], Value::Null);
    }
}

#[test]
fn every_audithog_stack_delivers_each_request_once() {
    for stack in [
        "audithog-memory",
        "audithog-best-effort",
        "audithog-durable",
        "audithog-fail-closed",
    ] {
        let receiver = receiver();
        let last = drive(stack, Some(receiver));
        assert_eq!(last["books"], "ok", "{stack}: {last}");
        assert_eq!(last["rows_made"], REQUESTS, "{stack}: {last}");
        assert_eq!(last["rows_delivered"], REQUESTS, "{stack}: {last}");
        assert_eq!(last["rows_lost"], 0, "{stack}: {last}");
        let own = last["rows_own"].as_u64().unwrap();
        let all = REQUESTS as u64 + own;
        assert_eq!(received(receiver)["distinct"], all, "{stack}: {last}");
    }
}

#[test]
fn without_a_receiver_audithog_keeps_every_row() {
    for stack in [
        "audithog-best-effort",
        "audithog-durable",
        "audithog-fail-closed",
    ] {
        let last = drive(stack, None);
        assert_eq!(last["books"], "ok", "{stack}: {last}");
        assert_eq!(last["rows_made"], REQUESTS, "{stack}: {last}");
        assert_eq!(last["rows_lost"], 0, "{stack}: {last}");
    }
}

#[test]
fn a_log_file_has_a_line_for_each_request() {
    for stack in ["trace-file", "json-line", "json-line-buffered"] {
        let directory = tempfile::tempdir().unwrap();
        drive_in(directory.path(), stack, None);
        let log = std::fs::read_to_string(directory.path().join("log.jsonl")).unwrap();
        assert_eq!(log.lines().count(), REQUESTS, "{stack}");
    }
}

#[test]
fn a_stack_that_does_not_exist_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stacks"))
        .arg("no-such-stack")
        .env("BENCH_DIR", directory.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no-such-stack"), "{said}");
}
