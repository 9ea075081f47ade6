//! The questions that have a name.

use std::time::Duration;

use super::filter::wrong;
use super::question::{Grouping, Kind, Order, Shown};
use super::{Filter, Key, Measure, Question};
use crate::error::Error;
use crate::ledger::Condition;
use crate::record::Field;

/// A question with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Named {
    /// Which requests failed? The last first: of a ledger the last written, of PostHog the latest.
    Failures,
    /// Which endpoints have the highest rate of 5xx?
    Paths,
    /// Who makes how many requests?
    Users,
    /// Which error codes are the most frequent?
    Codes,
    /// Which endpoints are the slowest?
    Slowest,
    /// What did this user do?
    User,
    /// What did administrators do?
    Admins,
    /// What happened in this request?
    Request,
    /// How much traffic is there, and how does it end?
    Traffic,
    /// Who used this endpoint?
    Endpoint,
    /// What came from this address?
    Address,
    /// Who was refused for a quota or a rate limit?
    Refusals,
}

/// Roles that count as administrators unless the filter names others.
pub(super) const ADMIN_ROLES: [&str; 5] = ["admin", "administrator", "owner", "superadmin", "root"];

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

impl Named {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::Failures,
        Self::Paths,
        Self::Users,
        Self::Codes,
        Self::Slowest,
        Self::User,
        Self::Admins,
        Self::Request,
        Self::Traffic,
        Self::Endpoint,
        Self::Address,
        Self::Refusals,
    ];

    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Paths => "paths",
            Self::Users => "users",
            Self::Codes => "codes",
            Self::Slowest => "slowest",
            Self::User => "user",
            Self::Admins => "admins",
            Self::Request => "request",
            Self::Traffic => "traffic",
            Self::Endpoint => "endpoint",
            Self::Address => "address",
            Self::Refusals => "refusals",
        }
    }

    /// What it asks, in one line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Failures => "Requests that failed, the last first",
            Self::Paths => {
                "Endpoints with the highest rate of 5xx, with counts; one failure of one request does not lead"
            }
            Self::Users => "Requests by user",
            Self::Codes => "The most frequent error codes",
            Self::Slowest => "The slowest endpoints: p50, p95, p99",
            Self::User => "What one user did, the last first",
            Self::Admins => "What administrators did, the last first",
            Self::Request => "One request with all its business events, in order",
            Self::Traffic => "Requests over time, by outcome",
            Self::Endpoint => "Who used an endpoint",
            Self::Address => "What came from one address, the last first",
            Self::Refusals => "Who was refused for a quota or a rate limit, and where",
        }
    }

    /// What must be named with it: a user id, a request id, an endpoint or an address.
    #[must_use]
    pub fn subject(self) -> Option<&'static str> {
        match self {
            Self::User => Some("USER_ID"),
            Self::Request => Some("REQUEST_ID"),
            Self::Endpoint => Some("ROUTE"),
            Self::Address => Some("IP"),
            _ => None,
        }
    }

    /// How far it looks back unless told otherwise. None: the whole log.
    #[must_use]
    pub fn looks_back(self) -> Option<Duration> {
        match self {
            Self::Failures => Some(HOUR),
            Self::Request => None,
            _ => Some(DAY),
        }
    }

    /// The question. `subject` is what [`Named::subject`] wants: an endpoint is a route template or a path, with or without a method
    /// in front (`GET /agents/{id}`).
    ///
    /// # Errors
    ///
    /// [`Error::is_question`]: a subject is missing, not wanted, or none.
    pub fn question(self, subject: Option<&str>, filter: Filter) -> Result<Question, Error> {
        let filter = self.narrowed(subject, filter)?;
        Ok(self.about_rows(filter))
    }

    /// The question about all that could be its subject: every user, every endpoint.
    ///
    /// # Errors
    ///
    /// As for [`Named::question`].
    pub fn about_everyone(self, filter: Filter) -> Result<Question, Error> {
        match self.subject_field() {
            Some(field) => Ok(self.about_rows(filter.has(field))),
            None => self.question(None, filter),
        }
    }

    /// The field that the subject is a value of.
    #[must_use]
    pub fn subject_field(self) -> Option<Field> {
        match self {
            Self::User => Some(Field::UserId),
            Self::Request => Some(Field::RequestId),
            Self::Endpoint => Some(Field::Route),
            Self::Address => Some(Field::Ip),
            _ => None,
        }
    }

    fn about_rows(self, filter: Filter) -> Question {
        if let Some((columns, limit)) = self.rows() {
            return Question {
                kind: Kind::Rows {
                    columns: columns.to_vec(),
                    latest_first: self != Self::Request,
                },
                filter,
                limit,
            };
        }
        let (by, measures, order, limit) = self.groups(step(&filter));
        Question {
            kind: Kind::Groups(Grouping {
                by,
                measures: measures.to_vec(),
                order,
            }),
            filter: Filter(filter.0.with(Condition::Request)),
            limit,
        }
    }

    /// The columns and the number of lines of a question after rows.
    fn rows(self) -> Option<(&'static [Shown], usize)> {
        Some(match self {
            Self::Failures => (FAILURES, 50),
            Self::User => (ACTS, 50),
            Self::Admins | Self::Address => (ACTS_OF, 50),
            Self::Request => (STEPS, 1_000),
            _ => return None,
        })
    }

    /// What a question after groups counts, and how many lines it has. `step`: of the time, where it groups by that.
    fn groups(self, step: Duration) -> (Vec<Key>, &'static [Measure], Order, usize) {
        let field = |field| vec![Key::Field(field)];
        let endpoint = || vec![Key::Field(Field::Method), Key::Field(Field::Route)];
        let largest = Order::Largest(Measure::Count);
        match self {
            Self::Paths => (endpoint(), PATHS, Order::SurestServerErrors, 20),
            Self::Slowest => (endpoint(), SLOWEST, Order::Largest(Measure::P95), 20),
            Self::Codes => (field(Field::ErrorCode), CODES, largest, 20),
            Self::Traffic => (vec![Key::time(step)], TRAFFIC, Order::Key, 1_000),
            Self::Endpoint => {
                let by = [Field::UserId, Field::OrgId].map(Key::Field);
                (by.to_vec(), USED_BY, largest, 50)
            }
            Self::Refusals => {
                let by = [Field::UserId, Field::Method, Field::Route, Field::ErrorCode];
                (by.map(Key::Field).to_vec(), REFUSALS, largest, 50)
            }
            _ => (field(Field::UserId), USERS, largest, 50),
        }
    }

    /// The filter with what the name and the subject say.
    fn narrowed(self, subject: Option<&str>, filter: Filter) -> Result<Filter, Error> {
        let subject = match (self.subject(), subject) {
            (Some(wanted), None) => {
                return Err(wrong(format!(
                    "the question `{}` needs to know which: give {wanted}",
                    self.name()
                )));
            }
            (None, Some(given)) => {
                return Err(wrong(format!(
                    "the question `{}` is about all: {given:?} belongs into a filter",
                    self.name()
                )));
            }
            (_, subject) => subject.unwrap_or_default(),
        };
        Ok(match self {
            Self::Failures => Filter(
                filter
                    .is(Field::Result, ["failure"])?
                    .0
                    .with(Condition::Request),
            ),
            Self::Codes => filter.is(Field::Result, ["failure"])?,
            Self::User => filter.is(Field::UserId, [subject])?,
            Self::Admins if filter.asks_for(Field::UserRole) => filter,
            Self::Admins => filter.is(Field::UserRole, ADMIN_ROLES)?,
            Self::Request => filter.is(Field::RequestId, [subject])?,
            Self::Endpoint => endpoint(subject, filter)?,
            Self::Address => filter.is(Field::Ip, [subject])?,
            Self::Refusals => filter.refused(),
            Self::Paths | Self::Users | Self::Slowest | Self::Traffic => filter,
        })
    }
}

