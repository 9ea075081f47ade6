//! `requests FILE`: writes the list of requests, for `requests.lua` and `generator`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: requests FILE");
        return ExitCode::from(2);
    };
    match bench_load::requests::write(Path::new(&file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("requests: {file}: {error}");
            ExitCode::FAILURE
        }
    }
}
