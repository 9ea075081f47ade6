//! OpenTelemetry's logs over HTTP as protobuf: the records are counted, and what is in them is skipped.

use super::Counts;
use super::connection::respond;
use crate::http::Head;

/// `ExportLogsServiceRequest.resource_logs`, `ResourceLogs.scope_logs`, `ScopeLogs.log_records`.
const PATH: [u64; 3] = [1, 2, 2];

pub(super) fn logs(_: &Head<'_>, body: &[u8], counts: &mut Counts, output: &mut Vec<u8>) -> bool {
    let Some(records) = count(body, &PATH) else {
        return false;
    };
    counts.events += records;
    // The empty message: everything was taken.
    respond(
        output,
        200,
        &[("content-type", b"application/x-protobuf")],
        b"",
    );
    true
}

/// How many messages are at the end of a path of field numbers; nothing if the bytes are no protobuf.
fn count(mut message: &[u8], path: &[u64]) -> Option<u64> {
    let (wanted, deeper) = path.split_first()?;
    let mut found = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                varint(&mut message)?;
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (field, rest) = message.split_at_checked(length)?;
                message = rest;
                if key >> 3 == *wanted {
                    found += if deeper.is_empty() {
                        1
                    } else {
                        count(field, deeper)?
                    };
                }
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_over_all_resources_and_scopes() {
        let record = [0x12, 2, 0x08, 7];
        let scope = [&[0x0a, 1, 0][..], &record, &record].concat();
        let resource = [&[0x12, scope.len() as u8][..], &scope, &[0x12, 4], &record].concat();
        let body = [&[0x0a, resource.len() as u8][..], &resource, &[0x0a, 0]].concat();
        assert_eq!(count(&body, &PATH), Some(3));
        assert_eq!(count(&body[..body.len() - 3], &PATH), None);
        assert_eq!(count(b"", &PATH), Some(0));
    }
}
