//! Rows that filters admit, against SQL over the view.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Place, traffic};
use crate::ledger::tests::{NOW, row};
use crate::query::{Field, Filter, Key, Log, LogRow, Question, Status};
use crate::record::{StoredRow, text_of};

fn all_rows(log: &mut Log, filter: &Filter) -> Vec<LogRow> {
    let rows = log.rows(filter, 0, u64::MAX).unwrap();
    rows.map(Result::unwrap).collect()
}

fn text(row: &LogRow, field: Field) -> Option<String> {
    let stored: &StoredRow = &row.0;
    text_of(stored, field)
}

#[test]
fn every_field_chooses_the_rows_that_have_its_text() {
    let place = Place::holding(&traffic(1_500, 1_000));
    let mut log = place.log();
    let all = all_rows(&mut log, &Filter::all());
    assert_eq!(all.len(), 1_500);
    for field in Field::ALL {
        let Some(wanted) = all.iter().rev().find_map(|row| text(row, field)) else {
            assert!(
                matches!(field, Field::OnBehalfOf | Field::UpstreamRequestId),
                "{field:?}"
            );
            continue;
        };
        let filter = Filter::all().is(field, [wanted.clone()]).unwrap();
        let chosen = all_rows(&mut log, &filter);
        let expected: Vec<&LogRow> = all
            .iter()
            .filter(|row| text(row, field).as_deref() == Some(&wanted))
            .collect();
        assert!(!expected.is_empty());
        assert_eq!(
            chosen.iter().collect::<Vec<_>>(),
            expected,
            "{field:?} = {wanted}"
        );
        let has = all_rows(&mut log, &Filter::all().has(field));
        let expected = all.iter().filter(|row| text(row, field).is_some());
        assert!(has.iter().eq(expected), "{field:?} is set");
        let lacks = all_rows(&mut log, &Filter::all().lacks(field));
        let expected = all.iter().filter(|row| text(row, field).is_none());
        assert!(lacks.iter().eq(expected), "{field:?} is not set");
        let other = match field {
            Field::Ip => "192.0.2.1",
            Field::TraceId => "00000000000000000000000000000001",
            Field::Result => "failure",
            Field::ActorType => "service",
            _ => "none-of-them",
        };
        let both = Filter::all().is(field, [wanted.as_str(), other]).unwrap();
        assert!(all_rows(&mut log, &both).len() >= chosen.len());
    }
}

#[test]
fn beginnings_statuses_and_refusals_choose_rows() {
    let mut rows = traffic(1_500, 1_000);
    let mut over_quota = 0;
    for exchange in rows.iter_mut().filter_map(|row| row.exchange.as_mut()) {
        if exchange.status_code == Some(404) {
            exchange.error_code = Some("AGENT_QUOTA_REACHED".into());
            over_quota += 1;
        }
    }
    let place = Place::holding(&rows);
    let mut log = place.log();
    let all = all_rows(&mut log, &Filter::all());
    let count = |admit: &dyn Fn(&LogRow) -> bool| all.iter().filter(|row| admit(row)).count();
    let begins = |field, beginning: &str| Filter::all().begins(field, beginning).unwrap();
    for (field, beginning) in [
        (Field::Path, "/missing/1"),
        (Field::Path, "/healthz"),
        (Field::Path, "/4/"),
        (Field::Route, "/5"),
        (Field::ErrorCode, "CLIENT_CLOSED"),
        (Field::Path, "%"),
        (Field::UserAgent, "agent/"),
    ] {
        let chosen = all_rows(&mut log, &begins(field, beginning)).len();
        let expected =
            count(&|row| text(row, field).is_some_and(|text| text.starts_with(beginning)));
        assert_eq!(chosen, expected, "{field:?} {beginning}");
        assert_eq!(chosen > 0, beginning != "%", "{field:?} {beginning}");
    }
    let status = |text: &str| text.parse::<Status>().unwrap();
    let any = Filter::all().any_status([status("404"), status("5xx")]);
    let expected = count(&|row| matches!(row.row().status_code(), Some(404 | 500..=599)));
    assert_eq!(all_rows(&mut log, &any).len(), expected);
    assert_eq!(all_rows(&mut log, &Filter::all().any_status([])).len(), 0);
    let none = Filter::all().no_status([status("5xx"), status("404"), status("404-451")]);
    let others = count(&|row| !matches!(row.row().status_code(), Some(404..=451 | 500..=599)));
    assert_eq!(all_rows(&mut log, &none).len(), others);
    assert!(others > count(&|row| row.row().status_code().is_some_and(|code| code < 400)));
    let counted = Question::count([Key::Status], [], none).unwrap();
    assert_eq!(log.ask(&counted).unwrap().scope.rows, Some(others as u64));
    assert_eq!(
        all_rows(&mut log, &Filter::all().no_status([])).len(),
        all.len()
    );
    let refused = all_rows(&mut log, &Filter::all().refused());
    assert_eq!(
        refused.len(),
        count(&|row| row.row().status_code() == Some(429)) + over_quota
    );
    assert!(refused.len() > over_quota && over_quota > 10);
}

