//! `audithog dead-letters`: from a refusal to the delivery.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use audithog::testing::standin::{PostHogStandIn, Verdict};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Demo, ran, status, until};

const DETAIL: &str = "poison, \"as told\"";
/// As the letter has it.
const REASON: &str = "drop: poison, \"as told\"";

fn shipping(home: &TempDir, stand_in: &PostHogStandIn) -> Demo {
    let variables = [
        ("POSTHOG_API_KEY", "phc_letters"),
        ("POSTHOG_HOST", &*stand_in.url()),
        ("LOG_BATCH_SIZE", "1"),
    ];
    Demo::start_with(home.path(), &["--no-traffic"], &variables)
}

/// Refuses what requests to `/agents` say.
fn poison(stand_in: &PostHogStandIn, detail: &'static str) {
    stand_in.judge(move |event, _| {
        let poisoned = event
            .properties
            .get("path")
            .is_some_and(|path| path == "/agents");
        poisoned.then(|| Verdict::Drop(detail.to_owned()))
    });
}

/// A service with two dead letters; the numbers of their rows.
fn with_letters(home: &TempDir, stand_in: &PostHogStandIn) -> (Demo, Vec<u64>) {
    with_letters_of(home, stand_in, DETAIL)
}

fn with_letters_of(
    home: &TempDir,
    stand_in: &PostHogStandIn,
    detail: &'static str,
) -> (Demo, Vec<u64>) {
    poison(stand_in, detail);
    let demo = shipping(home, stand_in);
    demo.request("GET", "/agents", "", "");
    demo.request("GET", "/agents", "", "");
    until("two dead letters", || {
        status(home.path())["sinks"][0]["dead"] == 2
    });
    let letters = letters(home.path(), &["list", "--format", "json"]);
    let seqs = letters.iter().map(|letter| letter["seq"].as_u64().unwrap());
    (demo, seqs.collect())
}

/// The lines of JSON that a command prints.
fn letters(directory: &Path, arguments: &[&str]) -> Vec<Value> {
    let (code, printed, complaint) = ran(directory, &[&["dead-letters"], arguments].concat());
    assert_eq!(code, 0, "{complaint}");
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn assert_adds_up(status: &Value) {
    for equation in status["equations"].as_array().unwrap() {
        assert_eq!(equation["holds"], true, "{equation}");
    }
}

#[test]
fn a_letter_is_seen_and_sent_again_by_the_running_service() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let (_demo, seqs) = with_letters(&home, &stand_in);
    let run = |arguments: &[&str]| ran(home.path(), &[&["dead-letters"], arguments].concat());

    let (_, listed, _) = run(&["list"]);
    assert!(listed.contains("api_request GET /agents"), "{listed}");
    assert!(listed.contains(REASON), "{listed}");
    assert_eq!(listed.matches("posthog").count(), 2, "{listed}");
    assert_eq!(listed.matches(" UTC refused: drop").count(), 2, "{listed}");
    let (_, listed, _) = run(&["list", "--limit", "1"]);
    assert!(listed.contains("There are more than 1"), "{listed}");
    let (_, listed, _) = run(&["list", "--reason", "something else"]);
    assert_eq!(listed, "No dead letters.\n");
    let (_, shown, _) = run(&["show", &seqs[0].to_string()]);
    for line in [
        "reason               drop: poison",
        "route                /agents",
        "status_code          ",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let (code, _, complaint) = run(&["show", "1"]);
    assert_eq!(
        (code, &*complaint),
        (1, "audithog: row 1 is no dead letter\n")
    );
    let (code, _, _) = ran(home.path(), &["status", "--check"]);
    assert_eq!(code, 9);
    let (code, _, _) = ran(
        home.path(),
        &["status", "--check", "--max-dead-letters", "2"],
    );
    assert_eq!(code, 0);

    stand_in.heal();
    let (code, printed, complaint) = run(&["replay", &seqs[0].to_string(), "--sink", "posthog"]);
    assert_eq!((code, &*complaint), (0, ""));
    assert!(printed.starts_with("1 dead letter wait"), "{printed}");
    let seen = status(home.path());
    assert_eq!(seen["sinks"][0]["dead"], 1);
    assert_adds_up(&seen);
    // Nobody restarts the service: it finds the row that another process put there.
    let again = |seen: &audithog::testing::standin::Seen| {
        let events = seen.events();
        events
            .iter()
            .filter(|event| {
                event
                    .properties
                    .get("path")
                    .is_some_and(|path| path == "/agents")
            })
            .count()
            == 1
    };
    stand_in.wait_for(Duration::from_secs(60), again).unwrap();
    until("it is settled", || {
        status(home.path())["sinks"][0]["stragglers"] == 0
    });

    let (code, _, complaint) = run(&["replay", "--reason", REASON]);
    assert_eq!((code, &*complaint), (0, ""));
    until("all is delivered", || {
        let sink = &status(home.path())["sinks"][0];
        sink["dead"] == 0 && sink["pending"] == 0
    });
    let seen = status(home.path());
    assert_adds_up(&seen);
    assert_eq!(stand_in.duplicates(), 0);
    let told = stand_in.events();
    let told: Vec<_> = told
        .iter()
        .filter(|event| event.event == "audit_dead_letters_replayed")
        .collect();
    assert_eq!(told.len(), 2);
    assert!(
        told[0].properties["by"].is_string(),
        "{:?}",
        told[0].properties
    );
}

#[test]
fn a_reason_that_no_letter_has_is_answered_with_those_there_are() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let (_demo, _) = with_letters(&home, &stand_in);
    let run = |arguments: &[&str]| ran(home.path(), &[&["dead-letters"], arguments].concat());
    let hint = format!(
        "audithog: no dead letter has the reason 'poison\\u{{1b}}'; there are:\n\
         audithog:   {REASON} (2)\n"
    );
    let asked = ["--reason", "poison\u{1b}"];
    for (command, expected) in [
        (&["list"][..], 0),
        (&["list", "--format", "json"], 0),
        (&["export", "-o", "letters.ndjson"], 0),
        // Nothing found is an answer; nothing done is none.
        (&["replay"], 1),
        (&["dismiss"], 1),
    ] {
        let (code, _, complaint) = run(&[command, &asked].concat());
        assert_eq!((code, &complaint), (expected, &hint), "{command:?}");
    }
    for command in ["replay", "dismiss"] {
        let (code, _, complaint) = run(&[command, "--reason", REASON, "--sink", "other"]);
        let none = format!("audithog: no dead letter has the reason '{REASON}', or any other\n");
        assert_eq!((code, complaint), (1, none), "{command}");
    }
    // The example has the form that PostHog's reasons have.
    let (_, help, _) = run(&["--help"]);
    assert!(help.contains("replay --reason 'drop: "), "{help}");
    // There is such a reason, but nothing to be done.
    let (code, _, complaint) = run(&["dismiss", "--reason", REASON, "--sink", "posthog"]);
    assert_eq!((code, &*complaint), (0, ""));
    let (code, _, complaint) = run(&["dismiss", "--reason", REASON]);
    assert_eq!((code, &*complaint), (0, ""));
    let (code, _, complaint) = run(&["list", "--reason", "poison", "--sink", "other"]);
    assert_eq!((code, &*complaint), (0, ""));
}

