//! `stacks STACK`: bare axum, audithog, and what needs no HTTP client.

mod audithog;
mod json_line;
mod lines;
mod noop;
mod trace_file;

use axum::Router;
use bench_stacks::actor::{Authenticate, tell_nobody};
use bench_stacks::process::{self, Failure, Rows, Settings};
use bench_stacks::service;

fn main() -> Result<(), Failure> {
    process::run(async {
        let settings = Settings::read()?;
        match settings.stack.as_str() {
            "bare" => process::serve(unaudited()).await?,
            "noop" => process::serve(unaudited().layer(noop::Noop)).await?,
            "trace-file" => return trace_file::run(&settings).await,
            "json-line" | "json-line-buffered" => return json_line::run(&settings).await,
            name if name.starts_with("audithog-") => return audithog::run(&settings).await,
            _ => return Err(settings.unknown()),
        }
        process::finish(Rows::default())
    })
}

fn unaudited() -> Router {
    service::routes().layer(Authenticate(tell_nobody))
}
