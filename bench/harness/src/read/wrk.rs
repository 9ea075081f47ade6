//! The text that wrk prints.

use anyhow::{Context as _, Result, bail};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wrk {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    /// 404 and 500, which the mix asks for.
    pub(crate) not_2xx: u64,
}

/// The share of the mix that is not answered with 200.
const FAILURES: f64 = 0.05;
const TOLERANCE: f64 = 0.01;

pub(crate) fn parse(text: &str) -> Result<Wrk> {
    let wrk = read(text).with_context(|| format!("wrk's output was not understood:\n{text}"))?;
    if let Some(errors) = line_after(text, "Socket errors:") {
        bail!("wrk met socket errors: {errors}");
    }
    let share = count_as_f64(wrk.not_2xx) / count_as_f64(wrk.requests.max(1));
    // A service that refuses requests is fast, and measures nothing.
    if wrk.requests >= 10_000 && (share - FAILURES).abs() > TOLERANCE {
        bail!(
            "{:.1} % of the answers were not 2xx; the mix has {:.0} %",
            share * 100.0,
            FAILURES * 100.0
        );
    }
    Ok(wrk)
}

fn read(text: &str) -> Result<Wrk> {
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .context("no line `N requests in …`")?
        .0;
    let per_second = line_after(text, "Requests/sec:").context("no line `Requests/sec:`")?;
    let not_2xx = line_after(text, "Non-2xx or 3xx responses:").unwrap_or("0");
    Ok(Wrk {
        requests: requests.trim().parse()?,
        per_second: per_second.parse()?,
        not_2xx: not_2xx.parse()?,
    })
}

fn line_after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(prefix))
        .map(str::trim)
}

/// Counts stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn count_as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
Running 5s test @ http://127.0.0.1:41000
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   531.05us  102.11us   3.07ms   88.28%
    Req/Sec   120.14k     3.60k  124.97k    90.00%
  600000 requests in 5.01s, 92.01MB read
  Non-2xx or 3xx responses: 30011
Requests/sec: 119760.47
Transfer/sec:     18.36MB
";

    #[test]
    fn the_counts_are_read() {
        let wrk = parse(GOOD).unwrap();
        let expected = Wrk {
            requests: 600_000,
            per_second: 119_760.47,
            not_2xx: 30_011,
        };
        assert_eq!(wrk, expected);
    }

    #[test]
    fn a_service_that_answers_something_else_is_no_result() {
        let refusing = GOOD.replace("30011", "599000");
        let problem = format!("{:#}", parse(&refusing).unwrap_err());
        assert!(problem.contains("99.8 % of the answers"), "{problem}");
    }

    #[test]
    fn socket_errors_and_garbage_are_named() {
        let broken = format!("{GOOD}  Socket errors: connect 0, read 64, write 0, timeout 3\n");
        let problem = format!("{:#}", parse(&broken).unwrap_err());
        assert!(problem.contains("read 64"), "{problem}");
        let problem = format!("{:#}", parse("unable to connect").unwrap_err());
        assert!(problem.contains("unable to connect"), "{problem}");
    }
}
