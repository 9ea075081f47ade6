//! `receiver [--hang|--refuse|--status N]`: counts what stacks deliver.

use std::io::{self, Write as _};
use std::process::ExitCode;

use bench_load::receiver::{Mode, Receiver};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mode = match arguments[..] {
        [] => Some(Mode::Ok),
        ["--hang"] => Some(Mode::Hang),
        ["--refuse"] => Some(Mode::Status(503)),
        ["--status", status] => Mode::from_name(status),
        _ => None,
    };
    let Some(mode) = mode else {
        eprintln!("usage: receiver [--hang|--refuse|--status N]");
        return ExitCode::from(2);
    };
    match run(mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("receiver: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Mode) -> io::Result<()> {
    let receiver = Receiver::bind(mode)?;
    let mut output = io::stdout().lock();
    writeln!(output, "ready {}", receiver.address())?;
    output.flush()?;
    drop(output);
    receiver.serve()
}
