//! The path as it is stored: secret route parameters masked, bounded.
//!
//! The route template says which segments are parameters. Template and path are aligned segment by segment; empty segments
//! (`//`, a trailing `/`) count on neither side, because routers and path normalisers disagree about them. A
//! secret segment is replaced as a whole by its part of the template, percent-encoded or not.
//!
//! Where they cannot be aligned (something rewrote the path between the layer and the router), and the template has a
//! secret parameter, the template is stored in place of the path: nothing is known about where the secret is. So it is with a
//! template that was cut, because it is longer than a row's may be, and with a catch-all where a prefix may be missing, unless its
//! literal segments leave one way to align it.
//!
//! Templates of axum (`{id}`, `{*rest}`, formerly `:id`, `*rest`) and of actix (`{id}`, `{id:regex}`, `{rest}*`) are understood.

use std::borrow::Cow;
use std::ops::Range;

use crate::record::{Text, limits, mask, sanitize};

/// How a template that was kept fits the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Alignment {
    /// Segment by segment: whoever saw the one saw the other.
    #[default]
    Known,
    /// As well, but the router may have seen the path without a prefix.
    Late,
    /// Not at all: it is not the whole template, or not the whole path, and the secret may be in what is missing.
    Cut,
}

impl Alignment {
    /// Something may have taken a prefix of the path away, on its way to the router.
    pub(super) fn behind_a_prefix(self) -> Self {
        match self {
            Self::Known | Self::Late => Self::Late,
            Self::Cut => Self::Cut,
        }
    }
}

/// The path to store. `routes` are templates of which some parameter may be a secret. `is_masked` names, of a template, the secrets
/// besides [`mask::is_secret_name`].
pub(super) fn stored<'a>(
    path: &str,
    routes: impl IntoIterator<Item = (&'a str, Alignment)>,
    is_masked: impl Fn(&str, &str) -> bool,
) -> Text {
    let mut stored = Cow::from(path);
    for (route, alignment) in routes {
        let is_secret = |name: &str| mask::is_secret_name(name) || is_masked(route, name);
        if let Some(masked) = masked(&stored, route, alignment, is_secret) {
            stored = masked.into();
        }
    }
    sanitize::text(&stored, limits::PATH)
}

/// False if all of the template is text.
pub(super) fn has_params(route: &str) -> bool {
    route.contains(['{', ':', '*'])
}

/// Whether the template has a parameter whose value is a secret.
pub(super) fn has_secret(route: &str, is_masked: impl Fn(&str) -> bool) -> bool {
    let is_secret = |name: &str| mask::is_secret_name(name) || is_masked(name);
    has_params(route)
        && template_segments(route)
            .map(Segment::parse)
            .any(|segment| segment.params.iter().any(|name| is_secret(name)))
}

/// None if there is nothing to mask.
fn masked(
    path: &str,
    route: &str,
    alignment: Alignment,
    is_secret: impl Fn(&str) -> bool,
) -> Option<String> {
    if alignment == Alignment::Cut {
        return Some(as_path(route));
    }
    if !has_params(route) {
        return None;
    }
    let template: Vec<Segment<'_>> = template_segments(route).map(Segment::parse).collect();
    let secret = |segment: &Segment<'_>| segment.params.iter().any(|name| is_secret(name));
    if !template.iter().any(secret) {
        return None;
    }
    let found = path_segments(path);
    let Some(skipped) = align(path, &found, &template, alignment) else {
        return Some(as_path(route));
    };
    let mut out = String::with_capacity(path.len());
    let mut copied = 0;
    for (segment, range) in template.iter().zip(&found[skipped..]) {
        if secret(segment) {
            out.push_str(&path[copied..range.start]);
            out.push_str(&segment.shown);
            copied = if segment.rest { path.len() } else { range.end };
        }
    }
    out.push_str(&path[copied..]);
    Some(out)
}

/// The template, to be stored in place of a path.
fn as_path(route: &str) -> String {
    template_segments(route)
        .map(|text| format!("/{}", Segment::parse(text).shown))
        .collect()
}

