//! `cargo xtask fuzz`: libFuzzer in front of the library's parsers, guided by coverage.
//!
//! Needs nothing but the stable compiler and a C++ compiler: the coverage that libFuzzer reads comes from an LLVM pass
//! that stable flags switch on, and there is no `unsafe` of ours for which a sanitizer would be worth a nightly one.
//!
//! The committed corpus is one text file a target. It is unpacked before a run; afterwards what was found is merged into it,
//! reduced to the inputs that cover something of their own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::Run;

/// The fuzzer's package, with the committed corpus.
const PACKAGE: &str = "fuzz";
/// Builds, inputs found, and findings.
const WORK: &str = "target/fuzz";
/// Longer inputs are slow and say nothing new: the limits of what is parsed are reached by repetition.
const MAX_LENGTH: usize = 4_096;
/// Of the committed corpus, per target: it runs with every test.
const MAX_CORPUS_BYTES: usize = 48 * 1024;
/// Stands before inputs that people wrote or that once broke something: they always stay.
const KEPT: &str = "# Kept:";

/// Coverage of edges, with what comparisons compare (clang's documentation, "SanitizerCoverage").
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Fuzz {
    /// None: all, one after the other.
    target: Option<String>,
    /// For each target.
    seconds: u32,
}

impl Fuzz {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut fuzz = Self {
            target: None,
            seconds: 60,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--seconds" {
                let seconds = words.next().context("`--seconds` needs a number")?;
                fuzz.seconds = seconds
                    .parse()
                    .with_context(|| format!("`{seconds}` is not a number of seconds"))?;
            } else if word.starts_with('-') || fuzz.target.is_some() {
                bail!("`fuzz` does not take `{word}`");
            } else {
                fuzz.target = Some((*word).to_owned());
            }
        }
        Ok(fuzz)
    }

    pub(crate) fn run(&self, root: &Path) -> Result<()> {
        let names = names(root)?;
        let wanted: Vec<&String> = match &self.target {
            Some(target) => names.iter().filter(|name| *name == target).collect(),
            None => names.iter().collect(),
        };
        if wanted.is_empty() {
            bail!(
                "there is no target of that name; there are: {}",
                names.join(", ")
            );
        }
        let program = build(root)?;
        let mut broken = Vec::new();
        for name in wanted {
            if let Err(problem) = self.target(root, &program, name) {
                broken.push(format!("{name}: {problem:#}"));
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        bail!("{}", broken.join("\n"))
    }

    /// Runs one target, and keeps what it found.
    fn target(&self, root: &Path, program: &Path, name: &str) -> Result<()> {
        let work = |part: &str| root.join(WORK).join(part).join(name);
        let (found, kept, findings) = (work("found"), work("kept"), work("findings"));
        let committed = root
            .join(PACKAGE)
            .join("corpus")
            .join(format!("{name}.txt"));
        fs::create_dir_all(&found)?;
        fs::create_dir_all(&findings)?;
        let corpus = Corpus::read(&committed)?;
        corpus.unpack(&found)?;
        let run = || {
            Run::new(program, root)
                .env("AUDITHOG_FUZZ_TARGET", name)
                .words("-timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1")
                .arg(format!("-max_len={MAX_LENGTH}"))
                .arg(format!("-artifact_prefix={}/", findings.display()))
        };
        run()
            .arg(format!("-max_total_time={}", self.seconds))
            .arg(&found)
            .check()
            .with_context(|| {
                format!(
                    "a finding is in {}; mend the library, then add the input to {} under `{KEPT} …`",
                    findings.display(),
                    committed.display()
                )
            })?;
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        fs::create_dir_all(&kept)?;
        run()
            .arg("-merge=1")
            .arg(&kept)
            .arg(&found)
            .check_quietly()?;
        let size = corpus.merged(&kept)?.write(&committed)?;
        println!("{name}: the corpus has {size} bytes");
        Ok(())
    }
}

/// The targets are those that have a corpus; a test of the library holds the two together.
fn names(root: &Path) -> Result<Vec<String>> {
    let directory = root.join(PACKAGE).join("corpus");
    let mut names = Vec::new();
    for entry in directory.read_dir().context("there is no corpus")? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".txt")) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn build(root: &Path) -> Result<PathBuf> {
    let host = host(root)?;
    // With a target named, the flags do not reach build scripts and macros.
    Run::cargo(root)
        .env("RUSTFLAGS", &FLAGS.join(" "))
        .words("build --release --target-dir")
        .arg(WORK)
        .arg("--target")
        .arg(&host)
        .arg("--manifest-path")
        .arg(Path::new(PACKAGE).join("Cargo.toml"))
        .check()?;
    Ok(root.join(WORK).join(host).join("release/audithog-fuzz"))
}

