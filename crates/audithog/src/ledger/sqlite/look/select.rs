//! A filter as conditions on the compact columns. Every value is bound.

use std::net::IpAddr;

use rusqlite::types::Value;
use uuid::Uuid;

use super::super::encode::{ACTOR_TYPES, canonical_uuid};
use super::super::packed;
use super::super::schema::{self, flag};
use crate::ledger::{Condition, REFUSED_CODES, REFUSED_STATUS, RowFilter};
use crate::record::Field;

/// The end of a `WHERE` clause, and its values.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// Each begins with ` AND `.
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

const TABLE: &str = "audit_rows";

impl Conditions {
    /// `before`: the parameters that the statement has already.
    pub(super) fn of(filter: &RowFilter, before: Vec<Value>) -> Self {
        let mut all = Self {
            sql: String::new(),
            values: before,
        };
        if let Some(since) = filter.since {
            let since = all.bind(since.0);
            all.and(&format!("ts >= {since}"));
        }
        if let Some(until) = filter.until {
            let until = all.bind(until.0);
            all.and(&format!("ts < {until}"));
        }
        for condition in &filter.conditions {
            all.condition(condition);
        }
        all
    }

    fn condition(&mut self, condition: &Condition) {
        match condition {
            Condition::Is(field, texts) => {
                let is = self.is(*field, texts);
                self.and(&is);
            }
            Condition::Has(field) => {
                let has = has(*field);
                self.and(&has);
            }
            Condition::Lacks(field) => {
                let has = has(*field);
                self.and(&format!("NOT ({has})"));
            }
            Condition::Begins(field, text) => {
                let column = match field {
                    Field::Path => schema::path(TABLE),
                    field => schema::text_of(TABLE, field.name()),
                };
                let text = self.bind(text.clone());
                self.and(&format!("substr({column}, 1, length({text})) = {text}"));
            }
            Condition::Status(ranges) => {
                let any: Vec<String> = ranges
                    .iter()
                    .map(|(first, last)| format!("status_code BETWEEN {first} AND {last}"))
                    .collect();
                self.any(&any);
            }
            Condition::NoStatus(ranges) => {
                for (first, last) in ranges {
                    self.and(&format!(
                        "status_code IS NULL OR status_code NOT BETWEEN {first} AND {last}"
                    ));
                }
            }
            Condition::Refused => {
                let mut any: Vec<String> = REFUSED_STATUS
                    .iter()
                    .map(|status| format!("status_code = {status}"))
                    .collect();
                let code = schema::text_of(TABLE, "error_code");
                for part in REFUSED_CODES {
                    let part = self.bind(part.to_owned());
                    any.push(format!("instr(upper({code}), {part}) > 0"));
                }
                self.any(&any);
            }
            Condition::Request => {
                let event = self.named("event", &[crate::record::API_REQUEST.to_owned()]);
                self.and(&format!("flags & {} AND {event}", flag::HTTP));
            }
        }
    }

    /// The field is one of these texts.
    fn is(&mut self, field: Field, texts: &[String]) -> String {
        let column = field.name();
        match field {
            Field::Event
            | Field::UserRole
            | Field::Method
            | Field::Route
            | Field::ErrorCode
            | Field::UserAgent => self.named(column, texts),
            Field::OrgId => self.each(texts, |all, text| match canonical_uuid(text) {
                Some(id) => all.equals(column, blob(id)),
                None => all.named(column, &[text.to_owned()]),
            }),
            Field::UserId | Field::OnBehalfOf | Field::UpstreamRequestId => {
                self.each(texts, |all, text| match canonical_uuid(text) {
                    Some(id) => all.equals(column, blob(id)),
                    None => all.equals(column, text.to_owned()),
                })
            }
            Field::ActorType => self.each(texts, |all, text| {
                let at = ACTOR_TYPES.iter().position(|kind| kind.as_str() == text);
                match at.and_then(|at| i64::try_from(at).ok()) {
                    Some(at) => all.equals(&packed::column(TABLE, column), at),
                    None => "0".to_owned(),
                }
            }),
            Field::Path => self.each(texts, |all, text| {
                all.equals(&schema::path(TABLE), text.to_owned())
            }),
            Field::Result => self.each(texts, |_, text| {
                let wanted = flag::HTTP | if text == "failure" { flag::FAILURE } else { 0 };
                format!("flags & {} = {wanted}", flag::HTTP | flag::FAILURE)
            }),
            Field::Ip => self.each(texts, |all, text| match text.parse() {
                Ok(IpAddr::V4(ip)) => all.equals(column, i64::from(ip.to_bits().cast_signed())),
                _ => all.equals(column, text.to_owned()),
            }),
            Field::RequestId => self.each(texts, Self::request_id),
            Field::TraceId => self.each(texts, |all, text| match Uuid::try_parse(text) {
                Ok(id) => all.equals(column, blob(id)),
                Err(_) => "0".to_owned(),
            }),
            Field::Service | Field::Environment | Field::Version | Field::Instance => {
                self.each(texts, |all, text| {
                    let is = all.equals(column, text.to_owned());
                    format!("run IN (SELECT run FROM audit_runs WHERE {is})")
                })
            }
        }
    }

