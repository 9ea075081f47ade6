use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::collector::{Collector, exchange};
use super::{
    Arrival, CaptureSettings, Exclusion, Guard, Headers, MaskedParam, Recorder, RequestIdPolicy,
    current,
};
use crate::clock::Clock;
use crate::record::{Actor, End, Micros, Outcome, RequestId, Row};

const PROXY: &str = "10.0.0.1";
const CLIENT: &str = "198.51.100.7";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Default)]
struct Sent(Vec<(&'static str, Vec<u8>)>);

impl Headers for Sent {
    fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let lines = self.0.iter();
        lines.map(|(name, value)| (*name, value.as_slice()))
    }

    fn values<'a>(&'a self, name: &http::HeaderName) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let lines = self.0.iter().filter(move |(own, _)| *own == name.as_str());
        // Collected, because the name does not live as long as the headers.
        let lines: Vec<&[u8]> = lines.map(|(_, value)| value.as_slice()).collect();
        lines.into_iter()
    }
}

struct Fixture {
    sink: Arc<Collector>,
    recorder: Recorder,
    clock: Clock,
}

fn fixture(settings: CaptureSettings) -> Fixture {
    let clock = Clock::manual(Micros(1_700_000_000_000_000));
    let sink = Collector::new(clock.clone());
    let recorder = Recorder::new(settings, Arc::clone(&sink) as _);
    Fixture {
        sink,
        recorder,
        clock,
    }
}

fn behind_proxy(request_id: RequestIdPolicy) -> Fixture {
    fixture(CaptureSettings {
        trusted_proxies: PROXY.parse().unwrap(),
        request_id,
        ..CaptureSettings::default()
    })
}

impl Fixture {
    fn start(&self, path: &str, route: Option<&str>) -> Guard {
        self.start_from(None, &Sent::default(), path, route)
    }

    fn start_from(
        &self,
        peer: Option<&str>,
        headers: &Sent,
        path: &str,
        route: Option<&str>,
    ) -> Guard {
        self.recorder.start(&Arrival {
            method: "GET",
            path,
            route,
            is_call: false,
            is_stripped: false,
            peer: peer.map(|peer| peer.parse::<IpAddr>().unwrap()),
            headers,
        })
    }

    /// The client that a business event of this request counts for.
    fn client_of_events(guard: &Guard) -> Option<IpAddr> {
        guard.handle().snapshot().ip
    }

    fn only_row(&self) -> Row {
        let rows = self.sink.rows();
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!(self.recorder.in_progress(), 0);
        rows.into_iter().next().unwrap()
    }
}

