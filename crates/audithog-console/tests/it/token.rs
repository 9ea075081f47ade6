//! A console on its own address.

use audithog_console::{Access, Console, Token, serve};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::shop::{Running, Shop, quiet};

const TOKEN: &str = "a-token-of-this-test";

/// One request over a connection of its own: the head, and the body.
fn raw(address: SocketAddr, head: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn status(reply: &(String, String)) -> u16 {
    reply.0.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_console_answers_this_machine_alone() {
    let shop = Shop::open();
    let console = Running::all(shop.path()).await;
    let get = |host: &str| {
        raw(
            console.address,
            &format!("GET /log HTTP/1.1\r\nhost: {host}"),
            "",
        )
    };
    let port = console.address.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "[::1]:80".to_owned(),
    ] {
        assert_eq!(status(&get(&host)), 200, "{host}");
    }
    let proxied = Running::with(quiet(shop.path()).allow_host("audit.example"), None).await;
    let by_name = |host: &str| {
        raw(
            proxied.address,
            &format!("GET /log HTTP/1.1\r\nhost: {host}"),
            "",
        )
    };
    assert_eq!(status(&by_name("Audit.example")), 200);
    assert_eq!(status(&by_name("audit.example:443")), 200);
    assert_eq!(status(&by_name("audit.example.evil.example")), 403);
    for host in [
        format!("evil.example:{port}"),
        "127.0.0.1.evil.example".to_owned(),
        String::new(),
    ] {
        let reply = get(&host);
        assert_eq!(status(&reply), 403, "{host}");
        assert!(!reply.1.contains("audit_started"), "{}", reply.1);
    }
}

/// A console with a token.
struct Guarded {
    _shop: Shop,
    console: Running,
}

impl Guarded {
    async fn start() -> Self {
        let shop = Shop::open();
        let console = Console::new(shop.path(), |_| Access::all("tester"));
        Self {
            console: Running::with(console, Some(TOKEN)).await,
            _shop: shop,
        }
    }

    fn ask(&self, line: &str, more: &str, body: &str) -> (String, String) {
        let address = self.console.address;
        let head = format!("{line} HTTP/1.1\r\nhost: {address}{more}");
        raw(address, &head, body)
    }

    fn get(&self, page: &str, more: &str) -> (String, String) {
        self.ask(&format!("GET {page}"), more, "")
    }

    /// A form of the console.
    fn post(&self, page: &str, more: &str, body: &str) -> (String, String) {
        let more = format!("\r\norigin: http://{}{more}", self.console.address);
        self.ask(&format!("POST {page}"), &more, body)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_becomes_a_cookie() {
    let console = Guarded::start().await;
    for page in ["/", "/log?user=ada", "/health", "/row?id=seq:1"] {
        let reply = console.get(page, "");
        assert_eq!(status(&reply), 401, "{page}");
        assert!(reply.1.contains("type=\"password\""), "{}", reply.1);
        assert!(!reply.1.contains("audit_started"), "{}", reply.1);
    }
    let wrong = console.post("/sign-in", "", "token=another-token-of-it&next=%2Flog");
    assert_eq!(status(&wrong), 401);
    assert!(!wrong.0.contains("set-cookie"), "{}", wrong.0);
    let body = format!("token={TOKEN}&next=%2Flog%3Fuser%3Dada");
    let right = console.post("/sign-in", "", &body);
    assert_eq!(status(&right), 303);
    assert!(right.0.contains("location: /log?user=ada"), "{}", right.0);
    let mut lines = right.0.lines();
    let cookie = lines.find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(TOKEN), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    for (more, expected) in [
        (format!("\r\ncookie: other=1; {cookie}"), 200),
        (format!("\r\ncookie: {cookie}0"), 401),
        (format!("\r\nauthorization: Bearer {TOKEN}"), 200),
        (
            "\r\nauthorization: Bearer wrong-wrong-wrong".to_owned(),
            401,
        ),
    ] {
        assert_eq!(status(&console.get("/log", &more)), expected, "{more}");
    }
    // The token is nothing that an address can have.
    let reply = console.get(&format!("/log?token={TOKEN}"), "");
    assert_eq!(status(&reply), 401);
    // What is taken back is taken out of the browser.
    let left = console.post("/sign-out", &format!("\r\ncookie: {cookie}"), "");
    assert_eq!(status(&left), 303);
    let emptied = "audithog_session=; Max-Age=0; ";
    assert!(left.0.contains(emptied), "{}", left.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sign_in_nothing_leads_elsewhere() {
    let console = Guarded::start().await;
    for next in [
        "%2F%2Fevil.example",
        "https%3A%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "%2F%09%2Fevil.example",
    ] {
        let reply = console.post("/sign-in", "", &format!("token={TOKEN}&next={next}"));
        let mut lines = reply.0.lines();
        assert!(
            lines.any(|line| line == "location: /"),
            "{next}: {}",
            reply.0
        );
    }
    let https = "\r\nx-forwarded-proto: https";
    let secure = console.post("/sign-in", https, &format!("token={TOKEN}"));
    assert!(secure.0.contains("; Secure"), "{}", secure.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_this_machine_is_listened_to() {
    let shop = Shop::open();
    let console = || Console::new(shop.path(), |_| Access::all("tester"));
    let error = serve("0.0.0.0:0".parse().unwrap(), None, console())
        .await
        .unwrap_err();
    assert!(error.is_setting(), "{error}");
    assert!(error.to_string().contains("there is no token"), "{error}");
    let token = Token::new(TOKEN).unwrap();
    let served = serve("0.0.0.0:0".parse().unwrap(), Some(token), console())
        .await
        .unwrap();
    assert_ne!(served.address().port(), 0);
    let taken = serve(
        served.address(),
        Some(Token::new(TOKEN).unwrap()),
        console(),
    )
    .await
    .unwrap_err();
    assert!(
        taken.is_listen() && taken.to_string().contains("is taken"),
        "{taken}"
    );
    for short in ["", "short", "has spaces in it, see"] {
        let error = Token::new(short).unwrap_err();
        assert!(
            error.is_setting() && (short.is_empty() || !error.to_string().contains(short)),
            "{error}"
        );
    }
    assert!(!format!("{:?}", Token::new(TOKEN)).contains(TOKEN));
    for link in [
        "javascript:alert({trace_id})",
        "https://trace.example/",
        "{trace_id}",
    ] {
        assert!(
            console().trace_link(link).unwrap_err().is_setting(),
            "{link}"
        );
    }
    for base in ["audit", "//evil.example", "/a b", "/a\"b"] {
        assert!(
            console().mounted_at(base).unwrap_err().is_setting(),
            "{base}"
        );
    }
}
