//! Every environment variable, in one table. `docs/reference/variables.md` has a row for each.

/// One variable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// Also read from the file that `<name>_FILE` names; never shown.
    pub(crate) secret: bool,
}

const fn plain(name: &'static str) -> Variable {
    Variable {
        name,
        secret: false,
    }
}

const fn secret(name: &'static str) -> Variable {
    Variable { name, secret: true }
}

pub(crate) const POSTHOG_API_KEY: &str = "POSTHOG_API_KEY";
/// Alias of [`POSTHOG_API_KEY`], PostHog's newer name for it.
pub(crate) const POSTHOG_PROJECT_TOKEN: &str = "POSTHOG_PROJECT_TOKEN";
pub(crate) const POSTHOG_HOST: &str = "POSTHOG_HOST";
pub(crate) const BATCH_SIZE: &str = "LOG_BATCH_SIZE";
pub(crate) const BATCH_INTERVAL_MS: &str = "LOG_BATCH_INTERVAL_MS";
pub(crate) const DB: &str = "AUDITHOG_DB";
/// For the commands and the console that look at a log.
pub(crate) const ACCESS: &str = "AUDITHOG_ACCESS";
pub(crate) const DB_DAMAGED: &str = "AUDITHOG_DB_DAMAGED";
pub(crate) const DB_RESERVE: &str = "AUDITHOG_DB_RESERVE";
pub(crate) const DB_MAX_BYTES: &str = "AUDITHOG_DB_MAX_BYTES";
pub(crate) const RETENTION: &str = "AUDITHOG_RETENTION";
pub(crate) const GUARANTEE: &str = "AUDITHOG_GUARANTEE";
pub(crate) const GUARANTEE_TIMEOUT_MS: &str = "AUDITHOG_GUARANTEE_TIMEOUT_MS";
pub(crate) const SAMPLE: &str = "AUDITHOG_SAMPLE";
pub(crate) const TRUSTED_PROXIES: &str = "AUDITHOG_TRUSTED_PROXIES";
pub(crate) const CLIENT_IP_HEADER: &str = "AUDITHOG_CLIENT_IP_HEADER";
pub(crate) const REQUEST_ID: &str = "AUDITHOG_REQUEST_ID";
pub(crate) const SERVICE: &str = "AUDITHOG_SERVICE";
pub(crate) const ENVIRONMENT: &str = "AUDITHOG_ENVIRONMENT";
pub(crate) const VERSION: &str = "AUDITHOG_VERSION";
pub(crate) const INSTANCE: &str = "AUDITHOG_INSTANCE";
pub(crate) const SHUTDOWN_TIMEOUT_MS: &str = "AUDITHOG_SHUTDOWN_TIMEOUT_MS";
pub(crate) const QUEUE_ROWS: &str = "AUDITHOG_QUEUE_ROWS";
pub(crate) const QUEUE_FULL: &str = "AUDITHOG_QUEUE_FULL";
pub(crate) const QUEUE_BYTES: &str = "AUDITHOG_QUEUE_BYTES";
pub(crate) const MEMORY_ROWS: &str = "AUDITHOG_MEMORY_ROWS";
pub(crate) const POSTHOG_COMPRESSION: &str = "AUDITHOG_POSTHOG_COMPRESSION";
pub(crate) const POSTHOG_DISTINCT_ID: &str = "AUDITHOG_POSTHOG_DISTINCT_ID";
pub(crate) const POSTHOG_HMAC_KEY: &str = "AUDITHOG_POSTHOG_HMAC_KEY";
pub(crate) const POSTHOG_IP: &str = "AUDITHOG_POSTHOG_IP";
pub(crate) const POSTHOG_USER_AGENT: &str = "AUDITHOG_POSTHOG_USER_AGENT";
pub(crate) const POSTHOG_USER: &str = "AUDITHOG_POSTHOG_USER";
pub(crate) const POSTHOG_PERSON_PROFILES: &str = "AUDITHOG_POSTHOG_PERSON_PROFILES";
pub(crate) const POSTHOG_GROUP_TYPE: &str = "AUDITHOG_POSTHOG_GROUP_TYPE";
pub(crate) const POSTHOG_BACKFILL: &str = "AUDITHOG_POSTHOG_BACKFILL";
pub(crate) const POSTHOG_TIMEOUT_MS: &str = "AUDITHOG_POSTHOG_TIMEOUT_MS";
/// For reading back: `audithog doctor` alone uses these three.
pub(crate) const POSTHOG_PERSONAL_API_KEY: &str = "POSTHOG_PERSONAL_API_KEY";
pub(crate) const POSTHOG_PROJECT_ID: &str = "POSTHOG_PROJECT_ID";
pub(crate) const POSTHOG_API_HOST: &str = "AUDITHOG_POSTHOG_API_HOST";
pub(crate) const POSTHOG_CA_FILE: &str = "AUDITHOG_POSTHOG_CA_FILE";
pub(crate) const RETRY_QUICK_ATTEMPTS: &str = "AUDITHOG_RETRY_QUICK_ATTEMPTS";
pub(crate) const RETRY_MAX_AGE: &str = "AUDITHOG_RETRY_MAX_AGE";
pub(crate) const RETRY_MAX_ATTEMPTS: &str = "AUDITHOG_RETRY_MAX_ATTEMPTS";

