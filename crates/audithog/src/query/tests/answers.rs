//! Every named question, and groupings of one's own.

use std::time::{Duration, SystemTime};

use super::{Place, traffic};
use crate::ledger::tests::NOW;
use crate::query::{Field, Filter, Key, Measure, Named, Question};

const HOUR: u64 = 3_600_000_000;

fn before_now(micros: u64) -> SystemTime {
    let now = Duration::from_micros(u64::try_from(NOW.0).unwrap());
    SystemTime::UNIX_EPOCH + now - Duration::from_micros(micros)
}

fn subject(named: Named) -> Option<&'static str> {
    Some(match named {
        Named::User => "user_17",
        Named::Request => "0192ffff-0000-7000-8000-000000000001",
        Named::Endpoint => "GET /4/{id}",
        Named::Address => "2001:db8::7",
        _ => return None,
    })
}

#[test]
fn every_named_question_says_what_sql_says() {
    let place = Place::holding(&traffic(5_000, 1_000_000));
    for named in Named::ALL {
        let filters = [
            Filter::all(),
            Filter::all().since(before_now(HOUR)),
            Filter::all()
                .since(before_now(HOUR + 7_777_777))
                .until(before_now(HOUR / 3)),
        ];
        for filter in filters {
            let question = named.question(subject(named), filter).unwrap();
            let question = question.limit(1_000).unwrap();
            let lines = place.check(&question);
            assert_eq!(lines > 0, named != Named::Request, "{named:?}");
        }
    }
}

#[test]
fn a_question_without_its_subject_is_about_everyone() {
    let place = Place::holding(&traffic(5_000, 1_000_000));
    for named in Named::ALL {
        let question = named.about_everyone(Filter::all()).unwrap();
        assert!(
            place.check(&question.limit(2_000).unwrap()) > 0,
            "{named:?}"
        );
    }
}

#[test]
fn one_request_is_found_with_its_events() {
    let mut rows = traffic(300, 1_000);
    let id = rows[100].id;
    let mut event = crate::record::Row::event(
        uuid::Uuid::from_u128(9),
        rows[100].ts,
        "agent_published".into(),
    );
    event.request_id = Some(crate::record::RequestId::Uuid(id));
    rows.insert(250, event);
    let place = Place::holding(&rows);
    let question = Named::Request
        .question(Some(&id.to_string().to_uppercase()), Filter::all())
        .unwrap();
    assert_eq!(place.check(&question), 2);
}

#[test]
fn rows_are_grouped_by_every_field_that_has_groups() {
    let place = Place::holding(&traffic(3_000, 100_000));
    let measures = Measure::ALL;
    for field in Field::ALL {
        let question = Question::count([Key::Field(field)], measures, Filter::all());
        match field {
            Field::RequestId | Field::UpstreamRequestId | Field::TraceId => {
                assert!(question.unwrap_err().is_question());
            }
            _ => {
                let question = question.unwrap().limit(5_000).unwrap();
                assert!(place.check(&question) > 0, "{field:?}");
            }
        }
    }
    let question = Question::count([Key::Status], measures, Filter::all()).unwrap();
    assert!(place.check(&question) > 3);
    let time = Key::time(Duration::from_secs(60));
    let by = [time, Key::Field(Field::OrgId), Key::Field(Field::Service)];
    let question = Question::count([time], measures, Filter::all()).unwrap();
    assert!(place.check(&question) > 3);
    let both = Question::count(by, [], Filter::all()).unwrap();
    let mut lines = place
        .log()
        .ask(&both.clone().limit(5_000).unwrap())
        .unwrap()
        .lines;
    let mut expected = place.by_sql(&both.limit(5_000).unwrap());
    // By time only: the order within a step is open.
    lines.sort_by_key(|line| format!("{line:?}"));
    expected.sort_by_key(|line| format!("{line:?}"));
    assert_eq!(lines, expected);
}

/// The dictionary takes a text in when it is seen for the second time: earlier rows have the text itself.
#[test]
fn a_text_is_one_group_in_the_dictionary_and_out_of_it() {
    let mut rows = traffic(2, 1_000);
    for row in &mut rows {
        row.event = "plan_changed".into();
        row.exchange = None;
    }
    let place = Place::holding(&rows);
    let question = Question::count([Key::Field(Field::Event)], [], Filter::all()).unwrap();
    assert_eq!(place.check(&question), 1);
}

