//! The processor's time, which other programs on the machine disturb less than the clock on the wall.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What a piece of work has taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Of this thread.
    pub thread: Duration,
    /// Of all threads of the process.
    pub process: Duration,
    pub wall: Duration,
}

/// Runs `work`, and adds what it took, if that is wanted: valgrind cannot run these clocks.
pub fn measure<T>(taken: Option<&mut Taken>, work: impl FnOnce() -> T) -> T {
    let Some(taken) = taken else {
        return work();
    };
    let (wall, thread) = (Instant::now(), of_thread());
    let process = of_process();
    let done = work();
    taken.process += of_process().saturating_sub(process);
    taken.thread += of_thread().saturating_sub(thread);
    taken.wall += wall.elapsed();
    done
}

/// What this thread has taken so far.
#[must_use]
pub fn of_thread() -> Duration {
    of(ClockId::ThreadCPUTime)
}

/// What all threads have taken so far.
#[must_use]
pub fn of_process() -> Duration {
    of(ClockId::ProcessCPUTime)
}

fn of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}
