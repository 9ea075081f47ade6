//! `adopt.patch` is what it took to adopt audithog, and stays in step with the code.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::{collections::BTreeMap, fs, path::Path};

/// What it may cost, without the business events.
const CHANGED_LINES: usize = 10;
/// `agent_created` and `agent_published`.
const BUSINESS_EVENTS: usize = 2;

/// One place of the patch: the lines there before and after.
struct Hunk {
    file: String,
    before: String,
    after: String,
    added: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn hunks() -> Vec<Hunk> {
    let patch = fs::read_to_string(root().join("adopt.patch")).unwrap();
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut file = "";
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/examples/realistic/") {
            file = path;
        } else if line.starts_with("@@ ") {
            hunks.push(Hunk {
                file: file.to_owned(),
                before: String::new(),
                after: String::new(),
                added: Vec::new(),
            });
        } else if line.starts_with("diff ") {
            file = "";
        } else if let Some(hunk) = hunks.last_mut().filter(|_| !file.is_empty()) {
            let (kind, text) = line.split_at(1);
            if kind != "+" {
                hunk.before.extend([text, "\n"]);
            }
            if kind != "-" {
                hunk.after.extend([text, "\n"]);
            }
            if kind == "+" {
                hunk.added.push(text.trim().to_owned());
            }
        }
    }
    hunks
}

#[test]
fn adopting_audithog_took_ten_lines_and_one_for_each_business_event() {
    let hunks = hunks();
    let changed: Vec<&String> = hunks
        .iter()
        .flat_map(|hunk| &hunk.added)
        .filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with('#'))
        .collect();
    let events = changed.iter().filter(|line| line.contains(".event(\""));
    assert_eq!(events.count(), BUSINESS_EVENTS);
    assert_eq!(
        changed.len(),
        CHANGED_LINES + BUSINESS_EVENTS,
        "{changed:#?}"
    );
}

#[test]
fn the_patch_applies_in_reverse_and_leaves_nothing_of_audithog() {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for file in fs::read_dir(root().join("src")).unwrap() {
        let path = file.unwrap().path();
        let name = format!("src/{}", path.file_name().unwrap().to_str().unwrap());
        files.insert(name, fs::read_to_string(path).unwrap());
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    files.insert("Cargo.toml".to_owned(), manifest);
    for hunk in hunks() {
        let text = files.get_mut(&hunk.file).unwrap();
        assert_eq!(
            text.matches(&hunk.after).count(),
            1,
            "{}:\n{}",
            hunk.file,
            hunk.after
        );
        *text = text.replace(&hunk.after, &hunk.before);
    }
    // The tests need the test kit, and the package is called after the library.
    let manifest = files.get_mut("Cargo.toml").unwrap();
    let (service, tests) = manifest.split_once("[dev-dependencies]").unwrap();
    assert!(tests.contains("audithog"));
    *manifest = service.to_owned();
    for (name, text) in files {
        let text = text
            .replace("audithog_realistic", "")
            .replace("audithog-realistic", "");
        assert!(!text.contains("audithog"), "{name}:\n{text}");
    }
}
