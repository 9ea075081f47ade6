//! Targets for fuzzers: what an environment says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{Builder, Resolved, sample};
use crate::capture::client_ip::{ClientIpHeader, TrustedProxies};
use crate::fuzz::is_clean;

/// Stands in a secret's value, and nowhere else.
const SECRET: &[u8] = b"S3CR3T";
/// Far more than all problems of one environment come to.
const LONGEST_MESSAGE: usize = 100_000;

/// Lines of `NAME=value`; U+001E in a value stands for a line feed.
pub(crate) fn config(data: &[u8]) {
    let mut environment = Vec::new();
    let mut told = false;
    // More lines than there are variables cost time and say nothing new.
    for line in data.split(|&byte| byte == b'\n').take(48) {
        let Some(equals) = line.iter().position(|&byte| byte == b'=') else {
            continue;
        };
        let (name, value) = (&line[..equals], &line[equals + 1..]);
        if name.ends_with(b"_FILE") && name != b"AUDITHOG_POSTHOG_CA_FILE" {
            // Would read any file of this machine; of the other it is only asked whether it is there.
            continue;
        }
        let is_secret = matches!(
            name,
            b"POSTHOG_API_KEY"
                | b"POSTHOG_PROJECT_TOKEN"
                | b"AUDITHOG_POSTHOG_HMAC_KEY"
                | b"POSTHOG_HOST"
        );
        told |= holds_secret(name) || (!is_secret && holds_secret(value));
        let value = value
            .iter()
            .map(|&byte| if byte == 0x1e { b'\n' } else { byte });
        let os = |bytes: Vec<u8>| OsString::from_vec(bytes);
        environment.push((os(name.to_vec()), os(value.collect())));
    }
    match Builder::from_environment(environment).resolve() {
        Err(error) => {
            let message = error.to_string();
            assert!(error.is_config());
            assert!(message.len() < LONGEST_MESSAGE, "{} bytes", message.len());
            for line in message.lines() {
                assert!(is_clean(line), "{line:?}");
            }
            assert!(told || !holds_secret(message.as_bytes()), "{message}");
        }
        Ok(resolved) => check(&resolved, told),
    }
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|part| part == SECRET)
}

/// What was taken lies in its bounds, shows no secret, and reads the same when it is written out.
fn check(resolved: &Resolved, told: bool) {
    let Resolved { settings, capture } = resolved;
    let shown = format!("{} {resolved:?}", resolved.public());
    // The host is shown; a secret in it was refused.
    let host_holds = settings
        .posthog
        .as_ref()
        .is_some_and(|posthog| holds_secret(posthog.host.as_bytes()));
    assert!(
        told || host_holds || !holds_secret(shown.as_bytes()),
        "{shown}"
    );

    assert!((1..=1_000_000).contains(&settings.batch_size));
    assert!(settings.queue.max_bytes >= 1 << 20 && settings.queue.max_rows >= 16);
    for text in [
        Some(&settings.run.service),
        settings.run.environment.as_ref(),
        settings.run.version.as_ref(),
        settings.run.instance.as_ref(),
    ]
    .into_iter()
    .flatten()
    {
        assert!(
            !text.is_empty() && text.len() <= 200 && is_clean(text),
            "{text:?}"
        );
    }
    // A time that far away must not overflow what is added to it.
    for time in [Some(settings.retry.straggler_age), settings.retention]
        .into_iter()
        .flatten()
    {
        assert!(time.as_secs() <= 100 * 366 * 86_400 && time.as_secs() > 0);
    }
    assert_eq!(
        capture
            .trusted_proxies
            .to_string()
            .parse::<TrustedProxies>()
            .ok()
            .as_ref(),
        Some(&capture.trusted_proxies)
    );
    assert_eq!(
        capture
            .client_ip_header
            .to_string()
            .parse::<ClientIpHeader>()
            .ok()
            .as_ref(),
        Some(&capture.client_ip_header)
    );
    #[cfg(feature = "posthog")]
    if let Some(posthog) = &settings.posthog {
        use crate::sink::posthog::endpoint::{Endpoint, key_problem};
        assert_eq!(key_problem(posthog.key.expose()), None);
        let endpoint = Endpoint::parse(&posthog.host);
        let Ok(endpoint) = endpoint else {
            panic!("{} was taken", posthog.host);
        };
        assert!(is_clean(endpoint.base()), "{:?}", endpoint.base());
        assert_eq!(Endpoint::parse(endpoint.base()), Ok(endpoint));
    }
}

/// One value of `AUDITHOG_SAMPLE`.
pub(crate) fn sample_rules(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match sample::parse(&text) {
        Err(problem) => assert!(problem.len() < 400 && is_clean(&problem), "{problem:?}"),
        Ok(rules) => {
            let written: Vec<String> = rules.iter().map(ToString::to_string).collect();
            assert_eq!(sample::parse(&written.join(",")).as_ref(), Ok(&rules));
            for rule in rules {
                assert!((0.0..=1.0).contains(&rule.rate));
            }
        }
    }
}
