//! One connection: requests in, answers out, one after the other.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::{Mode, Shared, otlp, posthog};
use crate::http::{self, Chunked, Head, MOST_BODY};

const READ: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// How much of `input` is filled.
    filled: usize,
    output: Vec<u8>,
    written: usize,
    hung: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Closed,
}

/// How far a request at the beginning of the input is.
enum Step {
    Done(usize),
    /// Nothing can be said before there are so many bytes.
    Needs(usize),
    Malformed,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            filled: 0,
            output: Vec::new(),
            written: 0,
            hung: false,
        }
    }

    /// Reads and writes what can be, until the system says that nothing more can.
    pub(super) fn drive(&mut self, shared: &mut Shared) -> io::Result<State> {
        let mut needs = 0;
        loop {
            self.flush()?;
            let wanted = needs.max(self.filled + READ);
            if self.input.len() < wanted {
                self.input.resize(wanted, 0);
            }
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Ok(State::Closed),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(State::Open),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.hung {
                self.filled = 0;
                continue;
            }
            if self.filled < needs {
                continue;
            }
            needs = 0;
            let mut at = 0;
            while at < self.filled && !self.hung {
                match step(
                    &self.input[at..self.filled],
                    shared,
                    &mut self.output,
                    &mut self.hung,
                ) {
                    Step::Done(length) => at += length,
                    Step::Needs(length) => {
                        needs = length;
                        break;
                    }
                    Step::Malformed => return Ok(State::Closed),
                }
            }
            self.input.copy_within(at..self.filled, 0);
            self.filled -= at;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }
}

fn step(input: &[u8], shared: &mut Shared, output: &mut Vec<u8>, hung: &mut bool) -> Step {
    let Some(head) = http::head(input) else {
        return if input.len() > READ {
            Step::Malformed
        } else {
            Step::Needs(0)
        };
    };
    let after = &input[head.length..];
    if head.header("expect").is_some() && after.is_empty() {
        output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    if head.is_chunked() {
        return match http::chunked(after) {
            Chunked::Whole(body, length) => {
                *hung = answer(&head, &body, shared, output);
                Step::Done(head.length + length)
            }
            Chunked::Partial => Step::Needs(0),
            Chunked::Malformed => Step::Malformed,
        };
    }
    let length = head.content_length().unwrap_or(0);
    if length > MOST_BODY {
        return Step::Malformed;
    }
    let Some(body) = after.get(..length) else {
        return Step::Needs(head.length + length);
    };
    *hung = answer(&head, body, shared, output);
    Step::Done(head.length + length)
}

/// True if the request shall never be answered.
fn answer(head: &Head<'_>, body: &[u8], shared: &mut Shared, output: &mut Vec<u8>) -> bool {
    let mut words = head.start.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    match (method, path) {
        (b"GET", b"/count") => respond(output, 200, &[], shared.counts.to_json().as_bytes()),
        (b"POST", b"/reset") => {
            shared.counts = super::Counts::default();
            respond(output, 200, &[], b"{}");
        }
        (b"POST", b"/mode") => {
            let mode = std::str::from_utf8(body)
                .ok()
                .and_then(|name| Mode::from_name(name.trim()));
            shared.mode = mode.unwrap_or(shared.mode);
            respond(output, if mode.is_some() { 200 } else { 400 }, &[], b"{}");
        }
        (b"POST", _) => return receive(head, target, path, body, shared, output),
        // What an SDK may ask at its start: nothing is configured.
        _ => respond(output, 200, &[], b"{}"),
    }
    false
}

fn receive(
    head: &Head<'_>,
    target: &[u8],
    path: &[u8],
    body: &[u8],
    shared: &mut Shared,
    output: &mut Vec<u8>,
) -> bool {
    let take: fn(&Head<'_>, &[u8], &mut super::Counts, &mut Vec<u8>) -> bool =
        match path.trim_suffix_slash() {
            b"/i/v1/analytics/events" => posthog::v1,
            b"/batch" | b"/capture" | b"/e" | b"/i/v0/e" => posthog::v0,
            b"/v1/logs" => otlp::logs,
            _ => {
                respond(output, 404, &[], b"{}");
                return false;
            }
        };
    shared.counts.requests += 1;
    shared.counts.bytes += body.len() as u64;
    match shared.mode {
        Mode::Hang => return true,
        Mode::Status(status) => {
            respond(output, status, &[], b"{}");
            return false;
        }
        Mode::Ok => {}
    }
    let plain = shared.unpacker.unpack(head, target, body);
    if !plain.is_some_and(|plain| take(head, plain, &mut shared.counts, output)) {
        shared.counts.unreadable += 1;
        respond(output, 400, &[], b"{}");
    }
    false
}

trait TrimSuffixSlash {
    fn trim_suffix_slash(&self) -> &[u8];
}

impl TrimSuffixSlash for [u8] {
    fn trim_suffix_slash(&self) -> &[u8] {
        self.strip_suffix(b"/").unwrap_or(self)
    }
}

/// One whole answer.
pub(super) fn respond(output: &mut Vec<u8>, status: u16, headers: &[(&str, &[u8])], body: &[u8]) {
    let reason = match status {
        200 => "OK",
        503 => "Service Unavailable",
        _ => "Status",
    };
    let start = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-length: {}\r\n",
        body.len()
    );
    output.extend_from_slice(start.as_bytes());
    let named = headers.iter().any(|(name, _)| *name == "content-type");
    if !named {
        output.extend_from_slice(b"content-type: application/json\r\n");
    }
    for (name, value) in headers {
        output.extend_from_slice(name.as_bytes());
        output.extend_from_slice(b": ");
        output.extend_from_slice(value);
        output.extend_from_slice(b"\r\n");
    }
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(body);
}
