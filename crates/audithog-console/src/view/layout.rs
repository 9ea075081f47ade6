//! What is around every page.

use maud::{DOCTYPE, Markup, html};

use crate::assets;
use crate::pages::Here;
use crate::params::Params;

/// How a page is framed.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) title: &'a str,
    /// Seconds between two looks at what is new; none: it stays as it is.
    pub(crate) refresh: Option<u32>,
    /// Links to the other pages.
    navigation: bool,
    /// The health page is for those who see everything.
    pub(crate) health: bool,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(title: &'a str, health: bool) -> Self {
        Self {
            title,
            refresh: None,
            navigation: true,
            health,
        }
    }

    /// For those of whom nothing is known.
    pub(crate) fn bare(title: &'a str) -> Self {
        Self {
            navigation: false,
            ..Self::new(title, false)
        }
    }

    pub(crate) fn refresh(self, seconds: Option<u32>) -> Self {
        Self {
            refresh: seconds,
            ..self
        }
    }
}

pub(crate) fn page(here: &Here, frame: &Frame<'_>, content: &Markup) -> Markup {
    let asset = |name: &str| format!("{}/assets/{name}?v={}", here.base, assets::version());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " · audithog" }
                link rel="icon" type="image/svg+xml" href=(asset("icon.svg"));
                link rel="stylesheet" href=(asset("console.css"));
                script defer src=(asset("console.js")) {}
            }
            body data-base=(here.base) data-root=(here.root) {
                a.skip href="#content" { "Skip to the content" }
                (head(here, frame))
                main #content tabindex="-1" data-refresh=[frame.refresh] { (content) }
                (shortcuts())
            }
        }
    }
}

fn head(here: &Here, frame: &Frame<'_>) -> Markup {
    let time = here.params.clone().time_only();
    let current = |page: &str| (here.page == page).then_some("page");
    html! {
        header.top {
            a.brand href=(here.link("", &Params::default())) { "audithog" }
            @if frame.navigation {
                nav aria-label="Pages" {
                    a href=(here.link("", &time)) aria-current=[current("")] { "Overview" }
                    a href=(here.link("log", &time)) aria-current=[current("log")] { "Log" }
                    @if frame.health {
                        a href=(here.link("health", &Params::default())) aria-current=[current("health")] { "Health" }
                    }
                }
                form.search role="search" action=(here.link("search", &Params::default())) method="get" {
                    @for (name, value) in time.pairs() { input type="hidden" name=(name) value=(value); }
                    input #search type="search" name="q" aria-label="Search"
                        placeholder="Request id, user, /path, address, 5xx…" autocomplete="off" spellcheck="false";
                }
                p.pulse #pulse data-pulse=(here.link("pulse", &Params::default())) role="status" { }
                button.zone #zone type="button" hidden title="Show times in the other zone" { "UTC" }
                @if here.signed_in {
                    form action=(here.link("sign-out", &Params::default())) method="post" {
                        button.quiet type="submit" { "Sign out" }
                    }
                }
            }
        }
    }
}

/// What `?` shows.
fn shortcuts() -> Markup {
    let keys = [
        ("/", "search"),
        ("j, k", "next row, previous row"),
        ("Enter", "open the row"),
        ("y", "copy the open row as JSON"),
        ("Space", "pause the live log, or go on"),
        ("g o, g l, g h", "overview, log, health"),
        ("z", "UTC or local time"),
        ("Esc", "close"),
        ("?", "this"),
    ];
    html! {
        dialog #keys aria-label="Keys" {
            h2 { "Keys" }
            dl.keys {
                @for (key, meaning) in keys {
                    div { dt { kbd { (key) } } dd { (meaning) } }
                }
            }
            form method="dialog" { button { "Close" } }
        }
    }
}
