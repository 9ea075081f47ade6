//! From values to settings.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::env::{self, Found, Values};
use super::{
    AccessRows, Builder, Compression, Database, DistinctId, IpDetail, LedgerCare, OnDamage,
    PosthogSettings, QueueFull, QueueSettings, ReadBackSettings, RetrySettings, Secret, Settings,
    sample, variables as var,
};
use crate::capture::client_ip::{ClientIpHeader, TrustedProxies};
use crate::capture::{CaptureSettings, Guarantee, Guarantees, RequestIdPolicy};
use crate::error::{Error, Kind};
use crate::record::{Run, limits, sanitize};

const DAY: Duration = Duration::from_secs(86_400);
/// Zero would mean at once, and is more likely meant as never.
const SHORTEST: Duration = Duration::from_secs(1);
const DEFAULT_HOST: &str = "https://app.posthog.com";
const MOST_RESERVE: u64 = 1 << 30;
const DEFAULT_FILE: &str = "audit.db";
/// Below Kubernetes' 30 s between SIGTERM and SIGKILL.
const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(25);

/// Settings of all rooms.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) settings: Settings,
    pub(crate) capture: CaptureSettings,
}

impl Builder {
    /// Where the ledger's file is or would be; none for memory only. Looks at `AUDITHOG_DB` (and
    /// systemd's `STATE_DIRECTORY`) alone: other wrong settings are not found.
    #[must_use]
    pub fn ledger_path(&self) -> Option<PathBuf> {
        let mut values = Values::new(
            self.environment.iter().cloned(),
            self.code.clone(),
            self.pinned.clone(),
        );
        match database(&mut values) {
            Database::File(path) => Some(path),
            Database::Off { .. } => None,
        }
    }

    /// Which looks at the log become rows of it: `AUDITHOG_ACCESS`, else all of them. Other wrong settings are not found.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`]: the variable has another value.
    pub fn access_rows(&self) -> Result<AccessRows, Error> {
        let mut values = Values::new(
            self.environment.iter().cloned(),
            self.code.clone(),
            self.pinned.clone(),
        );
        let rows = values.choice(var::ACCESS, AccessRows::default(), &AccessRows::NAMES);
        match values.into_problems() {
            problems if problems.is_empty() => Ok(rows),
            problems => Err(Error::new(Kind::Config, problems.join("\n"))),
        }
    }

    /// The service and the environment that rows would name, as far as a variable or code says so: where nothing does, rows name the
    /// program. Other wrong settings are not found.
    #[must_use]
    pub fn stated_names(&self) -> (Option<String>, Option<String>) {
        stated(&mut Values::new(
            self.environment.iter().cloned(),
            self.code.clone(),
            self.pinned.clone(),
        ))
    }

    /// Reads everything; reports every problem at once.
    pub(crate) fn resolve(&self) -> Result<Resolved, Error> {
        let mut values = Values::new(
            self.environment.iter().cloned(),
            self.code.clone(),
            self.pinned.clone(),
        );
        for problem in &self.problems {
            values.problem(problem.clone());
        }
        let run = run(&mut values);
        let settings = settings(&mut values, run);
        let guarantees = self.guarantees(&mut values, &settings.database);
        let capture = CaptureSettings {
            trusted_proxies: values.parse(
                var::TRUSTED_PROXIES,
                TrustedProxies::default(),
                trusted_proxies,
            ),
            client_ip_header: values.parse(
                var::CLIENT_IP_HEADER,
                ClientIpHeader::default(),
                str::parse,
            ),
            request_id: values.choice(
                var::REQUEST_ID,
                RequestIdPolicy::Own,
                &[
                    ("own", RequestIdPolicy::Own),
                    ("trusted", RequestIdPolicy::Trusted),
                ],
            ),
            exclusions: self.exclusions.clone(),
            guarantees,
            masked_params: self.masked.clone(),
        };
        let problems = values.into_problems();
        if problems.is_empty() {
            return Ok(Resolved { settings, capture });
        }
        Err(Error::new(Kind::Config, problems.join("\n")))
    }

