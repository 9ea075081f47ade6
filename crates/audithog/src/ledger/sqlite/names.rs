//! The dictionary: texts that repeat are kept once, in `audit_names`, and rows hold a number.
//!
//! It only grows, so it is bounded, and a peer must not be able to fill it with what it sends
//! once: a text enters when it is seen a second time, and texts from outside may use only a part.
//! Whatever does not get in stays in the row as text.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use rusqlite::{Connection, OptionalExtension};

/// Longer texts stay in their row; the limit of a user agent.
const LONGEST: usize = 512;
/// Entries that texts from the application may fill.
const LIMIT: i64 = 65_536;
/// Entries that texts from peers may fill; the rest is kept for the application's own.
const PEER_LIMIT: i64 = LIMIT / 2;
/// Texts remembered as seen once.
const SEEN: usize = 4_096;

/// Who decides what the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Application,
    Peer,
}

/// The writer's side of the dictionary.
#[derive(Debug)]
pub(super) struct Names {
    known: HashMap<Box<str>, i64>,
    /// Hashes of texts seen once; a slot is simply overwritten.
    seen: Box<[u64; SEEN]>,
    hasher: RandomState,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            seen: Box::new([0; SEEN]),
            hasher: RandomState::new(),
        }
    }

    /// After a rollback: what it knows may not exist.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// The text's number, if it has one or is given one now.
    pub(super) fn number(
        &mut self,
        connection: &Connection,
        text: &str,
        origin: Origin,
    ) -> rusqlite::Result<Option<i64>> {
        if let Some(name) = self.known.get(text) {
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
        let hash = self.hasher.hash_one(text);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do for a slot"
        )]
        let slot = &mut self.seen[hash as usize % SEEN];
        std::mem::replace(slot, hash) == hash
    }
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
