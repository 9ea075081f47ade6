//! The list of requests: the same for every generator and every run.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// How many requests the list has.
pub const REQUESTS: usize = 20_000;
/// Of these, requests that no route takes: 4 %.
pub const NOT_FOUND: usize = REQUESTS / 25;
/// Of these, requests whose handler fails: 1 %.
pub const FAILING: usize = REQUESTS / 100;

const SEED: u64 = 0x0061_7564_6974_686f;
const ROUTES: u64 = 50;
const USERS: u64 = 10_000;
const ORGANISATIONS: u64 = 500;

/// Most users are members.
const ROLES: [(&str, u64); 4] = [("member", 70), ("editor", 18), ("viewer", 8), ("admin", 4)];

const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    "okhttp/4.12.0",
    "python-requests/2.32.4",
];

/// What scanners ask every server for.
const SCANNED: [&str; 16] = [
    "/.env",
    "/.git/config",
    "/wp-login.php",
    "/wp-admin/setup-config.php",
    "/xmlrpc.php",
    "/phpmyadmin/index.php",
    "/actuator/health",
    "/server-status",
    "/cgi-bin/luci",
    "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php",
    "/boaform/admin/formLogin",
    "/robots.txt",
    "/favicon.ico",
    "/api/v1/pods",
    "/solr/admin/info/system",
    "/owa/auth/logon.aspx",
];

/// One request of the list. The texts go into `x-user-id`, `x-user-role`, `x-org-id`, `user-agent` and `x-forwarded-for`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path without a query.
    pub path: String,
    /// `u_00000` to `u_09999`.
    pub user: String,
    /// One of four.
    pub role: String,
    /// `org_000` to `org_499`.
    pub org: String,
    /// One of six.
    pub agent: String,
    /// The client's address.
    pub ip: String,
}

impl Request {
    /// The status that the service under test answers with.
    #[must_use]
    pub fn expected_status(&self) -> u16 {
        if self.path.starts_with("/api/fail/") {
            500
        } else if self.path.starts_with("/api/r") {
            200
        } else {
            404
        }
    }