    fn guarantees(&self, values: &mut Values, database: &Database) -> Guarantees {
        let default = Guarantees::default();
        let chosen = values.choice(var::GUARANTEE, default.default, &Guarantee::NAMES);
        let floor = self.floor.unwrap_or_default();
        let guarantees = Guarantees {
            default: chosen.max(floor),
            routes: self
                .guarantees
                .iter()
                .map(|(pattern, guarantee)| (pattern.clone(), (*guarantee).max(floor)))
                .collect(),
            unannounced: self.unannounced.clone(),
            timeout: values.millis(var::GUARANTEE_TIMEOUT_MS, default.timeout, 10, 600_000),
        };
        let strongest = guarantees.strongest();
        if strongest.waits() && matches!(database, Database::Off { .. }) {
            values.problem(format!(
                "the guarantee {strongest} needs a ledger: with {}=off nothing can be fsynced",
                var::DB
            ));
        }
        guarantees
    }
}

fn settings(values: &mut Values, run: Run) -> Settings {
    // Of no use to a service, but a mistake is a mistake.
    values.choice(var::ACCESS, AccessRows::default(), &AccessRows::NAMES);
    let queue = QueueSettings::default();
    Settings {
        database: database(values),
        care: care(values),
        run,
        queue: QueueSettings {
            max_rows: values.number(var::QUEUE_ROWS, queue.max_rows, 16, 10_000_000),
            max_bytes: values.parse(var::QUEUE_BYTES, queue.max_bytes, |text| {
                let bytes = env::bytes(text)?;
                usize::try_from(bytes).map_err(|_| "is more than memory can hold".to_owned())
            }),
            full: values.choice(var::QUEUE_FULL, queue.full, &QueueFull::NAMES),
        },
        retention: values.parse(var::RETENTION, Some(400 * DAY), |text| {
            if text.eq_ignore_ascii_case("never") {
                return Ok(None);
            }
            env::duration(text, SHORTEST).map(Some)
        }),
        max_bytes: values.parse(var::DB_MAX_BYTES, None, |text| env::bytes(text).map(Some)),
        batch_size: values.number(var::BATCH_SIZE, 100, 1, 1_000_000),
        batch_interval: values.millis(
            var::BATCH_INTERVAL_MS,
            Duration::from_secs(30),
            1,
            86_400_000,
        ),
        shutdown_timeout: values.millis(var::SHUTDOWN_TIMEOUT_MS, DEFAULT_SHUTDOWN, 100, 3_600_000),
        posthog: posthog(values),
        retry: retry(values),
        read_back: read_back(values),
    }
}

fn retry(values: &mut Values) -> RetrySettings {
    let default = RetrySettings::default();
    RetrySettings {
        quick_attempts: values.number(var::RETRY_QUICK_ATTEMPTS, default.quick_attempts, 1, 100),
        straggler_age: values.time(var::RETRY_MAX_AGE, default.straggler_age, SHORTEST),
        straggler_attempts: values.number(
            var::RETRY_MAX_ATTEMPTS,
            default.straggler_attempts,
            1,
            100_000,
        ),
        ..default
    }
}

