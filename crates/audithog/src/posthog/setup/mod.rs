//! A dashboard, its insights and alerts, for one service in one environment.
//!
//! PostHog has no keys that make a creation idempotent, and names are not unique. So everything that is made has two tags,
//! `managed-by:audithog` and one of its own, and its own one at the end of its description too, because plans without tagging ignore
//! tags. What has neither is somebody else's, whatever its name.

mod alerts;
mod apply;
mod found;
mod insights;
mod plan;
mod removal;
mod sql;
mod trends;

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

pub use plan::{Action, Change, Plan, Thing};

use crate::error::Error;
use crate::query::{Field, Filter};
use crate::record::{limits, sanitize};

/// On everything that is made.
const MANAGED: &str = "managed-by:audithog";
/// Longest part of a name that says whose it is, in characters: a whole name may have 400.
const LABEL: usize = 120;

/// What is to be in the project.
///
/// ```
/// use audithog::posthog::Setup;
///
/// let setup = Setup::new("shop", Some("production")).spike(50);
/// assert_eq!(setup.dashboard(), "audithog: shop (production)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    service: String,
    environment: Option<String>,
    spike: u32,
}

impl Setup {
    /// For this service, as its rows name it, in this environment; none: in all.
    #[must_use]
    pub fn new(service: &str, environment: Option<&str>) -> Self {
        // As rows have them.
        let clean = |text: &str| sanitize::text(text, limits::ACTOR).to_string();
        Self {
            service: clean(service),
            environment: environment.map(clean),
            spike: 100,
        }
    }

    /// An error code is a spike if it came so many times more often than in the hour before. Default: 100.
    #[must_use]
    pub fn spike(mut self, more: u32) -> Self {
        self.spike = more;
        self
    }

    /// The service and the environment, as rows have them: without control characters, and not longer than rows allow.
    #[must_use]
    pub fn names(&self) -> (&str, Option<&str>) {
        (&self.service, self.environment.as_deref())
    }

    /// The dashboard's name.
    #[must_use]
    pub fn dashboard(&self) -> String {
        format!("audithog: {}", self.label())
    }

    /// The HogQL of its insights: each with the insight's key, an expression's text or a whole query's. Nothing of it has to be known
    /// to use the setup; tests parse it.
    ///
    /// # Errors
    ///
    /// [`Error::is_question`]: the name of the service or the environment is none.
    pub fn hogql(&self) -> Result<Vec<(String, String)>, Error> {
        let all = insights::all(self)?;
        let texts = all.into_iter().flat_map(|insight| {
            let source = &insight.query["source"];
            let series = source["series"].as_array().into_iter().flatten();
            let maths = series.map(|series| &series["math_hogql"]);
            let texts: Vec<String> = maths
                .chain([&source["query"]])
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect();
            texts
                .into_iter()
                .map(move |text| (insight.key.clone(), text))
        });
        Ok(texts.collect())
    }

    /// `shop (production)`, cut.
    fn label(&self) -> String {
        let whole = match &self.environment {
            Some(environment) => format!("{} ({environment})", self.service),
            None => self.service.clone(),
        };
        // Names are shown in lists and mails: one line.
        let shown: String = whole
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(LABEL)
            .collect();
        shown.trim().to_owned()
    }

    /// Rows of the service in the environment.
    fn filter(&self) -> Result<Filter, Error> {
        let filter = Filter::all().is(Field::Service, [self.service.as_str()])?;
        match &self.environment {
            Some(environment) => filter.is(Field::Environment, [environment.as_str()]),
            None => Ok(filter),
        }
    }

    /// What tells this service and environment from others, whatever characters they have: PostHog lower-cases tags.
    fn mark(&self) -> String {
        let mut hasher = SipHasher13::new();
        hasher.write(self.service.as_bytes());
        hasher.write_u8(0);
        if let Some(environment) = &self.environment {
            hasher.write_u8(1);
            hasher.write(environment.as_bytes());
        }
        format!("{:016x}", hasher.finish())
    }

    /// The tag of one thing.
    fn tag(&self, key: &str) -> String {
        format!("audithog:{key}:{}", self.mark())
    }

    fn described(&self, key: &str, about: &str) -> String {
        format!("{about}\n\n[{MANAGED} {}]", self.tag(key))
    }
}