/// Numbers of texts and texts that look like numbers are in one column.
#[test]
fn a_text_that_looks_like_a_number_is_none() {
    let mut rows = traffic(300, 1_000);
    // Each once, so that it stays text.
    for (n, row) in rows.iter_mut().skip(100).take(60).enumerate() {
        row.actor.user_role = Some(n.to_string().into());
    }
    let place = Place::holding(&rows);
    let mut log = place.log();
    for wanted in [
        &["admin"][..],
        &["admin", "nobody"],
        &["7", "owner"],
        &["7"],
    ] {
        let filter = Filter::all().is(Field::UserRole, wanted.iter().copied());
        let chosen = all_rows(&mut log, &filter.unwrap());
        let expected = rows.iter().filter(|row| {
            let role = row.actor.user_role.as_deref();
            role.is_some_and(|role| wanted.contains(&role))
        });
        let expected: Vec<_> = expected.map(|row| row.id).collect();
        let chosen: Vec<_> = chosen.iter().map(|row| row.row().id()).collect();
        assert_eq!(chosen, expected, "{wanted:?}");
    }
}

#[test]
fn more_texts_than_an_expression_has_terms_can_be_asked_for() {
    let place = Place::holding(&traffic(50, 1_000));
    let mut log = place.log();
    let many = (0..5_000).map(|n| format!("/{n}/{{id}}"));
    let filter = Filter::all().is(Field::Route, many).unwrap();
    let all = all_rows(&mut log, &Filter::all());
    let expected = all
        .iter()
        .filter(|row| text(row, Field::Route).is_some_and(|route| route.ends_with("/{id}")));
    assert!(all_rows(&mut log, &filter).iter().eq(expected));
}

#[test]
fn nothing_is_read_after_the_deadline() {
    let place = Place::holding(&traffic(1_500, 1_000));
    let mut log = place.log();
    let (id, all) = (log.row(7).unwrap().unwrap().row().id(), Filter::all());
    let later = Instant::now() + Duration::from_secs(3_600);
    let mut in_time = place.log().deadline(later);
    assert_eq!(all_rows(&mut in_time, &all).len(), 1_500);
    let mut late = log.deadline(Instant::now());
    let count = Question::count([Key::Status], [], all.clone()).unwrap();
    for error in [
        late.head().unwrap_err(),
        late.ask(&count).unwrap_err(),
        late.row(1).unwrap_err(),
        late.row_by_id(&id.to_string()).unwrap_err(),
        late.rows(&all, 0, u64::MAX).unwrap_err(),
    ] {
        assert!(error.is_deadline() && !error.is_ledger(), "{error:?}");
    }
    // Also in the middle.
    let mut rows = in_time.rows(&all, 0, u64::MAX).unwrap();
    assert!(rows.next().unwrap().is_ok());
    rows.log.looker.set_deadline(Instant::now());
    let error = rows.find_map(Result::err).unwrap();
    assert!(error.is_deadline(), "{error:?}");
    assert!(rows.next().is_none());
}

