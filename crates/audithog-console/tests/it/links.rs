//! Every number leads to the rows that it counts.

use std::time::{Duration, SystemTime};

use axum::Router;

use crate::shop::{Call, Shop, get_page, quiet, text_of};

/// A part of a page: where it leads, if anywhere, and what it says.
#[derive(Debug)]
struct Part {
    to: Option<String>,
    text: String,
}

impl Part {
    fn of(html: &str) -> Self {
        let to = html.split_once("href=\"").map(|(_, rest)| rest);
        let to = to.map(|rest| rest.split_once('"').unwrap().0.replace("&amp;", "&"));
        Self {
            to,
            text: text_of(html),
        }
    }

    fn count(&self) -> Option<u64> {
        self.text.replace(',', "").parse().ok()
    }
}

/// What stands between `begin` and `end`, each time.
fn parts(page: &str, begin: &str, end: &str) -> Vec<Part> {
    page.split(begin)
        .skip(1)
        .map(|rest| Part::of(rest.split_once(end).unwrap().0))
        .collect()
}

async fn rows_behind(app: &Router, to: &str) -> u64 {
    let export = to.replacen("/log", "/log/export", 1);
    let reply = get_page(app, &export).await;
    assert_eq!(reply.status, 200, "{export}: {}", reply.text);
    reply.text.lines().count() as u64
}

/// Names that a filter would take for beginnings, rows without what others have, and one without a response.
async fn strange(shop: &Shop) {
    shop.call(Call::get("/agents").by("u*", "o*").ends(500, "CODE_*"))
        .await;
    shop.call(Call::get("/agents").by("u*", "o*").ends(500, "CODE_1"))
        .await;
    shop.call(Call {
        status: 503,
        agent: "agent/*",
        ..Call::get("/agents")
    })
    .await;
    shop.call(Call {
        agent: "agent/1",
        ..Call::get("/agents/7")
    })
    .await;
    shop.abandon().await;
    shop.written().await;
}

/// A start after which all of the traffic is in one step of a day's chart, half an hour: the same numbers at any time of the day.
fn within_one_step() -> SystemTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let hour_ago = now.unwrap().as_secs() - 3_600;
    SystemTime::UNIX_EPOCH + Duration::from_secs(hour_ago / 1_800 * 1_800)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_count_is_that_of_the_rows_behind_its_link() {
    let shop = Shop::open_at(within_one_step());
    shop.traffic(240).await;
    strange(&shop).await;
    let app: Router = quiet(shop.path()).router();
    for (uri, least) in [
        ("/", 39),
        ("/?user=ada", 5),
        ("/?without=user", 18),
        ("/user?id=ada", 9),
        ("/user?id=u*", 9),
        ("/org?id=acme", 17),
        ("/endpoint?method=GET&route=/agents", 27),
    ] {
        let page = get_page(&app, uri).await;
        assert_eq!(page.status, 200, "{uri}: {}", page.text);
        // The rows themselves stand below.
        let figures = page
            .text
            .split("<h2>Rows, the last written first</h2>")
            .next()
            .unwrap();
        let mut counted = 0;
        for cell in parts(figures, "<td class=\"n\">", "</td>") {
            let Some(to) = &cell.to else {
                assert!(
                    ["0", "0 %", "–", "none"].contains(&&*cell.text),
                    "{uri}: {cell:?} leads nowhere"
                );
                continue;
            };
            if let Some(count) = cell.count() {
                assert_eq!(rows_behind(&app, to).await, count, "{uri}: {cell:?}");
                counted += 1;
            }
        }
        assert!(counted >= least, "{uri}: {counted} counts");
        for tile in page.text.split("<a class=\"tile\"").skip(1) {
            let tile = tile.split_once("</a>").unwrap().0;
            let part = Part::of(tile);
            let shown = tile
                .split_once("<b>")
                .unwrap()
                .1
                .split_once("</b>")
                .unwrap();
            let detail = shown.1.split(|c: char| !c.is_ascii_digit());
            let count = match shown.0.parse::<u64>() {
                Ok(count) => Some(count),
                Err(_) => detail
                    .filter(|digits| !digits.is_empty())
                    .find_map(|digits| digits.parse().ok()),
            };
            if let Some(count) = count {
                let behind = rows_behind(&app, &part.to.clone().unwrap()).await;
                assert_eq!(behind, count, "{uri}: {part:?}");
            }
        }
    }
}
