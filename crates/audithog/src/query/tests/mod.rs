//! Answers against SQL over the same rows: the view `audit_logs`, asked with [`Question::sql`](super::Question::sql), knows nothing of how
//! answers are made quick.

mod answers;
mod filters;
mod scopes;
mod statements;

use std::path::PathBuf;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use serde_json::Value;

use super::question::{Kind, Order};
use super::{Answer, CellKind, Log, Measure, Question, Statement};
use crate::clock::Clock;
use crate::ledger::tests::{NOW, commit_rows, run};
use crate::ledger::{SqliteStore, Store};
use crate::record::{Actor, End, Exchange, Micros, Outcome, RequestId, Row, derived_error_code};

/// A ledger in a directory of its own.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("audit.db")
    }

    pub(super) fn store(&self) -> SqliteStore {
        let clock = Clock::manual(NOW);
        SqliteStore::open(&self.path(), &run(), "{}", &clock, 1_000)
            .unwrap()
            .0
    }

    /// Full stretches are kept by column, as the writer does it.
    pub(super) fn holding(rows: &[Row]) -> Self {
        let place = Self::new();
        let mut store = place.store();
        for group in rows.chunks(700) {
            commit_rows(&mut store, group);
            while store.digest(false).unwrap() {}
        }
        store.close().unwrap();
        place
    }

    pub(super) fn log(&self) -> Log {
        Log::open(self.path()).unwrap()
    }

    /// The answer that SQLite gives.
    pub(super) fn by_sql(&self, question: &Question) -> Vec<Vec<Value>> {
        let connection = Connection::open(self.path()).unwrap();
        connection
            .create_scalar_function("sqrt", 1, FunctionFlags::SQLITE_DETERMINISTIC, |context| {
                Ok(context.get::<f64>(0)?.sqrt())
            })
            .unwrap();
        let Statement { sql, values } = question.sql();
        let mut statement = connection
            .prepare(&sql)
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
        let columns = statement.column_count();
        let values = values.iter().map(|(_, value)| value.as_str().unwrap());
        let lines = statement.query_map(rusqlite::params_from_iter(values), |row| {
            (0..columns).map(|at| Ok(json(row.get_ref(at)?))).collect()
        });
        let mut lines: Vec<Vec<Value>> = lines.unwrap().map(Result::unwrap).collect();
        lines.truncate(question.limit);
        lines
    }

    /// Both answers are the same, and how many lines they have.
    #[track_caller]
    pub(super) fn check(&self, question: &Question) -> usize {
        let mut answer = self.log().ask(question).unwrap();
        let mut expected = self.by_sql(question);
        if let Kind::Groups(grouping) = &question.kind
            && grouping.order == Order::Largest(Measure::P95)
        {
            // Known to half a percent, percentiles that are close may change places.
            let keys = grouping.by.len();
            answer
                .lines
                .sort_by_key(|line| format!("{:?}", &line[..keys]));
            expected.sort_by_key(|line| format!("{:?}", &line[..keys]));
        }
        compare(&answer, &expected, question);
        answer.lines.len()
    }
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => std::str::from_utf8(text).unwrap().into(),
        ValueRef::Blob(_) => panic!("the view shows no blobs"),
    }
}

#[track_caller]
fn compare(answer: &Answer, expected: &[Vec<Value>], question: &Question) {
    let context = || format!("{question:?}\n{answer:#?}\n{expected:#?}");
    assert_eq!(answer.lines.len(), expected.len(), "{}", context());
    for (line, expected) in answer.lines.iter().zip(expected) {
        for ((cell, expected), column) in line.iter().zip(expected).zip(&answer.columns) {
            let same = match (column.kind, cell.as_f64(), expected.as_f64()) {
                // Percentiles are known to half a percent, and the view's milliseconds to six digits.
                (CellKind::Milliseconds, Some(a), Some(b)) => (a - b).abs() <= b * 0.005 + 0.0011,
                (CellKind::Rate, Some(a), Some(b)) => (a - b).abs() < 1e-9,
                (CellKind::Json, ..) => {
                    *cell
                        == expected
                            .as_str()
                            .map_or(Value::Null, |text| text.parse().unwrap())
                }
                _ => cell == expected,
            };
            assert!(
                same,
                "{}: {cell} is not {expected}\n{}",
                column.name,
                context()
            );
        }
    }
}

