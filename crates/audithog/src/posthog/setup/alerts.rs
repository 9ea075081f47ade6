//! What an alert watches. Each hangs on one insight, and is looked at once an hour.

use serde_json::{Value, json};

/// An alert that is to be.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) title: &'static str,
    condition: &'static str,
    bounds: Value,
}

/// The last full hour is above the bound.
pub(super) fn upper(title: &'static str, bound: f64) -> Alert {
    Alert {
        title,
        condition: "absolute_value",
        bounds: json!({"upper": bound}),
    }
}

/// The last full hour is below the bound.
pub(super) fn lower(title: &'static str, bound: f64) -> Alert {
    Alert {
        title,
        condition: "absolute_value",
        bounds: json!({"lower": bound}),
    }
}

/// The last full hour is so much above the one before.
pub(super) fn increase(title: &'static str, bound: u32) -> Alert {
    Alert {
        title,
        condition: "relative_increase",
        bounds: json!({"upper": bound}),
    }
}

impl Alert {
    /// The body, without the insight and the people.
    pub(super) fn body(&self, name: &str) -> Value {
        json!({
            "name": name,
            "calculation_interval": "hourly",
            "condition": {"type": self.condition},
            "config": {"type": "TrendsAlertConfig", "series_index": 0},
            "threshold": {"configuration": {"type": "absolute", "bounds": self.bounds}},
        })
    }
}
