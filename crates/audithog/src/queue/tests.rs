//! The hand-off as its two sides see it, without a writer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::*;
use crate::ledger::tests::{NOW, full_row};
use crate::record::Actor;

/// Longer than any wait here lasts.
const LONG: Duration = Duration::from_secs(60);

fn queue(max_rows: usize, max_bytes: usize) -> Queue {
    Queue::new(QueueSettings {
        max_rows,
        max_bytes,
        full: crate::config::QueueFull::default(),
    })
}

/// A row that no request caused.
fn plain(n: u128) -> Row {
    Row::event(Uuid::from_u128(n), NOW, "counted".into())
}

/// A request's row.
fn from(ip: &str) -> Row {
    let mut row = full_row(1);
    if let Some(exchange) = &mut row.exchange {
        exchange.ip = Some(ip.parse().unwrap());
    }
    row
}

/// Clients that do not share the place of `flood`. The key is new in each run, and of a thousand clients one shares it.
fn away_from(queue: &Queue, flood: &str, clients: usize) -> Vec<String> {
    let place = |ip: &str| queue.places.of(&from(ip));
    let all = (1..255).map(|n| format!("203.0.113.{n}"));
    let away: Vec<String> = all
        .filter(|ip| place(ip) != place(flood))
        .take(clients)
        .collect();
    assert_eq!(away.len(), clients);
    away
}

fn push(queue: &Queue, row: Row) {
    queue.push(row, None, || NOW);
}

fn take(queue: &Queue) -> Work {
    let mut work = Work::default();
    queue.take(&mut work, Some(Instant::now()), Duration::ZERO);
    work
}

fn lost(queue: &Queue) -> u64 {
    queue.counts().losses.total()
}

/// What became of rows, in the order of the answers.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<Answer>>>);

type Answer = (u32, Result<i64, LossReason>);

impl Answers {
    fn waiter(&self, n: u32) -> Waiter {
        let answers = Arc::clone(&self.0);
        Box::new(move |answer| {
            let answer = answer.map_err(|refusal| refusal.0);
            answers.lock().unwrap().push((n, answer));
            None
        })
    }

