//! Files read back, cell by cell.

use std::{fs, fs::File, path::Path};

use audithog::query::LogRow;
use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::Field,
};
use serde_json::{Map, Value, json};

/// Cells of CSV by RFC 4180, read by rules of its own.
pub(super) fn csv(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    let (mut lines, mut line, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = characters.next() {
        match (quoted, c) {
            (true, '"') if characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            (true, '"') => quoted = false,
            (true, c) => cell.push(c),
            (false, '"') => {
                assert_eq!(cell, "", "a quote within a cell: {text}");
                quoted = true;
            }
            (false, ',') => line.push(std::mem::take(&mut cell)),
            (false, '\r') => {
                assert_eq!(characters.next(), Some('\n'));
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            (false, c) => cell.push(c),
        }
    }
    assert!(cell.is_empty() && line.is_empty() && !quoted, "{text}");
    lines
}

/// The values that rows of CSV stand for, by the names in the first line.
pub(super) fn of_csv(path: &Path) -> Vec<Map<String, Value>> {
    let mut lines = csv(path).into_iter();
    let names = lines.next().unwrap();
    assert_eq!(names, LogRow::NAMES);
    let value = |name: &str, cell: &str| match (name, cell) {
        (_, "") => Value::Null,
        ("seq" | "status_code", cell) => json!(cell.parse::<i64>().unwrap()),
        ("duration_ms", cell) => json!(cell.parse::<f64>().unwrap()),
        ("properties", cell) => serde_json::from_str(cell).unwrap(),
        (_, cell) => json!(cell.strip_prefix('\'').unwrap_or(cell)),
    };
    lines
        .map(|cells| {
            assert_eq!(cells.len(), names.len(), "{cells:?}");
            let cells = names.iter().zip(&cells);
            cells
                .map(|(name, cell)| (name.clone(), value(name, cell)))
                .collect()
        })
        .collect()
}

/// The rows of Parquet and the number of row groups.
pub(super) fn of_parquet(path: &Path) -> (Vec<Map<String, Value>>, usize) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let groups = reader.metadata().num_row_groups();
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let cells = row.get_column_iter();
        cells
            .map(|(name, field)| (name.clone(), cell(name, field)))
            .collect()
    });
    (rows.collect(), groups)
}

fn cell(name: &str, field: &Field) -> Value {
    match (name, field) {
        (_, Field::Null) => Value::Null,
        ("ts", Field::TimestampMicros(micros)) => {
            let time = jiff::Timestamp::from_microsecond(*micros).unwrap();
            json!(format!("{time:.6}"))
        }
        ("seq", Field::Long(n)) => json!(n),
        ("status_code", Field::Int(n)) => json!(n),
        ("duration_ms", Field::Double(n)) => json!(n),
        ("properties", Field::Str(text)) => serde_json::from_str(text).unwrap(),
        ("properties", Field::Bytes(bytes)) => serde_json::from_slice(bytes.data()).unwrap(),
        (_, Field::Str(text)) => json!(text),
        (name, field) => panic!("{name} is {field:?}"),
    }
}
