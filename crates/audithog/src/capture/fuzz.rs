//! Targets for fuzzers: what a peer sends with a request.

use std::net::IpAddr;

use uuid::Uuid;

use super::client_ip::fuzz::client_ip_from_bytes;
use super::client_ip::{ClientIpHeader, TrustedProxies};
use super::known::Known;
use super::lines::{self, Headers};
use super::path::{self, Alignment};
use super::recorder::Sent;
use super::settings::{CaptureSettings, RequestIdPolicy};
use super::trace_context;
use crate::fuzz::{Input, is_clean};
use crate::record::{RequestId, limits, mask, sanitize};

/// See [`client_ip_from_bytes`].
pub(crate) fn client_ip(data: &[u8]) {
    client_ip_from_bytes(data);
}

/// The lines of a `traceparent` header.
pub(crate) fn traceparent(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let headers = lines.iter().map(|line| ("traceparent".to_owned(), *line));
    let (headers, forwarded) = (Lines(headers.collect()), ClientIpHeader::default());
    let read = lines::Lines::of(&headers, forwarded.name());
    let got = read.traceparent().and_then(trace_context::trace_id);
    let expected = match lines.as_slice() {
        [only] => expected_trace_id(only),
        _ => None,
    };
    assert_eq!(got, expected);
}

/// By the grammar of the W3C's document, in the plainest way.
fn expected_trace_id(line: &[u8]) -> Option<[u8; 16]> {
    let text = String::from_utf8_lossy(line);
    let fields: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags, rest @ ..] = fields.as_slice() else {
        return None;
    };
    let digits = |field: &str, length| {
        field.len() == length && field.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    };
    let well_formed = digits(version, 2)
        && digits(trace, 32)
        && digits(parent, 16)
        && digits(flags, 2)
        && *version != "ff"
        && (*version != "00" || rest.is_empty());
    let id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    (well_formed && parent.contains(|c| c != '0')).then_some(id.to_be_bytes())
}

/// All lines of all headers.
struct Lines<'a>(Vec<(String, &'a [u8])>);

impl Headers for Lines<'_> {
    fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let lines = self.0.iter();
        lines.map(|(name, value)| (name.as_str(), *value))
    }

    fn values<'a>(&'a self, name: &http::HeaderName) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let lines = self
            .0
            .iter()
            .filter(move |(known, _)| known == name.as_str());
        lines
            .map(|(_, value)| *value)
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// The first byte says who sends, then lines of `name:value`.
pub(crate) fn request_headers(data: &[u8]) {
    let (choice, text) = data.split_first().unwrap_or((&0, &[]));
    let (from_proxy, adopts) = (choice & 1 == 1, choice & 2 == 2);
    let lines = Lines(
        text.split(|&byte| byte == b'\n')
            .filter_map(|line| {
                let colon = line.iter().position(|&byte| byte == b':')?;
                let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
                Some((name, &line[colon + 1..]))
            })
            .collect(),
    );
    let settings = CaptureSettings {
        trusted_proxies: private(),
        client_ip_header: ClientIpHeader::XForwardedFor,
        request_id: if adopts {
            RequestIdPolicy::Trusted
        } else {
            RequestIdPolicy::Own
        },
        ..CaptureSettings::default()
    };
    let peer = IpAddr::from(if from_proxy {
        [10, 0, 0, 1]
    } else {
        [192, 0, 2, 1]
    });
    let read = lines::Lines::of(&lines, settings.client_ip_header.name());
    let mut sent = Sent::by(Some(peer), &read, &settings);
    let said = |text: Option<&str>, limit: usize| {
        if let Some(text) = text {
            assert!(text.len() <= limit && is_clean(text), "{text:?}");
        }
    };
    let agent = lines.values(&http::header::USER_AGENT).next();
    let agent = agent.map(|agent| Known::default().agent(agent));
    said(agent.as_deref(), limits::USER_AGENT);
    if !from_proxy {
        assert_eq!((sent.request_id.is_none(), sent.ip), (true, Some(peer)));
    }
    let given = lines
        .values(&http::HeaderName::from_static("x-request-id"))
        .next_back()
        .map(<[u8]>::trim_ascii);
    let own = Uuid::from_u128(7);
    match settings.request_id.choose(own, sent.request_id.take()) {
        (RequestId::Uuid(id), upstream) if id == own => {
            said(upstream.as_deref(), limits::UPSTREAM_REQUEST_ID);
        }
        (id, upstream) => {
            assert!(adopts && from_proxy && upstream.is_none());
            let shown = id.to_string();
            assert_eq!(Some(shown.as_bytes()), given, "sent back as it came");
            assert!(
                shown.len() <= limits::UPSTREAM_REQUEST_ID
                    && shown.bytes().all(|byte| byte.is_ascii_graphic())
            );
        }
    }
}

