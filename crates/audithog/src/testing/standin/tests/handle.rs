use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use serde_json::json;

use super::client::{LONG, at_noon, event, event_with, post_v0, post_v1};
use crate::testing::PostHogStandIn;
use crate::testing::standin::Route;

#[test]
fn copies_collapse_by_uuid_event_distinct_id_and_day() {
    let posthog = at_noon();
    let send = |change| post_v0(&posthog, &[event_with(1, &change)]);
    send(json!({"properties": {"copy": 1}}));
    // Another time of the same day is the same event, and the newer copy wins.
    send(json!({"timestamp": "2026-03-01T11:00:00Z", "properties": {"copy": 2}}));
    assert_eq!(posthog.duplicates(), 1);
    assert_eq!(posthog.events().len(), 1);
    assert_eq!(posthog.events()[0].properties["copy"], 2);
    for different in [
        json!({"timestamp": "2026-02-28T23:59:59Z"}),
        json!({"distinct_id": "u2"}),
        json!({"event": "other"}),
        json!({"uuid": "01890000-0000-7000-8000-ffffffffffff"}),
    ] {
        send(different);
    }
    assert_eq!(posthog.duplicates(), 1);
    assert_eq!(posthog.events().len(), 5);
    assert_eq!(posthog.stored().len(), 6);
    // Both protocols feed one table.
    post_v1(&posthog, &[event(1)]);
    assert_eq!(posthog.duplicates(), 2);
}

#[test]
fn a_request_is_kept_with_all_that_was_seen_of_it() {
    let posthog = at_noon();
    post_v1(&posthog, &[event(1), event(2)]);
    let requests = posthog.requests();
    let request = &requests[0];
    assert_eq!(request.route, Route::V1);
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/i/v1/analytics/events");
    assert_eq!(request.query, None);
    assert_eq!(request.headers["posthog-attempt"], "1");
    assert_eq!(request.decompressed_bytes, Some(request.raw_bytes));
    assert_eq!(request.events.len(), 2);
    assert_eq!(request.status, Some(200));
}

#[test]
fn a_cap_lets_the_oldest_go_and_keeps_the_counts() {
    let posthog = at_noon();
    posthog.configure(|b| b.keep = Some(2));
    for n in 1..=4 {
        post_v0(&posthog, &[event(n)]);
    }
    assert_eq!(posthog.requests().len(), 2);
    let kept: Vec<_> = posthog
        .stored()
        .iter()
        .map(|e| e.properties["n"].clone())
        .collect();
    assert_eq!(kept, [3, 4]);
    let counts = posthog.counts();
    assert_eq!(
        (counts.requests, counts.stored, counts.duplicates),
        (4, 4, 0)
    );
    post_v0(&posthog, &[event(4)]);
    assert_eq!(posthog.duplicates(), 1);
    posthog.clear();
    assert_eq!(posthog.counts().requests, 0);
}

#[test]
fn a_failed_wait_prints_what_had_arrived() {
    let posthog = at_noon();
    post_v0(&posthog, &[event(1)]);
    let error = posthog
        .wait_for(Duration::from_millis(1), |seen| seen.stored().len() == 2)
        .expect_err("one event is not two");
    let printed = error.to_string();
    assert_eq!(printed, format!("{error:?}"));
    for part in [
        "1 requests, 1 events stored",
        "POST /batch/ -> 200",
        "api_request",
    ] {
        assert!(printed.contains(part), "{printed}");
    }
}

/// Unparks the thread that waits in `block_on`.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future without any runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn an_async_wait_needs_no_runtime() {
    let posthog = at_noon();
    std::thread::scope(|scope| {
        let (asked, first_asked) = std::sync::mpsc::channel();
        let sender = scope.spawn(|| {
            // Sent only when the wait has found nothing once.
            let asked = first_asked;
            asked.recv_timeout(LONG).expect("the wait asks");
            post_v0(&posthog, &[event(1)]);
        });
        let wait = posthog.wait_until(LONG, |seen| {
            // Nobody listens after the first time.
            let _ = asked.send(());
            seen.stored().len() == 1
        });
        block_on(wait).expect("the event");
        sender.join().expect("the sender");
    });
    let error = block_on(posthog.wait_until(Duration::from_millis(1), |_| false));
    let error = error.expect_err("it never does");
    assert!(error.to_string().contains("1 requests"), "{error}");
}

#[test]
fn several_run_side_by_side_and_a_stopped_one_frees_its_address() {
    let (first, second) = (at_noon(), at_noon());
    post_v0(&first, &[event(1)]);
    assert_eq!((first.stored().len(), second.stored().len()), (1, 0));
    let address = first.address();
    assert_eq!(first.url(), format!("http://{address}"));
    let taken = PostHogStandIn::start_on(address).expect_err("the address is taken");
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    first.shutdown();
    let again = PostHogStandIn::start_on(address).expect("the address is free");
    assert_eq!(post_v0(&again, &[event(1)]).status, 200);
}