    fn get(&self) -> Vec<Answer> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn the_bound_of_rows_covers_what_the_writer_has_in_its_hand() {
    let queue = queue(10, usize::MAX);
    (0..6).for_each(|n| push(&queue, plain(n)));
    let hand = take(&queue);
    assert_eq!(hand.rows.len(), 6);
    (0..6).for_each(|n| push(&queue, plain(n)));
    assert_eq!((lost(&queue), queue.counts().queued()), (2, 10));
    // Stored rows make room at once.
    queue.settle(6, [], NOW);
    (0..7).for_each(|n| push(&queue, plain(n)));
    assert_eq!((lost(&queue), queue.counts().queued()), (3, 10));
    let counts = queue.counts();
    assert_eq!(counts.accepted, counts.stored + counts.queued() + 3);
}

#[test]
fn the_bound_of_bytes_covers_what_the_writer_has_in_its_hand_until_it_comes_again() {
    let size = plain(0).size();
    let queue = queue(usize::MAX, 4 * size);
    (0..5).for_each(|n| push(&queue, plain(n)));
    assert_eq!((lost(&queue), queue.counts().queued()), (1, 4));
    let mut work = take(&queue);
    push(&queue, plain(5));
    assert_eq!(lost(&queue), 2);
    queue.settle(4, [], NOW);
    work.rows.clear();
    queue.take(&mut work, Some(Instant::now()), Duration::ZERO);
    (0..5).for_each(|n| push(&queue, plain(n)));
    assert_eq!((lost(&queue), queue.counts().queued()), (3, 4));
    // One row that is larger than the whole queue.
    let mut large = plain(9);
    large.properties = Some("x".repeat(5 * size).into());
    queue.settle(4, [], NOW);
    take(&queue);
    take(&queue);
    push(&queue, large);
    assert_eq!(lost(&queue), 4);
}

#[test]
fn losses_of_a_reason_are_one_episode_until_it_is_taken() {
    let queue = queue(1, usize::MAX);
    push(&queue, plain(0));
    for second in [5, 2, 9] {
        let at = NOW.saturating_add(Duration::from_secs(second));
        queue.push(plain(1), None, || at);
    }
    let losses = take(&queue).losses;
    assert_eq!(losses.len(), 1);
    let after = |at: Micros| at.since(NOW).as_secs();
    assert_eq!(
        (losses[0].reason, losses[0].count),
        (LossReason::QueueFull, 3)
    );
    assert_eq!((after(losses[0].first), after(losses[0].last)), (2, 9));
    assert!(take(&queue).losses.is_empty());
    queue.close();
    push(&queue, plain(2));
    assert_eq!(take(&queue).losses[0].reason, LossReason::AfterShutdown);
    assert_eq!(lost(&queue), 4);
}

#[test]
fn each_waiter_is_answered_once_whoever_answers() {
    let queue = queue(2, usize::MAX);
    let answers = Answers::default();
    let log = |n: u32| queue.push(plain(n.into()), Some(answers.waiter(n)), || NOW);
    (0..3).for_each(log);
    let full = (2, Err(LossReason::QueueFull));
    assert_eq!(answers.get(), [full]);
    let hand = take(&queue);
    let found: Vec<_> = hand.waiters.iter().map(|(index, _)| *index).collect();
    assert_eq!(found, [0, 1]);
    for (index, waiter) in hand.waiters {
        waiter(Ok(i64::try_from(index).unwrap() + 1));
    }
    queue.settle(2, [], NOW);
    log(3);
    queue.close();
    log(4);
    queue.end(NOW);
    queue.end(NOW);
    log(5);
    let expected = [
        full,
        (0, Ok(1)),
        (1, Ok(2)),
        (4, Err(LossReason::AfterShutdown)),
        (3, Err(LossReason::LedgerFailed)),
        (5, Err(LossReason::AfterShutdown)),
    ];
    assert_eq!(answers.get(), expected);
    let counts = queue.counts();
    assert_eq!((counts.accepted, counts.stored, counts.queued()), (6, 2, 0));
}

#[test]
fn a_writer_that_ends_unasked_loses_what_it_had_and_what_comes() {
    let queue = queue(10, usize::MAX);
    push(&queue, plain(0));
    let hand = take(&queue);
    push(&queue, plain(1));
    queue.end(NOW);
    drop(hand);
    push(&queue, plain(2));
    let counts = queue.counts();
    assert_eq!(counts.losses.get(LossReason::LedgerFailed), 3);
    assert_eq!((counts.accepted, counts.queued()), (3, 0));
    // A command is dropped, and with it whoever would answer.
    let (answer, answered) = mpsc::channel::<i64>();
    queue.command(Command::Flush {
        last: false,
        answer: Box::new(move |head| answer.send(head).unwrap()),
    });
    assert!(answered.recv().is_err());
}

#[test]
fn a_full_queue_does_not_hold_commands_up() {
    let queue = queue(1, usize::MAX);
    push(&queue, plain(0));
    let hand = take(&queue);
    push(&queue, plain(1));
    let mut commands = Vec::new();
    queue.command(Command::Sync);
    queue.command(flush());
    queue.take_commands(&mut commands, Instant::now() + LONG);
    assert!(matches!(
        commands[..],
        [Command::Sync, Command::Flush { .. }]
    ));
    drop(hand);
    queue.take_commands(&mut commands, Instant::now());
    assert_eq!(commands.len(), 2);
}

#[test]
fn what_is_urgent_is_taken_without_waiting_for_more() {
    let urgent: [fn(&Queue); 3] = [
        |queue| queue.push(plain(1), Some(Box::new(|_| None)), || NOW),
        |queue| queue.command(flush()),
        |queue| (0..5).for_each(|n| push(queue, plain(n))),
    ];
    for act in urgent {
        let queue = queue(10, usize::MAX);
        act(&queue);
        let (mut work, begin) = (Work::default(), Instant::now());
        queue.take(&mut work, None, LONG);
        assert!(begin.elapsed() < LONG);
    }
}

#[test]
fn a_waiter_and_a_command_end_the_wait_for_more() {
    let urgent: [fn(&Queue); 2] = [
        |queue| queue.push(plain(1), Some(Box::new(|_| None)), || NOW),
        |queue| queue.command(flush()),
    ];
    for act in urgent {
        let queue = queue(10, usize::MAX);
        push(&queue, plain(0));
        let (taken, begin) = (AtomicBool::new(false), Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| {
                queue.take(&mut Work::default(), None, LONG);
                taken.store(true, Ordering::SeqCst);
            });
            act(&queue);
        });
        assert!(taken.into_inner() && begin.elapsed() < LONG);
    }
}

/// Delivery wishes an fsync for every hundred rows: the rows must still come in groups.
#[test]
fn a_wish_of_delivery_does_not_end_the_wait_for_more() {
    let queue = queue(10, usize::MAX);
    queue.command(Command::Sync);
    let mut work = Work::default();
    let begin = Instant::now();
    let linger = Duration::from_millis(20);
    queue.take(&mut work, None, linger);
    assert!(begin.elapsed() >= linger);
    assert_eq!(work.commands.len(), 1);
}

fn flush() -> Command {
    Command::Flush {
        last: false,
        answer: Box::new(|_| {}),
    }
}

#[test]
fn pushes_from_many_threads_are_all_taken_or_counted() {
    let queue = Arc::new(queue(1_000, usize::MAX));
    let threads: Vec<_> = (0..4_u128)
        .map(|thread| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || (0..5_000).for_each(|n| push(&queue, plain(thread * 5_000 + n))))
        })
        .collect();
    let mut taken = 0;
    let mut work = Work::default();
    while threads.iter().any(|thread| !thread.is_finished()) || queue.counts().queued() > 0 {
        queue.take(&mut work, Some(Instant::now()), Duration::ZERO);
        queue.settle(work.rows.len() as u64, [], NOW);
        taken += work.rows.drain(..).count() as u64;
        work.losses.clear();
    }
    assert_eq!(taken + lost(&queue), 20_000);
    assert_eq!(queue.counts().stored, taken);
}

