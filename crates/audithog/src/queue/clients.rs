//! Whose rows are in the queue: so that a flood of one client leaves room for the others.
//!
//! Clients are told apart by a hash with a key that is new in each process, so that nobody can aim at
//! another's place. A place is shared by about one client in a thousand; who shares a flood's place shares its
//! fate while it lasts.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;

use crate::books::client;
use crate::config::QueueSettings;
use crate::record::Row;

const PLACES: usize = 1_024;

/// The key of the hash.
pub(super) struct Places {
    add: u64,
    multiply: u64,
    texts: RandomState,
}

/// A client's place in [`Shares`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u16);

impl Places {
    pub(super) fn new() -> Self {
        let texts = RandomState::new();
        Self {
            add: texts.hash_one(0),
            multiply: texts.hash_one(1) | 1,
            texts,
        }
    }

    /// By the client's address, else by the user's id. None for what no client caused.
    pub(super) fn of(&self, row: &Row) -> Option<Place> {
        let hash = match (row.client_ip(), &row.actor.user_id) {
            (Some(ip), _) => self.of_ip(client(ip)),
            (None, Some(user)) => self.texts.hash_one(user),
            (None, None) => return None,
        };
        // The best bits of a product are the upper ones.
        u16::try_from(hash >> 54).ok().map(Place)
    }

    fn of_ip(&self, ip: IpAddr) -> u64 {
        let number = match ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            // The lower half is zero.
            IpAddr::V6(ip) => u64::try_from(ip.to_bits() >> 64).unwrap_or(0),
        };
        // Twice, because the first product's upper bits depend on the number's lower ones only a little.
        let mixed = number.wrapping_add(self.add).wrapping_mul(self.multiply);
        (mixed ^ (mixed >> 32)).wrapping_mul(self.multiply)
    }
}

/// How much of the queue, and of what the writer took last, is whose.
#[derive(Default)]
pub(super) struct Shares {
    queued: Counted,
    taken: Counted,
}

/// Rows, those of clients and all others.
struct Counted {
    places: Box<[Share; PLACES]>,
    /// The places that have rows: only they have to be emptied, which for a few rows is much less than the whole table.
    used: Vec<Place>,
    all: Share,
}

#[derive(Clone, Copy, Default)]
struct Share {
    rows: usize,
    bytes: usize,
}

impl Shares {
    /// A row was pushed.
    pub(super) fn add(&mut self, place: Option<Place>, bytes: usize) {
        self.queued.add(place, bytes);
    }

    /// The writer took what is queued. What it took before is done.
    pub(super) fn hand_over(&mut self) {
        std::mem::swap(&mut self.queued, &mut self.taken);
        self.queued.clear();
    }

    /// Whether the last quarter of the queue, of which `rows` and `bytes` are full, is not for this client: it has
    /// more than half of what is there.
    pub(super) fn are_too_large(
        &self,
        place: Option<Place>,
        rows: usize,
        bytes: usize,
        settings: QueueSettings,
    ) -> bool {
        let Some(Place(at)) = place else {
            return false;
        };
        let at = usize::from(at);
        let nearly = |used: usize, most: usize| used > most - most / 4;
        let (mine, all) = (
            self.queued.places[at].with(self.taken.places[at]),
            self.queued.all.with(self.taken.all),
        );
        (nearly(rows, settings.max_rows) && mine.rows > all.rows / 2)
            || (nearly(bytes, settings.max_bytes) && mine.bytes > all.bytes / 2)
    }
}

#[cfg(test)]
impl Place {
    pub(super) fn at(place: u16) -> Self {
        Self(place)
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            places: Box::new([Share::default(); PLACES]),
            used: Vec::with_capacity(PLACES),
            all: Share::default(),
        }
    }
}

impl Counted {
    fn add(&mut self, place: Option<Place>, bytes: usize) {
        self.all.add(bytes);
        if let Some(place) = place {
            let share = &mut self.places[usize::from(place.0)];
            if share.rows == 0 {
                self.used.push(place);
            }
            share.add(bytes);
        }
    }

    fn clear(&mut self) {
        for Place(at) in self.used.drain(..) {
            self.places[usize::from(at)] = Share::default();
        }
        self.all = Share::default();
    }
}

impl Share {
    fn add(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
    }

    fn with(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
        }
    }
}
