//! Both stores against one model: generated actions, and after each the books, the rows, the
//! sequence and the cursors.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::{DeadLetter, Group, MemoryStore, Settlement, SqliteStore, Store, Straggler};
use crate::books::{LossReason, Losses};
use crate::clock::Clock;
use crate::record::{
    Actor, ActorType, Exchange, Measured, Micros, Outcome, RequestId, Row, Run, SharedText,
    StoredRow, Text,
};

pub(crate) const NOW: Micros = Micros(1_770_000_000_000_000);
const SINKS: [&str; 2] = ["posthog", "postgres"];
const MEMORY_ROWS: usize = 12;

/// A row with every field set; `n` makes it distinct.
pub(crate) fn full_row(n: u32) -> Row {
    let id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    Row {
        id,
        caller_id: false,
        ts: Micros(NOW.0 - 1_000_000 + i64::from(n)),
        event: "api_request".into(),
        request_id: Some(RequestId::Uuid(id)),
        actor: Actor::user(format!("user_{n}"))
            .role("admin")
            .org("acme")
            .on_behalf_of("u_9"),
        exchange: Some(Exchange {
            method: "POST".into(),
            path: format!("/agents/{n}").into(),
            route: Some("/agents/{id}".into()),
            status_code: Some(500),
            outcome: Outcome::Failure,
            error_code: Some("INTERNAL".into()),
            duration_us: 1_234,
            user_agent: Some("Mozilla/5.0 (X11; Linux x86_64)".into()),
            ip: Some([203, 0, 113, 9].into()),
            upstream_request_id: Some("edge-1".into()),
        }),
        trace_id: Some([0xab; 16]),
        trace_trusted: true,
        distinct_id: Some("d-1".into()),
        properties: Some(r#"{"a":1}"#.into()),
        on_request_of: None,
        measured: Measured::default(),
    }
}

#[derive(Clone, Debug)]
enum Action {
    Append {
        rows: Vec<Row>,
        requests: u64,
        sync: bool,
    },
    /// What becomes of the next rows of a sink.
    Settle {
        sink: usize,
        fates: Vec<Fate>,
    },
    /// The end of a sink's oldest straggler; `true` is delivered.
    Resolve {
        sink: usize,
        delivered: bool,
    },
    Prune {
        before: Micros,
        limit: usize,
    },
    Sync,
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Delivered,
    SampledOut,
    HeldBack,
    Dead,
    Straggler,
}

/// Boxed, here and below: nested by value, the generators outgrow a test thread's stack.
fn text() -> BoxedStrategy<Text> {
    prop_oneof![
        4 => prop::sample::select(vec!["api_request", "GET", "/agents/{id}", "admin", "NOT_FOUND"])
            .prop_map(Text::from),
        2 => "\\PC{0,20}".prop_map(Text::from),
        1 => any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string().into()),
        1 => any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string().to_uppercase().into()),
        1 => any::<u128>().prop_map(|id| Uuid::from_u128(id).simple().to_string().into()),
        // Longer than the dictionary takes, and a NUL, which SQLite's own functions stop at.
        1 => Just(Text::from("x\0y".repeat(200))),
    ]
    .boxed()
}

fn request_id(id: Uuid) -> BoxedStrategy<Option<RequestId>> {
    prop_oneof![
        Just(None),
        Just(Some(RequestId::Uuid(id))),
        any::<u128>().prop_map(|id| Some(RequestId::Uuid(Uuid::from_u128(id)))),
        text().prop_map(|text| Some(RequestId::Adopted((&*text).into()))),
    ]
    .boxed()
}

fn rare() -> BoxedStrategy<Option<SharedText>> {
    prop::option::of(text().prop_map(SharedText::from)).boxed()
}

