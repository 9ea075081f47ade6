//! libFuzzer in front of the target that `AUDITHOG_FUZZ_TARGET` names. `cargo xtask fuzz` builds and runs it.
#![no_main]

use std::sync::OnceLock;

use audithog::fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

const VARIABLE: &str = "AUDITHOG_FUZZ_TARGET";

static TARGET: OnceLock<Target> = OnceLock::new();

fn named() -> Target {
    let name = std::env::var(VARIABLE).unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        panic!("{VARIABLE} is not one of: {}", names.join(", "))
    })
}

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(named);
    (target.run)(data);
});
