//! audithog: everything at its default, but what the stack's name says.

use audithog::{Actor, Builder, Guarantee, Health, Logger, RequestHandle};
use axum::extract::Request;
use bench_stacks::actor::{self, Authenticate};
use bench_stacks::process::{self, DRAIN, Failure, Rows, Settings};
use bench_stacks::service;

const SINK: &str = "posthog";

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let log = logger(settings)?.start()?;
    let router = service::routes()
        .layer(Authenticate(tell))
        .layer(log.layer());
    process::serve_with_peers(router).await?;
    let report = log.shutdown(Some(DRAIN)).await;
    process::finish(rows(&report.health))
}

fn logger(settings: &Settings) -> Result<Builder, Failure> {
    let builder = Logger::builder().trusted_proxies("127.0.0.1/32");
    let builder = match settings.stack.as_str() {
        "audithog-memory" => builder.memory_only(),
        _ => builder.database(settings.directory.join("audit.db")),
    };
    let builder = match settings.stack.as_str() {
        "audithog-memory" | "audithog-best-effort" => builder,
        "audithog-durable" => builder.guarantee(Guarantee::Durable),
        "audithog-fail-closed" => builder.guarantee(Guarantee::FailClosed),
        _ => return Err(settings.unknown()),
    };
    Ok(match &settings.receiver {
        Some(url) => builder.posthog_api_key("phc_benchmark").posthog_host(url),
        None => builder,
    })
}

/// What an application's authentication adds for audithog.
fn tell(request: &Request, actor: &actor::Actor) {
    let actor::Actor { user, role, org } = actor;
    if let (Ok(user), Ok(role), Ok(org)) = (user.to_str(), role.to_str(), org.to_str())
        && let Some(handle) = request.extensions().get::<RequestHandle>()
    {
        handle.set_actor(Actor::user(user).role_in(role, org));
    }
}

/// Delivered rows are audithog's own first, so that the rest is exact when all are delivered and a lower bound else.
fn rows(health: &Health) -> Rows {
    let own = health.accepted - health.requests_accepted;
    let delivered = health
        .sinks
        .get(SINK)
        .filter(|sink| sink.configured)
        .map(|sink| sink.delivered);
    Rows {
        rows_made: Some(health.requests_accepted),
        rows_delivered: delivered.map(|delivered| delivered.saturating_sub(own)),
        rows_lost: Some(health.lost.values().sum()),
        rows_own: Some(own),
        books: Some(health.check().err().unwrap_or_else(|| "ok".to_owned())),
    }
}
