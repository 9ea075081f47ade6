use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::client::{
    LONG, SECOND, at_noon, event, event_with, post, post_v0, post_v1, send, uuid, v0_batch,
};
use crate::testing::PostHogStandIn;
use crate::testing::standin::Fault;
use serde_json::json;

fn try_v0(posthog: &PostHogStandIn) -> io::Result<u16> {
    let body = v0_batch(&[event(1)]).to_string();
    send(posthog, "POST", "/batch/", &[], body.as_bytes()).map(|answer| answer.status)
}

#[test]
fn a_queued_fault_is_used_up_by_one_request_and_stores_nothing() {
    let posthog = at_noon();
    let html = "<h1>busy</h1>";
    posthog.push_fault(Fault::status(503).header("retry-after", "7").body(html));
    posthog.push_fault(Fault::status(429));
    let answer = post_v0(&posthog, &[event(1)]);
    assert_eq!((answer.status, answer.body.as_str()), (503, html));
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert!(posthog.stored().is_empty());
    assert_eq!(posthog.queued_faults(), 1);
    assert_eq!(post_v1(&posthog, &[event(1)]).status, 429);
    assert_eq!(post_v0(&posthog, &[event(1)]).status, 200);
    let requests = posthog.requests();
    let faulted: Vec<bool> = requests.iter().map(|request| request.faulted).collect();
    assert_eq!(faulted, [true, true, false]);
    assert_eq!(requests[0].status, Some(503));
    assert_eq!(requests[0].events[0].uuid.to_string(), uuid(1));
}

#[test]
fn a_standing_fault_stands_until_healed_and_behind_the_queue() {
    let posthog = at_noon();
    posthog.stand_fault(Fault::status(500));
    posthog.push_fault(Fault::status(502));
    let status = || post_v0(&posthog, &[event(1)]).status;
    assert_eq!([status(), status(), status()], [502, 500, 500]);
    posthog.heal();
    assert_eq!(status(), 200);
}

#[test]
fn a_fault_can_be_for_one_protocol() {
    let posthog = at_noon();
    posthog.stand_fault(Fault::status(500).on_v1());
    assert_eq!(post_v0(&posthog, &[event(1)]).status, 200);
    assert_eq!(post_v1(&posthog, &[event(1)]).status, 500);
    posthog.heal();
    posthog.stand_fault(Fault::status(500).on_v0());
    assert_eq!(post_v0(&posthog, &[event(1)]).status, 500);
    assert_eq!(post_v1(&posthog, &[event(1)]).status, 200);
    let other = send(&posthog, "GET", "/", &[], b"").expect("a reply");
    assert_eq!(other.status, 404);
}

#[test]
fn a_lost_acknowledgement_is_a_reset_after_storing() {
    let posthog = at_noon();
    posthog.push_fault(Fault::lose_acknowledgement());
    let error = try_v0(&posthog).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    assert_eq!(posthog.stored().len(), 1);
    assert_eq!(posthog.requests()[0].status, None);
    assert_eq!(try_v0(&posthog).expect("a reply"), 200);
    assert_eq!(posthog.duplicates(), 1);
}

#[test]
fn a_reset_without_storing_leaves_nothing() {
    let posthog = at_noon();
    posthog.push_fault(Fault::reset());
    let error = try_v0(&posthog).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    assert!(posthog.stored().is_empty());
    assert_eq!(posthog.requests()[0].events.len(), 1);
}

#[test]
fn a_reset_before_reading_does_not_wait_for_the_body() {
    let posthog = at_noon();
    posthog.push_fault(Fault::reset_before_reading());
    let mut stream = TcpStream::connect(posthog.address()).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a socket");
    let head = "POST /batch/ HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let error = stream.read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    let request = &posthog.requests()[0];
    assert_eq!((request.raw_bytes, request.status), (0, None));
    assert!(request.faulted);
    assert_eq!(posthog.queued_faults(), 0);
}

#[test]
fn a_close_is_an_end_without_a_reply() {
    let posthog = at_noon();
    posthog.push_fault(Fault::close());
    let error = try_v0(&posthog).expect_err("no reply");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    assert!(posthog.stored().is_empty());
}

