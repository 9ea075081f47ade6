use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Weak};
use std::task::Wake;

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::books::{LossReason, Refusal, tell};

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

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "nothing happens");
        std::thread::yield_now();
    }
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
        tell(waiter, answer);
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
        tell(waiter, Ok(1));
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
    until(|| waits.overdue());
    tell(waiter, Ok(1));
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
    tell(waiter, Ok(1));
    let shared: Weak<Shared> = Arc::downgrade(&waits.shared);
    drop((waits, _wait));
    until(|| shared.upgrade().is_none());
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
    tell(waiter, Ok(1));

    let waits = Waits::new(NEVER);
    let (wait, waiter) = waits.open();
    assert_eq!(poll(&wait, &broken), Poll::Pending);
    // On the writer's thread.
    tell(waiter, Ok(1));
    assert_eq!(poll(&wait, &waker), ready(Verdict::Kept));
    let wait = Wait::default();
    assert_eq!(poll(&wait, &broken), Poll::Pending);
    wait.room();
    assert_eq!(poll(&wait, &waker), Poll::Ready(Signal::Room));
}

/// Waits whose wake-ups are passed on, without the thread that mends it.
fn passing_on() -> Waits {
    let waits = Waits::new(NEVER);
    waits.shared.lock().relay.turn_on();
    waits
}

/// A runtime of one thread.
fn alone() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Some waits that were polled on this thread, each with its waiter and its bell.
fn polled<const N: usize>(waits: &Waits) -> [(Option<Wait>, Waiter, Receiver<()>); N] {
    std::array::from_fn(|_| {
        let (wait, waiter) = waits.open();
        let (waker, rings) = bell();
        assert_eq!(poll(&wait, &waker), Poll::Pending);
        (Some(wait), waiter, rings)
    })
}

/// How many bells have rung since.
fn rung(bells: &[Receiver<()>]) -> usize {
    bells
        .iter()
        .filter(|rings| rings.try_recv().is_ok())
        .count()
}

#[test]
fn of_tasks_of_one_thread_the_first_is_woken_and_wakes_the_others() {
    let runtime = alone();
    let _entered = runtime.enter();
    for is_dropped in [false, true] {
        let waits = passing_on();
        let [(mut first, answer, rings), others @ ..] = polled::<4>(&waits);
        tell(answer, Ok(1));
        assert!(rings.try_recv().is_ok());
        let (mut held, mut bells) = (Vec::new(), Vec::new());
        for (wait, answer, rings) in others {
            tell(answer, Ok(1));
            held.push(wait);
            bells.push(rings);
        }
        assert_eq!(rung(&bells), 0);
        if is_dropped {
            drop(first.take());
        }
        if let Some(first) = &first {
            let (waker, _rings) = bell();
            assert_eq!(poll(first, &waker), ready(Verdict::Kept));
        }
        assert_eq!(rung(&bells), 3);
        // The next one is woken itself.
        let [(_wait, answer, rings)] = polled::<1>(&waits);
        tell(answer, Ok(1));
        assert!(rings.try_recv().is_ok());
    }
}

#[test]
fn without_a_runtime_and_in_one_of_several_threads_each_task_is_woken() {
    let several = Builder::new_multi_thread().worker_threads(1).build();
    let several = several.unwrap();
    for is_entered in [false, true] {
        let _entered = is_entered.then(|| several.enter());
        let waits = passing_on();
        let [(_first, answer, _), (_second, next, rings)] = polled::<2>(&waits);
        tell(answer, Ok(1));
        tell(next, Ok(1));
        assert!(rings.try_recv().is_ok());
    }
}

#[test]
fn a_task_of_another_thread_is_woken_itself() {
    let runtime = alone();
    let _entered = runtime.enter();
    let waits = passing_on();
    let [(_first, answer, rings)] = polled::<1>(&waits);
    tell(answer, Ok(1));
    assert!(rings.try_recv().is_ok());
    let own = relay::home_alone();
    let (_wait, answer, rings) = std::thread::scope(|scope| {
        // Threads have one of a few homes in turn.
        (0..)
            .find_map(|_| {
                let elsewhere = || {
                    let runtime = alone();
                    let _entered = runtime.enter();
                    let [waiting] = polled::<1>(&waits);
                    (relay::home_alone() != own).then_some(waiting)
                };
                scope.spawn(elsewhere).join().unwrap()
            })
            .unwrap()
    });
    tell(answer, Ok(1));
    assert!(rings.try_recv().is_ok());
}

