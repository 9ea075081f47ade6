//! Rows that need another try on their own: when each is due, and which are under way.

use std::collections::BTreeMap;

use crate::ledger::Straggler;
use crate::record::Micros;

/// How many are kept in memory; the rest waits in the ledger.
pub(super) const IN_MEMORY: usize = 1000;
/// How many of the ledger are looked at: enough others, if all that are in memory are among them.
pub(super) const REFILL: usize = 2 * IN_MEMORY;
/// How many travel together, beside the line.
const TOGETHER: usize = 50;

/// A sink's stragglers. Their rows are read when they are due.
#[derive(Debug, Default)]
pub(super) struct Stragglers {
    known: BTreeMap<i64, Known>,
    /// How many there are, in memory or not.
    total: u64,
    /// Somebody else may have added some to the ledger: dead letters that are sent again.
    others: bool,
    /// None that is in the ledger only is due before. None: there is none.
    beyond: Option<Micros>,
    /// Of rows that leave the line: see `Known::floor`.
    floors: BTreeMap<i64, Micros>,
    /// The next one that would travel with others travels alone.
    feel: bool,
}

#[derive(Debug)]
struct Known {
    straggler: Straggler,
    /// Part of a request; not taken again.
    under_way: bool,
    /// A request with it failed for a reason that may be any of its rows: it travels alone.
    alone: bool,
    /// How many requests had succeeded when one with it last failed as a whole.
    failed_at: Option<u64>,
    /// From `Retry-After`: a flush does not hasten it.
    floor: Micros,
}

impl Stragglers {
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The ledger had this many when it was asked. Another number than ours may be the one of a
    /// moment ago, or mean that another process added some: the ledger is read to know.
    pub(super) fn compare(&mut self, total: u64) {
        self.others |= total != self.total;
    }

    /// One that is in the ledger only may be due, and none in memory before it; or the ledger may have some that
    /// are not ours.
    pub(super) fn wants_refill(&self, now: Micros) -> bool {
        let beyond = self.beyond.is_some_and(|beyond| {
            beyond <= now && self.first_idle().is_none_or(|first| beyond < first)
        });
        self.others || beyond || (self.known.is_empty() && self.total > 0)
    }

    /// Takes what the ledger has, `total` in all, when everything handed over is committed there: the first
    /// [`REFILL`] that are due, or all. None is due after `latest`: if the ledger says so, a clock was ahead.
    pub(super) fn refill(&mut self, total: u64, stragglers: Vec<Straggler>, latest: Micros) {
        self.others = false;
        // Some may have come between the count and the list.
        self.total = total.max(stragglers.len() as u64);
        let last = stragglers.last().map(|last| last.next.min(latest));
        self.beyond = last.filter(|_| stragglers.len() >= REFILL);
        for mut straggler in stragglers {
            straggler.next = straggler.next.min(latest);
            self.known
                .entry(straggler.seq)
                .or_insert(Known::new(straggler));
        }
        self.make_room();
        if self.known.is_empty() {
            // The count is wrong only in a damaged ledger; believing it would ask again for ever.
            self.total = 0;
        }
    }

    /// None waits for longer than until `latest`.
    pub(super) fn bring_forward(&mut self, latest: Micros) {
        for known in self.known.values_mut() {
            known.straggler.next = known.straggler.next.min(latest);
            known.floor = known.floor.min(latest);
        }
        self.beyond = self.beyond.map(|beyond| beyond.min(latest));
    }

    /// A row will leave the line: [`Stragglers::add`] follows.
    pub(super) fn expect(&mut self, straggler: &Straggler, floor: Micros) {
        if floor > straggler.since {
            self.floors.insert(straggler.seq, floor);
        }
    }

    /// A row left the line.
    pub(super) fn add(&mut self, straggler: Straggler) {
        self.total += 1;
        let floor = self.floors.remove(&straggler.seq);
        let mut known = Known::new(straggler);
        known.floor = floor.unwrap_or(known.floor);
        self.known.insert(known.straggler.seq, known);
    }

