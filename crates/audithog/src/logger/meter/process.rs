//! The books of all loggers of the process as one.
//!
//! A series has one value in a process, however many loggers it has: two that set the same series would overwrite each
//! other, and a label that came with the second one would end the first one's series.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use metrics::{Label, counter, gauge};

/// One series: its name and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) sink: Option<String>,
    pub(super) reason: Option<String>,
}

/// Whose count it is: what is to be added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Logger,
    /// Loggers that share a ledger say the same.
    Ledger,
}

/// What the gauges of several loggers are together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Together {
    Sum(Of),
    Highest,
    Lowest,
}

/// What the books of one logger say.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    /// None for memory only.
    pub(super) ledger: Option<PathBuf>,
    /// The ledger's head when they were counted.
    pub(super) head: u64,
    pub(super) counters: Vec<(Series, Of, u64)>,
    pub(super) gauges: Vec<(Series, Together, f64)>,
}

/// All loggers of the process: those that run with what they said last, and what others have counted.
#[derive(Debug)]
pub(super) struct Process {
    last_id: u64,
    running: BTreeMap<u64, Points>,
    counters: BTreeMap<Series, BTreeMap<Owner, Count>>,
    /// Who spoke last for a ledger, and its head then.
    ledgers: BTreeMap<PathBuf, (u64, u64)>,
    /// Gauges that were set: one that no running logger has any more is 0.
    gauges: BTreeSet<Series>,
}

/// Books may go down: a dead letter is sent again, a ledger is replaced. What they say next is new all the same.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    last: u64,
    /// Of all that it grew by.
    sum: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// Of loggers that have ended, together.
    Ended,
    Logger(u64),
    Ledger(PathBuf),
}

impl Process {
    pub(super) const fn new() -> Self {
        Self {
            last_id: 0,
            running: BTreeMap::new(),
            counters: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            gauges: BTreeSet::new(),
        }
    }

    /// A logger starts. It is known by this number.
    pub(super) fn begin(&mut self) -> u64 {
        self.last_id += 1;
        self.running.insert(self.last_id, Points::default());
        self.last_id
    }

    /// A logger has ended: its counts stay, its gauges go with the next update of another one.
    pub(super) fn end(&mut self, id: u64) {
        if self.running.remove(&id).is_none() {
            return;
        }
        for owners in self.counters.values_mut() {
            if let Some(count) = owners.remove(&Owner::Logger(id)) {
                owners.entry(Owner::Ended).or_default().sum += count.sum;
            }
        }
    }

    /// Takes what the books of a logger say now, and tells the recorder of all. Nothing once it has ended: its
    /// thread may be late.
    pub(super) fn publish(&mut self, id: u64, points: Points) {
        let Some(before) = self.running.get(&id) else {
            return;
        };
        let is_news = points.differs_in_ledger(before) && self.is_next(id, &points);
        for (series, of, count) in &points.counters {
            let owner = Owner::of(*of, id, &points);
            if is_news || matches!(owner, Owner::Logger(_)) {
                let owners = self.counters.entry(series.clone()).or_default();
                owners.entry(owner).or_default().goes_to(*count);
            }
        }
        self.running.insert(id, points);
        for (series, owners) in &self.counters {
            let sum = owners.values().map(|count| count.sum).sum();
            counter!(series.name, series.labels()).absolute(sum);
        }
        let mut gauges = self.gauges();
        self.gauges.extend(gauges.keys().cloned());
        for series in &self.gauges {
            let value = gauges.remove(series).unwrap_or_default();
            gauge!(series.name, series.labels()).set(value);
        }
    }

    /// Whether this is of a later moment than what another logger said of the ledger: one that commits nothing knows
    /// old numbers, and to go back to them would count what follows twice.
    fn is_next(&mut self, id: u64, points: &Points) -> bool {
        let Some(path) = &points.ledger else {
            return false;
        };
        if let Some((by, head)) = self.ledgers.get(path)
            && *by != id
            && self.running.contains_key(by)
            && points.head < *head
        {
            return false;
        }
        self.ledgers.insert(path.clone(), (id, points.head));
        true
    }

    /// Every gauge of the running loggers.
    fn gauges(&self) -> BTreeMap<Series, f64> {
        let mut all: BTreeMap<&Series, (Together, BTreeMap<Owner, f64>)> = BTreeMap::new();
        for (&id, points) in &self.running {
            for (series, together, value) in &points.gauges {
                let owner = match together {
                    Together::Sum(of) => Owner::of(*of, id, points),
                    Together::Highest | Together::Lowest => Owner::Logger(id),
                };
                let (_, owners) = all.entry(series).or_insert((*together, BTreeMap::new()));
                let known = owners.entry(owner).or_insert(*value);
                *known = known.max(*value);
            }
        }
        let together = |(together, owners): (Together, BTreeMap<Owner, f64>)| {
            let values = owners.into_values();
            match together {
                Together::Sum(_) => values.sum(),
                Together::Highest => values.fold(0.0, f64::max),
                Together::Lowest => values.fold(f64::INFINITY, f64::min),
            }
        };
        all.into_iter()
            .map(|(series, found)| (series.clone(), together(found)))
            .collect()
    }
}

