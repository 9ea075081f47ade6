//! The reply that nearly every request gets: each event is `ok`, and nothing else is said.
//!
//! Read byte by byte in the one form in which PostHog writes it. Whatever differs in the least is left to `verdict`,
//! which comes to the same of every reply that is taken here.

use uuid::Uuid;

const OPEN: &[u8] = br#"{"results":{"#;
const CLOSE: &[u8] = b"}}";
const OK: [&[u8]; 2] = [
    br#"":{"result":"ok"}"#,
    br#"":{"result":"ok","details":null}"#,
];

/// Whether `body` says that each of `ids`, which are distinct, was stored.
pub(super) fn says(body: &[u8], ids: &[Uuid]) -> bool {
    let Some(mut said) = read(body, ids.len()) else {
        return false;
    };
    if said == ids {
        return true;
    }
    // In the order of some hash. As many as were sent, so each once.
    let mut sent = ids.to_vec();
    said.sort_unstable();
    sent.sort_unstable();
    said == sent
}

/// The ids of a reply that names `count` and calls each of them `ok`.
fn read(body: &[u8], count: usize) -> Option<Vec<Uuid>> {
    let mut rest = body.strip_prefix(OPEN)?;
    let mut ids = Vec::with_capacity(count);
    loop {
        let (id, after) = rest.strip_prefix(b"\"")?.split_at_checked(36)?;
        ids.push(Uuid::try_parse_ascii(id).ok()?);
        rest = OK.iter().find_map(|ok| after.strip_prefix(*ok))?;
        match rest.strip_prefix(b",") {
            Some(more) if ids.len() < count => rest = more,
            Some(_) => return None,
            None => break,
        }
    }
    (rest == CLOSE && ids.len() == count).then_some(ids)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::{any, prop, proptest};
    use uuid::Uuid;

    use super::says;
    use crate::record::Micros;
    use crate::sink::posthog::verdict::{Answer, Context, V1, v1};
    use crate::sink::{Reply, Verdict};

    fn ids(count: u128) -> Vec<Uuid> {
        (1..=count).map(|n| Uuid::from_u128(n * 7)).collect()
    }

    fn entry(id: &Uuid) -> String {
        format!(r#""{id}":{{"result":"ok"}}"#)
    }

    fn body(entries: &[String]) -> String {
        format!(r#"{{"results":{{{}}}}}"#, entries.join(","))
    }

    /// Whether the judge of all replies comes to the same, through its general way.
    fn delivered(body: &str, ids: &[Uuid]) -> bool {
        let answer = Answer {
            status: 200,
            headers: HeaderMap::new(),
            // White space that only the general way takes.
            body: format!(" {body}").into_bytes(),
        };
        let context = Context {
            ids,
            now: Micros(0),
            key: "",
        };
        let V1::Done(Reply::Rows { verdicts, .. }) = v1(&answer, &context) else {
            return false;
        };
        verdicts == vec![Verdict::Delivered; ids.len()]
    }

    #[test]
    fn every_event_once_in_any_order_is_enough() {
        let ids = ids(3);
        let mut entries: Vec<String> = ids.iter().map(entry).collect();
        assert!(says(body(&entries).as_bytes(), &ids));
        entries.rotate_left(1);
        assert!(says(body(&entries).as_bytes(), &ids));
        entries[0] = entries[0].replace(r#""ok""#, r#""ok","details":null"#);
        assert!(says(body(&entries).as_bytes(), &ids));
    }

    #[test]
    fn anything_less_or_more_is_not() {
        let three = ids(3);
        let entries: Vec<String> = three.iter().map(entry).collect();
        let whole = body(&entries);
        let twice = [entries[0].clone(), entries[1].clone(), entries[1].clone()];
        let other = ids(4).iter().skip(1).map(entry).collect::<Vec<_>>();
        for wrong in [
            body(&entries[..2]),
            body(&ids(4).iter().map(entry).collect::<Vec<_>>()),
            body(&twice),
            body(&other),
            whole.replacen("ok", "drop", 1),
            whole.replacen("ok", "OK", 1),
            whole.replacen("}}", r#"},"x":{}}"#, 1),
            whole.replace("}}}", r#"}},"quota_limited":["events"]}"#),
            format!("{whole} "),
            format!("{whole}{whole}"),
            whole[..whole.len() - 1].to_owned(),
            r#"{"results":{}}"#.to_owned(),
            String::new(),
        ] {
            assert!(!says(wrong.as_bytes(), &three), "{wrong}");
        }
        assert!(!says(br#"{"results":{}}"#, &[]));
    }

    proptest! {
        /// A reply is changed in one place, by chance: it is never believed where the general way would not.
        #[test]
        fn nothing_is_believed_that_the_general_way_does_not(
            order in prop::sample::select(vec![[0_usize, 1, 2], [2, 0, 1], [1, 1, 2], [0, 1, 0]]),
            at in any::<prop::sample::Index>(),
            put in prop::option::of("[ -~]{0,3}"),
            cut in 0..3_usize,
        ) {
            let ids = ids(3);
            let entries: Vec<String> = order.iter().map(|&n| entry(&ids[n])).collect();
            let mut text = body(&entries);
            if let Some(put) = put {
                let at = at.index(text.len());
                let end = (at + cut).min(text.len());
                text.replace_range(at..end, &put);
            }
            if says(text.as_bytes(), &ids) {
                assert!(delivered(&text, &ids), "{text}");
            }
        }
    }

    #[test]
    fn the_general_way_is_what_the_others_are_compared_with() {
        let ids = ids(3);
        let entries: Vec<String> = ids.iter().map(entry).collect();
        assert!(delivered(&body(&entries), &ids));
        assert!(!delivered(&body(&entries[..2]), &ids));
    }
}