/// All of them.
pub(crate) const ALL: [Variable; 43] = [
    secret(POSTHOG_API_KEY),
    secret(POSTHOG_PROJECT_TOKEN),
    plain(POSTHOG_HOST),
    plain(BATCH_SIZE),
    plain(BATCH_INTERVAL_MS),
    plain(DB),
    plain(ACCESS),
    plain(DB_DAMAGED),
    plain(DB_RESERVE),
    plain(DB_MAX_BYTES),
    plain(RETENTION),
    plain(GUARANTEE),
    plain(GUARANTEE_TIMEOUT_MS),
    plain(SAMPLE),
    plain(TRUSTED_PROXIES),
    plain(CLIENT_IP_HEADER),
    plain(REQUEST_ID),
    plain(SERVICE),
    plain(ENVIRONMENT),
    plain(VERSION),
    plain(INSTANCE),
    plain(SHUTDOWN_TIMEOUT_MS),
    plain(QUEUE_ROWS),
    plain(QUEUE_BYTES),
    plain(QUEUE_FULL),
    plain(MEMORY_ROWS),
    plain(POSTHOG_COMPRESSION),
    plain(POSTHOG_DISTINCT_ID),
    secret(POSTHOG_HMAC_KEY),
    plain(POSTHOG_IP),
    plain(POSTHOG_USER_AGENT),
    plain(POSTHOG_USER),
    plain(POSTHOG_PERSON_PROFILES),
    plain(POSTHOG_GROUP_TYPE),
    plain(POSTHOG_BACKFILL),
    plain(POSTHOG_TIMEOUT_MS),
    plain(POSTHOG_CA_FILE),
    secret(POSTHOG_PERSONAL_API_KEY),
    plain(POSTHOG_PROJECT_ID),
    plain(POSTHOG_API_HOST),
    plain(RETRY_QUICK_ATTEMPTS),
    plain(RETRY_MAX_AGE),
    plain(RETRY_MAX_ATTEMPTS),
];

/// OpenTelemetry's names, read where ours are not set.
pub(crate) const OTEL_SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
pub(crate) const OTEL_RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// systemd's directory for state (systemd.exec(5)).
pub(crate) const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// Our prefix: a variable with it that nobody knows is a typing error.
const PREFIX: &str = "AUDITHOG_";

/// Longer names look like none of ours, and the comparison's cost grows with the length.
const LONGEST: usize = 100;

/// The complaint about an `AUDITHOG_…` variable that does not exist; none for others and for the
/// links that Kubernetes makes for a service named `audithog…`.
pub(crate) fn unknown(name: &str, value: &str) -> Option<String> {
    if !name.starts_with(PREFIX) || is_known(name) || is_service_link(name, value) {
        return None;
    }
    let shown = super::env::shorten(name);
    Some(match nearest(name) {
        Some(nearest) => format!("{shown} is no variable of audithog; did you mean {nearest}?"),
        None => format!("{shown} is no variable of audithog"),
    })
}

/// The known name that looks most like `name`. Some of ours have no prefix: a prefix too many counts little.
fn nearest(name: &str) -> Option<&'static str> {
    if LONGEST < name.len() {
        return None;
    }
    let bare = name.strip_prefix(PREFIX).unwrap_or(name);
    let most = name.len() / 3;
    ALL.iter()
        .map(|known| {
            let as_it_is = strsim::damerau_levenshtein(name, known.name);
            let without_prefix = strsim::damerau_levenshtein(bare, known.name) + 1;
            (as_it_is.min(without_prefix), known.name)
        })
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

pub(crate) fn is_known(name: &str) -> bool {
    ALL.iter().any(|variable| {
        variable.name == name
            || (variable.secret && name.strip_suffix("_FILE") == Some(variable.name))
    })
}

/// Kubernetes puts these into every pod for each service (Kubernetes documentation, "Service",
/// section "Environment variables").
fn is_service_link(name: &str, value: &str) -> bool {
    let has_port = name
        .split("_PORT_")
        .nth(1)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || has_port
}
