//! `audithog posthog setup`: made once, set back, and removed without a trace.

use std::collections::{BTreeMap, BTreeSet};

use audithog::testing::{PostHogStandIn, standin::Fault};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PERSONAL, command, private, ran};

const KINDS: [&str; 3] = ["dashboards", "insights", "alerts"];

struct Project {
    home: TempDir,
    posthog: PostHogStandIn,
}

impl Project {
    fn new() -> Self {
        Self {
            home: TempDir::new().unwrap(),
            posthog: PostHogStandIn::start().unwrap(),
        }
    }

    fn setup(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut all = vec!["setup", "--service", "shop", "--environment", "production"];
        all.extend(arguments);
        ran(command(self.home.path(), &self.posthog, &all))
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let (code, printed, complaint) = self.setup(arguments);
        assert_eq!(code, Some(0), "{complaint}{printed}");
        printed
    }

    /// Everything there is.
    fn all(&self) -> BTreeMap<&'static str, Vec<Value>> {
        KINDS.map(|kind| (kind, self.posthog.things(kind))).into()
    }

    fn writes(&self) -> usize {
        let requests = self.posthog.requests();
        requests
            .iter()
            .filter(|request| request.method != "GET")
            .count()
    }

    /// The dashboard as its own page shows it.
    fn dashboard(&self) -> Value {
        let dashboards = self.posthog.things("dashboards");
        let ours = dashboards
            .iter()
            .find(|dashboard| dashboard["name"] == "audithog: shop (production)")
            .unwrap();
        private(
            &self.posthog,
            "GET",
            &format!("dashboards/{}/", ours["id"]),
            &json!({}),
        )
        .1
    }
}

#[test]
fn a_dashboard_with_an_insight_for_each_question_and_four_alerts() {
    let project = Project::new();
    let printed = project.done(&[]);
    assert!(
        printed.contains("21 created, 1 updated, 0 as they are to be."),
        "{printed}"
    );
    let insights = project.posthog.things("insights");
    assert_eq!(insights.len(), 16);
    let names: BTreeSet<&str> = insights
        .iter()
        .filter_map(|insight| insight["name"].as_str())
        .collect();
    for question in [
        "failures", "paths", "users", "codes", "slowest", "user", "admins", "request", "traffic",
        "endpoint", "address", "refusals",
    ] {
        assert!(
            names.contains(&*format!("shop (production): {question}")),
            "{question}: {names:?}"
        );
    }
    let dashboard = project.dashboard();
    let tiles = dashboard["tiles"].as_array().unwrap();
    assert_eq!(tiles.len(), 16);
    let mut places = BTreeSet::new();
    for tile in tiles {
        let place = &tile["layouts"]["sm"];
        assert!(
            places.insert((place["x"].as_u64().unwrap(), place["y"].as_u64().unwrap())),
            "{dashboard}"
        );
    }
    let alerts = project.posthog.things("alerts");
    let watched: BTreeMap<&str, &Value> = alerts
        .iter()
        .map(|alert| (alert["name"].as_str().unwrap(), alert))
        .collect();
    let expected = [
        ("5xx rate over 1 %", "absolute_value", json!({"upper": 1.0})),
        ("4xx rate over 5 %", "absolute_value", json!({"upper": 5.0})),
        (
            "error code spike",
            "relative_increase",
            json!({"upper": 100}),
        ),
        ("no heartbeat", "absolute_value", json!({"lower": 1.0})),
    ];
    assert_eq!(watched.len(), expected.len());
    for (title, condition, bounds) in expected {
        let alert = watched[&*format!("shop (production): {title}")];
        assert_eq!(alert["condition"]["type"], condition);
        assert_eq!(alert["threshold"]["configuration"]["bounds"], bounds);
        assert_eq!(alert["subscribed_users"][0]["id"], 42, "the key's owner");
        assert_eq!(alert["enabled"], true);
        assert_eq!(alert["calculation_interval"], "hourly");
    }
}

#[test]
fn a_second_run_changes_nothing() {
    let project = Project::new();
    project.done(&[]);
    let (before, writes) = (project.all(), project.writes());
    let printed = project.done(&[]);
    assert!(
        printed.contains("0 created, 0 updated, 21 as they are to be."),
        "{printed}"
    );
    assert_eq!(project.all(), before);
    assert_eq!(project.writes(), writes, "nothing was written");
}

#[test]
fn where_tags_are_ignored_a_second_run_changes_nothing_either() {
    let project = Project::new();
    project
        .posthog
        .configure(|behaviour| behaviour.no_tags = true);
    project.done(&[]);
    let (before, writes) = (project.all(), project.writes());
    project.done(&[]);
    assert_eq!(project.all(), before);
    assert_eq!(project.writes(), writes);
    project.done(&["--remove"]);
    assert!(project.all().values().all(Vec::is_empty));
}

