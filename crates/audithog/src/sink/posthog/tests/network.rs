//! What lies between the sink and PostHog: TLS and proxies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{NOW, request_row, settings};
use crate::clock::Clock;
use crate::config::PosthogSettings;
use crate::sink::posthog::PosthogSink;
use crate::sink::{Attempt, Reply, Sink, Verdict};

/// What a child of [`proxy_variables_are_honoured`] is told that it is one by.
const CHILD: &str = "SINK_TEST_BEHIND_A_PROXY";

/// Reads one request and answers as a host without capture v1 does. Returns the request line.
fn answer(mut connection: impl Read + Write) -> std::io::Result<String> {
    let mut reader = BufReader::new(&mut connection);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let (status, body) = match first.contains("/batch/") {
        true => ("200 OK", r#"{"status":"Ok"}"#),
        false => ("404 Not Found", ""),
    };
    write!(
        connection,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    connection.flush()?;
    Ok(first.trim().to_owned())
}

/// Serves until the test's process ends; request lines, or what went wrong, come out of the channel.
fn serve(tls: Option<Arc<ServerConfig>>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (lines, received) = mpsc::channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.unwrap();
            let line = match &tls {
                None => answer(connection),
                Some(config) => {
                    let session = ServerConnection::new(Arc::clone(config)).unwrap();
                    let mut connection = StreamOwned::new(session, connection);
                    let line = answer(&mut connection);
                    connection.conn.send_close_notify();
                    let _ = connection.flush();
                    line
                }
            };
            if lines
                .send(line.unwrap_or_else(|error| error.to_string()))
                .is_err()
            {
                break;
            }
        }
    });
    (address, received)
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/sink/posthog/tests/tls")
        .join(name)
}

fn tls() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivatePkcs8KeyDer::from(std::fs::read(file("server.key.der")).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    Arc::new(config)
}

fn send(settings: &PosthogSettings) -> Reply {
    let sink = PosthogSink::new(settings, Clock::manual(NOW)).unwrap();
    let attempt = Attempt {
        request: uuid::Uuid::from_u128(1),
        created: NOW,
        number: 1,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(sink.send(&[request_row(1)], attempt))
}

fn delivered() -> Reply {
    Reply::Rows {
        verdicts: vec![Verdict::Delivered],
        retry_after: None,
    }
}

#[test]
fn a_ca_file_is_trusted_besides_the_systems() {
    let (address, lines) = serve(Some(tls()));
    let mut settings = settings(&format!("https://{address}"));
    settings.ca_file = Some(file("ca.pem"));
    assert_eq!(send(&settings), delivered());
    let line = || lines.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(line(), "POST /i/v1/analytics/events HTTP/1.1");
    assert_eq!(line(), "POST /batch/?compression=gzip HTTP/1.1");
}

#[test]
fn a_certificate_of_an_unknown_authority_gets_nothing() {
    let (address, lines) = serve(Some(tls()));
    let mut settings = settings(&format!("https://{address}"));
    settings.ca_file = Some(file("other-ca.pem"));
    let reply = send(&settings);
    let Reply::Retry {
        reason,
        suspect_rows: false,
        ..
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert!(
        reason.starts_with("cannot connect: ") && reason.contains("certificate"),
        "{reason}"
    );
    let line = lines.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(!line.contains("POST"), "{line}");
}

#[test]
fn a_ca_file_that_is_no_certificate_is_refused_by_name() {
    let mut settings = settings("https://app.posthog.com");
    settings.ca_file = Some(file("README.md"));
    let error = PosthogSink::new(&settings, Clock::manual(NOW)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("AUDITHOG_POSTHOG_CA_FILE /"), "{text}");
    assert!(text.ends_with("README.md holds no certificate"), "{text}");
}

/// Runs a test of this module in a process of its own, with these variables and without exceptions from the proxy.
fn run_again(test: &str, variables: [(&str, &str); 2]) {
    let (_, module) = module_path!().split_once("::").unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}")])
        .envs(variables)
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
}

/// The variables are read from the process's environment, so this test runs itself in a child.
#[test]
fn proxy_variables_are_honoured() {
    if std::env::var_os(CHILD).is_some() {
        assert_eq!(send(&settings("http://posthog.internal/ph/")), delivered());
        return;
    }
    let (address, lines) = serve(None);
    run_again(
        "proxy_variables_are_honoured",
        [(CHILD, "1"), ("http_proxy", &format!("http://{address}"))],
    );
    // A proxy is sent the whole address.
    let lines: Vec<String> = lines.try_iter().collect();
    assert_eq!(
        lines,
        [
            "POST http://posthog.internal/ph/i/v1/analytics/events HTTP/1.1",
            "POST http://posthog.internal/ph/batch/?compression=gzip HTTP/1.1",
        ]
    );
}

/// A proxy that opens a tunnel to the one host it knows, whatever it is asked for. What it was asked comes out of the channel.
fn tunnel(host: SocketAddr) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, received) = mpsc::channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = BufReader::new(client.try_clone().unwrap());
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                head.read_line(&mut request).unwrap();
            }
            asked.send(request).unwrap();
            let mut server = TcpStream::connect(host).unwrap();
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                let _ = std::io::copy(&mut server, &mut client);
                let _ = client.shutdown(Shutdown::Write);
            });
        }
    });
    (address, received)
}

/// Like the test above: the child's host is an address that no test could reach, so the tunnel is the only way.
#[test]
fn a_secure_host_is_reached_through_the_proxys_tunnel() {
    if std::env::var_os(CHILD).is_some() {
        let mut settings = settings("https://10.0.0.1:8443/ph");
        settings.ca_file = Some(file("ca.pem"));
        let Reply::Retry { reason, .. } = send(&settings) else {
            panic!("the certificate is of another host");
        };
        assert!(reason.contains("certificate"), "{reason}");
        return;
    }
    let (host, lines) = serve(Some(tls()));
    let (proxy, asked) = tunnel(host);
    run_again(
        "a_secure_host_is_reached_through_the_proxys_tunnel",
        [
            (CHILD, "1"),
            ("https_proxy", &format!("http://me:s3cret@{proxy}")),
        ],
    );
    let asked = asked.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(
        asked.starts_with("CONNECT 10.0.0.1:8443 HTTP/1.1\r\n"),
        "{asked}"
    );
    // me:s3cret
    assert!(
        asked.contains("Proxy-Authorization: Basic bWU6czNjcmV0\r\n"),
        "{asked}"
    );
    // TLS was spoken through the tunnel, with the host and not with the proxy; its certificate is another's.
    let line = lines.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(line.contains("BadCertificate"), "{line}");
}

/// The child of the test above cannot show this: its host is no loopback address.
#[test]
fn a_loopback_host_is_reached_without_a_proxy() {
    const HOST: &str = "SINK_TEST_LOOPBACK_HOST";
    if let Ok(host) = std::env::var(HOST) {
        assert_eq!(send(&settings(&host)), delivered());
        return;
    }
    let (proxy, through_proxy) = serve(None);
    let (host, direct) = serve(None);
    run_again(
        "a_loopback_host_is_reached_without_a_proxy",
        [
            (HOST, &format!("http://{host}")),
            ("http_proxy", &format!("http://{proxy}")),
        ],
    );
    assert_eq!(
        direct.recv_timeout(Duration::from_secs(10)).unwrap(),
        "POST /i/v1/analytics/events HTTP/1.1"
    );
    assert_eq!(through_proxy.try_iter().count(), 0);
}
