//! Everything that audithog asks PostHog parses, and what was given stays a value.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use audithog::posthog::{Reconcile, Setup};
use audithog::query::{Field, Filter, Key, Measure, Named, Question, Statement};
use serde::{Deserialize, Serialize};

/// What users and peers may choose.
const HOSTILE: &[&str] = &[
    "shop",
    "o'clock",
    "\\",
    "\\'",
    "') OR 1 = 1 --",
    "'; DROP TABLE events; --",
    "{v1}",
    "{filters}",
    "}{",
    "f'{1 + 1}'",
    "\u{1f422} żółw \u{202e}",
    "a\nb\tc\r\u{8}\u{c}",
    "`\"$$",
    "/* */ -- #",
    "%_%",
];

#[derive(Serialize)]
struct Text {
    kind: &'static str,
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parsed {
    error: Option<String>,
    texts: Vec<String>,
    fields: Vec<String>,
    placeholders: Vec<String>,
}

fn select(text: impl Into<String>) -> Text {
    Text {
        kind: "select",
        text: text.into(),
    }
}

/// What the parser says of each.
fn parse(texts: &[Text]) -> Vec<Parsed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = modules(root);
    let mut command = Command::new("node");
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("NODE_PATH", modules)
        .arg(root.join("parser/parse.cjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("node starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let asked = serde_json::to_vec(texts).expect("JSON");
    let writer = thread::spawn(move || stdin.write_all(&asked));
    let mut stdout = String::new();
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_to_string(&mut stdout).expect("UTF-8");
    let end = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&end.stderr);
    assert!(end.status.success(), "{said}");
    writer.join().expect("no panic").expect("it reads");
    let parsed: Vec<Parsed> = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(parsed.len(), texts.len());
    parsed
}

/// The folder with the installed package in it. Tests download nothing.
fn modules(root: &Path) -> PathBuf {
    let target = root.join("../../target/hogql/node_modules");
    let package = target.join("@posthog/hogql-parser");
    assert!(
        package.is_dir(),
        "{} is not there: run `cargo xtask setup`",
        package.display()
    );
    target
}

#[track_caller]
fn assert_parses(texts: &[Text]) -> Vec<Parsed> {
    let parsed = parse(texts);
    for (text, parsed) in texts.iter().zip(&parsed) {
        assert_eq!(parsed.error, None, "{}", text.text);
    }
    parsed
}

/// The question with every filter there is, all with this value.
fn filter(value: &str) -> Filter {
    let fields = [
        Field::Event,
        Field::UserId,
        Field::UserRole,
        Field::OrgId,
        Field::OnBehalfOf,
        Field::Method,
        Field::Path,
        Field::Route,
        Field::ErrorCode,
        Field::UserAgent,
        Field::RequestId,
        Field::UpstreamRequestId,
        Field::Service,
        Field::Environment,
        Field::Version,
        Field::Instance,
    ];
    let mut filter = Filter::all()
        .since(SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456))
        .until(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .any_status(["404".parse().unwrap(), "5xx".parse().unwrap()])
        .no_status(["418".parse().unwrap(), "100-199".parse().unwrap()])
        .has(Field::OrgId)
        .lacks(Field::OnBehalfOf)
        .lacks(Field::Event)
        .refused();
    // A method is looked for in upper case as well, where that is another text: here it always is.
    let method = format!("m{value}");
    for field in fields {
        let value = if field == Field::Method {
            &method
        } else {
            value
        };
        filter = filter.is(field, [value, "another"]).unwrap();
    }
    for field in [
        Field::Path,
        Field::Route,
        Field::Event,
        Field::ErrorCode,
        Field::UserAgent,
    ] {
        filter = filter.begins(field, value).unwrap();
    }
    filter
        .is(Field::Ip, ["2001:db8::1"])
        .and_then(|filter| filter.is(Field::TraceId, ["0af7651916cd43dd8448eb211c80319c"]))
        .and_then(|filter| filter.is(Field::Result, ["failure"]))
        .and_then(|filter| filter.is(Field::ActorType, ["user"]))
        .unwrap()
}

fn subject(named: Named, value: &str) -> Option<String> {
    named.subject().map(|wanted| match wanted {
        "IP" => "192.0.2.1".to_owned(),
        "ROUTE" => format!("GET /{value}"),
        _ => value.to_owned(),
    })
}

/// The text has a place for each value, and none of the values.
#[track_caller]
fn assert_bound(statement: &Statement, parsed: &Parsed) {
    let mut wanted: Vec<&str> = statement
        .values
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let mut found: Vec<&str> = parsed.placeholders.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, wanted, "{}", statement.sql);
}

