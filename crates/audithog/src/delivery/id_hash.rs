//! A hash for ids: most of an id's bits are random already.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

/// Multiplies and folds. Keyed, because an application may use ids that its clients chose.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdHashing([u64; 2]);

#[derive(Debug)]
pub(super) struct IdHasher {
    keys: [u64; 2],
    state: u64,
}

impl Default for IdHashing {
    fn default() -> Self {
        static KEYS: LazyLock<[u64; 2]> = LazyLock::new(|| {
            let random = RandomState::new();
            // Odd, so that no factor of two is lost.
            [random.hash_one(0) | 1, random.hash_one(1) | 1]
        });
        Self(*KEYS)
    }
}

impl BuildHasher for IdHashing {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher {
            keys: self.0,
            state: self.0[1],
        }
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let wide = u128::from(word ^ self.state) * u128::from(self.keys[0]);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the halves are folded into one"
        )]
        let folded = (wide as u64) ^ ((wide >> 64) as u64);
        self.state = folded.wrapping_add(self.keys[1]);
    }

    fn write_usize(&mut self, length: usize) {
        // The length of an id's bytes: always the same.
        self.state ^= length as u64;
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use uuid::Uuid;

    use super::IdHashing;

    #[test]
    fn ids_that_differ_in_any_bit_differ() {
        let hashing = IdHashing::default();
        let mut hashes = HashSet::from([hashing.hash_one(Uuid::nil())]);
        for bit in 0..128 {
            let hash = hashing.hash_one(Uuid::from_u128(1 << bit));
            // Seven bits name a group in a table, the lowest a place.
            assert!(hashes.insert(hash), "bit {bit}");
        }
        let low: HashSet<u64> = (0..1_000)
            .map(|n| hashing.hash_one(Uuid::from_u128(n << 64)) % 4_096)
            .collect();
        assert!(low.len() > 500, "{}", low.len());
    }
}
