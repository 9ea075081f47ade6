//! The requests in progress, so that a shutdown can end those that are still open; and the memory of some that are not, for
//! those that come next.

use std::hint::cold_path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::home::{HOMES, home};
use super::known::Known;
use super::watch::Watch;

/// Watches that are kept of each shard: as many requests as a thread has open at a time, most often.
const IDLE: usize = 64;

/// Every [`Watch`] whose row has not been accepted.
#[derive(Default)]
pub(super) struct Registry {
    shards: [Shard; HOMES],
}

/// A place in the registry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ticket {
    shard: usize,
    index: usize,
}

/// Aligned so that no two shards share a cache line, nor a pair that is fetched together.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    entries: Vec<Option<Arc<Watch>>>,
    free: Vec<usize>,
    /// Of requests that have ended: the next one takes the memory of the youngest, unless somebody still holds it. What is
    /// in it goes when it is taken.
    idle: Vec<Arc<Watch>>,
    /// Nothing is kept any more.
    retired: bool,
    known: Known,
}

impl Registry {
    /// Registers a watch after `begin` told it of its request, and of its place. The known texts are kept under the same
    /// lock.
    pub(super) fn insert(
        &self,
        idle: impl Fn() -> Watch,
        begin: impl FnOnce(&mut Watch, Ticket, &mut Known),
    ) -> Arc<Watch> {
        let shard = home();
        let slots = &mut *self.lock(shard);
        let free = slots.free.last().copied();
        let index = free.unwrap_or(slots.entries.len());
        let ticket = Ticket { shard, index };
        let mut watch = slots.idle.pop().unwrap_or_else(|| Arc::new(idle()));
        match Arc::get_mut(&mut watch) {
            Some(watch) => begin(watch, ticket, &mut slots.known),
            // Somebody still holds it.
            None => {
                cold_path();
                let mut other = idle();
                begin(&mut other, ticket, &mut slots.known);
                watch = Arc::new(other);
            }
        }
        let entry = Some(Arc::clone(&watch));
        if slots.free.pop().is_some() {
            slots.entries[index] = entry;
        } else {
            slots.entries.push(entry);
        }
        watch
    }

    /// Whose ticket this is, until it is given back.
    pub(super) fn get(&self, ticket: Ticket) -> Option<Arc<Watch>> {
        self.lock(ticket.shard).entries[ticket.index].clone()
    }

    /// Each ticket is given back once, by somebody who holds the watch. `reuse` says whether its memory is worth keeping.
    pub(super) fn remove(&self, ticket: Ticket, reuse: bool) {
        let mut slots = self.lock(ticket.shard);
        let Some(watch) = slots.entries[ticket.index].take() else {
            return;
        };
        slots.free.push(ticket.index);
        if reuse && !slots.retired && slots.idle.len() < IDLE {
            slots.idle.push(watch);
        }
    }

    /// Keeps no watch of a request that has ended, from now on: each holds what holds the registry.
    pub(super) fn retire(&self) {
        for shard in 0..HOMES {
            let mut slots = self.lock(shard);
            slots.retired = true;
            let idle = std::mem::take(&mut slots.idle);
            drop(slots);
            drop(idle);
        }
    }

    pub(super) fn len(&self) -> usize {
        (0..HOMES)
            .map(|shard| {
                let slots = self.lock(shard);
                slots.entries.len() - slots.free.len()
            })
            .sum()
    }

    /// All that are still watched. The locks are free again when this returns.
    pub(super) fn open(&self) -> Vec<Arc<Watch>> {
        let mut open = Vec::new();
        for shard in 0..HOMES {
            let slots = self.lock(shard);
            open.extend(slots.entries.iter().flatten().cloned());
        }
        open
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Slots> {
        let shard = &self.shards[shard];
        shard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
