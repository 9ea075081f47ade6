//! Requests that no browser sends.

use audithog::testing::recorder;
use audithog::{Actor, RequestHandle, Row};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::{app, is_harmless, request, send, serve};

/// What it is, and its bytes on the wire.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let megabyte = vec![b'u'; 1 << 20];
    let control: Vec<u8> = (0x80..=0xff).chain([b'\t', b'a']).collect();
    let long_path = [b"/a/".as_slice(), &[b'p'; 20_000]].concat();
    vec![
        // hyper reads at most about 400 KB of head: this one is refused before any service.
        (
            "a megabyte of user agent",
            request(b"/", &[("user-agent", &megabyte)]),
        ),
        (
            "a large user agent",
            request(b"/", &[("user-agent", &megabyte[..300_000])]),
        ),
        (
            "bytes above ASCII",
            request(b"/", &[("user-agent", &control)]),
        ),
        (
            "a control character",
            request(b"/", &[("user-agent", b"a\x1b[31m")]),
        ),
        (
            "odd values elsewhere",
            request(
                b"/",
                &[
                    ("x-forwarded-for", &control),
                    ("traceparent", &control),
                    ("x-request-id", &control),
                ],
            ),
        ),
        (
            "percent-encoded control characters",
            request(b"/a/%00%0a%0D%1b%ff%fe", &[]),
        ),
        ("broken percent-encoding", request(b"/a/%zz%", &[])),
        (
            "a path of bytes above ASCII",
            request(b"/a/\xff\xfe\xc3\x28", &[]),
        ),
        ("a path with NUL", request(b"/a/\0", &[])),
        ("a long path", request(&long_path, &[])),
        (
            "an endless method",
            [&[b'M'; 5_000], request(b"/", &[]).as_slice()].concat(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_become_bounded_rows_or_never_reach_the_service() {
    let (logger, rows) = recorder();
    let address = serve(app(&logger)).await;
    for (what, bytes) in hostile() {
        let before = rows.all().len();
        let status = send(address, &bytes).await;
        let new = &rows.all()[before..];
        let seen = logger.health().requests_seen;
        assert_eq!(seen, rows.all().len() as u64, "{what}: {new:#?}");
        // Either hyper refuses what is no HTTP, or there is one row with the status the client saw.
        match new {
            [] => assert!(
                matches!(status, None | Some(400 | 414 | 431)),
                "{what}: {status:?}"
            ),
            [row] => {
                assert_eq!(row.status_code(), status, "{what}");
                assert_bounded(what, row);
            }
            more => panic!("{what}: {more:#?}"),
        }
    }
    let all = rows.all();
    let agents: Vec<&str> = all.iter().filter_map(Row::user_agent).collect();
    let large = agents
        .iter()
        .find(|agent| agent.starts_with("uuu"))
        .unwrap();
    assert!(large.len() <= 512 && large.ends_with('…'), "{large}");
    assert!(
        agents.iter().any(|agent| agent.starts_with(r"\x80\x81")),
        "{agents:?}"
    );
    // A path is kept as it was sent, which is in visible ASCII.
    rows.one("GET", "/a/%00%0a%0D%1b%ff%fe").success();
    let paths = all.iter().filter_map(Row::path);
    assert!(
        paths
            .into_iter()
            .any(|path| path.len() == 2_048 || path.ends_with('…'))
    );
}

fn assert_bounded(what: &str, row: &Row) {
    for (value, limit) in [
        (row.method(), 32),
        (row.path(), 2_048),
        (row.route(), 512),
        (row.user_agent(), 512),
        (row.error_code(), 128),
        (row.upstream_request_id(), 128),
    ] {
        let value = value.unwrap_or("");
        assert!(
            value.len() <= limit && is_harmless(value),
            "{what}: {value:?}"
        );
    }
    assert_eq!(row.trace_id(), None, "{what}");
}

#[test]
fn what_a_handler_says_is_bounded_too() {
    fn say(handle: &RequestHandle) {
        handle.set_actor(
            Actor::user("\u{1b}".repeat(1_000))
                .role("é".repeat(1_000))
                .org("\0"),
        );
        handle.set_error_code("E\n".repeat(1_000));
    }
    let (logger, rows) = recorder();
    let handler = |handle: RequestHandle| async move {
        say(&handle);
        StatusCode::IM_A_TEAPOT
    };
    let app = Router::new().route("/", get(handler)).layer(logger.layer());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let request = axum::extract::Request::new(axum::body::Body::empty());
    drop(
        runtime
            .block_on(tower::ServiceExt::oneshot(app, request))
            .unwrap(),
    );
    let found = rows.one("GET", "/").status(418).failure();
    let row = found.row();
    assert_bounded("the handler", row);
    let actor = row.actor();
    for text in [actor.user_id(), actor.user_role(), actor.org_id()] {
        let text = text.unwrap();
        assert!(text.len() <= 200 && is_harmless(text), "{text:?}");
    }
}