#[test]
fn what_somebody_changed_is_set_back_and_what_is_theirs_stays() {
    let project = Project::new();
    project.done(&[]);
    let before = project.all();
    let dashboard = project.dashboard();
    let insight = before["insights"]
        .iter()
        .find(|insight| insight["name"] == "shop (production): users")
        .unwrap();
    let alert = &before["alerts"][0];
    let change = |path: String, body: Value| {
        let (status, said) = private(&project.posthog, "PATCH", &path, &body);
        assert_eq!(status, 200, "{said}");
    };
    change(
        format!("dashboards/{}/", dashboard["id"]),
        json!({"name": "Mine now"}),
    );
    change(
        format!("insights/{}/", insight["id"]),
        json!({"name": "Renamed", "favorited": true}),
    );
    change(
        format!("alerts/{}/", alert["id"].as_str().unwrap()),
        json!({"enabled": false, "threshold": {"configuration": {"type": "absolute", "bounds": {"upper": 99}}}}),
    );
    // Where somebody has put a tile it stays.
    let tile = &dashboard["tiles"][3];
    let place = json!({"sm": {"x": 0, "y": 900, "w": 12, "h": 4}});
    change(
        format!("dashboards/{}/", dashboard["id"]),
        json!({"tiles": [{"id": tile["id"], "layouts": place}]}),
    );

    let printed = project.done(&["--dry-run"]);
    assert!(
        printed.contains("update  dashboard  audithog: shop (production)"),
        "{printed}"
    );
    assert!(
        printed.contains("0 to be created, 3 to be updated"),
        "{printed}"
    );
    let printed = project.done(&[]);
    assert!(
        printed.contains("0 created, 3 updated, 18 as they are to be."),
        "{printed}"
    );
    let after = project.all();
    let same = |kind: &str, id: &Value| {
        after[kind]
            .iter()
            .find(|thing| thing["id"] == *id)
            .unwrap()
            .clone()
    };
    assert_eq!(after["insights"].len(), 16);
    let repaired = same("insights", &insight["id"]);
    assert_eq!(repaired["name"], "shop (production): users");
    assert_eq!(repaired["favorited"], true);
    let repaired = same("alerts", &alert["id"]);
    assert_eq!(repaired["threshold"], alert["threshold"]);
    assert_eq!(repaired["enabled"], false, "people's choice");
    let dashboard = project.dashboard();
    assert_eq!(dashboard["tiles"][3]["layouts"], place);
}

#[test]
fn a_removed_insight_is_made_again_and_other_dashboards_of_one_are_kept() {
    let project = Project::new();
    project.done(&[]);
    let insights = project.posthog.things("insights");
    let (gone, shared) = (&insights[5]["id"], &insights[6]["id"]);
    private(
        &project.posthog,
        "PATCH",
        &format!("insights/{gone}/"),
        &json!({"deleted": true}),
    );
    let (_, other) = private(
        &project.posthog,
        "POST",
        "dashboards/",
        &json!({"name": "Elsewhere"}),
    );
    private(
        &project.posthog,
        "PATCH",
        &format!("insights/{shared}/"),
        &json!({"dashboards": [other["id"]]}),
    );

    let printed = project.done(&[]);
    assert!(printed.contains("1 created, 2 updated"), "{printed}");
    assert_eq!(project.dashboard()["tiles"].as_array().unwrap().len(), 16);
    let insights = project.posthog.things("insights");
    let shared = insights
        .iter()
        .find(|insight| insight["id"] == *shared)
        .unwrap();
    assert_eq!(
        shared["dashboards"].as_array().unwrap().len(),
        2,
        "{shared}"
    );
}

#[test]
fn what_is_somebody_elses_is_left_alone_whatever_its_name() {
    let project = Project::new();
    let make = |kind: &str, body: Value| {
        let (status, made) = private(&project.posthog, "POST", &format!("{kind}/"), &body);
        assert_eq!(status, 201, "{made}");
        made
    };
    let query = json!({"kind": "DataVisualizationNode", "source": {"kind": "HogQLQuery", "query": "SELECT 1"}});
    make(
        "dashboards",
        json!({"name": "audithog: shop (production)", "tags": ["theirs"]}),
    );
    make(
        "insights",
        json!({"name": "shop (production): users", "query": query}),
    );
    let foreign = project.all();
    project.done(&[]);
    // Another service of the same project.
    let other = command(
        project.home.path(),
        &project.posthog,
        &["setup", "--service", "SHOP", "--environment", "production"],
    );
    assert_eq!(ran(other).0, Some(0));
    let insight = project.posthog.things("insights");
    let ours = insight
        .iter()
        .find(|insight| insight["name"] == "shop (production): heartbeats by hour")
        .unwrap();
    let mine = make(
        "alerts",
        json!({"name": "Mine", "insight": ours["id"], "subscribed_users": [], "config": {"type": "TrendsAlertConfig", "series_index": 0},
            "threshold": {"configuration": {"type": "absolute", "bounds": {"lower": 3}}}}),
    );

    let planned = project.done(&["--remove", "--dry-run"]);
    assert!(planned.contains("21 to be removed."), "{planned}");
    let printed = project.done(&["--remove"]);
    assert!(printed.contains("21 removed."), "{printed}");
    let left = project.all();
    for kind in ["dashboards", "insights"] {
        for thing in &foreign[kind] {
            assert!(left[kind].contains(thing), "{thing}");
        }
    }
    assert_eq!(left["dashboards"].len(), 2);
    assert_eq!(left["insights"].len(), 17);
    assert_eq!(left["alerts"].len(), 5);
    assert!(left["alerts"].iter().any(|alert| alert["id"] == mine["id"]));
    let printed = project.done(&["--remove"]);
    assert_eq!(printed, "Nothing is there to be removed.\n");
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let project = Project::new();
    let printed = project.done(&["--dry-run", "--format", "json"]);
    let plan: Value = serde_json::from_str(&printed).unwrap();
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(
        changes
            .iter()
            .filter(|change| change["action"] == "create")
            .count(),
        21
    );
    assert_eq!(changes[0]["thing"], "dashboard");
    assert_eq!(project.writes(), 0);
    assert!(project.all().values().all(Vec::is_empty));
}

