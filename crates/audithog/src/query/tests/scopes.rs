//! What an organisation sees of a log.

use super::{Place, traffic};
use crate::query::{Field, Filter, Key, LogRow, Measure, Named, Question, SqlLimits};

const ORG: &str = "org_3";

fn of_org(filter: Filter) -> Filter {
    filter.is(Field::OrgId, [ORG]).unwrap()
}

fn ids(rows: impl Iterator<Item = Result<LogRow, crate::Error>>) -> Vec<uuid::Uuid> {
    rows.map(|row| row.unwrap().row().id()).collect()
}

#[test]
fn every_call_sees_the_organisations_rows_and_no_others() {
    // Rows by column, and the last ones row by row.
    let place = Place::holding(&traffic(3_000, 1_000_000));
    let mut all = place.log();
    let mut log = place.log().within_org(ORG);
    let filters = [
        Filter::all(),
        Filter::all().is(Field::OrgId, ["acme"]).unwrap(),
        Filter::all().is(Field::OrgId, ["acme", ORG]).unwrap(),
        Filter::all().status("4xx".parse().unwrap()),
        Filter::all().begins(Field::Path, "/4/").unwrap(),
    ];
    for filter in filters {
        let own = of_org(filter.clone());
        let expected = ids(all.rows(&own, 0, u64::MAX).unwrap());
        assert_eq!(ids(log.rows(&filter, 0, u64::MAX).unwrap()), expected);
        let latest: Vec<_> = expected.iter().rev().copied().collect();
        assert_eq!(ids(log.latest_rows(&filter, 0, u64::MAX).unwrap()), latest);

        let keys = [Key::Field(Field::OrgId), Key::Field(Field::UserId)];
        let counted = |filter| Question::count(keys, Measure::ALL, filter).unwrap();
        let (mine, theirs) = (counted(filter.clone()), counted(own.clone()));
        assert_eq!(
            log.ask(&mine).unwrap().lines,
            all.ask(&theirs).unwrap().lines
        );
        for named in Named::ALL {
            let mine = named.about_everyone(filter.clone()).unwrap();
            let theirs = named.about_everyone(own.clone()).unwrap();
            assert_eq!(
                log.ask(&mine).unwrap().lines,
                all.ask(&theirs).unwrap().lines,
                "{named:?}"
            );
        }
    }
}

#[test]
fn a_single_row_of_another_organisation_is_not_there() {
    let place = Place::holding(&traffic(1_500, 1_000_000));
    let (mut all, mut log) = (place.log(), place.log().within_org(ORG));
    let mut seen = 0;
    for seq in 1..=1_500 {
        let row = all.row(seq).unwrap().unwrap();
        let own = row.row().actor().org_id() == Some(ORG);
        let expected = own.then_some(&row);
        assert_eq!(log.row(seq).unwrap().as_ref(), expected);
        let id = row.row().id().to_string();
        assert_eq!(log.row_by_id(&id).unwrap().as_ref(), expected);
        seen += u64::from(own);
    }
    assert!(seen > 50, "{seen}");
}

/// How many rows others have shows nowhere.
#[test]
fn its_head_is_that_of_its_own_rows() {
    let place = Place::holding(&traffic(1_500, 1_000_000));
    let mut log = place.log().within_org(ORG);
    let last = place
        .log()
        .latest_rows(&of_org(Filter::all()), 0, u64::MAX)
        .unwrap()
        .next();
    let last = last.unwrap().unwrap().seq();
    assert!(last < 1_500);
    assert_eq!((log.head().unwrap(), log.pruned().unwrap()), (last, 0));
    let mut nobody = place.log().within_org("nobody");
    assert_eq!(nobody.head().unwrap(), 0);
}

/// What is not made of its rows is not said to it, either.
#[test]
fn statements_are_refused() {
    let place = Place::holding(&traffic(100, 1_000_000));
    let mut log = place.log().within_org(ORG);
    let error = log.sql("SELECT 1", SqlLimits::default()).unwrap_err();
    assert!(error.is_question(), "{error}");
}
