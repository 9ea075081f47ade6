//! Several loggers in one process.

use audithog::testing::recorder;
use audithog::{Actor, Logger, RequestHandle};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use tower::ServiceExt as _;

use super::Bench;

async fn call(app: &Router) -> StatusCode {
    let request = Request::get("/pay").body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn an_event_goes_to_the_logger_it_was_asked_from_also_in_a_request_of_another() {
    let (web, web_rows) = recorder();
    let (payments, payment_rows) = recorder();
    let handler = move |request: RequestHandle| async move {
        request.set_actor(Actor::user("u1"));
        payments.event("paid").log();
        request.event("seen").log();
    };
    let app = Router::new().route("/pay", get(handler)).layer(web.layer());
    assert_eq!(call(&app).await, StatusCode::OK);

    let paid = payment_rows.all();
    assert_eq!(paid.len(), 1, "{paid:#?}");
    assert_eq!(paid[0].event_name(), "paid");
    let of_web = web_rows.all();
    let names: Vec<&str> = of_web.iter().map(audithog::Row::event_name).collect();
    assert_eq!(names, ["seen", "api_request"]);
    assert!(paid[0].request_id().is_some());
    assert_eq!(paid[0].request_id(), of_web[1].request_id());
    assert_eq!(paid[0].actor().user_id(), Some("u1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logger_keeps_its_events_while_the_one_that_watches_the_request_has_ended() {
    let (web, payments) = (Bench::new(), Bench::new());
    let (watching, running) = (
        web.silent().start().unwrap(),
        payments.silent().start().unwrap(),
    );
    let (ended, held) = (watching.clone(), running.clone());
    let handler = move || {
        let (ended, held): (Logger, Logger) = (ended.clone(), held.clone());
        async move {
            let report = ended
                .shutdown(Some(std::time::Duration::from_millis(200)))
                .await;
            assert!(report.closed, "{report}");
            held.event("paid").log_durable().await.unwrap();
        }
    };
    let app = Router::new()
        .route("/pay", get(handler))
        .layer(watching.layer());
    assert_eq!(call(&app).await, StatusCode::OK);
    assert_eq!(payments.rows_of("paid").len(), 1);
    assert_eq!(web.rows_of("paid").len(), 0);
    let report = running.shutdown(None).await;
    assert!(report.closed && report.lost() == 0, "{report}");
}