impl Count {
    fn goes_to(&mut self, count: u64) {
        self.sum += count.saturating_sub(self.last);
        self.last = count;
    }
}

impl Points {
    fn differs_in_ledger(&self, before: &Self) -> bool {
        let counts = |points: &Self| {
            let of_ledger = points
                .counters
                .iter()
                .filter(|(_, of, _)| *of == Of::Ledger);
            let counts: Vec<u64> = of_ledger.map(|(.., count)| *count).collect();
            (points.head, counts)
        };
        counts(self) != counts(before)
    }
}

impl Owner {
    fn of(of: Of, id: u64, points: &Points) -> Self {
        match (of, &points.ledger) {
            (Of::Ledger, Some(path)) => Self::Ledger(path.clone()),
            _ => Self::Logger(id),
        }
    }
}

impl Series {
    fn labels(&self) -> Vec<Label> {
        let label = |name: &'static str, value: &Option<String>| {
            value.clone().map(|value| Label::new(name, value))
        };
        let labels = [label("sink", &self.sink), label("reason", &self.reason)];
        labels.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;

    const ROWS: &str = "rows";
    const DELIVERED: &str = "delivered";
    const QUEUED: &str = "queued";
    const PENDING: &str = "pending";
    const AGE: &str = "age";
    const WRITING: &str = "writing";

    /// Loggers in front of a recorder.
    struct Bench {
        process: Process,
        recorder: DebuggingRecorder,
    }

    /// What one logger says: `n` of everything that can be counted.
    fn says(ledger: Option<&str>, n: u32, writing: bool) -> Points {
        let series = |name| Series {
            name,
            sink: (name == DELIVERED).then(|| "posthog".to_owned()),
            reason: None,
        };
        let counter = |name, of| (series(name), of, u64::from(n));
        let gauge = |name, together| (series(name), together, f64::from(n));
        Points {
            ledger: ledger.map(PathBuf::from),
            head: u64::from(n),
            counters: vec![counter(ROWS, Of::Logger), counter(DELIVERED, Of::Ledger)],
            gauges: vec![
                gauge(QUEUED, Together::Sum(Of::Logger)),
                gauge(PENDING, Together::Sum(Of::Ledger)),
                gauge(AGE, Together::Highest),
                (series(WRITING), Together::Lowest, f64::from(writing)),
            ],
        }
    }

    impl Bench {
        fn new() -> Self {
            Self {
                process: Process::new(),
                recorder: DebuggingRecorder::new(),
            }
        }

        fn publish(&mut self, id: u64, points: Points) {
            metrics::with_local_recorder(&self.recorder, || self.process.publish(id, points));
        }

        /// Of `ROWS` and `DELIVERED`, then `QUEUED`, `PENDING`, `AGE` and `WRITING`.
        fn shown(&self) -> ([u64; 2], [f64; 4]) {
            let found = self.recorder.snapshotter().snapshot().into_vec();
            let found: BTreeMap<String, DebugValue> = found
                .into_iter()
                .map(|(key, _, _, value)| (key.key().name().to_owned(), value))
                .collect();
            let counter = |name: &str| match found[name] {
                DebugValue::Counter(n) => n,
                ref other => panic!("{other:?}"),
            };
            let gauge = |name: &str| match found[name] {
                DebugValue::Gauge(value) => value.into_inner(),
                ref other => panic!("{other:?}"),
            };
            (
                [ROWS, DELIVERED].map(counter),
                [QUEUED, PENDING, AGE, WRITING].map(gauge),
            )
        }
    }

    #[test]
    fn loggers_are_added_up_and_the_worst_of_them_shows() {
        let mut bench = Bench::new();
        let (a, b) = (bench.process.begin(), bench.process.begin());
        bench.publish(a, says(Some("a.db"), 11, true));
        assert_eq!(bench.shown(), ([11, 11], [11.0, 11.0, 11.0, 1.0]));
        bench.publish(b, says(Some("b.db"), 4, false));
        assert_eq!(bench.shown(), ([15, 15], [15.0, 15.0, 11.0, 0.0]));
        bench.publish(a, says(Some("a.db"), 12, true));
        assert_eq!(bench.shown(), ([16, 16], [16.0, 16.0, 12.0, 0.0]));
    }

