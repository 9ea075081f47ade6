//! Requests as a service has them: 10,000 users, 500 organisations, 50 routes, 6 user agents, 4 % answered with 404
//! and 1 % with 500. The same numbers give the same requests.

use audithog::Row;
use audithog::bench::ledger::{Request, request_row};

const ROLES: [&str; 4] = ["admin", "editor", "viewer", "billing"];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
];
/// The first one's time: microseconds since 1970.
pub const FIRST_TS: i64 = 1_770_000_000_000_000;
/// Between two of them, as at 10,000 a second.
pub const STEP: i64 = 100;

/// One request, with its texts.
#[derive(Clone, Debug)]
pub struct Sample {
    pub id: u128,
    pub ts: i64,
    pub user: String,
    pub role: &'static str,
    pub org: String,
    pub path: String,
    pub route: Option<String>,
    pub status: u16,
    pub duration_us: u64,
    pub agent: &'static str,
    pub ip: [u8; 4],
}

/// The requests, one after the other, without an end.
#[derive(Clone, Debug)]
pub struct Requests {
    random: u64,
    next: i64,
    first: i64,
    step: i64,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            random: 0x9e37_79b9_7f4a_7c15,
            next: 0,
            first: FIRST_TS,
            step: STEP,
        }
    }
}

impl Requests {
    /// From `first` on, and `step` between two of them: microseconds.
    #[must_use]
    pub fn since(first: i64, step: i64) -> Self {
        Self {
            first,
            step,
            ..Self::default()
        }
    }

    /// The next `n` as rows.
    pub fn rows(&mut self, n: usize) -> Vec<Row> {
        self.by_ref().take(n).map(|sample| sample.row()).collect()
    }

    fn random(&mut self) -> u64 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.random() >> 16) % n
    }
}

impl Iterator for Requests {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let ts = self.first + self.next * self.step;
        self.next += 1;
        let random = u128::from(self.random()) << 64 | u128::from(self.random());
        let millis = u128::from((ts / 1_000).unsigned_abs());
        let id = millis << 80
            | 0x7 << 76
            | (random >> 52) & 0xfff << 64
            | 0b10 << 62
            | random & (u64::MAX >> 2) as u128;
        let user = self.below(10_000);
        let (item, route) = (self.below(1_000_000), self.below(50));
        let kind = self.below(100);
        let (path, route, status) = match kind {
            0..4 => (format!("/nothing/{item}"), None, 404),
            4 => (
                format!("/api/fail/{item}"),
                Some("/api/fail/{id}".to_owned()),
                500,
            ),
            _ => (
                format!("/api/r{route:02}/{item}"),
                Some(format!("/api/r{route:02}/{{id}}")),
                200,
            ),
        };
        let ip = self.random().to_be_bytes();
        Some(Sample {
            id,
            ts,
            user: format!("u_{user:05}"),
            role: ROLES[user as usize % ROLES.len()],
            org: format!("org_{:03}", user % 500),
            path,
            route,
            status,
            duration_us: 200 + self.below(4_000),
            agent: AGENTS[user as usize % AGENTS.len()],
            ip: [ip[0], ip[1], ip[2], ip[3]],
        })
    }
}

impl Sample {
    /// As the layer makes it.
    #[must_use]
    pub fn row(&self) -> Row {
        request_row(&Request {
            id: self.id,
            ts: self.ts,
            user: &self.user,
            role: self.role,
            org: &self.org,
            method: "GET",
            path: &self.path,
            route: self.route.as_deref(),
            status: self.status,
            duration_us: self.duration_us,
            user_agent: self.agent,
            ip: self.ip,
        })
    }
}
