//! Business properties among audithog's own.
//!
//! They are placed beside ours. One whose name is taken, begins with `$` (PostHog's own names), or
//! would be read by PostHog as part of the envelope goes under `properties` instead: `path` becomes
//! `properties.path`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::object::Object;

/// Names a business property cannot have at the top level.
fn is_reserved(name: &str) -> bool {
    name.starts_with('$')
        || matches!(
            name,
            "requestId" | "upstreamRequestId" | "eventId" | "traceId" | "userId" | "userRole" | "orgId" | "actorType"
                | "onBehalfOf" | "method" | "path" | "route" | "statusCode" | "result" | "errorCode"
                | "duration_ms" | "userAgent" | "ip" | "service" | "environment" | "version"
                | "instance" | "sample_rate" | "properties"
                // Capture v0 looks for these inside `properties` as well.
                | "distinct_id" | "token"
        )
}

/// Splices `json`, an object, into `properties`.
pub(super) fn write(properties: &mut Object<'_>, json: &str) {
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(json) else {
        // Only a damaged ledger: as text, so that it cannot spoil the batch.
        properties.text("properties", json);
        return;
    };
    for (name, value) in &fields.0 {
        if !is_reserved(name) {
            properties.spliced(name, value);
        }
    }
    if fields.0.iter().any(|(name, _)| is_reserved(name)) {
        let mut nested = properties.object("properties");
        for (name, value) in &fields.0 {
            if is_reserved(name) {
                nested.spliced(name, value);
            }
        }
        nested.close();
    }
}

/// The fields of an object, their values unparsed.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
