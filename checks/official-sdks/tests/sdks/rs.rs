//! posthog-rs, in this process.

use audithog::testing::PostHogStandIn;
use audithog::testing::standin::Route;
use chrono::{DateTime, Utc};
use posthog_rs::{CaptureCompression, ClientOptions, ClientOptionsBuilder, Event};

use super::{Planned, TOKEN, assert_arrived_once, planned};

const ROUTE: Route = if cfg!(feature = "rs-capture-v1") {
    Route::V1
} else {
    Route::V0Batch
};

#[test]
fn posthog_rs_uncompressed() {
    run(None);
}

#[test]
fn posthog_rs_gzip() {
    run(Some(CaptureCompression::Gzip));
}

#[cfg(feature = "rs-capture-v1")]
#[test]
fn posthog_rs_deflate() {
    run(Some(CaptureCompression::Deflate));
}

#[cfg(feature = "rs-capture-v1")]
#[test]
fn posthog_rs_brotli() {
    run(Some(CaptureCompression::Br));
}

#[cfg(feature = "rs-capture-v1")]
#[test]
fn posthog_rs_zstd() {
    run(Some(CaptureCompression::Zstd));
}

fn run(compression: Option<CaptureCompression>) {
    let posthog = PostHogStandIn::start().expect("a stand-in");
    let options = options(&posthog, compression);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let client = posthog_rs::client(options).await;
        for planned in planned() {
            client.capture(event(&planned));
        }
        client.shutdown().await;
    });
    assert_arrived_once(&posthog, ROUTE);
}

fn options(posthog: &PostHogStandIn, compression: Option<CaptureCompression>) -> ClientOptions {
    let mut options = ClientOptionsBuilder::default();
    options
        .host(posthog.url())
        .api_key(TOKEN.to_owned())
        .flush_at(20)
        .max_batch_size(40);
    if let Some(compression) = compression {
        options.capture_compression(compression);
    }
    options.build().expect("options")
}

fn event(planned: &Planned) -> Event {
    let mut event = Event::new(planned.event.clone(), planned.distinct_id.clone());
    event.set_uuid(planned.uuid);
    let millis = planned.timestamp.as_millisecond();
    let timestamp: DateTime<Utc> = DateTime::from_timestamp_millis(millis).expect("in range");
    event.set_timestamp(timestamp).expect("in the past");
    for (name, value) in planned.properties.as_object().expect("an object") {
        event.insert_prop(name, value).expect("a value");
    }
    event
}
