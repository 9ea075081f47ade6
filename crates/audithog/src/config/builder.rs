//! What code may say: defaults that the environment overrides, and pins that it cannot.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::{QueueFull, env, variables};
use crate::capture::{Exclusion, Guarantee, MaskedParam, RoutePattern};

/// Settings for a [`Logger`](crate::Logger): environment over code over default.
///
/// Every setter takes the place of the environment variable that its documentation names, and
/// counts only where that variable is unset; [`pin`](Self::pin) turns this round. All problems,
/// of code and environment alike, are reported together by [`start`](Self::start).
#[must_use = "nothing runs before `start`"]
#[derive(Clone)]
pub struct Builder {
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) code: BTreeMap<&'static str, String>,
    pub(crate) pinned: BTreeMap<&'static str, String>,
    pub(crate) problems: Vec<String>,
    pub(crate) exclusions: Vec<Exclusion>,
    pub(crate) masked: Vec<MaskedParam>,
    pub(crate) floor: Option<Guarantee>,
    pub(crate) guarantees: Vec<(RoutePattern, Guarantee)>,
    pub(crate) unannounced: Vec<RoutePattern>,
}

impl Builder {
    /// Reads the process's environment.
    pub(crate) fn from_process() -> Self {
        Self::from_environment(std::env::vars_os())
    }

    pub(crate) fn from_environment(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        Self {
            environment: environment.into_iter().collect(),
            code: BTreeMap::new(),
            pinned: BTreeMap::new(),
            problems: Vec::new(),
            exclusions: Vec::new(),
            masked: Vec::new(),
            floor: None,
            guarantees: Vec::new(),
            unannounced: Vec::new(),
        }
    }

