//! The fields of a row by name, for those who ask for rows and those who print them.

use serde_json::{Value, json};

use super::{ActorType, Outcome, Row, Run, StoredRow};

/// A field that rows can be chosen and grouped by. The names are those of the view `audit_logs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// `api_request`, a business event's name, or one of audithog's own.
    Event,
    /// The actor's id.
    UserId,
    /// The role they act in.
    UserRole,
    /// The active organisation.
    OrgId,
    /// `user`, `service`, `api_key`, `anonymous` or `system`.
    ActorType,
    /// The person for whom the actor acts.
    OnBehalfOf,
    /// The request's method.
    Method,
    /// The request's path.
    Path,
    /// The route template.
    Route,
    /// `success` or `failure`.
    Result,
    /// Why it failed.
    ErrorCode,
    /// The `User-Agent` header.
    UserAgent,
    /// The client's address.
    Ip,
    /// The request's id.
    RequestId,
    /// The id that a trusted proxy gave the request.
    UpstreamRequestId,
    /// The W3C trace id.
    TraceId,
    /// The service's name.
    Service,
    /// Its environment.
    Environment,
    /// Its version.
    Version,
    /// Its instance.
    Instance,
}

impl Field {
    /// All there are.
    pub const ALL: [Self; 20] = [
        Self::Event,
        Self::UserId,
        Self::UserRole,
        Self::OrgId,
        Self::ActorType,
        Self::OnBehalfOf,
        Self::Method,
        Self::Path,
        Self::Route,
        Self::Result,
        Self::ErrorCode,
        Self::UserAgent,
        Self::Ip,
        Self::RequestId,
        Self::UpstreamRequestId,
        Self::TraceId,
        Self::Service,
        Self::Environment,
        Self::Version,
        Self::Instance,
    ];

    /// The column of the view `audit_logs`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::UserId => "user_id",
            Self::UserRole => "user_role",
            Self::OrgId => "org_id",
            Self::ActorType => "actor_type",
            Self::OnBehalfOf => "on_behalf_of",
            Self::Method => "method",
            Self::Path => "path",
            Self::Route => "route",
            Self::Result => "result",
            Self::ErrorCode => "error_code",
            Self::UserAgent => "user_agent",
            Self::Ip => "ip",
            Self::RequestId => "request_id",
            Self::UpstreamRequestId => "upstream_request_id",
            Self::TraceId => "trace_id",
            Self::Service => "service",
            Self::Environment => "environment",
            Self::Version => "version",
            Self::Instance => "instance",
        }
    }
}

/// What the row says in this field.
pub(crate) fn text_of(stored: &StoredRow, field: Field) -> Option<String> {
    let (row, run): (&Row, &Run) = (&stored.row, &stored.run);
    let actor = row.actor();
    let owned = |text: Option<&str>| text.map(str::to_owned);
    match field {
        Field::Event => Some(row.event_name().to_owned()),
        Field::UserId => owned(actor.user_id.as_deref()),
        Field::UserRole => owned(actor.user_role.as_deref()),
        Field::OrgId => owned(actor.org_id.as_deref()),
        Field::ActorType => actor.kind.map(|kind| kind.as_str().to_owned()),
        Field::OnBehalfOf => owned(actor.on_behalf_of.as_deref()),
        Field::Method => owned(row.method()),
        Field::Path => owned(row.path()),
        Field::Route => owned(row.route()),
        Field::Result => owned(row.result()),
        Field::ErrorCode => owned(row.error_code()),
        Field::UserAgent => owned(row.user_agent()),
        Field::Ip => row.ip().map(|ip| ip.to_string()),
        Field::RequestId => row.request_id(),
        Field::UpstreamRequestId => owned(row.upstream_request_id()),
        Field::TraceId => row.trace_id(),
        Field::Service => Some(run.service.clone()),
        Field::Environment => run.environment.clone(),
        Field::Version => run.version.clone(),
        Field::Instance => run.instance.clone(),
    }
}

/// The names of [`fields`], in their order: the columns of the view `audit_logs`.
pub(crate) const FIELD_NAMES: [&str; 27] = [
    "seq",
    "id",
    "ts",
    "event",
    "request_id",
    "upstream_request_id",
    "user_id",
    "user_role",
    "org_id",
    "actor_type",
    "on_behalf_of",
    "method",
    "path",
    "route",
    "status_code",
    "result",
    "error_code",
    "duration_ms",
    "user_agent",
    "ip",
    "trace_id",
    "service",
    "environment",
    "version",
    "instance",
    "distinct_id",
    "properties",
];

/// A row's fields after `seq`, `id` and `ts`, in the order of [`FIELD_NAMES`]; what is not set, or whose row is gone, is null.
pub(crate) fn fields(stored: Option<&StoredRow>) -> Vec<(&'static str, Value)> {
    let row: Option<&Row> = stored.map(|stored| &*stored.row);
    let run = stored.map(|stored| &*stored.run);
    let actor = row.map(Row::actor);
    let http = row.and_then(|row| row.exchange.as_ref());
    let ended = http.filter(|http| http.outcome != Outcome::Open);
    let properties: Option<Value> = row
        .and_then(Row::properties_json)
        .and_then(|json| serde_json::from_str(json).ok());
    let values = [
        json!(row.map(Row::event_name)),
        json!(row.and_then(Row::request_id)),
        json!(row.and_then(Row::upstream_request_id)),
        json!(actor.and_then(|actor| actor.user_id.as_ref())),
        json!(actor.and_then(|actor| actor.user_role.as_ref())),
        json!(actor.and_then(|actor| actor.org_id.as_ref())),
        json!(actor.and_then(|actor| actor.kind).map(ActorType::as_str)),
        json!(actor.and_then(|actor| actor.on_behalf_of.as_ref())),
        json!(row.and_then(Row::method)),
        json!(row.and_then(Row::path)),
        json!(row.and_then(Row::route)),
        json!(row.and_then(Row::status_code)),
        json!(row.and_then(Row::result)),
        json!(row.and_then(Row::error_code)),
        json!(ended.map(|http| http.duration_us as f64 / 1_000.0)),
        json!(row.and_then(Row::user_agent)),
        json!(row.and_then(Row::ip)),
        json!(row.and_then(Row::trace_id)),
        json!(run.map(|run| &run.service)),
        json!(run.and_then(|run| run.environment.as_ref())),
        json!(run.and_then(|run| run.version.as_ref())),
        json!(run.and_then(|run| run.instance.as_ref())),
        json!(row.and_then(|row| row.distinct_id.as_ref())),
        json!(properties),
    ];
    FIELD_NAMES[3..].iter().copied().zip(values).collect()
}
