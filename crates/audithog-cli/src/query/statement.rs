//! `audithog query --sql`.

use audithog::query::{Question, Statement};
use serde_json::{Map, Value, json};

use super::{Args, On};
use crate::{
    failure::Failure,
    output::{Output, plain, written},
    sheet::Format,
};

/// The statement, and its values as comments.
pub(super) fn print(args: &Args, question: &Question) -> Result<(), Failure> {
    let Statement { sql, values, .. } = match args.on {
        On::Ledger => question.sql(),
        On::Posthog => question.hogql(),
    };
    let mut output = Output::standard();
    if args.format != Format::Table {
        let values: Map<String, Value> = values.into_iter().collect();
        let object = json!({"sql": sql, "values": values});
        output.ndjson(&object).map_err(written)?;
        return output.end();
    }
    output.line(&sql).map_err(written)?;
    for (name, value) in values {
        let shown = match args.on {
            On::Ledger => format!("?{name}"),
            On::Posthog => format!("{{{name}}}"),
        };
        let value = match &value {
            Value::String(text) => format!("'{}'", plain(&text.replace('\'', "''"))),
            other => other.to_string(),
        };
        output
            .line(&format!("-- {shown} = {value}"))
            .map_err(written)?;
    }
    output.end()
}
