//! `audithog show`: a request by any of its ids.

use serde_json::Value;

use crate::{
    program::ran,
    shop::{Call, Shop},
};

fn shown(shop: &Shop, id: &str) -> Vec<Value> {
    serde_json::from_str(&shop.prints(&["show", id, "--format", "json"])).unwrap()
}

#[test]
fn a_request_is_found_by_each_id_with_all_its_rows() {
    let shop = Shop::open();
    shop.call(Call {
        event: Some("agent_seen"),
        status: 409,
        code: Some("AGENT_LIMIT"),
        ..Call::default()
    });
    shop.call(Call::default());
    let rows = shop.lines(&["tail", "-n", "3"]);
    let (event, request) = (&rows[0], &rows[1]);
    assert_eq!(event["event"], "agent_seen");
    assert_eq!(event["request_id"], request["request_id"]);
    assert_ne!(event["id"], request["id"]);
    let of_it = [event.clone(), request.clone()];
    let id = request["request_id"].as_str().unwrap();
    assert_eq!(shown(&shop, id), of_it);
    assert_eq!(shown(&shop, &id.to_uppercase()), of_it);
    assert_eq!(shown(&shop, event["id"].as_str().unwrap()), of_it);
    assert_eq!(shown(&shop, &format!("seq:{}", event["seq"])), of_it);
    assert_eq!(shop.lines(&["show", id]), of_it);

    let text = shop.prints(&["show", id, "--utc"]);
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("GET /agents/7: 409 AGENT_LIMIT in "),
        "{first}"
    );
    assert!(first.ends_with(" ms; 2 rows"), "{first}");
    assert!(
        text.contains("\n  plan                  \"\\\\u{9b}31m=1\"\n"),
        "{text}"
    );
    for (name, value) in request.as_object().unwrap() {
        if let (Some(value), false) = (value.as_str(), name == "event") {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")) && line.contains(value));
            assert!(line.is_some(), "{name} {value}: {text}");
        }
    }
}

#[test]
fn a_row_of_no_request_is_shown_alone() {
    let shop = Shop::open();
    let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
    // The time in its id is that of no row: the year 2100.
    let id = "03bb2cc3-d800-7000-8000-000000000001".parse().unwrap();
    shop.logger.event("imported").at(at).id(id).log();
    assert!(shop.logger.flush_blocking(None).blocked.is_none());
    let rows = shop.lines(&["tail", "--event", "imported"]);
    let id = rows[0]["id"].as_str().unwrap();
    assert_eq!(shown(&shop, id), rows);
    let first = shown(&shop, "seq:1");
    assert_eq!(first[0]["event"], "audit_started");
    let text = shop.prints(&["show", "seq:1"]);
    assert!(
        text.starts_with("\naudit_started\nseq                     1\n"),
        "{text}"
    );
}

#[test]
fn a_long_name_is_apart_from_its_value() {
    let shop = Shop::open();
    let names = [20, 21, 22, 40].map(|length| "n".repeat(length));
    let mut event = shop.logger.event("long_names");
    for name in &names {
        event = event.property(name.clone(), 5);
    }
    event.log();
    assert!(shop.logger.flush_blocking(None).blocked.is_none());
    let seq = &shop.lines(&["tail", "--event", "long_names"])[0]["seq"];
    let text = shop.prints(&["show", &format!("seq:{seq}")]);
    for name in names {
        let line = format!("\n{:<23} 5\n", format!("  {name}"));
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[test]
fn what_is_not_there_is_told_with_where_it_was_looked_for() {
    let shop = Shop::open();
    shop.call(Call::default());
    for (id, complaint) in [
        (
            "0198f1e2-0000-7000-8000-000000000000",
            "no request and no row with the id \"0198f1e2-",
        ),
        (
            "no \u{1b} id",
            "no request and no row with the id \"no \\u{1b} id\"",
        ),
        ("seq:999", "no row 999 in "),
    ] {
        let (code, printed, said) = ran(shop.home(), &["show", id]);
        assert_eq!((code, &*printed), (1, ""), "{id}");
        assert!(said.contains(complaint), "{said}");
        assert!(
            said.contains("audit.db, which has the rows 1 to "),
            "{said}"
        );
    }
    let (code, _, said) = ran(shop.home(), &["show", "seq:x"]);
    assert_eq!(code, 2);
    assert!(said.contains("has no number behind `seq:`"), "{said}");
}