#[test]
fn an_answer_says_that_there_is_more() {
    let place = Place::holding(&traffic(500, 1_000));
    let ask = |limit| {
        let question = Named::Users.question(None, Filter::all()).unwrap();
        let answer = place.log().ask(&question.limit(limit).unwrap()).unwrap();
        (answer.lines.len(), answer.scope.more)
    };
    assert_eq!(ask(3), (3, true));
    assert!(!ask(1_000).1);
    let rows = Named::Failures.question(None, Filter::all()).unwrap();
    let answer = place.log().ask(&rows.limit(4).unwrap()).unwrap();
    assert_eq!((answer.lines.len(), answer.scope.more), (4, true));
}

#[test]
fn an_empty_log_has_empty_answers() {
    let place = Place::holding(&[]);
    for named in Named::ALL {
        let question = named.question(subject(named), Filter::all()).unwrap();
        assert_eq!(place.check(&question), 0, "{named:?}");
    }
}

/// Columns keep no longer ones than an hour and eleven minutes.
#[test]
fn streams_of_hours_are_as_long_as_they_were() {
    let mut rows = traffic(3_000, 1_000);
    for (at, row) in rows.iter_mut().enumerate().skip(500).step_by(3) {
        if let Some(exchange) = &mut row.exchange {
            // Around the longest that a column keeps, and five hours.
            let around = u64::from(u32::MAX) - 3 + at as u64 % 5;
            exchange.duration_us = if at < 1_500 { around } else { 18_000_000_000 };
        }
    }
    let place = Place::holding(&rows);
    let filters = [
        Filter::all(),
        Filter::all().status("2xx".parse().unwrap()),
        Filter::all().begins(Field::Path, "/4/").unwrap(),
    ];
    for filter in filters {
        let totals = Question::totals(Measure::ALL, filter.clone());
        assert_eq!(place.check(&totals), 1);
        let routes = Question::count([Key::Field(Field::Route)], Measure::ALL, filter).unwrap();
        assert!(place.check(&routes.limit(1_000).unwrap()) > 0);
    }
    let slowest = Named::Slowest.question(None, Filter::all()).unwrap();
    let answer = place.log().ask(&slowest).unwrap();
    assert!(
        answer
            .lines
            .iter()
            .any(|line| line.last().unwrap() == 18_000_000.0),
        "{answer:?}"
    );
}

#[test]
fn an_answer_with_percentiles_says_how_close_they_are() {
    let place = Place::holding(&traffic(100, 1_000));
    let notes = |named: Named| {
        let question = named.question(subject(named), Filter::all()).unwrap();
        place.log().ask(&question).unwrap().scope.notes
    };
    let expected = "percentiles are known to within 0.4 %, counts are exact";
    assert_eq!(notes(Named::Slowest), [expected]);
    assert!(notes(Named::Users).is_empty());
    assert!(notes(Named::Failures).is_empty());
}

/// What is derived may be damaged or gone; the rows are the log.
#[test]
fn a_damaged_digest_is_no_digest() {
    let place = Place::holding(&traffic(5_000, 1_000));
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    raw.execute_batch("DROP TRIGGER audit_digests_update")
        .unwrap();
    // The times of the first stretch, the flags of the second, the odd rows of the third.
    for (piece, data) in [(0, "x''"), (32 + 2, "x'01'"), (64 + 31, "zeroblob(40)")] {
        let sql = format!("UPDATE audit_digests SET data = {data} WHERE piece = {piece}");
        assert_eq!(raw.execute(&sql, []).unwrap(), 1);
    }
    // The second half of the fourth was never written.
    let half = "DELETE FROM audit_digests WHERE piece BETWEEN 96 + 10 AND 96 + 31";
    assert!(raw.execute(half, []).unwrap() > 0);
    drop(raw);
    for named in [Named::Users, Named::Traffic, Named::Failures] {
        let filter = Filter::all().since(before_now(HOUR));
        let question = named.question(subject(named), filter).unwrap();
        assert!(place.check(&question.limit(1_000).unwrap()) > 0);
    }
}

#[test]
fn totals_are_one_line_also_of_nothing() {
    let place = Place::holding(&traffic(5_000, 1_000_000));
    let nobody = Filter::all().is(Field::UserId, ["nobody"]).unwrap();
    for filter in [
        Filter::all(),
        Filter::all().since(before_now(HOUR)),
        Filter::all().is(Field::Event, ["api_request"]).unwrap(),
        Filter::all().has(Field::UserId),
        Filter::all().lacks(Field::UserId).lacks(Field::ErrorCode),
        Filter::all().no_status(["2xx".parse().unwrap(), "404".parse().unwrap()]),
        nobody,
    ] {
        let question = Question::totals(Measure::ALL, filter);
        assert_eq!(place.check(&question), 1);
    }
}
