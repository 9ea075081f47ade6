//! The trace id of a request: W3C Trace Context, levels 1 and 2.
//!
//! Only `traceparent` is read. Anyone can send it, so a trace id links rows to a trace and proves nothing.
//! Where a request has none, the feature `opentelemetry` takes the trace that is current when the request arrives.

/// `version "-" trace-id "-" parent-id "-" flags`: the whole of version 00, and how every later version starts.
const V00_LEN: usize = 55;

/// The trace of the current OpenTelemetry context: what a tracing layer outside of the audit layer started.
#[cfg(feature = "opentelemetry")]
pub(crate) fn current() -> Option<[u8; 16]> {
    use opentelemetry::trace::TraceContextExt as _;
    opentelemetry::Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.trace_id().to_bytes())
    })
}

/// Without the feature `opentelemetry` nobody knows of a current trace.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn current() -> Option<[u8; 16]> {
    None
}

/// Reads the trace id of one `traceparent` value.
///
/// `None` for everything that <https://www.w3.org/TR/trace-context-2/#traceparent-header> calls invalid: version `ff`, a trace id or
/// parent id of zeros, upper-case digits, any other length. A version above `00` may go on after a
/// fourth dash, with parts that are not known yet.
pub(crate) fn trace_id(traceparent: &[u8]) -> Option<[u8; 16]> {
    let (known, rest) = traceparent.split_at_checked(V00_LEN)?;
    let mut parts = known.split(|&byte| byte == b'-');
    let [version] = hex(parts.next()?)?;
    let trace_id: [u8; 16] = hex(parts.next()?)?;
    let parent_id: [u8; 8] = hex(parts.next()?)?;
    let [_flags] = hex(parts.next()?)?;
    // The four parts and their dashes fill `known`, so a fifth cannot be in it.
    let ends_well = match version {
        0x00 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    (ends_well && trace_id != [0; 16] && parent_id != [0; 8]).then_some(trace_id)
}

/// Reads exactly `N` bytes, each two lower-case digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = hex_digit(high)? << 4 | hex_digit(low)?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert_eq, proptest};

    use super::trace_id;

    const TRACE_ID: [u8; 16] = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_values_give_their_trace_id() {
        let tail = VALID.strip_prefix("00").unwrap();
        for value in [
            VALID.to_owned(),
            VALID.replace("-01", "-00"),
            VALID.replace("-01", "-ff"),
            format!("01{tail}"),
            format!("cc{tail}"),
            format!("fe{tail}-"),
            format!("01{tail}-what-the-future-brings"),
        ] {
            assert_eq!(trace_id(value.as_bytes()), Some(TRACE_ID), "{value}");
        }
    }

    #[test]
    fn invalid_values_give_none() {
        let tail = VALID.strip_prefix("00").unwrap();
        for value in [
            String::new(),
            "00".to_owned(),
            VALID[..54].to_owned(),
            // Version 00 ends after the flags.
            format!("{VALID}-"),
            format!("{VALID}-01"),
            format!("{VALID}0"),
            format!("{VALID} "),
            format!(" {VALID}"),
            // Versions: forbidden, too long, not hexadecimal.
            format!("ff{tail}"),
            format!("ff{tail}-more"),
            format!("0{tail}"),
            format!("000{tail}"),
            format!("0x{tail}"),
            format!("01{tail}more"),
            format!("01{tail}."),
            // Ids of zeros.
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16)),
            // Upper case, other characters, other lengths in the same total.
            VALID.replace('f', "F"),
            VALID.replace("b7-01", "B7-01"),
            VALID.replace("-01", "-0A"),
            VALID.replace("4bf9", "4bg9"),
            VALID.replace("-01", "-.1"),
            VALID.replace('-', "_"),
            VALID.replace("36-00", "3600-"),
            VALID.replace("b7-01", "b7-1-"),
            VALID.replace("4bf9", "4b\u{fc}"),
        ] {
            assert_eq!(trace_id(value.as_bytes()), None, "{value}");
        }
        assert_eq!(trace_id(&[0xff; 55]), None);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_what_was_written(
            version in 0_u8..0xff,
            id in 1_u128..,
            parent in 1_u64..,
            flags in any::<u8>(),
        ) {
            let value = format!("{version:02x}-{id:032x}-{parent:016x}-{flags:02x}");
            prop_assert_eq!(trace_id(value.as_bytes()), Some(id.to_be_bytes()));
        }

        #[test]
        fn one_wrong_byte_is_never_accepted(at in 0_usize..55, byte in any::<u8>()) {
            let mut value = VALID.as_bytes().to_vec();
            value[at] = byte;
            let right = match at {
                2 | 35 | 52 => byte == b'-',
                _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            } && !value.starts_with(b"ff");
            prop_assert_eq!(trace_id(&value).is_some(), right);
        }

        #[test]
        fn any_bytes_are_no_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = trace_id(&value);
        }
    }
}
