//! Any number of rows takes the same memory.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Stdio},
};

use super::large;
use crate::program::audithog;

/// The most memory a process has had, in KiB.
fn peak(pid: u32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let digits = line.unwrap().split_whitespace().nth(1);
    digits.unwrap().parse().unwrap()
}

/// An export to a pipe. Whoever reads it decides how far it gets: a pipe holds little.
fn exporting(format: &str) -> (Child, BufReader<ChildStdout>) {
    let arguments = [
        "export",
        "--db",
        large().db(),
        "-o",
        "-",
        "--format",
        format,
    ];
    let mut child = audithog(&std::env::temp_dir(), &arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

#[test]
fn text_of_any_length_takes_the_same_memory() {
    for format in ["ndjson", "csv"] {
        let (mut child, mut output) = exporting(format);
        let mut line = Vec::new();
        let [early, late] = [20_000, 170_000].map(|rows| {
            (0..rows).for_each(|_| {
                line.clear();
                assert!(output.read_until(b'\n', &mut line).unwrap() > 0);
            });
            peak(child.id())
        });
        drop(output);
        child.wait().unwrap();
        assert!(
            late - early < 4 << 10,
            "{format}: {early} KiB, then {late} KiB"
        );
    }
}

/// A group is in memory before it is written: the second one is, then the fourth or fifth.
#[test]
fn parquet_of_any_length_takes_the_memory_of_a_group() {
    let (child, mut output) = exporting("parquet");
    let whole = std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    let (mut child, mut output) = exporting("parquet");
    let mut skip = |bytes: u64| {
        let read = std::io::copy(&mut output.by_ref().take(bytes), &mut std::io::sink());
        assert_eq!(read.unwrap(), bytes);
        peak(child.id())
    };
    let early = skip(whole * 2 / 5);
    // More than a pipe and the buffers before it hold is left.
    let late = skip(whole * 3 / 5 - 400_000);
    drop(output);
    child.wait().unwrap();
    assert!(late - early < 8 << 10, "{early} KiB, then {late} KiB");
}
