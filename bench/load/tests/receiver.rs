//! The receiver over real connections: every protocol and encoding is counted, and every mode answers as it should.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bench_load::receiver::{Mode, Receiver};
use libdeflater::{CompressionLvl, Compressor};

const FIRST: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const SECOND: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

fn start(mode: Mode) -> SocketAddr {
    let receiver = Receiver::bind(mode).unwrap();
    let address = receiver.address();
    thread::spawn(move || receiver.serve());
    address
}

/// Status and body of the answer. `headers` end each with a line break.
fn post(to: SocketAddr, target: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nhost: {to}\r\n{headers}content-length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    answer(stream)
}

fn count(of: SocketAddr) -> String {
    let mut stream = TcpStream::connect(of).unwrap();
    write!(stream, "GET /count HTTP/1.1\r\nhost: {of}\r\n\r\n").unwrap();
    answer(stream).1
}

fn answer(stream: TcpStream) -> (u16, String) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}

fn batch(uuids: &[&str]) -> String {
    let events: Vec<String> = uuids
        .iter()
        .map(|uuid| {
            format!(
                r#"{{"event":"api_request","uuid":"{uuid}","properties":{{"path":"\"uuid\":\""}}}}"#
            )
        })
        .collect();
    format!(r#"{{"batch":[{}]}}"#, events.join(","))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::fastest());
    let mut out = vec![0; compressor.gzip_compress_bound(text.len())];
    let length = compressor.gzip_compress(text.as_bytes(), &mut out).unwrap();
    out.truncate(length);
    out
}

#[test]
fn v0_is_counted_plain_and_compressed() {
    let receiver = start(Mode::Ok);
    let ok = (200, r#"{"status":"Ok"}"#.to_owned());
    let both = batch(&[FIRST, SECOND]);
    assert_eq!(post(receiver, "/batch/", "", both.as_bytes()), ok);
    let packed = gzip(&both);
    for (target, headers) in [
        ("/batch/?compression=gzip", ""),
        ("/batch/", "content-encoding: gzip\r\n"),
        ("/batch", ""),
    ] {
        assert_eq!(post(receiver, target, headers, &packed), ok, "{target}");
    }
    let counted = count(receiver);
    assert!(
        counted.starts_with(r#"{"requests":4,"events":8,"#)
            && counted.contains(r#""distinct":2,"unreadable":0"#),
        "{counted}"
    );
}

#[test]
fn v1_has_a_verdict_for_each_event() {
    let receiver = start(Mode::Ok);
    let both = batch(&[FIRST, SECOND]);
    let verdicts =
        format!(r#"{{"results":{{"{FIRST}":{{"result":"ok"}},"{SECOND}":{{"result":"ok"}}}}}}"#);
    let zstd = zstd::bulk::compress(both.as_bytes(), 1).unwrap();
    for (headers, body) in [
        ("", both.as_bytes()),
        ("content-encoding: gzip\r\n", &gzip(&both)),
        ("content-encoding: zstd\r\n", &zstd),
    ] {
        let answered = post(receiver, "/i/v1/analytics/events", headers, body);
        assert_eq!(answered, (200, verdicts.clone()), "{headers}");
    }
    assert!(count(receiver).contains(r#""events":6"#));
}

#[test]
fn what_cannot_be_read_is_no_event() {
    let receiver = start(Mode::Ok);
    let (status, _) = post(
        receiver,
        "/i/v1/analytics/events",
        "content-encoding: zstd\r\n",
        b"not zstd",
    );
    assert_eq!(status, 400);
    let counted = count(receiver);
    assert!(
        counted.contains(r#""events":0"#) && counted.contains(r#""unreadable":1"#),
        "{counted}"
    );
}

#[test]
fn modes_change_while_it_serves() {
    let receiver = start(Mode::Ok);
    let one = batch(&[FIRST]);
    for (mode, status) in [("refuse", 503), ("429", 429), ("ok", 200)] {
        assert_eq!(post(receiver, "/mode", "", mode.as_bytes()).0, 200);
        assert_eq!(post(receiver, "/batch/", "", one.as_bytes()).0, status);
    }
    assert_eq!(post(receiver, "/mode", "", b"sulk").0, 400);
    assert!(count(receiver).contains(r#""requests":3,"events":1"#));
    assert_eq!(post(receiver, "/reset", "", b"").0, 200);
    assert!(count(receiver).starts_with(r#"{"requests":0,"events":0,"bytes":0"#));
}

#[test]
fn a_request_that_hangs_is_read_and_not_answered() {
    let receiver = start(Mode::Hang);
    let mut stream = TcpStream::connect(receiver).unwrap();
    let body = batch(&[FIRST]);
    write!(
        stream,
        "POST /batch/ HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    // It is one thread: by its answer to this it has had the time for that.
    while !count(receiver).starts_with(r#"{"requests":1,"events":0"#) {
        thread::yield_now();
    }
    stream.set_nonblocking(true).unwrap();
    let silence = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
}
