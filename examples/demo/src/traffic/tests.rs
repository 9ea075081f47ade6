use std::collections::BTreeSet;

use audithog::testing::recorder;

use super::*;
use crate::{
    app,
    server::{Server, listen},
};

#[tokio::test]
async fn a_round_meets_every_route_and_every_kind_of_end() {
    let (logger, rows) = recorder();
    let listener = listen(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::start(listener, app(&logger));
    let mut ada = Session::new(address, client(), &USERS[0]);
    ada.sign_in(PASSWORD).await;
    for step in SCRIPT {
        let _ = ada.take(step).await;
    }
    drop(ada);
    server.stop().await;

    let ends: BTreeSet<String> = rows
        .all()
        .iter()
        .filter(|row| row.event_name() == "api_request")
        .map(|row| {
            let route = row.route().unwrap_or("-");
            let code = row.error_code().unwrap_or("ok");
            format!("{} {route} {code}", row.method().unwrap_or_default())
        })
        .collect();
    let expected = [
        "DELETE /agents/{id} ok",
        "GET - NO_SUCH_ROUTE",
        "GET /agents TOKEN_MISSING",
        "GET /agents ok",
        "GET /healthz ok",
        "GET /trouble/fail MODEL_UNAVAILABLE",
        "GET /trouble/panic PANIC",
        "GET /trouble/slow CLIENT_CLOSED_BEFORE_RESPONSE",
        "GET /trouble/slow CLIENT_CLOSED_MID_BODY",
        "GET /trouble/slow ok",
        "POST /agents ok",
        "POST /agents/{id}/publish AGENT_NOT_FOUND",
        "POST /agents/{id}/publish ALREADY_PUBLISHED",
        "POST /agents/{id}/publish ok",
        "POST /healthz METHOD_NOT_ALLOWED",
        "POST /login BAD_CREDENTIALS",
        "POST /login ok",
    ];
    assert_eq!(ends, expected.map(str::to_owned).into());
}
