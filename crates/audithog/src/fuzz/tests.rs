//! The committed corpus, as ordinary tests.

use std::fs;
use std::path::PathBuf;

use super::{TARGETS, Target};

/// One file a target. A line is an input, escaped as `[u8]::escape_ascii` does it; `#` begins a comment.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../fuzz/corpus/{target}.txt"));
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let inputs = text.lines().filter(|line| !line.starts_with('#'));
    inputs.map(unescaped).collect()
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().unwrap() {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            byte => byte,
        });
    }
    bytes
}

#[track_caller]
fn run_corpus(name: &str) {
    let Target { run, .. } = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = corpus(name);
    assert!(inputs.len() > 5, "{name} has a corpus of {}", inputs.len());
    for (line, input) in inputs.iter().enumerate() {
        let outcome = std::panic::catch_unwind(|| run(input));
        assert!(
            outcome.is_ok(),
            "input {line} of fuzz/corpus/{name}.txt: {}",
            input.escape_ascii()
        );
    }
}

#[test]
fn an_escaped_input_is_read_back() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(unescaped(&all.escape_ascii().to_string()), all);
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut found: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut expected: Vec<String> = TARGETS
        .iter()
        .map(|target| format!("{}.txt", target.name))
        .collect();
    expected.sort();
    if cfg!(feature = "posthog") {
        assert_eq!(found, expected);
    }
}

macro_rules! corpora {
    ($($(#[$condition:meta])* $test:ident: $target:literal,)*) => {
        $($(#[$condition])* #[test]
        fn $test() {
            run_corpus($target);
        })*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$($target),*];
            for target in TARGETS {
                assert!(tested.contains(&target.name), "{} has no test", target.name);
            }
        }
    };
}

corpora! {
    forwarding_headers: "client_ip",
    traceparents: "traceparent",
    headers_of_a_request: "request_headers",
    paths_with_secrets: "path_mask",
    environments: "config",
    sampling_rules: "sample_rules",
    business_properties: "properties",
    #[cfg(feature = "posthog")]
    replies_of_posthog: "posthog_reply",
    #[cfg(feature = "posthog")]
    events_for_posthog: "posthog_event",
    columns_read_back: "stored_columns",
    rows_read_back: "stored_row",
}
