//! The private API: who may, which thing, and what is kept of it.
//!
//! Written from PostHog's serializers (`posthog/api/dashboards/dashboard.py`, `insight.py`, `products/alerts/backend/api/alert.py`), its
//! schema of queries and `posthog/scopes.py`.

mod alert;
mod checks;
mod dashboard;
mod insight;
mod query_node;
mod things;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::exchange::{Incoming, Outcome};
use super::reply::Reply;

pub(super) use things::Things;

/// A reply's status and body; none: 204.
type Answer = Result<(StatusCode, Option<Value>), Refused>;

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    detail: String,
    attr: Option<String>,
}

impl Refused {
    /// 400: a member of the body is not as it must be.
    fn member(name: &str, detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "validation_error",
            code: "invalid_input",
            detail: detail.into(),
            attr: Some(name.to_owned()),
        }
    }

    pub(super) fn query(detail: impl Into<String>) -> Self {
        Self {
            attr: None,
            ..Self::member("", detail)
        }
    }

    fn missing() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "invalid_request",
            code: "not_found",
            detail: "Not found.".to_owned(),
            attr: None,
        }
    }

    fn method() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            kind: "invalid_request",
            code: "method_not_allowed",
            detail: "Method not allowed.".to_owned(),
            attr: None,
        }
    }

    fn into_reply(self) -> Reply {
        let body =
            json!({"type": self.kind, "code": self.code, "detail": self.detail, "attr": self.attr});
        Reply::json(self.status, &body)
    }
}

/// Whether the request's personal key is one that may do this.
pub(super) fn allow(request: &Incoming, behaviour: &Behaviour, scope: &str) -> Result<(), Refused> {
    let refuse = |detail: &str| Refused {
        status: StatusCode::UNAUTHORIZED,
        kind: "authentication_error",
        code: "authentication_failed",
        detail: detail.to_owned(),
        attr: None,
    };
    let given = request.header("authorization");
    let Some(key) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
        let refused = refuse("Authentication credentials were not provided.");
        return Err(Refused {
            code: "not_authenticated",
            ..refused
        });
    };
    let shaped = key.starts_with("phx_") && key.len() > "phx_".len();
    let scopes = match &behaviour.personal_keys {
        None if shaped => return Ok(()),
        None => None,
        Some(known) => known.get(key),
    };
    let Some(scopes) = scopes else {
        return Err(refuse(
            "Personal API key found in request Authorization header is invalid.",
        ));
    };
    // To write is to read.
    let writes = scope.replace(":read", ":write");
    if ["*", scope, &writes]
        .iter()
        .any(|scope| scopes.contains(*scope))
    {
        return Ok(());
    }
    Err(Refused {
        status: StatusCode::FORBIDDEN,
        kind: "authentication_error",
        code: "permission_denied",
        detail: format!("API key missing required scope '{scope}'"),
        attr: None,
    })
}

/// Answers a request that is no query.
pub(super) fn receive(request: &Incoming, behaviour: &Behaviour, things: &mut Things) -> Outcome {
    let answer = answer(request, behaviour, things);
    let reply = match answer {
        Ok((status, Some(body))) => Reply::json(status, &body),
        Ok((status, None)) => Reply::empty(status),
        Err(refused) => refused.into_reply(),
    };
    Outcome {
        decompressed_bytes: Some(request.raw_bytes),
        ..Outcome::only(reply)
    }
}

/// A reply for a refusal, for the query API.
pub(super) fn refusal(refused: Refused) -> Reply {
    refused.into_reply()
}

fn answer(request: &Incoming, behaviour: &Behaviour, things: &mut Things) -> Answer {
    let path = request.path.trim_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let (kind, id) = match parts.as_slice() {
        ["api", "users", "@me"] => {
            allow(request, behaviour, "user:read")?;
            return Ok((StatusCode::OK, Some(things::me())));
        }
        ["api", "projects" | "environments", _, kind] => (*kind, None),
        ["api", "projects" | "environments", _, kind, id] => (*kind, Some(*id)),
        _ => return Err(Refused::missing()),
    };
    let singular = kind.strip_suffix('s').unwrap_or(kind);
    let access = if request.method == Method::GET {
        "read"
    } else {
        "write"
    };
    if !matches!(kind, "dashboards" | "insights" | "alerts") {
        return Err(Refused::missing());
    }
    allow(request, behaviour, &format!("{singular}:{access}"))?;
    let body = body(request)?;
    things.act(
        kind,
        id,
        &request.method,
        request.query.as_deref(),
        body,
        behaviour,
    )
}

/// The body; an empty object where there is none.
fn body(request: &Incoming) -> Result<Value, Refused> {
    if request.body.is_empty() {
        return Ok(json!({}));
    }
    let is_json = request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/json"));
    if !is_json {
        return Err(Refused {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ..Refused::query("Unsupported media type in request.")
        });
    }
    let parsed: Value = serde_json::from_slice(&request.body)
        .map_err(|error| Refused::query(format!("JSON parse error - {error}")))?;
    if parsed.is_object() {
        Ok(parsed)
    } else {
        Err(Refused::query("Invalid data. Expected a dictionary."))
    }
}
