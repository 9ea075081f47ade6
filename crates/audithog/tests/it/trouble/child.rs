//! The process that gets into trouble: a logger that obeys lines on its standard input.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use audithog::Logger;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Far more than anything here needs: a wait that ends here has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

const MARK: &str = "TROUBLE_CHILD";
/// What its lines begin with, among those of the test program.
const REPLY: &str = "@reply ";
const LOG: &str = "@log ";

/// A running service.
pub(super) struct Service {
    child: Child,
    input: ChildStdin,
    replies: Receiver<Value>,
    log: Arc<Mutex<Vec<String>>>,
}

/// How it is started.
pub(super) struct Start(Command);

impl Start {
    pub(super) fn on(ledger: &Path) -> Self {
        Self::through(&[], ledger)
    }

    /// With a program in front that starts the service, such as `setpriv`.
    pub(super) fn through(prefix: &[&str], ledger: &Path) -> Self {
        let me = std::env::current_exe().unwrap();
        let mut command = match prefix {
            [] => Command::new(me),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(me);
                command
            }
        };
        command
            .args(["--exact", "--nocapture", "trouble::child::service"])
            .env(MARK, "yes")
            .env("AUDITHOG_SERVICE", "troubled")
            .env("AUDITHOG_DB", ledger);
        Self(command)
    }

    pub(super) fn set(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    fn spawn(mut self) -> (Service, Value) {
        let mut child = self
            .0
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service could not be started");
        let output = BufReader::new(child.stdout.take().unwrap());
        let (reply, replies) = mpsc::channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test program writes a name without a line's end before the first.
                if let Some((_, text)) = line.split_once(REPLY) {
                    drop(reply.send(serde_json::from_str(text).unwrap()));
                } else if let Some((_, text)) = line.split_once(LOG) {
                    lines.lock().unwrap().push(text.to_owned());
                }
            }
        });
        let input = child.stdin.take().unwrap();
        let service = Service {
            child,
            input,
            replies,
            log,
        };
        let started = service.reply("start");
        (service, started)
    }

    #[track_caller]
    pub(super) fn up(self) -> Service {
        let (service, started) = self.spawn();
        assert_eq!(started["error"], Value::Null, "{started}");
        service
    }

    /// Why it does not start, and what it wrote to its log.
    #[track_caller]
    pub(super) fn refused(self) -> (String, Vec<String>) {
        let (mut service, started) = self.spawn();
        let error = started["error"].as_str().expect("it started").to_owned();
        service.child.wait().unwrap();
        (error, service.log())
    }
}

impl Service {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line without waiting for the answer.
    #[track_caller]
    pub(super) fn send(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the service is gone");
    }

    #[track_caller]
    pub(super) fn reply(&self, to: &str) -> Value {
        self.replies.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            panic!("no answer to {to}: {error}; its log: {:#?}", self.log())
        })
    }

    #[track_caller]
    fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.reply(line)
    }

    /// Logs that many events, numbered on.
    #[track_caller]
    pub(super) fn log_events(&mut self, events: u64) {
        self.ask(&format!("log {events} 0"));
    }

    /// The same, each with about that many bytes.
    #[track_caller]
    pub(super) fn log_large(&mut self, events: u64, bytes: usize) {
        self.ask(&format!("log {events} {bytes}"));
    }

    #[track_caller]
    pub(super) fn flush(&mut self, millis: u64) -> Value {
        self.ask(&format!("flush {millis}"))
    }

    /// Flushes until nothing is in the way.
    #[track_caller]
    pub(super) fn flush_until_done(&mut self) -> Value {
        self.wait_for(|service| {
            let report = service.flush(1_000);
            (report["blocked"].is_null()).then(|| report["health"].clone())
        })
    }

    #[track_caller]
    pub(super) fn health(&mut self) -> Value {
        self.ask("health")
    }

    #[track_caller]
    pub(super) fn shutdown(&mut self, millis: u64) -> Value {
        self.ask(&format!("shutdown {millis}"))
    }

    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it logged so far.
    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// How many of its log's lines contain `text`.
    pub(super) fn said(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }

    /// Asks again and again.
    #[track_caller]
    pub(super) fn wait_for<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if Instant::now() >= deadline {
                let health = self.health();
                panic!("waited in vain; {health:#}; its log: {:#?}", self.log());
            }
            // Only so that the looking leaves the core to what is looked at.
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Why it cannot write, once it cannot.
    #[track_caller]
    pub(super) fn wait_for_trouble(&mut self) -> String {
        self.wait_for(|service| {
            let trouble = service.health()["ledger"]["trouble"].clone();
            trouble.as_str().map(str::to_owned)
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The service itself, in the process that [`Start`] starts; nothing in the test run.
#[test]
fn service() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    tracing::subscriber::set_global_default(ToStdout).unwrap();
    let environment = std::env::vars().filter(|(name, _)| {
        let ours = ["AUDITHOG_", "POSTHOG_", "LOG_BATCH_"];
        ours.iter().any(|prefix| name.starts_with(prefix))
    });
    let logger = match Logger::builder().environment(environment).start() {
        Ok(logger) => logger,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            say(
                REPLY,
                &json!({"error": error.to_string(), "cause": cause}).to_string(),
            );
            std::process::exit(2);
        }
    };
    say(REPLY, &json!({"started": true}).to_string());
    let mut next = 0;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let answer = match words[0] {
            "log" => {
                for _ in 0..number(1) {
                    let pad = "x".repeat(usize::try_from(number(2)).unwrap());
                    logger
                        .event("counted")
                        .property("n", next)
                        .property("pad", pad)
                        .log();
                    next += 1;
                }
                json!({"logged": next})
            }
            "flush" => {
                let report = logger.flush_blocking(Some(Duration::from_millis(number(1))));
                json!({
                    "blocked": report.blocked.as_ref().map(ToString::to_string),
                    "health": with_check(&report.health),
                })
            }
            "health" => with_check(&logger.health()),
            "shutdown" => {
                let report = logger.shutdown_blocking(Some(Duration::from_millis(number(1))));
                json!({
                    "blocked": report.blocked.as_ref().map(ToString::to_string),
                    "closed": report.closed,
                    "took_ms": u64::try_from(report.took.as_millis()).unwrap(),
                    "health": with_check(&report.health),
                })
            }
            other => panic!("what is {other}?"),
        };
        say(REPLY, &answer.to_string());
    }
}

fn with_check(health: &audithog::Health) -> Value {
    let mut value = serde_json::to_value(health).unwrap();
    value["check"] = json!(health.check().err());
    value
}

#[expect(clippy::print_stdout, reason = "how the process answers")]
fn say(kind: &str, text: &str) {
    println!("{kind}{}", text.replace('\n', " "));
}

/// Every diagnostic as a line.
struct ToStdout;

impl Subscriber for ToStdout {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("audithog") && *metadata.level() <= tracing::Level::DEBUG
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        say(LOG, &line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        let name = field.name();
        if name == "message" {
            write!(self.0, " {value:?}").unwrap();
        } else {
            write!(self.0, " {name}={value:?}").unwrap();
        }
    }
}
