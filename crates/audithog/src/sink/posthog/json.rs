//! JSON values as text, straight into a buffer. The formats are few and known, so nothing here goes through
//! `fmt`; texts that need escapes go through `serde_json`.

use std::io::Write as _;
use std::net::IpAddr;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::record::Micros;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// In quotes, with what escapes it needs.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    if needs_escapes(text) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *out, text);
    } else {
        quoted(out, text.as_bytes());
    }
}

/// Eight bytes at a time and without an early end: texts are short, and none of those that come often needs any.
fn needs_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    if let Some(last) = bytes.last_chunk::<8>() {
        let (words, _) = bytes.as_chunks::<8>();
        let found = words.iter().fold(0, |found, word| found | special(*word));
        // The last eight overlap those before.
        return found | special(*last) != 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let [a, b, c, d] = *first;
        let [e, f, g, h] = *last;
        return special([a, b, c, d, e, f, g, h]) != 0;
    }
    bytes
        .iter()
        .any(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\'))
}

/// Not zero if one of eight bytes is a control character, a quotation mark or a backslash.
fn special(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_ne_bytes(bytes);
    // The high bit of a byte's place is set where the byte is less than `limit`; above such a place perhaps elsewhere too.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7)
}

/// In quotes, as it is.
pub(super) fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Bytes that [`uuid`] writes.
pub(super) const UUID: usize = Hyphenated::LENGTH + 2;

/// Lower case, hyphenated, in quotes.
pub(super) fn uuid(out: &mut Vec<u8>, id: Uuid) {
    let mut text = [0; Hyphenated::LENGTH];
    id.as_hyphenated().encode_lower(&mut text);
    quoted(out, &text);
}

pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    // As many digits as the largest has.
    let mut digits = [0; 20];
    let mut rest = number;
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = digit(rest % 10);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Microseconds as milliseconds: three decimals, or none.
pub(super) fn millis(out: &mut Vec<u8>, micros: u64) {
    number(out, micros / 1_000);
    let rest = micros % 1_000;
    if rest != 0 {
        out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
    }
}

/// In quotes.
pub(super) fn address(out: &mut Vec<u8>, ip: IpAddr) {
    out.push(b'"');
    match ip {
        IpAddr::V4(ip) => {
            // Four numbers of three digits, and a point after each.
            let mut text = [0; 16];
            let mut end = 0;
            for part in ip.octets() {
                let mut put = |byte| {
                    text[end] = byte;
                    end += 1;
                };
                if part >= 100 {
                    put(b'0' + part / 100);
                }
                if part >= 10 {
                    put(b'0' + part / 10 % 10);
                }
                put(b'0' + part % 10);
                put(b'.');
            }
            out.extend_from_slice(&text[..end - 1]);
        }
        IpAddr::V6(ip) => {
            let _ = write!(out, "{ip}");
        }
    }
    out.push(b'"');
}

/// Times, of which most are of the same second as the one before.
#[derive(Debug, Default)]
pub(super) struct Times {
    second: i64,
    /// Up to the point before the fraction; empty before the first time.
    text: Vec<u8>,
}

impl Times {
    /// As `Micros` shows itself, in quotes.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, time: Micros) {
        if !(Micros::FIRST..=Micros::LAST).contains(&time) {
            let _ = write!(out, "\"{time}\"");
            return;
        }
        let second = time.0.div_euclid(MICROS_PER_SECOND);
        if second != self.second || self.text.is_empty() {
            self.text.clear();
            let whole = Micros(second * MICROS_PER_SECOND);
            let _ = write!(self.text, "\"{whole}");
            // Six digits and the `Z`.
            self.text.truncate(self.text.len().saturating_sub(7));
            self.second = second;
        }
        let rest = time.0.rem_euclid(MICROS_PER_SECOND).unsigned_abs();
        out.extend_from_slice(&self.text);
        out.extend_from_slice(&[
            digit(rest / 100_000),
            digit(rest / 10_000),
            digit(rest / 1_000),
            digit(rest / 100),
            digit(rest / 10),
            digit(rest),
            b'Z',
            b'"',
        ]);
    }
}

/// The last decimal digit of `number`.
fn digit(number: u64) -> u8 {
    b"0123456789"[(number % 10) as usize]
}
