//! Pages in a browser: what scripts add, and what people see.

pub(crate) mod driver;

use std::time::{Duration, Instant, SystemTime};

use audithog::AccessRows;
use audithog::testing::{PostHogStandIn, standin::Verdict};
use audithog_console::{Access, Console};
use axum::Router;
use serde_json::{Value, json};

use self::driver::Browser;
use crate::shop::{Call, Running, Shop};

/// A ledger with two dead letters.
pub(crate) async fn refused(posthog: &PostHogStandIn) -> Shop {
    posthog.judge(|event, _| {
        let path = event.properties.get("path").and_then(Value::as_str);
        path.is_some_and(|path| path.starts_with("/agents/x"))
            .then(|| Verdict::Drop("too strange".to_owned()))
    });
    let key = [
        ("POSTHOG_API_KEY", "phc_test"),
        ("POSTHOG_HOST", &*posthog.url()),
        ("LOG_BATCH_SIZE", "1"),
    ];
    let shop = Shop::started(lately(), &key);
    for path in ["/agents/x1", "/agents/x2"] {
        shop.call(Call::get(path)).await;
    }
    shop.written().await;
    shop
}

fn lately() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3_600)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_its_rows_and_the_browser_has_no_complaint() {
    let shop = Shop::open_at(lately());
    shop.traffic(240).await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    for page in [
        "",
        "log",
        "row?id=seq:9",
        "user?id=ada",
        "org?id=acme",
        "endpoint?method=GET&route=/agents/{id}",
        "health",
    ] {
        browser.go(&console.url(page)).await;
        browser.find("main h1, main .tiles, main .pipeline").await;
        // The pulse shows that the script ran to its end.
        browser
            .until("return /last row .* ago/.test(document.querySelector('#pulse').textContent)")
            .await;
        let broken = "return [...document.querySelectorAll('main a')].every((a) => (a.href.baseVal ?? a.getAttribute('href')).startsWith('/'))";
        assert_eq!(browser.run(broken).await, json!(true), "{page}");
        let wide = "return document.documentElement.scrollWidth <= innerWidth";
        assert_eq!(
            browser.run(wide).await,
            json!(true),
            "{page} is wider than the window"
        );
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    browser.go(&console.url("")).await;
    let requests: i64 = shop.sql("SELECT count(*) FROM audit_logs WHERE event = 'api_request'");
    assert_eq!(
        browser.text(".tile:first-child b").await,
        requests.to_string()
    );
    let failed: i64 = shop
        .sql("SELECT count(*) FROM audit_logs WHERE event = 'api_request' AND result = 'failure'");
    assert_eq!(
        browser.text(".tile:nth-child(2) .detail").await,
        format!("{failed} failed")
    );
    // The number leads to its rows.
    browser.click(".tile:nth-child(2)").await;
    browser
        .until(&format!(
            "return document.querySelectorAll('#log tr[data-row]').length === {}",
            failed.min(100)
        ))
        .await;
    assert_eq!(browser.count("#log tr.ok").await, 0);
}

/// Deque's axe, with the rules of WCAG 2.2 A and AA, in light and dark, on a desk and on a phone.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_accessible_in_light_and_dark() {
    let axe = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/axe/node_modules/axe-core/axe.min.js"
    );
    let axe = std::fs::read_to_string(axe).expect("axe-core, which `cargo xtask setup` installs");
    let posthog = PostHogStandIn::start().unwrap();
    let shop = refused(&posthog).await;
    shop.traffic(60).await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    let mut found = Vec::new();
    let options = "{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }";
    for (scheme, width) in [("light", 1440), ("dark", 390)] {
        browser.show(scheme, width).await;
        for page in [
            "",
            "log?user=ada",
            "row?id=seq:9",
            "user?id=ada",
            "health",
            "row?id=nothing",
        ] {
            browser.go(&console.url(page)).await;
            browser.until("return /last row/.test(document.querySelector('#pulse')?.textContent ?? 'last row')").await;
            browser.run(&axe).await;
            let broken = format!(
                "return axe.run({options}).then(({{ violations }}) => violations.flatMap(({{ id, nodes }}) => \
                 nodes.slice(0, 3).map(({{ html, failureSummary }}) => `${{id}}: ${{html}}: ${{failureSummary}}`)))"
            );
            let broken = browser.run(&broken).await;
            if broken != json!([]) {
                found.push(format!("{scheme} {page}: {broken:#}"));
            }
            let wide = "return document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(
                browser.run(wide).await,
                json!(true),
                "{page} is wider than {width} pixels"
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_rows_appear_until_somebody_pauses() {
    let shop = Shop::open();
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("log?user=ada")).await;
    browser
        .until("return document.querySelector('#live')?.textContent === 'Live'")
        .await;
    let first = "return document.querySelector('#log tr[data-row] .path')?.textContent";
    for n in 1..=3 {
        let path = format!("/agents/{n}");
        shop.call(Call::get(&path).by("ben", "acme")).await;
        shop.call(Call::get(&path).by("ada", "acme")).await;
        browser.until(&format!("{first} === '{path}'")).await;
        assert_eq!(
            browser.count("#log tr[data-row]").await,
            n,
            "only the filter's"
        );
    }
    browser.press(" ").await;
    assert_eq!(browser.text("#live").await, "Paused");
    shop.call(Call::get("/agents/4").by("ada", "acme")).await;
    shop.written().await;
    let head: i64 = shop.sql("SELECT max(seq) FROM audit_logs");
    browser.until(&format!("return fetch('/pulse').then((reply) => reply.json()).then((pulse) => pulse.seq === {head})")).await;
    assert_eq!(browser.count("#log tr[data-row]").await, 3);
    // What came meanwhile is caught up with.
    browser.press(" ").await;
    browser.until(&format!("{first} === '/agents/4'")).await;
    assert_eq!(browser.count("#log tr[data-row]").await, 4);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// Where the row that is in the middle of the window is.
const MIDDLE: &str = "const row = document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('tr'); \
                      window.middle = row; return [row.id, row.getBoundingClientRect().top]";

#[tokio::test(flavor = "multi_thread")]
async fn scrolling_reaches_every_row_and_nothing_jumps() {
    let shop = Shop::open_at(SystemTime::now() - Duration::from_secs(4 * 3_600));
    shop.traffic(1_500).await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("log")).await;
    browser
        .until(
            "scrollTo(0, 3000); return document.querySelectorAll('#log tr[data-row]').length > 150",
        )
        .await;
    let before = browser.run(MIDDLE).await;
    for n in 0..3 {
        shop.call(Call::get(&format!("/agents/new-{n}"))).await;
    }
    browser
        .until("return document.querySelector('button#fresh')?.textContent === '3 new rows'")
        .await;
    let after = browser
        .run("return [middle.id, middle.getBoundingClientRect().top]")
        .await;
    assert_eq!(before, after, "new rows move nothing");
    browser.click("button#fresh").await;
    browser.until("return scrollY === 0 && document.querySelector('#log tr[data-row] .path').textContent === '/agents/new-2'").await;

    // To the end, and back: rows that were taken out of the page come again.
    browser.until("scrollTo(0, document.body.scrollHeight); return document.querySelector('.end').textContent.includes('begins here')").await;
    let last = "return [...document.querySelectorAll('#log tr[data-row]')].at(-1).id";
    assert_eq!(browser.run(last).await, json!("r1"));
    browser.until("scrollTo(0, document.body.scrollHeight / 2); return document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('tr[data-row]') !== null").await;
    let total: i64 = shop.sql("SELECT count(*) FROM audit_logs");
    // From the top to the end, in the order of their numbers, wherever one looks.
    let walk = "window.seen ??= new Set(); window.at ??= 0; \
                for (const row of document.querySelectorAll('#log tr[data-row]')) { seen.add(row.id); } \
                at += innerHeight; scrollTo(0, at % document.body.scrollHeight); return seen.size";
    browser.until(&format!("{walk} >= {total}")).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_chips_in_the_address() {
    let shop = Shop::open_at(lately());
    shop.traffic(120).await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("log")).await;
    let rows = |condition: &str| -> i64 {
        shop.sql(&format!(
            "SELECT count(*) FROM audit_logs WHERE {condition}"
        ))
    };
    let shown = async |expected: i64| {
        browser
            .until(&format!(
                "return document.querySelectorAll('#log tr[data-row]').length === {expected}"
            ))
            .await;
    };
    browser
        .run("document.querySelector('.chip.add select').value = 'user'")
        .await;
    browser
        .find(".chip.add input[name=value]")
        .await
        .send_keys("ada\n")
        .await
        .unwrap();
    shown(rows("user_id = 'ada'")).await;
    assert_eq!(browser.url().await, console.url("log?user=ada"));
    browser
        .run("document.querySelector('.chip.add select').value = 'status'")
        .await;
    browser
        .find(".chip.add input[name=value]")
        .await
        .send_keys("5xx\n")
        .await
        .unwrap();
    shown(rows("user_id = 'ada' AND status_code >= 500")).await;
    assert_eq!(browser.url().await, console.url("log?user=ada&status=5xx"));
    // A chip is edited in place.
    let user = browser.find(".chip input[name=user]").await;
    user.clear().await.unwrap();
    user.send_keys("ben\n").await.unwrap();
    shown(rows("user_id = 'ben' AND status_code >= 500")).await;
    // And taken away.
    browser
        .click(".chip a[aria-label='Take away user ben']")
        .await;
    shown(rows("status_code >= 500")).await;
    assert_eq!(browser.url().await, console.url("log?status=5xx"));
    // The search takes what is typed.
    browser.press("/").await;
    browser
        .find("#search")
        .await
        .send_keys("/agents/3\n")
        .await
        .unwrap();
    shown(rows("path = '/agents/3'")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drag_over_the_chart_zooms() {
    let shop = Shop::open_at(lately());
    shop.traffic(240).await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("?since=1h")).await;
    browser.drag(".chart svg", 0.25, 0.5).await;
    browser
        .until("return location.search.includes('until=')")
        .await;
    let url = url::Url::parse(&browser.url().await).unwrap();
    let time = |name: &str| {
        url.query_pairs()
            .find(|(known, _)| known == name)
            .unwrap()
            .1
            .into_owned()
    };
    let (since, until) = (time("since"), time("until"));
    let expected: i64 = shop.sql(&format!(
        "SELECT count(*) FROM audit_logs WHERE event = 'api_request' AND ts >= '{}' AND ts < '{}'",
        since.replace('Z', "000Z"),
        until.replace('Z', "000Z"),
    ));
    assert!(
        expected > 10 && expected < 230,
        "{since} {until}: {expected}"
    );
    assert_eq!(
        browser.text(".tile:first-child b").await,
        expected.to_string()
    );
    // Steps of some seconds are told apart.
    let times =
        "return [...document.querySelectorAll('.axis time')].map((time) => time.textContent)";
    let times = browser.run(times).await;
    let clock = |time: &Value| {
        time.as_str()
            .is_some_and(|time| time.len() == "20:05:10".len())
    };
    assert!(times.as_array().unwrap().iter().all(clock), "{times}");
    // And back.
    browser.click(".zoomed .remove").await;
    browser
        .until("return !location.search.includes('until=')")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_move_and_open_rows() {
    let shop = Shop::open_at(lately());
    shop.traffic(60).await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("log?event=api_request")).await;
    browser.find("#log tr[data-row]").await;
    browser.press("jj").await;
    let second = browser
        .run(
            "return document.querySelectorAll('#log tr[data-row]')[1].classList.contains('chosen')",
        )
        .await;
    assert_eq!(second, json!(true));
    browser.press("k\u{e007}").await;
    let first = browser.run("return document.querySelectorAll('#log tr[data-row]')[0].querySelector('.path').textContent").await;
    let first = first.as_str().unwrap().to_owned();
    browser
        .until("return document.querySelector('#panel').open")
        .await;
    assert!(browser.text("#panel h1").await.ends_with(&first));
    // The next row, in the same place.
    browser.press("j").await;
    let id = browser
        .run("return document.querySelectorAll('#log tr[data-row]')[1].dataset.row")
        .await;
    browser
        .until(&format!(
            "return document.querySelector('#panel article').dataset.self === {id}"
        ))
        .await;
    browser.press("\u{e00c}").await;
    browser
        .until("return !document.querySelector('#panel').open")
        .await;
    browser.press("?").await;
    browser
        .until("return document.querySelector('#keys').open")
        .await;
    browser.press("\u{e00c}").await;
    browser.press("gh").await;
    browser
        .until("return location.pathname === '/health'")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_shown_in_the_zone_that_was_chosen() {
    let shop = Shop::open();
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("log")).await;
    let shown = "const time = document.querySelector('#log time'); return [time.textContent, time.dateTime]";
    browser
        .until("return document.querySelector('#zone').hidden === false")
        .await;
    browser
        .run("localStorage.setItem('audithog.zone', 'utc'); location.reload()")
        .await;
    browser
        .until("return document.querySelector('#zone')?.textContent === 'UTC'")
        .await;
    let pair = browser.run(shown).await;
    let (text, iso) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    assert_eq!(text, format!("{} {}", &iso[..10], &iso[11..23]));
    browser.press("z").await;
    assert_eq!(
        browser
            .run("return localStorage.getItem('audithog.zone')")
            .await,
        json!("local")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_sent_again_from_the_page() {
    let posthog = PostHogStandIn::start().unwrap();
    let shop = refused(&posthog).await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("health")).await;
    assert!(browser.text(".letter h3").await.contains("too strange"));
    assert_eq!(browser.text(".letter .count").await, "2 rows");
    assert!(
        browser
            .text(".problems")
            .await
            .contains("refused 2 rows for good")
    );
    posthog.heal();
    browser
        .click(".letter header form[action$='replay'] button")
        .await;
    browser
        .until("return document.querySelector('.done')?.textContent.startsWith('2 dead letters')")
        .await;
    assert_eq!(browser.count(".letter").await, 0);
    let by: String = shop.sql("SELECT json_extract(properties, '$.by') FROM audit_logs WHERE event = 'audit_dead_letters_replayed'");
    assert_eq!(by, "tester");
    // The service comes upon them by itself; its clock is the test's.
    let arrived = || {
        let stored = posthog.stored();
        let paths = stored
            .iter()
            .filter_map(|event| event.properties.get("path"));
        paths
            .filter(|path| {
                path.as_str()
                    .is_some_and(|path| path.starts_with("/agents/x"))
            })
            .count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut again = tokio::time::interval(Duration::from_millis(20));
    while arrived() < 2 {
        assert!(Instant::now() < deadline, "{} of 2 arrived", arrived());
        shop.clock.advance(Duration::from_secs(5));
        again.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_console_stays_where_it_is() {
    let shop = Shop::open_at(lately());
    shop.traffic(60).await;
    let console: Router = Console::new(shop.path(), |_| Access::org("acme", "an admin"))
        .access_rows(AccessRows::Off)
        .router();
    let app = Router::new().nest("/tools/audit", console);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}/tools/audit", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    let browser = Browser::open().await;
    browser.go(&at).await;
    browser.click(".top nav a[href$='/log']").await;
    browser
        .until("return location.pathname === '/tools/audit/log'")
        .await;
    let expected: i64 = shop.sql("SELECT count(*) FROM audit_logs WHERE org_id = 'acme'");
    browser
        .until(&format!(
            "return document.querySelectorAll('#log tr[data-row]').length === {expected}"
        ))
        .await;
    assert_eq!(browser.count(".top nav a[href$='/health']").await, 0);
    browser.click("#log tr[data-row] .t").await;
    browser
        .until("return document.querySelector('#panel').open")
        .await;
    browser.click("#panel h1 a").await;
    browser
        .until("return location.pathname === '/tools/audit/row'")
        .await;
    browser.click(".brand").await;
    browser
        .until("return location.pathname === '/tools/audit'")
        .await;
    browser.find(".tiles").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_send_is_never_run() {
    let shop = Shop::open();
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    browser.go(&console.url("log")).await;
    browser
        .until("return document.querySelector('#live')?.textContent === 'Live'")
        .await;
    let image = "<img src=x onerror=\"window.pwned=1\">";
    let script = "<script>window.pwned=1</script>";
    shop.call(Call {
        agent: image,
        note: Some(image),
        ..Call::get("/agents/%3Cimg%20src=x%20onerror=window.pwned=1%3E")
            .by(image, script)
            .ends(500, script)
    })
    .await;
    // As it comes, in a panel, and on pages of its own.
    browser
        .until("return document.querySelectorAll('#log tr.s5').length === 1")
        .await;
    browser.click("#log tr.s5 .s").await;
    browser
        .until("return document.querySelector('#panel').open")
        .await;
    let id = browser
        .run("return document.querySelector('#log tr.s5').dataset.row")
        .await;
    let user: String = form_urlencoded::byte_serialize(image.as_bytes()).collect();
    for page in [
        "",
        "health",
        id.as_str().unwrap().trim_start_matches('/'),
        &format!("user?id={user}"),
    ] {
        browser.go(&console.url(page)).await;
        browser
            .until("return /last row/.test(document.querySelector('#pulse').textContent)")
            .await;
        assert_eq!(
            browser.run("return window.pwned ?? null").await,
            Value::Null,
            "{page}"
        );
        assert_eq!(browser.count("main img, main script").await, 0, "{page}");
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_pages_still_say_everything() {
    let shop = Shop::open_at(lately());
    shop.traffic(240).await;
    let console = Running::all(shop.path()).await;
    let browser =
        Browser::with(json!({ "profile.managed_default_content_settings.javascript": 2 })).await;
    browser.go(&console.url("")).await;
    let requests: i64 = shop.sql("SELECT count(*) FROM audit_logs WHERE event = 'api_request'");
    assert_eq!(
        browser.text(".tile:first-child b").await,
        requests.to_string()
    );
    browser.click(".chart summary").await;
    assert!(
        browser
            .text(".chart details table")
            .await
            .contains("success")
    );
    browser.click(".top nav a[href^='/log']").await;
    let first = browser.text("#log tr[data-row] .t").await;
    let id: String = shop.sql("SELECT ts FROM audit_logs ORDER BY seq DESC LIMIT 1");
    assert_eq!(first, format!("{} {}", &id[..10], &id[11..23]));
    browser.click("#more").await;
    browser.click("#log tr[data-row] .t a").await;
    browser.find("article.row .fields").await;
    assert!(browser.url().await.contains("/row?id="));
}
