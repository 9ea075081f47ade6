use std::sync::Weak;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Wake;

use super::*;
use crate::books::{LossReason, Refusal};

/// Long enough for any machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(30);
const NEVER: Duration = Duration::from_secs(3_600);

/// Sends a message for each wake-up.
struct Bell(Mutex<Sender<()>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Nobody may listen any more.
        let _ = self.0.lock().unwrap().send(());
    }
}

fn bell() -> (Waker, Receiver<()>) {
    let (ring, rings) = channel();
    (Arc::new(Bell(Mutex::new(ring))).into(), rings)
}

fn poll(wait: &Wait, waker: &Waker) -> Poll<Signal> {
    wait.poll(&mut Context::from_waker(waker))
}

fn ready(verdict: Verdict) -> Poll<Signal> {
    Poll::Ready(Signal::Verdict(verdict))
}

#[test]
fn an_answer_wakes_once_and_says_what_became_of_the_row() {
    for (answer, wanted) in [
        (Ok(7), Verdict::Kept),
        (Err(Refusal(LossReason::QueueFull)), Verdict::Lost),
    ] {
        let waits = Waits::new(NEVER);
        let (waker, rings) = bell();
        let (wait, waiter) = waits.open();
        assert_eq!(poll(&wait, &waker), Poll::Pending);
        assert!(rings.try_recv().is_err());
        waiter(answer);
        assert!(rings.try_recv().is_ok());
        assert_eq!(poll(&wait, &waker), ready(wanted));
        assert!(rings.try_recv().is_err(), "woken twice");
        assert!(waits.shared.lock().slots.is_empty());
    }
}

#[test]
fn an_answer_that_never_comes_is_a_loss() {
    let waits = Waits::new(NEVER);
    let (waker, rings) = bell();
    let (wait, waiter) = waits.open();
    assert_eq!(poll(&wait, &waker), Poll::Pending);
    drop(waiter);
    assert!(rings.try_recv().is_ok());
    assert_eq!(poll(&wait, &waker), ready(Verdict::Lost));
}

#[test]
fn at_its_limit_a_wait_is_late_and_the_row_overdue_until_it_is_answered_for() {
    let waits = Waits::new(Duration::from_millis(20));
    waits.keep_time().unwrap();
    let (waker, rings) = bell();
    let open: Vec<_> = (0..3).map(|_| waits.open()).collect();
    for (wait, _) in &open {
        assert_eq!(poll(wait, &waker), Poll::Pending);
    }
    for _ in &open {
        rings.recv_timeout(PATIENCE).unwrap();
    }
    assert!(waits.overdue());
    for (wait, waiter) in open {
        assert_eq!(poll(&wait, &waker), ready(Verdict::Late));
        assert!(waits.overdue());
        waiter(Ok(1));
        // The first word stands.
        assert_eq!(poll(&wait, &waker), ready(Verdict::Late));
    }
    assert!(!waits.overdue());
}

#[test]
fn a_row_is_overdue_although_its_response_has_gone() {
    let waits = Waits::new(Duration::from_millis(1));
    waits.keep_time().unwrap();
    let (wait, waiter) = waits.open();
    drop(wait);
    let deadline = Instant::now() + PATIENCE;
    while !waits.overdue() {
        assert!(Instant::now() < deadline, "nobody looks");
        std::thread::yield_now();
    }
    waiter(Ok(1));
    assert!(!waits.overdue());
}

#[test]
fn room_is_told_once_and_never_forgotten() {
    let waits = Waits::new(NEVER);
    let (waker, rings) = bell();
    let (wait, _waiter) = waits.open();
    // Before anybody looks.
    wait.room();
    assert_eq!(poll(&wait, &waker), Poll::Ready(Signal::Room));
    assert_eq!(poll(&wait, &waker), Poll::Pending);
    wait.room();
    assert!(rings.try_recv().is_ok());
    assert_eq!(poll(&wait, &waker), Poll::Ready(Signal::Room));
    assert_eq!(poll(&wait, &waker), Poll::Pending);
}

#[test]
fn the_thread_of_time_limits_ends_with_its_waits() {
    let waits = Waits::new(NEVER);
    waits.keep_time().unwrap();
    let (_wait, waiter) = waits.open();
    waiter(Ok(1));
    let shared: Weak<Shared> = Arc::downgrade(&waits.shared);
    drop((waits, _wait));
    let deadline = Instant::now() + PATIENCE;
    while shared.upgrade().is_some() {
        assert!(Instant::now() < deadline, "the thread goes on");
        std::thread::yield_now();
    }
}

/// An executor in trouble.
struct Broken;

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        panic!("planned: a waker");
    }
}

#[test]
fn a_waker_that_panics_ends_neither_the_writer_nor_the_thread_of_time_limits() {
    let waits = Waits::new(Duration::from_millis(20));
    waits.keep_time().unwrap();
    let broken = Arc::new(Broken).into();
    let (wait, waiter) = waits.open();
    assert_eq!(poll(&wait, &broken), Poll::Pending);
    let (waker, rings) = bell();
    let (other, _other) = waits.open();
    assert_eq!(poll(&other, &waker), Poll::Pending);
    // The first one's limit passes before.
    rings.recv_timeout(PATIENCE).unwrap();
    assert_eq!(poll(&other, &waker), ready(Verdict::Late));
    assert_eq!(poll(&wait, &waker), ready(Verdict::Late));
    waiter(Ok(1));

    let waits = Waits::new(NEVER);
    let (wait, waiter) = waits.open();
    assert_eq!(poll(&wait, &broken), Poll::Pending);
    // On the writer's thread.
    waiter(Ok(1));
    assert_eq!(poll(&wait, &waker), ready(Verdict::Kept));
    let wait = Wait::default();
    assert_eq!(poll(&wait, &broken), Poll::Pending);
    wait.room();
    assert_eq!(poll(&wait, &waker), Poll::Ready(Signal::Room));
}
