//! The filters of a page, each with what takes it away, and what adds one.

use audithog::query::Filter;
use maud::{Markup, html};

use crate::pages::Here;
use crate::params::{NOT_STATUS, Params, STATUS, WITHOUT, label};
use crate::range::{ALL, Range, SPANS};

/// Spans to choose from, and the range that was zoomed into.
pub(crate) fn times(here: &Here, range: &Range) -> Markup {
    let given = here.params.clone();
    let span = |word: &str| {
        here.again(
            &given
                .clone()
                .without("until")
                .without("before")
                .set("since", word),
        )
    };
    let chosen = |word: &str| match (&range.span, range.since, range.until) {
        (Some(span), ..) => span == word,
        (None, None, None) => word == ALL,
        _ => false,
    };
    html! {
        nav.spans aria-label="Time" {
            @for (word, words) in SPANS {
                a href=(span(word)) title=(format!("The last {words}")) aria-current=[chosen(word).then_some("true")] { (word) }
            }
            a href=(span(ALL)) title="The whole log" aria-current=[chosen(ALL).then_some("true")] { "all" }
            @if range.span.is_none() && (range.since.is_some() || range.until.is_some()) {
                span.zoomed {
                    @if let Some(since) = range.since { (super::cells::second(&since.to_string())) } @else { "the beginning" }
                    " – "
                    @if let Some(until) = range.until { (super::cells::second(&until.to_string())) } @else { "the end" }
                    a.remove href=(here.again(&given.clone().without("since").without("until"))) aria-label="Take this time away" { "×" }
                }
            }
        }
    }
}

/// Conditions as chips: what they say can be changed in place, and taken away.
pub(crate) fn conditions(here: &Here) -> Markup {
    let given = here.params.clone().without("before");
    html! {
        div.chips {
            @for (name, value) in given.conditions() {
                form.chip method="get" action=(here.link(&here.page, &Params::default())) {
                    @let others = given.clone().without_value(name, value);
                    @for (name, value) in others.pairs() { input type="hidden" name=(name) value=(value); }
                    label {
                        span.name { (label(name)) }
                        input name=(name) value=(value) size=(value.chars().count().clamp(2, 40)) autocomplete="off" spellcheck="false";
                    }
                    a.remove href=(here.again(&others)) aria-label=(format!("Take away {} {value}", label(name))) { "×" }
                }
            }
            form.chip.add method="get" action=(here.link(&here.page, &Params::default())) data-add="" {
                @for (name, value) in given.pairs() { input type="hidden" name=(name) value=(value); }
                select name="add" aria-label="Filter by" {
                    @let fields = Filter::WORDS.map(|(word, _)| word);
                    @for word in [STATUS].into_iter().chain(fields).chain([NOT_STATUS, WITHOUT]) {
                        option value=(word) { (label(word)) }
                    }
                }
                input name="value" aria-label="Value; a * at the end of a path, route, event or error code stands for anything"
                    placeholder="value, or /path/*" autocomplete="off" spellcheck="false";
                button type="submit" { "Filter" }
            }
        }
    }
}
