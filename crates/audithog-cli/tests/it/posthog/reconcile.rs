//! `audithog posthog reconcile`: what is missing, late, there twice, and sent again.

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use audithog::testing::{
    PostHogStandIn,
    standin::{Fault, Route, Verdict},
};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use super::{PERSONAL, command, ran, send};
use crate::program::{Demo, status, until};

const LIMIT: Duration = Duration::from_secs(60);

struct Service {
    home: TempDir,
    posthog: PostHogStandIn,
    variables: Vec<(&'static str, String)>,
}

impl Service {
    fn new() -> Self {
        let posthog = PostHogStandIn::start().unwrap();
        let variables = vec![
            ("POSTHOG_API_KEY", "phc_test".to_owned()),
            ("POSTHOG_HOST", posthog.url()),
            ("LOG_BATCH_SIZE", "5".to_owned()),
        ];
        Self {
            home: TempDir::new().unwrap(),
            posthog,
            variables,
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn start(&self) -> Demo {
        let variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Demo::start_with(self.path(), &["--no-traffic"], &variables)
    }

    /// A service that has answered so many requests, and ended in good order.
    fn served(&self, requests: usize) {
        let mut demo = self.start();
        let token = demo.token();
        for _ in 0..requests {
            demo.request("GET", "/agents", &token, "");
        }
        demo.signal("TERM");
        assert_eq!(demo.ended(), Some(0));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut all = vec!["reconcile", "--since", "1h"];
        if !arguments.contains(&"--grace") {
            all.extend(["--grace", "0"]);
        }
        all.extend(arguments);
        let mut command = command(self.path(), &self.posthog, &all);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What it found, and its exit code.
    #[track_caller]
    fn reconcile(&self, arguments: &[&str]) -> (Value, Option<i32>) {
        let mut all = vec!["--format", "json"];
        all.extend(arguments);
        let (code, printed, complaint) = ran(self.command(&all));
        let found = serde_json::from_str(&printed)
            .unwrap_or_else(|error| panic!("{error}: {printed}{complaint}"));
        (found, code)
    }

    fn queries(&self) -> usize {
        let requests = self.posthog.requests();
        requests
            .iter()
            .filter(|request| request.route == Route::Query)
            .count()
    }

    fn rows(&self) -> u64 {
        let table = Connection::open(self.path().join("audit.db")).unwrap();
        let count = "SELECT count(*) FROM audit_rows";
        let rows: i64 = table.query_row(count, [], |row| row.get(0)).unwrap();
        rows.unsigned_abs()
    }
}

fn missing(found: &Value) -> Vec<String> {
    let rows = found["missing"].as_array().unwrap();
    rows.iter()
        .map(|row| row[1].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn where_both_sides_agree_an_hour_takes_one_question() {
    let service = Service::new();
    service.served(20);
    let verified = |service: &Service| {
        let sink = status(service.path())["sinks"][0].clone();
        (sink["verified"].clone(), sink["rows_verified"].clone())
    };
    assert_eq!(verified(&service), (false.into(), 0.into()));
    let (found, code) = service.reconcile(&[]);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["rows"], service.rows());
    assert_eq!(found["delivered"], service.rows());
    assert_eq!(found["found"], service.rows());
    for nothing in ["on_the_way", "duplicated", "late", "displaced"] {
        assert_eq!(found[nothing], 0, "{nothing}: {found}");
    }
    assert_eq!(found["others"], Value::Null);
    assert_eq!(found["verified"], true);
    assert_eq!(verified(&service), (true.into(), service.rows().into()));
    assert_eq!(service.queries(), 1);
    let (found, code) = service.reconcile(&["--each"]);
    assert_eq!(code, Some(0));
    assert_eq!(found["found"], service.rows());
    assert!(service.queries() > 2);

    let (code, printed, _) = ran(service.command(&[]));
    assert_eq!(code, Some(0));
    assert!(printed.contains("missing       0\n"), "{printed}");
    assert!(
        printed.contains("the ledger notes it as verified"),
        "{printed}"
    );
}

/// A row counts as verified until a comparison misses it, or it is removed.
#[test]
fn the_ledger_notes_which_rows_were_compared() {
    let service = Service::new();
    service.served(10);
    let verified = || status(service.path())["sinks"][0]["rows_verified"].as_u64();
    let first = service.rows();
    service.reconcile(&[]);
    service.served(10);
    assert_eq!(verified(), Some(first));
    service.reconcile(&[]);
    assert_eq!(verified(), Some(service.rows()), "each counts once");

    let ids: BTreeSet<_> = [3, 4, 9].map(|at| service.posthog.stored()[at].uuid).into();
    service.posthog.lose(|event| ids.contains(&event.uuid));
    let (found, _) = service.reconcile(&["--resend"]);
    assert_eq!(found["resent"]["accepted"], 3);
    assert_eq!(verified(), Some(service.rows() - 3), "sent is not seen");
    service.reconcile(&[]);
    assert_eq!(verified(), Some(service.rows()));
    let shown = Command::new(env!("CARGO_BIN_EXE_audithog"))
        .arg("status")
        .current_dir(service.path())
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let expected = format!("verified, {} rows compared", service.rows());
    assert!(shown.contains(&expected), "{shown}");

    service.posthog.lose(|_| true);
    let (found, _) = service.reconcile(&[]);
    assert_eq!(missing(&found).len().try_into(), Ok(service.rows()));
    assert_eq!(verified(), Some(0));
}

#[test]
fn missing_rows_are_found_by_id_and_exactly_they_are_sent_again() {
    // Half of the requests are sampled: what is sent again must have its rate.
    let service = Service::new().with("AUDITHOG_SAMPLE", "2xx=0.5");
    service.served(60);
    let stored = service.posthog.stored();
    let sampled = stored
        .iter()
        .filter(|event| event.properties.contains_key("sample_rate"));
    let lost: BTreeSet<_> = sampled.map(|event| event.uuid).take(4).collect();
    assert_eq!(lost.len(), 4);
    assert_eq!(service.posthog.lose(|event| lost.contains(&event.uuid)), 4);
    let before = service.posthog.stored().len();

    let (found, code) = service.reconcile(&[]);
    assert_eq!(code, Some(3), "{found}");
    let named: BTreeSet<String> = missing(&found).into_iter().collect();
    assert_eq!(named, lost.iter().map(ToString::to_string).collect());
    assert!(
        found["not_delivered"]["sampled_out"].as_u64().unwrap() > 0,
        "{found}"
    );
    assert_eq!(found["resent"], Value::Null);
    assert_eq!(
        service.posthog.stored().len(),
        before,
        "nothing is sent unasked"
    );
    let (code, printed, _) = ran(service.command(&[]));
    assert_eq!(code, Some(3));
    assert!(printed.contains("missing       4\n"), "{printed}");
    let first = lost.first().unwrap().to_string();
    assert!(printed.contains(&first), "{printed}");

    // The rules of now are others: those of the run that wrote the rows count.
    let mut resend = service.command(&["--resend", "--format", "json"]);
    resend.env("AUDITHOG_SAMPLE", "2xx=0.01");
    let (code, printed, complaint) = ran(resend);
    assert_eq!(code, Some(0), "{printed}{complaint}");
    let found: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(found["resent"]["accepted"], 4);
    let now = service.posthog.stored();
    assert_eq!(now.len(), before + 4, "exactly the missing ones");
    for event in now.iter().filter(|event| lost.contains(&event.uuid)) {
        let first = stored
            .iter()
            .find(|first| first.uuid == event.uuid)
            .unwrap();
        assert_eq!(
            (
                &event.event,
                &event.distinct_id,
                &event.timestamp_given,
                &event.properties
            ),
            (
                &first.event,
                &first.distinct_id,
                &first.timestamp_given,
                &first.properties
            )
        );
    }
    let (found, code) = service.reconcile(&["--resend"]);
    assert_eq!((code, missing(&found).len()), (Some(0), 0), "{found}");
    assert_eq!(found["resent"]["accepted"], 0);
    assert_eq!(service.posthog.stored().len(), before + 4);
}

#[test]
fn what_is_there_twice_or_late_is_told_and_not_missing() {
    let service = Service::new();
    service
        .posthog
        .push_fault(Fault::status(500).after_storing());
    let mut demo = service.start();
    demo.request("GET", "/agents", "", "");
    service
        .posthog
        .wait_for(LIMIT, |seen| seen.counts().duplicates > 0)
        .unwrap();
    let (twice, before) = (service.posthog.duplicates(), service.posthog.events().len());
    // PostHog takes what comes now two hours after its time.
    service.posthog.configure(|behaviour| {
        let now: jiff::Timestamp = jiff::Timestamp::now();
        behaviour.now = Some(now + jiff::SignedDuration::from_hours(2));
    });
    for _ in 0..10 {
        demo.request("GET", "/agents", "", "");
    }
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    let late = service.posthog.events().len() - before;
    let (found, code) = service.reconcile(&[]);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["duplicated"], twice, "{found}");
    assert_eq!(found["late"], late, "{found}");
    assert_eq!(missing(&found).len(), 0);
    assert_eq!(found["found"], service.rows());
    assert_eq!(found["differing_hours"].as_array().unwrap().len(), 1);
    let (found, _) = service.reconcile(&["--late", "3h"]);
    assert_eq!(found["late"], 0);
}

#[test]
fn rows_that_posthog_is_not_to_have_are_not_missing_and_not_sent() {
    let service = Service::new().with("AUDITHOG_SAMPLE", "2xx=0");
    service.posthog.judge(|event, _| {
        let route = event.properties.get("path").and_then(Value::as_str);
        (route == Some("/nowhere")).then(|| Verdict::Drop("rejected".to_owned()))
    });
    let mut demo = service.start();
    let token = demo.token();
    for path in ["/agents", "/agents", "/nowhere"] {
        demo.request("GET", path, &token, "");
    }
    until("a dead letter", || {
        status(service.path())["sinks"][0]["dead"] == 1
    });
    service.posthog.heal();
    service.posthog.stand_fault(Fault::status(503));
    for _ in 0..7 {
        demo.request("GET", "/elsewhere", "", "");
    }
    until("rows that wait", || {
        let sink = status(service.path())["sinks"][0].clone();
        sink["pending"].as_u64() >= Some(7)
    });
    demo.signal("KILL");
    demo.ended();
    service.posthog.heal();

    let sent = service.posthog.stored().len();
    let (found, code) = service.reconcile(&["--resend"]);
    assert_eq!(code, Some(0), "{found}");
    let apart = &found["not_delivered"];
    assert_eq!(apart["dead"], 1, "{found}");
    assert_eq!(apart["sampled_out"], 3, "{found}");
    assert!(apart["pending"].as_u64() >= Some(7), "{found}");
    assert_eq!(missing(&found).len(), 0);
    assert_eq!(found["resent"]["accepted"], 0);
    assert_eq!(service.posthog.stored().len(), sent);
}

#[test]
fn rows_that_were_held_back_as_too_old_are_not_missing() {
    let mut service = Service::new().with("AUDITHOG_POSTHOG_BACKFILL", "0s");
    let key = service.variables.remove(0);
    service.served(10);
    let old = service.rows();
    service.variables.push(key);
    service.served(5);
    let (found, code) = service.reconcile(&["--resend"]);
    assert_eq!(code, Some(0), "{found}");
    let held_back = found["not_delivered"]["held_back"].as_u64().unwrap();
    // Rows of the second run are held back too, if delivery begins after they were written.
    assert!(held_back >= old && held_back <= service.rows(), "{found}");
    assert_eq!(found["delivered"], service.rows() - held_back);
    assert_eq!(found["resent"]["accepted"], 0);
}

/// Another event in its place, with the same service and instance.
#[test]
fn a_missing_row_is_found_also_where_the_counts_agree() {
    let service = Service::new();
    service.served(5);
    let event = service.posthog.stored()[2].clone();
    service.posthog.lose(|stored| stored.uuid == event.uuid);
    let body = serde_json::json!({"api_key": event.token, "batch": [{
        "event": event.event,
        "distinct_id": event.distinct_id,
        "uuid": "0190aaaa-0000-7000-8000-000000000001",
        "timestamp": (event.timestamp + jiff::SignedDuration::from_millis(1)).to_string(),
        "properties": event.properties,
    }]});
    assert_eq!(send(&service.posthog, "POST", "/batch/", &body).0, 200);
    let (found, code) = service.reconcile(&[]);
    assert_eq!(code, Some(3), "{found}");
    assert_eq!(missing(&found), [event.uuid.to_string()]);
    assert_eq!(found["others"], 1);
}

#[test]
fn a_row_that_is_there_under_another_time_is_not_missing() {
    let service = Service::new();
    service.served(5);
    let event = service.posthog.stored()[2].clone();
    service.posthog.lose(|stored| stored.uuid == event.uuid);
    let hour_before = event.timestamp - jiff::SignedDuration::from_hours(20);
    let body = serde_json::json!({"api_key": event.token, "batch": [{
        "event": event.event,
        "distinct_id": event.distinct_id,
        "uuid": event.uuid,
        "timestamp": hour_before.to_string(),
        "properties": event.properties,
    }]});
    assert_eq!(send(&service.posthog, "POST", "/batch/", &body).0, 200);
    let (found, code) = service.reconcile(&["--resend"]);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(
        (&found["displaced"], missing(&found).len()),
        (&Value::from(1), 0),
        "{found}"
    );
    assert_eq!(found["found"], service.rows());
    assert_eq!(found["resent"]["accepted"], 0);
}

/// As every other command that asks for a time.
#[test]
fn times_are_read_as_people_write_them() {
    let service = Service::new();
    for (arguments, expected) in [
        (&["--since", "soon"][..], "--since: \"soon\" is no time"),
        (
            &["--since", "1h", "--until", "later"],
            "--until: \"later\" is no time",
        ),
        (
            &["--since", "1h", "--until", "2h"],
            "the time range is empty",
        ),
        // A time, and then what is missing is the ledger.
        (&["--since", "2026-11-25 09:30"], "there is no ledger"),
        (
            &["--since", "yesterday", "--until", "now"],
            "there is no ledger",
        ),
    ] {
        let arguments = [&["reconcile"], arguments].concat();
        let (_, printed, complaint) = ran(command(service.path(), &service.posthog, &arguments));
        assert_eq!(printed, "");
        assert!(complaint.contains(expected), "{complaint}");
    }
}

#[test]
fn young_rows_are_on_their_way() {
    let service = Service::new();
    service.served(5);
    service.posthog.lose(|_| true);
    let (found, code) = service.reconcile(&["--grace", "1h"]);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["on_the_way"], service.rows());
    assert_eq!(found["verified"], false, "nothing was seen");
}

#[test]
fn a_question_that_takes_too_long_is_asked_for_shorter_times_and_a_limit_is_waited_for() {
    let service = Service::new();
    service.served(20);
    service.posthog.lose(|event| event.event == "audit_stopped");
    service.posthog.push_fault(Fault::status(504).on_query());
    service.posthog.push_fault(Fault::status(512).on_query());
    service
        .posthog
        .push_fault(Fault::status(429).header("retry-after", "1").on_query());
    let (found, code) = service.reconcile(&[]);
    assert_eq!(code, Some(3), "{found}");
    assert_eq!(missing(&found).len(), 1);
    assert_eq!(found["found"], service.rows() - 1);
    assert_eq!(service.posthog.queued_faults(), 0);
    assert!(service.queries() > 6, "{}", service.queries());
}

#[test]
fn events_of_other_ledgers_are_no_rows_of_this_one() {
    let service = Service::new().with("AUDITHOG_INSTANCE", "shop-0");
    service.served(5);
    // The same service and instance wrote another ledger.
    let other = Service {
        home: TempDir::new().unwrap(),
        posthog: PostHogStandIn::start().unwrap(),
        variables: service.variables.clone(),
    };
    other.served(5);
    let (found, code) = service.reconcile(&[]);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["found"], service.rows());
    assert_eq!(found["others"], other.rows());
}

#[test]
fn refusals_have_their_exit_codes() {
    let service = Service::new();
    service.served(3);
    let scopes = ["insight:read".to_owned()].into();
    service.posthog.configure(|behaviour| {
        behaviour.personal_keys = Some([(PERSONAL.to_owned(), scopes)].into());
    });
    let (code, _, complaint) = ran(service.command(&[]));
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("missing required scope 'query:read'"),
        "{complaint}"
    );
    service
        .posthog
        .configure(|behaviour| behaviour.personal_keys = None);

    let mut without = service.command(&["--resend"]);
    without.env_remove("POSTHOG_API_KEY");
    let (code, _, complaint) = ran(without);
    assert_eq!(code, Some(2));
    assert!(
        complaint.contains("POSTHOG_API_KEY is not set"),
        "{complaint}"
    );
    let (code, _, complaint) = ran(service.command(&["--db", "nowhere.db"]));
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("there is no ledger at nowhere.db"),
        "{complaint}"
    );

    // A ledger without a key never had a destination.
    let keyless = TempDir::new().unwrap();
    let mut demo = Demo::start(keyless.path(), &["--no-traffic"]);
    demo.signal("TERM");
    assert_eq!(demo.ended(), Some(0));
    let path = keyless.path().join("audit.db");
    let (code, _, complaint) = ran(service.command(&["--db", path.to_str().unwrap()]));
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("never had PostHog as a destination"),
        "{complaint}"
    );
}
