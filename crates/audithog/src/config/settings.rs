//! The settings as the rooms use them: typed, validated, with every default.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::record::Run;

/// Everything a logger is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) run: Run,
    pub(crate) database: Database,
    pub(crate) care: LedgerCare,
    pub(crate) queue: QueueSettings,
    /// Rows older than this are removed once settled. None keeps them for ever.
    pub(crate) retention: Option<Duration>,
    /// The oldest settled rows go when the file is larger.
    pub(crate) max_bytes: Option<u64>,
    /// Flush when this many rows are pending (`LOG_BATCH_SIZE`).
    pub(crate) batch_size: usize,
    /// Flush when this long has passed since the first pending row (`LOG_BATCH_INTERVAL_MS`).
    pub(crate) batch_interval: Duration,
    pub(crate) shutdown_timeout: Duration,
    /// None: nothing leaves the process.
    pub(crate) posthog: Option<PosthogSettings>,
    pub(crate) retry: RetrySettings,
    /// For `audithog doctor`, and for what asks PostHog or sets it up.
    #[cfg_attr(
        not(any(test, feature = "posthog")),
        expect(dead_code, reason = "read back from PostHog alone")
    )]
    pub(crate) read_back: ReadBackSettings,
}

/// Where rows are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// An absolute path.
    File(PathBuf),
    /// Memory only: bounded, with losses counted.
    Off { max_rows: usize },
}

/// How a ledger's file is looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LedgerCare {
    pub(crate) damaged: OnDamage,
    /// Bytes kept back for a full disk; zero keeps nothing. None leaves what is there to others.
    pub(crate) reserve: Option<u64>,
}

/// What becomes of a damaged ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDamage {
    /// It is renamed, and a new one begins.
    Quarantine,
    /// It is an error: nothing starts, and a running process cannot write.
    Refuse,
}

/// Bounds of the hand-off between request tasks and the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueSettings {
    pub(crate) max_rows: usize,
    pub(crate) max_bytes: usize,
    /// What happens to a row for which there is no room.
    pub(crate) full: QueueFull,
}

/// What happens when the queue to the ledger is full (`AUDITHOG_QUEUE_FULL`).
///
/// Business events never wait: for them every policy is [`DropNewest`](Self::DropNewest).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueFull {
    /// The newest rows are a counted loss (`queue_full`). No response waits.
    #[default]
    DropNewest,
    /// The end of the response is held until there is room for its row, for at most `AUDITHOG_GUARANTEE_TIMEOUT_MS`. Then
    /// the row is a counted loss.
    Wait,
    /// New requests get 503 before the handler runs (loss reason `refused`).
    Refuse,
}

impl QueueFull {
    /// Every policy by its name.
    pub(crate) const NAMES: [(&'static str, Self); 3] = [
        ("drop-newest", Self::DropNewest),
        ("wait", Self::Wait),
        ("refuse", Self::Refuse),
    ];

    /// As in `AUDITHOG_QUEUE_FULL`: `drop-newest`, `wait`, `refuse`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// How delivery tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetrySettings {
    /// First delay; at least 100 ms (what PostHog's SDKs keep).
    pub(crate) first: Duration,
    /// Ceiling of the growing delay, and of `Retry-After`.
    pub(crate) max: Duration,
    /// Quick attempts before the breaker opens.
    pub(crate) quick_attempts: u32,
    /// Time between probes behind an open breaker or a hold; at least 30 s, grows up to `probe_max`.
    pub(crate) probe: Duration,
    pub(crate) probe_max: Duration,
    /// A straggler older than this, or tried more often, is a dead letter.
    pub(crate) straggler_age: Duration,
    pub(crate) straggler_attempts: u32,
    /// Requests in flight at once.
    pub(crate) in_flight: usize,
}

/// The PostHog sink.
#[derive(Clone, Debug)]
pub(crate) struct PosthogSettings {
    pub(crate) key: Secret,
    /// As given: mapped to the capture host by the sink (`app.posthog.com` → `us.i.posthog.com`).
    pub(crate) host: String,
    pub(crate) compression: Compression,
    pub(crate) distinct_id: DistinctId,
    /// Key of the `hmac` forms; required by them.
    pub(crate) hmac_key: Option<Secret>,
    pub(crate) ip: IpDetail,
    /// Send the user agent.
    pub(crate) user_agent: bool,
    /// Send user ids as they are; otherwise their HMAC.
    pub(crate) user_plain: bool,
    /// `$process_person_profile`.
    pub(crate) person_profiles: bool,
    /// `$groups: {<type>: orgId}`.
    pub(crate) group_type: Option<String>,
    /// Of what was held before the first key, only rows this young are sent.
    pub(crate) backfill: Duration,
    pub(crate) request_timeout: Duration,
    /// PEM file with certificate authorities to trust besides the system's.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) sample: Vec<SampleRule>,
}

/// Who may read what the project has, and set it up. As given, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadBackSettings {
    /// `phx_…`, with the scope `query:read`.
    pub(crate) key: Option<Secret>,
    /// The number in the project's address.
    pub(crate) project: Option<String>,
    /// None: made from `POSTHOG_HOST`.
    pub(crate) host: Option<String>,
    /// `POSTHOG_HOST`, also where there is no key to send events with.
    pub(crate) capture_host: Option<String>,
    /// PEM file with certificate authorities to trust besides the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// zstd on capture v1 where built in, else gzip; gzip on v0.
    Auto,
    Gzip,
    Zstd,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DistinctId {
    /// The user id.
    User,
    /// `user:` + the user id.
    Prefixed,
    /// HMAC-SHA256 of the user id, hex.
    Hmac,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpDetail {
    Full,
    /// IPv4 without its last 8 bits, IPv6 without its last 80.
    Truncated,
    Off,
}

/// `METHOD ROUTE STATUS=RATE`; the first rule that matches decides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SampleRule {
    pub(crate) method: Option<String>,
    /// A route template; compared as a whole, a trailing `*` matches any rest.
    pub(crate) route: Option<String>,
    pub(crate) status: StatusMatch,
    /// 0 to 1.
    pub(crate) rate: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusMatch {
    /// Successes only: failures are kept whole unless a rule names them.
    Success,
    /// `2xx`, `404` …: a class or one status.
    Class(u8),
    Code(u16),
    /// `failure`.
    Failure,
}

/// A value that never shows: not in `Debug`, not in logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for LedgerCare {
    fn default() -> Self {
        Self {
            damaged: OnDamage::Quarantine,
            // Twice what the write-ahead log usually holds: that has to be moved into the file first.
            reserve: Some(8 << 20),
        }
    }
}

impl LedgerCare {
    /// Of a visitor, who leaves a ledger as it is.
    pub(crate) fn none() -> Self {
        Self {
            damaged: OnDamage::Refuse,
            reserve: None,
        }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            max: Duration::from_secs(60),
            quick_attempts: 4,
            probe: Duration::from_secs(30),
            probe_max: Duration::from_secs(300),
            straggler_age: Duration::from_secs(7 * 24 * 3600),
            straggler_attempts: 50,
            in_flight: 4,
        }
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_rows: 65_536,
            max_bytes: 64 * 1024 * 1024,
            full: QueueFull::default(),
        }
    }
}