#[test]
fn hostile_names_are_names() {
    let project = Project::new();
    for (service, environment) in [
        ("o'clock\\", "') OR 1=1 --"),
        ("{filters}", "\u{202e}\u{1f422}"),
        ("a\nb", ""),
    ] {
        let arguments = ["setup", "--service", service, "--environment", environment];
        for expected in ["21 created", "0 created, 0 updated, 21"] {
            let (code, printed, complaint) =
                ran(command(project.home.path(), &project.posthog, &arguments));
            assert_eq!(code, Some(0), "{complaint}");
            assert!(printed.contains(expected), "{printed}");
            assert!(!printed.contains("a\nb"), "{printed}");
        }
    }
    assert_eq!(project.posthog.things("dashboards").len(), 3);
}

#[test]
fn many_things_of_others_are_read_page_by_page() {
    let project = Project::new();
    // Ours come on the third page.
    for at in 0..230 {
        private(
            &project.posthog,
            "POST",
            "dashboards/",
            &json!({"name": format!("Other {at}")}),
        );
    }
    project.done(&[]);
    let printed = project.done(&[]);
    assert!(printed.contains("0 created, 0 updated"), "{printed}");
    assert_eq!(project.posthog.things("dashboards").len(), 231);
}

#[test]
fn keys_without_a_scope_and_unknown_keys_are_told_apart() {
    let project = Project::new();
    let allow = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        project.posthog.configure(|behaviour| {
            behaviour.personal_keys = Some([(PERSONAL.to_owned(), scopes)].into());
        });
    };
    allow(&["dashboard:read", "insight:read", "alert:read"]);
    assert_eq!(project.setup(&["--dry-run"]).0, Some(0));
    let (code, _, complaint) = project.setup(&[]);
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("API key missing required scope 'dashboard:write'"),
        "{complaint}"
    );
    // Without user:read nobody is told, and the rest is made.
    allow(&["dashboard:write", "insight:write", "alert:write"]);
    project.done(&[]);
    assert_eq!(
        project.posthog.things("alerts")[0]["subscribed_users"],
        json!([])
    );
    project
        .posthog
        .configure(|behaviour| behaviour.personal_keys = Some([].into()));
    let (code, _, complaint) = project.setup(&[]);
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("refuses POSTHOG_PERSONAL_API_KEY (401"),
        "{complaint}"
    );
}

#[test]
fn a_failure_in_the_middle_is_told_and_the_next_run_goes_on() {
    let project = Project::new();
    // The lists, the dashboard and some insights pass.
    project
        .posthog
        .stand_fault(Fault::status(500).on_private().above_bytes(1_400));
    let (code, printed, complaint) = project.setup(&[]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(complaint.contains("`shop (production): "), "{complaint}");
    assert!(
        printed.contains("create  dashboard"),
        "what was done is printed: {printed}"
    );
    project.posthog.heal();
    project.done(&[]);
    assert_eq!(project.posthog.things("dashboards").len(), 1);
    assert_eq!(project.posthog.things("insights").len(), 16);
    assert_eq!(project.posthog.things("alerts").len(), 4);
}

#[test]
fn without_a_service_or_a_key_it_does_not_start() {
    let project = Project::new();
    let (code, _, complaint) = ran(command(project.home.path(), &project.posthog, &["setup"]));
    assert_eq!(code, Some(2));
    assert!(
        complaint.contains("give --service, or set AUDITHOG_SERVICE"),
        "{complaint}"
    );
    let mut bare = command(
        project.home.path(),
        &project.posthog,
        &["setup", "--service", "shop"],
    );
    bare.env_remove("POSTHOG_PERSONAL_API_KEY")
        .env_remove("POSTHOG_PROJECT_ID");
    let (code, _, complaint) = ran(bare);
    assert_eq!(code, Some(2));
    assert!(
        complaint.contains("POSTHOG_PERSONAL_API_KEY is not set")
            && complaint.contains("POSTHOG_PROJECT_ID is not set"),
        "{complaint}"
    );
    assert!(project.posthog.requests().is_empty());
}