    /// Of too many in memory those go that are due last; they are in the ledger.
    pub(super) fn make_room(&mut self) {
        let surplus = self.known.len().saturating_sub(IN_MEMORY);
        if surplus == 0 {
            return;
        }
        let idle = self.known.values().filter(|known| !known.under_way);
        let mut idle: Vec<_> = idle
            .map(|known| (known.straggler.next, known.straggler.seq))
            .collect();
        idle.sort_unstable();
        for (next, seq) in idle.into_iter().rev().take(surplus) {
            self.known.remove(&seq);
            self.beyond = Some(self.beyond.map_or(next, |beyond| beyond.min(next)));
        }
    }

    pub(super) fn get(&self, seq: i64) -> Option<&Straggler> {
        self.known.get(&seq).map(|known| &known.straggler)
    }

    /// It is settled.
    pub(super) fn resolve(&mut self, seq: i64) {
        if self.known.remove(&seq).is_some() {
            self.total = self.total.saturating_sub(1);
        }
    }

    /// A request with it failed as a whole, after `successes` of others. Whether one came since the last time.
    pub(super) fn failed(&mut self, seq: i64, successes: u64) -> bool {
        let known = self.known.get_mut(&seq);
        let before = known.and_then(|known| known.failed_at.replace(successes));
        before.is_some_and(|before| before < successes)
    }

    /// In doubt whether it is the way that fails: the next request is one of them alone.
    pub(super) fn feel(&mut self) {
        self.feel = true;
    }

    /// It was tried and stays, with a new `next`.
    pub(super) fn put_back(&mut self, straggler: Straggler, alone: bool, floor: Micros) {
        if let Some(known) = self.known.get_mut(&straggler.seq) {
            known.straggler = straggler;
            known.under_way = false;
            known.alone |= alone;
            known.floor = floor;
        }
    }

    /// Marks the next request's worth as under way. With `any`, what is not due yet goes too: the
    /// sink needs a probe.
    pub(super) fn take_due(&mut self, now: Micros, any: bool, limit: usize) -> Vec<i64> {
        let mut idle: Vec<_> = self
            .known
            .values()
            .filter(|known| !known.under_way && (any || known.straggler.next <= now))
            .map(|known| (known.straggler.next, known.straggler.seq, known.alone))
            .collect();
        idle.sort_unstable();
        let taken: Vec<i64> = match idle.first() {
            None => return Vec::new(),
            Some(&(_, seq, alone)) if alone || std::mem::take(&mut self.feel) => vec![seq],
            Some(_) => idle
                .iter()
                .filter(|(_, _, alone)| !alone)
                .map(|&(_, seq, _)| seq)
                .take(limit.clamp(1, TOGETHER))
                .collect(),
        };
        for seq in &taken {
            if let Some(known) = self.known.get_mut(seq) {
                known.under_way = true;
            }
        }
        taken
    }

    /// Was marked by [`Stragglers::take_due`] and did not go after all.
    pub(super) fn release(&mut self, seq: i64) {
        if let Some(known) = self.known.get_mut(&seq) {
            known.under_way = false;
        }
    }

    /// Everything up to `upto` may be tried at once.
    pub(super) fn hasten(&mut self, upto: i64, now: Micros) {
        for (_, known) in self.known.range_mut(..=upto) {
            known.straggler.next = known.straggler.next.min(now.max(known.floor));
        }
    }

    /// When the first one that is not under way is due, or may be.
    pub(super) fn next(&self) -> Option<Micros> {
        self.first_idle().into_iter().chain(self.beyond).min()
    }

    fn first_idle(&self) -> Option<Micros> {
        self.known
            .values()
            .filter(|known| !known.under_way)
            .map(|known| known.straggler.next)
            .min()
    }

    /// Whether none up to `upto` is left.
    pub(super) fn is_clear(&self, upto: i64) -> bool {
        self.total == 0
            || (self.total == self.known.len() as u64 && self.known.range(..=upto).next().is_none())
    }

    /// Whether one up to `upto` is under way or due.
    pub(super) fn is_busy(&self, upto: i64, now: Micros) -> bool {
        self.known
            .range(..=upto)
            .any(|(_, known)| known.under_way || known.straggler.next <= now)
    }

    /// When the oldest became a straggler.
    pub(super) fn oldest(&self) -> Option<Micros> {
        self.known.values().map(|known| known.straggler.since).min()
    }
}

impl Known {
    fn new(straggler: Straggler) -> Self {
        Self {
            straggler,
            under_way: false,
            alone: false,
            failed_at: None,
            floor: Micros(i64::MIN),
        }
    }
}
