//! Rounds: each visits everything once, beginning elsewhere each time, and what was disturbed is repeated.

use anyhow::{Context as _, Result};

use crate::read::procfs::Disturbance;
use crate::results::{Closed, Open, Results};
use crate::run::closed::{Contender, Turn};
use crate::run::instructions;
use crate::run::open::{self, Backlog};
use crate::run::parts;
use crate::stats;
use crate::suite::{Group, Situation, Suite, Variant};

/// How often one measurement is repeated.
const REPEATS: u32 = 2;

/// Repeats are for a machine that is disturbed now and then. One that always is would only take three times as long.
#[derive(Debug)]
struct Allowance {
    left: usize,
}

impl Allowance {
    fn for_measurements(n: usize) -> Self {
        Self {
            left: n.div_ceil(5),
        }
    }

    /// Measures until it is undisturbed, or may not be repeated. Gives the last one, and how often it was repeated.
    fn measure<T>(
        &mut self,
        mut once: impl FnMut() -> Result<T>,
        disturbance: impl Fn(&T) -> Disturbance,
    ) -> Result<(T, u32)> {
        let mut repeats = 0;
        let mut measured = once()?;
        while disturbance(&measured).is_too_much() && repeats < REPEATS && self.left > 0 {
            self.left -= 1;
            repeats += 1;
            measured = once()?;
        }
        Ok((measured, repeats))
    }
}

/// The order of a round.
fn rotated<T>(all: &[T], round: usize) -> impl Iterator<Item = &T> {
    let start = round % all.len().max(1);
    all[start..].iter().chain(&all[..start])
}

pub(crate) fn run(suite: &Suite, results: &mut Results) -> Result<()> {
    if suite.runs(Group::Closed) {
        closed_loop(suite, results)?;
    }
    if suite.runs(Group::Open) {
        open_loop(suite, results)?;
    }
    if suite.runs(Group::Parts) {
        println!("parts");
        results.parts.extend(parts::run(suite)?);
        results.criterion = parts::criterion(suite)?;
    }
    if suite.runs(Group::Instructions) {
        println!("instructions");
        results.parts.extend(instructions::run(suite)?);
    }
    if suite.runs(Group::Build) {
        println!("a clean release build");
        results.parts.push(parts::build(suite)?);
    }
    Ok(())
}

/// Stacks that are measured beside what they are compared with.
///
/// A visit to all of them takes minutes, and a machine may be twice as fast a minute later. So every few stacks have
/// bare, the JSON line and our own stack of the goals measured again among them. A quick run has
/// one group: it shall be quick.
fn groups(suite: &Suite) -> Vec<Vec<Variant>> {
    let others_in_group = if suite.arguments.quick { usize::MAX } else { 7 };
    let (beside, others): (Vec<Variant>, Vec<Variant>) = suite
        .variants()
        .into_iter()
        .partition(Variant::is_compared_with);
    if others.is_empty() {
        return vec![beside];
    }
    let groups = others.chunks(others_in_group);
    groups.map(|some| [&beside, some].concat()).collect()
}

fn closed_loop(suite: &Suite, results: &mut Results) -> Result<()> {
    let groups = groups(suite);
    let rounds = suite.extent.rounds;
    let stacks = groups.iter().map(Vec::len).sum::<usize>();
    let mut allowance = Allowance::for_measurements(stacks * rounds * suite.extent.turns);
    for pass in 0..rounds {
        for (number, group) in groups.iter().enumerate() {
            let round = pass * groups.len() + number;
            println!(
                "closed loop, round {} of {rounds}, group {} of {}",
                pass + 1,
                number + 1,
                groups.len()
            );
            let visited = visit(suite, group, round, &mut allowance)
                .with_context(|| format!("round {}", pass + 1))?;
            for closed in visited {
                println!("{}", closed_progress(&closed));
                results.closed.push(closed);
            }
        }
    }
    Ok(())
}

