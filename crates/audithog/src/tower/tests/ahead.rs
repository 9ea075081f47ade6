//! Requests whose service is not ready yet.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::FutureExt;
use futures_util::future::{Ready, ready};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt};

use super::{audit, only, recorder, socket, verdict};
use crate::capture::{CaptureSettings, Guarantee, RowSink};
use crate::record::End;
use crate::tower::AuditLayer;

/// What it says when it is asked whether it is ready.
#[derive(Clone, Copy)]
enum Says {
    NotYet,
    Ready,
    Failed,
    Panic,
}

/// Its clones share what they say, and how often one was called. None of them may be asked again after it failed.
struct Gate {
    says: Arc<std::sync::Mutex<Says>>,
    called: Arc<AtomicUsize>,
    ready: bool,
    failed: bool,
}

impl Gate {
    fn that(says: Says) -> Self {
        Self {
            says: Arc::new(std::sync::Mutex::new(says)),
            called: Arc::default(),
            ready: false,
            failed: false,
        }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn called(&self) -> usize {
        self.called.load(Ordering::Relaxed)
    }
}

impl Clone for Gate {
    fn clone(&self) -> Self {
        Self {
            says: Arc::clone(&self.says),
            called: Arc::clone(&self.called),
            ready: false,
            failed: false,
        }
    }
}

impl Service<Request<()>> for Gate {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Ready<io::Result<Response<Body>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(!self.failed, "asked again");
        let says = *self.says.lock().unwrap();
        match says {
            Says::NotYet => return Poll::Pending,
            Says::Ready => self.ready = true,
            Says::Failed => {
                self.failed = true;
                return Poll::Ready(Err(io::Error::other("broken")));
            }
            Says::Panic => {
                self.failed = true;
                panic!("as told");
            }
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without being ready"
        );
        self.called.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(Body::empty())))
    }
}

fn request() -> Request<()> {
    Request::new(())
}

#[tokio::test]
async fn it_is_handled_by_the_instance_that_was_asked_once_that_is_ready() {
    let (sink, layer) = audit();
    let gate = Gate::that(Says::NotYet);
    let mut answer = Box::pin(layer.layer(gate.clone()).oneshot(request()));
    assert!((&mut answer).now_or_never().is_none());
    assert_eq!((sink.seen(), sink.rows().len()), (1, 0));
    gate.say(Says::Ready);
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(gate.called(), 1);
    assert_eq!(verdict(only(&sink.rows())), "200 success -");
}

#[tokio::test]
async fn a_client_that_does_not_wait_so_long_has_its_row() {
    let (sink, layer) = audit();
    let gate = Gate::that(Says::NotYet);
    let mut answer = Box::pin(layer.layer(gate.clone()).oneshot(request()));
    assert!((&mut answer).now_or_never().is_none());
    drop(answer);
    let rows = sink.rows();
    assert_eq!(
        verdict(only(&rows)),
        "- failure CLIENT_CLOSED_BEFORE_RESPONSE"
    );
    assert_eq!(gate.called(), 0);
}

#[tokio::test]
async fn a_service_that_does_not_get_ready_fails_the_request() {
    for before in [Says::NotYet, Says::Failed] {
        let (sink, layer) = audit();
        let gate = Gate::that(before);
        let mut answer = Box::pin(layer.layer(gate.clone()).oneshot(request()));
        let mut answered = (&mut answer).now_or_never();
        if let Says::NotYet = before {
            assert!(answered.is_none());
            gate.say(Says::Failed);
            answered = answer.now_or_never();
        }
        assert_eq!(answered.unwrap().unwrap_err().to_string(), "broken");
        assert_eq!(verdict(only(&sink.rows())), "- failure SERVICE_ERROR");
    }
}

#[tokio::test]
async fn a_service_that_recovers_serves_the_next_request() {
    let (sink, layer) = audit();
    let gate = Gate::that(Says::Failed);
    let mut service = layer.layer(gate.clone());
    assert!(
        service
            .ready()
            .await
            .unwrap()
            .call(request())
            .await
            .is_err()
    );
    gate.say(Says::Ready);
    assert!(service.ready().await.unwrap().call(request()).await.is_ok());
    assert_eq!((sink.seen(), sink.rows().len()), (2, 2));
}

