//! Installs what the tests need on a Debian machine that has only rustup's toolchain and apt.
//!
//! Every part first looks whether it is there: a second run installs nothing and takes a moment.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::command::{Run, find};
use crate::deny;

/// A program that a step calls, and the Debian packages that bring it.
#[derive(Debug)]
struct Tool {
    name: &'static str,
    packages: &'static [&'static str],
    present: fn() -> bool,
}

const TOOLS: &[Tool] = &[
    // SQLite, ring and zstd are built from their C sources; gcc alone comes without the headers.
    Tool {
        name: "cc",
        packages: &["gcc", "libc6-dev"],
        present: || find("cc").is_some(),
    },
    // libFuzzer, for `cargo xtask fuzz`.
    Tool {
        name: "c++",
        packages: &["g++"],
        present: || find("c++").is_some(),
    },
    // The tests read the table as a user does.
    Tool {
        name: "sqlite3",
        packages: &["sqlite3"],
        present: || find("sqlite3").is_some(),
    },
    // The tests watch system calls, delay them and let them fail.
    Tool {
        name: "strace",
        packages: &["strace"],
        present: || find("strace").is_some(),
    },
    // The ceiling of the request path.
    Tool {
        name: "valgrind",
        packages: &["valgrind"],
        present: || find("valgrind").is_some(),
    },
    // The tests of the alert rules.
    Tool {
        name: "promtool",
        packages: &["prometheus"],
        present: || find("promtool").is_some(),
    },
    // PostHog's SDKs, and its parser of HogQL.
    Tool {
        name: "node",
        packages: &["nodejs"],
        present: || find("node").is_some(),
    },
    Tool {
        name: "npm",
        packages: &["npm"],
        present: || find("npm").is_some(),
    },
    Tool {
        name: "python3",
        packages: &["python3"],
        present: || find("python3").is_some(),
    },
    Tool {
        name: "pip",
        packages: &["python3-pip"],
        present: has_pip,
    },
    // The tests of the command: completions, manual pages, a terminal.
    Tool {
        name: "zsh",
        packages: &["zsh"],
        present: || find("zsh").is_some(),
    },
    Tool {
        name: "fish",
        packages: &["fish"],
        present: || find("fish").is_some(),
    },
    Tool {
        name: "groff",
        packages: &["groff-base"],
        present: || find("groff").is_some(),
    },
    Tool {
        name: "script",
        packages: &["bsdutils"],
        present: || find("script").is_some(),
    },
    // The console's tests look at its pages. The fonts are what a page is measured with.
    Tool {
        name: "chromedriver",
        packages: &["chromium", "chromium-driver", "fonts-dejavu-core"],
        present: || find("chromedriver").is_some() && find("chromium").is_some(),
    },
    // The chaos suite sets a wall clock.
    Tool {
        name: "libfaketime",
        packages: &["libfaketime"],
        present: has_faketime,
    },
];

/// What the benchmark suite calls besides; the tests need none of it.
const BENCH_TOOLS: &[Tool] = &[
    Tool {
        name: "cc",
        packages: &["gcc", "libc6-dev"],
        present: || find("cc").is_some(),
    },
    // The closed loop.
    Tool {
        name: "wrk",
        packages: &["wrk"],
        present: || find("wrk").is_some(),
    },
    // Instruction counts.
    Tool {
        name: "valgrind",
        packages: &["valgrind"],
        present: || find("valgrind").is_some(),
    },
    // The NestJS peers.
    Tool {
        name: "node",
        packages: &["nodejs"],
        present: || find("node").is_some(),
    },
    Tool {
        name: "npm",
        packages: &["npm"],
        present: || find("npm").is_some(),
    },
    // taskset and setpriv: each process has its core, and none outlives the harness.
    Tool {
        name: "util-linux",
        packages: &["util-linux"],
        present: || find("taskset").is_some() && find("setpriv").is_some(),
    },
];

/// The components of the toolchain, each with the cargo command that shows that it is there.
const COMPONENTS: &[(&str, &str)] = &[("rustfmt", "fmt --version"), ("clippy", "clippy --version")];

