//! Where events go, and whether a key can be one.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;

/// What PostHog's SDKs use when no host is given.
const DEFAULT: &str = "https://us.i.posthog.com";

/// PostHog Cloud: names people configure, and the host that takes events for them. `app.` is the
/// legacy name; posting to it, or to the names of the web application, fails.
const CLOUD: [(&str, &str, Region); 5] = [
    ("app.posthog.com", "us.i.posthog.com", Region::Us),
    ("us.posthog.com", "us.i.posthog.com", Region::Us),
    ("us.i.posthog.com", "us.i.posthog.com", Region::Us),
    ("eu.posthog.com", "eu.i.posthog.com", Region::Eu),
    ("eu.i.posthog.com", "eu.i.posthog.com", Region::Eu),
];

/// The capture host, with the prefix of a reverse proxy if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Without a trailing slash.
    base: String,
    host: String,
    port: u16,
    region: Region,
    secure: bool,
    loopback: bool,
}

/// Where PostHog keeps what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Region {
    Us,
    Eu,
    /// Self-hosted, or behind a proxy of one's own.
    Custom,
}

impl Endpoint {
    /// Reads `POSTHOG_HOST`. PostHog Cloud's names are mapped to their capture hosts whatever the
    /// scheme or the path; any other address is kept with its path. Without a scheme it is `https`.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong, without the value: it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "" => DEFAULT,
            text => text,
        };
        if !text.is_ascii() {
            return Err(
                "contains characters outside ASCII (write such a host in its xn-- form)".to_owned(),
            );
        }
        if text.contains(['?', '#']) {
            return Err("must not contain a query or a fragment".to_owned());
        }
        let uri = match text.contains("://") {
            true => text.parse(),
            false => format!("https://{text}").parse(),
        };
        let uri: Uri = uri.map_err(|error| format!("is not a URL ({error})"))?;
        if !matches!(uri.scheme_str(), Some("https" | "http")) {
            return Err("must begin with https:// (or http:// on a private network)".to_owned());
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err("must not contain a user name or a password".to_owned());
        }
        Self::from_uri(&uri)
    }

    fn from_uri(uri: &Uri) -> Result<Self, String> {
        let name = uri.host().unwrap_or_default().to_ascii_lowercase();
        if name.is_empty() {
            return Err("names no host".to_owned());
        }
        let secure = uri.scheme_str() == Some("https");
        let port = port(uri)?.filter(|port| *port != default_port(secure));
        let bare = name.trim_end_matches('.');
        let known = CLOUD.iter().find(|(cloud, ..)| *cloud == bare);
        // Whatever the scheme says, both default ports lead to the same host.
        let usual = port.is_none_or(|port| port == 443 || port == 80);
        if let (Some(&(_, capture, region)), true) = (known, usual) {
            return Ok(Self {
                base: format!("https://{capture}"),
                host: capture.to_owned(),
                port: 443,
                region,
                secure: true,
                loopback: false,
            });
        }
        let host = Host::of(&name);
        if !secure && !host.is_private() {
            return Err(
                "must begin with https:// (http:// would show the key and the events to the network; \
                 it is allowed for loopback and private addresses)"
                    .to_owned(),
            );
        }
        let scheme = if secure { "https" } else { "http" };
        let shown_port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            base: format!("{scheme}://{name}{shown_port}{path}"),
            port: port.unwrap_or(default_port(secure)),
            region: Region::Custom,
            secure,
            loopback: host.is_loopback(),
            host: name,
        })
    }

    /// `us`, `eu`, or `custom` for anything that is not PostHog Cloud by name.
    pub(crate) fn region(&self) -> &'static str {
        match self.region {
            Region::Us => "us",
            Region::Eu => "eu",
            Region::Custom => "custom",
        }
    }

    /// The address events go to, without a trailing slash. Holds no secret.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The host's name or address.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Host and port to connect to.
    pub(super) fn socket(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// A path of the private API, if `self` has that too. PostHog Cloud has it on the names of the web application.
    pub(super) fn private(&self, path: &str) -> String {
        let base = match self.region {
            Region::Us => "https://us.posthog.com",
            Region::Eu => "https://eu.posthog.com",
            Region::Custom => &self.base,
        };
        format!("{base}/api/{path}")
    }

    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.loopback
    }

    pub(super) fn v1(&self) -> String {
        format!("{}/i/v1/analytics/events", self.base)
    }

    /// The hint is in the query and in the header: each is all that some version reads.
    pub(super) fn v0(&self, gzip: bool) -> String {
        let hint = if gzip { "?compression=gzip" } else { "" };
        format!("{}/batch/{hint}", self.base)
    }
}

fn port(uri: &Uri) -> Result<Option<u16>, String> {
    let Some(authority) = uri.authority() else {
        return Ok(None);
    };
    // `Uri` takes any digits, and says nothing of a number that is none.
    let after_host = authority.as_str().rsplit(']').next().unwrap_or_default();
    match (uri.port_u16(), after_host.split_once(':')) {
        (None, Some((_, digits))) if !digits.is_empty() => {
            Err("has a port that is none".to_owned())
        }
        (Some(0), _) => Err("has the port 0".to_owned()),
        (port, _) => Ok(port),
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// What is wrong with a project key, by the rules that PostHog's capture service checks.
/// A key that passes can still belong to no project: PostHog answers 200 and drops its events.
pub(crate) fn key_problem(key: &str) -> Option<&'static str> {
    let key = key.trim();
    if key.is_empty() {
        return Some("is empty");
    }
    if 64 < key.len() {
        return Some("is longer than 64 bytes");
    }
    if !key.is_ascii() {
        return Some("contains characters outside ASCII");
    }
    // PostHog refuses NUL; the others cannot be sent in a header.
    if key.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Some("contains a space or a control character");
    }
    if key.starts_with("phx_") {
        return Some("is a personal API key (phx_…); set the project's API key (phc_…)");
    }
    None
}

/// Worth a warning, not an error: keys of old self-hosted projects have no prefix.
pub(crate) fn key_hint(key: &str) -> Option<&'static str> {
    (!key.trim().starts_with("phc_")).then_some("does not begin with phc_, as project keys do")
}

/// A host as the URL standard writes it: lower case, IPv6 in brackets.
enum Host<'a> {
    Name(&'a str),
    Address(IpAddr),
}

impl<'a> Host<'a> {
    fn of(host: &'a str) -> Self {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            Ok(address) => Self::Address(address.to_canonical()),
            Err(_) => Self::Name(host.trim_end_matches('.')),
        }
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => *name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Loopback, a private or link-local address, or a name that no public resolver knows: one
    /// label (a container's), `.internal` (reserved for private use), `.local` (RFC 6762; also
    /// Kubernetes' `cluster.local`).
    fn is_private(&self) -> bool {
        match self {
            Self::Address(IpAddr::V4(v4)) => {
                v4.is_loopback() || v4.is_private() || v4.is_link_local()
            }
            Self::Address(IpAddr::V6(v6)) => is_private_v6(*v6),
            Self::Name(name) => {
                !name.contains('.')
                    || self.is_loopback()
                    || name.ends_with(".internal")
                    || name.ends_with(".local")
            }
        }
    }
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
}
