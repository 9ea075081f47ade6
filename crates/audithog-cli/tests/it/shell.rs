//! Completions in real shells, and manual pages through the formatter.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::program::{output, ran};

/// The script for this shell, in a file.
fn script(home: &TempDir, shell: &str) -> std::path::PathBuf {
    let (code, script, complaint) = ran(home.path(), &["completions", shell]);
    assert_eq!((code, &*complaint), (0, ""));
    let path = home.path().join("_audithog");
    fs::write(&path, script).unwrap();
    path
}

fn run(program: &str, arguments: &[&str], home: &Path) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .stdin(std::process::Stdio::null());
    output(command)
}

#[track_caller]
fn text(output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(complaint, "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn bash_completes_commands_questions_and_values() {
    let home = TempDir::new().unwrap();
    let script = script(&home, "bash");
    let complete = |words: &[&str]| {
        let typed = format!(
            "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; {} audithog '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words
                .iter()
                .map(|word| format!("'{word}'"))
                .collect::<Vec<_>>()
                .join(" "),
            words.len() - 1,
            "_audithog",
            words[words.len() - 1],
            words[words.len() - 2],
        );
        text(&run("bash", &["--norc", "-c", &typed], home.path()))
    };
    assert_eq!(complete(&["audithog", "qu"]), "query\n");
    let names = complete(&["audithog", "query", ""]);
    for name in ["failures", "refusals", "count"] {
        assert!(names.lines().any(|line| line == name), "{names}");
    }
    assert_eq!(complete(&["audithog", "query", "fail"]), "failures\n");
    assert_eq!(
        complete(&["audithog", "query", "--format", "nd"]),
        "ndjson\n"
    );
    assert_eq!(complete(&["audithog", "tail", "--error"]), "--error-code\n");
}

#[test]
fn zsh_and_fish_complete_the_questions() {
    let home = TempDir::new().unwrap();
    let path = script(&home, "zsh");
    let zsh = format!(
        "fpath=('{}' $fpath); autoload -Uz compinit; compinit -u; source '{}'; whence -w _audithog",
        home.path().display(),
        path.display()
    );
    assert_eq!(
        text(&run("zsh", &["-f", "-c", &zsh], home.path())),
        "_audithog: function\n"
    );
    let source = fs::read_to_string(&path).unwrap();
    assert!(
        source.contains("failures\\:"),
        "the questions with what they ask"
    );

    let path = script(&home, "fish");
    let fish = format!(
        "source '{}'; complete -C 'audithog query fai'",
        path.display()
    );
    let found = text(&run("fish", &["--no-config", "-c", &fish], home.path()));
    assert!(
        found.starts_with("failures\tRequests that failed"),
        "{found}"
    );
}

#[test]
fn there_is_a_manual_page_for_each_command_and_it_formats_without_a_warning() {
    let home = TempDir::new().unwrap();
    let (code, printed, complaint) = ran(home.path(), &["man", "."]);
    assert_eq!((code, &*printed, &*complaint), (0, "", ""));
    let mut pages: Vec<String> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in [
        "audithog.1",
        "audithog-query.1",
        "audithog-tail.1",
        "audithog-dead-letters-list.1",
    ] {
        assert!(pages.iter().any(|found| found == page), "{pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("help")), "{pages:?}");
    for page in &pages {
        let formatted = run(
            "groff",
            &["-man", "-ww", "-Tutf8", "-P-cbou", page],
            home.path(),
        );
        let formatted = text(&formatted);
        assert!(formatted.contains("NAME"), "{page}");
    }
    let (_, main, _) = ran(home.path(), &["man"]);
    assert!(main.contains("audithog\\-query(1)"), "{main}");
    let (code, _, complaint) = ran(home.path(), &["man", "nowhere"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("nowhere/audithog.1 cannot be written"),
        "{complaint}"
    );
}

#[test]
fn every_command_says_its_exit_codes_and_examples() {
    let home = TempDir::new().unwrap();
    for command in ["query", "sql", "tail", "show", "completions", "man"] {
        let (code, help, _) = ran(home.path(), &[command, "--help"]);
        assert_eq!(code, 0);
        assert!(help.contains("Exit codes:\n  0 "), "{command}: {help}");
        let shows = help.contains("Examples:\n  audithog ") || command == "completions";
        assert!(shows, "{command}: {help}");
    }
}
