//! Ten million rows, in a browser.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::driver::Browser;
use crate::shop::{Call, Running, Shop, one};

/// Another ledger to look at, with as many rows or more: its figures are printed, for `cargo test … -- --nocapture`.
const LEDGER: &str = "AUDITHOG_TEST_LEDGER";

const ROWS: i64 = 10_000_000;
/// Rows that the service itself writes; the others are like these, later.
const WRITTEN: i64 = 2_000;

struct Ledger {
    path: PathBuf,
    _home: Option<TempDir>,
}

impl Ledger {
    async fn of_many_rows() -> Self {
        if let Some(path) = std::env::var_os(LEDGER) {
            let (path, _home) = (path.into(), None);
            return Self { path, _home };
        }
        let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = home.path().join("audit.db");
        let shop = Shop::open_at(SystemTime::now() - Duration::from_secs(10 * 86_400));
        let mut n = 0;
        while shop.sql::<i64>("SELECT head FROM audit_head") < WRITTEN {
            let agent = format!("/agents/{}", n % 50);
            let user = format!("user-{}", n % 90);
            let call = Call::get(&agent).by(&user, ["acme", "globex"][n % 2]);
            for _ in 0..50 {
                shop.call(call.clone()).await;
            }
            n += 1;
            shop.written().await;
        }
        let report = shop.logger.shutdown(None).await;
        assert_eq!(report.health.queued, 0);
        std::fs::copy(shop.path(), &path).unwrap();
        let grown = path.clone();
        tokio::task::spawn_blocking(move || grow(&grown))
            .await
            .unwrap();
        Self {
            path,
            _home: Some(home),
        }
    }
}

