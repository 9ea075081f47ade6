//! The conservation rule, with the numbers of a file.

use super::status::{Books, Equation, RowsStatus, SinkStatus};

/// `left = right + right …`, each term with its name.
fn equation(of: &str, left: (&str, u64), right: &[(&str, u64)]) -> Equation {
    let names: Vec<&str> = right.iter().map(|(name, _)| *name).collect();
    let terms: Vec<String> = right
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    let sum = right
        .iter()
        .fold(0_u64, |sum, (_, n)| sum.saturating_add(*n));
    Equation {
        of: of.to_owned(),
        rule: format!("{} = {}", left.0, names.join(" + ")),
        sentence: format!("{} {} = {}", left.1, left.0, terms.join(" + ")),
        left: left.1,
        right: sum,
        holds: sum == left.1,
    }
}

/// A run's own.
pub(super) fn of_run(run: i64, books: &Books) -> [Equation; 2] {
    let of = format!("run {run}");
    let lost = books.lost.values().sum();
    [
        equation(
            &of,
            ("seen", books.requests_seen),
            &[
                ("in progress", books.requests_in_progress),
                ("accepted", books.requests_accepted),
                ("excluded", books.requests_excluded),
            ],
        ),
        equation(
            &of,
            ("accepted", books.accepted),
            &[
                ("stored", books.stored),
                ("queued", books.queued),
                ("lost", lost),
            ],
        ),
    ]
}

/// A sink's.
pub(super) fn of_sink(rows: &RowsStatus, sink: &SinkStatus) -> Equation {
    equation(
        &sink.name,
        ("stored", rows.head.saturating_sub(sink.began)),
        &[
            ("delivered", sink.delivered),
            ("sampled out", sink.sampled_out),
            ("held back", sink.held_back),
            ("dead", sink.dead),
            ("pending", sink.pending),
        ],
    )
}
