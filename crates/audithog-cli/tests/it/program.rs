//! A running `audithog`, its output, and a way to talk to it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// `audithog` with these arguments, in `directory`, with nothing in its environment but that looks at the log are no rows.
pub(crate) fn audithog(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_audithog"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        // What a test counts is the service's.
        .env("AUDITHOG_ACCESS", "off")
        .stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself.
pub(crate) fn output(mut command: Command) -> Output {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(command.output()));
    result
        .recv_timeout(LIMIT)
        .expect("it ends by itself")
        .expect("it starts")
}

/// Runs `audithog` with these arguments to its end: exit code, standard output and error.
pub(crate) fn ran(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = output(audithog(directory, arguments));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("an exit code"),
        text(output.stdout),
        text(output.stderr),
    )
}

/// `audithog status --format json`, which must succeed.
pub(crate) fn status(directory: &Path) -> serde_json::Value {
    let (code, printed, complaint) = ran(directory, &["status", "--format", "json"]);
    assert_eq!(code, 0, "{complaint}");
    serde_json::from_str(&printed).expect("JSON")
}

/// Asks until the answer is yes.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// `audithog demo` while it serves.
pub(crate) struct Demo {
    pid: u32,
    pub(crate) address: SocketAddr,
    /// What it printed so far and was waited for.
    pub(crate) printed: Vec<String>,
    lines: Receiver<String>,
    ended: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
}

impl Demo {
    /// Starts it on a free port and waits until it says where.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::start_with(directory, arguments, &[])
    }

    /// With these variables in its environment.
    pub(crate) fn start_with(
        directory: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = audithog(directory, &["demo", "--port", "0"]);
        let mut child = command
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (line, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        thread::spawn(move || {
            // Ends when the test no longer listens, and so closes the pipe.
            for text in stdout.lines().map_while(Result::ok) {
                if line.send(text).is_err() {
                    break;
                }
            }
        });
        let pid = child.id();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || end.send(child.wait().expect("its status")));
        let mut demo = Self {
            pid,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            printed: Vec::new(),
            lines,
            ended,
            status: None,
        };
        let api = demo.wait_for("http://127.0.0.1:");
        let address = api.split("http://").nth(1).expect("an address");
        demo.address = address.parse().expect("an address");
        demo
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with `{text}`:\n{}", self.printed.join("\n"));
            };
            self.printed.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.pid);
        let kill = Command::new("/bin/sh").args(["-c", &line]).status();
        assert!(kill.expect("a shell").success());
    }

    /// Waits for its end; returns the exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = self.ended.recv_timeout(LIMIT).expect("it ends");
        self.status = Some(status);
        self.printed.extend(self.lines.try_iter());
        status.code()
    }

    /// Nobody reads its output any more.
    pub(crate) fn close_output(&mut self) {
        self.lines = mpsc::channel().1;
    }

    /// Sends a request and reads until the connection closes: head and body, or nothing.
    pub(crate) fn request(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let mut stream = self.open(method, path, token, body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Sends a request and leaves the answer to the caller.
    pub(crate) fn open(&self, method: &str, path: &str, token: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        stream
    }

    /// Signs in as ada.
    pub(crate) fn token(&self) -> String {
        let login = r#"{"user":"ada","password":"demo"}"#;
        let answer = self.request("POST", "/login", "", login);
        let token = answer.split("\"token\":\"").nth(1).expect("a token");
        token.split('"').next().expect("a token").to_owned()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.status.is_none() && self.ended.try_recv().is_err() {
            self.signal("KILL");
        }
    }
}
