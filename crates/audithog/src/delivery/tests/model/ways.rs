//! Outages of days.

use super::*;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Every reply is in order and wants its rows once more. They come further apart than requests are made.
#[test]
fn an_outage_that_answers_politely_buries_no_row_of_a_quiet_service() {
    let pace = secs(300);
    let mut world = World::new(vec![Nature::Good; 576], WIDE, usize::MAX, tuning());
    world.pace = Some(pace);
    let end = pace * 576;
    while world.now < end {
        let until = world.work();
        if world.in_flight.is_empty() {
            let next = pace * (world.now.as_secs() / pace.as_secs() + 1) as u32;
            world.now = until.map_or(next, |until| until.min(next));
        } else {
            world.answer(0, Some(8));
        }
    }
    assert!(world.sent <= 1_000, "{} requests", world.sent);
    world.run(&[]);
    world.check_end();
    assert_eq!(world.books.taken.len(), 576);
}