fn posthog(values: &mut Values) -> Option<PosthogSettings> {
    let settings = PosthogSettings {
        key: key(values).unwrap_or_else(|| Secret::new("")),
        host: host(values),
        compression: values.choice(
            var::POSTHOG_COMPRESSION,
            Compression::Auto,
            &[
                ("auto", Compression::Auto),
                ("zstd", Compression::Zstd),
                ("gzip", Compression::Gzip),
                ("none", Compression::None),
            ],
        ),
        distinct_id: values.choice(
            var::POSTHOG_DISTINCT_ID,
            DistinctId::User,
            &[
                ("user", DistinctId::User),
                ("prefixed", DistinctId::Prefixed),
                ("hmac", DistinctId::Hmac),
            ],
        ),
        hmac_key: values.secret(var::POSTHOG_HMAC_KEY),
        ip: values.choice(
            var::POSTHOG_IP,
            IpDetail::Full,
            &[
                ("full", IpDetail::Full),
                ("truncated", IpDetail::Truncated),
                ("off", IpDetail::Off),
            ],
        ),
        user_agent: values.choice(
            var::POSTHOG_USER_AGENT,
            true,
            &[("full", true), ("off", false)],
        ),
        user_plain: values.choice(var::POSTHOG_USER, true, &[("plain", true), ("hmac", false)]),
        person_profiles: values.choice(
            var::POSTHOG_PERSON_PROFILES,
            false,
            &[("off", false), ("on", true)],
        ),
        group_type: values.text(var::POSTHOG_GROUP_TYPE),
        backfill: values.time(var::POSTHOG_BACKFILL, 7 * DAY, Duration::ZERO),
        request_timeout: values.millis(
            var::POSTHOG_TIMEOUT_MS,
            Duration::from_secs(10),
            100,
            300_000,
        ),
        ca_file: values.text(var::POSTHOG_CA_FILE).map(PathBuf::from),
        sample: values.parse(var::SAMPLE, Vec::new(), sample::parse),
    };
    if let Some(path) = settings.ca_file.as_deref().filter(|path| !path.is_file()) {
        values.problem(format!(
            "{}: there is no file {}",
            var::POSTHOG_CA_FILE,
            shown(path)
        ));
    }
    let needs_hmac = settings.distinct_id == DistinctId::Hmac || !settings.user_plain;
    if needs_hmac && settings.hmac_key.is_none() {
        values.problem(format!(
            "{} is required by {}=hmac and {}=hmac",
            var::POSTHOG_HMAC_KEY,
            var::POSTHOG_DISTINCT_ID,
            var::POSTHOG_USER
        ));
    }
    (!settings.key.expose().is_empty()).then_some(settings)
}

/// Judged by whoever uses it: other programs have variables of these names too, and a service needs none of them.
fn read_back(values: &mut Values) -> ReadBackSettings {
    ReadBackSettings {
        key: values.secret(var::POSTHOG_PERSONAL_API_KEY),
        project: values.text(var::POSTHOG_PROJECT_ID),
        host: values.text(var::POSTHOG_API_HOST),
        capture_host: values.text(var::POSTHOG_HOST),
        ca_file: values.text(var::POSTHOG_CA_FILE).map(PathBuf::from),
    }
}

fn key(values: &mut Values) -> Option<Secret> {
    let (name, found) = one_key(values)?;
    let name = found.source.of(name);
    if !cfg!(feature = "posthog") {
        values.problem(format!(
            "{name} is set, but this program was built without the feature `posthog`"
        ));
    }
    #[cfg(feature = "posthog")]
    if let Some(problem) = crate::sink::posthog::endpoint::key_problem(&found.text) {
        values.problem(format!("{name} {problem}"));
    }
    Some(Secret::new(found.text))
}

/// Under one of its two names. Where both are set the stronger source decides, as if they were one variable.
fn one_key(values: &mut Values) -> Option<(&'static str, Found)> {
    let names = [var::POSTHOG_API_KEY, var::POSTHOG_PROJECT_TOKEN];
    let is_pinned = names.iter().any(|name| values.is_pinned(name));
    let [key, alias] = names.map(|name| {
        let counts = !is_pinned || values.is_pinned(name);
        let found = if counts { values.find(name) } else { None };
        found.map(|found| (name, found))
    });
    match (key, alias) {
        (Some((_, key)), Some((_, alias)))
            if key.source == alias.source && key.text != alias.text =>
        {
            values.problem(format!("{} and {} differ; keep one", names[0], names[1]));
            None
        }
        (Some(key), Some(alias)) if alias.1.source < key.1.source => Some(alias),
        (key, alias) => key.or(alias),
    }
}

fn host(values: &mut Values) -> String {
    // A wrong one may hold a password, or the key that was meant for the line above.
    values.parse_unseen(var::POSTHOG_HOST, DEFAULT_HOST.to_owned(), |text| {
        #[cfg(feature = "posthog")]
        crate::sink::posthog::endpoint::Endpoint::parse(text)?;
        Ok(text.to_owned())
    })
}

