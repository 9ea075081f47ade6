//! Which clients' rows were lost.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

/// Clients that are counted one by one.
const COUNTED: usize = 64;
/// Clients that a row names.
const NAMED: usize = 8;

/// Lost rows by client. The sum is exact; a client's own number is too, unless more than [`COUNTED`] lost rows: then
/// the smallest make room, and count as others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losers {
    clients: Vec<(IpAddr, u64)>,
    others: u64,
}

impl Losers {
    pub(crate) fn add(&mut self, ip: Option<IpAddr>, rows: u64) {
        let Some(ip) = ip.map(client) else {
            self.others += rows;
            return;
        };
        if let Some((_, count)) = self.clients.iter_mut().find(|(known, _)| *known == ip) {
            *count += rows;
        } else if self.clients.len() < COUNTED {
            self.clients.push((ip, rows));
        } else if let Some(least) = self.clients.iter_mut().min_by_key(|(_, count)| *count) {
            self.others += least.1;
            *least = (ip, rows);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.others += other.others;
        for (ip, rows) in &other.clients {
            self.add(Some(*ip), *rows);
        }
    }

    /// The clients that lost most, and the number of rows of all others. None if no client is known.
    pub(crate) fn describe(&self) -> Option<(Value, u64)> {
        if self.clients.is_empty() {
            return None;
        }
        let mut clients = self.clients.clone();
        clients.sort_by_key(|(ip, count)| (std::cmp::Reverse(*count), *ip));
        let named: Vec<_> = clients
            .iter()
            .take(NAMED)
            .map(|(ip, count)| json!({"ip": shown(*ip), "count": count}))
            .collect();
        let rest: u64 = clients.iter().skip(NAMED).map(|(_, count)| count).sum();
        Some((Value::Array(named), self.others + rest))
    }
}

/// Who an address stands for: of IPv6, a network of 64 bits is one client's.
pub(crate) fn client(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or_else(
            || Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
            IpAddr::V4,
        ),
    }
}

fn shown(client: IpAddr) -> String {
    match client {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{ip}/64"),
    }
}
