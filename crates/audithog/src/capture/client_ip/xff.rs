//! `x-forwarded-for` and its relatives: addresses between commas, no quoting.

use std::net::IpAddr;

use super::node::parse_node;

/// Finds the comma before the last entry of `list`.
pub(super) fn last_comma(list: &[u8]) -> Option<usize> {
    list.iter().rposition(|&byte| byte == b',')
}

/// Reads one entry.
pub(super) fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    parse_node(entry.trim_ascii())
}