fn actor() -> BoxedStrategy<Actor> {
    let kind = prop::option::of(prop::sample::select(vec![
        ActorType::User,
        ActorType::Service,
        ActorType::ApiKey,
        ActorType::Anonymous,
        ActorType::System,
    ]));
    let part = || prop::option::of(text());
    (part(), part(), part(), kind, rare())
        .prop_map(|(user_id, user_role, org_id, kind, on_behalf_of)| Actor {
            user_id,
            user_role,
            org_id,
            kind,
            on_behalf_of,
        })
        .boxed()
}

fn exchange() -> BoxedStrategy<Exchange> {
    let first = (text(), text(), prop::option::of(text()), any::<bool>());
    let second = (
        prop::option::of(any::<u16>()),
        any::<bool>(),
        rare(),
        0..=i64::MAX as u64,
    );
    let third = (rare(), prop::option::of(any::<std::net::IpAddr>()), rare());
    (first, second, third)
        .prop_map(|(first, second, third)| {
            let (method, path, route, same) = first;
            let (status_code, failure, error_code, duration_us) = second;
            let (user_agent, ip, upstream_request_id) = third;
            Exchange {
                method,
                path: route.clone().filter(|_| same).unwrap_or(path),
                route,
                status_code,
                outcome: if failure {
                    Outcome::Failure
                } else {
                    Outcome::Success
                },
                error_code,
                duration_us,
                user_agent,
                ip,
                upstream_request_id,
            }
        })
        .boxed()
}

