//! `audithog posthog setup`.

use audithog::{
    Logger,
    posthog::{Action, Change, Plan, Setup, Thing},
};
use serde_json::json;

use super::failed;
use crate::{
    failure::Failure,
    output::{Format, Output, Style, plain, written},
};

const LONG_ABOUT: &str = "\
Make a dashboard for a service, with its insights and alerts

The dashboard has an insight for each question of `audithog query`, and four more for the alerts: the 5xx rate is over 1 %, the 4xx \
rate over 5 %, an error code comes much more often than in the hour before, and no heartbeat has come for an hour, which is how a \
stopped log is noticed. Alerts are looked at once an hour and tell the owner of the key.

Run it again at any time: what is there is found by its tags, and only what differs is set back. People's own dashboards, their places \
of tiles, whom alerts tell and whether they are on stay as they are.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog posthog setup --service shop --environment production --dry-run
  audithog posthog setup --service shop --environment production
  audithog posthog setup --service shop --environment production --remove

The personal key needs the scopes dashboard:write, insight:write and alert:write, and user:read for alerts to tell its owner; with
--dry-run dashboard:read, insight:read and alert:read do.

Exit codes:
  0  Done; with --dry-run: the plan is printed
  1  PostHog cannot be reached or refused something: what was made until then stays, and the next run goes on
  2  A wrong argument or variable";

/// Make a dashboard for a service, with its insights and alerts
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(super) struct Args {
    /// The service, as its rows name it [default: AUDITHOG_SERVICE, else OTEL_SERVICE_NAME]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// The environment [default: AUDITHOG_ENVIRONMENT; none: all]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,

    /// An error code that comes so many times more often than in the hour before is a spike
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    spike: u32,

    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Remove what was made
    #[arg(long)]
    remove: bool,

    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Logger::builder();
    let named = settings.stated_names();
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let service = given(&args.service)
        .or(named.0)
        .ok_or_else(|| Failure::new(2, "which service? give --service, or set AUDITHOG_SERVICE"))?;
    let environment = given(&args.environment).or(named.1);
    let setup = Setup::new(&service, environment.as_deref()).spike(args.spike);
    let mut api = settings.posthog_api().map_err(failed)?;
    let plan = if args.remove {
        api.plan_removal(&setup)
    } else {
        api.plan(&setup)
    };
    let plan = plan.map_err(failed)?;
    let mut output = Output::standard();
    if args.dry_run {
        return args.show(&plan, &mut output).and_then(|()| output.end());
    }
    let mut done = Vec::new();
    let applied = api.apply(plan, |change| done.push(change.clone()));
    args.print(&done, &mut output)?;
    output.end()?;
    applied.map_err(failed)
}

impl Args {
    fn show(&self, plan: &Plan, output: &mut Output) -> Result<(), Failure> {
        let changes: Vec<Change> = plan.changes().cloned().collect();
        self.print(&changes, output)
    }

    fn print(&self, changes: &[Change], output: &mut Output) -> Result<(), Failure> {
        if self.format == Format::Json {
            return output.json(&json!({"dry_run": self.dry_run, "changes": changes}));
        }
        for change in changes {
            line(change, output).map_err(written)?;
        }
        let count = |action: Action| {
            changes
                .iter()
                .filter(|change| change.action == action)
                .count()
        };
        let will = if self.dry_run { "to be " } else { "" };
        let text = match self.remove {
            true if changes.is_empty() => "Nothing is there to be removed.".to_owned(),
            true => format!("{} {will}removed.", count(Action::Remove)),
            false => format!(
                "{} {will}created, {} {will}updated, {} as they are to be.",
                count(Action::Create),
                count(Action::Update),
                count(Action::Keep)
            ),
        };
        output.line(&text).map_err(written)
    }
}

fn line(change: &Change, output: &mut Output) -> std::io::Result<()> {
    let (action, style) = match change.action {
        Action::Create => ("create", Style::Good),
        Action::Update => ("update", Style::Bold),
        Action::Remove => ("remove", Style::Bad),
        _ => ("keep", Style::Bold),
    };
    let thing = match change.thing {
        Thing::Dashboard => "dashboard",
        Thing::Insight => "insight",
        Thing::Layout => "layout",
        Thing::Alert => "alert",
        _ => "thing",
    };
    let mut text = plain(&change.name);
    if let Some(id) = &change.id {
        text += &format!(" ({})", plain(id));
    }
    if !change.differs.is_empty() {
        text += &format!(": {}", change.differs.join(", "));
    }
    let action = output.paint(&format!("{action:<8}"), style);
    output.line(&format!("{action}{thing:<11}{text}"))
}