const PATHS: &[Measure] = &[
    Measure::Count,
    Measure::ServerErrors,
    Measure::ServerErrorRate,
    Measure::Last,
];
const SLOWEST: &[Measure] = &[Measure::Count, Measure::P50, Measure::P95, Measure::P99];
const CODES: &[Measure] = &[Measure::Count, Measure::ServerErrors, Measure::Last];
const TRAFFIC: &[Measure] = &[
    Measure::Count,
    Measure::Successes,
    Measure::ClientErrors,
    Measure::ServerErrors,
    Measure::OtherFailures,
];
const USERS: &[Measure] = &[
    Measure::Count,
    Measure::Failures,
    Measure::FailureRate,
    Measure::Last,
];
const USED_BY: &[Measure] = &[Measure::Count, Measure::Failures, Measure::Last];
const REFUSALS: &[Measure] = &[Measure::Count, Measure::Last];

const FAILURES: &[Shown] = &[
    Shown::Ts,
    Shown::Field(Field::Method),
    Shown::Field(Field::Path),
    Shown::StatusCode,
    Shown::Field(Field::ErrorCode),
    Shown::DurationMs,
    Shown::Field(Field::UserId),
    Shown::Field(Field::RequestId),
];

const ACTS: &[Shown] = &[
    Shown::Ts,
    Shown::Field(Field::Event),
    Shown::Field(Field::Method),
    Shown::Field(Field::Path),
    Shown::StatusCode,
    Shown::Field(Field::ErrorCode),
    Shown::Field(Field::Ip),
    Shown::Field(Field::RequestId),
];