#[test]
fn a_long_reason_can_be_copied_from_a_pipe() {
    const LONG: &str = "the property `plan` is a number here, and a text in all of the 1,204 events before it, \
                        which this project's schema of events does not allow any more";
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let (_demo, seqs) = with_letters_of(&home, &stand_in, LONG);
    let run = |arguments: &[&str]| ran(home.path(), &[&["dead-letters"], arguments].concat());
    let all = letters(home.path(), &["list", "--format", "json"]);
    let reason = all[0]["reason"].as_str().unwrap();
    assert!(reason.len() > 100, "{reason}");

    let (_, shown, _) = run(&["show", &seqs[0].to_string()]);
    assert!(
        shown.contains(&format!("\nreason               {reason}\n")),
        "{shown}"
    );
    let (_, listed, _) = run(&["list"]);
    let copied: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_once(" refused: "))
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(copied, [reason; 2], "{listed}");
    let (code, printed, complaint) = run(&["replay", "--reason", copied[0]]);
    assert_eq!((code, &*complaint), (0, ""));
    assert!(printed.starts_with("2 dead letters wait"), "{printed}");
}

#[test]
fn what_is_replayed_while_no_service_runs_is_sent_by_the_next_start() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let (mut demo, _) = with_letters(&home, &stand_in);
    demo.signal("KILL");
    demo.ended();
    stand_in.heal();
    let (code, printed, complaint) = ran(home.path(), &["dead-letters", "replay", "--all"]);
    assert_eq!((code, &*complaint), (0, ""));
    assert!(printed.starts_with("2 dead letters wait"), "{printed}");
    let seen = status(home.path());
    assert_eq!(
        (&seen["sinks"][0]["dead"], &seen["sinks"][0]["stragglers"]),
        (&0.into(), &2.into())
    );
    assert_adds_up(&seen);
    let _demo = shipping(&home, &stand_in);
    until("all is delivered", || {
        status(home.path())["sinks"][0]["pending"] == 0
    });
    assert_adds_up(&status(home.path()));
    let events = stand_in.events();
    // The replay opened the ledger first, so it told of the kill; the start after it had nothing to tell.
    let losses = events
        .iter()
        .filter(|event| event.event == "audit_loss")
        .count();
    assert_eq!(losses, 1);
    assert!(
        !events
            .iter()
            .any(|event| event.event == "audit_config_changed")
    );
}