// === one client's flood ===

#[test]
fn a_flood_of_one_client_leaves_the_last_quarter_to_others_and_is_named() {
    let queue = queue(1_000, usize::MAX);
    (0..2_000).for_each(|_| push(&queue, from("198.51.100.7")));
    assert_eq!(queue.counts().queued(), 750);
    for client in away_from(&queue, "198.51.100.7", 50) {
        (0..4).for_each(|_| push(&queue, from(&client)));
    }
    assert_eq!(queue.counts().queued(), 950);
    // Jobs and audithog itself are nobody's flood.
    (0..50).for_each(|n| push(&queue, plain(n)));
    assert_eq!(queue.counts().queued(), 1_000);
    let losses = take(&queue).losses;
    assert_eq!(losses[0].count, 1_250);
    let named = serde_json::json!([{"ip": "198.51.100.7", "count": 1_250}]);
    assert_eq!(losses[0].losers.describe(), Some((named, 0)));
}

#[test]
fn a_flood_is_known_while_the_writer_has_it_in_its_hand() {
    let queue = queue(1_000, usize::MAX);
    (0..700).for_each(|_| push(&queue, from("198.51.100.7")));
    let hand = take(&queue);
    (0..100).for_each(|_| push(&queue, from("198.51.100.7")));
    assert_eq!(queue.counts().queued(), 750);
    // Written: there is room again, for everyone.
    queue.settle(700, [], NOW);
    drop(hand);
    (0..100).for_each(|_| push(&queue, from("198.51.100.7")));
    assert_eq!(queue.counts().queued(), 150);
    take(&queue);
    take(&queue);
    queue.settle(150, [], NOW);
    (0..750).for_each(|n| push(&queue, from(&format!("203.0.113.{}", n % 250))));
    let before = lost(&queue);
    push(&queue, from("198.51.100.7"));
    assert_eq!(lost(&queue), before, "what was is forgotten");
}

#[test]
fn large_rows_of_one_client_leave_bytes_to_others() {
    let large = || {
        let mut row = from("198.51.100.7");
        row.properties = Some("x".repeat(10_000).into());
        row
    };
    let queue = queue(1_000, 40 * large().size());
    (0..100).for_each(|_| push(&queue, large()));
    assert_eq!(queue.counts().queued(), 30);
    let other = away_from(&queue, "198.51.100.7", 1).remove(0);
    (0..40).for_each(|_| push(&queue, from(&other)));
    assert_eq!(queue.counts().queued(), 70);
}

#[test]
fn whose_row_it_is() {
    let places = Places::new();
    let event = |ip: Option<&str>, user: Option<&str>| {
        let mut row = plain(1);
        row.on_request_of = ip.map(|ip| Box::new(ip.parse().unwrap()));
        row.actor = user.map(Actor::user).unwrap_or_default();
        places.of(&row)
    };
    let same = [
        (
            places.of(&from("192.0.2.1")),
            event(Some("192.0.2.1"), None),
        ),
        (
            event(Some("192.0.2.1"), Some("u1")),
            event(Some("192.0.2.1"), None),
        ),
        (
            event(Some("::ffff:192.0.2.1"), None),
            event(Some("192.0.2.1"), None),
        ),
        (
            event(Some("2001:db8::1"), None),
            event(Some("2001:db8::ffff:0:0:2"), None),
        ),
        (event(None, Some("u1")), event(None, Some("u1"))),
    ];
    for (one, other) in same {
        assert!(one.is_some() && one == other);
    }
    assert_eq!(event(None, None), None);
    // Of 10,000 neighbours none is far from its share of places, whatever the key.
    let mut counts = [0_u32; 1_024];
    for n in 0..10_000_u32 {
        let ip = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let place = event(Some(&ip.to_string()), None);
        let at = (0..1_024).find(|at| place == Some(Place::at(*at)));
        counts[usize::from(at.unwrap())] += 1;
    }
    assert!(counts.iter().max() < Some(&60), "{:?}", counts.iter().max());
}

#[test]
fn many_losers_are_bounded_and_the_largest_is_among_them() {
    let mut losers = crate::books::Losers::default();
    for n in 0..20_000_u32 {
        losers.add(Some(IpAddr::from(n.to_be_bytes())), 1);
        losers.add(Some([198, 51, 100, 7].into()), 1);
        losers.add(None, 1);
    }
    let mut twice = losers.clone();
    twice.merge(&losers);
    for (losers, sum) in [(losers, 60_000), (twice, 120_000)] {
        let (named, others) = losers.describe().unwrap();
        let named = named.as_array().unwrap();
        assert_eq!(named.len(), 8);
        assert_eq!(named[0]["ip"], "198.51.100.7");
        assert_eq!(named[0]["count"].as_u64(), Some(sum / 3));
        let counts: u64 = named.iter().map(|one| one["count"].as_u64().unwrap()).sum();
        assert_eq!(counts + others, sum);
    }
}
