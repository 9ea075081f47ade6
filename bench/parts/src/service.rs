//! The rows that the service under test makes: the suite's list of requests, over and over, as at 30,000 a second.

use std::net::IpAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use audithog::Row;
use audithog::bench::ledger::{Ledger, Request, request_row};
use bench_load::requests::{self, Request as Listed};

use crate::Failure;

const ROLES: [&str; 4] = ["member", "editor", "viewer", "admin"];
/// Between two requests, in microseconds: 20 to 46.
const LEAST_STEP: u64 = 20;

/// Rows, one after the other, without an end.
#[derive(Debug)]
pub struct ServiceRows {
    list: Vec<Listed>,
    next: usize,
    ts: i64,
    random: u64,
}

impl ServiceRows {
    /// From `first_ts` on, microseconds since 1970.
    #[must_use]
    pub fn from(first_ts: i64) -> Self {
        Self {
            list: requests::list(),
            next: 0,
            ts: first_ts,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

impl Iterator for ServiceRows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let random = self.random();
        self.ts += i64::try_from(LEAST_STEP + random % 27).unwrap_or(0);
        let micros = self.ts.unsigned_abs();
        // As the library makes it: milliseconds, their fraction in twelve bits, and 62 random bits.
        let time = u128::from(micros / 1_000) << 16 | u128::from(micros % 1_000 * 4_096 / 1_000);
        let id = (time | 0x7000) << 64 | 0b10 << 62 | u128::from(self.random() >> 2);
        let duration_us = 40 + self.random() % 360;
        let listed = self.list.get(self.next)?;
        self.next = (self.next + 1) % self.list.len();
        let status = listed.expected_status();
        let route = match status {
            404 => None,
            _ => listed.path.rfind('/').map(|end| &listed.path[..end]),
        };
        let route = route.map(|stem| format!("{stem}/{{id}}"));
        let ip = match listed.ip.parse() {
            Ok(IpAddr::V4(ip)) => ip.octets(),
            // One in ten; the row of the benchmark has room for the shorter kind only.
            Ok(IpAddr::V6(ip)) => {
                let [.., a, b, c, d] = ip.octets();
                [a | 1, b, c, d]
            }
            Err(_) => [192, 0, 2, 1],
        };
        Some(request_row(&Request {
            id,
            ts: self.ts,
            user: &listed.user,
            role: ROLES
                .into_iter()
                .find(|role| *role == listed.role)
                .unwrap_or("member"),
            org: &listed.org,
            method: "GET",
            path: &listed.path,
            route: route.as_deref(),
            status,
            duration_us,
            user_agent: &listed.agent,
            ip,
        }))
    }
}

/// Fills a ledger with rows from now on, and leaves it as a run that ended in good order does.
///
/// # Errors
///
/// It cannot be written.
pub fn fill(path: &Path, rows: usize) -> Result<(), Failure> {
    const GROUP: usize = 1_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut ledger = Ledger::open(path)?;
    let mut source = ServiceRows::from(i64::try_from(now.as_micros())?);
    let mut left = rows;
    while left > 0 {
        let group: Vec<_> = source.by_ref().take(GROUP.min(left)).collect();
        ledger.append(&group, false)?;
        left -= group.len();
    }
    Ok(ledger.close()?)
}