fn database(values: &mut Values) -> Database {
    let max_rows = values.number(var::MEMORY_ROWS, 100_000, 100, 100_000_000);
    let text = match values.text(var::DB) {
        Some(text) if text.eq_ignore_ascii_case("off") => return Database::Off { max_rows },
        Some(text) => text,
        None => default_file(values.foreign(var::STATE_DIRECTORY)),
    };
    // Not the instance: OpenTelemetry's is often another one at each start, and the rows that wait
    // in the file of the last start would be forgotten.
    let host = host_name().unwrap_or_else(|| "unknown".to_owned());
    let path = PathBuf::from(text.replace("{hostname}", &file_name(&host)));
    match std::path::absolute(&path) {
        Ok(path) => Database::File(path),
        Err(error) => {
            values.problem(format!(
                "{}: `{}` is no usable path: {error}",
                var::DB,
                shown(&path)
            ));
            Database::File(path)
        }
    }
}

/// A path in a message.
fn shown(path: &Path) -> Cow<'static, str> {
    sanitize::text(&path.to_string_lossy(), limits::PATH)
        .to_string()
        .into()
}

fn trusted_proxies(text: &str) -> Result<TrustedProxies, String> {
    text.parse::<TrustedProxies>().map_err(|error| {
        let error = error.to_string();
        // The value stands before it already: an entry that is all of it does not come again.
        let rest = error.strip_prefix(&format!("{text:?} "));
        rest.unwrap_or(&error).to_owned()
    })
}

fn care(values: &mut Values) -> LedgerCare {
    let default = LedgerCare::default();
    LedgerCare {
        damaged: values.choice(
            var::DB_DAMAGED,
            default.damaged,
            &[
                ("quarantine", OnDamage::Quarantine),
                ("refuse", OnDamage::Refuse),
            ],
        ),
        reserve: values.parse(var::DB_RESERVE, default.reserve, |text| {
            if text.eq_ignore_ascii_case("off") {
                return Ok(Some(0));
            }
            // It is written when the ledger is opened.
            env::bytes_upto(text, MOST_RESERVE, "1GiB").map(Some)
        }),
    }
}

fn default_file(state_directory: Option<&str>) -> String {
    // systemd lists several directories with colons; the first is the service's main one.
    let directory = state_directory.and_then(|list| list.split(':').find(|path| !path.is_empty()));
    match directory {
        Some(directory) => format!("{directory}/{DEFAULT_FILE}"),
        None => DEFAULT_FILE.to_owned(),
    }
}

/// A part of a file's name that cannot lead out of its directory, whatever the host is called.
pub(super) fn file_name(host: &str) -> String {
    let only_dots = host.chars().all(|c| c == '.');
    host.chars()
        .map(|c| match c {
            '.' if !only_dots => c,
            '-' | '_' => c,
            c if c.is_ascii_alphanumeric() => c,
            _ => '_',
        })
        .collect()
}

fn run(values: &mut Values) -> Run {
    let attribute = attributes(values);
    let (service, environment) = stated(values);
    let service = service
        .or_else(program_name)
        .unwrap_or_else(|| "unknown".to_owned());
    let version = values
        .text(var::VERSION)
        .or_else(|| attribute(&["service.version"]));
    let instance = values
        .text(var::INSTANCE)
        .or_else(|| attribute(&["service.instance.id"]))
        .or_else(host_name);
    let clean = |text: String| sanitize::text(&text, limits::ACTOR).to_string();
    Run {
        service: clean(service),
        environment: environment.map(clean),
        version: version.map(clean),
        instance: instance.map(clean),
    }
}

/// Service and environment, as far as somebody has said so.
fn stated(values: &mut Values) -> (Option<String>, Option<String>) {
    let attribute = attributes(values);
    let otel_service = values.foreign(var::OTEL_SERVICE_NAME).map(str::to_owned);
    let service = values
        .text(var::SERVICE)
        .or(otel_service)
        .or_else(|| attribute(&["service.name"]));
    // The second name is the one that OpenTelemetry's semantic conventions used before 1.27.
    let environment = values
        .text(var::ENVIRONMENT)
        .or_else(|| attribute(&["deployment.environment.name", "deployment.environment"]));
    (service, environment)
}

