//! The numbers that stand for values where rows are kept by column.

pub(super) mod hash {
    //! Numbers for values that are in no dictionary. They are kept, so they never change. 64 bits of a hash that nobody can aim at:
    //! two of a million different values are equal once in forty million ledgers.

    use std::hash::Hasher as _;

    use siphasher::sip::SipHasher13;

    /// Above every number of the dictionary, and never 0.
    const HASHED: u64 = 1 << 63;

    pub(in super::super) fn text(bytes: &[u8]) -> u64 {
        of(0, bytes)
    }

    pub(in super::super) fn blob(bytes: &[u8]) -> u64 {
        of(1, bytes)
    }

    /// An address as `audit_rows` has it.
    pub(in super::super) fn ipv4(signed: i64) -> u64 {
        1 << 32 | (signed.cast_unsigned() & u64::from(u32::MAX))
    }

    fn of(kind: u8, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new();
        hasher.write_u8(kind);
        hasher.write(bytes);
        hasher.finish() | HASHED
    }
}
