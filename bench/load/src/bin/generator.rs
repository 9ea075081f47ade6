//! `generator --target HOST:PORT --rate R --seconds S --connections C --requests FILE`: open loop, one JSON line.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bench_load::generator::{Plan, run};
use bench_load::requests;

fn main() -> ExitCode {
    let plan = match plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(problem) => {
            eprintln!("generator: {problem}");
            eprintln!(
                "usage: generator --target HOST:PORT --rate R --seconds S --connections C --requests FILE"
            );
            return ExitCode::from(2);
        }
    };
    match run(&plan) {
        Ok(report) => {
            println!("{}", report.to_json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("generator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut values = HashMap::new();
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name}: no value"))?;
        values.insert(name, value);
    }
    let mut take = |name: &str| {
        values
            .remove(name)
            .ok_or_else(|| format!("{name} is missing"))
    };
    fn parse<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
        value.parse().map_err(|_| format!("{name}: {value}"))
    }
    let file = take("--requests")?;
    let seconds: f64 = parse("--seconds", &take("--seconds")?)?;
    let plan = Plan {
        target: parse("--target", &take("--target")?)?,
        rate: parse("--rate", &take("--rate")?)?,
        length: Duration::try_from_secs_f64(seconds)
            .map_err(|error| format!("--seconds: {error}"))?,
        connections: parse("--connections", &take("--connections")?)?,
        requests: requests::read(Path::new(&file)).map_err(|error| format!("{file}: {error}"))?,
    };
    values
        .into_keys()
        .next()
        .map_or(Ok(plan), |name| Err(format!("{name}: not known")))
}
