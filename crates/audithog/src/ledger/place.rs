//! Whether a directory is a good place for a ledger.

use std::fs;
use std::path::Path;

use super::{StoreError, StoreErrorKind};

/// What a file system means for a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// Works, but the rows go with the machine or the container.
    Forgets,
    /// SQLite's write-ahead log needs shared memory, which a network file system does not have
    /// (SQLite documentation, "Write-Ahead Logging", section "Overview").
    Refused,
}

/// Warns about a place that forgets its files, refuses one that cannot hold a ledger.
pub(crate) fn check(path: &Path) -> Result<(), StoreError> {
    let Some(kind) = kind_of(path) else {
        return Ok(());
    };
    match judge(&kind) {
        Verdict::Good => Ok(()),
        Verdict::Forgets => {
            tracing::warn!(
                path = %path.display(),
                file_system = kind,
                "the audit ledger is on a file system that does not outlive its container or machine; \
                 rows that are not delivered by then are gone: put AUDITHOG_DB on a volume"
            );
            Ok(())
        }
        Verdict::Refused => Err(refusal(path, &kind)),
    }
}

/// For somebody who opens a ledger that others left: only what cannot work is refused.
pub(crate) fn refuse_network(path: &Path) -> Result<(), StoreError> {
    match kind_of(path).as_deref().map(|kind| (judge(kind), kind)) {
        Some((Verdict::Refused, kind)) => Err(refusal(path, kind)),
        _ => Ok(()),
    }
}

/// The type of the file system that `path` is, or will be, on; none where that cannot be told.
pub(crate) fn kind_of(path: &Path) -> Option<String> {
    // Without /proc there is nothing to read, and nothing to say.
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    file_system(&mounts, &fs::canonicalize(parent).ok()?)
}

fn refusal(path: &Path, kind: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unusable,
        format!(
            "the ledger cannot be on a network file system ({kind}): {}",
            path.display()
        ),
    )
}

pub(crate) fn judge(kind: &str) -> Verdict {
    match kind {
        "tmpfs" | "ramfs" | "overlay" | "aufs" => Verdict::Forgets,
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "afs" | "ceph" | "fuse.sshfs"
        | "fuse.s3fs" | "fuse.gcsfuse" | "fuse.glusterfs" => Verdict::Refused,
        _ => Verdict::Good,
    }
}

/// The type of the file system that `directory` is on: the last of the longest mount points above
/// it. The format is proc(5)'s: mount point in the fifth field, type after the lone `-`.
fn file_system(mounts: &str, directory: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(mount), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else {
            continue;
        };
        let mount = mount.replace("\\040", " ");
        if directory.starts_with(&mount) && best.is_none_or(|(length, _)| mount.len() >= length) {
            best = Some((mount.len(), kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw
30 22 0:26 / /dev/shm rw,nosuid - tmpfs tmpfs rw
31 22 8:1 / /var/lib rw - ext4 /dev/sda1 rw
32 31 0:50 / /var/lib/share\\040d rw - nfs4 server:/x rw
";

    #[test]
    fn the_longest_mount_point_decides() {
        let kind = |path: &str| file_system(MOUNTS, Path::new(path)).unwrap_or_default();
        assert_eq!(kind("/srv"), "overlay");
        assert_eq!(kind("/dev/shm/x"), "tmpfs");
        assert_eq!(kind("/var/lib/audit"), "ext4");
        assert_eq!(kind("/var/lib/share d/x"), "nfs4");
        assert_eq!(kind("/var/library"), "overlay");
    }

    #[test]
    fn forgetful_places_are_told_and_networks_refused() {
        assert_eq!(judge("ext4"), Verdict::Good);
        assert_eq!(judge("overlay"), Verdict::Forgets);
        assert_eq!(judge("nfs4"), Verdict::Refused);
    }

    #[test]
    fn the_temporary_directory_of_this_machine_can_be_judged() {
        assert!(check(&std::env::temp_dir().join("audit.db")).is_ok());
    }
}
