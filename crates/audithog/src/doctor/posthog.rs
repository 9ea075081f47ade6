//! PostHog: can it be reached, does it take this key, does it keep what it accepts?

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Checks;
use super::file::is_blank;
use crate::clock::Clock;
use crate::config::{ReadBackSettings, Settings};
use crate::ledger::own_rows::own_row;
use crate::ledger::{Compared, verify};
use crate::record::{Micros, StoredRow};
use crate::sink::posthog::endpoint::key_hint;
use crate::sink::posthog::{PosthogSink, Probed, Reading, Refusal};
use crate::sink::{Attempt, Reply, Sink as _, Verdict};

/// Clocks of machines that are kept by NTP differ by far less, and the header has whole seconds.
const CLOCK_NOTED: Duration = Duration::from_secs(10);
/// PostHog sets the time of an event that is more than 23 h ahead to its own; an hour is wrong enough.
const CLOCK_WRONG: Duration = Duration::from_secs(3_600);
/// Between two questions whether the event is there. PostHog allows 240 a minute.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// One question is waited for so long, however little time was given.
const ONE_ANSWER: Duration = Duration::from_secs(5);
const SINK: &str = "posthog";

pub(super) fn examine(
    settings: &Settings,
    ledger: Option<&Path>,
    clock: &Clock,
    within: Duration,
    checks: &mut Checks,
) {
    let Some(posthog) = &settings.posthog else {
        checks.warn(
            "key",
            "no POSTHOG_API_KEY: rows are kept, and nothing leaves the process",
            "set it to the project's API key (phc_…), unless that is intended",
        );
        return;
    };
    match key_hint(posthog.key.expose()) {
        Some(hint) => checks.warn(
            "key",
            format!("POSTHOG_API_KEY {hint}"),
            "compare it with the project's settings in PostHog; keys of old self-hosted projects look so too",
        ),
        None => checks.ok("key", "POSTHOG_API_KEY has the shape of a project's key"),
    }
    let sink = match PosthogSink::new(posthog, clock.clone()) {
        Ok(sink) => sink,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            checks.fail(
                "host",
                format!("{error}{}", cause.unwrap_or_default()),
                "correct the variable it names",
            );
            return;
        }
    };
    let endpoint = sink.endpoint();
    checks.ok(
        "host",
        format!("region {}, {}", endpoint.region(), endpoint.host()),
    );
    if !reach(&sink, checks) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            checks.fail(
                "capture",
                format!("no runtime for requests: {error}"),
                "look at the limits of the process",
            );
            return;
        }
    };
    let probed = runtime.block_on(sink.probe());
    if !judge(&probed, checks) {
        return;
    }
    if let Some((theirs, ours)) = probed.date {
        compare_clocks(theirs, ours, checks);
    }
    let trip = Trip {
        sink: &sink,
        settings: &settings.read_back,
        clock,
        within,
    };
    trip.make(&runtime, settings, ledger, checks);
}

/// False where no request needs to be tried.
fn reach(sink: &PosthogSink, checks: &mut Checks) -> bool {
    if sink.may_use_proxy() {
        checks.ok(
            "network",
            "a proxy variable is set: whether the host can be reached is shown by the next check",
        );
        return true;
    }
    match sink.connect() {
        Ok(address) => {
            checks.ok("network", format!("{address} takes connections"));
            true
        }
        Err(error) => {
            checks.fail(
                "network",
                error,
                "look at DNS, the firewall, network policies, and POSTHOG_HOST; behind a proxy set HTTPS_PROXY",
            );
            false
        }
    }
}

fn judge(probed: &Probed, checks: &mut Checks) -> bool {
    let (text, remedy) = match &probed.protocol {
        Ok("v1") => {
            checks.ok(
                "capture",
                "the host takes events with this key (capture v1)",
            );
            return true;
        }
        Ok(protocol) => {
            checks.ok(
                "capture",
                format!("the host takes events with this key (capture {protocol}; it has no v1)"),
            );
            return true;
        }
        Err(Refusal::Key(said)) => (
            format!("the host refuses the key ({said})"),
            "set POSTHOG_API_KEY to the project's API key (phc_…)",
        ),
        Err(Refusal::Quota(said)) => (
            format!("the project is over its quota ({said})"),
            "raise the billing limit in PostHog, or sample with AUDITHOG_SAMPLE; rows wait meanwhile",
        ),
        Err(Refusal::Foreign(said)) => (
            format!("the host answers, but not as PostHog ({said})"),
            "set POSTHOG_HOST to the project's region, or to the address of your own PostHog or proxy",
        ),
        Err(Refusal::Busy(said)) => (
            format!("the host cannot take events now ({said})"),
            "try again; rows wait meanwhile",
        ),
        Err(Refusal::Unreachable(why)) => (
            format!("no answer: {why}"),
            "an invalid certificate needs AUDITHOG_POSTHOG_CA_FILE; otherwise look at proxies and firewalls",
        ),
    };
    checks.fail("capture", text, remedy);
    false
}

fn compare_clocks(theirs: Micros, ours: Micros, checks: &mut Checks) {
    let (ahead, behind) = (ours.since(theirs), theirs.since(ours));
    let (off, how) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    let text = format!(
        "this machine's clock is {} s {how} PostHog's",
        off.as_secs()
    );
    let remedy = "let the clock be kept by NTP: every row has the time that this clock shows";
    match off {
        _ if off >= CLOCK_WRONG => checks.fail("clock", text, remedy),
        _ if off >= CLOCK_NOTED => checks.warn("clock", text, remedy),
        _ => checks.ok("clock", text),
    }
}

