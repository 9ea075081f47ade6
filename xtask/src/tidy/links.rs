//! Every relative link in a Markdown file leads somewhere, and its `#fragment` to a heading there.

use std::collections::BTreeMap;

use super::Finding;
use super::tree::Tree;

pub(super) fn links_resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_ending("md") {
        for (line, target) in links(text) {
            if let Some(problem) = problem(tree, path, &target) {
                findings.push(Finding::new(path, line, problem));
            }
        }
    }
    findings
}

fn problem(tree: &Tree, from: &str, target: &str) -> Option<String> {
    let has_scheme = target.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    // `crate::Logger` is for rustdoc, which checks it.
    if has_scheme || target.contains("::") {
        return None;
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let Some(file) = (if file.is_empty() {
        Some(from.to_owned())
    } else {
        resolved(from, file)
    }) else {
        return Some(format!("the link `{target}` leads out of the repository"));
    };
    if !tree.contains(&file) {
        return Some(format!(
            "the link `{target}` leads nowhere: there is no `{file}`"
        ));
    }
    let is_markdown = file.ends_with(".md");
    let known = || {
        tree.text(&file)
            .is_none_or(|text| headings(text).iter().any(|heading| heading == fragment))
    };
    if !fragment.is_empty() && is_markdown && !known() {
        return Some(format!(
            "the link `{target}` leads nowhere: `{file}` has no heading `#{fragment}`"
        ));
    }
    None
}

/// `target` seen from the directory of `from`; none if it is above the repository.
fn resolved(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = if target.starts_with('/') {
        Vec::new()
    } else {
        from.split('/').collect()
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The lines outside of code blocks, numbered from 1, with code in backticks taken out.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((index + 1, line.to_owned())),
            _ => {}
        }
        None
    })
}

/// The targets of `[text](target)` and of `[label]: target`, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (line, prose) in prose(text) {
        let prose = without_code(&prose);
        for (at, _) in prose.match_indices("](") {
            let rest = &prose[at + 2..];
            if let Some(target) = rest.find(')').map(|end| &rest[..end]) {
                links.extend(first_word(target).map(|target| (line, target)));
            }
        }
        let definition = prose
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        if let Some((label, target)) = definition
            && !label.starts_with('^')
        {
            links.extend(first_word(target).map(|target| (line, target)));
        }
    }
    links
}

/// The target without its title: `a.md "Title"`.
fn first_word(target: &str) -> Option<String> {
    let target = target.split_whitespace().next()?;
    Some(
        target
            .trim_start_matches('<')
            .trim_end_matches('>')
            .to_owned(),
    )
}

/// Spans in backticks removed.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// The fragments that a forge gives to the headings of a text.
fn headings(text: &str) -> Vec<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut headings = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let count = seen.entry(slug.clone()).or_default();
        headings.push(if *count == 0 {
            slug.clone()
        } else {
            format!("{slug}-{count}")
        });
        *count += 1;
    }
    headings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        let tree = Tree::of(&[
            ("README.md", "# audithog\n"),
            (
                "docs/rows.md",
                "# Rows\n\n## The `id` column, and why\n\n## Again\n\n## Again\n",
            ),
            ("docs/how-to/here.md", text),
        ]);
        links_resolve(&tree)
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_link_to_nothing_is_found_with_its_line() {
        for bad in [
            "[a](gone.md)",
            "[a](../../src)",
            "[a](../../../README.md)",
            "text [a](../rows.md) and [b](../row.md \"Title\")",
            "[a]: ../gone.md",
            "[a](../rows.md#columns)",
            "[a](#nowhere)",
            "[`code`](gone.md)",
        ] {
            assert_eq!(found(&format!("# Here\n\n{bad}\n")), [3], "{bad}");
        }
    }

    #[test]
    fn a_link_to_something_is_not() {
        for good in [
            "[a](../rows.md), [b](../../README.md#audithog), [c](..), [d](#here), [e](../rows.md 'Title')",
            "[a](../rows.md#the-id-column-and-why) [b](../rows.md#again-1)",
            "[a](https://example.com/gone.md) [b](mailto:a@example.com) [c](crate::Logger)",
            "`[a](gone.md)`",
            "```rust\nlet a = b[c](d);\n```",
            "[^1]: a footnote",
            "[a]: /README.md",
        ] {
            assert_eq!(found(&format!("# Here\n\n{good}\n")), [0; 0], "{good}");
        }
    }
}
