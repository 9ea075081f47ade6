//! Texts that come with request after request: user agents and route templates.
//!
//! Rows share them, so that a long one costs no allocation and no second look at its characters; and what follows from a
//! route template, whether it has a secret parameter, is found out once. The number of places is fixed, and who has a
//! place is decided by a hash that anybody can compute: what a client can do with that is to make others' texts be
//! copied again.

use std::hint::cold_path;

use super::path::{self, Alignment};
use super::settings::CaptureSettings;
use crate::record::{SharedText, Text, limits, sanitize};

/// How many texts are kept of each kind: more than the routes of most services.
const PLACES: usize = 256;

/// Where a text can be, from the place that its hash names on: so that two do not drive each other out for ever.
const TRIED: usize = 4;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Known {
    agents: Places,
    routes: Places,
}

/// Entries by the hash of their text. Takes no memory until the first one comes.
#[derive(Debug, Default)]
struct Places(Vec<Option<Entry>>);

#[derive(Clone, Debug)]
struct Entry {
    text: SharedText,
    /// Of a route: see [`Route`].
    has_secret: bool,
    alignment: Alignment,
}

/// A route template, fit for a row.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) text: Text,
    /// A parameter of the whole template, however much of it fits, is never stored.
    pub(super) has_secret: bool,
    pub(super) alignment: Alignment,
}

impl Known {
    /// The text of a `User-Agent` header.
    pub(super) fn agent(&mut self, raw: &[u8]) -> SharedText {
        let make = || Entry {
            text: sanitize::bytes(raw, limits::USER_AGENT).into(),
            has_secret: false,
            alignment: Alignment::default(),
        };
        self.agents.get(raw, &make).text.clone()
    }

    pub(super) fn route(&mut self, template: &str, settings: &CaptureSettings) -> Route {
        let make = || {
            let route = Route::new(template, settings);
            Entry {
                text: route.text.into(),
                has_secret: route.has_secret,
                alignment: route.alignment,
            }
        };
        let entry = self.routes.get(template.as_bytes(), &make);
        if entry.alignment == Alignment::Cut {
            // It may be there for another one, which reads like this one where it was cut.
            return Route::new(template, settings);
        }
        Route {
            text: (&entry.text).into(),
            has_secret: entry.has_secret,
            alignment: entry.alignment,
        }
    }
}

impl Places {
    fn get(&mut self, raw: &[u8], make: &dyn Fn() -> Entry) -> &Entry {
        let at = self.find(raw).unwrap_or_else(|free| {
            cold_path();
            if self.0.is_empty() {
                self.0.resize(PLACES + TRIED, None);
            }
            self.0[free] = None;
            free
        });
        self.0[at].get_or_insert_with(make)
    }

    /// Where the text is, or where it is to be.
    // Once for both kinds: what a request runs through should be short, because it has left the core's cache since
    // the last one.
    #[inline(never)]
    fn find(&self, raw: &[u8]) -> Result<usize, usize> {
        let home = home(raw);
        for at in home..home + TRIED {
            match self.0.get(at) {
                Some(Some(entry)) if entry.text.as_bytes() == raw => return Ok(at),
                Some(Some(_)) => {}
                // No place is ever empty again: it is not in a later one.
                Some(None) | None => return Err(at),
            }
        }
        Err(home)
    }
}

impl Route {
    pub(super) fn new(template: &str, settings: &CaptureSettings) -> Self {
        let text = sanitize::text(template, limits::ROUTE);
        let has_secret = path::has_secret(template, |name| settings.masks(template, name));
        let alignment = if text == *template {
            Alignment::Known
        } else {
            Alignment::Cut
        };
        Self {
            text,
            has_secret,
            alignment,
        }
    }
}

/// Eight bytes at a time: a place is worth no more.
fn home(raw: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = raw.as_chunks::<8>();
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    let hash = words
        .iter()
        .chain([&tail])
        .fold(raw.len() as u64, |hash, word| {
            (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD)
        });
    // The best bits of a product are the upper ones.
    usize::try_from(hash >> 32).unwrap_or(0) % PLACES
}

#[cfg(test)]
mod tests {
    use super::{Known, PLACES};
    use crate::capture::path::Alignment;
    use crate::capture::{CaptureSettings, MaskedParam};
    use crate::record::limits;

    #[test]
    fn a_text_reads_the_same_however_often_and_among_however_many_it_comes() {
        let mut known = Known::default();
        let agents: Vec<String> = (0..4 * PLACES)
            .map(|n| format!("agent/{n} (a comment that is longer than what is kept in place)"))
            .collect();
        for agent in agents.iter().chain(&agents) {
            assert_eq!(known.agent(agent.as_bytes()), agent.as_str());
            assert_eq!(known.agent(agent.as_bytes()), agent.as_str());
        }
        assert_eq!(known.agent(b"a\nb"), "a\\u{a}b");
        assert_eq!(known.agent(b"a\nb"), "a\\u{a}b");
        assert_eq!(known.agent(b""), "");
    }

    #[test]
    fn a_long_text_that_was_seen_is_shared() {
        let mut known = Known::default();
        let agent = [b'x'; 100];
        let first = known.agent(&agent);
        assert_eq!(first.as_ptr(), known.agent(&agent).as_ptr());
    }

    #[test]
    fn a_route_knows_whether_it_has_a_secret() {
        let (mut known, settings) = (Known::default(), CaptureSettings::default());
        for _ in 0..2 {
            assert!(!known.route("/agents/{id}", &settings).has_secret);
            assert!(known.route("/reset/{token}", &settings).has_secret);
            assert!(!known.route("/token", &settings).has_secret);
        }
    }

    #[test]
    fn a_route_that_is_cut_knows_what_the_whole_one_has() {
        let long = format!("/{}", "a".repeat(600));
        let by_route = format!("{long}/{{link}}");
        let settings = CaptureSettings {
            masked_params: vec![MaskedParam {
                route: Some(by_route.clone()),
                name: "link".to_owned(),
            }],
            ..CaptureSettings::default()
        };
        let mut known = Known::default();
        let cut = known.route(&long, &settings).text.to_string();
        assert!(cut.len() <= limits::ROUTE && cut.ends_with('…'));
        for _ in 0..2 {
            for (template, expected) in [
                (format!("{long}/{{token}}"), (true, Alignment::Cut)),
                (format!("{long}/{{id}}"), (false, Alignment::Cut)),
                (format!("{long}/{{id}}/{{link}}"), (false, Alignment::Cut)),
                (by_route.clone(), (true, Alignment::Cut)),
                (cut.clone(), (false, Alignment::Known)),
                ("/{token}".to_owned(), (true, Alignment::Known)),
            ] {
                let route = known.route(&template, &settings);
                assert_eq!((route.has_secret, route.alignment), expected, "{template}");
            }
        }
    }
}
