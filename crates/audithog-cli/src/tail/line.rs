//! A row in one line.

use audithog::query::LogRow;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    output::{Output, Style, plain},
    sheet::{milliseconds, shortened},
    when::Clock,
};

/// A part of the line, and how it is shown.
pub(super) type Part = (String, Option<Style>);

/// Time, status, what, how it went, who, request id.
pub(super) fn of(row: &LogRow, clock: &Clock) -> Vec<Part> {
    let mut parts = vec![(clock.local(&row.time_text()), Some(Style::Dim))];
    let found = row.row();
    if found.method().is_some() {
        let status = found.status_code();
        let failed = found.result() == Some("failure");
        let style = match status {
            Some(400..500) => Style::Warning,
            _ if failed => Style::Bad,
            _ => Style::Good,
        };
        let shown = status.map_or_else(|| "---".to_owned(), |status| status.to_string());
        parts.push((shown, Some(style)));
        if found.event_name() != "api_request" {
            parts.push((plain(found.event_name()), Some(Style::Bold)));
        }
        let method = plain(found.method().unwrap_or_default());
        let path = plain(found.path().unwrap_or("-"));
        parts.push((format!("{method:<6} {path}"), None));
        if let Some(code) = found.error_code() {
            parts.push((plain(code), Some(style)));
        }
        if let Some(took) = found.duration() {
            let took = milliseconds(took.as_secs_f64() * 1_000.0);
            parts.push((format!("{took} ms"), None));
        }
    } else {
        parts.push(("  *".to_owned(), None));
        parts.push((plain(found.event_name()), Some(Style::Bold)));
        let properties = found.properties_json();
        let properties = properties.filter(|json| *json != "{}");
        parts.extend(properties.map(|json| (plain(json), None)));
    }
    parts.extend(who(row).map(|who| (who, None)));
    parts.extend(found.request_id().map(|id| (plain(&id), Some(Style::Dim))));
    parts
}

/// `u_17 (admin)`
fn who(row: &LogRow) -> Option<String> {
    let fields = row.fields();
    let text = |wanted: &str| {
        let (_, value) = fields.iter().find(|(name, _)| *name == wanted)?;
        value.as_str().map(plain)
    };
    let user = text("user_id")?;
    Some(match text("user_role") {
        Some(role) => format!("{user} ({role})"),
        None => user,
    })
}

/// The parts side by side, at most as wide as the terminal.
pub(super) fn painted(parts: &[Part], output: &Output, width: Option<usize>) -> String {
    let mut left = width.unwrap_or(usize::MAX);
    let mut line = String::new();
    for (at, (text, style)) in parts.iter().enumerate() {
        let between = if at > 0 { "  " } else { "" };
        if left <= between.len() {
            break;
        }
        left -= between.len();
        line.push_str(between);
        let text = shortened(text, left);
        left -= text.width().min(left);
        match style {
            Some(style) => line.push_str(&output.paint(&text, *style)),
            None => line.push_str(&text),
        }
    }
    line
}
