//! `audithog posthog`, against the stand-in over a socket.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use audithog::testing::PostHogStandIn;
use serde_json::Value;

use crate::program::{audithog, output};

mod reconcile;
mod setup;

const PERSONAL: &str = "phx_personal_secret";

/// `audithog posthog` with a personal key and nothing else.
fn command(directory: &Path, posthog: &PostHogStandIn, arguments: &[&str]) -> Command {
    let mut command = audithog(directory, &["posthog"]);
    command
        .args(arguments)
        .env("POSTHOG_HOST", posthog.url())
        .env("POSTHOG_PERSONAL_API_KEY", PERSONAL)
        .env("POSTHOG_PROJECT_ID", "7");
    command
}

/// Exit code, what was printed, and what was complained.
fn ran(command: Command) -> (Option<i32>, String, String) {
    let output = output(command);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (printed, complaint) = (text(output.stdout), text(output.stderr));
    assert!(!printed.contains(PERSONAL) && !complaint.contains(PERSONAL));
    (output.status.code(), printed, complaint)
}

/// A request to the private API as somebody else makes it: status and body.
fn private(posthog: &PostHogStandIn, method: &str, path: &str, body: &Value) -> (u16, Value) {
    send(posthog, method, &format!("/api/projects/7/{path}"), body)
}

fn send(posthog: &PostHogStandIn, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(posthog.address()).unwrap();
    let body = body.to_string();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: posthog\r\nconnection: close\r\nauthorization: Bearer phx_somebody\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}