/// How many segments of the path come before the template's first: none, or a prefix that something between the layer and the
/// router took away. None if that is not certain.
fn align(
    path: &str,
    found: &[Range<usize>],
    template: &[Segment<'_>],
    alignment: Alignment,
) -> Option<usize> {
    let fits = |skipped: &usize| {
        let mut pairs = found[*skipped..].iter().zip(template);
        pairs.all(|(range, segment)| segment.could_be(&path[range.clone()]))
    };
    let longest = found.len().checked_sub(template.len())?;
    let rest = template.last().is_some_and(|segment| segment.rest);
    match alignment {
        // The last segments belong to each other.
        _ if !rest => Some(longest).filter(fits),
        Alignment::Late => {
            // A catch-all takes any number of segments, of empty ones alone (`//`) too: literal segments have to leave only
            // one prefix.
            let mut fitting = (0..=longest + 1).filter(fits);
            let only = fitting.next().filter(|only| *only <= longest)?;
            fitting.next().is_none().then_some(only)
        }
        Alignment::Known | Alignment::Cut => Some(0).filter(fits),
    }
}

/// One segment of a template.
struct Segment<'a> {
    /// Names of its parameters.
    params: Vec<&'a str>,
    /// Takes the whole rest of the path.
    rest: bool,
    /// The text before the first parameter; the whole segment if there is none.
    prefix: String,
    /// As it is stored in place of a secret: `{name}` for each parameter.
    shown: String,
}

impl<'a> Segment<'a> {
    fn parse(text: &'a str) -> Self {
        let mut segment = Self {
            params: Vec::new(),
            rest: text.ends_with("}*"),
            prefix: String::new(),
            shown: String::new(),
        };
        // The syntax before axum 0.8.
        if let Some(name) = text.strip_prefix([':', '*']) {
            segment.rest = text.starts_with('*');
            segment.param(name);
            return segment;
        }
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            segment.literal(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix(brace) {
                // `{{` and `}}` are braces.
                segment.literal(brace);
                rest = after;
            } else if brace == "{" {
                let (inner, after) = split_param(after);
                let name = inner.strip_prefix('*');
                segment.rest |= name.is_some();
                segment.param(name.unwrap_or(inner));
                rest = after.strip_prefix('*').unwrap_or(after);
            } else {
                segment.literal(brace);
                rest = after;
            }
        }
        segment.literal(rest);
        segment
    }

    fn literal(&mut self, text: &str) {
        if self.params.is_empty() {
            self.prefix.push_str(text);
        }
        self.shown.push_str(text);
    }

    fn param(&mut self, inner: &'a str) {
        let name = inner.split_once(':').map_or(inner, |(name, _regex)| name);
        self.params.push(name);
        self.shown.extend(["{", name, "}"]);
    }

    /// False if this segment of a path was certainly not matched by the template's.
    fn could_be(&self, found: &str) -> bool {
        if self.params.is_empty() {
            found == self.prefix
        } else {
            found.starts_with(&self.prefix)
        }
    }
}

/// Splits what follows `{` at the brace that closes it; a regular expression may hold braces itself.
fn split_param(text: &str) -> (&str, &str) {
    let mut depth = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[..at], &text[at + 1..]);
        }
    }
    (text, "")
}

/// Segments of a template: between slashes that are in no braces. Empty ones are left out.
fn template_segments(route: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let mut escaped = false;
    let mut chars = route.char_indices();
    let mut start = 0;
    let ends = std::iter::from_fn(move || {
        for (at, c) in chars.by_ref() {
            // Outside of a parameter `{{` and `}}` are braces of the text.
            let doubled = depth == 0 && !escaped && route[at + c.len_utf8()..].starts_with(c);
            escaped = match c {
                '{' | '}' if escaped => false,
                '{' | '}' if doubled => true,
                '{' => {
                    depth += 1;
                    false
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    false
                }
                '/' if depth == 0 => return Some(at),
                _ => false,
            };
        }
        None
    });
    let ends = ends.chain([route.len()]);
    ends.map(move |end| {
        let segment = &route[start..end];
        start = end + 1;
        segment
    })
    .filter(|segment| !segment.is_empty())
}

