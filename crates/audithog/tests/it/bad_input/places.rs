//! Places where no ledger can be.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use audithog::{Error, Logger};

fn unusable(path: &Path) -> (String, Error) {
    let none: [(&str, &str); 0] = [];
    let error = Logger::builder()
        .environment(none)
        .database(path)
        .start()
        .unwrap_err();
    assert!(error.is_ledger() && !error.is_config(), "{error:?}");
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    let directory = path.parent().unwrap().to_str().unwrap();
    assert!(
        message.contains(directory),
        "{message} does not name {}",
        path.display()
    );
    (message, error)
}

#[test]
fn an_unusable_place_is_one_sentence_and_nothing_is_touched() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("directory.db");
    fs::create_dir(&directory).unwrap();
    unusable(&directory);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);

    for (name, bytes) in [
        ("text.db", b"Dear diary, ".repeat(1_000)),
        ("short.db", b"xy".to_vec()),
        (
            "almost.db",
            [b"SQLite format 3\0".as_slice(), &[0xff; 5_000]].concat(),
        ),
    ] {
        let path = place.path().join(name);
        fs::write(&path, &bytes).unwrap();
        unusable(&path);
        assert!(fs::read(&path).unwrap() == bytes, "{name} was changed");
    }
    unusable(&place.path().join("missing/audit.db"));
    unusable(&place.path().join("text.db/audit.db"));
    let names: BTreeSet<_> = fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let expected = ["almost.db", "directory.db", "short.db", "text.db"].map(OsString::from);
    assert_eq!(names, BTreeSet::from(expected), "something was left behind");
}

/// Also for root, whom permissions do not stop: nobody can write into `/proc`.
#[test]
fn an_unwritable_directory_is_one_sentence_that_names_it() {
    let (message, error) = unusable(Path::new("/proc/self/audit.db"));
    assert!(std::error::Error::source(&error).is_some(), "{message}");

    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("locked");
    fs::create_dir(&directory).unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(&directory, mode(0o500)).unwrap();
    let path = directory.join("audit.db");
    // Root may; everybody else gets the sentence.
    if fs::write(directory.join("probe"), "").is_err() {
        unusable(&path);
        assert!(!path.exists());
    }
    fs::set_permissions(&directory, mode(0o700)).unwrap();
}
