//! Ways that open rarely, or fail often: nothing is lost, and little is left to the next opening.

use super::*;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// When a request gets through.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// One in so many seconds.
    Gate(u64),
    /// All but so many of a hundred.
    Flaky(u64),
}

/// A row comes in each `pace`, and a request that does not get through has no reply. Returns how many rows a sender would have
/// brought through that sends all that waits, or a request's worth, whenever one gets through.
fn pass(world: &mut World, way: Way, pace: Duration, end: Duration, seed: u64) -> usize {
    world.pace = Some(pace);
    let mut ideal = 0;
    let mut opens = world.now;
    let mut chance = seed;
    while world.now < end {
        let until = world.work();
        if world.in_flight.is_empty() {
            let next = pace * (world.now.as_secs() / pace.as_secs() + 1) as u32;
            world.now = until.map_or(next, |until| until.min(next));
            continue;
        }
        let open = match way {
            Way::Gate(every) => {
                let open = world.now >= opens;
                if open {
                    opens = world.now + secs(every);
                }
                open
            }
            Way::Flaky(fails) => {
                // Knuth's, of which the upper bits are good.
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (chance >> 33) % 100 >= fails
            }
        };
        if open {
            ideal = (world.head() as usize).min(ideal + WIDE.rows);
        }
        world.answer(0, (!open).then_some(0));
    }
    ideal
}

#[test]
fn a_way_that_opens_rarely_or_fails_often_takes_most_of_what_it_could() {
    // The least share of the ideal, in percent, of a row each five seconds and each minute.
    let table = [
        (Way::Gate(300), [95, 95]),
        (Way::Gate(1_800), [95, 95]),
        (Way::Gate(3_600), [90, 90]),
        (Way::Flaky(70), [95, 95]),
        (Way::Flaky(90), [75, 90]),
        (Way::Flaky(95), [60, 75]),
    ];
    let mut tuning = tuning();
    tuning.retry.straggler_attempts = 4;
    let end = secs(2 * 24 * 3600);
    for (way, least) in table {
        for (pace, least) in [secs(5), secs(60)].into_iter().zip(least) {
            let rows = (end.as_secs() / pace.as_secs()) as usize;
            let (mut taken, mut could) = (0, 0);
            // Nothing of a gate is chance.
            let runs = if matches!(way, Way::Gate(_)) { 1 } else { 5 };
            for seed in 1..=runs {
                let mut world = World::new(vec![Nature::Good; rows], WIDE, usize::MAX, tuning);
                could += pass(&mut world, way, pace, end, seed);
                taken += world.books.taken.len();
                assert_eq!(world.books.dead, BTreeSet::new(), "{way:?}, {pace:?}");
            }
            assert!(
                taken * 100 >= could * least,
                "{way:?}, a row each {pace:?}: {taken} of {could}"
            );
        }
    }
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
