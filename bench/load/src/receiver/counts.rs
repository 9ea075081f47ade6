//! What was received.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Since the start or the last reset.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests with events, also those that were refused or never answered.
    pub requests: u64,
    /// Events and log records in the requests that were taken.
    pub events: u64,
    /// Bytes of all bodies, as they came over the wire.
    pub bytes: u64,
    /// Requests whose body could not be read.
    pub unreadable: u64,
    distinct: HashSet<u128, BuildHasherDefault<LowHalf>>,
}

impl Counts {
    /// An event with a uuid.
    pub(crate) fn event(&mut self, uuid: u128) {
        self.events += 1;
        self.distinct.insert(uuid);
    }

    /// How many different uuids there were.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.distinct.len()
    }

    pub(crate) fn to_json(&self) -> String {
        format!(
            "{{\"requests\":{},\"events\":{},\"bytes\":{},\"distinct\":{},\"unreadable\":{}}}",
            self.requests,
            self.events,
            self.bytes,
            self.distinct.len(),
            self.unreadable,
        )
    }
}

/// A uuid is its own hash: its low half is random in all versions that the stacks make.
#[derive(Debug, Default)]
struct LowHalf(u64);

impl Hasher for LowHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, uuid: u128) {
        let low = u64::try_from(uuid & u128::from(u64::MAX)).unwrap_or_default();
        // The variant's bits are constant and at the top, where the table takes its tags from.
        self.0 = low.rotate_left(16);
    }
}
