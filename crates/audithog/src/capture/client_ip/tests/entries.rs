//! How one hop may be written.

use super::{PROXY, answer, resolve_lines};
use crate::capture::client_ip::ClientIpSource::{Header, TrustedHop};

/// Asserts what a trusted proxy's only entry is read as: `Some` client, or `None` for "says nothing".
fn check(header: &str, entry: &[u8], wanted: Option<&str>) {
    let wanted = match wanted {
        Some(client) => answer(client, Header),
        None => answer(PROXY, TrustedHop),
    };
    // With an address in reach to the left, so that skipping an entry shows.
    let list = match header {
        "forwarded" => [b"for=192.0.2.66, ", entry].concat(),
        _ => [b"192.0.2.66, ", entry].concat(),
    };
    let got = resolve_lines(header, &[&list]);
    assert_eq!(got, wanted, "{header}: {}", entry.escape_ascii());
}

const NODES: &[(&str, &str)] = &[
    ("203.0.113.9", "203.0.113.9"),
    ("203.0.113.9:0", "203.0.113.9"),
    ("203.0.113.9:65535", "203.0.113.9"),
    ("203.0.113.9:_port", "203.0.113.9"),
    ("2001:db8::1", "2001:db8::1"),
    ("2001:DB8:0:0::1", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("[2001:db8::1]:443", "2001:db8::1"),
    ("[2001:db8::1]:_a.b-c_d", "2001:db8::1"),
    ("fe80::1%eth0", "fe80::1"),
    ("[fe80::1%25eth0.7]", "fe80::1"),
    ("[fe80::1%eth0]:80", "fe80::1"),
    ("::ffff:203.0.113.9", "203.0.113.9"),
    ("::ffff:cb00:7109", "203.0.113.9"),
    ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
    ("64:ff9b::203.0.113.9", "64:ff9b::cb00:7109"),
    // No port without brackets: the last group belongs to the address.
    ("2001:db8::1:443", "2001:db8::1:443"),
];

const NO_NODES: &[&str] = &[
    "unknown",
    "_hidden",
    "_",
    "localhost",
    "example.com:80",
    "203.0.113",
    "203.0.113.256",
    "203.0.113.09",
    "0xcb007109",
    "3405803785",
    "203.0.113.9:",
    "203.0.113.9:65536",
    "203.0.113.9:+80",
    "203.0.113.9:80:80",
    "203.0.113.9:_",
    "203.0.113.9:_a b",
    "203.0.113.9%eth0",
    "[203.0.113.9]",
    "203.0.113.9 192.0.2.1",
    "[2001:db8::1",
    "2001:db8::1]",
    "[2001:db8::1]443",
    "[2001:db8::1]:",
    "[2001:db8::1]:http",
    "[[2001:db8::1]]",
    "[]",
    "[]:80",
    ":80",
    ":",
    "2001:db8::1::2",
    "fe80::1%",
    "fe80::1%a b",
    "[fe80::1%]",
    "[fe80::1%e\u{e9}]",
    "%eth0",
    "unix:",
];

#[test]
fn addresses_are_read_in_every_list_header() {
    for &(node, client) in NODES {
        for header in ["x-forwarded-for", "x-real-ip"] {
            check(header, node.as_bytes(), Some(client));
            check(header, format!("\t {node} ").as_bytes(), Some(client));
        }
    }
    for node in NO_NODES {
        check("x-forwarded-for", node.as_bytes(), None);
        check("cf-connecting-ip", node.as_bytes(), None);
    }
    check("x-forwarded-for", b"\"203.0.113.9\"", None);
    check("x-forwarded-for", b"for=203.0.113.9", None);
}

#[test]
fn addresses_are_read_in_forwarded_elements() {
    for &(node, client) in NODES {
        for element in [
            format!("for={node}"),
            format!("for=\"{node}\""),
            format!("FOR=\"{node}\";proto=http;by=203.0.113.43"),
            format!("proto=http;host=\"a;b,c\\\"\";For={node}"),
            format!(" \tby=_x ; for = \"{node}\"\t; secret=\"for=192.0.2.1\" "),
            format!("for={node};host=example.com:8080;;junk"),
            format!(
                "for=\"{}\"",
                node.chars().map(|c| format!("\\{c}")).collect::<String>()
            ),
        ] {
            check("forwarded", element.as_bytes(), Some(client));
        }
    }
    for node in NO_NODES {
        check("forwarded", format!("for={node}").as_bytes(), None);
        check("forwarded", format!("for=\"{node}\"").as_bytes(), None);
    }
}

#[test]
fn broken_forwarded_elements_say_nothing() {
    for element in [
        "203.0.113.9",
        "for",
        "for=",
        "for=\"\"",
        "for203.0.113.9",
        "for:203.0.113.9",
        "xfor=203.0.113.9",
        "for=203.0.113.9;for=203.0.113.9",
        "for=203.0.113.9;proto=http;FOR=_x",
        "for=\"203.0.113.9",
        "for=203.0.113.9\"",
        "for=203.0.113.9;host=x\\\"",
        "for=\"203.0.113.9\\\\\"",
        "for=\"203.0.113.9\\\"",
        "for=\"203.0.113.9\\\";host=\"a\"",
        "for=\"203.\"0.113.9\"",
        "for='203.0.113.9'",
        "for=\"203.0.113.9\"x",
        "for=x\"203.0.113.9\"",
        "for=203.0.113.9=",
        "for==203.0.113.9",
    ] {
        check("forwarded", element.as_bytes(), None);
    }
}

#[test]
fn bytes_that_are_no_text_say_nothing() {
    for bytes in [
        b"\xff".as_slice(),
        b"203.0.113.9\xff",
        b"[2001:db8::1\x00]",
        b"[\xf0\x9f\xa6\x94]",
        b"203.0.113.9\0",
        &[b"[fe80::1%".as_slice(), &[b'z'; 128], b"]"].concat(),
        &[b'1'; 4096],
        &[b'['; 4096],
    ] {
        check("x-forwarded-for", bytes, None);
        check("forwarded", &[b"for=", bytes].concat(), None);
        check("forwarded", &[b"for=\"", bytes, b"\""].concat(), None);
    }
}