    #[test]
    fn what_a_ledger_counts_is_counted_once_for_all_loggers_that_share_it() {
        let mut bench = Bench::new();
        let (a, b) = (bench.process.begin(), bench.process.begin());
        bench.publish(a, says(Some("a.db"), 3, true));
        bench.publish(b, says(Some("a.db"), 5, true));
        assert_eq!(bench.shown(), ([8, 5], [8.0, 5.0, 5.0, 1.0]));
        // Those in memory share nothing.
        let c = bench.process.begin();
        let d = bench.process.begin();
        bench.publish(c, says(None, 10, true));
        bench.publish(d, says(None, 10, true));
        assert_eq!(bench.shown(), ([28, 25], [28.0, 25.0, 10.0, 1.0]));
    }

    #[test]
    fn no_counter_goes_back_when_a_logger_ends_or_a_ledger_is_replaced() {
        let mut bench = Bench::new();
        let (a, b, c) = (
            bench.process.begin(),
            bench.process.begin(),
            bench.process.begin(),
        );
        bench.publish(a, says(Some("a.db"), 10, true));
        bench.publish(b, says(None, 2, true));
        bench.process.end(a);
        bench.process.end(b);
        bench.publish(c, says(Some("c.db"), 1, true));
        assert_eq!(bench.shown().0, [13, 13]);
        bench.publish(c, says(Some("c.db"), 0, true));
        assert_eq!(bench.shown().0, [13, 13]);
        // Another one goes on with the first one's ledger.
        let d = bench.process.begin();
        bench.publish(d, says(Some("a.db"), 12, true));
        assert_eq!(bench.shown().0, [25, 15]);
    }

    /// Of the ledger's series.
    fn counted(bench: &mut Bench, id: u64, head: u64, n: u32) -> u64 {
        let points = Points {
            head,
            ..says(Some("a.db"), n, true)
        };
        bench.publish(id, points);
        bench.shown().0[1]
    }

    #[test]
    fn what_is_counted_after_the_books_went_down_is_new() {
        let mut bench = Bench::new();
        let a = bench.process.begin();
        // Five dead letters are sent again; then three die.
        let said = [(20, 5, 5), (21, 0, 5), (24, 3, 8), (25, 3, 8)];
        // The ledger is replaced.
        for (head, n, expected) in said.into_iter().chain([(1, 0, 8), (4, 2, 10)]) {
            assert_eq!(counted(&mut bench, a, head, n), expected, "{head}");
        }
        // And once more, before the next logger.
        bench.process.end(a);
        let b = bench.process.begin();
        assert_eq!(counted(&mut bench, b, 3, 1), 10);
        assert_eq!(counted(&mut bench, b, 4, 2), 11);
    }

    #[test]
    fn a_logger_that_knows_old_numbers_of_a_shared_ledger_counts_nothing_twice() {
        let mut bench = Bench::new();
        let (a, b) = (bench.process.begin(), bench.process.begin());
        assert_eq!(counted(&mut bench, a, 10, 5), 5);
        assert_eq!(counted(&mut bench, b, 8, 3), 5);
        assert_eq!(counted(&mut bench, a, 12, 6), 6);
        assert_eq!(counted(&mut bench, b, 11, 5), 6);
        assert_eq!(counted(&mut bench, a, 12, 6), 6);
        assert_eq!(counted(&mut bench, b, 14, 7), 7);
        // Replaced, which the other one has not found out.
        assert_eq!(counted(&mut bench, b, 1, 0), 7);
        assert_eq!(counted(&mut bench, a, 12, 6), 7);
        assert_eq!(counted(&mut bench, b, 2, 1), 8);
    }

    #[test]
    fn a_gauge_is_of_loggers_that_run() {
        let mut bench = Bench::new();
        let (a, b) = (bench.process.begin(), bench.process.begin());
        bench.publish(a, says(Some("a.db"), 7, false));
        bench.publish(b, Points::default());
        bench.process.end(a);
        // Its thread was late.
        bench.publish(a, says(Some("a.db"), 9, false));
        assert_eq!(bench.shown(), ([7, 7], [7.0, 7.0, 7.0, 0.0]));
        bench.publish(b, says(Some("b.db"), 1, true));
        assert_eq!(bench.shown().1, [1.0, 1.0, 1.0, 1.0]);
        bench.process.end(b);
        // A series that no running logger has does not stay at what the last one said. A new recorder shows what is
        // set, and nothing else.
        bench.recorder = DebuggingRecorder::new();
        let c = bench.process.begin();
        bench.publish(c, Points::default());
        assert_eq!(bench.shown().1, [0.0; 4]);
    }
}
