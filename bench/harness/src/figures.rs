//! What the results mean: differences and ratios of measurements of one round, then their median. Pure.

use crate::read::programs::{Latency, Part};
use crate::read::wrk::count_as_f64;
use crate::results::{Closed, Results, by_round};
use crate::stats::{Round, Spread, paired, spread};
use crate::suite::{HALF, Layout, OpenCase, Situation, Variant};

type Rounds = Vec<(Round, f64)>;

impl Results {
    /// Microseconds of CPU that a request costs more than in the same framework without an audit.
    pub(crate) fn cpu_added(&self, variant: &Variant) -> Rounds {
        let own = self.rounds_of(variant, Closed::cpu_us);
        let base = self.rounds_of(&variant.base(), Closed::cpu_us);
        paired(&own, &base, |own, base| own - base)
    }

    /// What one stack adds against what another adds.
    pub(crate) fn cpu_added_ratio(&self, ours: &Variant, theirs: &Variant) -> Option<Spread> {
        // A peer that adds nothing is an error of measurement, and no denominator.
        let theirs: Rounds = self.cpu_added(theirs);
        let theirs: Rounds = theirs
            .into_iter()
            .filter(|(_, added)| *added > 0.0)
            .collect();
        spread(&paired(&self.cpu_added(ours), &theirs, |a, b| a / b))
    }

    /// The share of the unaudited rate that is left.
    pub(crate) fn rate_kept(&self, variant: &Variant) -> Option<Spread> {
        self.rate_ratio(variant, &variant.base())
    }

    pub(crate) fn rate_ratio(&self, ours: &Variant, theirs: &Variant) -> Option<Spread> {
        let rate = |variant| self.rounds_of(variant, |closed| closed.rate);
        spread(&paired(&rate(ours), &rate(theirs), |a, b| a / b))
    }

    /// Megabytes more than the same framework without an audit.
    pub(crate) fn memory_added(
        &self,
        variant: &Variant,
        kilobytes: impl Fn(&Closed) -> u64,
    ) -> Option<Spread> {
        let own = self.rounds_of(variant, |c| crate::rounds::megabytes(kilobytes(c)));
        let base = self.rounds_of(&variant.base(), |c| crate::rounds::megabytes(kilobytes(c)));
        spread(&paired(&own, &base, |own, base| own - base))
    }

    /// The share of rows that arrived, of each round the process with the smallest. All is 1, also where audithog's own
    /// rows come on top.
    pub(crate) fn delivered(&self, variant: &Variant) -> Rounds {
        let shares = self.processes_of(variant).filter_map(|closed| {
            let (made, arrived) = closed.delivery()?;
            let share = count_as_f64(arrived) / count_as_f64(made.max(1));
            Some((closed.round, share.min(1.0)))
        });
        by_round(shares)
            .map(|(round, shares)| (round, shares.into_iter().fold(1.0, f64::min)))
            .collect()
    }

    /// The largest share of its rows that a process of the stack lost, by its own count or by what arrived.
    pub(crate) fn lost(&self, variant: &Variant) -> f64 {
        let not_arrived = self
            .delivered(variant)
            .into_iter()
            .map(|(_, share)| 1.0 - share);
        let counted = self.processes_of(variant).map(|closed| {
            let made = closed.last.rows_made.unwrap_or(0).max(1);
            count_as_f64(closed.last.rows_lost.unwrap_or(0)) / count_as_f64(made)
        });
        not_arrived.chain(counted).fold(0.0, f64::max)
    }

    /// Rows that a measurement of the open loop was answered for and that are gone, or were never made.
    pub(crate) fn lost_at_fixed_rates(&self) -> Rounds {
        let ours = self.open.iter().filter(|open| open.case.variant.is_ours());
        ours.filter_map(|open| Some((open.round, count_as_f64(open.last.as_ref()?.missing()))))
            .collect()
    }

    /// Microseconds more than bare at the same rate in the same round.
    pub(crate) fn latency_added(
        &self,
        case: &OpenCase,
        value: impl Fn(&Latency) -> f64,
    ) -> Option<Spread> {
        let base = OpenCase {
            variant: Variant::new("bare", false),
            layout: Layout::Shared,
            situation: Situation::Healthy,
            percent: case.percent,
        };
        let own = self.latencies_of(case, &value);
        spread(&paired(
            &own,
            &self.latencies_of(&base, &value),
            |own, base| own - base,
        ))
    }