/// Stacks that live at the same time and are asked in turns. Of those with several processes each turn is another's.
fn visit(
    suite: &Suite,
    group: &[Variant],
    round: usize,
    allowance: &mut Allowance,
) -> Result<Vec<Closed>> {
    let mut stacks: Vec<Vec<Contender>> = Vec::new();
    for variant in rotated(group, round) {
        let place = stacks.iter().map(Vec::len).sum::<usize>();
        let processes = (place..place + suite.processes(variant))
            .map(|place| Contender::start(suite, variant, place));
        let processes = processes
            .collect::<Result<_>>()
            .with_context(|| variant.label())?;
        stacks.push(processes);
    }
    let places: Vec<usize> = (0..stacks.len()).collect();
    for number in 0..suite.extent.turns {
        for place in to_and_fro(&places, number) {
            let processes = &mut stacks[place];
            let own = number % processes.len();
            let contender = &mut processes[own];
            let label = contender.label();
            let (turn, repeats) = allowance
                .measure(|| contender.turn(suite), |turn: &Turn| turn.disturbance)
                .with_context(|| label)?;
            contender.keep(turn, repeats);
        }
    }
    let ended = stacks.into_iter().flatten().map(|contender| {
        let label = contender.label();
        contender.end(round).with_context(|| label)
    });
    ended.collect()
}

/// The order of a turn: each begins elsewhere, and every second one goes backwards, so that no stack always has the same
/// one before it.
fn to_and_fro(places: &[usize], turn: usize) -> Vec<usize> {
    let mut order: Vec<usize> = rotated(places, turn).copied().collect();
    if turn % 2 == 1 {
        order.reverse();
    }
    order
}

fn closed_progress(closed: &Closed) -> String {
    let mark = if closed.is_marked() {
        "  disturbed"
    } else {
        ""
    };
    format!(
        "  {:<38} {:>8.0}/s  {:>7.2} µs  {:>5.1} MB{mark}",
        closed.variant.label(),
        closed.rate,
        closed.cpu_us(),
        megabytes(closed.peak_kb),
    )
}

fn open_loop(suite: &Suite, results: &mut Results) -> Result<()> {
    let cases = suite.open_cases();
    let rounds = suite.extent.rounds;
    let saturation = saturation(suite, results)?;
    results.saturation = Some(saturation);
    let needs_backlog = cases
        .iter()
        .find(|case| case.situation == Situation::Backlog);
    let backlog = match needs_backlog {
        Some(case) => {
            println!("preparing a backlog");
            Some(Backlog::prepare(suite, &case.variant)?)
        }
        None => None,
    };
    let mut allowance = Allowance::for_measurements(cases.len() * rounds);
    for round in 0..rounds {
        println!("open loop, round {} of {rounds}", round + 1);
        for case in rotated(&cases, round) {
            let rate = part_of(saturation, case.percent);
            let name = crate::report::name_of(case);
            let (mut open, repeats) = allowance
                .measure(
                    || open::measure(suite, case, rate, backlog.as_ref(), round),
                    |open| open.disturbance,
                )
                .with_context(|| format!("{name}, round {}", round + 1))?;
            open.repeats = repeats;
            println!("  {name:<62} {}", progress(&open));
            results.open.push(open);
        }
    }
    Ok(())
}

/// One measurement for who watches.
fn progress(open: &Open) -> String {
    let latency = &open.latency;
    let figures = if open.is_overloaded() {
        format!(
            "overloaded: {} of {} requests behind, {} errors",
            latency.behind, latency.sent, latency.errors
        )
    } else {
        format!(
            "p50 {:>6.1}  p99 {:>7.1}  clean p99 {:>7.1} µs",
            latency.p50_us,
            latency.p99_us,
            latency.clean.p99()
        )
    };
    let mark = if open.disturbance.is_too_much() {
        "  disturbed"
    } else {
        ""
    };
    figures + mark
}

