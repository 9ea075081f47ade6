//! The tables, their version, and the steps from older versions.

use rusqlite::Connection;

use super::packed;

/// `application_id` of the file: the letters AHOG (sqlite.org/pragma.html#pragma_application_id).
pub(super) const APPLICATION_ID: i32 = 0x4148_4f47;

/// `user_version` of the file; the number of steps.
pub(crate) const VERSION: i32 = 4;

type Step = fn(&Connection) -> rusqlite::Result<()>;

/// Step `n` leads from version `n` to `n + 1`. A step that has been released never changes.
const STEPS: [Step; VERSION as usize] = [
    |connection| connection.execute_batch(include_str!("schema.sql")),
    |connection| connection.execute_batch(include_str!("schema_2.sql")),
    |connection| connection.execute_batch(include_str!("schema_3.sql")),
    // No table changes: rows may have `flag::PACKED` from here on.
    |_| Ok(()),
];

/// Bits of `audit_rows.flags`.
pub(super) mod flag {
    /// The row has an HTTP side, with an end.
    pub(in super::super) const HTTP: i64 = 1;
    pub(in super::super) const FAILURE: i64 = 2;
    /// `request_id` is `id`, and the column is null.
    pub(in super::super) const REQUEST_IS_ID: i64 = 4;
    pub(in super::super) const TRACE_TRUSTED: i64 = 8;
    /// The caller supplied `id`.
    pub(in super::super) const CALLER_ID: i64 = 16;
    /// `path` is `route`, and the column is null.
    pub(in super::super) const PATH_IS_ROUTE: i64 = 32;
    /// The row has an HTTP side without an end: neither `HTTP` nor `FAILURE`, no duration.
    pub(in super::super) const OPEN: i64 = 64;
    /// `upstream_request_id`, `on_behalf_of`, `distinct_id` and `properties` are null, so that they need not be read. Rows of versions before
    /// schema 3 lack it.
    pub(in super::super) const PLAIN: i64 = 128;
    /// Small columns are one text in `event`: see `packed.rs`. Such a row is `PLAIN`, too. From schema 4 on.
    pub(in super::super) const PACKED: i64 = 256;
    /// All of these. A version that gives a row another meaning gives it a flag, too.
    pub(in super::super) const KNOWN: i64 = 511;
}

/// Brings a file of `version` to [`VERSION`]. Runs inside the caller's transaction.
pub(super) fn migrate(connection: &Connection, version: i32) -> rusqlite::Result<()> {
    let done = usize::try_from(version).unwrap_or(0);
    for step in &STEPS[done.min(STEPS.len())..] {
        step(connection)?;
    }
    // The view is derived, so it is made anew rather than migrated.
    connection.execute_batch(&format!(
        "DROP VIEW IF EXISTS audit_logs;\n{};\n\
         PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {VERSION};",
        view()
    ))
}

