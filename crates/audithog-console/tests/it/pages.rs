//! What pages say, against SQL over the same rows.

use std::time::{Duration, SystemTime};

use audithog::testing::PostHogStandIn;
use axum::Router;
use axum::http::StatusCode;

use crate::browser::refused;
use crate::shop::{Call, Reply, Shop, get_page, quiet, text_of};

fn console(shop: &Shop) -> Router {
    quiet(shop.path()).router()
}

async fn fine(app: &Router, uri: &str) -> Reply {
    let reply = get_page(app, uri).await;
    assert_eq!(reply.status, StatusCode::OK, "{uri}: {}", reply.text);
    reply
}

/// An hour ago, so that the pages' usual ranges have it.
fn lately() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3_600)
}

/// The text of a tile.
fn tile<'t>(page: &'t str, name: &str) -> &'t str {
    let from = page.split_once(&format!("<span class=\"name\">{name}</span><b>"));
    let (_, rest) = from.unwrap_or_else(|| panic!("no tile {name}: {page}"));
    rest.split_once("</b>").unwrap().0
}

fn numbers(line: &str) -> String {
    line.replace(',', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_counts_as_sql_does() {
    let shop = Shop::open_at(lately());
    shop.traffic(240).await;
    let page = fine(&console(&shop), "/").await.text;
    let requests = "FROM audit_logs WHERE event = 'api_request'";
    let all: i64 = shop.sql(&format!("SELECT count(*) {requests}"));
    assert_eq!(all, 240);
    assert_eq!(numbers(tile(&page, "requests")), all.to_string());
    let failed: f64 = shop.sql(&format!("SELECT avg(result = 'failure') * 100 {requests}"));
    assert_eq!(tile(&page, "failure rate"), format!("{failed:.1} %"));
    let server: f64 = shop.sql(&format!(
        "SELECT avg(ifnull(status_code, 0) BETWEEN 500 AND 599) * 100 {requests}"
    ));
    assert_eq!(tile(&page, "5xx rate"), format!("{server:.2} %"));
    assert!(page.contains("exact"), "{page}");

    // The bars together are all requests, by outcome.
    let (_, figures) = page.split_once("<summary>Figures</summary>").unwrap();
    let (figures, _) = figures.split_once("</table>").unwrap();
    let mut sums = [0; 4];
    for line in figures.split("<tr>").skip(2) {
        let cells = line.split("<td class=\"n\">").skip(1);
        for (sum, cell) in sums.iter_mut().zip(cells) {
            let number = numbers(&text_of(cell.split_once("</td>").unwrap().0));
            *sum += number.parse::<i64>().unwrap_or(0);
        }
    }
    let outcome = |condition: &str| -> i64 {
        shop.sql(&format!("SELECT count(*) {requests} AND {condition}"))
    };
    assert_eq!(
        sums,
        [
            outcome("result = 'success'"),
            outcome("status_code BETWEEN 400 AND 499"),
            outcome("status_code BETWEEN 500 AND 599"),
            0
        ]
    );

    let busiest: String = shop.sql(&format!("SELECT user_id {requests} AND user_id IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"));
    assert!(
        page.contains(&format!("/user?id={busiest}\">{busiest}</a>")),
        "{page}"
    );
}

/// The figures below the bars, added up.
fn charted(page: &str) -> i64 {
    let (_, figures) = page.split_once("<summary>Figures</summary>").unwrap();
    let (figures, _) = figures.split_once("</table>").unwrap();
    let cells = figures.split("<td class=\"n\">").skip(1);
    let cells = cells.map(|cell| numbers(&text_of(cell.split_once("</td>").unwrap().0)));
    cells.map(|cell| cell.parse::<i64>().unwrap()).sum()
}

/// A clock that was set back, or of another machine: rows are not in the order of their times, and some are of the future.
#[tokio::test(flavor = "multi_thread")]
async fn charts_have_every_request_that_the_tiles_count() {
    let hours = |n: u64| Duration::from_secs(n * 3_600);
    let shop = Shop::open_at(SystemTime::now() + hours(3));
    shop.call(Call::get("/agents/1")).await;
    let shop = shop.again_at(SystemTime::now() - hours(50)).await;
    shop.call(Call::get("/agents/2")).await;
    shop.call(Call::get("/agents/3")).await;
    shop.written().await;
    let order: String = shop
        .sql("SELECT group_concat(path) FROM audit_logs WHERE event = 'api_request' ORDER BY seq");
    assert_eq!(order, "/agents/1,/agents/2,/agents/3");
    let app = console(&shop);
    for (uri, count) in [("/?since=all", 3), ("/?since=3d", 3), ("/", 1)] {
        let page = fine(&app, uri).await.text;
        assert_eq!(tile(&page, "requests"), count.to_string(), "{uri}");
        assert_eq!(charted(&page), count, "{uri}: {page}");
        assert!(page.contains("until the end of the log"), "{uri}: {page}");
    }
}

/// The entries of the picture that are called so, in its order.
fn entries(page: &str, name: &str) -> Vec<String> {
    page.split(&format!("<dt>{name}</dt><dd>"))
        .skip(1)
        .map(|rest| numbers(&text_of(rest.split_once("</dd>").unwrap().0)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_page_counts_as_sql_does() {
    let posthog = PostHogStandIn::start().unwrap();
    let shop = refused(&posthog).await;
    shop.traffic(60).await;
    // Nothing is written any more while it is compared.
    let report = shop.logger.shutdown(None).await;
    assert_eq!(report.health.queued, 0);
    let page = fine(&console(&shop), "/health").await.text;
    for (name, sql) in [
        ("rows", "SELECT count(*) FROM audit_logs"),
        ("last number", "SELECT max(seq) FROM audit_logs"),
        ("removed by retention", "SELECT pruned FROM audit_head"),
        ("lost", "SELECT ifnull(sum(rows), 0) FROM audit_losses"),
        (
            "pending",
            "SELECT head - cursor + stragglers FROM audit_sinks, audit_head",
        ),
        ("delivered", "SELECT delivered FROM audit_sinks"),
        ("dead letters", "SELECT count(*) FROM audit_dead_letters"),
    ] {
        let expected: i64 = shop.sql(sql);
        assert_eq!(entries(&page, name), [expected.to_string()], "{name}");
    }
    assert_eq!(entries(&page, "dead letters"), ["2"]);
    assert!(entries(&page, "delivered")[0].parse::<i64>().unwrap() > 60);
    assert!(page.contains("href=\"#dead-letters\"") && page.contains("id=\"dead-letters\""));
    // The books are those numbers, and they hold.
    assert!(page.contains("<td>yes</td>") && !page.contains("<b class=\"bad\">no</b>"));
}

/// What was in memory when a process was killed is counted by the next start: until then nobody may say that nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_is_not_counted_yet_is_told() {
    let shop = Shop::open();
    shop.call(Call::get("/agents/1")).await;
    shop.written().await;
    let app = console(&shop);
    let said = "No row was ever lost.";
    let page = fine(&app, "/health").await.text;
    assert!(page.contains(said), "{page}");
    assert_eq!(entries(&page, "not counted yet"), Vec::<String>::new());

    // Its process is another one than that of the test, which lives.
    let ledger = rusqlite::Connection::open(shop.path()).unwrap();
    let gone = "UPDATE audit_runs SET pid_started = pid_started + 1";
    ledger.execute(gone, []).unwrap();
    let page = fine(&app, "/health").await.text;
    assert!(!page.contains(said), "{page}");
    assert_eq!(entries(&page, "not counted yet"), ["up to 65536"]);
    let losses =
        "None is counted yet. Up to 65,536 rows in the memory of a process that died may be gone";
    assert!(text_of(&page).contains(losses), "{page}");

    // One that was counted before changes nothing of that.
    let earlier = "INSERT INTO audit_losses (reason, rows, last_ts) VALUES ('queue_full', 7, 0)";
    ledger.execute(earlier, []).unwrap();
    let page = text_of(&fine(&app, "/health").await.text);
    assert!(page.contains("Up to 65,536 rows in the memory"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_pages_through_all_rows_once() {
    let shop = Shop::open_at(lately());
    shop.traffic(260).await;
    let app = console(&shop);
    let mut seen: Vec<i64> = Vec::new();
    let mut uri = "/log".to_owned();
    loop {
        let page = fine(&app, &uri).await.text;
        let ids = page.split("<tr id=\"r").skip(1);
        seen.extend(ids.map(|rest| rest.split_once('"').unwrap().0.parse::<i64>().unwrap()));
        let Some((_, next)) = page.split_once("id=\"more\" rel=\"next\" href=\"") else {
            assert!(page.contains("The log begins here."), "{page}");
            break;
        };
        uri = next.split_once('"').unwrap().0.replace("&amp;", "&");
    }
    let head: i64 = shop.sql("SELECT max(seq) FROM audit_logs");
    assert_eq!(seen, (1..=head).rev().collect::<Vec<_>>());
}

/// Which is not the order of their times after an import, or where a clock was set.
#[tokio::test(flavor = "multi_thread")]
async fn lists_say_in_which_order_they_are() {
    let shop = Shop::open();
    shop.call(Call::get("/agents/1").by("ada", "acme")).await;
    let earlier = SystemTime::now() - Duration::from_secs(600);
    let shop = shop.again_at(earlier).await;
    shop.call(Call::get("/agents/2").by("ada", "acme")).await;
    shop.written().await;
    let app = console(&shop);
    for (uri, said) in [
        ("/log?user=ada", "in the order in which they were written"),
        ("/user?id=ada", "<h2>Rows, the last written first</h2>"),
    ] {
        let page = fine(&app, uri).await.text;
        assert!(page.contains(said), "{page}");
        let (_, rows) = page.split_once("<table class=\"log\">").unwrap();
        let at = |path: &str| rows.find(path).unwrap();
        assert!(at("/agents/2") < at("/agents/1"), "{rows}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_rows_as_sql_does() {
    let shop = Shop::open_at(lately());
    shop.traffic(120).await;
    let app = console(&shop);
    for (query, condition) in [
        ("user=ada", "user_id = 'ada'"),
        (
            "user=ada&user=ben&status=5xx",
            "user_id IN ('ada', 'ben') AND status_code BETWEEN 500 AND 599",
        ),
        ("status=404,429", "status_code IN (404, 429)"),
        ("path=%2Fagents%2F*", "substr(path, 1, 8) = '/agents/'"),
        (
            "org=acme&result=failure",
            "org_id = 'acme' AND result = 'failure'",
        ),
        ("error-code=RATE_LIMIT", "error_code = 'RATE_LIMIT'"),
        ("event=agent_published", "event = 'agent_published'"),
        (
            "route=%2Fagents%2F%7Bid%7D&method=get",
            "route = '/agents/{id}' AND method = 'GET'",
        ),
        ("user=nobody", "user_id = 'nobody'"),
    ] {
        let page = fine(&app, &format!("/log?{query}")).await.text;
        let shown = page.matches("<tr id=\"r").count();
        let expected: i64 = shop.sql(&format!(
            "SELECT count(*) FROM audit_logs WHERE {condition}"
        ));
        assert!(
            expected <= 100 && (expected > 0 || query == "user=nobody"),
            "{query}: {expected}"
        );
        assert_eq!(shown as i64, expected, "{query}");
    }
    for (query, expected) in [
        ("ip=here", "ip: &quot;here&quot; is no ip"),
        ("since=soon", "since: &quot;soon&quot; is no time"),
        ("status=many", "status: &quot;many&quot; is no status"),
    ] {
        for page in ["", "log", "log/export"] {
            let reply = get_page(&app, &format!("/{page}?{query}")).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{page} {query}");
            assert!(reply.text.contains(expected), "{page}: {}", reply.text);
        }
    }
}

/// A filter that was left out would show more rows than were asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_never_left_out() {
    let shop = Shop::open_at(lately());
    shop.traffic(20).await;
    let app = console(&shop);
    let long = "x".repeat(4_000);
    let page = fine(&app, &format!("/log?user={long}")).await.text;
    assert_eq!(page.matches("<tr id=\"r").count(), 0);
    assert!(page.contains("No row is like that."), "{page}");
    let many = "user=nobody&".repeat(600);
    assert_eq!(
        fine(&app, &format!("/log?{many}"))
            .await
            .text
            .matches("<tr id=\"r")
            .count(),
        0
    );
    let reply = get_page(&app, &format!("/log?user={}", long.repeat(3))).await;
    assert_eq!(reply.status, StatusCode::URI_TOO_LONG);
    assert!(reply.text.contains("asks for too much"), "{}", reply.text);
    // Neither is a word that no page knows, or only another one.
    for (uri, word) in [
        ("/?user=ada&usr=ada", "usr"),
        ("/log?usr=ada", "usr"),
        ("/log?id=seq:1", "id"),
        ("/log/live?usr=ada", "usr"),
        ("/log/export?usr=ada", "usr"),
        ("/log/export?seq=5", "seq"),
        ("/log/export?format=csv&limit=5", "limit"),
        ("/user?id=ada&usr=ada", "usr"),
        ("/org?id=acme&usr=ada", "usr"),
        ("/endpoint?route=/agents&id=1", "id"),
    ] {
        let reply = get_page(&app, uri).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri}");
        let named = format!("&quot;{word}&quot; is no word of a filter: there are event, user, ");
        assert!(reply.text.contains(&named), "{uri}: {}", reply.text);
    }
    let added = get_page(&app, "/log?add=usr&value=ada").await;
    assert_eq!(added.headers["location"], "/log?usr=ada");
    // The command line's other word for the same is understood.
    let nothing = fine(&app, "/log/export?env=elsewhere").await.text;
    assert_eq!(nothing, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_understands_what_is_typed() {
    let shop = Shop::open_at(lately());
    shop.traffic(60).await;
    let app = console(&shop);
    let request: String =
        shop.sql("SELECT request_id FROM audit_logs WHERE event = 'agent_published' LIMIT 1");
    for (typed, rows) in [
        (
            &*request,
            "request_id = (SELECT request_id FROM audit_logs WHERE event = 'agent_published' LIMIT 1)",
        ),
        ("ben", "user_id = 'ben'"),
        ("/agents/3", "path = '/agents/3'"),
        ("post /agents", "method = 'POST'"),
        ("5xx", "status_code = 500"),
        ("org:globex", "org_id = 'globex'"),
    ] {
        let query: String = form_urlencoded::byte_serialize(typed.as_bytes()).collect();
        let reply = get_page(&app, &format!("/search?q={query}")).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER);
        let to = reply.headers["location"].to_str().unwrap();
        let page = fine(&app, to).await.text;
        let expected: i64 = shop.sql(&format!("SELECT count(*) FROM audit_logs WHERE {rows}"));
        assert!(expected > 0, "{typed}");
        assert_eq!(
            page.matches("<tr id=\"r").count() as i64,
            expected,
            "{typed}: {to}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_shows_all_its_fields_its_request_and_its_neighbours() {
    let shop = Shop::open_at(lately());
    shop.traffic(60).await;
    let console = quiet(shop.path());
    let app: Router = console
        .trace_link("https://trace.example/{trace_id}?x")
        .unwrap()
        .router();
    let id: String = shop.sql(
        "SELECT id FROM audit_logs WHERE event = 'agent_published' ORDER BY seq LIMIT 1 OFFSET 1",
    );
    let page = fine(&app, &format!("/row?id={id}")).await.text;
    for column in [
        "seq",
        "request_id",
        "user_id",
        "org_id",
        "service",
        "environment",
    ] {
        let value: String = shop.sql(&format!(
            "SELECT {column} || '' FROM audit_logs WHERE id = '{id}'"
        ));
        assert!(page.contains(&value), "{column} = {value}: {page}");
    }
    assert!(
        page.contains("&quot;note&quot;: &quot;weekly&quot;"),
        "{page}"
    );
    let (_, request) = page.split_once("The whole request").unwrap();
    assert_eq!(
        request
            .split_once("</table>")
            .unwrap()
            .0
            .matches("<tr id")
            .count(),
        2
    );
    let (_, around) = page.split_once("did around it").unwrap();
    assert_eq!(around.matches("<tr id").count(), 11, "{around}");

    let json = fine(&app, &format!("/row.json?id={id}")).await.text;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["id"], id);
    assert_eq!(get_page(&app, "/row?id=seq:1").await.status, StatusCode::OK);
    for (query, status) in [
        ("", 400),
        ("?id=seq:x", 400),
        ("?id=seq:99999", 404),
        ("?id=019ab3c4-5d6e-7f80-9a0b-1c2d3e4f5061", 404),
    ] {
        assert_eq!(
            get_page(&app, &format!("/row{query}")).await.status,
            status,
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_have_every_row_of_the_filter() {
    let shop = Shop::open_at(lately());
    shop.traffic(150).await;
    shop.call(Call {
        agent: "=cmd()|calc",
        ..Call::get("/agents").by("eve", "acme")
    })
    .await;
    shop.written().await;
    let app = console(&shop);
    let lines = fine(&app, "/log/export?format=ndjson&org=acme").await.text;
    let rows: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected: i64 = shop.sql("SELECT count(*) FROM audit_logs WHERE org_id = 'acme'");
    assert_eq!(rows.len() as i64, expected);
    assert!(rows.iter().all(|row| row["org_id"] == "acme"));
    let csv = fine(&app, "/log/export?format=csv&user=eve").await;
    assert!(
        csv.headers["content-disposition"]
            .to_str()
            .unwrap()
            .contains("audit-log.csv")
    );
    assert_eq!(csv.text.matches("\r\n").count(), 2, "{}", csv.text);
    assert!(csv.text.contains(",'=cmd()|calc,"), "{}", csv.text);
    let reply = get_page(&app, "/log/export?format=xml").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_a_request_says_what_to_do() {
    let shop = Shop::open();
    let page = fine(&console(&shop), "/").await.text;
    assert!(page.contains(".layer(logger.layer())"), "{page}");
    shop.call(Call::get("/agents")).await;
    shop.written().await;
    let page = fine(&console(&shop), "/").await.text;
    assert_eq!(tile(&page, "requests"), "1");
    let nowhere: Router = quiet("/nowhere/audit.db").router();
    let reply = get_page(&nowhere, "/").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        reply
            .text
            .contains("there is no ledger at /nowhere/audit.db"),
        "{}",
        reply.text
    );
}

/// Whatever clients put into a request, it stays text.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_stay_text() {
    let shop = Shop::open_at(lately());
    let script = "<script>alert(1)</script>";
    let quote = "\"'><img src=x onerror=alert(1)>";
    shop.call(Call {
        agent: script,
        note: Some(quote),
        ..Call::get("/agents/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
            .by(script, quote)
            .ends(500, script)
    })
    .await;
    shop.written().await;
    let app = console(&shop);
    let id: String = shop.sql("SELECT id FROM audit_logs WHERE event = 'api_request'");
    let user: String = form_urlencoded::byte_serialize(script.as_bytes()).collect();
    let org: String = form_urlencoded::byte_serialize(quote.as_bytes()).collect();
    for uri in [
        "/".to_owned(),
        "/log".to_owned(),
        format!("/log?user={user}&org={org}&path={user}"),
        format!("/row?id={id}"),
        format!("/row?id={user}"),
        format!("/user?id={user}"),
        format!("/org?id={org}"),
        format!("/endpoint?route={user}&method={org}"),
        format!("/?since={user}"),
        format!("/?add=user&value={user}"),
        format!("/health?replayed={user}"),
        format!("/{user}"),
    ] {
        let reply = get_page(&app, &uri).await;
        assert!(
            !reply.text.contains("<script>alert"),
            "{uri}: {}",
            reply.text
        );
        assert!(!reply.text.contains("<img"), "{uri}: {}", reply.text);
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{uri}");
        assert!(!policy.contains("unsafe"), "{uri}");
    }
}

/// Where a page leads.
fn links(page: &str) -> Vec<&str> {
    page.split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_know_where_the_console_is_mounted() {
    let shop = Shop::open_at(lately());
    shop.traffic(20).await;
    let nested = Router::new().nest("/tools/audit", console(&shop));
    let behind = quiet(shop.path()).mounted_at("/tools/audit");
    let behind: Router = behind.unwrap().router();
    let service: Router = Router::new().nest_service("/tools/audit", console(&shop));
    let first = fine(&service, "/tools/audit").await.text;
    let with_slash = fine(&service, "/tools/audit/").await.text;
    assert_eq!(links(&with_slash), links(&first));
    for (app, inside) in [
        (&nested, "/tools/audit"),
        (&behind, ""),
        (&service, "/tools/audit"),
    ] {
        for page in ["", "log", "health", "user?id=ada"] {
            let uri = match page {
                "" if inside.is_empty() => "/".to_owned(),
                "" => inside.to_owned(),
                page => format!("{inside}/{page}"),
            };
            let text = fine(app, &uri).await.text;
            for attribute in [
                "href=\"",
                "action=\"",
                "src=\"",
                "data-row=\"",
                "data-pulse=\"",
            ] {
                for rest in text.split(attribute).skip(1) {
                    let to = rest.split_once('"').unwrap().0;
                    assert!(
                        to.starts_with("/tools/audit") || to.starts_with('#'),
                        "{uri}: {attribute}{to}"
                    );
                }
            }
            let style = text
                .split_once("rel=\"stylesheet\" href=\"")
                .unwrap()
                .1
                .split_once('"')
                .unwrap()
                .0;
            let asset = style.strip_prefix("/tools/audit").unwrap();
            fine(app, &format!("{inside}{asset}")).await;
        }
    }
    let search = get_page(&nested, "/tools/audit/search?q=ada").await;
    assert_eq!(search.headers["location"], "/tools/audit/log?user=ada");
}
