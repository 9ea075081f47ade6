//! Who runs this program, for the rows that say who did something.

use std::{fs, os::unix::fs::MetadataExt as _};

/// `ada`, `uid 1000` where the system knows no name, `root for ada` under sudo.
pub(crate) fn name() -> String {
    // The owner of a process's own entry is its effective user (proc(5)).
    let user = fs::metadata("/proc/self").map(|entry| entry.uid());
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = match user {
        Ok(id) => name_of(id, &passwd).unwrap_or_else(|| format!("uid {id}")),
        Err(_) => std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned()),
    };
    match std::env::var("SUDO_USER") {
        Ok(asked) if !asked.is_empty() && asked != user => format!("{user} for {asked}"),
        _ => user,
    }
}

/// passwd(5): `name:password:uid:…`
fn name_of(id: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_of_its_line() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/var/ada:/bin/sh\n\nodd\n";
        assert_eq!(name_of(1000, passwd).as_deref(), Some("ada"));
        assert_eq!(name_of(0, passwd).as_deref(), Some("root"));
        assert_eq!(name_of(7, passwd), None);
    }
}
