//! Arbitrary replies in arbitrary order against a course, with a bookkeeper who believes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::{START, row, tuning};

mod ways;
use crate::delivery::backoff::Jitter;
use crate::delivery::course::{Course, Now, Step};
use crate::delivery::request::Request;
use crate::delivery::{Progress, Tuning};
use crate::ledger::{Settlement, SinkTotals, Straggler};
use crate::record::StoredRow;
use crate::sink::{
    Admission, Attempt, BoxFuture, Hold, HoldReason, Reply, RequestLimits, Sink, Verdict,
};

/// What a row does to a request that holds it, unless chance says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Good,
    SampledOut,
    /// Any request with it is refused (400).
    Poison,
    /// Any request with it fails (500).
    Crasher,
    /// Too large for any request.
    Huge,
    /// Refused by verdict.
    Dropped,
    /// Has the id of the row before.
    Twin,
}

struct ModelSink {
    natures: Vec<Nature>,
    limits: RequestLimits,
    /// A request of more rows gets no reply.
    most: usize,
}

impl Sink for ModelSink {
    fn name(&self) -> &'static str {
        "model"
    }

    fn admit(&self, row: &StoredRow) -> Admission {
        match self.nature(row) {
            Nature::SampledOut => Admission::SampledOut,
            _ => Admission::Send,
        }
    }

    fn weight(&self, row: &StoredRow) -> usize {
        1 + usize::try_from(row.seq % 3).unwrap()
    }

    fn limits(&self) -> RequestLimits {
        self.limits
    }

    fn send<'a>(&'a self, _: &'a [StoredRow], _: Attempt) -> BoxFuture<'a, Reply> {
        unreachable!("the model answers itself")
    }
}

impl ModelSink {
    fn nature(&self, row: &StoredRow) -> Nature {
        self.natures[usize::try_from(row.seq).unwrap() - 1]
    }

    fn has(&self, rows: &[StoredRow], nature: Nature) -> bool {
        rows.iter().any(|row| self.nature(row) == nature)
    }

    /// What an honest server says.
    fn honest(&self, rows: &[StoredRow]) -> Reply {
        if rows.len() > self.most {
            return retry(false, None);
        }
        if self.has(rows, Nature::Huge) {
            return Reply::TooLarge {
                reason: "413".to_owned(),
            };
        }
        if self.has(rows, Nature::Poison) {
            return Reply::Refused {
                reason: "400".to_owned(),
            };
        }
        if self.has(rows, Nature::Crasher) {
            return retry(true, None);
        }
        let verdict = |row| match self.nature(row) {
            Nature::Dropped => Verdict::Dead("dropped".to_owned()),
            _ => Verdict::Delivered,
        };
        Reply::Rows {
            verdicts: rows.iter().map(verdict).collect(),
            retry_after: None,
        }
    }

    /// What a server says on a bad day.
    fn moody(&self, rows: &[StoredRow], mood: u8) -> Reply {
        let hold = || Hold {
            reason: HoldReason::Quota,
            detail: "over".to_owned(),
        };
        match mood % 16 {
            0 => retry(false, None),
            1 => retry(true, None),
            2 => retry(false, Some(Duration::from_secs(u64::from(mood)))),
            3 => Reply::Hold {
                hold: hold(),
                retry_after: (mood > 127).then(|| Duration::from_secs(u64::from(mood))),
            },
            4 => Reply::TooLarge {
                reason: "moody 413".to_owned(),
            },
            5..=7 => {
                let mut verdicts: Vec<_> = (0..rows.len())
                    .map(|i| match (usize::from(mood) + i) % 5 {
                        0 => Verdict::Retry("later".to_owned()),
                        1 if mood % 16 == 5 => Verdict::Hold(hold()),
                        2 if mood % 16 == 6 => Verdict::Dead("moody drop".to_owned()),
                        _ => Verdict::Delivered,
                    })
                    .collect();
                // Some verdicts are missing.
                verdicts.truncate(rows.len() - usize::from(mood > 127));
                Reply::Rows {
                    verdicts,
                    retry_after: None,
                }
            }
            8 => Reply::Rows {
                verdicts: vec![Verdict::Retry("not persisted".to_owned()); rows.len()],
                retry_after: Some(Duration::from_secs(1)),
            },
            _ => self.honest(rows),
        }
    }
}

fn retry(suspect_rows: bool, retry_after: Option<Duration>) -> Reply {
    Reply::Retry {
        reason: "down".to_owned(),
        retry_after,
        suspect_rows,
    }
}