fn sent(lines: &[(&'static str, &str)]) -> Sent {
    let line = |&(name, value): &(&'static str, &str)| (name, value.as_bytes().to_vec());
    Sent(lines.iter().map(line).collect())
}

#[test]
fn a_complete_request_is_one_row_with_what_was_learnt() {
    let fixture = fixture(CaptureSettings::default());
    let headers = sent(&[
        ("user-agent", "curl/8\u{7}"),
        ("traceparent", TRACEPARENT),
        ("x-request-id", "forged"),
        ("x-forwarded-for", "192.0.2.66"),
    ]);
    let guard = fixture.start_from(Some(CLIENT), &headers, "/agents/7", Some("/agents/{id}"));
    assert_eq!(
        (fixture.sink.seen(), fixture.recorder.in_progress()),
        (1, 1)
    );
    let handle = guard.handle();
    assert!(handle.set_actor(Actor::user("u1\n").role("admin")));
    fixture.clock.advance(Duration::from_micros(1_500));
    guard.set_status(200);
    assert!(fixture.sink.rows().is_empty());
    assert!(guard.finish(End::Complete).is_none());

    let row = fixture.only_row();
    assert_eq!(row.event, "api_request");
    assert_eq!(row.ts, Micros(1_700_000_000_000_000));
    assert_eq!(row.request_id, Some(RequestId::Uuid(row.id)));
    assert_eq!(handle.request_id(), row.id.to_string());
    assert_eq!(row.actor.user_id(), Some(r"u1\u{a}"));
    assert!(row.trace_id.is_some() && !row.trace_trusted);
    let exchange = exchange(&row);
    assert_eq!((&*exchange.method, &*exchange.path), ("GET", "/agents/7"));
    assert_eq!(exchange.route.as_deref(), Some("/agents/{id}"));
    assert_eq!(exchange.status_code, Some(200));
    assert_eq!(exchange.outcome, Outcome::Success);
    assert_eq!(exchange.error_code, None);
    assert_eq!(exchange.duration_us, 1_500);
    assert_eq!(exchange.user_agent.as_deref(), Some(r"curl/8\u{7}"));
    assert_eq!(exchange.ip, Some(CLIENT.parse().unwrap()));
    assert_eq!(exchange.upstream_request_id, None);
}

#[test]
fn only_the_first_end_makes_a_row_and_later_words_change_nothing() {
    let fixture = fixture(CaptureSettings::default());
    let guard = fixture.start("/", None);
    let handle = guard.handle();
    fixture.recorder.finish_all(End::ServerShutdown);
    assert!(!handle.set_actor(Actor::user("late")));
    assert!(!handle.set_error_code("LATE"));
    guard.set_status(200);
    assert!(guard.finish(End::Complete).is_none());
    fixture.recorder.finish_all(End::ServerShutdown);
    drop(handle);
    let row = fixture.only_row();
    assert_eq!(row.actor, Actor::default());
    assert_eq!(
        exchange(&row).error_code.as_deref(),
        Some("SERVER_SHUTDOWN")
    );
    assert_eq!(exchange(&row).status_code, None);
}

#[test]
fn a_dropped_guard_is_a_client_that_left() {
    let before = fixture(CaptureSettings::default());
    drop(before.start("/", None));
    let row = before.only_row();
    assert_eq!(
        exchange(&row).error_code.as_deref(),
        Some("CLIENT_CLOSED_BEFORE_RESPONSE")
    );

    let within = fixture(CaptureSettings::default());
    let guard = within.start("/", None);
    guard.set_status(200);
    drop(guard);
    let row = within.only_row();
    assert_eq!(
        (
            exchange(&row).status_code,
            exchange(&row).error_code.as_deref()
        ),
        (Some(200), Some("CLIENT_CLOSED_MID_BODY"))
    );
}

#[test]
fn a_panic_makes_the_row_before_it_goes_on_and_the_context_ends() {
    let fixture = fixture(CaptureSettings::default());
    let mut outer = fixture.start("/outer", None);
    let outer_id = outer.handle().request_id().to_owned();
    let mut inner = fixture.start("/inner", None);
    outer.run(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            inner.run(|| {
                current().unwrap().set_actor(Actor::user("u1"));
                panic!("the message is private");
            });
        }));
        assert!(caught.is_err());
        assert_eq!(fixture.sink.rows().len(), 1);
        let now = current().expect("the outer request");
        assert_eq!(now.request_id(), outer_id);
    });
    assert!(current().is_none());
    drop(inner);
    let row = &fixture.sink.rows()[0];
    assert_eq!(exchange(row).error_code.as_deref(), Some("PANIC"));
    assert_eq!(row.actor.user_id(), Some("u1"));
    assert!(!format!("{row:?}").contains("private"));
}