/// What bare can do, from this run's closed loop, or measured now.
fn saturation(suite: &Suite, results: &Results) -> Result<f64> {
    let bare = Variant::new("bare", false);
    let rates = results.rounds_of(&bare, |closed| closed.rate);
    match stats::spread(&rates) {
        Some(spread) => Ok(spread.median),
        None => {
            println!("measuring the saturation of bare");
            let mut allowance = Allowance::for_measurements(suite.extent.turns);
            let alone = Results {
                closed: visit(suite, std::slice::from_ref(&bare), 0, &mut allowance)?,
                ..Results::default()
            };
            let rates = alone.rounds_of(&bare, |closed| closed.rate);
            let spread = stats::spread(&rates).context("bare was not measured")?;
            Ok(spread.median)
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive and far below 2^53; the fraction of a request does not matter"
)]
fn part_of(rate: f64, percent: u32) -> u64 {
    (rate * f64::from(percent) / 100.0) as u64
}

pub(crate) fn megabytes(kilobytes: u64) -> f64 {
    crate::read::wrk::count_as_f64(kilobytes) / 1000.0 * 1.024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_round_visits_all_and_begins_elsewhere() {
        let all = [1, 2, 3];
        let order = |round| rotated(&all, round).copied().collect::<Vec<_>>();
        assert_eq!(order(0), [1, 2, 3]);
        assert_eq!(order(1), [2, 3, 1]);
        assert_eq!(order(5), [3, 1, 2]);
        assert_eq!(rotated::<u8>(&[], 3).count(), 0);
    }

    #[test]
    fn in_the_next_turn_another_stack_comes_before_each() {
        let order = |turn| to_and_fro(&[0, 1, 2, 3], turn);
        assert_eq!(order(0), [0, 1, 2, 3]);
        assert_eq!(order(1), [0, 3, 2, 1]);
        assert_eq!(order(2), [2, 3, 0, 1]);
        assert_eq!(order(5), [0, 3, 2, 1]);
    }

    #[test]
    fn every_process_of_a_stack_has_as_many_turns() {
        for line in ["", "--quick"] {
            let suite = Suite::new(Arguments::parse(&words(line)).unwrap()).unwrap();
            for variant in suite.variants() {
                let processes = suite.processes(&variant);
                assert!(processes > 1 || variant.is_node(), "{variant:?}");
                assert_eq!(suite.extent.turns % processes, 0, "{variant:?}");
            }
        }
    }

    #[test]
    fn every_stack_has_what_it_is_compared_with_in_its_group() {
        let suite = |line: &str| Suite::new(Arguments::parse(&words(line)).unwrap()).unwrap();
        let all = suite("").variants();
        let groups = groups(&suite(""));
        assert!(groups.len() > 2);
        assert_eq!(super::groups(&suite("--quick")).len(), 1);
        for group in &groups {
            for stack in ["bare", "json-line", "audithog-best-effort + delivery"] {
                assert!(group.iter().any(|v| v.label() == stack), "{group:?}");
            }
            for variant in group {
                assert!(group.contains(&variant.base()), "{variant:?}");
            }
        }
        assert!(all.iter().all(|v| groups.iter().any(|g| g.contains(v))));
        assert_eq!(super::groups(&suite("--stacks json-line")).len(), 1);
    }

    fn others(share: f64) -> Disturbance {
        Disturbance {
            others: share,
            steal: 0.0,
        }
    }

    #[test]
    fn a_disturbed_measurement_is_repeated_twice_at_most() {
        let mut allowance = Allowance { left: 10 };
        let mut loads = [0.5, 0.0, 0.9].into_iter();
        let once = || Ok(others(loads.next().unwrap()));
        assert_eq!(allowance.measure(once, |d| *d).unwrap(), (others(0.0), 1));
        let mut n = 0;
        let once = || {
            n += 1;
            Ok(others(0.5))
        };
        assert_eq!(allowance.measure(once, |d| *d).unwrap().1, 2);
        assert_eq!((n, allowance.left), (3, 7));
    }

    #[test]
    fn a_machine_that_is_always_disturbed_is_not_measured_thrice() {
        let mut allowance = Allowance::for_measurements(10);
        let mut n = 0;
        for _ in 0..10 {
            let once = || {
                n += 1;
                Ok(others(0.5))
            };
            allowance.measure(once, |d| *d).unwrap();
        }
        assert_eq!(n, 12);
    }

    #[test]
    fn a_part_of_a_rate_is_a_whole_number() {
        assert_eq!(part_of(123_456.7, 50), 61_728);
        assert_eq!(part_of(0.0, 25), 0);
    }
}
