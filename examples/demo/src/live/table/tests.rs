use super::*;

fn entry() -> Entry {
    Entry {
        seq: 1,
        ts: "2026-01-31T12:00:00.123456Z".to_owned(),
        event: "api_request".to_owned(),
        method: Some("GET".to_owned()),
        path: Some("/agents".to_owned()),
        status: Some(409),
        duration_ms: Some(1.25),
        user: Some("ada".to_owned()),
        role: Some("admin".to_owned()),
        org: None,
        error_code: Some("AGENT_LIMIT".to_owned()),
        properties: None,
    }
}

fn line(entry: &Entry, colors: bool) -> String {
    entry.line(&Console::new(colors))
}

#[test]
fn a_request_is_one_line() {
    assert_eq!(
        line(&entry(), false),
        "12:00:00.123  GET     /agents                    409      1.2 ms  ada, admin  AGENT_LIMIT"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    let colored = line(&entry(), true);
    assert!(colored.contains("\x1b[33m409\x1b[0m"), "{colored:?}");
    let mut plain = String::new();
    for (index, part) in colored.split("\x1b[").enumerate() {
        let text = if index == 0 {
            part
        } else {
            part.split_once('m').unwrap().1
        };
        plain.push_str(text);
    }
    assert_eq!(plain, line(&entry(), false));
}

#[test]
fn an_event_shows_its_properties() {
    let event = Entry {
        event: "agent_published".to_owned(),
        method: None,
        path: None,
        status: None,
        duration_ms: None,
        error_code: None,
        properties: Some(r#"{"agentId":3}"#.to_owned()),
        ..entry()
    };
    assert_eq!(
        line(&event, false),
        r#"12:00:00.123  agent_published  {"agentId":3}  ada, admin"#
    );
}

#[test]
fn a_long_text_is_cut_between_characters() {
    assert_eq!(cut("abc", 3), "abc");
    assert_eq!(cut("abcd", 3), "ab…");
    assert_eq!(cut("äöüß", 3), "äö…");
    assert_eq!(cut("äöü", 3), "äöü");
    assert_eq!(cut("", 3), "");
}
