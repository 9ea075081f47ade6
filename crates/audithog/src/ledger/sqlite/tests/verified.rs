//! Which rows count as compared with a sink.

use super::Place;
use crate::ledger::sqlite::verified::{self, Compared, verify};
use crate::ledger::tests::{NOW, commit_rows, full_row};
use crate::ledger::{Settlement, Store};
use crate::record::{Micros, Row};

const SINK: &str = "posthog";

impl Place {
    fn compare(&self, there: &[(i64, i64)], missing: &[i64]) -> bool {
        let compared = Compared {
            seen: true,
            there,
            missing,
        };
        verify(&self.path(), SINK, NOW, compared).unwrap()
    }

    fn stretches(&self) -> Vec<(i64, i64)> {
        let raw = self.raw();
        let mut stretches = raw
            .prepare("SELECT first_seq, last_seq FROM audit_verified WHERE sink = ?1 ORDER BY 1")
            .unwrap();
        let found = stretches.query_map([SINK], |row| Ok((row.get(0)?, row.get(1)?)));
        found.unwrap().map(Result::unwrap).collect()
    }

    fn compared(&self) -> i64 {
        verified::rows(&self.raw(), SINK).unwrap()
    }
}

#[test]
fn stretches_that_touch_become_one() {
    let place = Place::new();
    let mut store = place.open();
    assert!(!place.compare(&[(1, 3)], &[]), "nobody knows this sink");
    assert_eq!(place.stretches(), []);
    store.register_sink(SINK).unwrap();
    for (there, missing, expected) in [
        (&[(10, 20)][..], &[][..], &[(10, 20)][..]),
        (&[(30, 40)], &[], &[(10, 20), (30, 40)]),
        (&[(21, 22)], &[], &[(10, 22), (30, 40)]),
        (&[(12, 15)], &[], &[(10, 22), (30, 40)]),
        (&[(20, 29)], &[], &[(10, 40)]),
        (&[], &[10, 25, 40, 77], &[(11, 24), (26, 39)]),
        (&[(1, 50)], &[], &[(1, 50)]),
        (&[(60, 70)], &[60], &[(1, 50), (60, 70)]),
    ] {
        assert!(place.compare(there, missing));
        assert_eq!(place.stretches(), expected, "after {there:?}, {missing:?}");
    }
    assert_eq!(place.compared(), 61);
}

#[test]
fn rows_that_are_removed_no_longer_count() {
    let place = Place::new();
    let mut store = place.open();
    store.register_sink(SINK).unwrap();
    let rows: Vec<Row> = (0..20).map(full_row).collect();
    commit_rows(&mut store, &rows);
    let settlement = Settlement {
        sink: SINK,
        cursor: 20,
        delivered: 20,
        ..Settlement::default()
    };
    super::retention::settle(&mut store, settlement);
    place.compare(&[(1, 4), (6, 10), (15, 20)], &[]);
    assert_eq!(place.compared(), 15);
    assert_eq!(store.prune(Micros(NOW.0 + 1), 7).unwrap(), 7);
    assert_eq!(place.stretches(), [(6, 10), (15, 20)]);
    assert_eq!(place.compared(), 9);
}