    /// One of the conditions that `one` makes of each text.
    fn each(&mut self, texts: &[String], one: impl Fn(&mut Self, &str) -> String) -> String {
        let any: Vec<String> = texts.iter().map(|text| one(self, text)).collect();
        one_of(&any)
    }

    fn request_id(&mut self, text: &str) -> String {
        let Some(id) = canonical_uuid(text) else {
            return self.equals("request_id", text.to_owned());
        };
        // One that was adopted stays text, whatever it looks like.
        let (id, text) = (self.bind(blob(id)), self.bind(text.to_owned()));
        format!(
            "(flags & {} AND id = {id} OR request_id IN ({id}, {text}))",
            flag::REQUEST_IS_ID
        )
    }

    /// One of the texts, or of their numbers in the dictionary. Those are looked up once, and not for every row.
    fn named(&mut self, column: &str, texts: &[String]) -> String {
        let texts: Vec<String> = texts.iter().map(|text| self.bind(text.clone())).collect();
        let texts = texts.join(", ");
        // Without the sign a text in a row that looks like a number would be compared as one.
        let numbered =
            |what: &str| format!("IN (SELECT {what} FROM audit_names WHERE text IN ({texts}))");
        let whole = format!("{column} IN ({texts}) OR {column} {}", numbered("+name"));
        match packed::place(column) {
            Some(place) => format!(
                "CASE WHEN flags & {} THEN {} {} ELSE {whole} END",
                flag::PACKED,
                packed::character(TABLE, place),
                numbered(&packed::character_of("name")),
            ),
            None => format!("({whole})"),
        }
    }

    fn equals(&mut self, column: &str, value: impl Into<Value>) -> String {
        let value = self.bind(value);
        format!("{column} = {value}")
    }

    fn any(&mut self, any: &[String]) {
        self.and(&one_of(any));
    }

    fn and(&mut self, condition: &str) {
        self.sql.push_str(" AND (");
        self.sql.push_str(condition);
        self.sql.push(')');
    }

    /// The parameter that stands for the value.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }
}

/// None of nothing holds.
fn one_of(any: &[String]) -> String {
    if any.is_empty() {
        return "0".to_owned();
    }
    any.join(" OR ")
}

/// The row has the field.
fn has(field: Field) -> String {
    let name = field.name();
    match field {
        Field::Path => format!("{} IS NOT NULL", schema::path(TABLE)),
        Field::Result => format!("flags & {} != 0", flag::HTTP),
        Field::RequestId => format!(
            "(flags & {} != 0 OR request_id IS NOT NULL)",
            flag::REQUEST_IS_ID
        ),
        Field::Service | Field::Environment | Field::Version | Field::Instance => {
            format!("run IN (SELECT run FROM audit_runs WHERE {name} IS NOT NULL)")
        }
        _ => match packed::place(name) {
            Some(place) => format!(
                "CASE WHEN flags & {} THEN {} != {} ELSE {name} IS NOT NULL END",
                flag::PACKED,
                packed::character(TABLE, place),
                packed::absent(),
            ),
            None => format!("{name} IS NOT NULL"),
        },
    }
}

fn blob(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}