#[test]
fn the_walk_goes_both_ways_from_anywhere() {
    let place = Place::holding(&traffic(2_300, 1_000));
    let mut log = place.log();
    let seqs = |rows: Vec<LogRow>| rows.iter().map(LogRow::seq).collect::<Vec<_>>();
    let forward = seqs(all_rows(&mut log, &Filter::all()));
    assert_eq!(forward, (1..=2_300).collect::<Vec<_>>());
    let part = log.rows(&Filter::all(), 100, 1_700).unwrap();
    assert_eq!(
        seqs(part.map(Result::unwrap).collect()),
        (101..=1_700).collect::<Vec<_>>()
    );
    let back = log.latest_rows(&Filter::all(), 100, 1_700).unwrap();
    assert_eq!(
        seqs(back.map(Result::unwrap).collect()),
        (101..=1_700).rev().collect::<Vec<_>>()
    );
    assert_eq!(
        log.rows(&Filter::all(), 5_000, u64::MAX).unwrap().count(),
        0
    );
}

#[test]
fn what_no_row_can_have_is_refused_with_its_name() {
    let refusal = |filter: Result<Filter, crate::Error>| {
        let error = filter.unwrap_err();
        assert!(error.is_question());
        error.to_string()
    };
    for (field, text, expected) in [
        (Field::Ip, "localhost", "\"localhost\" is no ip"),
        (Field::TraceId, "abc", "\"abc\" is no trace_id"),
        (Field::Result, "ok", "\"ok\" is no result"),
        (Field::ActorType, "robot", "\"robot\" is no actor_type"),
    ] {
        let message = refusal(Filter::all().is(field, [text]));
        assert!(message.starts_with(expected), "{message}");
    }
    refusal(Filter::all().is(Field::Event, Vec::<String>::new()));
    refusal(Filter::all().begins(Field::UserId, "u"));
    refusal(Filter::all().begins(Field::Path, ""));
    for text in [
        "",
        "xx",
        "0xx",
        "99",
        "1000",
        "5x",
        "500-400",
        "４０４",
        "+44",
        "4xx-5xx",
    ] {
        assert!(text.parse::<Status>().unwrap_err().is_question(), "{text}");
    }
    assert_eq!("4XX".parse::<Status>().unwrap().to_string(), "4xx");
    assert_eq!("400-451".parse::<Status>().unwrap().to_string(), "400-451");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Rows of every form, and the question after the groups of each field.
    #[test]
    fn rows_of_every_form_are_counted_as_sql_counts_them(
        rows in prop::collection::vec(row(), 1..40),
        field in prop::sample::select(&Field::ALL[..]),
        past in 0_u64..4_000_000,
    ) {
        let mut ids = std::collections::HashSet::new();
        let rows: Vec<_> = rows.into_iter().filter(|row| ids.insert(row.id)).collect();
        let place = Place::holding(&rows);
        let own = matches!(field, Field::RequestId | Field::UpstreamRequestId | Field::TraceId);
        let past = Duration::from_micros(u64::try_from(NOW.0).unwrap() - past);
        let filter = Filter::all().since(std::time::SystemTime::UNIX_EPOCH + past);
        if !own {
            for filter in [Filter::all(), filter] {
                let question = Question::count([Key::Field(field)], [], filter).unwrap();
                place.check(&question);
            }
        }
        let mut log = place.log();
        for row in all_rows(&mut log, &Filter::all()) {
            let Some(text) = text(&row, field) else { continue };
            let filter = Filter::all().is(field, [text.clone()]);
            let filter = filter.unwrap();
            let found = all_rows(&mut log, &filter);
            prop_assert!(found.contains(&row), "{field:?} {text:?}");
        }
    }
}
