//! The stand-in for PostHog and for an OpenTelemetry collector.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::process::{LOAD_CORE, Plan, Process};
use crate::read::programs::{self, Count};
use crate::suite::Suite;

/// How the receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Accept,
    Hang,
    Refuse,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Accept => "ok",
            Self::Hang => "hang",
            Self::Refuse => "refuse",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    process: Process,
    address: SocketAddr,
}

const LIMIT: Duration = Duration::from_secs(10);

impl Receiver {
    pub(crate) fn start(suite: &Suite, directory: &Path, mode: Mode) -> Result<Self> {
        let process = Process::start(&Plan {
            name: "the receiver".to_owned(),
            program: suite.program("receiver"),
            arguments: Vec::new(),
            environment: Vec::new(),
            core: Some(LOAD_CORE),
            directory: directory.to_owned(),
        })?;
        let address = process.address(LIMIT)?;
        let receiver = Self { process, address };
        if mode != Mode::Accept {
            receiver.switch(mode)?;
        }
        Ok(receiver)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn switch(&self, mode: Mode) -> Result<()> {
        self.ask("POST", "/mode", mode.word()).map(|_| ())
    }

    pub(crate) fn count(&self) -> Result<Count> {
        programs::line(self.process.name(), self.ask("GET", "/count", "")?.trim())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let answer = self.exchange(method, path, body);
        let answer = answer.with_context(|| {
            format!(
                "{} did not answer{}",
                self.process.name(),
                self.process.complaint()
            )
        })?;
        content(&answer)
            .with_context(|| format!("{} answered {method} {path}", self.process.name()))
            .map(str::to_owned)
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        read(&mut stream)
    }
}

/// Reads one answer, to the length that its head says: the receiver keeps connections open.
fn read(stream: &mut impl Read) -> Result<String> {
    let mut answer = Vec::new();
    let mut slice = [0; 4096];
    loop {
        let n = stream.read(&mut slice)?;
        answer.extend_from_slice(&slice[..n]);
        let text = String::from_utf8_lossy(&answer);
        if n == 0 || is_whole(&text) {
            return Ok(text.into_owned());
        }
    }
}

fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

/// The body of an answer with 200.
fn content(answer: &str) -> Result<&str> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("with no whole head")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split_whitespace().nth(1) != Some("200") {
        bail!("with `{status}`");
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says_or_with_the_connection() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert!(is_whole(whole));
        assert!(!is_whole(&whole[..whole.len() - 1]));
        assert!(!is_whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"));
        let without = "HTTP/1.1 200 OK\r\n\r\n{}";
        assert!(!is_whole(without));
        assert_eq!(read(&mut without.as_bytes()).unwrap(), without);
    }

    #[test]
    fn only_an_answer_with_200_counts() {
        assert_eq!(content("HTTP/1.1 200 OK\r\na: b\r\n\r\n{}").unwrap(), "{}");
        for (answer, word) in [
            ("HTTP/1.1 503 no\r\n\r\n{}", "503"),
            ("HTTP/1.1 200 OK\r\n", "head"),
            ("", "head"),
        ] {
            let problem = content(answer).unwrap_err().to_string();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