/// Keeps its own record of what the server took and of what was settled.
#[derive(Default)]
struct Bookkeeper {
    taken: BTreeSet<i64>,
    totals: SinkTotals,
    dead: BTreeSet<i64>,
    stragglers: BTreeMap<i64, Straggler>,
    /// Rows and tries of each request.
    requests: BTreeMap<Uuid, (Vec<i64>, u32)>,
}

impl Bookkeeper {
    fn launched(&mut self, request: &Request, sink: &ModelSink) {
        let rows = super::seqs(&request.rows);
        assert!(!rows.is_empty());
        assert!(rows.len() <= sink.limits.rows, "too many rows");
        let ids: BTreeSet<_> = request.rows.iter().map(|row| row.row.id).collect();
        assert_eq!(ids.len(), rows.len(), "an id twice in one request");
        let bytes: usize = request.rows.iter().map(|row| sink.weight(row)).sum();
        assert!(rows.len() == 1 || bytes <= sink.limits.bytes, "too large");
        for seq in &rows {
            assert!(
                !self.taken.contains(seq),
                "{seq} was taken and is sent again"
            );
            assert!(!self.dead.contains(seq), "{seq} is dead and is sent again");
        }
        let stragglers = rows.iter().filter_map(|seq| self.stragglers.get(seq));
        let tried = stragglers.map(|known| known.attempts).max();
        let known = self
            .requests
            .entry(request.attempt.request)
            .or_insert((rows.clone(), tried.unwrap_or_default()));
        assert_eq!(known.0, rows, "a request changed its rows");
        known.1 += 1;
        assert_eq!(request.attempt.number, known.1, "tries are numbered");
    }

    fn answered(&mut self, request: &Request, reply: &Reply) {
        if let Reply::Rows { verdicts, .. } = reply {
            for (row, verdict) in request.rows.iter().zip(verdicts) {
                if *verdict == Verdict::Delivered {
                    self.taken.insert(row.seq);
                }
            }
        }
    }

    fn settled(&mut self, settlement: &Settlement, sink: &ModelSink, head: i64) {
        let before = self.totals.cursor;
        assert!(settlement.cursor >= before, "the cursor moved back");
        assert!(settlement.cursor <= head);
        for seq in &settlement.resolved {
            assert!(
                self.stragglers.remove(seq).is_some(),
                "{seq} was no straggler"
            );
        }
        for letter in &settlement.dead {
            assert!(self.dead.insert(letter.seq), "{} died twice", letter.seq);
            assert!(
                !self.taken.contains(&letter.seq),
                "{} was taken",
                letter.seq
            );
        }
        for straggler in &settlement.stragglers {
            assert!(straggler.seq <= settlement.cursor);
            self.stragglers.insert(straggler.seq, straggler.clone());
        }
        let (mut delivered, mut sampled_out) = (0, 0);
        for seq in before + 1..=settlement.cursor {
            let nature = sink.natures[usize::try_from(seq).unwrap() - 1];
            let places = [
                self.taken.contains(&seq),
                self.dead.contains(&seq),
                self.stragglers.contains_key(&seq),
                nature == Nature::SampledOut,
            ];
            assert_eq!(
                places.iter().filter(|place| **place).count(),
                1,
                "{seq}: taken, dead, straggler, sampled out: {places:?}"
            );
            delivered += u64::from(places[0]);
            sampled_out += u64::from(places[3]);
        }
        let late = settlement.resolved.iter();
        delivered += late.filter(|seq| self.taken.contains(seq)).count() as u64;
        assert_eq!(settlement.delivered, delivered);
        assert_eq!(settlement.sampled_out, sampled_out);
        assert_eq!(settlement.held_back, 0);
        let totals = &mut self.totals;
        totals.cursor = settlement.cursor;
        totals.delivered += delivered;
        totals.sampled_out += sampled_out;
        totals.dead += settlement.dead.len() as u64;
        totals.stragglers = self.stragglers.len() as u64;
        assert_eq!(
            u64::try_from(head).unwrap(),
            totals.delivered + totals.sampled_out + totals.dead + totals.pending(head)
        );
    }
}

/// One run: the course, the world around it, and chance.
struct World {
    sink: Arc<ModelSink>,
    rows: Vec<StoredRow>,
    course: Course,
    books: Bookkeeper,
    in_flight: Vec<Request>,
    sent: usize,
    now: Duration,
    /// A row comes in each; None: all are there.
    pace: Option<Duration>,
}