#[test]
fn every_named_question_parses_with_every_filter_and_binds_every_value() {
    let mut statements: Vec<Statement> = Vec::new();
    for named in Named::ALL {
        for value in HOSTILE {
            let subject = subject(named, value);
            for filter in [Filter::all(), filter(value)] {
                let question = named.question(subject.as_deref(), filter).unwrap();
                let statement = question.hogql();
                // A value that is bound does not change the text: each text is parsed once.
                if statements.iter().all(|known| known.sql != statement.sql) {
                    statements.push(statement);
                }
            }
        }
    }
    assert_eq!(
        statements.len(),
        2 * Named::ALL.len(),
        "a value has changed a text"
    );
    let keys = [
        Key::time(Duration::from_secs(60)),
        Key::Field(Field::Service),
    ];
    let measures = [
        Measure::Failures,
        Measure::FailureRate,
        Measure::P99,
        Measure::OtherFailures,
    ];
    let counted = Question::count(keys, measures, Filter::all()).unwrap();
    statements.push(counted.hogql());
    statements.push(Question::totals(Measure::ALL, Filter::all()).hogql());
    let texts: Vec<Text> = statements
        .iter()
        .map(|statement| select(&statement.sql))
        .collect();
    for (statement, parsed) in statements.iter().zip(assert_parses(&texts)) {
        assert_bound(statement, &parsed);
    }
}

#[test]
fn every_insight_parses_and_a_name_is_one_literal_whatever_it_is() {
    let mut texts = Vec::new();
    let mut names = Vec::new();
    for (at, service) in HOSTILE.iter().enumerate() {
        let setup = Setup::new(service, Some(&format!("{service}{service}")));
        let all = setup.hogql().unwrap();
        assert_eq!(all.len(), 6 + Named::ALL.len());
        for (key, text) in all {
            // All of one name, and of the others one: names come into all in the same way.
            let is_query = key.starts_with("question-");
            if at > 0 && key != "question-user" {
                continue;
            }
            names.push((setup.clone(), is_query));
            let kind = if is_query { "select" } else { "expr" };
            texts.push(Text { kind, text });
        }
    }
    for ((text, parsed), (setup, is_query)) in texts.iter().zip(assert_parses(&texts)).zip(names) {
        if !is_query {
            continue;
        }
        assert_eq!(parsed.placeholders, ["filters"], "{}", text.text);
        let (service, environment) = setup.names();
        for wanted in [service, environment.expect("an environment")] {
            let times = parsed.texts.iter().filter(|text| *text == wanted).count();
            assert_eq!(times, 1, "{wanted}: {}", text.text);
        }
        // Nothing of a name has become a name of the query.
        let own = [
            "events",
            "filters",
            "timestamp",
            "event",
            "uuid",
            "properties",
            "weight",
            "status",
            "outcome",
            "took",
            "at",
        ];
        let foreign = parsed.fields.iter().find(|field| {
            !field.starts_with("properties.")
                && !own.contains(&field.as_str())
                && !text.text.contains(&format!(" AS {field}"))
        });
        assert_eq!(foreign, None, "{}", text.text);
    }
}

#[test]
fn what_reconcile_asks_parses() {
    let texts: Vec<Text> = Reconcile::HOGQL.into_iter().map(select).collect();
    let parsed = assert_parses(&texts);
    let names: Vec<Vec<&str>> = parsed
        .iter()
        .map(|parsed| {
            let mut names: Vec<&str> = parsed.placeholders.iter().map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            names
        })
        .collect();
    assert_eq!(
        names[0],
        ["instances", "late", "services", "since", "until"]
    );
    assert_eq!(
        names[1],
        ["id", "instances", "services", "since", "unix", "until"]
    );
    assert_eq!(names[2], ["since", "until", "uuids"]);
}

#[test]
fn a_broken_query_is_refused() {
    let broken = [
        "SELECT FROM events WHERE",
        "SELECT event FROM events WHERE service = 'o'clock'",
        "SELECT count( FROM events",
        "SELECT event FROM events GROUP",
    ];
    let texts: Vec<Text> = broken.into_iter().map(select).collect();
    for (text, parsed) in texts.iter().zip(parse(&texts)) {
        assert!(parsed.error.is_some(), "{} parses: {parsed:?}", text.text);
    }
}
