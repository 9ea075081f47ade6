//! The numbers of a stretch, read from its rows.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::super::packed;
use super::super::schema::flag;
use super::{Line, STRETCH, hash};

/// The stretch's lines. None if rows are missing: retention has begun with it.
pub(in super::super) fn build(
    connection: &Connection,
    stretch: i64,
) -> rusqlite::Result<Option<Vec<Line>>> {
    let column = |name| packed::column("audit_rows", name);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT ts, run, flags, {}, {}, {}, status_code, {}, duration_us, user_id, {}, org_id, ip,
         CASE WHEN flags & {} THEN id ELSE request_id END, trace_id
         FROM audit_rows WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
        column("event"),
        column("method"),
        column("route"),
        column("error_code"),
        column("user_role"),
        flag::REQUEST_IS_ID
    ))?;
    let after = stretch * STRETCH;
    let mut rows = statement.query([after, after + STRETCH])?;
    let mut lines = Vec::with_capacity(usize::try_from(STRETCH).unwrap_or(0));
    while let Some(row) = rows.next()? {
        lines.push(line(row)?);
    }
    Ok((i64::try_from(lines.len()) == Ok(STRETCH)).then_some(lines))
}

fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    let integer = |at: usize| match row.get_ref(at)? {
        ValueRef::Integer(number) => Ok(Some(number)),
        _ => Ok::<_, rusqlite::Error>(None),
    };
    let mut line = Line {
        ts: row.get(0)?,
        run: u32::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
        flags: Line::flags(row.get(2)?),
        status: integer(6)?
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(0),
        duration: integer(8)?.map_or(0, Line::duration),
        user_id: id(row.get_ref(9)?),
        ip: match row.get_ref(12)? {
            ValueRef::Integer(ip) => hash::ipv4(ip),
            other => id(other),
        },
        request_id: short(row.get_ref(13)?),
        trace_id: short(row.get_ref(14)?),
        ..Line::default()
    };
    line.event = name(&mut line, row.get_ref(3)?);
    line.method = name(&mut line, row.get_ref(4)?);
    line.route = name(&mut line, row.get_ref(5)?);
    line.error_code = name(&mut line, row.get_ref(7)?);
    line.user_role = name(&mut line, row.get_ref(10)?);
    line.org_id = match row.get_ref(11)? {
        ValueRef::Blob(bytes) => hash::blob(bytes),
        other => name(&mut line, other).into(),
    };
    Ok(line)
}

fn name(line: &mut Line, value: ValueRef<'_>) -> u16 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(number) => line.name(Some(number)),
        _ => line.name(None),
    }
}

fn id(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Text(text) => hash::text(text),
        ValueRef::Blob(bytes) => hash::blob(bytes),
        _ => 0,
    }
}

fn short(value: ValueRef<'_>) -> u32 {
    match value {
        ValueRef::Text(text) => hash::short_text(text),
        ValueRef::Blob(bytes) => hash::short_id(bytes),
        _ => 0,
    }
}