impl World {
    fn new(natures: Vec<Nature>, limits: RequestLimits, most: usize, tuning: Tuning) -> Self {
        let mut rows: Vec<_> = (1..=natures.len() as i64).map(row).collect();
        for (i, nature) in natures.iter().enumerate().skip(1) {
            if *nature == Nature::Twin {
                rows[i].row.id = rows[i - 1].row.id;
            }
        }
        let sink = Arc::new(ModelSink {
            natures,
            limits,
            most,
        });
        let totals = SinkTotals::default();
        let course = Course::new(sink.clone(), tuning, &totals, Jitter::new(3));
        Self {
            sink,
            rows,
            course,
            books: Bookkeeper::default(),
            in_flight: Vec::new(),
            sent: 0,
            now: Duration::ZERO,
            pace: None,
        }
    }

    fn at(&self) -> Now {
        Now {
            monotonic: self.now,
            wall: START.saturating_add(self.now),
        }
    }

    fn head(&self) -> i64 {
        let all = self.rows.len() as i64;
        let come = |pace: Duration| (self.now.as_micros() / pace.as_micros()) as i64;
        self.pace.map_or(all, |pace| all.min(come(pace)))
    }

    fn settle(&mut self) {
        if let Some(settlement) = self.course.take_settlement() {
            let head = self.head();
            self.books.settled(&settlement, &self.sink, head);
        }
    }

    /// Lets the course work until it waits. Returns until when.
    fn work(&mut self) -> Option<Duration> {
        let progress = Progress {
            head: self.head(),
            synced: self.head(),
            ..Progress::default()
        };
        self.course.triggers.observe(self.head(), self.now);
        loop {
            let now = self.at();
            match self.course.next(&progress, now) {
                Step::Send(request) => {
                    self.books.launched(&request, &self.sink);
                    self.sent += 1;
                    self.in_flight.push(request);
                }
                Step::Read { after, upto, limit } => {
                    let last = upto.min(after + limit as i64);
                    let rows = self.rows[after as usize..last as usize].to_vec();
                    self.course.feed(rows, last, now);
                }
                Step::ReadStragglers(seqs) => {
                    for seq in &seqs {
                        assert!(self.books.stragglers.contains_key(seq));
                    }
                    let row = |seq: &i64| self.rows[*seq as usize - 1].clone();
                    let rows = seqs.iter().map(row).collect();
                    self.course.feed_stragglers(&seqs, rows, now);
                }
                Step::Wait(until) => {
                    self.settle();
                    return until;
                }
            }
            self.settle();
        }
    }

    fn answer(&mut self, index: usize, mood: Option<u8>) {
        let request = self.in_flight.remove(index);
        let reply = match mood {
            Some(mood) => self.sink.moody(&request.rows, mood),
            None => self.sink.honest(&request.rows),
        };
        self.books.answered(&request, &reply);
        let now = self.at();
        self.course.reply(request, reply, now);
        self.settle();
    }

    /// No reply to anything until then.
    fn suffer(&mut self, end: Duration) {
        while self.now < end {
            let until = self.work();
            if self.in_flight.is_empty() {
                self.now = until.expect("a probe has its time");
            } else {
                self.answer(0, Some(0));
            }
        }
    }

    /// One request in `every` is answered honestly, no other has a reply, and a row comes in each `pace`.
    fn pass_a_gate(&mut self, every: Duration, pace: Duration, end: Duration) {
        self.pace = Some(pace);
        let mut opens = self.now;
        while self.now < end {
            let until = self.work();
            if self.in_flight.is_empty() {
                let next = pace * (self.now.as_secs() / pace.as_secs() + 1) as u32;
                self.now = until.map_or(next, |until| until.min(next));
            } else {
                let open = self.now >= opens;
                if open {
                    opens = self.now + every;
                }
                self.answer(0, (!open).then_some(0));
            }
        }
    }

    /// Chance first, then an honest server until nothing is left to do.
    fn run(&mut self, moods: &[(u8, u8)]) {
        let mut moods = moods.iter();
        for _ in 0..200_000 {
            let until = self.work();
            assert!(self.in_flight.len() <= tuning().retry.in_flight);
            if !self.in_flight.is_empty() {
                let (pick, mood) = moods.next().map_or((0, None), |(pick, mood)| {
                    (usize::from(*pick) % self.in_flight.len(), Some(*mood))
                });
                self.answer(pick, mood);
            } else if let Some(until) = until {
                assert!(until > self.now, "the course wants to be woken in the past");
                self.now = until;
            } else {
                return;
            }
        }
        panic!("no end: {:?}", self.books.totals);
    }