/// One event there and back.
struct Trip<'a> {
    sink: &'a PosthogSink,
    settings: &'a ReadBackSettings,
    clock: &'a Clock,
    within: Duration,
}

impl Trip<'_> {
    fn make(
        &self,
        runtime: &tokio::runtime::Runtime,
        settings: &Settings,
        ledger: Option<&Path>,
        checks: &mut Checks,
    ) {
        const NAME: &str = "round_trip";
        let (Some(key), Some(project)) = (&self.settings.key, &self.settings.project) else {
            checks.warn(
                NAME,
                "not tried: PostHog accepts any well-shaped key, so only an event that is read back shows that the \
                 key's project keeps rows",
                "set POSTHOG_PERSONAL_API_KEY (phx_…, scope query:read) and POSTHOG_PROJECT_ID for this command",
            );
            return;
        };
        if !key.expose().trim().starts_with("phx_") {
            checks.fail(
                NAME,
                "POSTHOG_PERSONAL_API_KEY does not begin with phx_",
                "make a personal key with the scope query:read in PostHog's user settings",
            );
            return;
        }
        if project.is_empty() || !project.bytes().all(|byte| byte.is_ascii_digit()) {
            checks.fail(
                NAME,
                "POSTHOG_PROJECT_ID is no number",
                "take the number from the project's address in PostHog",
            );
            return;
        }
        let row = StoredRow {
            seq: 0,
            run: Arc::new(settings.run.clone()),
            row: own_row(
                self.clock,
                "audit_doctor",
                serde_json::json!({"version": env!("CARGO_PKG_VERSION")}),
            )
            .into(),
        };
        let id = row.row.id;
        if let Err(said) = runtime.block_on(self.send(row)) {
            checks.fail(
                NAME,
                format!("the event audit_doctor was not accepted ({said})"),
                "see the check before",
            );
            return;
        }
        let started = Instant::now();
        match runtime.block_on(self.wait_for(id)) {
            Ok(()) => {
                let took = started.elapsed().as_secs_f64();
                checks.ok(NAME, format!("event {id} was read back from project {project} after {took:.1} s"));
                self.note(ledger, checks);
            }
            Err(Some(said)) => checks.fail(
                NAME,
                format!("event {id} was accepted and could not be asked for: {said}"),
                "correct the personal key, its scope (query:read) or POSTHOG_PROJECT_ID",
            ),
            Err(None) => checks.fail(
                NAME,
                format!(
                    "event {id} was accepted, and is not in project {project} after {} s: the key belongs to another \
                     project, or to none",
                    self.within.as_secs()
                ),
                "compare POSTHOG_API_KEY with the settings of that project; PostHog may also be slow: look for the \
                 event later",
            ),
        }
    }

    async fn send(&self, row: StoredRow) -> Result<(), String> {
        let attempt = Attempt {
            request: Uuid::now_v7(),
            created: self.clock.wall(),
            number: 1,
        };
        match self.sink.send(&[row], attempt).await {
            Reply::Rows { verdicts, .. } => match verdicts.into_iter().next() {
                Some(Verdict::Delivered) => Ok(()),
                Some(Verdict::Retry(why) | Verdict::Dead(why)) => Err(why),
                Some(Verdict::Hold(hold)) => Err(hold.detail),
                None => Err("no verdict".to_owned()),
            },
            Reply::Retry { reason, .. }
            | Reply::TooLarge { reason }
            | Reply::Refused { reason } => Err(reason),
            Reply::Hold { hold, .. } => Err(hold.detail),
        }
    }

    /// Ends with a reason where asking on is in vain, and with none when the time is over.
    async fn wait_for(&self, id: Uuid) -> Result<(), Option<String>> {
        let until = Instant::now() + self.within;
        loop {
            // A host that hangs must not hold the command up for longer than was asked for.
            let left = until
                .saturating_duration_since(Instant::now())
                .max(ONE_ANSWER);
            let asked = tokio::time::timeout(left, self.sink.read_back(self.settings, id));
            let reading = asked.await.unwrap_or_else(|_| {
                Reading::Failed(format!("no answer within {} s", left.as_secs()))
            });
            let last = match reading {
                Reading::Found => return Ok(()),
                Reading::Refused(why) => return Err(Some(why)),
                Reading::Failed(why) => Some(why),
                Reading::NotYet => None,
            };
            if Instant::now() + ASK_EVERY > until {
                return Err(last);
            }
            let again = self.clock.monotonic() + ASK_EVERY;
            self.clock.sleep_until(again).await;
        }
    }

    fn note(&self, ledger: Option<&Path>, checks: &mut Checks) {
        const NAME: &str = "verified";
        let Some(path) = ledger.filter(|path| path.exists() && !is_blank(path)) else {
            checks.ok(NAME, "there is no ledger yet to note it in");
            return;
        };
        let compared = Compared {
            seen: true,
            ..Compared::default()
        };
        match verify(path, SINK, self.clock.wall(), compared) {
            Ok(true) => checks.ok(
                NAME,
                "noted in the ledger: status shows PostHog as verified",
            ),
            Ok(false) => checks.warn(
                NAME,
                "the ledger does not know PostHog yet",
                "start the service with its key, and run this again",
            ),
            Err(error) => checks.warn(
                NAME,
                format!("it could not be noted in the ledger: {error}"),
                "run this as the service's user",
            ),
        }
    }
}