/// Where the segments of a path are. Empty ones are left out.
fn path_segments(path: &str) -> Vec<Range<usize>> {
    let mut segments = Vec::new();
    let mut start = 0;
    for part in path.split('/') {
        if !part.is_empty() {
            segments.push(start..start + part.len());
        }
        start += part.len() + 1;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::{Alignment, stored};

    #[track_caller]
    fn check(path: &str, route: &str, expected: &str) {
        check_by(Alignment::Known, path, route, expected);
    }

    #[track_caller]
    fn check_by(alignment: Alignment, path: &str, route: &str, expected: &str) {
        let masked = |_: &str, name: &str| name == "link";
        let shown = stored(path, [(route, alignment)], masked);
        assert_eq!(shown, expected, "{path} by {route}");
    }

    #[test]
    fn only_secret_parameters_are_masked() {
        check("/agents/7", "/agents/{id}", "/agents/7");
        check("/reset/abc", "/reset/{token}", "/reset/{token}");
        check(
            "/u/1/reset/abc/x",
            "/u/{id}/reset/{reset_token}/x",
            "/u/1/reset/{reset_token}/x",
        );
        check("/magic/abc", "/magic/{link}", "/magic/{link}");
        check("/token/abc", "/token/{id}", "/token/abc");
        check("/reset/a%2Fb%20c", "/reset/{token}", "/reset/{token}");
        check("/Reset/abc", "/Reset/{Token}", "/Reset/{Token}");
        assert_eq!(stored("/reset/abc", [], |_, _| false), "/reset/abc");
    }

    #[test]
    fn catch_alls_are_masked_to_the_end() {
        check("/k/a/b/c", "/k/{*key}", "/k/{key}");
        check("/f/abc/x/y", "/f/{token}/{*rest}", "/f/{token}/x/y");
        check("/k/a/b/c", "/k/*key", "/k/{key}");
        check("/k/a/b/c", "/k/{key}*", "/k/{key}");
    }

    #[test]
    fn other_spellings_of_templates_are_understood() {
        check("/reset/abc", "/reset/:token", "/reset/{token}");
        check("/r/ab12/x", r"/r/{token:[a-z]{2}/?\d+}/x", "/r/{token}/x");
        check("/t-abc.json/x", "/t-{token}.json/x", "/t-{token}.json/x");
        check("/{token}/abc", "/{{token}}/{id}", "/{token}/abc");
        check("/{x}/abc", "/{{x}}/{code}", "/{x}/{code}");
        // A brace of the text that nothing closes.
        check("/a{b/abc", "/a{{b/:token", "/a{b/{token}");
        check("/a{b/abc/7", "/a{{b/{token}/{id}", "/a{b/{token}/7");
        check("/a}b/abc", "/a}}b/{token}", "/a}b/{token}");
    }

    #[test]
    fn empty_segments_do_not_shift_the_mask() {
        check("/reset/abc/", "/reset/{token}", "/reset/{token}/");
        check("//reset//abc", "/reset/{token}", "//reset//{token}");
        check("/reset/abc", "/reset/{token}/", "/reset/{token}");
    }

    #[test]
    fn a_prefix_that_was_taken_away_does_not_shift_the_mask() {
        check(
            "/v1/api/reset/abc",
            "/reset/{token}",
            "/v1/api/reset/{token}",
        );
    }

    #[test]
    fn a_path_that_was_rewritten_is_replaced_by_its_template() {
        check("/legacy/abc", "/reset/{token}", "/reset/{token}");
        check("/abc", "/reset/{token}/now", "/reset/{token}/now");
        check("/v1/k/a/b", "/k/{*key}", "/k/{key}");
        check("/abc", "/x/{token:.*}/y", "/x/{token}/y");
    }

    #[test]
    fn a_catch_all_that_was_told_late_masks_only_what_a_literal_fixes() {
        let late = |path, route, expected| check_by(Alignment::Late, path, route, expected);
        // Not even without a prefix is it certain.
        for path in ["/v1/S3CRET/a/b", "/S3CRET/a/b", "/S3CRET/a", "/v1/S3CRET//"] {
            late(path, "/{token}/{*rest}", "/{token}/{rest}");
        }
        late("/v1/S3CRET/x/y", "/{token}/*rest", "/{token}/{rest}");
        late("/v1/S3CRET/x/y", "/{token}/{rest}*", "/{token}/{rest}");
        late("/f/abc/x/y", "/f/{token}/{*rest}", "/f/{token}/x/y");
        late("/v1/f/abc/x/y", "/f/{token}/{*rest}", "/v1/f/{token}/x/y");
        late("/v1/abc/f/x/y", "/{token}/f/{*rest}", "/v1/{token}/f/x/y");
        late("/v1/a-abc/x/y", "/a-{token}/{*rest}", "/v1/a-{token}/x/y");
        late("/v1/k/a/b", "/k/{*key}", "/v1/k/{key}");
        // It comes twice.
        late("/f/f/abc/x", "/f/{token}/{*rest}", "/f/{token}/{rest}");
        late("/abc/f/x/f/y", "/{token}/f/{*rest}", "/{token}/f/{rest}");
        late("/v1/f/abc//", "/f/{token}/{*rest}", "/f/{token}/{rest}");
        late("/x/y/z", "/f/{token}/{*rest}", "/f/{token}/{rest}");
        late("/x", "/{token}/{*rest}", "/{token}/{rest}");
        // Nothing is secret.
        late("/v1/7/a/b", "/{id}/{*rest}", "/v1/7/a/b");
    }

    #[test]
    fn without_a_catch_all_it_does_not_matter_when_the_route_was_told() {
        for alignment in [Alignment::Known, Alignment::Late] {
            let check = |path, route, expected| check_by(alignment, path, route, expected);
            check("/abc/7", "/{token}/{id}", "/{token}/7");
            check("/v1/abc/7", "/{token}/{id}", "/v1/{token}/7");
            check("/legacy/abc", "/reset/{token}", "/reset/{token}");
        }
    }

    #[test]
    fn each_of_several_templates_masks_its_secrets() {
        let check = |path, routes: &[(&str, Alignment)], expected: &str| {
            let shown = stored(path, routes.iter().copied(), |_, _| false);
            assert_eq!(shown, expected, "{path} by {routes:?}");
        };
        let (known, late) = (Alignment::Known, Alignment::Late);
        let catch_all = ("/{*path}", known);
        check(
            "/reset/abc",
            &[catch_all, ("/reset/{token}", late)],
            "/reset/{token}",
        );
        check(
            "/v1/abc/reset/def",
            &[("/v1/{key}/{*path}", known), ("/reset/{token}", late)],
            "/v1/{key}/reset/{token}",
        );
        // It does not fit.
        check(
            "/v1/abc/def",
            &[("/v1/{key}/{*path}", known), ("/reset/{token}", late)],
            "/reset/{token}",
        );
        // Only the whole path has the same end as a template.
        let long = format!("/reset/abc/{}", "x/".repeat(2_000));
        let parts = format!("/reset/{{token}}{}", "/{n}".repeat(2_000));
        let shown = stored(&long, [catch_all, (&*parts, late)], |_, _| false);
        assert!(shown.starts_with("/reset/{token}/x/") && shown.ends_with('…'));
    }

    #[test]
    fn a_path_is_replaced_by_a_template_that_was_cut() {
        for (route, expected) in [
            ("/a/{id}/b…", "/a/{id}/b…"),
            ("/a/{id:[0-9]+}/{to…", "/a/{id}/{to…}"),
        ] {
            let shown = stored("/a/7/b/abc", [(route, Alignment::Cut)], |_, _| false);
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn long_and_odd_paths_are_cut_after_masking() {
        let long = format!("/{}/abc", "x".repeat(5_000));
        let shown = stored(&long, [("/{id}/{token}", Alignment::Known)], |_, _| false);
        assert!(shown.len() <= 2_048 && shown.ends_with('…'));
        let secret = format!("/reset/{}", "s".repeat(5_000));
        check(&secret, "/reset/{token}", "/reset/{token}");
        for odd in ["", "*", "/", "//", "a", "/%", "/{", "/}"] {
            for route in [
                "", "/", "{", "}", "/{", "/{token", "/}token", "/{*", "/{}", "*", ":",
            ] {
                for alignment in [Alignment::Known, Alignment::Late, Alignment::Cut] {
                    let _ = stored(odd, [(route, alignment)], |_, _| true);
                }
            }
        }
    }
}