    /// The bytes of the request, for a connection that is kept. With `accept`, as every client's.
    #[must_use]
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nx-user-id: {}\r\nx-user-role: {}\r\nx-org-id: {}\r\nuser-agent: {}\r\naccept: */*\r\nx-forwarded-for: {}\r\n\r\n",
            self.path, self.user, self.role, self.org, self.agent, self.ip
        )
        .into_bytes()
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut fields = line.split('\t').map(str::to_owned);
        let request = Self {
            path: fields.next()?,
            user: fields.next()?,
            role: fields.next()?,
            org: fields.next()?,
            agent: fields.next()?,
            ip: fields.next()?,
        };
        (fields.next().is_none() && request.path.starts_with('/')).then_some(request)
    }
}

/// The list. Every call makes the same.
#[must_use]
pub fn list() -> Vec<Request> {
    let mut random = Random(SEED);
    let mut requests: Vec<Request> = (0..REQUESTS)
        .map(|number| {
            let path = if number < NOT_FOUND {
                SCANNED[random.index(SCANNED.len())].to_owned()
            } else if number < NOT_FOUND + FAILING {
                format!("/api/fail/{}", random.below(10_000_000))
            } else {
                let route = random.below(ROUTES);
                format!("/api/r{route:02}/{}", random.below(10_000_000))
            };
            request_by(random.below(USERS), path)
        })
        .collect();
    for last in (1..requests.len()).rev() {
        requests.swap(last, random.index(last + 1));
    }
    requests
}

/// A user always has the same role, organisation, agent and address.
fn request_by(user: u64, path: String) -> Request {
    let mut own = Random(SEED ^ (user + 1));
    let mut share = own.below(100);
    let role = ROLES.iter().find(|(_, percent)| {
        let found = share < *percent;
        share = share.saturating_sub(*percent);
        found
    });
    let bits = own.next();
    let ip = if bits.is_multiple_of(10) {
        let parts = bits.to_be_bytes();
        let pair = |at: usize| u16::from_be_bytes([parts[at], parts[at + 1]]);
        IpAddr::V6(Ipv6Addr::new(
            0x2001,
            0xdb8,
            pair(0),
            pair(2),
            0,
            0,
            0,
            pair(4),
        ))
    } else {
        let [_, a, b, c, d, ..] = bits.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(20 + a % 70, b, c, d))
    };
    Request {
        path,
        user: format!("u_{user:05}"),
        role: role.map_or(ROLES[0].0, |(role, _)| role).to_owned(),
        org: format!("org_{:03}", user % ORGANISATIONS),
        agent: AGENTS[own.index(AGENTS.len())].to_owned(),
        ip: ip.to_string(),
    }
}

/// The list as a text: one request a line, its fields between tabs.
#[must_use]
pub fn to_text(requests: &[Request]) -> String {
    let mut text = String::with_capacity(requests.len() * 200);
    for request in requests {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}\t{}\t{}\t{}\t{}\t{}",
            request.path, request.user, request.role, request.org, request.agent, request.ip
        );
    }
    text
}

/// Writes the list to `file`.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(file: &Path) -> io::Result<()> {
    fs::write(file, to_text(&list()))
}

/// Reads a list that [`write`] wrote.
///
/// # Errors
///
/// If the file cannot be read, is empty, or has a line that is no request.
pub fn read(file: &Path) -> io::Result<Vec<Request>> {
    let text = fs::read_to_string(file)?;
    let requests: Option<Vec<_>> = text.lines().map(Request::from_line).collect();
    requests
        .filter(|requests| !requests.is_empty())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidData,
                format!("{}: not a list of requests", file.display()),
            )
        })
}

/// SplitMix64: the list must not change when a crate for random numbers does.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// The remainder's bias is of no matter for limits this small.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_makes_the_same_list() {
        assert_eq!(list(), list());
        // A change of the list makes all earlier results incomparable: it must be seen.
        assert_eq!(fingerprint(&to_text(&list())), 3_709_580_007_760_679_403);
    }

    /// The generator and wrk send the same headers, each as its own text.
    #[test]
    fn wrk_sends_the_same_headers() {
        let sent = String::from_utf8(list()[0].to_bytes("host")).unwrap();
        let names = |text: &str, end: &str| -> Vec<String> {
            let lines = text.split(end).skip(1);
            let names = lines.filter_map(|line| line.split_once(": "));
            names.map(|(name, _)| name.to_lowercase()).collect()
        };
        let ours = names(&sent, "\r\n");
        assert_eq!(ours.len(), 7);
        assert_eq!(names(include_str!("../requests.lua"), r"\r\n"), ours);
    }

    #[test]
    fn the_mix_is_what_it_is_said_to_be() {
        let requests = list();
        let with = |status| {
            requests
                .iter()
                .filter(|request| request.expected_status() == status)
                .count()
        };
        assert_eq!(requests.len(), 20_000);
        assert_eq!((with(404), with(500), with(200)), (800, 200, 19_000));
        let distinct =
            |field: fn(&Request) -> &str| requests.iter().map(field).collect::<BTreeSet<_>>().len();
        assert_eq!(distinct(|request| &request.role), 4);
        assert_eq!(distinct(|request| &request.org), 500);
        assert_eq!(distinct(|request| &request.agent), 6);
        assert!(distinct(|request| &request.user) > 8_000);
        let routes: BTreeSet<_> = requests
            .iter()
            .filter(|request| request.expected_status() == 200)
            .map(|request| &request.path[..8])
            .collect();
        assert_eq!(routes.len(), 50);
    }

    #[test]
    fn the_kinds_are_spread_over_the_list() {
        for part in list().chunks(2_000) {
            let failures = part
                .iter()
                .filter(|request| request.expected_status() != 200)
                .count();
            assert!((60..=140).contains(&failures), "{failures} of 2,000");
        }
    }

    #[test]
    fn a_written_list_is_read_back() {
        let requests = list();
        let lines: Option<Vec<_>> = to_text(&requests).lines().map(Request::from_line).collect();
        assert_eq!(lines, Some(requests));
        assert_eq!(Request::from_line("/a\tb\tc"), None);
        assert_eq!(Request::from_line("a\tb\tc\td\te\tf"), None);
    }

    /// FNV-1a.
    fn fingerprint(text: &str) -> u64 {
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}
