//! Columns that stand under each other.

use std::io;

use audithog::query::CellKind;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{Column, Sheet, cells};
use crate::{
    output::{Output, Style, plain},
    when::Clock,
};

const BETWEEN: &str = "  ";
/// A text is not cut to less.
const LEAST: usize = 8;

struct Layout {
    width: usize,
    right: bool,
    /// Texts can lose their end; a number or a time without it is another.
    cuttable: bool,
}

/// Prints the sheet in at most `width` columns, if there is a limit; whether something was cut.
pub(super) fn print(
    output: &mut Output,
    sheet: &Sheet,
    clock: &Clock,
    width: Option<usize>,
) -> io::Result<bool> {
    let (lines, cut) = lines(sheet, clock, width);
    for (at, line) in lines.iter().enumerate() {
        match at {
            0 => output.line(&output.paint(line, Style::Bold))?,
            _ => output.line(line)?,
        }
    }
    Ok(cut)
}

fn lines(sheet: &Sheet, clock: &Clock, width: Option<usize>) -> (Vec<String>, bool) {
    let names: Vec<String> = sheet
        .columns
        .iter()
        .map(|column| plain(&column.name))
        .collect();
    let texts: Vec<Vec<String>> = sheet
        .lines
        .iter()
        .map(|line| {
            let cells = line.iter().zip(&sheet.columns);
            cells
                .map(|(value, column)| cells::shown(value, column.kind, clock))
                .collect()
        })
        .collect();
    let mut layouts: Vec<Layout> = (0..names.len())
        .map(|at| {
            let texts = texts.iter().map(|line| line[at].width());
            let right = is_right(&sheet.columns[at], sheet.lines.iter().map(|line| &line[at]));
            Layout {
                width: texts.chain([names[at].width()]).max().unwrap_or(0),
                right,
                cuttable: !right && sheet.columns[at].kind != Some(CellKind::Time),
            }
        })
        .collect();
    let mut cut = false;
    if let Some(width) = width {
        cut = shrink(&mut layouts, width);
    }
    let all = std::iter::once(&names).chain(&texts);
    let lines = all.map(|cells| {
        let line = aligned(cells, &layouts);
        match width {
            Some(width) if line.width() > width => {
                cut = true;
                shortened(&line, width)
            }
            _ => line,
        }
    });
    (lines.collect(), cut)
}

/// Numbers stand under each other by their ends.
fn is_right<'a>(column: &Column, mut values: impl Iterator<Item = &'a Value>) -> bool {
    match column.kind {
        Some(CellKind::Count | CellKind::Rate | CellKind::Milliseconds) => true,
        Some(_) => false,
        None => values.all(|value| value.is_number() || value.is_null()),
    }
}

/// Takes from the widest text until all fit, as far as that goes; whether any had to give.
fn shrink(layouts: &mut [Layout], width: usize) -> bool {
    let mut cut = false;
    loop {
        let gaps = BETWEEN.len() * layouts.len().saturating_sub(1);
        let all: usize = layouts.iter().map(|layout| layout.width).sum();
        if all + gaps <= width {
            return cut;
        }
        let widest = layouts
            .iter_mut()
            .filter(|layout| layout.cuttable && layout.width > LEAST)
            .max_by_key(|layout| layout.width);
        let Some(widest) = widest else { return cut };
        widest.width -= 1;
        cut = true;
    }
}

fn aligned(cells: &[String], layouts: &[Layout]) -> String {
    let mut line = String::new();
    for (at, (cell, layout)) in cells.iter().zip(layouts).enumerate() {
        if at > 0 {
            line.push_str(BETWEEN);
        }
        let cell = shortened(cell, layout.width);
        let fill = " ".repeat(layout.width - cell.width().min(layout.width));
        if layout.right {
            line.push_str(&fill);
        }
        line.push_str(&cell);
        if !layout.right {
            line.push_str(&fill);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// At most so many columns, with `…` where something is missing.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        short.push(c);
    }
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sheet() -> Sheet {
        let column = |name: &str, kind| Column {
            name: name.to_owned(),
            kind,
        };
        Sheet {
            columns: vec![
                column("path", Some(CellKind::Text)),
                column("count", Some(CellKind::Count)),
                column("any", None),
            ],
            lines: vec![
                vec![json!("/agents/日本"), json!(12_345), json!(1)],
                vec![json!("/a-path-that-is-long"), json!(7), json!(null)],
            ],
        }
    }

    #[test]
    fn columns_stand_under_each_other() {
        let (lines, cut) = lines(&sheet(), &Clock::system(true), None);
        assert_eq!(
            lines,
            [
                "path                   count  any",
                "/agents/日本          12,345    1",
                "/a-path-that-is-long       7    -",
            ]
        );
        assert!(!cut);
    }

    #[test]
    fn a_terminal_is_not_overrun() {
        for width in [5, 20, 27, 40] {
            let (lines, cut) = lines(&sheet(), &Clock::system(true), Some(width));
            assert_eq!(cut, width < 33, "{width}");
            for line in lines {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
        let (lines, _) = lines(&sheet(), &Clock::system(true), Some(27));
        assert_eq!(
            lines[1],
            "/agents/日本…  12,345    1"
                .replace("日本…", "日本  ")
                .as_str()
        );
        assert_eq!(lines[2], "/a-path-that-…       7    -");
    }
}
