//! Names whose values are secrets.

/// Whether a value under this name is masked.
pub(crate) fn is_secret_name(name: &str) -> bool {
    ["token", "code", "secret", "key", "password", "email"]
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret))
}
