//! The numbers of a row's texts in one text, a character each.
//!
//! SQLite takes about as long to read a small column as a large one, and a row has seven that are small: texts that have
//! a number in the dictionary, and the actor's type. Where all of them fit, [`flag::PACKED`] is set, `audit_rows.event`
//! has this text, and the columns that it stands for are null. `unicode(substr(event, …))` takes a number out again, so
//! that the view and every other SQL get by without a function of audithog's own. Status and duration stay columns:
//! people look for them in every row of a log, and to take them out costs four times as much.
//!
//! [`flag::PACKED`]: super::schema::flag::PACKED

use super::schema::flag;

/// What a character stands for, by its place in the text, which SQL counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Event = 1,
    UserRole,
    ActorType,
    Method,
    Route,
    ErrorCode,
    UserAgent,
}

/// Characters of the text.
const LENGTH: usize = Place::UserAgent as usize;
/// The character of a column that is null.
const ABSENT: u32 = 1;
/// The character of 0: SQLite ends some texts at a NUL.
const ZERO: u32 = 2;
/// From here on the surrogates are, which are no characters.
const END: u32 = 0xd800;

/// The columns that the text stands for, and where.
const COLUMNS: [(&str, Place); LENGTH] = [
    ("event", Place::Event),
    ("user_role", Place::UserRole),
    ("actor_type", Place::ActorType),
    ("method", Place::Method),
    ("route", Place::Route),
    ("error_code", Place::ErrorCode),
    ("user_agent", Place::UserAgent),
];

/// A text while it is written.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// UTF-8.
    text: [u8; 3 * LENGTH],
    length: usize,
}

impl Packed {
    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// The next number. False if it is too large for a character.
    #[must_use]
    pub(super) fn push(&mut self, number: Option<i64>) -> bool {
        let code = match number {
            None => ABSENT,
            Some(number) if (0..i64::from(END - ZERO)).contains(&number) => number as u32 + ZERO,
            Some(_) => return false,
        };
        let Some(character) = char::from_u32(code) else {
            return false;
        };
        let room = &mut self.text[self.length..];
        self.length += character.encode_utf8(room).len();
        true
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// The numbers of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers([Option<i64>; LENGTH]);

impl Numbers {
    /// None if this is no such text.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut numbers = [None; LENGTH];
        let mut characters = text.chars();
        for number in &mut numbers {
            let code = u32::from(characters.next()?);
            if code != ABSENT {
                *number = Some(code.checked_sub(ZERO)?.into());
            }
        }
        let whole = characters.next().is_none();
        whole.then_some(Self(numbers))
    }

    pub(super) fn at(&self, place: Place) -> Option<i64> {
        self.0[place as usize - 1]
    }
}

/// The number at a place of a packed row of `table`, in SQL; null if there is none.
pub(super) fn number(table: &str, place: Place) -> String {
    let character = character(table, place);
    format!("(nullif(unicode({character}), {ABSENT}) - {ZERO})")
}

/// The character at a place of a packed row of `table`, in SQL: quicker than the number, for those who compare.
pub(super) fn character(table: &str, place: Place) -> String {
    format!("substr({table}.event, {}, 1)", place as usize)
}

/// The character of a number, in SQL.
pub(super) fn character_of(number: &str) -> String {
    format!("char({number} + {ZERO})")
}

/// The character of a column that is null, in SQL.
pub(super) fn absent() -> String {
    format!("char({ABSENT})")
}

/// A column of `audit_rows` as an unpacked row has it, in SQL.
pub(super) fn column(table: &str, name: &str) -> String {
    match place(name) {
        Some(place) => format!(
            "(CASE WHEN {table}.flags & {} THEN {} ELSE {table}.{name} END)",
            flag::PACKED,
            number(table, place)
        ),
        None => format!("{table}.{name}"),
    }
}

/// Where the text has the column.
pub(super) fn place(name: &str) -> Option<Place> {
    let found = COLUMNS.iter().find(|(column, _)| *column == name);
    found.map(|(_, place)| *place)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// With this number at each place.
    fn text(number: Option<i64>) -> Option<String> {
        let mut packed = Packed::default();
        packed.clear();
        let fits = (0..LENGTH).all(|_| packed.push(number));
        let text = String::from_utf8(packed.as_bytes().to_vec()).unwrap();
        fits.then_some(text)
    }

    #[test]
    fn a_number_comes_back_here_and_in_sql() {
        let connection = Connection::open_in_memory().unwrap();
        let in_sql = |text: &str, place| {
            let sql = format!(
                "SELECT {} FROM (SELECT ?1 AS event) AS t",
                number("t", place)
            );
            let found = connection.query_row(&sql, [text], |row| row.get::<_, Option<i64>>(0));
            found.unwrap()
        };
        let largest = i64::from(END - ZERO) - 1;
        for number in [0, 1, 125, 126, 2_045, 2_046, largest] {
            let mut packed = Packed::default();
            for (_, place) in COLUMNS {
                packed.clear();
                for (_, other) in COLUMNS {
                    assert!(packed.push((other == place).then_some(number)));
                }
                let text = std::str::from_utf8(packed.as_bytes()).unwrap();
                let numbers = Numbers::of(text).unwrap();
                for (_, other) in COLUMNS {
                    let expected = (other == place).then_some(number);
                    assert_eq!(numbers.at(other), expected, "{other:?}");
                    assert_eq!(in_sql(text, other), expected, "{other:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_character_does_not_fit() {
        let largest = i64::from(END - ZERO) - 1;
        for number in [-1, i64::MIN, largest + 1, 0xe000, i64::MAX] {
            assert_eq!(text(Some(number)), None, "{number}");
        }
    }

    #[test]
    fn another_text_is_none_of_these() {
        let right = text(Some(7)).unwrap();
        assert!(Numbers::of(&right).is_some());
        let short = &right[1..];
        let long = format!("{right}\u{1}");
        let nul = format!("\0{short}");
        for wrong in ["", "api_request", short, &long, &nul] {
            assert!(Numbers::of(wrong).is_none(), "{wrong:?}");
        }
    }
}