#[test]
fn a_hang_takes_the_request_and_never_answers() {
    let posthog = at_noon();
    posthog.push_fault(Fault::hang());
    let mut stream = TcpStream::connect(posthog.address()).expect("a connection");
    let body = v0_batch(&[event(1)]).to_string();
    let head = format!(
        "POST /batch/ HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
    let arrived = posthog.wait_for(LONG, |seen| seen.requests().len() == 1);
    arrived.expect("the request");
    // Another request is answered meanwhile; the first still has no byte of a reply.
    assert_eq!(try_v0(&posthog).expect("a reply"), 200);
    stream.set_nonblocking(true).expect("a socket");
    let error = stream.read(&mut [0; 1]).expect_err("nothing to read");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
    assert_eq!(posthog.stored().len(), 1);
    // Stopping ends the hanging connection.
    stream.set_nonblocking(false).expect("a socket");
    posthog.shutdown();
    assert!(!matches!(stream.read(&mut [0; 1]), Ok(1..)));
}

#[test]
fn a_slow_reply_arrives_whole() {
    let posthog = at_noon();
    posthog.push_fault(Fault::slow_reply(Duration::from_millis(1)));
    let answer = post_v0(&posthog, &[event(1)]);
    assert_eq!(answer.json(), json!({"status": "Ok"}));
    assert_eq!(posthog.stored().len(), 1);
}

#[test]
fn garbage_is_a_200_that_is_not_json() {
    let posthog = at_noon();
    posthog.push_fault(Fault::garbage());
    posthog.push_fault(Fault::garbage().after_storing());
    for stored in [0, 1] {
        let answer = post_v1(&posthog, &[event(1)]);
        assert_eq!(answer.status, 200);
        assert!(serde_json::from_str::<serde_json::Value>(&answer.body).is_err());
        assert_eq!(posthog.stored().len(), stored);
    }
}

#[test]
fn a_fault_can_depend_on_bytes_events_and_one_poison() {
    let posthog = at_noon();
    let status = |n: u32| {
        let events: Vec<_> = (1..=n).map(event).collect();
        post_v0(&posthog, &events).status
    };
    posthog.stand_fault(Fault::status(413).above_events(2));
    assert_eq!([status(2), status(3)], [200, 413]);
    posthog.heal();
    let two = v0_batch(&[event(1), event(2)]).to_string().len();
    posthog.stand_fault(Fault::status(413).above_bytes(two));
    assert_eq!([status(2), status(3)], [200, 413]);
    posthog.heal();
    posthog.stand_fault(Fault::status(400).for_event(|event| event.properties["n"] == 3));
    assert_eq!([status(2), status(3)], [200, 400]);
    let poison = event_with(9, &json!({"properties": {"n": 3}}));
    assert_eq!(post_v0(&posthog, &[poison]).status, 400);
}

#[test]
fn a_queued_fault_waits_for_a_request_it_applies_to() {
    let posthog = at_noon();
    posthog.push_fault(Fault::status(413).above_events(1));
    assert_eq!(post_v0(&posthog, &[event(1)]).status, 200);
    assert_eq!(post_v0(&posthog, &[event(1), event(2)]).status, 413);
    assert_eq!(post_v0(&posthog, &[event(1), event(2)]).status, 200);
}

#[test]
fn chance_follows_its_seed() {
    let run = |seed| -> Vec<bool> {
        let posthog = at_noon();
        posthog.stand_fault(Fault::status(500).with_chance(0.3, seed));
        (0..200)
            .map(|_| post(&posthog, "/e", &json!([])).status == 500)
            .collect()
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
    // 200 tries at 0.3: 60, with a standard deviation of 6.5.
    let failures = first.iter().filter(|failed| **failed).count();
    assert!((30..=90).contains(&failures), "{failures}");
}

#[test]
fn a_client_that_leaves_in_mid_body_is_kept_without_events() {
    let posthog = at_noon();
    let mut stream = TcpStream::connect(posthog.address()).expect("a connection");
    let head = "POST /batch/ HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n{\"batch\"";
    stream.write_all(head.as_bytes()).expect("sent");
    drop(stream);
    let arrived = posthog.wait_for(LONG, |seen| seen.requests().len() == 1);
    arrived.expect("the request");
    let request = &posthog.requests()[0];
    assert_eq!((request.status, request.events.len()), (None, 0));
    assert!(!request.faulted);
}

#[test]
#[should_panic(expected = "99 is no final HTTP status")]
fn a_fault_needs_a_status() {
    let _ = Fault::status(99);
}

#[test]
fn a_panic_in_a_closure_harms_its_request_only() {
    let posthog = at_noon();
    posthog.push_fault(Fault::status(500).for_event(|_| panic!("expected by the test")));
    assert!(try_v0(&posthog).is_err());
    posthog.heal();
    assert_eq!(try_v0(&posthog).expect("a reply"), 200);
    let arrived = posthog.wait_for(SECOND, |seen| seen.stored().len() == 1);
    arrived.expect("the event");
}