/// Where the manifests of PostHog's own SDKs are; they are installed into [`SDKS_TARGET`].
const SDKS: &str = "checks/official-sdks/sdks";
const SDKS_TARGET: &str = "target/official-sdks";
/// PostHog's parser of HogQL, installed likewise.
const HOGQL: (&str, &str) = ("checks/hogql/parser", "target/hogql");
/// Deque's rules for accessible pages, for the console's tests.
const AXE: (&str, &str) = ("crates/audithog-console/tests/axe", "target/axe");
/// The NestJS peers of the benchmark suite are built in [`NEST_TARGET`].
const NEST: &str = "bench/nest";
const NEST_TARGET: &str = "bench/target/nest";

pub(crate) fn run(root: &Path) -> Result<()> {
    system(root, TOOLS)?;
    components(root)?;
    deny::install(root)?;
    sdks(root)?;
    for (source, target) in [HOGQL, AXE] {
        let source = root.join(source);
        // A tree without the package that uses it has nothing to install.
        if source.is_dir() {
            packages(&source, &root.join(target))?;
        }
    }
    Ok(())
}

/// What `cargo xtask bench` needs.
pub(crate) fn bench(root: &Path) -> Result<()> {
    system(root, BENCH_TOOLS)?;
    nest(root)
}

fn has_pip() -> bool {
    Run::new("python3", Path::new("."))
        .words("-m pip --version")
        .succeeds()
}

/// Debian puts it into a directory named for the machine.
fn has_faketime() -> bool {
    let libraries = Path::new("/usr/lib").read_dir().into_iter().flatten();
    libraries
        .flatten()
        .any(|entry| entry.path().join("faketime/libfaketime.so.1").is_file())
}

fn system(root: &Path, tools: &'static [Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !(tool.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
    println!("missing: {}", names.join(", "));
    let install = install_line(&missing);
    if find("apt-get").is_none() {
        bail!(
            "{} not found, and there is no apt-get here to install it: please install it by hand",
            names.join(", ")
        );
    }
    if !is_root(root)? {
        bail!(
            "{} not found; as root run: apt-get update && {install}",
            names.join(", ")
        );
    }
    Run::new("apt-get", root).arg("update").check_quietly()?;
    Run::new("env", root)
        .arg("DEBIAN_FRONTEND=noninteractive")
        .words(&install)
        .check()?;
    match missing.iter().find(|tool| !(tool.present)()) {
        Some(tool) => bail!("`{}` is still not found after `{install}`", tool.name),
        None => Ok(()),
    }
}

fn install_line(missing: &[&Tool]) -> String {
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|tool| tool.packages)
        .copied()
        .collect();
    format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    )
}

fn is_root(root: &Path) -> Result<bool> {
    Ok(Run::new("id", root).arg("-u").output()?.trim() == "0")
}

fn components(root: &Path) -> Result<()> {
    for (component, probe) in COMPONENTS {
        if !Run::cargo(root).words(probe).succeeds() {
            Run::new("rustup", root)
                .words("component add")
                .arg(component)
                .check()?;
        }
    }
    Ok(())
}

/// Installs the SDKs exactly as their lock files say, when the packages that use them are part of the tree.
fn sdks(root: &Path) -> Result<()> {
    if !root.join(SDKS).is_dir() {
        println!("no {SDKS}: no SDK to install");
        return Ok(());
    }
    let (source, target) = (root.join(SDKS), root.join(SDKS_TARGET));
    packages(&source, &target)?;
    once(
        &source,
        &target,
        "python",
        &["requirements.txt"],
        |target| {
            let packages = target.join("python");
            if packages.exists() {
                fs::remove_dir_all(&packages)?;
            }
            // The requirements name every package with its version: nothing is left to resolve.
            Run::new("python3", root)
                .words("-m pip install --quiet --disable-pip-version-check")
                .words("--root-user-action=ignore --no-deps --requirement")
                .arg(Path::new(SDKS).join("requirements.txt"))
                .arg("--target")
                .arg(Path::new(SDKS_TARGET).join("python"))
                .check()
        },
    )
}

