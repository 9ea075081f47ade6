//! What is handed to an engine.

use crate::query::{Field, Filter, Named, Question};

const HOSTILE: &str = "x' OR 1=1; DROP TABLE audit_rows; -- {v1} \u{0}\"\\";

/// No byte of what was given is part of a statement.
#[test]
fn every_value_is_bound() {
    let fields = [
        Field::Event,
        Field::UserId,
        Field::UserRole,
        Field::OrgId,
        Field::Path,
        Field::Route,
        Field::ErrorCode,
        Field::RequestId,
        Field::Service,
    ];
    for field in fields {
        let filter = Filter::all().is(field, [HOSTILE]).unwrap();
        let filter = filter.begins(Field::Path, HOSTILE).unwrap();
        for named in Named::ALL {
            let subject = match named {
                Named::Address => Some("203.0.113.9"),
                Named::Endpoint => Some("/x'OR1=1"),
                named => named.subject().map(|_| HOSTILE),
            };
            let question = named.question(subject, filter.clone()).unwrap();
            for statement in [question.sql(), question.hogql()] {
                assert!(!statement.sql.contains("1=1"), "{}", statement.sql);
                let given = statement
                    .values
                    .iter()
                    .filter(|(_, value)| value == HOSTILE);
                assert!(given.count() >= 2, "{statement:?}");
            }
        }
    }
}

#[test]
fn hogql_counts_an_event_once_and_for_those_it_stands_for() {
    let question = Named::Paths.question(None, Filter::all()).unwrap();
    let statement = question.hogql();
    let sql = &statement.sql;
    assert!(sql.contains("LIMIT 1 BY uuid"), "{sql}");
    assert!(
        sql.contains("1 / ifNull(toFloat(properties.sample_rate), 1) AS weight"),
        "{sql}"
    );
    let lines = vec![
        vec![
            "GET".into(),
            "/a".into(),
            20.0.into(),
            1.into(),
            0.05.into(),
            "2026-11-25T10:00:00Z".into(),
            1.into(),
        ],
        vec![
            "GET".into(),
            "/b".into(),
            1.into(),
            1.into(),
            1.0.into(),
            "2026-11-25 10:00:00.123456".into(),
            0.into(),
        ],
    ];
    let answer = question.answer_of(lines);
    assert!(!answer.scope.exact);
    assert_eq!(answer.lines[0][2], 20);
    assert_eq!(answer.lines[0][5], "2026-11-25T10:00:00.000000Z");
    assert_eq!(answer.lines[1][5], "2026-11-25T10:00:00.123456Z");
    assert_eq!(answer.lines[1].len(), answer.columns.len());
}

#[test]
fn a_question_that_cannot_be_is_refused() {
    let refused = |question: Result<Question, crate::Error>| {
        let error = question.unwrap_err();
        assert!(error.is_question());
        error.to_string()
    };
    assert!(refused(Named::User.question(None, Filter::all())).contains("USER_ID"));
    assert!(refused(Named::Users.question(Some("u"), Filter::all())).contains("\"u\""));
    assert!(refused(Named::Address.question(Some("here"), Filter::all())).contains("\"here\""));
    assert!(
        refused(Named::Endpoint.question(Some("GET agents"), Filter::all())).contains("GET agents")
    );
    let users = || Named::Users.question(None, Filter::all()).unwrap();
    assert!(refused(users().limit(0)).contains("not 0"));
    assert!(refused(users().limit(50_001)).contains("not 50001"));
    assert!(refused(Question::count([], [], Filter::all())).contains("not by 0"));
}
