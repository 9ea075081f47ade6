//! Just enough of Rust's lexical grammar to tell code from comments, text and tests.

/// Which parts of a source are kept; everything else becomes spaces, so that lines and columns stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Neither comments nor the contents of literals.
    Code,
    /// Literals too.
    CodeAndLiterals,
}

/// Whether a whole file is test code by its place.
pub(super) fn is_test_file(path: &str) -> bool {
    let in_directory =
        |name: &str| path.starts_with(&format!("{name}/")) || path.contains(&format!("/{name}/"));
    path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || in_directory("tests")
        || in_directory("benches")
}

/// The source with everything that `keep` leaves out replaced by spaces.
pub(super) fn stripped(source: &str, keep: Keep) -> String {
    let bytes = source.as_bytes();
    let mut kept = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (end, is_kept) = match token(bytes, at) {
            Token::Comment(end) => (end, false),
            Token::Literal(end) => (end, keep == Keep::CodeAndLiterals),
            Token::Word(end) => (end, true),
            Token::Other => (at + 1, true),
        };
        let end = end.min(bytes.len());
        kept.extend(
            bytes[at..end]
                .iter()
                .map(|&byte| if is_kept || byte == b'\n' { byte } else { b' ' }),
        );
        at = end;
    }
    // Only whole tokens were replaced, so no character was cut in two.
    String::from_utf8(kept).unwrap_or_default()
}

/// [`stripped`] without the modules and items under `#[cfg(test)]`.
pub(super) fn without_tests(source: &str, keep: Keep) -> String {
    // Braces are counted where none hides in a text.
    let code = stripped(source, Keep::Code);
    let mut kept = stripped(source, keep).into_bytes();
    let mut from = 0;
    while let Some(start) = code[from..].find("#[cfg(test)]").map(|found| from + found) {
        let end = item_end(code.as_bytes(), start + "#[cfg(test)]".len());
        for byte in kept[start..end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        from = end;
    }
    String::from_utf8(kept).unwrap_or_default()
}

/// Where the item that starts at `at` ends: behind its block, or behind the semicolon if that comes first.
fn item_end(code: &[u8], at: usize) -> usize {
    let mut depth = 0usize;
    for (index, byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b']' | b')' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            b';' if depth == 0 => return index + 1,
            _ => {}
        }
    }
    code.len()
}

enum Token {
    Comment(usize),
    Literal(usize),
    /// An identifier, keyword, number or lifetime: skipped as a whole, so that `r` in `for` starts no raw string.
    Word(usize),
    Other,
}

fn token(bytes: &[u8], at: usize) -> Token {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => Token::Comment(
            at + rest
                .iter()
                .position(|&byte| byte == b'\n')
                .unwrap_or(rest.len()),
        ),
        [b'/', b'*', ..] => Token::Comment(at + block_comment(rest)),
        [b'"', ..] => Token::Literal(at + quoted(rest, b'"')),
        [b'b' | b'c', b'"', ..] => Token::Literal(at + 1 + quoted(&rest[1..], b'"')),
        [b'b', b'\'', ..] => Token::Literal(at + 1 + quoted(&rest[1..], b'\'')),
        [b'r', b'"' | b'#', ..] => {
            raw(rest, 1).map_or(Token::Word(at + word(rest)), |end| Token::Literal(at + end))
        }
        [b'b' | b'c', b'r', b'"' | b'#', ..] => {
            raw(rest, 2).map_or(Token::Word(at + word(rest)), |end| Token::Literal(at + end))
        }
        [b'\'', ..] => quote(rest, at),
        [first, ..] if is_word(*first) => Token::Word(at + word(rest)),
        _ => Token::Other,
    }
}

/// A character literal or a lifetime: the literal closes right after one character or escape.
fn quote(rest: &[u8], at: usize) -> Token {
    match rest {
        [_, b'\\', ..] => Token::Literal(at + quoted(rest, b'\'')),
        [_, first, ..] => {
            let length = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            if rest.get(1 + length) == Some(&b'\'') {
                Token::Literal(at + length + 2)
            } else {
                Token::Other
            }
        }
        _ => Token::Other,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word(rest: &[u8]) -> usize {
    rest.iter()
        .position(|&byte| !is_word(byte))
        .unwrap_or(rest.len())
        .max(1)
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The end of a raw string whose hashes or quote start at `from`; none if it is a raw identifier.
fn raw(rest: &[u8], from: usize) -> Option<usize> {
    let hashes = rest[from..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    if rest.get(from + hashes) != Some(&b'"') {
        return None;
    }
    let body = from + hashes + 1;
    let closing: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let length = rest[body..]
        .windows(closing.len())
        .position(|window| window == closing);
    Some(length.map_or(rest.len(), |length| body + length + closing.len()))
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (2, 1);
    while at < rest.len() && depth > 0 {
        match &rest[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_become_spaces_of_the_same_length() {
        let cases = [
            ("a // b\nc", "a\nc"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"f("x // \" y") // z"#, "f( )"),
            (r###"let r = r#"a "b" // c"#; d"###, "let r = ; d"),
            ("for r#type in x {}", "for r#type in x {}"),
            (
                "fn f<'a>(c: &'a str) { '\"'; b'\\''; 'ß'; g }",
                "fn f<'a>(c: &'a str) { ; ; ; g }",
            ),
        ];
        for (source, expected) in cases {
            let result = stripped(source, Keep::Code);
            assert_eq!(squeezed(&result), squeezed(expected), "{source}");
            assert_eq!(result.len(), source.len(), "{source}");
        }
        assert_eq!(
            stripped("a(\"b\") // c", Keep::CodeAndLiterals),
            "a(\"b\")     "
        );
    }

    #[test]
    fn test_code_is_cut_and_the_rest_stays_in_its_place() {
        let source =
            "a;\n#[cfg(test)]\nmod tests {\n    f(\"}\");\n}\nb;\n#[cfg(test)]\nmod tests;\nc;";
        let kept = without_tests(source, Keep::Code);
        assert_eq!(squeezed(&kept), "a; b; c;");
        assert_eq!(kept.lines().position(|line| line == "b;"), Some(5));
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        for path in [
            "crates/x/src/y/tests.rs",
            "crates/x/tests/it/main.rs",
            "tests/a.rs",
            "crates/x/benches/b.rs",
        ] {
            assert!(is_test_file(path), "{path}");
        }
        for path in ["crates/x/src/testing/mod.rs", "crates/x/src/contests.rs"] {
            assert!(!is_test_file(path), "{path}");
        }
    }
}
