//! The requests in progress, so that a shutdown can end those that are still open.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::known::Known;
use super::watch::Watch;

/// Enough that threads of a large machine seldom meet; a power of two.
const SHARDS: usize = 32;

/// Weak references to every [`Watch`] whose row has not been accepted.
#[derive(Debug, Default)]
pub(super) struct Registry {
    shards: [Shard; SHARDS],
}

/// A place in the registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    shard: usize,
    index: usize,
}

/// Aligned so that no two shards share a cache line, nor a pair that is fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<Weak<Watch>>>,
    free: Vec<usize>,
    known: Known,
}

impl Registry {
    /// Gives the texts of the request too, because they are kept under the same lock.
    pub(super) fn insert<T>(
        &self,
        watch: Weak<Watch>,
        texts: impl FnOnce(&mut Known) -> T,
    ) -> (Ticket, T) {
        let shard = home_shard();
        let mut slots = self.lock(shard);
        let index = match slots.free.pop() {
            Some(index) => {
                slots.entries[index] = Some(watch);
                index
            }
            None => {
                slots.entries.push(Some(watch));
                slots.entries.len() - 1
            }
        };
        (Ticket { shard, index }, texts(&mut slots.known))
    }

    /// Whose ticket this is, until it is given back.
    pub(super) fn get(&self, ticket: Ticket) -> Weak<Watch> {
        let slots = self.lock(ticket.shard);
        slots.entries[ticket.index].clone().unwrap_or_default()
    }

    /// Each ticket is given back once.
    pub(super) fn remove(&self, ticket: Ticket) {
        let mut slots = self.lock(ticket.shard);
        // Dropping a weak reference frees at most memory: no code of ours runs under the lock.
        if slots.entries[ticket.index].take().is_some() {
            slots.free.push(ticket.index);
        }
    }

    pub(super) fn len(&self) -> usize {
        (0..SHARDS)
            .map(|shard| {
                let slots = self.lock(shard);
                slots.entries.len() - slots.free.len()
            })
            .sum()
    }

    /// All that are still watched. The locks are free again when this returns.
    pub(super) fn open(&self) -> Vec<Arc<Watch>> {
        let mut open = Vec::new();
        for shard in 0..SHARDS {
            let slots = self.lock(shard);
            open.extend(slots.entries.iter().flatten().filter_map(Weak::upgrade));
        }
        open
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Slots> {
        let shard = &self.shards[shard];
        shard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shard of this thread: threads are dealt out in turn.
fn home_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    }
    // A thread that ends has no home any more.
    HOME.try_with(Cell::get).unwrap_or(0)
}