fn exported(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    ran(home, &[&["dead-letters", "export"], arguments].concat())
}

#[test]
fn an_export_appears_complete_or_not_at_all() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let (_demo, seqs) = with_letters(&home, &stand_in);
    let run = |arguments: &[&str]| exported(home.path(), arguments);
    let (code, printed, complaint) = run(&["-o", "letters.ndjson"]);
    assert_eq!((code, &*complaint), (0, ""));
    assert_eq!(printed, "2 dead letters in letters.ndjson\n");
    let path = home.path().join("letters.ndjson");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let exported = fs::read_to_string(&path).unwrap();
    let exported: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        exported,
        letters(home.path(), &["list", "--format", "json"])
    );
    assert_eq!(exported[1]["seq"], seqs[1]);
    let (arrived, refused) = (&exported[0]["ts"], &exported[0]["refused_at"]);
    assert!(
        refused.as_str().unwrap() > arrived.as_str().unwrap(),
        "{refused}, {arrived}"
    );
    assert_eq!(
        (&exported[0]["event"], &exported[0]["route"]),
        (&"api_request".into(), &"/agents".into())
    );

    let (code, _, complaint) = run(&["-o", "letters.ndjson", "--format", "csv"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("--force replaces it"), "{complaint}");
    let (code, _, _) = run(&["-o", "letters.ndjson", "--format", "csv", "--force"]);
    assert_eq!(code, 0);
    let csv = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert!(
        lines[0].starts_with("sink,reason,refused_at,dismissed_at,dismissed_by,seq,id,ts,event,"),
        "{csv}"
    );
    assert!(
        lines[1].starts_with(r#"posthog,"drop: poison, ""as told""","#),
        "{csv}"
    );
    assert_eq!(lines.len(), 4);

    // A disk that refuses: nothing is left behind.
    let (code, _, complaint) = run(&["-o", "missing/letters.ndjson"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("cannot be written"), "{complaint}");
    let parts = fs::read_dir(home.path()).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains(".part")
    });
    assert_eq!(parts.count(), 0);
}

#[test]
fn an_export_is_what_its_name_says_and_can_go_to_standard_output() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let (_demo, seqs) = with_letters(&home, &stand_in);
    let run = |arguments: &[&str]| exported(home.path(), arguments);
    for (name, begins) in [
        ("letters.csv", "sink,reason,"),
        ("Letters.CSV", "sink,reason,"),
        ("letters", "{\"sink\":"),
    ] {
        let (code, _, complaint) = run(&["-o", name]);
        assert_eq!((code, &*complaint), (0, ""));
        let file = fs::read_to_string(home.path().join(name)).unwrap();
        assert!(file.starts_with(begins), "{file}");
        let form = if begins.starts_with('{') {
            "ndjson"
        } else {
            "csv"
        };
        let (code, printed, complaint) = run(&["-o", "-", "--format", form]);
        assert_eq!((code, &*printed, &*complaint), (0, &*file, ""));
    }
    assert!(!home.path().join("-").exists());
    let (code, _, complaint) = run(&["-o", "letters.parquet"]);
    assert_eq!(code, 2);
    assert!(complaint.contains("as ndjson or csv"), "{complaint}");
    stand_in.heal();
    let one = seqs[0].to_string();
    let (code, printed, _) = ran(home.path(), &["dead-letters", "replay", &one]);
    assert_eq!(code, 0);
    assert!(printed.starts_with("1 dead letter waits to"), "{printed}");
    let (_, printed, _) = run(&["-o", "one"]);
    assert_eq!(printed, "1 dead letter in one\n");
}

