//! The `Forwarded` header of RFC 7239: `for="[2001:db8::1]:80";proto=https, for=192.0.2.1`.
//!
//! Everything is scanned from the right. A scan from the left would let a client spoil the list: after its `for="`
//! with no closing quote, the comma and the element that the proxy appends would be part of a quoted string.
//! From the right the appended element is read first, and by itself: the opening quote of a value
//! follows `=`, so no quote of a well-formed element can be taken for an escaped one, whatever stands before it.
//!
//! More is accepted than the grammar allows where proxies are known to be sloppy and the meaning is
//! clear: white space around `;` and `=`, and `:` and brackets without quotes (`for=192.0.2.1:80`).

use std::net::IpAddr;

use super::node::{MAX_NODE_LEN, parse_node};

/// A quoted string without its opening quote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OpenQuote;

/// Finds the comma before the last element of `list`.
pub(super) fn last_comma(list: &[u8]) -> Result<Option<usize>, OpenQuote> {
    rfind_unquoted(list, b',')
}

/// Reads the address of one element: the value of its only `for` parameter.
///
/// Two `for` parameters are `None`: RFC 7239 §4 forbids them, and one of the two may have come from
/// the client, in a `host` that the proxy copied without quoting it.
pub(super) fn parse_entry(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(text) = rest {
        let pair = match rfind_unquoted(text, b';').ok()? {
            Some(at) => {
                rest = Some(&text[..at]);
                &text[at + 1..]
            }
            None => {
                rest = None;
                text
            }
        };
        if let Some(value) = for_value(pair)
            && found.replace(value).is_some()
        {
            return None;
        }
    }
    parse_value(found?)
}

/// The value of a `for` pair, as written.
fn for_value(pair: &[u8]) -> Option<&[u8]> {
    let at = pair.iter().position(|&byte| byte == b'=')?;
    let name = pair[..at].trim_ascii();
    name.eq_ignore_ascii_case(b"for")
        .then(|| pair[at + 1..].trim_ascii())
}

/// Reads a value: a token, or a quoted string with its escapes.
fn parse_value(value: &[u8]) -> Option<IpAddr> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return parse_node(value);
    };
    let inner = inner.strip_suffix(b"\"")?;
    let mut buffer = [0; MAX_NODE_LEN];
    parse_node(unescape(inner, &mut buffer)?)
}

/// Resolves `\x` to `x` (RFC 9110 §5.6.4). `None` if the text ends in the middle or does not fit.
fn unescape<'b>(text: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut bytes = text.iter();
    let mut len = 0;
    while let Some(&byte) = bytes.next() {
        let byte = match byte {
            b'\\' => *bytes.next()?,
            byte => byte,
        };
        *buffer.get_mut(len)? = byte;
        len += 1;
    }
    buffer.get(..len)
}

/// Finds the last `separator` outside quoted strings.
///
/// Inside one, a quote after a backslash is escaped. There is no need to count backslashes: what stands
/// before an opening quote is `=`.
fn rfind_unquoted(text: &[u8], separator: u8) -> Result<Option<usize>, OpenQuote> {
    let mut quoted = false;
    for (at, &byte) in text.iter().enumerate().rev() {
        if byte == b'"' {
            quoted = !quoted || text[..at].ends_with(b"\\");
        } else if byte == separator && !quoted {
            return Ok(Some(at));
        }
    }
    if quoted { Err(OpenQuote) } else { Ok(None) }
}