/// `audit_logs`: every column as text, number or time. Scalar subqueries, so that a query pays
/// only for the columns it asks for.
fn view() -> String {
    let columns = [
        ("seq", "r.seq".to_owned()),
        ("id", uuid("r.id")),
        ("ts", time("r.ts")),
        ("event", text_of("r", "event")),
        (
            "request_id",
            format!(
                "CASE WHEN r.flags & {} THEN {} ELSE {} END",
                flag::REQUEST_IS_ID,
                uuid("r.id"),
                either("r.request_id")
            ),
        ),
        ("upstream_request_id", either("r.upstream_request_id")),
        ("user_id", either("r.user_id")),
        ("user_role", text_of("r", "user_role")),
        ("org_id", named_or_uuid("r.org_id")),
        ("actor_type", actor_type(&packed::column("r", "actor_type"))),
        ("on_behalf_of", either("r.on_behalf_of")),
        ("method", text_of("r", "method")),
        ("path", path("r")),
        ("route", text_of("r", "route")),
        ("status_code", "r.status_code".to_owned()),
        (
            "result",
            format!(
                "CASE WHEN r.flags & {} = 0 THEN NULL WHEN r.flags & {} THEN 'failure' ELSE 'success' END",
                flag::HTTP,
                flag::FAILURE
            ),
        ),
        ("error_code", text_of("r", "error_code")),
        ("duration_ms", "r.duration_us / 1000.0".to_owned()),
        ("user_agent", text_of("r", "user_agent")),
        ("ip", ip("r.ip")),
        ("trace_id", "lower(hex(r.trace_id))".to_owned()),
        ("service", "u.service".to_owned()),
        ("environment", "u.environment".to_owned()),
        ("version", "u.version".to_owned()),
        ("instance", "u.instance".to_owned()),
        ("distinct_id", either("r.distinct_id")),
        ("properties", "r.properties".to_owned()),
    ]
    .map(|(name, sql)| match name {
        // `hex(NULL)` is an empty text.
        "trace_id" => format!("  CASE WHEN r.trace_id IS NOT NULL THEN {sql} END AS {name}"),
        _ => format!("  {sql} AS {name}"),
    });
    format!(
        "CREATE VIEW audit_logs AS SELECT\n{}\nFROM audit_rows r LEFT JOIN audit_runs u ON u.run = r.run",
        columns.join(",\n")
    )
}

/// The path of a row of `table`.
pub(super) fn path(table: &str) -> String {
    format!(
        "CASE WHEN {table}.flags & {} THEN {} ELSE {table}.path END",
        flag::PATH_IS_ROUTE,
        text_of(table, "route")
    )
}

/// The text of a column that has the number of one, or the text itself.
pub(super) fn text_of(table: &str, column: &str) -> String {
    let whole = format!("{table}.{column}");
    match packed::place(column) {
        Some(place) => format!(
            "CASE WHEN {table}.flags & {} THEN {} ELSE {} END",
            flag::PACKED,
            name(&packed::number(table, place)),
            named(&whole)
        ),
        None => named(&whole),
    }
}

fn uuid(column: &str) -> String {
    let part = |from: u8, length: u8| format!("substr(hex({column}),{from},{length})");
    format!(
        "lower({}||'-'||{}||'-'||{}||'-'||{}||'-'||{})",
        part(1, 8),
        part(9, 4),
        part(13, 4),
        part(17, 4),
        part(21, 12)
    )
}

/// A UUID kept as a blob, or text as it is.
fn either(column: &str) -> String {
    format!(
        "CASE typeof({column}) WHEN 'blob' THEN {} ELSE {column} END",
        uuid(column)
    )
}

fn name(column: &str) -> String {
    format!("(SELECT text FROM audit_names WHERE name = {column})")
}

fn named(column: &str) -> String {
    format!(
        "CASE typeof({column}) WHEN 'integer' THEN {} ELSE {column} END",
        name(column)
    )
}

fn named_or_uuid(column: &str) -> String {
    format!(
        "CASE typeof({column}) WHEN 'integer' THEN {} WHEN 'blob' THEN {} ELSE {column} END",
        name(column),
        uuid(column)
    )
}

/// RFC 3339 with six digits. The remainder is made positive first: times before 1970 round down.
fn time(column: &str) -> String {
    let micros = format!("(({column} % 1000000 + 1000000) % 1000000)");
    format!(
        "strftime('%Y-%m-%dT%H:%M:%S', ({column} - {micros}) / 1000000, 'unixepoch') || printf('.%06dZ', {micros})"
    )
}

fn ip(column: &str) -> String {
    format!(
        "CASE typeof({column}) WHEN 'integer' THEN (({column} >> 24) & 255)||'.'||(({column} >> 16) & 255)||'.'||(({column} >> 8) & 255)||'.'||({column} & 255) ELSE {column} END"
    )
}

fn actor_type(column: &str) -> String {
    let cases: Vec<String> = super::encode::ACTOR_TYPES
        .iter()
        .enumerate()
        .map(|(at, kind)| format!("WHEN {at} THEN '{}'", kind.as_str()))
        .collect();
    format!("CASE {column} {} END", cases.join(" "))
}