/// Repeats the rows that are there until there are [`ROWS`], each time a little later. A service would take minutes without optimisation.
fn grow(path: &Path) {
    let ledger = Connection::open(path).unwrap();
    ledger
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")
        .unwrap();
    let guards: Vec<(String, String)> = ledger
        .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (name, _) in &guards {
        ledger
            .execute_batch(&format!("DROP TRIGGER {name}"))
            .unwrap();
    }
    let written: i64 = one_of(&ledger, "SELECT head FROM audit_head");
    let columns: Vec<String> = ledger
        .prepare("SELECT name FROM pragma_table_info('audit_rows')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    // Ten days in all, so that the last day has a million.
    let span = 10 * 86_400_000_000 / (ROWS / written);
    let copied: Vec<String> = columns
        .iter()
        .map(|column| match &**column {
            "seq" => format!("seq + n * {written}"),
            "ts" => format!("ts + n * {span}"),
            // Ids begin with their time in milliseconds.
            "id" => format!(
                "CAST(unhex(printf('%012x', (ts + n * {span}) / 1000)) || substr(id, 7) AS BLOB)"
            ),
            other => other.to_owned(),
        })
        .collect();
    let copied = copied.join(", ");
    let high = format!("max_ts + n * {span}");
    ledger
        .execute_batch(&format!(
            "WITH RECURSIVE times(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM times WHERE (n + 1) * {written} < {ROWS})
             INSERT INTO audit_rows SELECT {copied} FROM times CROSS JOIN audit_rows
             WHERE seq <= {written} AND seq + n * {written} <= {ROWS};
             DELETE FROM audit_blocks;
             WITH RECURSIVE times(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM times WHERE (n + 1) * {written} < {ROWS}),
               base AS (SELECT min(ts) AS min_ts, max(ts) AS max_ts FROM audit_rows WHERE seq <= {written})
             INSERT INTO audit_blocks
             SELECT n * {written} + 1, min((n + 1) * {written}, {ROWS}), min_ts + n * {span}, {high}, {high}
             FROM times CROSS JOIN base;
             UPDATE audit_head SET head = {ROWS};"
        ))
        .unwrap();
    for (_, sql) in &guards {
        ledger.execute_batch(sql).unwrap();
    }
    ledger
        .execute_batch("COMMIT; PRAGMA journal_mode = WAL")
        .unwrap();
    drop(ledger);
    // A browser whose shared memory is on the same disk draws nothing while so much is written back.
    std::fs::File::open(path).unwrap().sync_all().unwrap();
}

fn one_of(ledger: &Connection, sql: &str) -> i64 {
    ledger.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Scrolls on, and says: how many rows were seen, the least and the largest of their numbers, how many are in the page, and how far what was
/// in the middle of the window has moved within the page since the last time.
const SCROLL: &str = "window.seen ??= new Set(); \
    const rows = [...document.querySelectorAll('#log tr[data-row]')]; \
    for (const row of rows) { seen.add(Number(row.id.slice(1))); } \
    const at = (row) => row.getBoundingClientRect().top + scrollY; \
    const moved = window.kept?.isConnected ? Math.abs(at(kept) - window.keptAt) : 0; \
    scrollBy(0, innerHeight); \
    window.kept = document.elementFromPoint(innerWidth / 2, innerHeight / 2)?.closest('tr[data-row]') ?? undefined; \
    window.keptAt = window.kept ? at(kept) : 0; \
    return [seen.size, Math.min(...seen), Math.max(...seen), rows.length, moved]";

/// Scrolls until so many rows were seen: each once, in order, and none has moved.
async fn scroll(browser: &Browser, count: u64) -> Value {
    loop {
        let found = browser.run(SCROLL).await;
        let numbers: Vec<f64> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number.as_f64().unwrap())
            .collect();
        let [seen, least, most, shown, moved] = numbers[..] else {
            panic!("{found}")
        };
        assert!(moved < 1.0, "a row has moved: {found}");
        assert!(shown <= 1_000.0, "the page keeps too much: {found}");
        if seen >= count as f64 {
            assert!(
                (most - least + 1.0 - seen).abs() < 0.5,
                "rows are missing: {found}"
            );
            return json!(most);
        }
        browser
            .until("return scrollY + innerHeight < document.documentElement.scrollHeight")
            .await;
    }
}

/// Opens a page, and prints when its first content was seen.
#[expect(
    clippy::print_stdout,
    reason = "a figure for whoever asks, which is no test"
)]
async fn open(browser: &Browser, console: &Running, page: &str) {
    browser.go(&console.url(page)).await;
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]";
    browser.until(&format!("return Boolean({paint})")).await;
    let paint = browser.run(&format!("return {paint}.startTime")).await;
    println!("first contentful paint of /{page}: {paint} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_million_rows_are_scrolled_like_a_hundred() {
    let ledger = Ledger::of_many_rows().await;
    let head: i64 = one(&ledger.path, "SELECT head FROM audit_head");
    assert!(head >= ROWS, "{head}");
    let console = Running::all(ledger.path.clone()).await;
    let browser = Browser::open().await;

    open(&browser, &console, "log").await;
    assert_eq!(scroll(&browser, 2_000).await, json!(head as f64));
    // In the middle of it.
    let middle = head / 2;
    open(&browser, &console, &format!("log?before={}", middle + 1)).await;
    assert_eq!(scroll(&browser, 2_000).await, json!(middle as f64));
    // By its number, and by its id.
    let id: String = one(
        &ledger.path,
        &format!("SELECT id FROM audit_logs WHERE seq = {middle}"),
    );
    for page in [format!("row?id=seq:{middle}"), format!("row?id={id}")] {
        open(&browser, &console, &page).await;
        assert!(browser.text("article.row .fields").await.contains(&id));
    }
    // Of the last ten minutes, as SQL counts them. The end is the last row's, which is not part of the range.
    let until: String = one(
        &ledger.path,
        &format!("SELECT ts FROM audit_logs WHERE seq = {head}"),
    );
    let since: String = one(
        &ledger.path,
        &format!("SELECT strftime('%Y-%m-%dT%H:%M:%S.000000Z', '{until}', '-10 minutes')"),
    );
    let page = format!("?since={since}&until={until}");
    open(&browser, &console, &page).await;
    let expected: i64 = one(
        &ledger.path,
        &format!(
            "SELECT count(*) FROM audit_logs WHERE seq > {head} - 1000000 AND event = 'api_request' AND ts >= '{since}' AND ts < '{until}'"
        ),
    );
    assert!(expected > 1_000, "{expected}");
    let shown = browser.text(".tile:first-child b").await;
    assert_eq!(shown.replace(',', ""), expected.to_string());
    if std::env::var_os(LEDGER).is_some() {
        for page in ["", "?since=7d", "health", "user?id=user-1"] {
            open(&browser, &console, page).await;
        }
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
