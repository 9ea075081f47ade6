//! Numbers for values that are in no dictionary. They are kept, so they never change: SipHash-1-3 with a key of zeros, 64 bits of which two of a
//! million different values share once in forty million ledgers.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// Above every number of the dictionary, and never 0.
const HASHED: u64 = 1 << 63;
/// Above every address, and never 0.
const ADDRESS: u64 = 1 << 32;

pub(in super::super) fn text(bytes: &[u8]) -> u64 {
    of(0, bytes)
}

pub(in super::super) fn blob(bytes: &[u8]) -> u64 {
    of(1, bytes)
}

/// An address as `audit_rows` has it.
pub(in super::super) fn ipv4(signed: i64) -> u64 {
    ADDRESS | (signed.cast_unsigned() & u64::from(u32::MAX))
}

/// An id by 32 bits, of which one is always set: the last four bytes of a UUID or trace id are random.
pub(in super::super) fn short_id(bytes: &[u8]) -> u32 {
    let last: [u8; 4] = bytes.last_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(last) | 1
}

pub(in super::super) fn short_text(bytes: &[u8]) -> u32 {
    let [a, b, c, d, ..] = text(bytes).to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) | 1
}

fn of(kind: u8, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u8(kind);
    hasher.write(bytes);
    hasher.finish() | HASHED
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They are in files.
    #[test]
    fn numbers_stay_what_they_are() {
        assert_eq!(text(b"user_17"), 11_917_213_160_823_949_996);
        assert_eq!(blob(&[7; 16]), 17_006_136_234_754_430_320);
        assert_eq!(short_id(&[1, 2, 3, 4, 5, 6]), 0x0605_0403);
        assert_eq!(ipv4(-1), 0x1_ffff_ffff);
        assert_ne!(text(&[7; 16]), blob(&[7; 16]));
    }
}
