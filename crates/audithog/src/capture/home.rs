//! Which of a few places a thread uses, so that threads seldom meet.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Enough that threads of a large machine seldom meet; a power of two.
pub(super) const HOMES: usize = 32;

/// The home of this thread, below [`HOMES`]: threads are dealt out in turn.
pub(super) fn home() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % HOMES);
    }
    // A thread that ends has no home any more.
    HOME.try_with(Cell::get).unwrap_or(0)
}