fn host(root: &Path) -> Result<String> {
    let version = Run::new("rustc", root).arg("-vV").output()?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc names no host")?.to_owned())
}

/// A committed corpus: comments and inputs, a line each.
#[derive(Debug, Default, PartialEq)]
struct Corpus {
    /// With the comment above them.
    kept: Vec<(String, Vec<Vec<u8>>)>,
    found: BTreeSet<Vec<u8>>,
}

impl Corpus {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut corpus = Self::default();
        let mut keeping = false;
        for line in text.lines() {
            if line.starts_with('#') {
                keeping = line.starts_with(KEPT);
                if keeping {
                    corpus.kept.push((line.to_owned(), Vec::new()));
                }
                continue;
            }
            let input = unescaped(line).with_context(|| format!("the line `{line}`"))?;
            match corpus.kept.last_mut() {
                Some((_, inputs)) if keeping => inputs.push(input),
                _ => drop(corpus.found.insert(input)),
            }
        }
        Ok(corpus)
    }

    fn inputs(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.kept
            .iter()
            .flat_map(|(_, inputs)| inputs)
            .chain(&self.found)
    }

    fn unpack(&self, directory: &Path) -> Result<()> {
        for (number, input) in self.inputs().enumerate() {
            fs::write(directory.join(format!("committed-{number}")), input)?;
        }
        Ok(())
    }

    /// What people wrote, and of the rest the inputs in `directory`, the shortest first, as many as there is room for.
    fn merged(self, directory: &Path) -> Result<Self> {
        let mut inputs = Vec::new();
        for entry in directory.read_dir()? {
            inputs.push(fs::read(entry?.path())?);
        }
        inputs.sort_by_key(|input| (input.len(), input.clone()));
        let known: BTreeSet<&Vec<u8>> = self.kept.iter().flat_map(|(_, inputs)| inputs).collect();
        let mut room = MAX_CORPUS_BYTES;
        let found = inputs
            .iter()
            .filter(|input| !known.contains(input))
            .take_while(|input| {
                let size = input.escape_ascii().count() + 1;
                let fits = size <= room;
                room = room.saturating_sub(size);
                fits
            })
            .cloned()
            .collect();
        Ok(Self {
            kept: self.kept.clone(),
            found,
        })
    }

    fn write(&self, path: &Path) -> Result<usize> {
        let text = self.text();
        fs::write(path, &text)?;
        Ok(text.len())
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        let line = |input: &Vec<u8>| input.escape_ascii().to_string();
        for (comment, inputs) in &self.kept {
            lines.push(comment.clone());
            lines.extend(inputs.iter().map(line));
        }
        if !self.found.is_empty() {
            lines
                .push("# Found by coverage, reduced: each covers something of its own.".to_owned());
            lines.extend(self.found.iter().map(line));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// The inverse of `[u8]::escape_ascii`.
fn unescaped(line: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().context("ends in a backslash")? {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'x' => {
                let digits = rest.next().zip(rest.next());
                let (high, low) = digits.context("ends in half a byte")?;
                u8::from_str_radix(std::str::from_utf8(&[high, low])?, 16)?
            }
            other => other,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_a_target_and_a_time() {
        let parse = |line: &str| Fuzz::parse(&line.split_whitespace().collect::<Vec<_>>());
        let all = parse("").unwrap();
        assert_eq!((all.target, all.seconds), (None, 60));
        let one = parse("config --seconds 5").unwrap();
        assert_eq!((one.target.as_deref(), one.seconds), (Some("config"), 5));
        for wrong in ["--seconds", "--seconds x", "config other", "--fast"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_corpus_is_written_as_it_was_read() {
        let text = "# Kept: by hand.\na\\n\\xff\\\\\n\n# Found by coverage, reduced: each covers something of its own.\nb\nc\n";
        let corpus = Corpus::parse(text).unwrap();
        assert_eq!(corpus.kept[0].1, [b"a\n\xff\\".to_vec(), Vec::new()]);
        assert_eq!(corpus.found.len(), 2);
        assert_eq!(corpus.text(), text);
        for damaged in ["\\", "\\x1", "\\xzz"] {
            assert!(Corpus::parse(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn merging_keeps_what_people_wrote_and_stays_small() {
        let directory = std::env::temp_dir().join(format!("xtask-fuzz-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for (name, size) in [("a", 10), ("b", 20), ("c", MAX_CORPUS_BYTES)] {
            fs::write(directory.join(name), vec![b'x'; size]).unwrap();
        }
        let corpus = Corpus::parse("# Kept: x\nmine\n# other\nold\n").unwrap();
        let merged = corpus.merged(&directory).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(merged.kept[0].1, [b"mine".to_vec()]);
        assert_eq!(
            merged.found.iter().map(Vec::len).collect::<Vec<_>>(),
            [10, 20]
        );
    }
}