/// Finds the first of some attributes of the OpenTelemetry resource.
fn attributes(values: &Values) -> impl Fn(&[&str]) -> Option<String> + use<> {
    let otel = values
        .foreign(var::OTEL_RESOURCE_ATTRIBUTES)
        .map(resource_attributes)
        .unwrap_or_default();
    move |names: &[&str]| {
        names.iter().find_map(|name| {
            otel.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        })
    }
}

/// `key=value,key=value`, percent-encoded (OpenTelemetry specification, "Resource SDK").
fn resource_attributes(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (percent_decoded(key), percent_decoded(value)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(text.trim()).decode_utf8_lossy();
    decoded.trim().to_owned()
}

fn program_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    path.file_stem()
        .map(|name| name.to_string_lossy().into_owned())
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

impl Resolved {
    /// The settings as `audit_started` shows them: every one, and no secret.
    pub(crate) fn public(&self) -> Value {
        let Settings {
            database,
            queue,
            posthog,
            retry,
            ..
        } = &self.settings;
        let memory_rows = match database {
            Database::File(_) => None,
            Database::Off { max_rows } => Some(max_rows),
        };
        let seconds = |time: Duration| time.as_secs_f64();
        let capture = &self.capture;
        let guarantees = &capture.guarantees;
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "guarantee": guarantees.default.as_str(),
            "guaranteeTimeoutSeconds": seconds(guarantees.timeout),
            "guaranteesByRoute": guarantees.routes.iter().map(|(pattern, guarantee)| {
                format!("{pattern} {guarantee}")
            }).collect::<Vec<_>>(),
            "notAnnounced": guarantees.unannounced.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "database": match database {
                Database::File(path) => path.display().to_string(),
                Database::Off { .. } => "off".to_owned(),
            },
            "memoryRows": memory_rows,
            "retentionSeconds": self.settings.retention.map(seconds),
            "damaged": format!("{:?}", self.settings.care.damaged).to_ascii_lowercase(),
            "reserveBytes": self.settings.care.reserve,
            "maxBytes": self.settings.max_bytes,
            "queueRows": queue.max_rows,
            "queueBytes": queue.max_bytes,
            "queueFull": queue.full.as_str(),
            "batchSize": self.settings.batch_size,
            "batchIntervalSeconds": seconds(self.settings.batch_interval),
            "shutdownTimeoutSeconds": seconds(self.settings.shutdown_timeout),
            "retryQuickAttempts": retry.quick_attempts,
            "retryMaxAgeSeconds": seconds(retry.straggler_age),
            "retryMaxAttempts": retry.straggler_attempts,
            "trustedProxies": capture.trusted_proxies.to_string(),
            "clientIpHeader": capture.client_ip_header.as_str(),
            "requestId": format!("{:?}", capture.request_id).to_ascii_lowercase(),
            "exclusions": capture.exclusions.iter().map(|exclusion| {
                format!("{} {}", exclusion.method.as_deref().unwrap_or("*"), exclusion.route)
            }).collect::<Vec<_>>(),
            "maskedParams": capture.masked_params.iter().map(|param| {
                format!("{} {{{}}}", param.route.as_deref().unwrap_or("*"), param.name)
            }).collect::<Vec<_>>(),
            "posthog": posthog.as_ref().map(public_posthog),
        })
    }
}

fn public_posthog(posthog: &PosthogSettings) -> Value {
    json!({
        "host": posthog.host,
        "compression": format!("{:?}", posthog.compression).to_ascii_lowercase(),
        "distinctId": format!("{:?}", posthog.distinct_id).to_ascii_lowercase(),
        "ip": format!("{:?}", posthog.ip).to_ascii_lowercase(),
        "userAgent": posthog.user_agent,
        "userPlain": posthog.user_plain,
        "personProfiles": posthog.person_profiles,
        "groupType": posthog.group_type,
        "backfillSeconds": posthog.backfill.as_secs(),
        "timeoutSeconds": posthog.request_timeout.as_secs_f64(),
        "caFile": posthog.ca_file.as_ref().map(|path| path.display().to_string()),
        "sample": posthog.sample.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