#[test]
fn a_scoped_future_is_part_of_the_request() {
    let fixture = fixture(CaptureSettings::default());
    let guard = fixture.start("/", None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let id = runtime.block_on(async {
        let work = async {
            tokio::task::yield_now().await;
            current().unwrap().request_id().to_owned()
        };
        let task = tokio::spawn(guard.handle().scope(work));
        assert!(current().is_none());
        task.await.unwrap()
    });
    assert_eq!(id, guard.handle().request_id());
}

#[test]
fn the_applications_error_code_counts_only_for_failed_responses() {
    let with_code = |status: Option<u16>, end| {
        let fixture = fixture(CaptureSettings::default());
        let guard = fixture.start("/", None);
        guard.handle().set_error_code("AGENT\nLIMIT");
        if let Some(status) = status {
            guard.set_status(status);
        }
        assert!(guard.finish(end).is_none());
        exchange(&fixture.only_row()).error_code.clone()
    };
    assert_eq!(with_code(Some(200), End::Complete), None);
    let own = Some(r"AGENT\u{a}LIMIT".into());
    assert_eq!(with_code(Some(409), End::Complete), own);
    assert_eq!(with_code(Some(200), End::ResponseBodyError), own);
    assert_eq!(
        with_code(None, End::ServiceError),
        Some("SERVICE_ERROR".into())
    );
}

#[test]
fn a_trusted_proxys_words_are_kept_and_anyone_elses_are_not() {
    let headers = || {
        sent(&[
            ("x-request-id", "first"),
            ("x-request-id", " up-1 "),
            ("x-forwarded-for", "192.0.2.66, 203.0.113.9"),
            ("traceparent", TRACEPARENT),
        ])
    };
    for (peer, ip, upstream, trusted) in [
        (PROXY, "203.0.113.9", Some("up-1"), true),
        ("::ffff:10.0.0.1", "203.0.113.9", Some("up-1"), true),
        (CLIENT, CLIENT, None, false),
    ] {
        let fixture = behind_proxy(RequestIdPolicy::Own);
        drop(fixture.start_from(Some(peer), &headers(), "/", None));
        let row = fixture.only_row();
        assert_eq!(exchange(&row).ip, Some(ip.parse().unwrap()));
        assert_eq!(exchange(&row).upstream_request_id.as_deref(), upstream);
        assert_eq!(row.request_id, Some(RequestId::Uuid(row.id)));
        assert_eq!(row.trace_trusted, trusted);
    }
}

#[test]
fn an_upstream_id_is_adopted_if_it_can_be_sent_back() {
    let uuid = "0190163d-8694-739b-aea5-966c26f8ad90";
    let long = "x".repeat(200);
    let cases = [
        (uuid, Some(RequestId::Uuid(uuid.parse().unwrap())), None),
        ("req_7", Some(RequestId::Adopted("req_7".into())), None),
        (
            "0190163D-8694-739B-AEA5-966C26F8AD90",
            Some(RequestId::Adopted(
                "0190163D-8694-739B-AEA5-966C26F8AD90".into(),
            )),
            None,
        ),
        ("a b", None, Some("a b".to_owned())),
        // Its escaped form could be sent back, and is not what came.
        ("a\u{e9}", None, Some("a\u{e9}".to_owned())),
        ("a\u{80}", None, Some(r"a\u{80}".to_owned())),
        ("  ", None, None),
        (long.as_str(), None, Some(format!("{}…", "x".repeat(125)))),
    ];
    for (given, adopted, upstream) in cases {
        let fixture = behind_proxy(RequestIdPolicy::Trusted);
        let headers = sent(&[("x-request-id", given)]);
        let guard = fixture.start_from(Some(PROXY), &headers, "/", None);
        let text = guard.handle().request_id().to_owned();
        drop(guard);
        let row = fixture.only_row();
        let expected = adopted.unwrap_or(RequestId::Uuid(row.id));
        assert_eq!(text, expected.to_string());
        assert_eq!(row.request_id, Some(expected), "{given}");
        assert_eq!(row.id.get_version_num(), 7);
        assert_eq!(
            exchange(&row).upstream_request_id.as_deref(),
            upstream.as_deref()
        );
    }
    let fixture = behind_proxy(RequestIdPolicy::Trusted);
    drop(fixture.start_from(Some(CLIENT), &sent(&[("x-request-id", "mine")]), "/", None));
    let row = fixture.only_row();
    assert_eq!(row.request_id, Some(RequestId::Uuid(row.id)));
}

#[test]
fn secrets_in_paths_are_masked_by_name_by_settings_and_by_the_handle() {
    let fixture = fixture(CaptureSettings {
        masked_params: vec![MaskedParam {
            route: Some("/magic/{link}".to_owned()),
            name: "link".to_owned(),
        }],
        ..CaptureSettings::default()
    });
    drop(fixture.start("/reset/s3cret", Some("/reset/{token}")));
    drop(fixture.start("/magic/s3cret", Some("/magic/{link}")));
    drop(fixture.start("/other/fine", Some("/other/{link}")));
    let guard = fixture.start("/x/s3cret", None);
    let handle = guard.handle();
    handle.mask_path_param("y");
    handle.tell_route("/x/{y}");
    handle.tell_route("/{later}");
    drop(guard);
    let rows = fixture.sink.rows();
    let paths: Vec<&str> = rows.iter().map(|row| &*exchange(row).path).collect();
    assert_eq!(
        paths,
        ["/reset/{token}", "/magic/{link}", "/other/fine", "/x/{y}"]
    );
    assert_eq!(exchange(&rows[3]).route.as_deref(), Some("/x/{y}"));
}

#[test]
fn an_excluded_route_is_seen_and_has_no_row() {
    let fixture = fixture(CaptureSettings {
        exclusions: vec![Exclusion {
            method: Some("GET".to_owned()),
            route: "/health/{kind}".to_owned(),
        }],
        ..CaptureSettings::default()
    });
    drop(fixture.start("/health/live", Some("/health/{kind}")));
    assert_eq!((fixture.sink.seen(), fixture.sink.excluded()), (1, 1));
    assert_eq!(fixture.recorder.in_progress(), 0);
    // Not by path: a client could choose one.
    drop(fixture.start("/health/{kind}", None));
    assert_eq!(exchange(&fixture.only_row()).route, None);
}

#[test]
fn a_closed_connection_is_one_more_row_of_the_same_request() {
    let fixture = fixture(CaptureSettings::default());
    let guard = fixture.start("/ws", Some("/ws"));
    let handle = guard.handle();
    handle.set_actor(Actor::user("u1"));
    guard.set_status(101);
    assert!(guard.finish(End::Complete).is_none());
    let connection = handle.upgraded();
    connection.received(10);
    connection.received(5);
    connection.sent(7);
    fixture.clock.advance(Duration::from_secs(60));
    drop(connection);
    handle.connection_closed(1, 1);
    let rows = fixture.sink.rows();
    assert_eq!(rows.len(), 2);
    let (opened, closed) = (&rows[0], &rows[1]);
    assert_eq!(exchange(opened).outcome, Outcome::Success);
    assert_eq!(closed.event, "api_connection_closed");
    assert_eq!(closed.request_id, opened.request_id);
    assert_ne!(closed.id, opened.id);
    assert_eq!(closed.actor, opened.actor);
    assert_eq!(exchange(closed).duration_us, 60_000_000);
    assert_eq!(
        closed.properties.as_deref(),
        Some(r#"{"bytesReceived":15,"bytesSent":7}"#)
    );
}

#[test]
fn the_registry_holds_what_is_open_from_any_thread() {
    let fixture = fixture(CaptureSettings::default());
    let guards: Vec<Guard> = std::thread::scope(|scope| {
        let start = || {
            (0..100)
                .map(|_| fixture.start("/", None))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(fixture.recorder.in_progress(), 400);
    let (now, later) = guards.split_at(150);
    let later: Vec<_> = later.iter().map(Guard::handle).collect();
    assert_eq!((now.len(), later.len()), (150, 250));
    fixture.recorder.finish_all(End::ServerShutdown);
    assert_eq!(fixture.recorder.in_progress(), 0);
    drop(guards);
    assert_eq!(fixture.sink.rows().len(), 400);
    let _next = fixture.start("/", None);
    assert_eq!(fixture.recorder.in_progress(), 1);
}

/// Where a request is watched.
fn place(guard: &Guard) -> *const () {
    Arc::as_ptr(&guard.handle().0).cast()
}

#[test]
fn a_request_takes_the_memory_of_one_that_has_ended_and_nothing_of_what_it_said() {
    let fixture = fixture(CaptureSettings::default());
    let first = fixture.start("/a", Some("/a"));
    let memory = place(&first);
    let handle = first.handle();
    assert!(handle.set_actor(Actor::user("u_1")));
    assert!(handle.set_error_code("OUT_OF_CREDIT"));
    first.set_status(402);
    drop(handle);
    assert!(first.finish(End::Complete).is_none());

    let second = fixture.start("/b", None);
    assert_eq!(place(&second), memory);
    assert!(!second.is_finished());
    second.set_status(500);
    let third = fixture.start("/c", None);
    assert_ne!(place(&third), memory);
    assert!(second.finish(End::Complete).is_none());
    drop(third);

    let rows = fixture.sink.rows();
    assert_eq!(rows.len(), 3);
    let code = |row: &Row| exchange(row).error_code.as_deref().map(str::to_owned);
    assert_eq!(code(&rows[0]).as_deref(), Some("OUT_OF_CREDIT"));
    assert_eq!(code(&rows[1]).as_deref(), Some("INTERNAL_SERVER_ERROR"));
    assert_eq!(rows[1].actor, Actor::default());
    assert_eq!(exchange(&rows[1]).route, None);
    assert_ne!(rows[0].id, rows[1].id);
    assert_eq!(fixture.recorder.in_progress(), 0);
}

#[test]
fn a_request_that_somebody_still_holds_keeps_its_memory() {
    let fixture = fixture(CaptureSettings::default());
    let first = fixture.start("/first", None);
    let (memory, handle) = (place(&first), first.handle());
    assert!(first.finish(End::Complete).is_none());
    let id = handle.request_id().to_owned();
    let second = fixture.start("/second", None);
    assert_ne!(place(&second), memory);
    assert_eq!(handle.request_id(), id);
    assert!(!handle.set_actor(Actor::user("u_2")));
    drop(second);
    assert!(
        fixture
            .sink
            .rows()
            .iter()
            .all(|row| row.actor == Actor::default())
    );
}

/// Escapes make a path longer than what was sent.
#[test]
fn a_path_is_bounded_as_it_is_stored() {
    let fixture = fixture(CaptureSettings::default());
    for (piece, fits) in [("a", true), ("\u{85}", false), ("\u{61c}", false)] {
        let path = format!("/{}", piece.repeat(900));
        drop(fixture.start(&path, Some("/{rest}")));
        let rows = fixture.sink.rows();
        let stored = &exchange(rows.last().unwrap()).path;
        assert!(stored.len() <= 2_048, "{}", stored.len());
        assert_eq!(stored.ends_with('…'), !fits);
    }
}

/// The row leaves without a copy only where nobody can ask any more.
#[test]
fn whoever_holds_a_handle_can_ask_after_the_end() {
    for (holds, ran) in [(true, false), (true, true), (false, false), (false, true)] {
        let fixture = fixture(CaptureSettings::default());
        let headers = sent(&[("traceparent", TRACEPARENT)]);
        let mut guard =
            fixture.start_from(Some(CLIENT), &headers, "/agents/7", Some("/agents/{id}"));
        guard.handle().set_actor(Actor::user("u_1"));
        if ran {
            assert!(guard.run(current).is_some());
        }
        let handle = holds.then(|| guard.handle());
        guard.set_status(200);
        assert!(guard.finish(End::Complete).is_none());
        let row = fixture.only_row();
        assert_eq!(row.actor, Actor::user("u_1"));
        if let Some(handle) = handle {
            let said = handle.snapshot();
            assert_eq!(said.actor, row.actor);
            assert_eq!((said.trace_id, said.ip), (row.trace_id, row.client_ip()));
            handle.connection_closed(1, 2);
            let closed = fixture.sink.rows().pop().unwrap();
            assert_eq!(closed.event, "api_connection_closed");
            assert_eq!(exchange(&closed).path, "/agents/7");
        }
    }
}

#[test]
fn what_is_long_and_what_comes_after_the_recorder_is_not_kept() {
    let Fixture {
        sink,
        recorder,
        clock,
    } = fixture(CaptureSettings::default());
    let fixture = Fixture {
        sink: Arc::clone(&sink),
        recorder,
        clock,
    };
    let in_watches = || Arc::strong_count(&sink) - 2;
    let idle = |path: &str| {
        let guard = fixture.start(path, None);
        let held = Arc::downgrade(&guard.handle().0);
        drop(guard);
        held.strong_count()
    };
    assert_eq!(idle("/short"), 1);
    assert_eq!(idle(&format!("/{:3000}", 1)), 0);
    // The sink is held by what watches share, and by the fixture.
    assert_eq!(in_watches(), 1);
    let open = fixture.start("/open", None);
    let _idle = idle("/another");
    drop(fixture);
    assert_eq!(Arc::strong_count(&sink), 2);
    drop(open);
    assert_eq!(Arc::strong_count(&sink), 1);
    assert_eq!(sink.rows().len(), 4);
}

#[cfg(feature = "opentelemetry")]
#[test]
fn the_current_trace_counts_where_the_request_names_none() {
    use opentelemetry::trace::{
        SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    };
    let span = SpanContext::new(
        TraceId::from_bytes([7; 16]),
        SpanId::from_bytes([1; 8]),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let fixture = fixture(CaptureSettings::default());
    let context = opentelemetry::Context::new().with_remote_span_context(span);
    let attached = context.attach();
    drop(fixture.start("/", None));
    drop(fixture.start_from(None, &sent(&[("traceparent", header)]), "/", None));
    drop(attached);
    drop(fixture.start("/", None));
    let traces: Vec<_> = fixture.sink.rows().iter().map(Row::trace_id).collect();
    let expected = [
        Some("07".repeat(16)),
        Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        None,
    ];
    assert_eq!(traces, expected);
}

#[test]
fn the_queue_knows_whose_request_a_row_and_its_events_are_of() {
    let fixture = fixture(CaptureSettings::default());
    let guard = fixture.start_from(Some("203.0.113.9"), &Sent::default(), "/", None);
    let ip = Fixture::client_of_events(&guard);
    assert_eq!(ip, Some([203, 0, 113, 9].into()));
    assert!(guard.finish(End::Complete).is_none());
    assert_eq!(fixture.only_row().client_ip(), ip);
}
