//! Lines with columns, in every format.

use std::io;

use audithog::query::{Answer, CellKind, Table, csv};
use serde_json::{Map, Value};

use crate::{output::Output, when::Clock};

mod cells;
mod table;

pub(crate) use cells::milliseconds;
pub(crate) use table::shortened;

/// How lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, cut to the width of a terminal
    Table,
    /// One JSON object
    Json,
    /// One JSON object a line
    Ndjson,
    /// RFC 4180, with a line of names; what a spreadsheet would run gets an apostrophe in front
    Csv,
}

/// Columns and lines.
#[derive(Debug)]
pub(crate) struct Sheet {
    columns: Vec<Column>,
    lines: Vec<Vec<Value>>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// None: values of any kind, shown as they are.
    kind: Option<CellKind>,
}

impl Sheet {
    pub(crate) fn of_answer(answer: &Answer) -> Self {
        let columns = answer.columns.iter().map(|column| Column {
            name: column.name.clone(),
            kind: Some(column.kind),
        });
        Self {
            columns: columns.collect(),
            lines: answer.lines.clone(),
        }
    }

    pub(crate) fn of_table(table: Table) -> Self {
        let columns = table.columns.into_iter();
        Self {
            columns: columns.map(|name| Column { name, kind: None }).collect(),
            lines: table.lines,
        }
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Prints aligned columns; whether something was cut to fit.
    pub(crate) fn table(&self, output: &mut Output, clock: &Clock) -> io::Result<bool> {
        table::print(output, self, clock, Output::width())
    }

    pub(crate) fn ndjson(&self, output: &mut Output) -> io::Result<()> {
        for line in self.objects() {
            output.ndjson(&line)?;
        }
        Ok(())
    }

    pub(crate) fn csv(&self, output: &mut Output) -> io::Result<()> {
        output.csv(self.columns.iter().map(|column| csv::quoted(&column.name)))?;
        for line in &self.lines {
            output.csv(line.iter().map(csv::cell))?;
        }
        Ok(())
    }

    /// The lines as JSON objects.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Map<String, Value>> + '_ {
        self.lines.iter().map(|line| {
            let names = self.columns.iter().map(|column| column.name.clone());
            names.zip(line.iter().cloned()).collect()
        })
    }
}
