//! `audit_logs` as someone with the `sqlite3` program sees it.

use std::net::Ipv6Addr;
use std::process::Command;

use uuid::Uuid;

use super::Place;
use crate::ledger::tests::{commit_rows, full_row};
use crate::record::{Actor, Micros, RequestId, Row};

fn sqlite3(place: &Place, sql: &str) -> String {
    let output = Command::new("sqlite3")
        .args(["-readonly", "-header", "-nullvalue", "NULL"])
        .arg(place.path())
        .arg(sql)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

const HEADER: &str = "seq|id|ts|event|request_id|upstream_request_id|user_id|user_role|org_id|\
    actor_type|on_behalf_of|method|path|route|status_code|result|error_code|duration_ms|\
    user_agent|ip|trace_id|service|environment|version|instance|distinct_id|properties";

#[test]
fn every_column_is_readable_while_the_store_is_open() {
    let place = Place::new();
    let mut store = place.open();
    // The second and third row have their texts in the dictionary.
    commit_rows(&mut store, &[full_row(1), full_row(2), full_row(3)]);
    let line = |n: u32, ts: &str| {
        let id = format!("01920000-0000-7000-8000-00000000000{n}");
        format!(
            "{n}|{id}|{ts}|api_request|{id}|edge-1|user_{n}|admin|acme|user|u_9|POST|/agents/{n}|\
             /agents/{{id}}|500|failure|INTERNAL|1.234|Mozilla/5.0 (X11; Linux x86_64)|203.0.113.9|\
             {}|shop|test|1.2.3|host-1|d-1|{{\"a\":1}}\n",
            "ab".repeat(16)
        )
    };
    let expected = [
        format!("{HEADER}\n"),
        line(1, "2026-02-02T02:39:59.000001Z"),
        line(2, "2026-02-02T02:39:59.000002Z"),
        line(3, "2026-02-02T02:39:59.000003Z"),
    ];
    assert_eq!(
        sqlite3(&place, "SELECT * FROM audit_logs"),
        expected.concat()
    );
}

#[test]
fn times_and_ids_read_as_the_program_prints_them() {
    let place = Place::new();
    let mut store = place.open();
    let id = Uuid::from_u128(7);
    let other = "0192f7a1-7c3e-7a55-8000-0123456789ab";
    let mut row = Row {
        ts: Micros(-1),
        request_id: Some(RequestId::Uuid(id)),
        actor: Actor::api_key(other).org(other),
        trace_id: None,
        ..full_row(1)
    };
    if let Some(exchange) = &mut row.exchange {
        exchange.path = "/agents".into();
        exchange.route = Some("/agents".into());
        exchange.ip = Some(Ipv6Addr::LOCALHOST.into());
    }
    let bare = Row {
        exchange: None,
        request_id: None,
        actor: Actor::default(),
        ts: Micros(1_700_000_000_000_000),
        ..full_row(2)
    };
    let adopted = Row {
        request_id: Some(RequestId::Adopted("edge/7".into())),
        ..full_row(3)
    };
    commit_rows(&mut store, &[row.clone(), bare.clone(), adopted]);
    let columns = "ts, request_id, user_id, org_id, actor_type, path, route, result, ip, trace_id";
    let sql = format!("SELECT {columns} FROM audit_logs WHERE seq < 3");
    let trace = "ab".repeat(16);
    let expected = format!(
        "{}\n{}|{id}|{other}|{other}|api_key|/agents|/agents|failure|::1|NULL\n\
         {}|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|{trace}\n",
        columns.replace(", ", "|"),
        row.ts,
        bare.ts
    );
    assert_eq!(sqlite3(&place, &sql), expected);
    let found = |from: &str| sqlite3(&place, &format!("SELECT seq FROM {from}"));
    let id = row.id;
    assert_eq!(found(&format!("audit_logs WHERE id = '{id}'")), "seq\n1\n");
    let hex = id.simple();
    assert_eq!(
        found(&format!("audit_rows WHERE id = x'{hex}'")),
        "seq\n1\n"
    );
    assert_eq!(found("audit_logs WHERE request_id = 'edge/7'"), "seq\n3\n");
}
