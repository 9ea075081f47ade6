//! How fast rows move: the difference between two looks.

use std::collections::BTreeMap;

use audithog::inspect::Status;
use jiff::Timestamp;

use crate::Shared;

/// Between looks that are compared, in seconds. Closer ones say little, and others are about another time.
const NEAR: f64 = 2.0;
const FAR: f64 = 60.0;

/// Counts at a time.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    at: Timestamp,
    head: u64,
    delivered: BTreeMap<String, u64>,
}

/// Rows a second. None: there was no look before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    pub(crate) stored: Option<f64>,
    delivered: BTreeMap<String, f64>,
}

impl Pace {
    pub(crate) fn delivered(&self, sink: &str) -> Option<f64> {
        self.delivered.get(sink).copied()
    }

    fn between(before: &Look, now: &Look) -> Option<Self> {
        let seconds = (now.at.as_microsecond() - before.at.as_microsecond()) as f64 / 1e6;
        if !(NEAR..=FAR).contains(&seconds) {
            return None;
        }
        let pace = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let delivered = now.delivered.iter().filter_map(|(sink, now)| {
            let before = before.delivered.get(sink)?;
            Some((sink.clone(), pace(*before, *now)))
        });
        Some(Self {
            stored: Some(pace(before.head, now.head)),
            delivered: delivered.collect(),
        })
    }
}

impl Shared {
    /// Compares with the look before, whoever had it.
    pub(crate) fn pace(&self, status: &Status, at: Timestamp) -> Pace {
        let now = Look {
            at,
            head: status.rows.head,
            delivered: status
                .sinks
                .iter()
                .map(|sink| (sink.name.clone(), sink.delivered))
                .collect(),
        };
        let mut looks = self
            .looks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let pace = looks
            .iter()
            .rev()
            .find_map(|before| Pace::between(before, &now));
        // Enough to find one that is far enough, with several pages open.
        if looks.len() >= 16 {
            looks.pop_front();
        }
        looks.push_back(now);
        pace.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(second: i64, head: u64) -> Look {
        Look {
            at: Timestamp::from_second(second).unwrap(),
            head,
            delivered: [("posthog".to_owned(), head / 2)].into(),
        }
    }

    #[test]
    fn a_pace_is_between_two_looks_that_are_neither_close_nor_far() {
        let pace = Pace::between(&look(100, 1_000), &look(110, 1_500)).unwrap();
        assert_eq!(pace.stored, Some(50.0));
        assert_eq!(pace.delivered("posthog"), Some(25.0));
        assert_eq!(pace.delivered("other"), None);
        for seconds in [0, 1, 61] {
            assert!(Pace::between(&look(100, 1), &look(100 + seconds, 2)).is_none());
        }
    }
}