pub(crate) fn row() -> BoxedStrategy<Row> {
    // Few caller-supplied ids, so that some come twice.
    let id = prop_oneof![
        3 => any::<u128>().prop_map(|id| (id, false)),
        1 => (0..6_u128).prop_map(|id| (id, true)),
    ];
    id.prop_flat_map(|(id, caller_id)| {
        let id = Uuid::from_u128(id);
        let first = (
            NOW.0 - 10_000_000..NOW.0 + 1_000_000,
            text(),
            request_id(id),
            actor(),
        );
        let second = (
            prop::option::of(exchange()),
            prop::option::of(any::<[u8; 16]>()),
            any::<bool>(),
            rare(),
            prop::option::of(Just(SharedText::from(r#"{"k":"v","n":[1,null]}"#))),
        );
        (first, second).prop_map(move |(first, second)| {
            let (ts, event, request_id, actor) = first;
            let (exchange, trace_id, trace_trusted, distinct_id, properties) = second;
            Row {
                id,
                caller_id,
                ts: Micros(ts),
                event,
                request_id,
                actor,
                exchange,
                trace_id,
                trace_trusted,
                distinct_id,
                properties,
                on_request_of: None,
                measured: Measured::default(),
            }
        })
    })
    .boxed()
}

fn action() -> BoxedStrategy<Action> {
    let fate = prop::sample::select(vec![
        Fate::Delivered,
        Fate::Delivered,
        Fate::SampledOut,
        Fate::HeldBack,
        Fate::Dead,
        Fate::Straggler,
    ]);
    let sink = || 0..SINKS.len();
    prop_oneof![
        4 => (prop::collection::vec(row(), 0..8), 0..5_u64, any::<bool>())
            .prop_map(|(rows, requests, sync)| Action::Append { rows, requests, sync }),
        4 => (sink(), prop::collection::vec(fate, 0..8))
            .prop_map(|(sink, fates)| Action::Settle { sink, fates }),
        2 => (sink(), any::<bool>())
            .prop_map(|(sink, delivered)| Action::Resolve { sink, delivered }),
        2 => (NOW.0 - 2_000_000..NOW.0 + 8_000_000, 0..6_usize)
            .prop_map(|(before, limit)| Action::Prune { before: Micros(before), limit }),
        1 => Just(Action::Sync),
        1 => Just(Action::Reopen),
    ]
    .boxed()
}

/// What a store must hold, kept in the plainest way.
#[derive(Default)]
struct Model {
    /// Every row ever stored; `seq` is the position plus one.
    rows: Vec<Row>,
    duplicates: u64,
    not_stored: u64,
    requests: u64,
    pruned: i64,
    /// When the last row was committed.
    newest: Option<Micros>,
    sinks: BTreeMap<&'static str, SinkModel>,
}

#[derive(Clone, Default)]
struct SinkModel {
    cursor: i64,
    delivered: u64,
    sampled_out: u64,
    held_back: u64,
    dead: u64,
    stragglers: BTreeMap<i64, Straggler>,
}

impl Model {
    /// A memory store holds what some sink still needs, a file what is not pruned.
    fn holds(&self, seq: i64, memory: bool) -> bool {
        if !memory {
            return seq > self.pruned;
        }
        let cursor = self.sinks.values().map(|sink| sink.cursor).min();
        cursor.is_none_or(|cursor| seq > cursor)
            || self
                .sinks
                .values()
                .any(|sink| sink.stragglers.contains_key(&seq))
    }

    fn held(&self, memory: bool) -> Vec<(i64, &Row)> {
        (1..)
            .zip(&self.rows)
            .filter(|(seq, _)| self.holds(*seq, memory))
            .collect()
    }

    /// Which rows of a group are refused, and how many at its end do not fit.
    fn append(&mut self, rows: &[Row], memory: bool) -> (Vec<usize>, usize) {
        let mut duplicates = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let held = self.held(memory);
            let known = |(_, other): &(i64, &Row)| other.caller_id && other.id == row.id;
            if row.caller_id && held.iter().any(known) {
                duplicates.push(at);
                continue;
            }
            if memory && held.len() >= MEMORY_ROWS {
                self.duplicates += duplicates.len() as u64;
                self.not_stored += (rows.len() - at) as u64;
                return (duplicates, rows.len() - at);
            }
            self.rows.push(row.clone());
        }
        self.duplicates += duplicates.len() as u64;
        (duplicates, 0)
    }

    fn settle(&mut self, sink: &'static str, fates: &[Fate]) -> Settlement {
        let head = self.rows.len() as i64;
        let model = self.sinks.entry(sink).or_default();
        let mut settlement = Settlement {
            sink,
            ..Settlement::default()
        };
        for fate in fates {
            if model.cursor == head {
                break;
            }
            model.cursor += 1;
            let seq = model.cursor;
            match fate {
                Fate::Delivered => settlement.delivered += 1,
                Fate::SampledOut => settlement.sampled_out += 1,
                Fate::HeldBack => settlement.held_back += 1,
                Fate::Dead => settlement.dead.push(dead(seq)),
                Fate::Straggler => settlement.stragglers.push(Straggler {
                    seq,
                    attempts: 1,
                    since: NOW,
                    // Later ones are due earlier, so that the order is not that of `seq`.
                    next: Micros(NOW.0 + 1_000 - seq),
                    reason: "503".to_owned(),
                }),
            }
        }
        settlement.cursor = model.cursor;
        model.delivered += settlement.delivered;
        model.sampled_out += settlement.sampled_out;
        model.held_back += settlement.held_back;
        model.dead += settlement.dead.len() as u64;
        for straggler in &settlement.stragglers {
            model.stragglers.insert(straggler.seq, straggler.clone());
        }
        settlement
    }

    /// The oldest straggler ends; the next one is tried again and stays.
    fn resolve(&mut self, sink: &'static str, delivered: bool) -> Settlement {
        let model = self.sinks.entry(sink).or_default();
        let mut settlement = Settlement {
            sink,
            cursor: model.cursor,
            ..Settlement::default()
        };
        if let Some((seq, _)) = model.stragglers.pop_first() {
            settlement.resolved.push(seq);
            if delivered {
                settlement.delivered = 1;
                model.delivered += 1;
            } else {
                settlement.dead.push(dead(seq));
                model.dead += 1;
            }
        }
        if let Some(mut next) = model.stragglers.first_entry() {
            next.get_mut().attempts += 1;
            settlement.stragglers.push(next.get().clone());
        }
        settlement
    }
}

fn dead(seq: i64) -> DeadLetter {
    DeadLetter {
        seq,
        ts: NOW,
        reason: "400".to_owned(),
    }
}

/// A store under test.
struct Subject {
    store: Box<dyn Store>,
    file: Option<(tempfile::TempDir, Clock)>,
}

impl Subject {
    fn memory() -> Self {
        Self {
            store: Box::new(MemoryStore::new(MEMORY_ROWS, &run())),
            file: None,
        }
    }

    fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let store = open(&directory, &clock);
        Self {
            store,
            file: Some((directory, clock)),
        }
    }

    fn register(&mut self) {
        for sink in SINKS {
            self.store.register_sink(sink).unwrap();
        }
    }

    fn reopen(&mut self) {
        if let Some((directory, clock)) = &self.file {
            self.store.close().unwrap();
            clock.advance(Duration::from_micros(1));
            self.store = open(directory, clock);
            self.register();
        }
    }
}

fn open(directory: &tempfile::TempDir, clock: &Clock) -> Box<dyn Store> {
    let path = directory.path().join("audit.db");
    let (store, report) = SqliteStore::open(&path, &run(), "{}", clock, 10).unwrap();
    assert_eq!(report.unclean, []);
    Box::new(store)
}

pub(crate) fn run() -> Run {
    Run {
        service: "shop".to_owned(),
        environment: Some("test".to_owned()),
        version: Some("1.2.3".to_owned()),
        instance: Some("host-1".to_owned()),
    }
}

fn act(subject: &mut Subject, model: &mut Model, action: Action) {
    let memory = subject.file.is_none();
    match action {
        Action::Append {
            rows,
            requests,
            sync,
        } => {
            if let Some((_, clock)) = &subject.file {
                clock.advance(Duration::from_millis(500));
            }
            let mut losses = Losses::default();
            losses.add(LossReason::QueueFull, requests);
            let group = Group {
                rows: &rows,
                losses,
                requests,
                settlements: &[],
                sync,
                ..Group::default()
            };
            let committed = subject.store.commit(&group).unwrap();
            let (duplicates, not_stored) = model.append(&rows, memory);
            if let Some((_, clock)) = subject.file.as_ref().filter(|_| !rows.is_empty()) {
                model.newest = Some(clock.wall());
            }
            model.requests += requests;
            assert_eq!(committed.duplicates, duplicates);
            assert_eq!(committed.not_stored, not_stored);
            assert_eq!(committed.head, model.rows.len() as i64);
        }
        Action::Settle { sink, fates } => {
            let settlement = model.settle(SINKS[sink], &fates);
            commit_settlement(subject, &settlement);
        }
        Action::Resolve { sink, delivered } => {
            let settlement = model.resolve(SINKS[sink], delivered);
            commit_settlement(subject, &settlement);
        }
        Action::Prune { before, limit } => prune(subject, model, before, limit),
        Action::Sync => drop(
            subject
                .store
                .commit(&Group {
                    sync: true,
                    ..Group::default()
                })
                .unwrap(),
        ),
        Action::Reopen => subject.reopen(),
    }
}

fn commit_settlement(subject: &mut Subject, settlement: &Settlement) {
    let group = Group {
        settlements: std::slice::from_ref(settlement),
        ..Group::default()
    };
    subject.store.commit(&group).unwrap();
}

fn prune(subject: &mut Subject, model: &mut Model, before: Micros, limit: usize) {
    let pruned = subject.store.prune(before, limit).unwrap();
    assert!(pruned <= limit as u64);
    if subject.file.is_none() {
        assert_eq!(pruned, 0);
        return;
    }
    // So few rows are one block, as old as its newest row; their own times, whatever they are, say nothing.
    let head = model.rows.len() as i64;
    let old = model.newest.is_some_and(|newest| newest < before);
    let mut last = if old { head } else { 0 };
    for sink in model.sinks.values() {
        let straggler = sink.stragglers.keys().next();
        last = last
            .min(sink.cursor)
            .min(straggler.map_or(head, |seq| seq - 1));
    }
    let mark = last.min(model.pruned + limit as i64).max(model.pruned);
    assert_eq!(subject.store.totals().pruned, mark);
    assert_eq!(mark, model.pruned + pruned as i64);
    model.pruned = mark;
}

fn check(subject: &Subject, model: &Model, cursors: &mut BTreeMap<String, i64>) {
    let memory = subject.file.is_none();
    let totals = subject.store.totals();
    let head = model.rows.len() as i64;
    assert_eq!(totals.head, head);
    assert_eq!(totals.requests, model.requests);
    assert_eq!(totals.losses.get(LossReason::QueueFull), model.requests);
    assert_eq!(totals.losses.get(LossReason::DuplicateId), model.duplicates);
    assert_eq!(totals.losses.get(LossReason::MemoryFull), model.not_stored);
    let mut reader = subject.store.reader().unwrap();
    for (name, sink) in &totals.sinks {
        let expected = model.sinks.get(name.as_str()).cloned().unwrap_or_default();
        assert_eq!(sink.cursor, expected.cursor);
        assert_eq!(sink.delivered, expected.delivered);
        assert_eq!(sink.sampled_out, expected.sampled_out);
        assert_eq!(sink.held_back, expected.held_back);
        assert_eq!(sink.dead, expected.dead);
        assert_eq!(sink.stragglers, expected.stragglers.len() as u64);
        let settled = sink.delivered + sink.sampled_out + sink.held_back + sink.dead;
        let pending = (head - sink.cursor) as u64 + sink.stragglers;
        assert_eq!((head - sink.began) as u64, settled + pending);
        let before = cursors.insert(name.clone(), sink.cursor).unwrap_or(0);
        assert!(before <= sink.cursor, "a cursor moved back");

        let mut due: Vec<Straggler> = expected.stragglers.values().cloned().collect();
        due.sort_by_key(|straggler| (straggler.next, straggler.seq));
        assert_eq!(reader.stragglers(name, usize::MAX).unwrap(), due);
    }
    let held = model.held(memory);
    let rows = reader.rows(0, i64::MAX - 1, usize::MAX).unwrap();
    compare(&rows, &held);
    let seqs: Vec<i64> = (1..=head).collect();
    compare(&reader.rows_by_seq(&seqs).unwrap(), &held);
}

fn compare(rows: &[StoredRow], expected: &[(i64, &Row)]) {
    let found: Vec<(i64, &Row)> = rows
        .iter()
        .map(|stored| (stored.seq, &*stored.row))
        .collect();
    assert_eq!(found, expected);
    for stored in rows {
        assert_eq!(*stored.run, run());
    }
}

fn follow(mut subject: Subject, actions: Vec<Action>) {
    let mut model = Model::default();
    model
        .sinks
        .extend(SINKS.map(|sink| (sink, SinkModel::default())));
    subject.register();
    let mut cursors = BTreeMap::new();
    for action in actions {
        act(&mut subject, &mut model, action);
        check(&subject, &model, &mut cursors);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_file_agrees_with_the_model(actions in prop::collection::vec(action(), 1..25)) {
        follow(Subject::sqlite(), actions);
    }

    #[test]
    fn the_memory_agrees_with_the_model(actions in prop::collection::vec(action(), 1..40)) {
        follow(Subject::memory(), actions);
    }
}

fn both() -> [Subject; 2] {
    [Subject::sqlite(), Subject::memory()]
}

#[test]
fn a_range_is_read_in_order_and_up_to_its_limit() {
    for mut subject in both() {
        let rows: Vec<Row> = (0..6).map(full_row).collect();
        commit_rows(&mut *subject.store, &rows);
        let mut reader = subject.store.reader().unwrap();
        let mut seqs = |after, upto, limit| -> Vec<i64> {
            let rows = reader.rows(after, upto, limit).unwrap();
            rows.iter().map(|row| row.seq).collect()
        };
        assert_eq!(seqs(2, 5, 10), [3, 4, 5]);
        assert_eq!(seqs(0, 6, 2), [1, 2]);
        assert_eq!(seqs(5, 5, 10), [0; 0]);
        assert_eq!(seqs(6, 2, 10), [0; 0]);
    }
}

#[test]
fn a_lease_has_one_holder_until_it_ends() {
    let at = |seconds: u64| NOW.saturating_add(Duration::from_secs(seconds));
    for mut subject in both() {
        subject.register();
        let mut lease = |who, now, until| {
            subject
                .store
                .lease("posthog", who, at(now), at(until))
                .unwrap()
        };
        assert!(lease("a", 0, 10));
        assert!(!lease("b", 5, 15), "held by another");
        assert!(lease("a", 8, 20), "the holder renews");
        assert!(!lease("b", 19, 30));
        assert!(!lease("b", 19, 0), "only the holder releases");
        assert!(lease("b", 20, 30), "it ended");
        assert!(lease("b", 21, 21), "the holder releases");
        assert!(lease("a", 22, 30));
    }
}

#[test]
fn a_full_memory_refuses_the_newest_and_frees_what_is_settled() {
    let mut store = MemoryStore::new(3, &run());
    store.register_sink("posthog").unwrap();
    let rows: Vec<Row> = (0..5).map(full_row).collect();
    let group = Group {
        rows: &rows,
        ..Group::default()
    };
    let committed = store.commit(&group).unwrap();
    assert_eq!((committed.head, committed.not_stored), (3, 2));
    assert_eq!(store.totals().losses.get(LossReason::MemoryFull), 2);

    let settlement = Settlement {
        sink: "posthog",
        cursor: 2,
        delivered: 2,
        ..Settlement::default()
    };
    let group = Group {
        rows: &rows[3..],
        settlements: &[settlement],
        ..Group::default()
    };
    let committed = store.commit(&group).unwrap();
    assert_eq!((committed.head, committed.not_stored), (5, 0));
}

#[test]
fn the_last_row_before_a_time_has_only_older_ones_before_it() {
    // 3,500 rows, a second apart, and one late arrival.
    let mut rows: Vec<Row> = (0..3_500).map(full_row).collect();
    for (n, row) in (0..).zip(&mut rows) {
        row.ts = Micros(NOW.0 - 4_000_000_000 + n * 1_000_000);
    }
    rows[2_100].ts = rows[5].ts;
    let mut store = MemoryStore::new(10_000, &run());
    commit_rows(&mut store, &rows);
    let mut reader = store.reader().unwrap();
    let mut before = |n: usize| reader.last_before(rows[n].ts).unwrap();
    assert_eq!(
        [0, 999, 1_000, 2_500].map(&mut before),
        [0, 999, 1_000, 2_500]
    );
    assert_eq!(reader.last_before(NOW).unwrap(), 3_500);
}

#[test]
fn a_files_last_row_before_a_time_goes_by_blocks_and_by_their_commits() {
    let mut subject = Subject::sqlite();
    let (_, clock) = subject.file.as_ref().unwrap();
    let rows: Vec<Row> = (0..3_500).map(full_row).collect();
    let minute = Duration::from_secs(60);
    for chunk in rows.chunks(700) {
        clock.advance(minute);
        commit_rows(&mut *subject.store, chunk);
    }
    let mut reader = subject.store.reader().unwrap();
    let mut before = |minutes: u32| {
        let commit = NOW.saturating_add(minute * minutes);
        [0, 1].map(|more| reader.last_before(Micros(commit.0 + more)).unwrap())
    };
    assert_eq!(before(1), [0, 0]);
    // Row 1,000 came with the second commit, row 2,000 with the third, row 3,000 with the last.
    assert_eq!(before(2), [0, 1_000]);
    assert_eq!(before(3), [1_000, 2_000]);
    assert_eq!(before(4), [2_000, 2_000]);
    assert_eq!(before(5), [2_000, 3_500]);
}

pub(crate) fn commit_rows(store: &mut dyn Store, rows: &[Row]) {
    let group = Group {
        rows,
        ..Group::default()
    };
    let committed = store.commit(&group).unwrap();
    assert_eq!((committed.duplicates.len(), committed.not_stored), (0, 0));
}