    /// What a program of bench/parts said.
    pub(crate) fn part(&self, group: &str, name: &str) -> Option<Spread> {
        let part = self
            .parts
            .iter()
            .find(|part| part.group == group && part.name == name)?;
        Some(Spread {
            median: part.value,
            min: part.min.unwrap_or(part.value),
            max: part.max.unwrap_or(part.value),
            n: 1,
        })
    }

    /// The worst of several sizes, for figures that have to hold for each.
    pub(crate) fn worst_part(&self, group: &str, prefix: &str) -> Option<Spread> {
        let values = self
            .parts
            .iter()
            .filter(|part| part.group == group && part.name.starts_with(prefix));
        // The largest of all that was seen, not of the medians: it may be another size's.
        let largest = |part: &Part| part.max.unwrap_or(part.value);
        let worst = values.max_by(|a, b| largest(a).total_cmp(&largest(b)))?;
        self.part(group, &worst.name)
    }

    /// The stacks of the closed loop, in the order of the first round.
    pub(crate) fn variants(&self) -> Vec<Variant> {
        let mut variants: Vec<Variant> = Vec::new();
        for closed in &self.closed {
            if !variants.contains(&closed.variant) {
                variants.push(closed.variant.clone());
            }
        }
        variants
    }

    pub(crate) fn cases(&self) -> Vec<OpenCase> {
        let mut cases: Vec<OpenCase> = Vec::new();
        for open in &self.open {
            if !cases.contains(&open.case) {
                cases.push(open.case.clone());
            }
        }
        cases
    }
}

