//! What settings show of themselves.

use std::time::Duration;

use serde_json::json;

use super::{env, resolved};
use crate::capture::Guarantee;
use crate::config::{Builder, QueueFull};

const SECRETS: [&str; 2] = ["phc_hidden1", "hidden2"];

fn with_secrets() -> Builder {
    env([
        ("POSTHOG_API_KEY", SECRETS[0]),
        ("AUDITHOG_POSTHOG_HMAC_KEY", SECRETS[1]),
        ("AUDITHOG_POSTHOG_USER", "hmac"),
    ])
}

#[track_caller]
fn assert_hidden(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn audit_started_shows_every_setting_and_no_secret() {
    let found = resolved(
        &with_secrets()
            .database("/data/audit.db")
            .sample("GET /healthz=0.01")
            .trusted_proxies("10.0.0.0/8")
            .exclude(Some("get"), "/live")
            .exclude(None, "/ready")
            .mask_path_param(Some("/magic/{link}"), "link")
            .mask_path_param(None, "who")
            .guarantee_floor(Guarantee::Durable)
            .guarantee_for(Some("post"), "/payments", Guarantee::FailClosed)
            .guarantee_for(Some("GET"), "*", Guarantee::BestEffort)
            .without_started_row(None, "/payments")
            .guarantee_timeout(Duration::from_millis(500))
            .queue_full(QueueFull::Refuse),
    );
    let public = found.public();
    assert_hidden(&public.to_string());
    let wanted = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "guarantee": "durable",
        "guaranteeTimeoutSeconds": 0.5,
        "guaranteesByRoute": ["POST /payments fail-closed", "GET * durable"],
        "notAnnounced": ["* /payments"],
        "database": "/data/audit.db",
        "memoryRows": null,
        "retentionSeconds": 34_560_000.0,
        "damaged": "quarantine",
        "reserveBytes": 8_388_608,
        "maxBytes": null,
        "queueRows": 65_536,
        "queueBytes": 67_108_864,
        "queueFull": "refuse",
        "batchSize": 100,
        "batchIntervalSeconds": 30.0,
        "shutdownTimeoutSeconds": 25.0,
        "retryQuickAttempts": 4,
        "retryMaxAgeSeconds": 604_800.0,
        "retryMaxAttempts": 50,
        "trustedProxies": "10.0.0.0/8",
        "clientIpHeader": "x-forwarded-for",
        "requestId": "own",
        "exclusions": ["GET /live", "* /ready"],
        "maskedParams": ["/magic/{link} {link}", "* {who}"],
        "posthog": {
            "host": "https://app.posthog.com",
            "compression": "auto",
            "distinctId": "user",
            "ip": "full",
            "userAgent": true,
            "userPlain": false,
            "personProfiles": false,
            "groupType": null,
            "backfillSeconds": 604_800,
            "timeoutSeconds": 10.0,
            "caFile": null,
            "sample": ["GET /healthz success=0.01"],
        },
    });
    assert_eq!(public, wanted);
}

#[test]
fn without_posthog_and_without_a_ledger_it_says_so() {
    let public = resolved(&env([("AUDITHOG_DB", "off")])).public();
    assert_eq!(public["posthog"], json!(null));
    assert_eq!(public["database"], "off");
    assert_eq!(public["memoryRows"], 100_000);
}

#[test]
fn debug_shows_no_secret() {
    let from_code = env([])
        .posthog_api_key(SECRETS[0])
        .pin("AUDITHOG_POSTHOG_HMAC_KEY", SECRETS[1])
        .exclude(None, "/live");
    for builder in [with_secrets(), from_code] {
        assert_hidden(&format!("{builder:?}{builder:#?}"));
        let found = resolved(&builder);
        assert_hidden(&format!("{found:?}{found:#?}"));
        assert!(format!("{found:?}").contains("***"));
    }
    let shown = format!("{:?}", env([]).batch_size(3).exclude(None, "/live"));
    assert!(
        shown.contains("LOG_BATCH_SIZE") && shown.contains("/live"),
        "{shown}"
    );
}
