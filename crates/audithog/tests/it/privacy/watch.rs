//! Everything that leaves the request path: log lines, files, bytes on the wire; and the search for
//! secrets in it.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

// === The search ===

/// Every secret holds this.
pub(super) const MARK: &str = "S3cr3t+pl4nted+";

/// Bytes that must not hold a secret.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl Place {
    pub(super) fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
        }
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        contains(&self.bytes, text.as_bytes())
    }

    /// "`secret` as base64 in the log", for each secret and form that is found.
    pub(super) fn leaks(&self, secrets: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        // One quick look for what all secrets have in common.
        if !forms(MARK)
            .iter()
            .any(|(_, needle)| contains(&self.bytes, needle))
        {
            return found;
        }
        for secret in secrets {
            for (form, needle) in forms(secret) {
                if contains(&self.bytes, &needle) {
                    found.push(format!("`{secret}`, {form}, in {}", self.name));
                }
            }
        }
        found
    }
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let (first, rest) = needle.split_first().unwrap();
    let starts = hay.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts
        .into_iter()
        .any(|(at, _)| hay[at + 1..].starts_with(rest))
}

/// How a secret could look after a detour.
fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let hex = |upper: bool| {
        bytes.iter().fold(String::new(), |mut out, byte| {
            let _ = match upper {
                true => write!(out, "{byte:02X}"),
                false => write!(out, "{byte:02x}"),
            };
            out
        })
    };
    let percent = percent_encoded(secret);
    let mut forms = vec![
        ("raw", bytes.to_vec()),
        ("percent-encoded", percent.clone().into_bytes()),
        ("percent-encoded", percent.to_lowercase().into_bytes()),
        ("in lower case", secret.to_lowercase().into_bytes()),
        ("in hex", hex(false).into_bytes()),
        ("in hex", hex(true).into_bytes()),
    ];
    // In the middle of longer text it is encoded at one of three offsets.
    for before in 0..3 {
        let encoded = base64(&[&[0; 3][..before], bytes].concat());
        // Without the characters that depend on what is around it.
        let inner = &encoded[[0, 2, 3][before]..encoded.len() - 4];
        forms.push(("in base64", inner.as_bytes().to_vec()));
        let url = inner.replace('+', "-").replace('/', "_");
        forms.push(("in base64", url.into_bytes()));
    }
    forms
}

/// Every byte but letters and digits.
pub(super) fn percent_encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// RFC 4648 §4, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|n| u32::from(*chunk.get(n).unwrap_or(&0)));
        let bits = a << 16 | b << 8 | c;
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= chunk.len() { digit.into() } else { '=' });
        }
    }
    out
}

#[test]
fn the_search_finds_every_form_of_a_secret() {
    let secret = format!("{MARK}label=end/é");
    let leaks = |text: String| Place::new("here", text).leaks(std::slice::from_ref(&secret));
    assert!(leaks(format!("{MARK}lapel=end/é")).is_empty());
    assert_eq!(leaks(format!("a {secret} b")).len(), 1);
    assert_eq!(leaks(format!("/x/{}", percent_encoded(&secret))).len(), 1);
    for before in ["", "u", "us", "use"] {
        let text = base64(format!("{before}{secret}:and more").as_bytes());
        assert!(!leaks(text).is_empty(), "base64 after {before:?}");
    }
    assert_eq!(base64(b"fooba"), "Zm9vYmE=");
    assert_eq!(base64(b"foobar"), "Zm9vYmFy");
}

// === Log lines ===

/// What the process has logged, all of audithog's targets at every level.
pub(super) fn log() -> Place {
    Place::new("the log", lock(&LINES).clone().into_bytes())
}

/// To be called before anything is logged that a test wants to see.
pub(super) fn capture_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Capture).unwrap());
}

static LINES: Mutex<String> = Mutex::new(String::new());

struct Capture;

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("audithog")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line::begin(span.metadata()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line::default());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line::begin(event.metadata()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// One line; written when it is dropped.
#[derive(Default)]
struct Line(String);

impl Line {
    fn begin(metadata: &Metadata<'_>) -> Self {
        Self(format!("{} {}", metadata.level(), metadata.target()))
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let _ = write!(self.0, " {}={value} {value:?}", field.name());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = lock(&LINES);
        lines.push_str(&self.0);
        lines.push('\n');
    }
}

// === Files ===

/// The files of a directory while they are in use. Another process reads them: one that closes a
/// file gives up its own locks on it, and these are SQLite's.
pub(super) fn files_in_use(directory: &Path) -> Vec<Place> {
    let copies = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(directory).arg(copies.path());
    assert!(copy.status().unwrap().success());
    files(&copies.path().join(directory.file_name().unwrap()))
}

pub(super) fn files(directory: &Path) -> Vec<Place> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).unwrap();
            Place::new(entry.file_name().to_string_lossy(), bytes)
        })
        .collect()
}

// === The wire ===

/// Passes connections on, and keeps what the clients send.
pub(super) struct Tap {
    pub(super) address: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub(super) async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, upstream, Arc::clone(&kept)));
            }
        });
        Self { address, sent }
    }

    pub(super) fn sent(&self) -> Place {
        Place::new("what was sent", lock(&self.sent).clone())
    }
}

async fn pass_on(client: TcpStream, upstream: SocketAddr, kept: Arc<Mutex<Vec<u8>>>) {
    let upstream = TcpStream::connect(upstream).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_upstream, mut to_upstream) = upstream.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_upstream, &mut to_client).await });
    let mut buffer = vec![0; 64 * 1024];
    // Ends when either side closes.
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        lock(&kept).extend_from_slice(&buffer[..read]);
        if to_upstream.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