/// The case of a goal: best-effort with delivery, at half of bare's saturation.
pub(crate) fn goal_case(layout: Layout, situation: Situation) -> OpenCase {
    OpenCase {
        variant: Variant::new("audithog-best-effort", true),
        layout,
        situation,
        percent: HALF,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::read::procfs::Disturbance;
    use crate::read::programs::{Clean, Count, Final};
    use crate::results::Open;

    pub(crate) fn closed(
        stack: &str,
        delivery: bool,
        round: Round,
        cpu_us: f64,
        rate: f64,
    ) -> Closed {
        Closed {
            round,
            variant: Variant::new(stack, delivery),
            rate,
            answered: 1_000_000,
            cpu_seconds: cpu_us,
            idle_kb: 10_000,
            peak_kb: 20_000,
            last: Final {
                answered: 1_000_000,
                rows_made: None,
                rows_delivered: None,
                rows_lost: None,
                rows_own: None,
                books: None,
            },
            lines: None,
            received: delivery.then_some(Count {
                requests: 10_000,
                events: 1_000_000,
                bytes: 80_000_000,
                distinct: 1_000_000,
            }),
            rested: true,
            disturbance: Disturbance::default(),
            repeats: 0,
        }
    }

    pub(crate) fn open(case: OpenCase, round: Round, p50_us: f64, p99_us: f64) -> Open {
        let latency = Latency {
            sent: 10_000,
            answered: 10_000,
            errors: 0,
            p50_us,
            p90_us: p50_us,
            p99_us: p99_us + 5.0,
            p999_us: p99_us * 2.0,
            max_us: p99_us * 3.0,
            late: 10,
            behind: 0,
            clean: Clean {
                n: 9_990,
                p50_us,
                p99_us,
            },
        };
        Open {
            round,
            case,
            rate: 60_000,
            latency,
            last: None,
            drained: None,
            disturbance: Disturbance::default(),
            repeats: 0,
        }
    }

    pub(crate) fn part(group: &str, name: &str, value: f64) -> Part {
        Part {
            group: group.to_owned(),
            name: name.to_owned(),
            value,
            unit: "x".to_owned(),
            min: None,
            max: None,
            note: None,
        }
    }

    #[test]
    fn what_a_stack_adds_is_seen_against_its_own_framework() {
        let results = Results {
            closed: vec![
                closed("bare", false, 0, 7.0, 100_000.0),
                closed("json-line", false, 0, 11.0, 60_000.0),
                closed("audithog-memory", true, 0, 8.0, 80_000.0),
                closed("nest-express-bare", false, 0, 60.0, 10_000.0),
                closed("nest-express", true, 0, 200.0, 4_000.0),
            ],
            ..Results::default()
        };
        let ours = Variant::new("audithog-memory", true);
        let json = Variant::new("json-line", false);
        let nest = Variant::new("nest-express", true);
        assert_eq!(results.cpu_added(&nest), [(0, 140.0)]);
        assert_eq!(results.cpu_added_ratio(&ours, &json).unwrap().median, 0.25);
        assert_eq!(results.rate_kept(&ours).unwrap().median, 0.8);
        assert_eq!(results.rate_kept(&nest).unwrap().median, 0.4);
        assert_eq!(results.rate_kept(&Variant::new("otlp", true)), None);
    }

    #[test]
    fn a_peer_that_adds_nothing_is_no_denominator() {
        let results = Results {
            closed: vec![
                closed("bare", false, 0, 7.0, 1.0),
                closed("json-line", false, 0, 6.9, 1.0),
                closed("audithog-memory", true, 0, 8.0, 1.0),
            ],
            ..Results::default()
        };
        let ours = Variant::new("audithog-memory", true);
        assert_eq!(
            results.cpu_added_ratio(&ours, &Variant::new("json-line", false)),
            None
        );
    }

    #[test]
    fn a_missing_row_shows_and_own_rows_do_not_hide_it() {
        let mut lossy = closed("posthog-rs-v0", true, 0, 20.0, 1.0);
        lossy.received.as_mut().unwrap().distinct = 750_000;
        let mut ours = closed("audithog-memory", true, 0, 8.0, 1.0);
        ours.last.rows_made = Some(1_000_000);
        ours.last.rows_own = Some(2);
        ours.received.as_mut().unwrap().distinct = 1_000_001;
        let results = Results {
            closed: vec![lossy, ours, closed("bare", false, 0, 7.0, 1.0)],
            ..Results::default()
        };
        assert_eq!(
            results.delivered(&Variant::new("posthog-rs-v0", true)),
            [(0, 0.75)]
        );
        let share = results.delivered(&Variant::new("audithog-memory", true))[0].1;
        assert!(share < 1.0, "{share}");
        assert_eq!(results.delivered(&Variant::new("bare", false)), []);
    }

    #[test]
    fn processes_of_one_visit_count_as_one_and_a_lost_row_of_each() {
        let mut lossy = closed("json-line", false, 0, 13.0, 40_000.0);
        lossy.lines = Some(250_000);
        let mut whole = closed("json-line", false, 0, 11.0, 60_000.0);
        whole.lines = Some(1_000_000);
        let results = Results {
            closed: vec![
                lossy,
                closed("bare", false, 0, 8.0, 100_000.0),
                whole,
                closed("bare", false, 0, 6.0, 100_000.0),
                closed("bare", false, 1, 9.0, 50_000.0),
            ],
            ..Results::default()
        };
        let json = Variant::new("json-line", false);
        assert_eq!(results.cpu_added(&json), [(0, 5.0)]);
        assert_eq!(results.rate_kept(&json).unwrap().median, 0.5);
        assert_eq!(results.delivered(&json), [(0, 0.25)]);
        let bare = results.rounds_of(&Variant::new("bare", false), Closed::cpu_us);
        assert_eq!(bare, [(0, 7.0), (1, 9.0)]);
    }

    #[test]
    fn a_visit_is_marked_by_all_its_processes_together() {
        let process = |round, others, rested| {
            let mut process = closed("bare", false, round, 7.0, 1.0);
            process.disturbance.others = others;
            process.rested = rested;
            process
        };
        let results = Results {
            closed: vec![
                process(0, 0.05, true),
                process(0, 0.0, true),
                process(1, 0.05, true),
                process(1, 0.02, true),
                process(2, 0.0, true),
                process(2, 0.0, false),
            ],
            ..Results::default()
        };
        let visits = results.visits();
        let marked: Vec<_> = visits.iter().map(|v| (v.round, v.is_marked())).collect();
        assert_eq!(marked, [(0, false), (1, true), (2, true)]);
    }

    #[test]
    fn what_is_thrown_away_or_never_made_is_lost() {
        let mut lossy = closed("audithog-memory", false, 0, 8.0, 1.0);
        lossy.last.rows_made = Some(1_000_000);
        lossy.last.rows_lost = Some(400_000);
        let mut cut = closed("otlp", true, 0, 8.0, 1.0);
        cut.received.as_mut().unwrap().distinct = 750_000;
        let case = goal_case(Layout::Shared, Situation::Refuses);
        let mut fixed = open(case, 0, 20.0, 50.0);
        fixed.last = Some(Final {
            answered: 100,
            rows_made: Some(97),
            rows_lost: Some(2),
            ..lossy.last.clone()
        });
        let results = Results {
            closed: vec![lossy, cut, closed("bare", false, 0, 7.0, 1.0)],
            open: vec![fixed],
            ..Results::default()
        };
        assert_eq!(results.lost(&Variant::new("audithog-memory", false)), 0.4);
        assert_eq!(results.lost(&Variant::new("otlp", true)), 0.25);
        assert_eq!(results.lost(&Variant::new("bare", false)), 0.0);
        assert_eq!(results.lost_at_fixed_rates(), [(0, 5.0)]);
    }

    #[test]
    fn lines_in_a_file_are_delivered_rows_too() {
        let mut file = closed("json-line", false, 0, 11.0, 1.0);
        file.lines = Some(500_000);
        let results = Results {
            closed: vec![file],
            ..Results::default()
        };
        assert_eq!(
            results.delivered(&Variant::new("json-line", false)),
            [(0, 0.5)]
        );
    }

    #[test]
    fn latency_is_seen_against_bare_at_the_same_rate_of_the_same_round() {
        let bare = |percent| OpenCase {
            variant: Variant::new("bare", false),
            layout: Layout::Shared,
            situation: Situation::Healthy,
            percent,
        };
        let case = goal_case(Layout::Apart, Situation::Hangs);
        let results = Results {
            open: vec![
                open(bare(50), 0, 20.0, 50.0),
                open(bare(25), 0, 1.0, 1.0),
                open(case.clone(), 0, 24.0, 70.0),
                open(case.clone(), 1, 99.0, 99.0),
            ],
            ..Results::default()
        };
        let added = results
            .latency_added(&case, |latency| latency.clean.p99())
            .unwrap();
        assert_eq!(added, Spread::exactly(20.0));
    }

    #[test]
    fn a_run_without_clean_requests_is_no_good_latency() {
        let case = goal_case(Layout::Shared, Situation::Healthy);
        let mut late = open(case.clone(), 0, 0.0, 0.0);
        late.latency.clean.n = 999;
        let bare = OpenCase {
            variant: Variant::new("bare", false),
            ..case.clone()
        };
        let mut results = Results {
            open: vec![open(bare, 0, 20.0, 50.0), late],
            ..Results::default()
        };
        let added = |results: &Results| results.latency_added(&case, |latency| latency.clean.p99());
        assert_eq!(added(&results), None);
        results.open[1].latency.clean.n = 1_000;
        assert!(added(&results).is_some());
    }

    #[test]
    fn a_round_that_was_too_much_for_the_service_is_in_no_figure() {
        let case = goal_case(Layout::Shared, Situation::Healthy);
        let bare = OpenCase {
            variant: Variant::new("bare", false),
            ..case.clone()
        };
        let mut results = Results {
            open: vec![
                open(bare.clone(), 0, 20.0, 50.0),
                open(case.clone(), 0, 24.0, 60.0),
                open(bare, 1, 20.0, 50.0),
                open(case.clone(), 1, 4_000_000.0, 5_000_000.0),
            ],
            ..Results::default()
        };
        let rate = results.open[3].rate;
        let latency = |behind, errors, answered| {
            let mut latency = results.open[3].latency.clone();
            (latency.behind, latency.errors, latency.answered) = (behind, errors, answered);
            latency
        };
        let all = results.open[3].latency.answered;
        let too_much = [
            latency(rate / 10 + 1, 0, all),
            latency(0, 1, all),
            latency(0, 0, all - 1),
        ];
        let kept_up = latency(rate / 10, 0, all);
        for latency in too_much {
            results.open[3].latency = latency;
            let added = results.latency_added(&case, |latency| latency.clean.p50());
            assert_eq!(added, Some(Spread::exactly(4.0)));
            assert_eq!(results.overloads(&case), (1, 2));
        }
        results.open[3].latency = kept_up;
        assert_eq!(results.overloads(&case), (0, 2));
    }

    #[test]
    fn the_worst_size_stands_for_all() {
        let results = Results {
            parts: vec![
                Part {
                    min: Some(2.0),
                    max: Some(12.0),
                    ..part("ledger", "start_ms_1000", 3.0)
                },
                part("ledger", "start_ms_1000000", 9.0),
                part("delivery", "start_ms_x", 99.0),
            ],
            ..Results::default()
        };
        let worst = results.worst_part("ledger", "start_ms_").unwrap();
        assert_eq!((worst.median, worst.max), (3.0, 12.0));
        assert_eq!(results.worst_part("ledger", "lookup_us_"), None);
    }
}
