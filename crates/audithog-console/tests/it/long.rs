//! Values as long as clients and services make them, in a browser.

use serde_json::{Value, json};

use crate::browser::driver::Browser;
use crate::shop::{Call, Running, Shop};

/// What lies outside of the window, where nobody can scroll to.
const OUTSIDE: &str = "return [...document.querySelectorAll('table.log tr[data-row] td')].flatMap((cell) => { \
                       const { right } = cell.getBoundingClientRect(); return right > innerWidth ? [[cell.textContent, right]] : []; })";

/// How high the highest row is.
const HEIGHT: &str = "return Math.max(...[...document.querySelectorAll('table.log tr[data-row]')].map((row) => row.offsetHeight))";

#[tokio::test(flavor = "multi_thread")]
async fn one_long_value_hides_no_other() {
    let shop = Shop::open();
    let long = "7d865e959b2466918c9863afca942d0f".repeat(2);
    let path = format!("/agents/{}", "x".repeat(2_032));
    let [user, org] = ["ada", "acme"];
    for (path, user, org, code) in [
        ("/agents/1", &*long, org, "LATE"),
        ("/agents/1", user, &*long, "LATE"),
        ("/agents/1", user, org, &long[..60]),
        (&*path, &*long, &*long, "LATE"),
    ] {
        shop.call(Call::get(path).by(user, org).ends(500, code))
            .await;
    }
    shop.written().await;
    let console = Running::all(shop.path()).await;
    let browser = Browser::open().await;
    for width in [1_280, 400] {
        browser.show("light", width).await;
        for page in ["log".to_owned(), format!("user?id={long}")] {
            browser.go(&console.url(&page)).await;
            browser.find("table.log tr[data-row]").await;
            assert_eq!(browser.run(OUTSIDE).await, json!([]), "{page} at {width}");
            let height = browser.run(HEIGHT).await;
            assert!(height.as_u64() < Some(240), "{page} at {width}: {height}");
        }
    }
    // The row's own page has all of it.
    let id = "return document.querySelector('table.log tr[data-row]').dataset.row";
    let Value::String(id) = browser.run(id).await else {
        panic!("no row");
    };
    browser.go(&console.url(id.trim_start_matches('/'))).await;
    assert!(browser.text("article.row").await.contains(&path));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
