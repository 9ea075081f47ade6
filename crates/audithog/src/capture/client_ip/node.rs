//! One hop's address as text: with or without port, brackets and zone id.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longer text is no address: 45 bytes of IPv6, brackets, a port, and room for the name of an interface.
pub(super) const MAX_NODE_LEN: usize = 128;

/// Reads an address with an optional port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`, each IPv6 form also with a zone id (`fe80::1%eth0`).
///
/// An IPv6 address without brackets has no port: its last group could not be told from one.
/// Obfuscated identifiers, `unknown` and everything else are `None`.
pub(super) fn parse_node(text: &[u8]) -> Option<IpAddr> {
    if let Some(ip) = dotted(text) {
        return Some(IpAddr::V4(ip));
    }
    if text.len() > MAX_NODE_LEN {
        return None;
    }
    // `str::from_utf8` fails on anything that is no text, so slicing at ASCII characters is safe below.
    let text = str::from_utf8(text).ok()?;
    let ip = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            if !rest.is_empty() && !is_port(rest.strip_prefix(':')?) {
                return None;
            }
            IpAddr::V6(parse_v6(address)?)
        }
        None => parse_bare(text)?,
    };
    Some(ip.to_canonical())
}

/// Reads the usual form, `192.0.2.1`, with one look at each byte. What this does not read may be an address all the same.
fn dotted(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut octets, mut dots) = (0, 0);
    // The octet so far, and whether it has a digit.
    let (mut octet, mut begun) = (0, false);
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            // Some read a leading zero as octal.
            if begun && octet == 0 {
                return None;
            }
            (octet, begun) = (octet * 10 + u32::from(digit), true);
            if octet > 255 {
                return None;
            }
        } else if byte == b'.' && begun && dots < 3 {
            octets = octets << 8 | octet;
            dots += 1;
            (octet, begun) = (0, false);
        } else {
            return None;
        }
    }
    (begun && dots == 3).then(|| Ipv4Addr::from_bits(octets << 8 | octet))
}

/// Reads an address without brackets.
fn parse_bare(text: &str) -> Option<IpAddr> {
    match text.split_once(':') {
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some((address, port)) if is_port(port) => address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some(_) => parse_v6(text).map(IpAddr::V6),
    }
}

/// Reads an IPv6 address and drops its zone id (RFC 6874 §2), which means something on one machine only.
fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    let address = match text.split_once('%') {
        Some((address, zone)) if is_zone(zone) => address,
        Some(_) => return None,
        None => text,
    };
    address.parse().ok()
}

fn is_zone(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
}

/// True for a port number, and for an obfuscated port (`_` and a name, RFC 7239 §6.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        }
        // `u16` also reads a sign, hence the look at the digits.
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::dotted;

    #[test]
    fn the_usual_form_is_read_as_the_standard_library_reads_it() {
        // All texts of up to three characters in two octets, and all numbers of octets.
        let alphabet = ["", "0", "1", "2", "5", "6", "9", ".", "-", " "];
        for one in alphabet {
            for two in alphabet {
                for three in alphabet {
                    let octet = [one, two, three].concat();
                    for text in [
                        octet.clone(),
                        format!("{octet}.1.2.3"),
                        format!("9.{octet}.25.3"),
                        format!("255.0.1.{octet}"),
                        format!("1.2.3.4{octet}"),
                        format!("1.2.{octet}"),
                    ] {
                        let expected = text.parse::<Ipv4Addr>().ok();
                        assert_eq!(dotted(text.as_bytes()), expected, "{text}");
                    }
                }
            }
        }
    }
}
