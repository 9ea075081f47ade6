//! What the PostHog stand-in receives.

use std::time::Duration;

use audithog::testing::{
    PostHogStandIn,
    standin::{CapturedEvent, ReceivedRequest, Route},
};
use serde_json::Value;

use crate::{
    Error,
    console::{Console, Style},
};

/// Requests and events that the stand-in remembers: more than arrive between two looks.
const KEEP: usize = 10_000;

/// A stand-in, and how much of what it received has been printed.
#[derive(Debug)]
pub(crate) struct Arrivals {
    posthog: PostHogStandIn,
    printed: usize,
}

impl Arrivals {
    pub(crate) fn start() -> Result<Self, Error> {
        let posthog = PostHogStandIn::start()
            .map_err(|error| Error::io("cannot start the PostHog stand-in", error))?;
        posthog.configure(|behaviour| behaviour.keep = Some(KEEP));
        Ok(Self {
            posthog,
            printed: 0,
        })
    }

    pub(crate) fn url(&self) -> String {
        self.posthog.url()
    }

    /// Prints the batches that are new since the last call.
    pub(crate) fn print_new(&mut self, console: &Console) {
        let mut new = Vec::new();
        let printed = &mut self.printed;
        // Looks once: the condition holds at once.
        let _ = self.posthog.wait_for(Duration::ZERO, |seen| {
            let total = seen.counts().requests;
            let count = total.saturating_sub(*printed);
            new.extend(seen.requests().iter().rev().take(count).cloned());
            *printed = total;
            true
        });
        for request in new.iter().rev() {
            print(request, console);
        }
    }
}

fn print(request: &ReceivedRequest, console: &Console) {
    let version = match request.route {
        Route::V1 => "capture v1",
        Route::V0Batch | Route::V0Event => "capture v0",
        _ => return,
    };
    let status = request
        .status
        .map_or("no reply".to_owned(), |status| status.to_string());
    let count = request.events.len();
    let events = if count == 1 { "event" } else { "events" };
    let name = console.paint(Style::Bold, "PostHog stand-in");
    console.line(format!(
        "{name}  {count} {events} in a batch ({version}, {status})"
    ));
    for event in &request.events {
        console.line(console.paint(Style::Dim, line(event)));
    }
}

fn line(event: &CapturedEvent) -> String {
    let path = event.properties.get("path").and_then(Value::as_str);
    let path = path.unwrap_or_default();
    let text = format!("  {:<18} {:<41} {path}", event.event, event.distinct_id);
    text.trim_end().to_owned()
}
