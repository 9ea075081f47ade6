//! `stacks STACK`: bare axum, audithog, and what needs no HTTP client.

mod audithog;
mod json_line;
mod lines;
mod noop;
mod trace_file;

use bench_stacks::process::{self, Failure, Rows, Settings};
use bench_stacks::service;

fn main() -> Result<(), Failure> {
    process::run(async {
        let settings = Settings::read()?;
        match settings.stack.as_str() {
            "bare" => process::serve(service::routes()).await?,
            "noop" => process::serve(service::routes().layer(noop::Noop)).await?,
            "trace-file" => return trace_file::run(&settings).await,
            "json-line" => return json_line::run(&settings).await,
            name if name.starts_with("audithog-") => return audithog::run(&settings).await,
            _ => return Err(settings.unknown()),
        }
        process::finish(Rows::default())
    })
}