    /// Replaces the environment: nothing of the process's own is read. For tests and for programs
    /// with a configuration of their own.
    pub fn environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        self.environment = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self
    }

    /// Sets the default of any variable of the reference (`docs/reference/variables.md`).
    pub fn set(mut self, variable: &str, value: impl Into<String>) -> Self {
        match known(variable) {
            Some(name) => drop(self.code.insert(name, value.into())),
            None => self.problems.push(format!(
                "{}, set in code, is no variable of audithog",
                env::shorten(variable)
            )),
        }
        self
    }

    /// Fixes any variable of the reference: the environment's value is ignored. Pinned as empty it is unset, whatever
    /// the environment says: `.pin("POSTHOG_API_KEY", "")` keeps everything in the process.
    pub fn pin(mut self, variable: &str, value: impl Into<String>) -> Self {
        match known(variable) {
            Some(name) => drop(self.pinned.insert(name, value.into())),
            None => self.problems.push(format!(
                "{}, pinned in code, is no variable of audithog",
                env::shorten(variable)
            )),
        }
        self
    }

    /// The name of the service (`AUDITHOG_SERVICE`). Default: `OTEL_SERVICE_NAME`, then the
    /// program's name.
    pub fn service(self, name: impl Into<String>) -> Self {
        self.set(variables::SERVICE, name)
    }

    /// `production`, `staging`, … (`AUDITHOG_ENVIRONMENT`). Default: OpenTelemetry's
    /// `deployment.environment.name`, else absent.
    pub fn deployment_environment(self, name: impl Into<String>) -> Self {
        self.set(variables::ENVIRONMENT, name)
    }

    /// The service's version (`AUDITHOG_VERSION`): `.version(env!("CARGO_PKG_VERSION"))`.
    pub fn version(self, version: impl Into<String>) -> Self {
        self.set(variables::VERSION, version)
    }

    /// The ledger's file (`AUDITHOG_DB`). Default: `audit.db` in `$STATE_DIRECTORY` or the working
    /// directory.
    pub fn database(self, path: impl Into<PathBuf>) -> Self {
        let path: PathBuf = path.into();
        match path.into_os_string().into_string() {
            Ok(path) => self.set(variables::DB, path),
            Err(path) => {
                let mut this = self;
                this.problems.push(format!(
                    "the path {} of the ledger is not valid UTF-8",
                    path.display()
                ));
                this
            }
        }
    }

    /// No ledger (`AUDITHOG_DB=off`): rows wait in a bounded memory and die with the process.
    pub fn memory_only(self) -> Self {
        self.set(variables::DB, "off")
    }

    /// The project's API key, `phc_…` (`POSTHOG_API_KEY`). Default: none, nothing leaves the process.
    pub fn posthog_api_key(self, key: impl Into<String>) -> Self {
        self.set(variables::POSTHOG_API_KEY, key)
    }

    /// Where PostHog is (`POSTHOG_HOST`). Default: `https://app.posthog.com`.
    pub fn posthog_host(self, url: impl Into<String>) -> Self {
        self.set(variables::POSTHOG_HOST, url)
    }

    /// Flush when this many rows are pending (`LOG_BATCH_SIZE`). Default: 100.
    pub fn batch_size(self, rows: usize) -> Self {
        self.set(variables::BATCH_SIZE, rows.to_string())
    }

    /// Flush when the first pending row has waited this long (`LOG_BATCH_INTERVAL_MS`). Default: 30 s.
    pub fn batch_interval(self, interval: Duration) -> Self {
        self.set(
            variables::BATCH_INTERVAL_MS,
            interval.as_millis().to_string(),
        )
    }

    /// Peers whose forwarding header is believed (`AUDITHOG_TRUSTED_PROXIES`): addresses, networks,
    /// `loopback`, `private`. Default: nobody.
    pub fn trusted_proxies(self, networks: impl Into<String>) -> Self {
        self.set(variables::TRUSTED_PROXIES, networks)
    }

    /// Which request rows PostHog gets (`AUDITHOG_SAMPLE`): `2xx=0.05,GET /healthz=0.01`. The
    /// ledger always has every row. Default: all.
    pub fn sample(self, rules: impl Into<String>) -> Self {
        self.set(variables::SAMPLE, rules)
    }

    /// What a response waits for (`AUDITHOG_GUARANTEE`). Default: [`Guarantee::BestEffort`].
    pub fn guarantee(self, guarantee: Guarantee) -> Self {
        self.set(variables::GUARANTEE, guarantee.as_str())
    }

    /// The least that any request gets: the environment, and
    /// [`guarantee_for`](Self::guarantee_for), can only ask for more. Default: [`Guarantee::BestEffort`].
    pub fn guarantee_floor(mut self, least: Guarantee) -> Self {
        self.floor = Some(least);
        self
    }

    /// How long a response waits for its row at most (`AUDITHOG_GUARANTEE_TIMEOUT_MS`). Default: 2 s.
    pub fn guarantee_timeout(self, limit: Duration) -> Self {
        self.set(
            variables::GUARANTEE_TIMEOUT_MS,
            limit.as_millis().to_string(),
        )
    }

    /// What a response of a route waits for, whatever `AUDITHOG_GUARANTEE` says. The first call that matches counts. `route` is
    /// the route template, compared as a whole, a trailing `*` matches any rest; `method` none means any, and `GET` means
    /// `HEAD` too. A request that matched no route, or whose route is not known (below `nest_service`), has the guarantee
    /// of the environment.
    ///
    /// ```
    /// # use audithog::{Guarantee, Logger};
    /// # let builder = Logger::builder();
    /// let builder = builder.guarantee_for(Some("POST"), "/payments", Guarantee::FailClosed);
    /// ```
    pub fn guarantee_for(
        mut self,
        method: Option<&str>,
        route: impl Into<String>,
        guarantee: Guarantee,
    ) -> Self {
        let pattern = RoutePattern::new(method, route);
        self.guarantees.push((pattern, guarantee));
        self
    }

    /// Leaves out the `api_request_started` row of a route that is [`Guarantee::FailClosed`], and with it the wait for its
    /// fsync before the handler: a crash in the handler leaves no trace then. Routes as in
    /// [`guarantee_for`](Self::guarantee_for).
    pub fn without_started_row(mut self, method: Option<&str>, route: impl Into<String>) -> Self {
        self.unannounced.push(RoutePattern::new(method, route));
        self
    }

    /// What happens when the queue to the ledger is full (`AUDITHOG_QUEUE_FULL`). Default:
    /// [`QueueFull::DropNewest`].
    pub fn queue_full(self, policy: QueueFull) -> Self {
        self.set(variables::QUEUE_FULL, policy.as_str())
    }

    /// Gives requests of a route no row at all. Only code can do this, and `audit_started` lists
    /// every exclusion. `route` is the route template, compared as a whole; `method` none means any.
    /// Prefer a sampling rule: it keeps the row in the ledger.
    ///
    /// A fail-closed request whose route is known only after its `api_request_started` row (the layer is outside of the
    /// router) keeps both of its rows.
    pub fn exclude(mut self, method: Option<&str>, route: impl Into<String>) -> Self {
        let method = method.map(str::to_ascii_uppercase);
        self.exclusions.push(Exclusion {
            method,
            route: route.into(),
        });
        self
    }

    /// Stores a route parameter that holds a secret under an innocent name as `{name}`. `route`
    /// none means every route. Names like `token` or `password` are masked without being told.
    pub fn mask_path_param(mut self, route: Option<&str>, name: impl Into<String>) -> Self {
        self.masked.push(MaskedParam {
            route: route.map(str::to_owned),
            name: name.into(),
        });
        self
    }
}

impl std::fmt::Debug for Builder {
    /// Names what is set, never a value: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("code", &self.code.keys())
            .field("pinned", &self.pinned.keys())
            .field("exclusions", &self.exclusions)
            .finish_non_exhaustive()
    }
}

fn known(variable: &str) -> Option<&'static str> {
    variables::ALL
        .iter()
        .map(|known| known.name)
        .find(|name| *name == variable)
}
