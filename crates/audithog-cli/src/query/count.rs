//! `audithog query count`: groups and measures of one's own.

use std::time::Duration;

use audithog::query::{Field, Filter, Key, Measure, Question};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::COUNT;
use crate::failure::Failure;

pub(super) const ABOUT: &str = "Rows by fields of your choice, the largest groups first";

/// As the questions with a name.
pub(super) const LOOKS_BACK: Duration = Duration::from_secs(86_400);

/// Steps of time by their names.
const STEPS: [(&str, u64); 3] = [("minute", 60), ("hour", 3_600), ("day", 86_400)];

/// What can be said of a group besides how many rows it has, which is always said.
fn measures() -> impl Iterator<Item = Measure> {
    let all = Measure::ALL.into_iter();
    all.filter(|measure| *measure != Measure::Count)
}

/// What `count` groups by, and what it says of each group.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "For the question `count`")]
pub(super) struct Count {
    /// Group by these, one to four: fields of a row, or steps of time (in UTC)
    #[arg(long, value_name = "FIELD", value_delimiter = ',', value_parser = key_parser(), hide_possible_values = false)]
    by: Vec<Named<Key>>,

    /// Also say this of each group
    #[arg(long, value_name = "MEASURE", value_delimiter = ',', value_parser = measure_parser())]
    measure: Vec<Named<Measure>>,
}

/// Clap wants values that can be compared by nothing; these keep their name.
#[derive(Clone, Copy, Debug)]
struct Named<T>(T);

fn key_parser() -> impl clap::builder::TypedValueParser<Value = Named<Key>> {
    let fields = Field::ALL.iter().map(|field| field.name());
    // Of these each row has its own.
    let fields = fields.filter(|name| !name.ends_with("request_id") && *name != "trace_id");
    let names: Vec<&str> = fields
        .chain([Key::Status.name()])
        .chain(STEPS.map(|(name, _)| name))
        .collect();
    PossibleValuesParser::new(names).try_map(|name| key(&name).map(Named).ok_or("is no field"))
}

fn key(name: &str) -> Option<Key> {
    let field = Field::ALL.into_iter().find(|field| field.name() == name);
    let step = STEPS.into_iter().find(|(step, _)| *step == name);
    field
        .map(Key::Field)
        .or_else(|| (name == Key::Status.name()).then_some(Key::Status))
        .or_else(|| step.map(|(_, seconds)| Key::time(Duration::from_secs(seconds))))
}

fn measure_parser() -> impl clap::builder::TypedValueParser<Value = Named<Measure>> {
    PossibleValuesParser::new(measures().map(Measure::name)).try_map(|name| {
        let measure = measures().find(|measure| measure.name() == name);
        measure.map(Named).ok_or("is no measure")
    })
}

impl Count {
    pub(super) fn question(&self, filter: Filter) -> Result<Question, audithog::Error> {
        let keys = self.by.iter().map(|key| key.0);
        Question::count(keys, self.measure.iter().map(|measure| measure.0), filter)
    }

    /// Another question has its own.
    pub(super) fn refuse(&self, name: &str) -> Result<(), Failure> {
        if self.by.is_empty() && self.measure.is_empty() {
            return Ok(());
        }
        let text = format!("--by and --measure are for `{COUNT}`: `{name}` has groups of its own");
        Err(Failure::new(2, text))
    }
}