/// Installs packages of npm exactly as the lock file in `source` says.
fn packages(source: &Path, target: &Path) -> Result<()> {
    let manifests = ["package.json", "package-lock.json", ".npmrc"];
    once(source, target, "node", &manifests, |target| {
        // npm installs beside the manifest: the copy keeps the source tree clean.
        for file in manifests {
            fs::copy(source.join(file), target.join(file))?;
        }
        Run::new("npm", target)
            .words("ci --no-audit --no-fund --ignore-scripts")
            .check()
    })
}

/// Builds the NestJS peers exactly as their lock file says.
fn nest(root: &Path) -> Result<()> {
    let source = root.join(NEST);
    let mut files = vec![
        "main.js",
        "package.json",
        "package-lock.json",
        "tsconfig.json",
    ];
    let sources = files_below(&source, "src")?;
    files.extend(sources.iter().map(String::as_str));
    once(&source, &root.join(NEST_TARGET), "nest", &files, |target| {
        for file in &files {
            let copy = target.join(file);
            fs::create_dir_all(copy.parent().context("a file is in no directory")?)?;
            fs::copy(source.join(file), copy)?;
        }
        Run::new("npm", target)
            .words("ci --no-audit --no-fund --ignore-scripts")
            .check()?;
        Run::new("npm", target).words("run build").check()
    })
}

/// The files in a directory and those below it, relative to `root`, in a stable order.
fn files_below(root: &Path, directory: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let entries = root
        .join(directory)
        .read_dir()
        .with_context(|| format!("`{directory}` cannot be read"))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().context("a name is not UTF-8")?;
        let path = format!("{directory}/{name}");
        if entry.file_type()?.is_dir() {
            files.extend(files_below(root, &path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Runs `install` for the target directory, unless it already ran for the present contents of the
/// source's files.
///
/// The stamp is written last, so that an interrupted installation is done again.
fn once(
    source: &Path,
    target: &Path,
    language: &str,
    files: &[&str],
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let mut wanted = String::new();
    for file in files {
        let path = source.join(file);
        wanted += &fs::read_to_string(&path)
            .with_context(|| format!("`{}` cannot be read", path.display()))?;
    }
    fs::create_dir_all(target)?;
    let stamp = target.join(format!("{language}.installed"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install(target)?;
    fs::write(&stamp, wanted).with_context(|| format!("`{}` cannot be written", stamp.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_type_names_the_packages_of_everything_missing() {
        let missing: Vec<&Tool> = TOOLS
            .iter()
            .filter(|tool| ["cc", "pip"].contains(&tool.name))
            .collect();
        let line = install_line(&missing);
        assert_eq!(
            line,
            "apt-get install -y --no-install-recommends gcc libc6-dev python3-pip"
        );
    }

    #[test]
    fn an_installation_is_repeated_only_when_its_manifest_changed_or_it_failed() {
        let root = std::env::temp_dir().join(format!("xtask-once-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let manifest = root.join("manifest");
        let runs = std::cell::Cell::new(0);
        let attempt = |works: bool| {
            once(&root, &root.join("target"), "x", &["manifest"], |_| {
                runs.set(runs.get() + 1);
                if works { Ok(()) } else { bail!("refused") }
            })
        };
        fs::write(&manifest, "a").unwrap();
        attempt(false).unwrap_err();
        attempt(true).unwrap();
        attempt(true).unwrap();
        assert_eq!(runs.get(), 2);
        fs::write(&manifest, "b").unwrap();
        attempt(true).unwrap();
        assert_eq!(runs.get(), 3);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn files_are_found_below_their_directory_in_a_stable_order() {
        let root = std::env::temp_dir().join(format!("xtask-files-{}", std::process::id()));
        fs::create_dir_all(root.join("src/b")).unwrap();
        for file in ["src/c", "src/b/x", "src/a"] {
            fs::write(root.join(file), "").unwrap();
        }
        assert_eq!(
            files_below(&root, "src").unwrap(),
            ["src/a", "src/b/x", "src/c"]
        );
        assert!(files_below(&root, "none").is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