#[test]
fn what_a_task_that_is_never_polled_owes_is_done_for_it() {
    let runtime = alone();
    let _entered = runtime.enter();
    let waits = Waits::new(NEVER);
    waits.keep_time().unwrap();
    let [(_stuck, answer, rings), (_other, second, others_rings)] = polled::<2>(&waits);
    until(|| waits.shared.lock().looks_at.is_some());
    tell(answer, Ok(1));
    tell(second, Ok(2));
    rings.recv_timeout(PATIENCE).unwrap();
    others_rings.recv_timeout(PATIENCE).unwrap();
    // It leads no more.
    let [(_next, answer, rings)] = polled::<1>(&waits);
    until(|| waits.shared.lock().relay.next_look().is_none());
    tell(answer, Ok(3));
    assert!(rings.try_recv().is_ok());
}

#[test]
fn what_is_left_is_left_for_one_look_at_least() {
    let mut relay = Relay::default();
    let (waker, rings) = bell();
    relay.turn_on();
    assert!(relay.leads(3, waker.clone()).is_some());
    assert!(!relay.must_tick());
    assert_eq!(relay.next_look(), None);
    assert!(relay.leads(3, waker.clone()).is_none());
    assert!(relay.must_tick());
    assert!(!relay.must_tick(), "told once");
    assert!(relay.left().is_empty());
    assert!(relay.next_look().is_some());
    for waker in relay.left() {
        waker.wake();
    }
    assert!(rings.try_recv().is_ok());
    assert!(relay.left().is_empty());
    assert_eq!(relay.next_look(), None);
    assert!(relay.leads(3, waker).is_some());
}

#[test]
fn without_the_thread_of_time_limits_each_task_is_woken() {
    let runtime = alone();
    let _entered = runtime.enter();
    let waits = passing_on();
    let [one, two, three, four] = polled::<4>(&waits);
    let answer = |(wait, answer, rings): (Option<Wait>, Waiter, Receiver<()>)| {
        tell(answer, Ok(1));
        (wait, rings)
    };
    let (_one, two) = (answer(one), answer(two));
    assert!(two.1.try_recv().is_err());
    // It ends, as by a panic.
    drop(Keeping(&waits.shared));
    assert!(two.1.try_recv().is_ok());
    let (_three, four) = (answer(three), answer(four));
    assert!(four.1.try_recv().is_ok());
}

/// A task that lives in its waker.
struct Owner {
    _task: Mutex<Option<Wait>>,
    meet: Arc<Barrier>,
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.meet.wait();
        // The other thread comes to the lock that is held here, if there is one.
        for _ in 0..1_000 {
            std::thread::yield_now();
        }
    }
}

/// Some executors keep a task in its wakers: the last one that goes takes the task with it, and that may wait, too.
#[test]
fn a_waker_that_holds_a_task_that_leads_is_dropped_while_an_answer_comes() {
    let runtime = alone();
    let _entered = runtime.enter();
    let waits = passing_on();
    let [(first, answer, _rings)] = polled::<1>(&waits);
    tell(answer, Ok(1));
    let meet = Arc::new(Barrier::new(2));
    let owner = Arc::new(Owner {
        _task: Mutex::new(first),
        meet: Arc::clone(&meet),
    });
    let (wait, waiter) = waits.open();
    let waker = Waker::from(owner);
    assert_eq!(poll(&wait, &waker), Poll::Pending);
    drop(waker);
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        let (other, _rings) = bell();
        let polled = poll(&wait, &other);
        done.send(polled).unwrap();
    });
    std::thread::spawn(move || {
        meet.wait();
        tell(waiter, Ok(1));
    });
    assert!(is_done.recv_timeout(PATIENCE).is_ok());
}
