//! The PostHog sink and the stand-in, over a socket.

#![cfg(all(feature = "posthog", feature = "testing"))]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, answer, block, until};
use super::{START, tuning};
use crate::clock::Clock;
use crate::config::{Compression, DistinctId, IpDetail, PosthogSettings, Secret};
use crate::delivery::{Delivery, Ledger, Plan};
use crate::sink::posthog::PosthogSink;
use crate::testing::standin::{Fault, PostHogStandIn, Verdict};

const ROWS: usize = 10_000;

fn settings(host: String) -> PosthogSettings {
    PosthogSettings {
        key: Secret::new("phc_delivery"),
        host,
        compression: Compression::Auto,
        distinct_id: DistinctId::User,
        hmac_key: None,
        ip: IpDetail::Full,
        user_agent: true,
        user_plain: true,
        person_profiles: false,
        group_type: None,
        backfill: Duration::from_secs(7 * 24 * 3600),
        request_timeout: Duration::from_secs(30),
        ca_file: None,
        sample: Vec::new(),
    }
}

#[test]
fn ten_thousand_events_through_a_failing_host_arrive_exactly_once() {
    let stand_in = PostHogStandIn::start().unwrap();
    stand_in.stand_fault(Fault::status(503).with_chance(0.15, 1));
    stand_in.stand_fault(Fault::status(500).with_chance(0.1, 2));
    stand_in.stand_fault(
        Fault::status(429)
            .header("retry-after", "2")
            .with_chance(0.05, 3),
    );
    stand_in.stand_fault(Fault::lose_acknowledgement().with_chance(0.1, 4));
    stand_in.stand_fault(Fault::reset().with_chance(0.1, 5));
    stand_in.stand_fault(Fault::garbage().on_v0().with_chance(0.05, 6));
    stand_in.stand_fault(Fault::status(413).above_events(300));
    let mut event = 0_u32;
    stand_in.judge(move |_, received| {
        event += 1;
        // Some need another try on their own.
        (event.is_multiple_of(97) && received < 4).then_some(Verdict::Retry)
    });

    let desk = Desk::new();
    let clock = Clock::manual(START);
    let sink = PosthogSink::new(&settings(stand_in.url()), clock.clone()).unwrap();
    let plan = Plan {
        sink: Arc::new(sink),
        backfill: Some(Duration::from_secs(7 * 24 * 3600)),
    };
    let ledger: Arc<dyn Ledger> = Arc::new(desk.clone());
    let delivery = Delivery::start(&ledger, vec![plan], tuning(), &clock).unwrap();
    for _ in 0..ROWS / 100 {
        desk.append(100);
    }
    until("everything is settled", || {
        clock.advance(Duration::from_millis(50));
        desk.totals().pending(ROWS as i64) == 0
    });
    assert_eq!(desk.totals().delivered, ROWS as u64);
    let arrived: BTreeSet<String> = stand_in
        .events()
        .iter()
        .map(|event| event.uuid.to_string())
        .collect();
    let rows: BTreeSet<String> = desk
        .paper()
        .rows
        .iter()
        .map(|row| row.row.id.to_string())
        .collect();
    assert_eq!(stand_in.events().len(), ROWS);
    assert!(arrived == rows, "other events than the rows arrived");
    assert!(
        stand_in.duplicates() > 0,
        "the lost acknowledgements did not bite"
    );
    let (callback, answered) = answer();
    delivery.shutdown(
        ROWS as i64,
        clock.monotonic() + Duration::from_secs(25),
        callback,
    );
    assert_eq!(block(&answered), None);
}
