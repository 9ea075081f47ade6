//! The short run is a test like any other.

use std::process::Command;

/// Needs root for a tmpfs and for strace, and the Debian packages `strace` and `libfaketime`: `cargo xtask setup`.
#[test]
fn after_every_fault_the_books_agree() {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .arg("short")
        .output()
        .unwrap();
    // On failure it names the seeds, and the command to repeat each.
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("0 failed"), "{said}");
}