fn private() -> TrustedProxies {
    match "private".parse() {
        Ok(networks) => networks,
        Err(_) => panic!("a documented word"),
    }
}

/// Stands in every secret value, and nowhere else.
const SECRET: &str = "S3CR3T";
const NAMES: [&str; 8] = [
    "id",
    "token",
    "link",
    "n",
    "password",
    "agentId",
    "reset_token",
    "code",
];

/// A route and a path that a router matched by it: no secret is in what is stored.
pub(crate) fn path_mask(data: &[u8]) {
    let mut input = Input::new(data);
    let mut made = Made::default();
    let choice = input.byte();
    if choice & 1 == 1 {
        // Something took a prefix away between the layer and the router.
        made.path.push_str("/v1/api");
    }
    let alignment = if choice & 3 == 0 {
        Alignment::Known
    } else {
        Alignment::Late
    };
    for _ in 0..8 {
        if input.is_empty() || made.closed || !made.segment(&mut input) {
            break;
        }
    }
    if made.path.matches(SECRET).count() != made.secrets {
        return;
    }
    let routes = [(&*made.route, alignment)];
    let stored = path::stored(&made.path, routes, |_, name| name == "link");
    assert!(
        stored.len() <= limits::PATH && is_clean(&stored),
        "{stored:?}"
    );
    assert!(
        !stored.contains(SECRET),
        "{stored} of {} by {}",
        made.path,
        made.route
    );
    if made.secrets == 0 {
        assert_eq!(stored, sanitize::text(&made.path, limits::PATH));
    }
}

/// A route and a path that fits it.
#[derive(Default)]
struct Made {
    route: String,
    path: String,
    secrets: usize,
    /// A catch-all was the last segment.
    closed: bool,
}

impl Made {
    /// Adds a segment to both; false if the bytes make none.
    fn segment(&mut self, input: &mut Input<'_>) -> bool {
        let kind = input.byte() % 8;
        if input.byte() & 0x3f == 0 {
            // Routers and normalisers disagree about empty segments.
            self.path.push('/');
        }
        self.route.push('/');
        self.path.push('/');
        match kind {
            0 | 1 => {
                let Some(text) = literal(input) else {
                    return false;
                };
                self.route
                    .push_str(&text.replace('{', "{{").replace('}', "}}"));
                self.path.push_str(&text);
            }
            2 | 3 => {
                let name = name(input);
                self.route.push_str(&format!("{{{name}}}"));
                self.value(input, name, false);
            }
            4 => {
                let name = name(input);
                self.route.push_str(&format!("v-{{{name}}}.json"));
                self.path.push_str("v-");
                self.value(input, name, false);
                self.path.push_str(".json");
            }
            5 => {
                let name = name(input);
                self.route.push_str(&format!("{{{name}:[a-z/]{{2,}}}}"));
                self.value(input, name, false);
            }
            6 => {
                let name = name(input);
                self.route.push_str(&format!(":{name}"));
                self.value(input, name, false);
            }
            _ => {
                let name = name(input);
                let form = ["{*NAME}", "*NAME", "{NAME}*"][usize::from(input.byte() % 3)];
                self.route.push_str(&form.replace("NAME", name));
                self.value(input, name, true);
                self.closed = true;
            }
        }
        true
    }

    fn value(&mut self, input: &mut Input<'_>, name: &str, slashes: bool) {
        let mut value = input.text();
        if !slashes {
            value = value.replace('/', "%2F");
        }
        if mask::is_secret_name(name) || name == "link" {
            let middle = value.floor_char_boundary(value.len() / 2);
            value.insert_str(middle, SECRET);
            self.secrets += 1;
        } else if value.is_empty() || slashes {
            value.insert(0, 'v');
        }
        self.path.push_str(&value);
    }
}

fn name(input: &mut Input<'_>) -> &'static str {
    NAMES[usize::from(input.byte()) % NAMES.len()]
}

fn literal(input: &mut Input<'_>) -> Option<String> {
    let text = input.text().replace('/', "-");
    (!text.is_empty() && !text.starts_with([':', '*'])).then_some(text)
}