/// The same numbers on every run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A service's day, in small: requests that arrive about every `step` microseconds and end in any order, and some business events.
pub(crate) fn traffic(rows: usize, step: u64) -> Vec<Row> {
    let mut dice = Dice(7);
    let first = NOW.0 - i64::try_from(rows as u64 * step).unwrap();
    (0..rows)
        .map(|at| {
            let ts = first + i64::try_from(at as u64 * step + dice.roll(20 * step)).unwrap();
            row(&mut dice, at as u64, Micros(ts))
        })
        .collect()
}

fn row(dice: &mut Dice, at: u64, ts: Micros) -> Row {
    let millis = u128::try_from(ts.0 / 1_000).unwrap();
    let id = uuid::Uuid::from_u128(millis << 80 | 0x7000_8000_0000_0000_0000 | u128::from(at));
    let user = dice.roll(40);
    let actor = match user {
        0..=4 => Actor::default(),
        5..=9 => Actor::user(format!("0192{user:04x}-0000-7000-8000-00000000{user:04x}")),
        _ => Actor::user(format!("user_{user}")),
    };
    let actor = match dice.roll(8) {
        0 => actor.role("admin").org("acme"),
        1 => actor
            .role("owner")
            .org("018f0000-0000-7000-8000-000000000001"),
        _ => actor.role("member").org(format!("org_{}", user % 7)),
    };
    if dice.roll(12) == 0 {
        let mut event = Row::event(id, ts, "agent_published".into());
        event.actor = actor;
        event.request_id = Some(RequestId::Uuid(uuid::Uuid::from_u128(id.as_u128() ^ 1)));
        event.properties = Some(r#"{"agent":"a_1","n":2}"#.into());
        return event;
    }
    let (end, status) = match dice.roll(30) {
        0 => (End::ClientClosedBeforeResponse, None),
        1 => (End::Panic, None),
        2 | 3 => (End::Complete, Some(404)),
        4 => (End::Complete, Some(429)),
        5 => (End::Complete, Some(503)),
        6 => (End::ClientClosedMidBody, Some(200)),
        _ => (End::Complete, Some(200)),
    };
    let kind = dice.roll(9);
    let method = ["GET", "POST", "DELETE"][usize::try_from(dice.roll(3)).unwrap()];
    let path = match kind {
        0 => "/healthz".to_owned(),
        1 => format!("/missing/{at}"),
        _ => format!("/{kind}/{}", dice.roll(1_000)),
    };
    let route = match kind {
        0 => Some("/healthz".into()),
        1 => None,
        _ => Some(format!("/{kind}/{{id}}").into()),
    };
    let magnitude = dice.roll(24);
    let mut row = Row::event(id, ts, "api_request".into());
    row.request_id = Some(RequestId::Uuid(id));
    row.actor = actor;
    row.trace_id = (dice.roll(3) == 0).then(|| id.into_bytes());
    row.exchange = Some(Exchange {
        method: method.into(),
        path: path.into(),
        route,
        status_code: status,
        outcome: Outcome::of(end, status, None),
        error_code: derived_error_code(end, status, None),
        duration_us: 200 + dice.roll(1 << magnitude),
        user_agent: Some(format!("agent/{}", dice.roll(4)).into()),
        ip: Some(match dice.roll(5) {
            0 => "2001:db8::7".parse().unwrap(),
            net => std::net::IpAddr::from([203, 0, 113, u8::try_from(net * 17 % 250).unwrap()]),
        }),
        upstream_request_id: None,
    });
    row
}