#[test]
fn a_dismissed_letter_ends_the_problem_and_a_row_says_who_did_it() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let (_demo, seqs) = with_letters(&home, &stand_in);
    let run = |arguments: &[&str]| ran(home.path(), &[&["dead-letters"], arguments].concat());
    let check = || ran(home.path(), &["status", "--check"]).0;

    // Their rows are still there.
    let (code, printed, _) = run(&["dismiss", "--pruned"]);
    assert_eq!((code, &*printed), (0, "No dead letter was dismissed.\n"));
    let (code, printed, complaint) = run(&["dismiss", &seqs[0].to_string()]);
    assert_eq!((code, &*complaint), (0, ""));
    assert_eq!(printed, "1 dead letter is dismissed.\n");
    assert_eq!(check(), 9);
    let (code, printed, _) = run(&["dismiss", "--all"]);
    assert_eq!((code, &*printed), (0, "1 dead letter is dismissed.\n"));
    assert_eq!(check(), 0);
    let seen = status(home.path());
    let sink = &seen["sinks"][0];
    assert_eq!((&sink["dead"], &sink["dismissed"]), (&2.into(), &2.into()));
    assert_adds_up(&seen);
    let (_, shown, _) = ran(home.path(), &["status"]);
    assert!(shown.contains("2 dead letters (2 dismissed)"), "{shown}");
    let (_, listed, _) = run(&["list"]);
    assert_eq!(listed, "No dead letters.\n");
    let (_, listed, _) = run(&["list", "--dismissed"]);
    assert_eq!(listed.matches(" UTC dismissed by ").count(), 2, "{listed}");
    let all = letters(home.path(), &["list", "--dismissed", "--format", "json"]);
    assert!(all[0]["dismissed_at"].is_string() && all[0]["dismissed_by"].is_string());

    let (code, _, complaint) = run(&["dismiss", &seqs[0].to_string(), "1"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("not all of these rows"), "{complaint}");
    // The running service sends the rows that tell of it.
    let told = |seen: &audithog::testing::standin::Seen| {
        let events = seen.events();
        let told = events
            .iter()
            .filter(|event| event.event == "audit_dead_letters_dismissed");
        told.filter(|event| event.properties["by"].is_string())
            .count()
            == 2
    };
    stand_in.wait_for(Duration::from_secs(60), told).unwrap();
    stand_in.heal();
    let (_, printed, _) = run(&["replay", "--all"]);
    assert_eq!(printed, "No dead letter was sent again.\n");
    let (code, _, complaint) = run(&["replay", &seqs[0].to_string()]);
    assert_eq!((code, &*complaint), (0, ""));
    until("the one that was wanted again is delivered", || {
        let sink = &status(home.path())["sinks"][0];
        sink["dead"] == 1 && sink["dismissed"] == 1 && sink["pending"] == 0
    });
    assert_adds_up(&status(home.path()));
}

#[test]
fn a_letter_whose_row_is_gone_can_be_dismissed() {
    let home = TempDir::new().unwrap();
    let stand_in = PostHogStandIn::start().unwrap();
    let (_demo, seqs) = with_letters(&home, &stand_in);
    until("all is settled", || {
        status(home.path())["sinks"][0]["pending"] == 0
    });
    // What retention does with the first of the two, without its minutes of waiting.
    let raw = Connection::open(home.path().join("audit.db")).unwrap();
    raw.busy_timeout(Duration::from_secs(30)).unwrap();
    let gone = seqs[0];
    raw.execute_batch(&format!(
        "BEGIN IMMEDIATE; UPDATE audit_head SET pruned = {gone};
         DELETE FROM audit_rows WHERE seq <= {gone}; COMMIT"
    ))
    .unwrap();
    drop(raw);

    let (code, _, complaint) = ran(home.path(), &["dead-letters", "replay", &gone.to_string()]);
    assert_eq!(code, 1);
    assert!(complaint.contains("dismiss --pruned"), "{complaint}");
    let (code, printed, complaint) = ran(home.path(), &["dead-letters", "dismiss", "--pruned"]);
    assert_eq!((code, &*complaint), (0, ""));
    assert_eq!(printed, "1 dead letter is dismissed.\n");
    let seen = status(home.path());
    let sink = &seen["sinks"][0];
    assert_eq!((&sink["dead"], &sink["dismissed"]), (&2.into(), &1.into()));
    assert_adds_up(&seen);
    // It went with its row; the other is untouched.
    let all = letters(home.path(), &["list", "--dismissed", "--format", "json"]);
    assert_eq!(all.len(), 1);
    assert_eq!(
        (&all[0]["seq"], &all[0]["dismissed_at"]),
        (&seqs[1].into(), &Value::Null)
    );
    let (code, _, _) = ran(
        home.path(),
        &["status", "--check", "--max-dead-letters", "1"],
    );
    assert_eq!(code, 0);
}

#[test]
fn a_replay_names_what_it_is_about() {
    let home = TempDir::new().unwrap();
    for arguments in [
        &["replay"][..],
        &["replay", "--all", "3"],
        &["replay", "--all", "--reason", "x"],
        &["dismiss"],
        &["dismiss", "--all", "3"],
        &["dismiss", "--pruned", "3"],
        &["dismiss", "--pruned", "--all"],
    ] {
        let (code, _, complaint) = ran(home.path(), &[&["dead-letters"], arguments].concat());
        assert_eq!(code, 2, "{complaint}");
    }
    let (code, _, complaint) = ran(home.path(), &["dead-letters", "replay", "--all"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("there is no ledger"), "{complaint}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
