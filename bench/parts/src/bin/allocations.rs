//! How many allocations the layer adds to a request, beyond a layer that does nothing: on the thread that answers it.
//!
//! `allocations [--quick]`. The figure depends on no machine.

use bench_parts::Failure;
use bench_parts::arguments::Arguments;
use bench_parts::report::{figure, thousands};
use micro::service::{Around, Service};

/// Rows are taken after so many requests: a full queue would refuse them.
const GROUP: usize = 250;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_program(&["--quick"])?;
    let requests = if arguments.has("--quick") {
        10_000
    } else {
        100_000
    };
    let noop = count(Around::Noop, requests)?;
    let audited = count(Around::Audit, requests)?;
    let each = |count: u64| count as f64 / requests as f64;
    let note = format!("mean of {} requests", thousands(requests));
    let tell = |name: &str, value: f64, note: &str| figure("memory", name, "", &[value], note);
    tell(
        "allocations_per_request",
        each(audited) - each(noop),
        &format!("beyond a layer that does nothing, on the thread that answers; {note}"),
    );
    tell("allocations_per_request_noop", each(noop), &note);
    Ok(())
}

/// The allocations of so many requests, after as many that are not counted: what grows and is kept has its size then.
fn count(around: Around, requests: usize) -> Result<u64, Failure> {
    let mut service = Service::new(around)?;
    let pass = |service: &mut Service| -> Result<u64, Failure> {
        let mut allocations = 0;
        for _ in 0..requests / GROUP {
            let counted = allocation_counter::measure(|| {
                for _ in 0..GROUP {
                    std::hint::black_box(service.answer());
                }
            });
            allocations += counted.count_total;
            let rows = service.take_rows();
            let expected = if around == Around::Audit { GROUP } else { 0 };
            if rows != expected {
                return Err(format!("{rows} rows for {GROUP} requests").into());
            }
        }
        Ok(allocations)
    };
    pass(&mut service)?;
    pass(&mut service)
}
