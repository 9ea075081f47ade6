//! `PROGRAM otlp`: axum with a middleware that emits an OpenTelemetry log record with the 13 fields as attributes;
//! the batch processor's thread sends them as protobuf over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bench_stacks::actor::{self, Authenticate};
use bench_stacks::audit::{Audit, Record, Sink};
use bench_stacks::process::{self, DRAIN, Failure, Rows, Settings};
use bench_stacks::service;
use opentelemetry::Key;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_otlp::{LogExporter, Protocol, WithExportConfig as _};
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, SdkLogger, SdkLoggerProvider,
};

/// The processor's own limit of 2,048 drops records as soon as its thread is behind.
const QUEUE: usize = 1_000_000;

fn main() -> Result<(), Failure> {
    let settings = Settings::read()?;
    if settings.stack != "otlp" {
        return Err(settings.unknown());
    }
    // Before the runtime: the exporter's client is a blocking one.
    let exporter = LogExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/logs", settings.need_receiver()?))
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .build();
    let processor = BatchLogProcessor::builder(exporter)
        .with_batch_config(batches)
        .build();
    let provider = SdkLoggerProvider::builder()
        .with_log_processor(processor)
        .build();
    let sink = Otlp {
        logger: provider.logger("audit"),
        made: Arc::default(),
    };
    let made = Arc::clone(&sink.made);
    process::run(async {
        let router = service::routes()
            .layer(Authenticate(actor::into_slot))
            .layer(Audit(sink));
        process::serve_with_peers(router).await
    })?;
    provider.shutdown_with_timeout(DRAIN)?;
    process::finish(Rows {
        rows_made: Some(made.load(Ordering::Relaxed)),
        ..Rows::default()
    })
}

#[derive(Clone)]
struct Otlp {
    logger: SdkLogger,
    made: Arc<AtomicU64>,
}

impl Sink for Otlp {
    fn record(&self, record: &Record) {
        self.made.fetch_add(1, Ordering::Relaxed);
        let [user, role, org] = record.actor().map(text);
        let mut log = self.logger.create_log_record();
        log.set_event_name("api_request");
        log.set_timestamp(SystemTime::now());
        log.set_severity_number(Severity::Info);
        log.add_attributes([
            (
                Key::from_static_str("requestId"),
                text(&record.request_id.to_string()),
            ),
            (Key::from_static_str("userId"), user),
            (Key::from_static_str("userRole"), role),
            (Key::from_static_str("orgId"), org),
            (Key::from_static_str("method"), text(record.method.as_str())),
            (Key::from_static_str("path"), text(record.path())),
            (Key::from_static_str("route"), text(record.route())),
            (
                Key::from_static_str("statusCode"),
                AnyValue::Int(record.status.as_u16().into()),
            ),
            (
                Key::from_static_str("result"),
                AnyValue::from(record.result()),
            ),
            (
                Key::from_static_str("errorCode"),
                AnyValue::from(record.error_code()),
            ),
            (
                Key::from_static_str("duration_ms"),
                AnyValue::Double(record.duration_ms),
            ),
            (Key::from_static_str("userAgent"), text(record.agent())),
            (
                Key::from_static_str("ip"),
                AnyValue::from(record.ip.map(|ip| ip.to_string()).unwrap_or_default()),
            ),
        ]);
        self.logger.emit(log);
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue::from(value.to_owned())
}