const ACTS_OF: &[Shown] = &[
    Shown::Ts,
    Shown::Field(Field::UserId),
    Shown::Field(Field::UserRole),
    Shown::Field(Field::Event),
    Shown::Field(Field::Method),
    Shown::Field(Field::Path),
    Shown::StatusCode,
    Shown::Field(Field::RequestId),
];

const STEPS: &[Shown] = &[
    Shown::Ts,
    Shown::Field(Field::Event),
    Shown::Field(Field::Method),
    Shown::Field(Field::Path),
    Shown::StatusCode,
    Shown::Field(Field::ErrorCode),
    Shown::DurationMs,
    Shown::Field(Field::UserId),
    Shown::Field(Field::OrgId),
    Shown::Field(Field::Ip),
    Shown::Properties,
];

/// `/agents/{id}`, `GET /agents/{id}`.
fn endpoint(subject: &str, filter: Filter) -> Result<Filter, Error> {
    let subject = subject.trim();
    let (method, route) = match subject.split_once(' ') {
        Some((method, route)) => (Some(method), route.trim()),
        None => (None, subject),
    };
    if !route.starts_with('/') && route != "*" {
        return Err(wrong(format!(
            "{subject:?} is no endpoint: give its route as /agents/{{id}}, or GET /agents/{{id}}"
        )));
    }
    let filter = match method {
        Some(method) => filter.is(Field::Method, [method])?,
        None => filter,
    };
    filter.is(Field::Route, [route])
}

/// A step that makes about sixty of the filter's range.
fn step(filter: &Filter) -> Duration {
    let range = match (filter.0.since, filter.0.until) {
        (Some(since), Some(until)) => until.since(since),
        (Some(since), None) => crate::record::Micros::now().since(since),
        _ => 60 * DAY,
    };
    [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR]
        .into_iter()
        .find(|step| range <= *step * 100)
        .unwrap_or(DAY)
}

impl Filter {
    fn asks_for(&self, field: Field) -> bool {
        self.0
            .conditions
            .iter()
            .any(|condition| matches!(condition, Condition::Is(asked, _) if *asked == field))
    }
}