#[tokio::test]
async fn a_panic_of_a_service_that_is_asked_whether_it_is_ready_is_the_requests() {
    let (sink, layer) = audit();
    let service = layer.layer(Gate::that(Says::Panic));
    let panicked = std::panic::AssertUnwindSafe(service.oneshot(request())).catch_unwind();
    assert!(panicked.await.is_err());
    assert_eq!(verdict(only(&sink.rows())), "- failure PANIC");
}

/// A row that says how the request ended says nothing of what a handler does afterwards.
#[tokio::test]
async fn a_request_that_a_shutdown_ended_is_not_handled_any_more() {
    let (sink, recorder) = recorder(CaptureSettings::default());
    let layer = AuditLayer::new(recorder.clone());
    let gate = Gate::that(Says::NotYet);
    let mut answer = Box::pin(layer.layer(gate.clone()).oneshot(request()));
    assert!((&mut answer).now_or_never().is_none());
    recorder.finish_all(End::ServerShutdown);
    gate.say(Says::Ready);
    assert_eq!(
        answer.await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(gate.called(), 0);
    assert_eq!(verdict(only(&sink.rows())), "- failure SERVER_SHUTDOWN");
}

/// The collector drops whoever waits for a row: it will never be there.
#[tokio::test]
async fn a_request_whose_start_is_not_kept_in_time_is_counted_unless_a_shutdown_ended_it() {
    for (ends, withheld) in [(false, 1), (true, 0)] {
        let mut settings = CaptureSettings::default();
        settings.guarantees.default = Guarantee::FailClosed;
        let (sink, recorder) = recorder(settings);
        let layer = AuditLayer::new(recorder.clone());
        let gate = Gate::that(Says::Ready);
        let answer = layer.layer(gate.clone()).call(request());
        if ends {
            recorder.finish_all(End::ServerShutdown);
        }
        assert_eq!(answer.await.unwrap().status(), 503);
        assert_eq!(gate.called(), 0);
        let count = sink.answers().withheld.load(Ordering::Relaxed);
        assert_eq!(count, withheld, "{:#?}", sink.rows());
    }
}

#[tokio::test]
async fn a_layer_within_another_waits_for_its_service_too() {
    let (outer_sink, outer) = audit();
    let (inner_sink, inner) = audit();
    let gate = Gate::that(Says::NotYet);
    let mut answer = Box::pin(outer.layer(inner.layer(gate.clone())).oneshot(request()));
    assert!((&mut answer).now_or_never().is_none());
    gate.say(Says::Ready);
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(verdict(only(&outer_sink.rows())), "200 success -");
    assert_eq!(inner_sink.seen(), 0);
    gate.say(Says::Failed);
    let failed = outer.layer(inner.layer(gate.clone())).oneshot(request());
    assert_eq!(failed.await.unwrap_err().to_string(), "broken");
    assert_eq!(outer_sink.rows().len(), 2);
}

/// axum asks within the request's future, behind a server that has read the request.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_a_queue_in_front_of_a_handler_have_their_rows() {
    let (sink, layer) = audit();
    let (entered, mut handlers) = tokio::sync::mpsc::unbounded_channel();
    let handler = move || {
        let (go, went) = tokio::sync::oneshot::channel::<()>();
        entered.send(go).unwrap();
        async { went.await.unwrap() }
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer((layer, GlobalConcurrencyLimitLayer::new(1)));
    let address = socket::listen(app).await;
    let connect = || async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        stream
    };
    let mut first = connect().await;
    let go = handlers.recv().await.unwrap();
    let waiting = [connect().await, connect().await];
    sink.wait_seen(3);
    drop(waiting);
    let rows = sink.wait_for(2);
    let left = "- failure CLIENT_CLOSED_BEFORE_RESPONSE";
    assert!(rows.iter().all(|row| verdict(row) == left), "{rows:#?}");
    go.send(()).unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(verdict(&sink.wait_for(3)[2]), "200 success -");
    assert!(handlers.try_recv().is_err(), "only one was handled");
}
