//! The dictionary: texts that repeat are kept once, in `audit_names`, and rows hold a number.
//!
//! It only grows, so it is bounded, and a peer must not be able to fill it with what it sends
//! once: a text enters when it is seen a second time, and texts from outside may use only a part.
//! Whatever does not get in stays in the row as text.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

/// Longer texts stay in their row; the limit of a user agent.
const LONGEST: usize = 512;
/// Entries that texts from the application may fill.
const LIMIT: i64 = 65_536;
/// Entries that texts from peers may fill; the rest is kept for the application's own.
const PEER_LIMIT: i64 = LIMIT / 2;
/// Texts remembered as seen once.
const SEEN: usize = 4_096;
/// Places for texts that come all the time: a power of two.
const RECENT: usize = 2_048;

/// Who decides what the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Application,
    Peer,
}

type Known = (Arc<str>, i64);

/// The writer's side of the dictionary.
#[derive(Debug)]
pub(super) struct Names {
    known: HashMap<Arc<str>, i64>,
    /// Some of `known`, each at its [`place`]: a row has seven texts, and hashing them so that nobody can make them
    /// collide costs as much as binding them. Whoever does make them collide here gets that hash.
    recent: Box<[Option<Known>]>,
    seen: Seen,
    hasher: RandomState,
}

/// Hashes of texts that were seen once. Each has two places: with one, of two texts of every row that share it neither
/// would be seen a second time for as long as the process lives.
#[derive(Debug)]
struct Seen {
    hashes: Box<[u64; SEEN]>,
    /// Decides which of a text's places is overwritten, where both are taken.
    dice: u64,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            recent: vec![None; RECENT].into(),
            seen: Seen::default(),
            hasher: RandomState::new(),
        }
    }

    /// After a rollback: what it knows may not exist.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.recent.fill(None);
    }

    /// The text's number, if it has one or is given one now.
    pub(super) fn number(
        &mut self,
        connection: &Connection,
        text: &str,
        origin: Origin,
    ) -> rusqlite::Result<Option<i64>> {
        let place = place(text);
        if let Some((known, name)) = &self.recent[place]
            && **known == *text
        {
            return Ok(Some(*name));
        }
        if let Some((known, name)) = self.known.get_key_value(text) {
            self.recent[place] = Some((Arc::clone(known), *name));
            return Ok(Some(*name));
        }
        if text.len() > LONGEST || !self.seen_before(text) {
            return Ok(None);
        }
        let name = match lookup(connection, text)? {
            Some(name) => name,
            None => match add(connection, text, origin)? {
                Some(name) => name,
                None => return Ok(None),
            },
        };
        self.known.insert(text.into(), name);
        Ok(Some(name))
    }

    fn seen_before(&mut self, text: &str) -> bool {
        self.seen.again(self.hasher.hash_one(text))
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            hashes: Box::new([0; SEEN]),
            dice: 1,
        }
    }
}

impl Seen {
    /// Whether the hash was seen before; from now on it was.
    fn again(&mut self, hash: u64) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do for a place"
        )]
        let places = [hash, hash >> 32].map(|bits| bits as usize % SEEN);
        if places.iter().any(|place| self.hashes[*place] == hash) {
            return true;
        }
        let free = places.iter().find(|place| self.hashes[**place] == 0);
        let place = *free.unwrap_or_else(|| {
            // Not by turns: two texts that come by turns could have the same one for ever. Knuth's multiplier of a
            // linear congruential generator, whose highest bit is its best.
            self.dice = self
                .dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            &places[usize::from(self.dice >> 63 == 1)]
        });
        self.hashes[place] = hash;
        false
    }
}

/// Where a text is in `Names::recent`: by its length and three words of it, which costs next to nothing.
fn place(text: &str) -> usize {
    let bytes = text.as_bytes();
    let length = bytes.len();
    let word = |at: usize| {
        let word = bytes.get(at..at + 8)?;
        Some(u64::from_ne_bytes(word.try_into().ok()?))
    };
    let short = || {
        bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    let first = word(0).unwrap_or_else(short);
    let middle = word(length / 2).unwrap_or(0);
    let last = word(length.saturating_sub(8)).unwrap_or(0);
    let mixed = (first ^ middle.rotate_left(19) ^ last.rotate_left(41) ^ length as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper bits, which all bits of the words have moved"
    )]
    let place = (mixed >> (u64::BITS - RECENT.trailing_zeros())) as usize;
    place
}

fn lookup(connection: &Connection, text: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT name FROM audit_names WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()
}

/// Numbers are given from 1 without gaps, so the last one is how many there are.
fn add(connection: &Connection, text: &str, origin: Origin) -> rusqlite::Result<Option<i64>> {
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(name), 0) FROM audit_names")?
        .query_row([], |row| row.get(0))?;
    let limit = match origin {
        Origin::Application => LIMIT,
        Origin::Peer => PEER_LIMIT,
    };
    if last >= limit {
        return Ok(None);
    }
    connection
        .prepare_cached("INSERT INTO audit_names (name, text) VALUES (?1, ?2)")?
        .execute(rusqlite::params![last + 1, text])?;
    Ok(Some(last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_a_place_are_seen_again() {
        let shared = [1, 2, 3].map(|other_place: u64| other_place << 32 | 7);
        let mut seen = Seen::default();
        assert_eq!(shared.map(|hash| seen.again(hash)), [false; 3]);
        assert_eq!(shared.map(|hash| seen.again(hash)), [true; 3]);
        // Where no place is free, each of two may overwrite the other, but not for ever.
        let crossed = [1 << 32 | 2, 2 << 32 | 1];
        for others in 0..3_u64 {
            let mut seen = Seen::default();
            seen.hashes.fill(u64::MAX);
            let mut other = 5;
            let mut row = || {
                crossed.map(|hash| {
                    for _ in 0..others {
                        other += 1 << 32;
                        seen.again(other);
                    }
                    seen.again(hash)
                })
            };
            assert!((0..100).any(|_| row() == [true; 2]), "{others}");
        }
    }

    /// Texts that `place` cannot tell apart: what they differ in is in none of its words.
    #[test]
    fn texts_with_one_place_have_numbers_of_their_own() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE audit_names (name INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
            )
            .unwrap();
        let mut names = Names::new();
        let texts = ["a", "b", "c"].map(|differs| format!("{:9}{differs}{:30}", "", ""));
        assert!(texts.iter().all(|text| place(text) == place(&texts[0])));
        let numbers = |names: &mut Names| {
            let number = |text: &String| names.number(&connection, text, Origin::Peer).unwrap();
            texts.iter().map(number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&mut names), [None, None, None]);
        for _ in 0..3 {
            assert_eq!(numbers(&mut names), [Some(1), Some(2), Some(3)]);
        }
        names.forget();
        connection
            .execute_batch("UPDATE audit_names SET name = name + 10")
            .unwrap();
        // Not seen for the first time, and read again.
        assert_eq!(numbers(&mut names), [Some(11), Some(12), Some(13)]);
    }
}
