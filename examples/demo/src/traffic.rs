//! Clients of the demo's own: each user goes through the same script, again and again, from another place.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderValue, Method, Request, header},
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::marketplace::{PASSWORD, USERS, User};

/// Time between two requests of one user; four users make about five requests a second.
const PACE: Duration = Duration::from_millis(800);

/// How long the impatient client waits; the slow route takes longer to begin.
const IMPATIENCE: Duration = Duration::from_millis(200);

/// No agent has this id.
const UNKNOWN_AGENT: u64 = 0;

const USER_AGENT: &str = "audithog-demo/1.0 (its own traffic)";

/// One request.
#[derive(Clone, Copy, Debug)]
enum Step {
    SignInWrongly,
    List,
    ListWithoutToken,
    Create,
    Publish,
    PublishUnknown,
    Delete,
    Health,
    NoSuchRoute,
    WrongMethod,
    Fail,
    Panic,
    Slow,
    LeaveBeforeResponse,
    LeaveMidBody,
}

const SCRIPT: [Step; 28] = [
    Step::List,
    Step::Create,
    Step::List,
    Step::Publish,
    Step::Publish,
    Step::List,
    Step::Health,
    Step::LeaveMidBody,
    Step::List,
    Step::NoSuchRoute,
    Step::Create,
    Step::List,
    Step::Fail,
    Step::Publish,
    Step::List,
    Step::PublishUnknown,
    Step::Slow,
    Step::List,
    Step::Delete,
    Step::SignInWrongly,
    Step::List,
    Step::Panic,
    Step::Create,
    Step::List,
    Step::LeaveBeforeResponse,
    Step::ListWithoutToken,
    Step::WrongMethod,
    Step::Delete,
];

/// Starts a client for each user. They stop when the set is dropped.
pub(crate) fn start(address: SocketAddr) -> JoinSet<()> {
    let client = client();
    USERS
        .iter()
        .enumerate()
        .map(|(index, user)| {
            let from = index * SCRIPT.len() / USERS.len();
            Session::new(address, client.clone(), user).run(from)
        })
        .collect()
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

fn client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

struct Session {
    client: HttpClient,
    address: SocketAddr,
    user: &'static User,
    token: Option<String>,
    /// The organisation's agents, as last listed.
    agents: Vec<u64>,
}

/// What the client reads of the API's answers.
#[derive(Deserialize)]
struct Token {
    token: String,
}

#[derive(Deserialize)]
struct Agent {
    id: u64,
    org: String,
}

impl Session {
    fn new(address: SocketAddr, client: HttpClient, user: &'static User) -> Self {
        Self {
            client,
            address,
            user,
            token: None,
            agents: Vec::new(),
        }
    }

    async fn run(mut self, from: usize) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for step in SCRIPT.iter().cycle().skip(from) {
            pace.tick().await;
            if self.token.is_none() {
                self.sign_in(PASSWORD).await;
                pace.tick().await;
            }
            // Whatever comes of it: the audit log tells.
            let _ = self.take(*step).await;
        }
    }

    async fn sign_in(&mut self, password: &str) {
        let login = json!({ "user": self.user.name, "password": password });
        let request = self.request(Method::POST, "/login", Some(login));
        if let Some(token) = self.fetch::<Token>(request).await {
            self.token = Some(token.token);
        }
    }

    /// Takes one step; none when the request failed or the client left.
    async fn take(&mut self, step: Step) -> Option<()> {
        let newest = self.agents.last().copied().unwrap_or(UNKNOWN_AGENT);
        let oldest = self.agents.first().copied().unwrap_or(UNKNOWN_AGENT);
        let request = match step {
            Step::SignInWrongly => {
                self.sign_in("guess").await;
                return Some(());
            }
            Step::List => return self.list().await,
            Step::LeaveBeforeResponse => {
                let slow = self.client.request(self.get("/trouble/slow"));
                return timeout(IMPATIENCE, slow).await.ok().map(drop);
            }
            Step::LeaveMidBody => {
                let slow = self.client.request(self.get("/trouble/slow")).await.ok()?;
                return slow.into_body().frame().await.map(drop);
            }
            Step::ListWithoutToken => {
                let mut request = self.get("/agents");
                request.headers_mut().remove(header::AUTHORIZATION);
                request
            }
            Step::Create => {
                let agent = json!({ "name": format!("{}'s agent", self.user.name) });
                self.request(Method::POST, "/agents", Some(agent))
            }
            Step::Publish => self.post(&format!("/agents/{newest}/publish")),
            Step::PublishUnknown => self.post(&format!("/agents/{UNKNOWN_AGENT}/publish")),
            Step::Delete => self.request(Method::DELETE, &format!("/agents/{oldest}"), None),
            Step::WrongMethod => self.post("/healthz"),
            Step::Health => self.get("/healthz"),
            Step::NoSuchRoute => self.get("/nowhere"),
            Step::Fail => self.get("/trouble/fail"),
            Step::Panic => self.get("/trouble/panic"),
            Step::Slow => self.get("/trouble/slow"),
        };
        self.read(request).await.map(drop)
    }

    /// Lists, and remembers the organisation's own agents.
    async fn list(&mut self) -> Option<()> {
        let agents: Vec<Agent> = self.fetch(self.get("/agents")).await?;
        let own = agents.iter().filter(|agent| agent.org == self.user.org);
        self.agents = own.map(|agent| agent.id).collect();
        Some(())
    }

    async fn fetch<T: DeserializeOwned>(&self, request: Request<Full<Bytes>>) -> Option<T> {
        let body = self.read(request).await?;
        serde_json::from_slice(&body).ok()
    }

    /// The whole body, whatever the status.
    async fn read(&self, request: Request<Full<Bytes>>) -> Option<Bytes> {
        let response = self.client.request(request).await.ok()?;
        let body = response.into_body().collect().await.ok()?;
        Some(body.to_bytes())
    }

    fn get(&self, path: &str) -> Request<Full<Bytes>> {
        self.request(Method::GET, path, None)
    }

    fn post(&self, path: &str) -> Request<Full<Bytes>> {
        self.request(Method::POST, path, None)
    }

    fn request(&self, method: Method, path: &str, json: Option<Value>) -> Request<Full<Bytes>> {
        let body = json.map(|json| json.to_string()).unwrap_or_default();
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://{}{path}", self.address)
            .parse()
            .unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let bearer = self.token.as_deref().map(|token| format!("Bearer {token}"));
        if let Some(Ok(bearer)) = bearer.map(HeaderValue::try_from) {
            headers.insert(header::AUTHORIZATION, bearer);
        }
        request
    }
}

#[cfg(test)]
mod tests;