    fn check_end(&self) {
        assert_eq!(self.books.totals.cursor, self.head());
        assert_eq!(self.books.stragglers, BTreeMap::new());
        assert_eq!(self.course.pending(), 0);
        let sampled_out = self.rows.iter();
        let sampled_out = sampled_out
            .filter(|row| self.sink.nature(row) == Nature::SampledOut)
            .count();
        assert_eq!(
            self.books.taken.len() + self.books.dead.len() + sampled_out,
            self.rows.len()
        );
    }
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        12 => Just(Nature::Good),
        2 => Just(Nature::SampledOut),
        1 => Just(Nature::Poison),
        1 => Just(Nature::Crasher),
        1 => Just(Nature::Huge),
        1 => Just(Nature::Dropped),
        1 => Just(Nature::Twin),
    ]
}

proptest! {
    #[test]
    fn every_row_ends_in_exactly_one_place(
        natures in proptest::collection::vec(nature(), 0..120),
        moods in proptest::collection::vec(any::<(u8, u8)>(), 0..150),
        limit in 1_usize..20,
        most in 1_usize..30,
        batch_size in 1_usize..40,
    ) {
        let limits = RequestLimits { rows: limit, bytes: 30 };
        let tuning = Tuning { batch_size, ..tuning() };
        let mut world = World::new(natures, limits, most, tuning);
        world.run(&moods);
        world.check_end();
    }
}

#[test]
fn an_honest_server_loses_only_what_is_bad() {
    let mut natures = vec![Nature::Good; 1000];
    for (seq, nature) in [
        (3, Nature::Poison),
        (77, Nature::Huge),
        (500, Nature::Dropped),
        (501, Nature::Poison),
        (1000, Nature::Crasher),
    ] {
        natures[seq - 1] = nature;
    }
    let limits = RequestLimits {
        rows: 100,
        bytes: 10_000,
    };
    let mut world = World::new(natures, limits, usize::MAX, tuning());
    world.run(&[]);
    world.check_end();
    let dead: Vec<_> = world.books.dead.iter().copied().collect();
    assert_eq!(dead, [3, 77, 500, 501, 1000]);
}

const WIDE: RequestLimits = RequestLimits {
    rows: 1_500,
    bytes: usize::MAX,
};

/// A proxy that resets large requests, a link too slow for them, a reply that grows too long.
#[test]
fn requests_that_fail_for_their_size_alone_are_divided() {
    for most in [7, 50, 299] {
        let mut world = World::new(vec![Nature::Good; 300], WIDE, most, tuning());
        world.run(&[]);
        world.check_end();
        assert_eq!(world.books.taken.len(), 300, "{most}");
        let took = world.now;
        assert!(took < Duration::from_secs(3600), "{most}: {took:?}");
    }
}

#[test]
fn an_outage_of_days_buries_no_row_and_leaves_few_small_requests() {
    let mut world = World::new(vec![Nature::Good; 20_000], WIDE, usize::MAX, tuning());
    world.suffer(Duration::from_secs(2 * 24 * 3600));
    let before = world.sent;
    world.run(&[]);
    world.check_end();
    assert_eq!(world.books.taken.len(), 20_000);
    let after = world.sent - before;
    assert!(after <= 100, "{after} requests");
    // One that is over soon divides nothing.
    let mut world = World::new(vec![Nature::Good; 1_000], WIDE, usize::MAX, tuning());
    world.suffer(Duration::from_secs(60));
    world.run(&[]);
    let requests = world.books.requests.len();
    assert_eq!(requests, 1, "{requests} requests");
}

/// What is divided in doubt costs it an opening now and then, and no more: the others take all that has come meanwhile.
#[test]
fn a_way_that_opens_rarely_is_not_spent_on_small_requests() {
    let mut world = World::new(vec![Nature::Good; 8_000], WIDE, usize::MAX, tuning());
    let [every, pace, end] = [300, 5, 40_000].map(Duration::from_secs);
    world.pass_a_gate(every, pace, end);
    let taken = world.books.taken.len();
    assert!(taken >= 6_000, "{taken} rows");
}
