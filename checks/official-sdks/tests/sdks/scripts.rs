//! posthog-node and posthog-python, each in a process of its own, with the packages that `cargo xtask setup` installed.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use audithog::testing::PostHogStandIn;
use audithog::testing::standin::Route;
use serde_json::{Value, json};

use super::{PATIENCE, TOKEN, assert_arrived_once, planned};

#[test]
fn posthog_node_v0() {
    run(&mut node("v0"), Route::V0Batch);
}

#[test]
fn posthog_node_v1() {
    run(&mut node("v1"), Route::V1);
}

#[test]
fn posthog_python_v0() {
    run(&mut python("v0", "none"), Route::V0Batch);
}

#[test]
fn posthog_python_v1_gzip() {
    run(&mut python("v1", "gzip"), Route::V1);
}

#[test]
fn posthog_python_v1_deflate() {
    run(&mut python("v1", "deflate"), Route::V1);
}

fn node(mode: &str) -> Command {
    let modules = installed("node_modules", "posthog-node");
    let mut command = bare("node");
    command
        .env("NODE_PATH", modules)
        .env("POSTHOG_CAPTURE_MODE", mode)
        .arg(script("send.cjs"));
    command
}

fn python(mode: &str, compression: &str) -> Command {
    let packages = installed("python", "posthog");
    let mut command = bare("python3");
    command
        .env("PYTHONPATH", packages)
        .env("PYTHONNOUSERSITE", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1")
        .env("POSTHOG_CAPTURE_MODE", mode)
        .env("POSTHOG_CAPTURE_COMPRESSION", compression)
        .arg(script("send.py"));
    command
}

/// A command with none of this process's environment but the path: no proxy, no key, no setting of the SDK's.
fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("sdks")
        .join(name)
}

/// The folder with the installed package in it. Tests download nothing.
fn installed(folder: &str, package: &str) -> PathBuf {
    let root = std::env::var_os("AUDITHOG_SDK_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/official-sdks"),
        PathBuf::from,
    );
    let folder = root.join(folder);
    assert!(
        folder.join(package).is_dir(),
        "{package} is not installed in {}: run `cargo xtask setup`, or name the place in AUDITHOG_SDK_DIR",
        folder.display(),
    );
    folder
}

fn run(command: &mut Command, route: Route) {
    let posthog = PostHogStandIn::start().expect("a stand-in");
    let mut child = command
        .args([posthog.url().as_str(), TOKEN])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; `cargo xtask setup` says what to install"));
    let mut stdin = child.stdin.take().expect("piped");
    let events = events().to_string();
    stdin.write_all(events.as_bytes()).expect("sent");
    drop(stdin);
    // The end of its standard error is the end of the process.
    let mut stderr = child.stderr.take().expect("piped");
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stderr.read_to_string(&mut text);
        // The test may have given up.
        let _ = done.send(read.map(|_| text));
    });
    let text = ended.recv_timeout(PATIENCE);
    if text.is_err() {
        child.kill().expect("killed");
    }
    let status = child.wait().expect("a status");
    assert!(status.success(), "{command:?}: {status}, {text:?}");
    assert_arrived_once(&posthog, route);
}

fn events() -> Value {
    planned()
        .iter()
        .map(|planned| {
            json!({
                "uuid": planned.uuid,
                "event": planned.event,
                "distinct_id": planned.distinct_id,
                "timestamp": planned.timestamp.to_string(),
                "properties": planned.properties,
            })
        })
        .collect()
}
