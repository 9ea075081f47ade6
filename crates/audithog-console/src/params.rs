//! What a URL asks for: the words are those of the command line.

use audithog::query::{Field, Filter, Status};

/// The parameters of a query string, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Params(Vec<(String, String)>);

pub(crate) const STATUS: &str = "status";
/// Its values are statuses that a row does not have.
pub(crate) const NOT_STATUS: &str = "not-status";
/// Its values are words of [`Filter::WORDS`]: what a row does not have.
pub(crate) const WITHOUT: &str = "without";
/// What says which time.
const TIME: [&str; 2] = ["since", "until"];

impl Params {
    /// Empty values say nothing, as a form sends them.
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes())
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| (canonical(&name).to_owned(), value.trim().to_owned()));
        Self(pairs.collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    /// With one value more.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let pair = (name.to_owned(), value.to_owned());
        if !self.0.contains(&pair) {
            self.0.push(pair);
        }
        self
    }

    /// With this value and no other of that name.
    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    /// With exactly this value, where a `*` at the end would stand for anything. None: only what has no value.
    pub(crate) fn exactly(self, name: &str, value: Option<&str>) -> Self {
        let Some(value) = value else {
            return self.with(WITHOUT, name);
        };
        match field(name) {
            Some(field) => self.set(name, &Filter::exactly(field, value)),
            None => self.set(name, value),
        }
    }

    /// Narrowed down to this value, unless it is narrowed down by that word already: figures count what fulfils both.
    pub(crate) fn narrowed(self, name: &str, value: &str) -> Self {
        match self.get(name) {
            Some(_) => self,
            None => self.with(name, value),
        }
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn without_value(mut self, name: &str, value: &str) -> Self {
        self.0
            .retain(|(known, given)| known != name || given != value);
        self
    }

    /// Only what says which rows: conditions and time.
    pub(crate) fn rows_only(mut self) -> Self {
        self.0
            .retain(|(name, _)| is_condition(name) || TIME.contains(&&**name));
        self
    }

    /// Only the time.
    pub(crate) fn time_only(mut self) -> Self {
        self.0.retain(|(name, _)| TIME.contains(&&**name));
        self
    }

    /// The conditions: word, value.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(name, _)| is_condition(name))
            .map(|(name, value)| (&**name, &**value))
    }

    /// All but the time and conditions that are put into a form by their own fields.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// `to?name=value`.
    pub(crate) fn behind(&self, mut to: String) -> String {
        if !self.0.is_empty() {
            to.push('?');
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(&self.0);
            to.push_str(&query.finish());
        }
        to
    }

    /// That every word says which rows, or is one of the page's `own`: without one that is not understood there would be more rows than were asked
    /// for.
    pub(crate) fn understood(&self, own: &[&str]) -> Result<(), String> {
        let known = |name: &str| is_condition(name) || TIME.contains(&name) || own.contains(&name);
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known(name)) else {
            return Ok(());
        };
        let fields = Filter::WORDS.map(|(word, _)| word);
        let words = fields
            .iter()
            .chain(&[STATUS, NOT_STATUS, WITHOUT])
            .chain(&TIME);
        let words: Vec<&str> = words.copied().collect();
        Err(format!(
            "{name:?} is no word of a filter: there are {}",
            words.join(", ")
        ))
    }

    /// Narrows the filter down to the conditions. Values of one word are alternatives.
    pub(crate) fn narrow(&self, mut filter: Filter) -> Result<Filter, String> {
        for (name, field) in Filter::WORDS {
            let texts: Vec<&str> = self.all(name).collect();
            if !texts.is_empty() {
                filter = filter
                    .matches(field, texts)
                    .map_err(|error| sentence(name, &error))?;
            }
        }
        for word in self.all(WITHOUT) {
            let Some(field) = field(canonical(word)) else {
                let words = Filter::WORDS.map(|(word, _)| word).join(", ");
                return Err(format!("{WITHOUT}: {word:?} is none of {words}"));
            };
            filter = filter.lacks(field);
        }
        if let Some(statuses) = self.statuses(STATUS)? {
            filter = filter.any_status(statuses);
        }
        if let Some(statuses) = self.statuses(NOT_STATUS)? {
            filter = filter.no_status(statuses);
        }
        Ok(filter)
    }

    /// None: the word is not there.
    fn statuses(&self, word: &str) -> Result<Option<Vec<Status>>, String> {
        let texts = self.all(word).flat_map(|text| text.split(','));
        let statuses: Result<Vec<Status>, _> = texts.map(|text| text.trim().parse()).collect();
        let statuses = statuses.map_err(|error| sentence(word, &error))?;
        Ok(Some(statuses).filter(|statuses| !statuses.is_empty()))
    }
}

fn sentence(word: &str, error: &audithog::Error) -> String {
    format!("{word}: {error}")
}

/// What the form that adds a condition sends: `add=user&value=u_1`.
pub(crate) fn added(params: &Params) -> Option<Params> {
    let name = params.get("add")?;
    let rest = params.clone().without("add").without("value");
    Some(match params.get("value") {
        Some(value) => rest.with(name, value),
        None => rest,
    })
}

/// The command line's other word for the same.
fn canonical(name: &str) -> &str {
    match name {
        "env" => "environment",
        name => name,
    }
}

fn is_condition(name: &str) -> bool {
    [STATUS, NOT_STATUS, WITHOUT].contains(&name) || field(name).is_some()
}

