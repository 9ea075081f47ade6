//! Exactly one `api_request` row for each call of the outermost service, whatever the handler and
//! the client do.
//!
//! A layer outside of ours counts the calls. Each request has a user agent of its own, by which its
//! row is found. Where the end is a race between the client and the response, a set of outcomes is
//! allowed; the count never is a race.

mod clients;
mod server;

use std::future::Future;

use audithog::Guarantee;
use futures_util::future::join_all;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop};
use proptest::test_runner::FileFailurePersistence;
use proptest::{prop_oneof, proptest};

use clients::{Leave, Raw};
use server::{HANDLERS, Handler, LARGE, PATIENCE, SLOW, STREAM, Server, UPGRADE_101, Visit};

/// What a response waits for makes no difference to its row.
const GUARANTEES: [Guarantee; 3] = [
    Guarantee::BestEffort,
    Guarantee::Durable,
    Guarantee::FailClosed,
];

// === Each handler, each client that leaves at a known moment ===

#[tokio::test(flavor = "multi_thread")]
async fn every_handler_is_one_row_for_a_patient_http1_client() {
    for handler in HANDLERS.iter().chain([&UPGRADE_101]) {
        for guarantee in GUARANTEES {
            one_under(guarantee, |server| async {
                let visits = clients::keep_alive(&server, "h1", &[*handler], Leave::Never).await;
                (server, visits)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_handler_is_one_row_for_a_patient_http2_client() {
    for handler in &HANDLERS {
        for guarantee in GUARANTEES {
            one_under(guarantee, |server| async {
                let visits = clients::http2(&server, "h2", &[(*handler, Leave::Never)]).await;
                (server, visits)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_kept_alive_or_pipelined_has_a_row_for_each_request() {
    let lasting: Vec<Handler> = HANDLERS
        .into_iter()
        .filter(|handler| !handler.last)
        .collect();
    one(|server| async {
        let mut visits = clients::keep_alive(&server, "kept", &lasting, Leave::Never).await;
        assert_eq!(visits.len(), lasting.len());
        visits.extend(clients::raw(&server, "piped", Raw::Pipelined, &lasting).await);
        (server, visits)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_held_handler_is_one_row_with_the_point_where_it_left() {
    for (handler, leave) in [(SLOW, Leave::BeforeResponse), (STREAM, Leave::MidBody)] {
        one(|server| async {
            let visits = clients::keep_alive(&server, "h1", &[handler], leave).await;
            (server, visits)
        })
        .await;
        one(|server| async {
            let kept = (HANDLERS[0], Leave::Never);
            let visits = clients::http2(&server, "h2", &[(handler, leave), kept]).await;
            (server, visits)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_that_breaks_is_one_row_for_each_of_its_streams() {
    one(|server| async {
        let visits = clients::http2_gone(&server, "h2", 5).await;
        (server, visits)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_a_little_of_much_has_left_in_mid_body() {
    one(|server| async {
        let mut visits = clients::keep_alive(&server, "large", &[LARGE], Leave::MidBody).await;
        visits[0].allowed = vec!["200 failure CLIENT_CLOSED_MID_BODY".to_owned()];
        (server, visits)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_break_the_protocol_are_one_row_for_each_call() {
    for kind in RAW {
        one(|server| async {
            let handlers = [HANDLERS[0], STREAM, HANDLERS[3]];
            let visits = clients::raw(&server, "raw", kind, &handlers).await;
            (server, visits)
        })
        .await;
    }
}

// === Any of them, in any mix ===

const RAW: [Raw; 6] = [
    Raw::Pipelined,
    Raw::PipelinedThenGone,
    Raw::Gone,
    Raw::HalfClosed,
    Raw::BodyUnread,
    Raw::BodyHalfSent,
];

/// One connection.
#[derive(Clone, Debug)]
enum Client {
    KeepAlive(Vec<Handler>, Leave),
    Raw(Raw, Vec<Handler>),
    Http2(Vec<(Handler, Leave)>),
}

impl Client {
    async fn run(&self, server: &Server, name: &str) -> Vec<Visit> {
        match self {
            Self::KeepAlive(handlers, leave) => {
                clients::keep_alive(server, name, handlers, *leave).await
            }
            Self::Raw(kind, handlers) => clients::raw(server, name, *kind, handlers).await,
            Self::Http2(streams) => clients::http2(server, name, streams).await,
        }
    }
}

fn client() -> impl Strategy<Value = Client> {
    let http1 = || {
        let kinds = HANDLERS.into_iter().chain([UPGRADE_101]);
        prop::collection::vec(prop::sample::select(kinds.collect::<Vec<_>>()), 1..5)
    };
    let stream = (prop::sample::select(&HANDLERS[..]), leave());
    prop_oneof![
        (http1(), leave()).prop_map(|(handlers, leave)| Client::KeepAlive(handlers, leave)),
        (prop::sample::select(&RAW[..]), http1())
            .prop_map(|(kind, handlers)| Client::Raw(kind, handlers)),
        prop::collection::vec(stream, 1..6).prop_map(Client::Http2),
    ]
}

fn leave() -> impl Strategy<Value = Leave> {
    prop_oneof![
        Just(Leave::Never),
        Just(Leave::BeforeResponse),
        Just(Leave::MidBody),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        // A case that fails by waiting in vain takes long.
        max_shrink_time: 60_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_row_for_each_call_whatever_handlers_and_clients_do(
        guarantee in prop::sample::select(&GUARANTEES[..]),
        clients in prop::collection::vec(client(), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(one_under(guarantee, |server| async {
            let running = clients.iter().enumerate();
            let running = running.map(|(n, client)| {
                let (server, name) = (&server, format!("client-{n}"));
                async move { client.run(server, &name).await }
            });
            let visits = join_all(running).await.into_iter().flatten().collect();
            (server, visits)
        }));
    }
}

/// Runs clients against a server of their own, then checks every call and every visit.
async fn one<F: Future<Output = (Server, Vec<Visit>)>>(clients: impl FnOnce(Server) -> F) {
    one_under(Guarantee::BestEffort, clients).await;
}

async fn one_under<F: Future<Output = (Server, Vec<Visit>)>>(
    guarantee: Guarantee,
    clients: impl FnOnce(Server) -> F,
) {
    let server = Server::start(guarantee).await;
    let visits = tokio::time::timeout(PATIENCE, clients(server));
    let (server, visits) = visits.await.expect("a client waits for ever");
    server.check(&visits).await;
}
