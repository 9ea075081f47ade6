//! The rows of an export, in the order of the log.

use std::iter::Peekable;

use audithog::query::{Field, Filter, Log, LogRow, Rows};

use crate::{failure::Failure, output::failed, output::unanswered};

/// Which rows: those that any of the filters admits.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    filters: Vec<Filter>,
    /// What is asked for besides the users.
    common: Filter,
    users: Vec<String>,
}

impl Wanted {
    /// With users, everything that they did and that was done on their behalf.
    pub(super) fn new(common: Filter, users: Vec<String>) -> Result<Self, Failure> {
        let filters = if users.is_empty() {
            vec![common.clone()]
        } else {
            let of = |field| common.clone().is(field, users.iter().cloned());
            [Field::UserId, Field::OnBehalfOf]
                .map(of)
                .into_iter()
                .collect::<Result<_, _>>()
                .map_err(unanswered)?
        };
        Ok(Self {
            filters,
            common,
            users,
        })
    }

    pub(super) fn common(&self) -> &Filter {
        &self.common
    }

    pub(super) fn users(&self) -> &[String] {
        &self.users
    }

    /// In words, as the manifest has it.
    pub(super) fn conditions(&self) -> Vec<String> {
        let mut all = self.common.conditions();
        if !self.users.is_empty() {
            let users = self.users.join(" or ");
            all.push(format!("user_id = {users}, or on_behalf_of = {users}"));
        }
        all
    }

    /// How many walks [`Wanted::walk`] makes at once.
    pub(super) fn walks(&self) -> usize {
        self.filters.len()
    }

    /// The rows with `after < seq <= upto`, each once.
    pub(super) fn walk<'a>(
        &self,
        logs: &'a mut [Log],
        after: u64,
        upto: u64,
    ) -> Result<Walk<'a>, Failure> {
        let walks = logs.iter_mut().zip(&self.filters);
        let walks = walks.map(|(log, filter)| Ok(log.rows(filter, after, upto)?.peekable()));
        let walks: Result<_, audithog::Error> = walks.collect();
        Ok(Walk(walks.map_err(failed)?))
    }
}

/// Several walks as one.
pub(super) struct Walk<'a>(Vec<Peekable<Rows<'a>>>);

impl Iterator for Walk<'_> {
    type Item = Result<LogRow, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        // An error comes first: the row behind it is not known.
        let number = |walk: &mut Peekable<Rows<'_>>| match walk.peek()? {
            Ok(row) => Some(row.seq()),
            Err(_) => Some(0),
        };
        let next = self.0.iter_mut().filter_map(number).min()?;
        let mut found = None;
        for walk in &mut self.0 {
            if number(walk) == Some(next) {
                found = walk.next();
            }
            if matches!(found, Some(Err(_))) {
                break;
            }
        }
        found.map(|row| row.map_err(failed))
    }
}
