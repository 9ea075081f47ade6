//! Wake-ups that are passed on.
//!
//! To be woken by a thread that is not its own costs a runtime of one thread a system call, and a commit answers many responses at once.
//! So of the tasks that such a thread polled last only the first is woken. Once that is polled it wakes the others, from within
//! their runtime, where it costs next to nothing.
//!
//! A runtime of several threads is woken for every task: it makes system calls only while threads sleep, and a task that one of
//! its threads wakes may lie behind what that thread does next, where no other takes it.
//!
//! No task depends on another's progress for that: one that is dropped passes the wake-up on, too, and what one that is neither polled
//! nor dropped has left for two [`TICK`]s the thread of time limits wakes.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Shared;
use crate::books::wake;
use crate::capture::home::{HOMES, home};

/// How often the thread of time limits looks, while wake-ups are passed on.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// The tasks whose rows are answered for and that were not woken yet.
#[derive(Debug, Default)]
pub(super) struct Relay {
    homes: [Home; HOMES],
    /// The thread of time limits is there.
    on: bool,
    /// It looks every [`TICK`].
    ticks: bool,
    /// Somebody was left to be woken since it looked last.
    passed: bool,
}

/// Of one thread.
#[derive(Debug, Default)]
struct Home {
    /// One was woken that has not passed it on yet.
    led: bool,
    others: Vec<Waker>,
    /// The thread of time limits has seen them before.
    seen: bool,
}

/// The home of this thread, if it is the only one of its runtime.
pub(super) fn home_alone() -> Option<usize> {
    let runtime = Handle::try_current().ok()?;
    (runtime.runtime_flavor() == RuntimeFlavor::CurrentThread).then(home)
}

/// What a task that was woken owes to the others of its home.
#[derive(Debug)]
pub(super) struct Lead {
    shared: Arc<Shared>,
    home: usize,
}

impl Relay {
    /// From now on wake-ups are passed on.
    pub(super) fn turn_on(&mut self) {
        self.on = true;
    }

    /// Every task is woken again. Those that were not yet.
    pub(super) fn turn_off(&mut self) -> Vec<Waker> {
        self.on = false;
        self.homes.iter_mut().flat_map(Home::take).collect()
    }

    /// Whether the task has to be woken now, and then leads; else it was left to the one that leads.
    pub(super) fn leads(&mut self, home: usize, waker: Waker) -> Option<Waker> {
        if !self.on {
            return Some(waker);
        }
        let home = &mut self.homes[home];
        if !std::mem::replace(&mut home.led, true) {
            return Some(waker);
        }
        home.others.push(waker);
        self.passed = true;
        None
    }

    /// True if the thread of time limits has to be told that it should look every [`TICK`].
    pub(super) fn must_tick(&mut self) -> bool {
        self.passed && !std::mem::replace(&mut self.ticks, true)
    }

    /// A look of the thread of time limits. Whom it has to wake, because whoever leads does not.
    pub(super) fn left(&mut self) -> Vec<Waker> {
        self.ticks = std::mem::take(&mut self.passed);
        let mut left = Vec::new();
        for home in &mut self.homes {
            if home.others.is_empty() {
                continue;
            }
            self.ticks = true;
            if std::mem::replace(&mut home.seen, true) {
                left.append(&mut home.take());
            }
        }
        left
    }

    /// When it looks next.
    pub(super) fn next_look(&self) -> Option<Duration> {
        self.ticks.then_some(TICK)
    }
}

impl Home {
    /// The next one that is answered is woken.
    fn take(&mut self) -> Vec<Waker> {
        (self.led, self.seen) = (false, false);
        std::mem::take(&mut self.others)
    }
}

impl Lead {
    pub(super) fn new(shared: &Arc<Shared>, home: usize) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, home }
    }

    /// Wakes the others.
    pub(super) fn pass_on(self) {
        let others = self.shared.lock().relay.homes[self.home].take();
        wake(others);
    }
}
