//! Answers requests, for callgrind to count: `request noop|audit N`.
//!
//! What the layer costs is the difference of two runs: of both stacks with the same `N`, and against `N` = 0 for what the
//! start takes.

use std::process::ExitCode;

use micro::service::{Around, Service};

/// Rows that are taken at once.
const GROUP: usize = 256;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let around = match arguments.next().as_deref() {
        Some("noop") => Around::Noop,
        Some("audit") => Around::Audit,
        _ => return usage(),
    };
    let Some(requests) = arguments.next().and_then(|n| n.parse().ok()) else {
        return usage();
    };
    let mut service = match Service::new(around) {
        Ok(service) => service,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut rows = 0;
    for n in 0..requests {
        service.answer();
        if n % GROUP == GROUP - 1 {
            rows += service.take_rows();
        }
    }
    rows += service.take_rows();
    let expected = if around == Around::Audit { requests } else { 0 };
    if rows != expected {
        eprintln!("{rows} rows for {requests} requests");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: request noop|audit N");
    ExitCode::from(2)
}
