//! The shape of a project token; capture knows no more about it.

/// Longest token, in bytes.
const MAX_LEN: usize = 64;

/// The token without surrounding white space, or why it is refused.
pub(super) fn check(token: &str) -> Result<&str, &'static str> {
    let token = token.trim();
    if token.is_empty() {
        Err("the token is empty")
    } else if token.len() > MAX_LEN {
        Err("the token is too long")
    } else if !token.is_ascii() {
        Err("the token is not ASCII")
    } else if token.contains('\0') {
        Err("the token contains NUL")
    } else if token.starts_with("phx_") {
        Err("this is a personal API key, not a project token")
    } else {
        Ok(token)
    }
}
