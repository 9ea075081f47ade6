//! The system calls of a server: the fdatasync that covers a row returned before the last byte of its response was written.

use std::fs;

use super::process::{Got, Server, TOGETHER, request};

/// One call, by the lines of the trace where it began and where it returned.
#[derive(Debug)]
struct Call {
    began: usize,
    returned: usize,
    name: String,
    /// The number and, in angle brackets, the file or socket.
    descriptor: String,
    text: String,
    result: String,
}

/// Puts the two halves of calls that were interrupted together.
fn calls(trace: &str) -> Vec<Call> {
    let mut open = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, rest)) = text.split_once(' ') else {
            continue;
        };
        // The time of day.
        let Some((_, rest)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        if rest.starts_with("<... ") {
            let Some((began, first)) = open.remove(thread) else {
                continue;
            };
            let second = rest.split_once(" resumed>").map_or("", |(_, rest)| rest);
            calls.extend(call(began, line, &format!("{first}{second}")));
        } else if let Some(first) = rest.strip_suffix("<unfinished ...>") {
            open.insert(thread.to_owned(), (line, first.to_owned()));
        } else {
            calls.extend(call(line, line, rest));
        }
    }
    calls
}

fn call(began: usize, returned: usize, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (_, result) = rest.rsplit_once(" = ")?;
    let end = rest.find([',', ')'])?;
    Some(Call {
        began,
        returned,
        name: name.to_owned(),
        descriptor: rest[..end].to_owned(),
        text: rest.to_owned(),
        result: result.trim().to_owned(),
    })
}

impl Call {
    fn syncs_the_log(&self) -> bool {
        ["fdatasync", "fsync"].contains(&&*self.name)
            && self.descriptor.contains("audit.db-wal>")
            && self.result.starts_with('0')
    }

    /// To a socket.
    fn sends(&self, text: &str) -> bool {
        ["write", "writev", "sendto", "sendmsg"].contains(&&*self.name)
            && self.descriptor.contains("<socket:")
            && self.text.contains(text)
    }

    fn logs(&self, text: &str) -> bool {
        self.name == "pwrite64"
            && self.descriptor.contains("audit.db-wal>")
            && self.text.contains(text)
    }
}

/// All at once; the server answers none of them before it has all of them.
fn together(server: &Server, kind: &str, round: usize) -> Vec<(String, Got)> {
    let names = (0..TOGETHER).map(|n| format!("{kind}-{round}-{n:02}"));
    std::thread::scope(|scope| {
        let clients: Vec<_> = names
            .map(|name| {
                let address = server.address;
                scope.spawn(move || {
                    let got = request(address, "GET", &format!("/{kind}/{name}"));
                    (name, got)
                })
            })
            .collect();
        let got = clients.into_iter().map(|client| client.join().unwrap());
        got.collect()
    })
}

#[test]
fn a_row_is_fsynced_before_the_last_byte_of_its_response_and_many_share_an_fsync() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace");
    let server = Server::start(
        30_000,
        &[
            "strace",
            "-f",
            "-tt",
            "-y",
            "-s",
            "65536",
            "-o",
            file.to_str().unwrap(),
            "-e",
            "trace=fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg",
            // A disk of the slower kind, so that groups gather.
            "-e",
            "inject=fsync,fdatasync:delay_exit=20000",
        ],
    );
    let mut answered = Vec::new();
    for round in 0..3 {
        for kind in ["together", "streamed"] {
            answered.extend(together(&server, kind, round));
        }
    }
    drop(server.kill());
    let trace = fs::read_to_string(&file).unwrap();
    let calls = calls(&trace);

    let (mut first, mut last) = (usize::MAX, 0);
    for (name, got) in &answered {
        assert_eq!(got.status, 200, "{name}: {got:?}");
        assert!(got.complete, "{name}: {got:?}");
        let row = calls.iter().find(|call| call.logs(name));
        let row = row.unwrap_or_else(|| panic!("the row of {name} is in no pwrite64"));
        let synced = calls
            .iter()
            .filter(|call| call.syncs_the_log() && row.returned < call.began)
            .min_by_key(|call| call.returned)
            .unwrap_or_else(|| panic!("no fdatasync follows the row of {name}"));
        let body = calls
            .iter()
            .find(|call| call.sends(&format!("done-{name}")));
        let body = body.unwrap_or_else(|| panic!("the body of {name} is in no write"));
        let end = if name.starts_with("streamed") {
            // Its one event need not wait: the end does.
            let end = calls.iter().find(|call| {
                call.descriptor == body.descriptor
                    && body.began <= call.began
                    && call.sends(r"0\r\n\r\n")
            });
            end.unwrap_or_else(|| panic!("the end of {name} is in no write"))
        } else {
            body
        };
        assert!(
            synced.returned < end.began,
            "{name}: line {} is before line {} of the trace:\n{end:?}\n{synced:?}",
            end.began + 1,
            synced.returned + 1,
        );
        (first, last) = (first.min(row.began), last.max(end.returned));
    }
    let syncs = calls.iter().filter(|call| call.syncs_the_log());
    let syncs = syncs
        .filter(|call| first < call.began && call.returned < last)
        .count();
    assert!(
        0 < syncs && syncs * 3 <= answered.len(),
        "{syncs} fsyncs for {} responses",
        answered.len()
    );
}
