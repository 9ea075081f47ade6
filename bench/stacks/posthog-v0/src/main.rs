//! `PROGRAM STACK`: axum with a middleware on posthog-rs, plain or compressed. Which capture endpoint it posts to is a
//! feature of posthog-rs, so that there are two packages of this one source.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bench_stacks::actor::{self, Authenticate};
use bench_stacks::audit::{Audit, Record, Sink};
use bench_stacks::process::{self, DRAIN, Failure, Rows, Settings};
use bench_stacks::service;
use posthog_rs::{CaptureCompression, Client, ClientOptionsBuilder, Event};

/// The SDK's own limit of 10,000 drops events in silence as soon as its thread is behind.
const QUEUE: usize = 4_000_000;

fn main() -> Result<(), Failure> {
    process::run(async {
        let settings = Settings::read()?;
        let mut options = ClientOptionsBuilder::default();
        options
            .api_key("phc_benchmark".to_owned())
            .host(settings.need_receiver()?)
            .max_queue_size(QUEUE)
            .shutdown_timeout_ms(u64::try_from(DRAIN.as_millis())?);
        let version = env!("CARGO_PKG_NAME").trim_start_matches("bench-posthog-");
        match settings
            .stack
            .strip_prefix("posthog-rs-")
            .and_then(|stack| stack.strip_prefix(version))
        {
            Some("") => {}
            Some("-gzip") => {
                options.capture_compression(CaptureCompression::Gzip);
            }
            _ => return Err(settings.unknown()),
        }
        let sink = PostHog {
            client: Arc::new(posthog_rs::client(options.build()?).await),
            made: Arc::default(),
        };
        let router = service::routes()
            .layer(Authenticate(actor::into_slot))
            .layer(Audit(sink.clone()));
        process::serve_with_peers(router).await?;
        sink.client.shutdown().await;
        process::finish(Rows {
            rows_made: Some(sink.made.load(Ordering::Relaxed)),
            ..Rows::default()
        })
    })
}

#[derive(Clone)]
struct PostHog {
    client: Arc<Client>,
    made: Arc<AtomicU64>,
}

impl Sink for PostHog {
    fn record(&self, record: &Record) {
        if let Ok(event) = event(record) {
            self.made.fetch_add(1, Ordering::Relaxed);
            self.client.capture(event);
        }
    }
}

fn event(record: &Record) -> Result<Event, posthog_rs::Error> {
    let [user, role, org] = record.actor();
    let mut event = Event::new(
        "api_request",
        if user.is_empty() { "service" } else { user },
    );
    event.set_uuid(record.request_id);
    event.insert_prop("requestId", record.request_id)?;
    event.insert_prop("userId", user)?;
    event.insert_prop("userRole", role)?;
    event.insert_prop("orgId", org)?;
    event.insert_prop("method", record.method.as_str())?;
    event.insert_prop("path", record.path())?;
    event.insert_prop("route", record.route())?;
    event.insert_prop("statusCode", record.status.as_u16())?;
    event.insert_prop("result", record.result())?;
    event.insert_prop("errorCode", record.error_code())?;
    event.insert_prop("duration_ms", record.duration_ms)?;
    event.insert_prop("userAgent", record.agent())?;
    event.insert_prop("ip", record.ip)?;
    event.insert_prop("$process_person_profile", false)?;
    Ok(event)
}
