//! Does PostHog have what the ledger says it has?
//!
//! Hour by hour: both sides count their events and add up their times. Where that agrees, and no event is there twice, nothing more is
//! asked. Any other hour is compared id by id. What is missing then is asked for once more by its ids, whatever its hour, before it is
//! called missing.

mod compare;
mod remote;
mod resend;
mod rows;
#[cfg(all(test, feature = "testing"))]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::Api;
use crate::clock::Clock;
use crate::config::Builder;
use crate::error::{Error, Kind};
use crate::ledger::{Compared, Looker, verify};
use crate::query::Filter;
use crate::record::Micros;

pub use resend::Resent;

const SINK: &str = "posthog";

/// What is compared.
#[derive(Clone, Debug)]
pub struct Reconcile {
    since: SystemTime,
    until: Option<SystemTime>,
    grace: Duration,
    late: Duration,
    each: bool,
    resend: bool,
}

/// What a comparison found. Rows are those of the time range by the ledger's times.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Reconciliation {
    /// The ledger's file.
    pub ledger: PathBuf,
    /// PostHog's project.
    pub project: String,
    /// The start of the range, RFC 3339.
    pub since: String,
    /// Its end, RFC 3339, not included.
    pub until: String,
    /// Rows in the ledger.
    pub rows: u64,
    /// Rows that PostHog is to have: it has accepted each.
    pub delivered: u64,
    /// Of these, rows that it has.
    pub found: u64,
    /// Of these, rows that it has not, longer than the grace.
    pub missing: Vec<MissingRow>,
    /// Of these, young rows that it has not yet: it takes seconds to minutes.
    pub on_the_way: u64,
    /// Rows that it has more than once. Its storage merges copies in time; `count(DISTINCT uuid)` does so at once.
    pub duplicated: u64,
    /// Rows that it took later than the limit after they were made.
    pub late: u64,
    /// Rows that it has under another time than theirs.
    pub displaced: u64,
    /// Events of the same services and instances that this ledger has not: another ledger's, or rows that retention removed. None: no
    /// hour was compared id by id.
    pub others: Option<u64>,
    /// Rows that PostHog is not to have, or not yet.
    pub not_delivered: NotDelivered,
    /// The hours in which the two sides did not agree at first, RFC 3339.
    pub differing_hours: Vec<String>,
    /// What was sent again, if that was asked for.
    pub resent: Option<Resent>,
    /// The ledger has noted that PostHog keeps what it accepts, and which rows were compared: see
    /// [`SinkStatus::rows_verified`](crate::inspect::SinkStatus::rows_verified).
    pub verified: bool,
}

/// Rows that are not compared, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotDelivered {
    /// They wait to be sent.
    pub pending: u64,
    /// The sampling rules of their time leave them out.
    pub sampled_out: u64,
    /// They were too old when the first key came.
    pub held_back: u64,
    /// PostHog refused them for good: dead letters.
    pub dead: u64,
}

/// A row that PostHog has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingRow {
    /// Its number in the ledger.
    pub seq: u64,
    /// Its id, the event's uuid.
    pub id: Uuid,
    /// Its time, in microseconds since 1970-01-01T00:00:00Z.
    pub time_micros: i64,
}

impl Serialize for MissingRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.seq, self.id, Micros(self.time_micros).to_string()).serialize(serializer)
    }
}

impl Reconcile {
    /// What PostHog is asked, in HogQL. Nothing of it has to be known to reconcile; tests parse it.
    pub const HOGQL: [&'static str; 3] = [remote::HOURS, remote::PAGE, remote::NAMED];

    /// Rows from this time on, up to now.
    #[must_use]
    pub fn since(since: SystemTime) -> Self {
        Self {
            since,
            until: None,
            grace: Duration::from_secs(600),
            late: Duration::from_secs(900),
            each: false,
            resend: false,
        }
    }

    /// Rows before this time.
    #[must_use]
    pub fn until(mut self, until: SystemTime) -> Self {
        self.until = Some(until);
        self
    }

    /// A younger row is on its way and not missing. Default: ten minutes.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// A row that PostHog took longer after its time than this is late. Default: 15 minutes.
    #[must_use]
    pub fn late(mut self, late: Duration) -> Self {
        self.late = late;
        self
    }

    /// Compares every hour id by id, also where counts and times agree.
    #[must_use]
    pub fn each(mut self) -> Self {
        self.each = true;
        self
    }

    /// Sends what is missing again, with the bytes and ids of the first time. Needs `POSTHOG_API_KEY` and the settings for PostHog that
    /// the service has.
    #[must_use]
    pub fn resend(mut self) -> Self {
        self.resend = true;
        self
    }
}

impl Reconciliation {
    /// Nothing is missing, or all of it was sent again.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let resent = self.resent.as_ref().map_or(0, |resent| resent.accepted);
        self.missing.len() as u64 <= resent
    }
}

impl Builder {
    /// Compares the ledger at `path`, which a service may write meanwhile, with the project that `POSTHOG_PERSONAL_API_KEY` and
    /// `POSTHOG_PROJECT_ID` name. Notes in the ledger that PostHog is verified, if it has any of the rows, and which rows it
    /// was found to have all of.
    ///
    /// Blocks: some seconds for a day on which both sides agree; an hour that differs takes a request for each 50,000 of its events. Takes
    /// memory with the events of one hour and with the rows that are missing.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`]: a variable is missing or wrong. [`Error::is_ledger`]: the file cannot be read, or never had PostHog as a
    /// destination. [`Error::is_remote`]: PostHog cannot be reached, or refuses.
    pub fn reconcile(self, path: &Path, asked: &Reconcile) -> Result<Reconciliation, Error> {
        let resolved = self.resolve()?;
        let settings = &resolved.settings;
        let api = Api::new(&settings.read_back)?;
        if asked.resend && settings.posthog.is_none() {
            return Err(Error::new(
                Kind::Config,
                "POSTHOG_API_KEY is not set: nothing can be sent again without it",
            ));
        }
        let clock = Clock::system();
        let now = clock.wall();
        let filter = Filter::all().since(asked.since);
        let filter = match asked.until {
            Some(until) => filter.until(until),
            None => filter.until(SystemTime::now()),
        };
        let mut looker = Looker::open(path)?;
        let sample = settings
            .posthog
            .as_ref()
            .map(|posthog| posthog.sample.as_slice());
        let rows = rows::Source::open(&mut looker, &filter, sample.unwrap_or_default())?;
        let mut comparison = compare::Comparison::new(api, rows, asked, now);
        comparison.run()?;
        let (mut found, rules, marks) = comparison.end(path);
        if let (true, Some(posthog)) = (asked.resend, &settings.posthog) {
            found.resent = Some(resend::resend(
                &mut looker,
                posthog,
                &rules,
                &found.missing,
                &clock,
            )?);
        }
        let seen = found.found > 0;
        let compared = Compared {
            seen,
            there: if seen { &marks.there } else { &[] },
            missing: &marks.missing,
        };
        // A copy on a read-only disk can be compared too.
        found.verified = verify(path, SINK, clock.wall(), compared).unwrap_or(false) && seen;
        Ok(found)
    }
}