/// What a page calls a condition.
pub(crate) fn label(name: &str) -> &str {
    match name {
        "org" => "organisation",
        "error-code" => "error code",
        "request-id" => "request id",
        "trace-id" => "trace id",
        "ip" => "address",
        "user-agent" => "user agent",
        NOT_STATUS => "status not",
        name => name,
    }
}

/// The field that a word is about.
pub(crate) fn field(name: &str) -> Option<Field> {
    let mut words = Filter::WORDS.into_iter();
    words
        .find(|(word, _)| *word == name)
        .map(|(_, field)| field)
}

/// The filter's word for a field.
pub(crate) fn word(field: Field) -> Option<&'static str> {
    let mut words = Filter::WORDS.into_iter();
    words
        .find(|(_, known)| *known == field)
        .map(|(word, _)| word)
}

/// What somebody typed into the search: an id, an address, a path, an endpoint, a status, else a user.
pub(crate) fn searched(text: &str) -> Params {
    let text = text.trim();
    let one = |name: &str, value: &str| Params::default().with(name, value);
    if let Some((word, value)) = text.split_once(':')
        && let word = canonical(word)
        && is_condition(word)
        && !value.is_empty()
    {
        return one(word, value.trim());
    }
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() == 36 && text.bytes().filter(|byte| *byte == b'-').count() == 4 {
        return one("request-id", text);
    }
    if text.len() == 32 && hexadecimal {
        return one("trace-id", text);
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return one("ip", text);
    }
    if text.starts_with('/') {
        return one("path", &format!("{}*", text.trim_end_matches('*')));
    }
    if let Some((method, path)) = text.split_once(" /") {
        return one("method", &method.to_ascii_uppercase())
            .with("path", &format!("/{}*", path.trim_end_matches('*')));
    }
    if text.parse::<Status>().is_ok() {
        return one(STATUS, text);
    }
    let code = text
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit());
    if code && text.contains('_') {
        return one("error-code", text);
    }
    one("user", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_what_was_asked_for() {
        let params = Params::parse("user=u+1&user=u%262&status=&q=x&since=1h");
        assert_eq!(params.all("user").collect::<Vec<_>>(), ["u 1", "u&2"]);
        assert_eq!(
            params.clone().rows_only().behind("/audit/log".to_owned()),
            "/audit/log?user=u+1&user=u%262&since=1h"
        );
        let params = params.without_value("user", "u 1").set("since", "7d");
        assert_eq!(
            params.rows_only().behind("/log".to_owned()),
            "/log?user=u%262&since=7d"
        );
    }

    #[test]
    fn a_link_to_one_value_means_no_other() {
        let params = Params::default()
            .exactly("route", Some("/files/*"))
            .exactly("user", Some("u*"))
            .exactly("error-code", None);
        let link = params.behind(String::new());
        assert_eq!(link, r"?route=%2Ffiles%2F%5C*&user=u*&without=error-code");
        let conditions = Params::parse(&link[1..]).narrow(Filter::all()).unwrap();
        let expected = ["user_id = u*", "route = /files/*", "error_code is not set"];
        assert_eq!(conditions.conditions(), expected);
    }

    #[test]
    fn what_is_typed_is_understood() {
        for (text, expected) in [
            (
                "019ab3c4-5d6e-7f80-9a0b-1c2d3e4f5061",
                "request-id=019ab3c4-5d6e-7f80-9a0b-1c2d3e4f5061",
            ),
            (
                "0af7651916cd43dd8448eb211c80319c",
                "trace-id=0af7651916cd43dd8448eb211c80319c",
            ),
            ("10.0.0.1", "ip=10.0.0.1"),
            ("2001:db8::1", "ip=2001%3Adb8%3A%3A1"),
            ("/agents/", "path=%2Fagents%2F*"),
            ("get /agents", "method=GET&path=%2Fagents*"),
            ("5xx", "status=5xx"),
            ("QUOTA_EXCEEDED", "error-code=QUOTA_EXCEEDED"),
            ("org:acme", "org=acme"),
            ("ada", "user=ada"),
            ("https://x", "user=https%3A%2F%2Fx"),
        ] {
            assert_eq!(
                searched(text).behind("/".to_owned()),
                format!("/?{expected}"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_wrong_condition_is_named() {
        for (query, expected) in [
            ("ip=x", "ip: \"x\" is no ip"),
            ("status=9", "status: \"9\" is no status"),
            ("result=maybe", "result: \"maybe\" is no result"),
            ("not-status=5x", "not-status: \"5x\" is no status"),
            ("without=x", "without: \"x\" is none of event, user, "),
        ] {
            let error = Params::parse(query).narrow(Filter::all()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn every_word_is_understood_or_named() {
        let params = Params::parse("env=production&without=env&since=1h&id=x&usr=");
        assert_eq!(params.understood(&["id"]), Ok(()));
        let conditions = params.narrow(Filter::all()).unwrap().conditions();
        let expected = ["environment = production", "environment is not set"];
        assert_eq!(conditions, expected);
        for (query, expected) in [
            (
                "usr=ada",
                "\"usr\" is no word of a filter: there are event, user, ",
            ),
            ("user=ada&id=x", "\"id\" is no word"),
            ("Env=production", "\"Env\" is no word"),
        ] {
            let error = Params::parse(query).understood(&["format"]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
