//! `audithog console`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::program::{Demo, audithog, ran, until};

/// A console that is killed with its owner.
struct Console {
    child: Child,
    address: String,
}

impl Console {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut child = audithog(directory, &["console", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        let address = first.trim().strip_prefix("http://");
        let address = address.unwrap_or_else(|| panic!("{first:?}"));
        Self {
            child,
            address: address.to_owned(),
        }
    }

    /// The whole reply.
    fn get(&self, page: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "GET {page} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with the ledger of a demo that has answered two requests.
fn ledger() -> TempDir {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    demo.request("GET", "/agents", "", "");
    demo.request("GET", "/nowhere", "", "");
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    home
}

#[test]
fn it_shows_the_ledger_until_it_is_told_to_end() {
    let home = ledger();
    let mut console = Console::start(home.path(), &["--trace-link", "https://x/{trace_id}"]);
    let page = console.get("/log", "");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("/nowhere"), "{page}");
    let health = console.get("/health", "");
    assert!(
        health.contains("Nothing") || health.contains("needs somebody"),
        "{health}"
    );
    let kill = Command::new("kill")
        .arg(console.child.id().to_string())
        .status();
    assert!(kill.unwrap().success());
    assert_eq!(console.child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_runs_beside_the_demo() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    let line = demo.wait_for("console");
    let address = line.split("http://").nth(1).unwrap().trim().to_owned();
    demo.request("GET", "/agents", "", "");
    // Never ended by its drop: the process is the demo's.
    let get = |page: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET {page} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    };
    until("the row is shown", || {
        get("/log?path=/agents").contains("<tr id=\"r")
    });
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
}

#[test]
fn a_token_is_asked_for() {
    let home = ledger();
    fs::write(home.path().join("token"), "0123456789abcdef0123\n").unwrap();
    let console = Console::start(home.path(), &["--token-file", "token", "--read-only"]);
    let page = console.get("/log", "");
    assert!(page.starts_with("HTTP/1.1 401"), "{page}");
    let page = console.get("/log", "authorization: Bearer 0123456789abcdef0123\r\n");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
}

#[test]
fn what_cannot_be_is_said_before_it_starts() {
    let home = ledger();
    fs::write(home.path().join("short"), "1234").unwrap();
    for (arguments, code, expected) in [
        (
            &["--db", "nowhere.db"][..],
            1,
            "there is no ledger at nowhere.db",
        ),
        (&["--listen", "0.0.0.0:0"], 2, "there is no token"),
        (
            &["--token-file", "missing"],
            2,
            "--token-file: cannot read missing",
        ),
        (
            &["--token-file", "short"],
            2,
            "--token-file: the console's token must have at least 16",
        ),
        (&["--trace-link", "x"], 2, "\"x\" is no link to a trace"),
        (&["--listen", "here"], 2, "invalid value 'here'"),
    ] {
        let arguments = [&["console"], arguments].concat();
        let (found, printed, complaint) = ran(home.path(), &arguments);
        assert_eq!((found, printed.as_str()), (code, ""), "{complaint}");
        assert!(complaint.contains(expected), "{complaint}");
    }
}

/// Who looked through which command: rows of a log that is being written, unless somebody wants it otherwise.
#[test]
fn commands_that_look_at_the_log_are_rows_of_it() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    demo.request("GET", "/agents", "", "");
    until("the row is there", || {
        let (_, printed, _) = ran(home.path(), &["tail"]);
        printed.contains("/agents")
    });
    let run = |arguments: &[&str], access: &str| {
        let mut command = audithog(home.path(), arguments);
        command.env("AUDITHOG_ACCESS", access);
        crate::program::output(command)
    };
    let looks = || {
        let (_, printed, _) = ran(
            home.path(),
            &[
                "tail",
                "-n",
                "100",
                "--event",
                "audit_access",
                "--format",
                "ndjson",
            ],
        );
        let rows = printed.lines().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| {
                row["properties"][name]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            (text("action"), text("through"))
        });
        rows.collect::<Vec<_>>()
    };
    assert_eq!(looks(), []);
    for arguments in [
        &["query", "failures", "--user", "ada"][..],
        &["show", "seq:1"],
        &["sql", "SELECT count(*) FROM audit_logs"],
        &["tail"],
        &["export", "-o", "rows.ndjson"],
        &["dead-letters", "list"],
    ] {
        let output = run(arguments, "all");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let row = |action: &str, through: &str| (action.to_owned(), through.to_owned());
    let expected = [
        row("read", "query failures"),
        row("read", "show"),
        row("read", "sql"),
        row("read", "tail"),
        row("export", "export"),
        row("read", "dead-letters list"),
    ];
    assert_eq!(looks(), expected);
    run(&["query", "users"], "exports");
    run(&["status"], "all");
    assert_eq!(looks(), expected);
    let wrong = run(&["query", "users"], "sometimes");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&wrong.stderr).contains("AUDITHOG_ACCESS"),
        "{wrong:?}"
    );
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    // What a service left is looked at and not changed.
    run(&["query", "users"], "all");
    assert_eq!(looks(), expected);
}

/// The copy has the runs of the original, whose processes live.
#[test]
fn a_copy_stays_as_it_is_while_its_original_is_written() {
    let home = TempDir::new().unwrap();
    let mut demo = Demo::start(home.path(), &["--no-traffic"]);
    demo.request("GET", "/agents", "", "");
    demo.wait_for("/agents");
    let copy = home.path().join("copy");
    fs::create_dir(&copy).unwrap();
    // In this order the index names no page of the log that is not there.
    for suffix in ["-shm", "-wal", ""] {
        let name = format!("audit.db{suffix}");
        fs::copy(home.path().join(&name), copy.join(&name)).unwrap();
    }
    let files =
        || ["", "-wal"].map(|suffix| fs::read(copy.join(format!("audit.db{suffix}"))).unwrap());
    let before = files();
    for db in ["copy/audit.db", "audit.db"] {
        let mut command = audithog(home.path(), &["query", "users", "--db", db]);
        command.env("AUDITHOG_ACCESS", "all");
        let output = crate::program::output(command);
        assert!(output.status.success(), "{output:?}");
    }
    assert!(files() == before);
    let (_, printed, _) = ran(home.path(), &["tail", "-n", "1"]);
    assert!(printed.contains("audit_access"), "{printed}");
}
