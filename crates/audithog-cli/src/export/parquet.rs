//! Parquet, one row group after the other.
//!
//! A group is made in memory as a file of its own. Its pages are written on; its footer is kept, and all footers become the file's at
//! the end. So an interrupted export continues with the next group, and the file is the same.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use bytes::Bytes;
use parquet::{
    basic::{Compression, ZstdLevel},
    column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer},
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        metadata::{
            FileMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter,
            RowGroupMetaData,
        },
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr},
        writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite},
    },
    schema::{
        parser::parse_message_type,
        types::{ColumnPath, SchemaDescriptor, TypePtr},
    },
};
use serde_json::Value;

use super::{
    form::{RowsIn, Tally, WriteFailure, Written},
    sink::Sink,
};

/// Rows of a group, and about how many bytes they may have before compression.
const GROUP_ROWS: u64 = 160 * BATCH as u64;
const GROUP_BYTES: usize = 32 << 20;
/// Rows that are turned into columns at a time.
const BATCH: usize = 256;

/// What begins and ends a file.
const MAGIC: &[u8] = b"PAR1";

/// The columns of the view; `id`, `seq` and `ts` are never null.
const SCHEMA: &str = "
message audit_logs {
  required int64 seq;
  required binary id (STRING);
  required int64 ts (TIMESTAMP(MICROS,true));
  optional binary event (STRING);
  optional binary request_id (STRING);
  optional binary upstream_request_id (STRING);
  optional binary user_id (STRING);
  optional binary user_role (STRING);
  optional binary org_id (STRING);
  optional binary actor_type (STRING);
  optional binary on_behalf_of (STRING);
  optional binary method (STRING);
  optional binary path (STRING);
  optional binary route (STRING);
  optional int32 status_code;
  optional binary result (STRING);
  optional binary error_code (STRING);
  optional double duration_ms;
  optional binary user_agent (STRING);
  optional binary ip (STRING);
  optional binary trace_id (STRING);
  optional binary service (STRING);
  optional binary environment (STRING);
  optional binary version (STRING);
  optional binary instance (STRING);
  optional binary distinct_id (STRING);
  optional binary properties (JSON);
}";

/// Columns in which a value seldom comes twice: a dictionary would only cost.
const UNLIKE: [&str; 5] = ["seq", "id", "ts", "request_id", "trace_id"];

pub(super) struct Parquet {
    schema: TypePtr,
    descriptor: SchemaDescriptor,
    properties: WriterPropertiesPtr,
    /// The length of each group's pages and its footer: see [`note`].
    notes: Vec<u8>,
}

impl Parquet {
    pub(super) fn new() -> Result<Self, ParquetError> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            // Pages are found through the groups; an index of them would have to be kept until the end.
            .set_offset_index_disabled(true)
            .set_write_batch_size(BATCH);
        for name in UNLIKE {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
        }
        Ok(Self {
            descriptor: SchemaDescriptor::new(Arc::clone(&schema)),
            schema,
            properties: Arc::new(properties.build()),
            notes: Vec::new(),
        })
    }

    pub(super) fn begin(to: &mut Sink) -> io::Result<()> {
        to.write_all(MAGIC)
    }

    pub(super) fn notes(&self) -> &[u8] {
        &self.notes
    }

    pub(super) fn resume(&mut self, notes: Vec<u8>) {
        self.notes = notes;
    }

    /// Writes the pages of one group.
    pub(super) fn group(
        &mut self,
        rows: RowsIn<'_>,
        to: &mut Sink,
        tally: &mut Tally,
    ) -> Written<bool> {
        let before = tally.rows;
        let mut pages: Vec<_> = self
            .descriptor
            .columns()
            .iter()
            .map(|_| TrackedWrite::new(Vec::new()))
            .collect();
        let (columns, more) = self.columns(&mut pages, rows, tally)?;
        if tally.rows > before {
            let group = self.file(pages, columns).map_err(io::Error::from)?;
            let (pages, footer) = parts(&group)?;
            to.write_all(pages)?;
            note(&mut self.notes, pages.len(), footer);
        }
        Ok(more)
    }

    /// Writes rows into the pages of their columns.
    fn columns(
        &self,
        pages: &mut [TrackedWrite<Vec<u8>>],
        rows: RowsIn<'_>,
        tally: &mut Tally,
    ) -> Written<(Vec<ColumnCloseResult>, bool)> {
        let columns = self.descriptor.columns().iter().zip(pages);
        let mut writers: Vec<ColumnWriter<'_>> = columns
            .map(|(column, pages)| {
                let pages = Box::new(SerializedPageWriter::new(pages));
                get_column_writer(Arc::clone(column), Arc::clone(&self.properties), pages)
            })
            .collect();
        let (before, mut bytes, mut more) = (tally.rows, 0, true);
        while more && tally.rows - before < GROUP_ROWS && bytes < GROUP_BYTES {
            let mut batch: Vec<Vec<Value>> = writers.iter().map(|_| Vec::new()).collect();
            for _ in 0..BATCH {
                let Some(row) = rows.next() else {
                    more = false;
                    break;
                };
                let row = row.map_err(WriteFailure::Rows)?;
                tally.add(&row);
                for (cells, (name, value)) in batch.iter_mut().zip(row.fields()) {
                    let value = match name {
                        "ts" => row.time_micros().into(),
                        _ => value,
                    };
                    bytes += value.as_str().map_or(8, str::len);
                    cells.push(value);
                }
                // Rows with large properties: as few as fit.
                bytes += row.row().properties_json().map_or(0, str::len);
                if bytes >= GROUP_BYTES {
                    break;
                }
            }
            for (writer, cells) in writers.iter_mut().zip(&batch) {
                write_cells(writer, cells).map_err(io::Error::from)?;
            }
        }
        let closed: Result<Vec<_>, ParquetError> =
            writers.into_iter().map(ColumnWriter::close).collect();
        Ok((closed.map_err(io::Error::from)?, more))
    }

    /// A file with one group, or with none.
    fn file(
        &self,
        pages: Vec<TrackedWrite<Vec<u8>>>,
        columns: Vec<ColumnCloseResult>,
    ) -> Result<Vec<u8>, ParquetError> {
        let (schema, properties) = (Arc::clone(&self.schema), Arc::clone(&self.properties));
        let mut file = SerializedFileWriter::new(Vec::new(), schema, properties)?;
        if !columns.is_empty() {
            let mut group = file.next_row_group()?;
            for (pages, column) in pages.into_iter().zip(columns) {
                group.append_column(&Bytes::from(pages.into_inner()?), column)?;
            }
            group.close()?;
        }
        file.into_inner()
    }

    /// Writes the footer.
    pub(super) fn end(&mut self, to: &mut Sink) -> io::Result<()> {
        let empty = self.file(Vec::new(), Vec::new())?;
        let empty = ParquetMetaDataReader::decode_metadata(parts(&empty)?.1)?;
        let mut groups = Vec::new();
        let (mut at, mut rows) = (MAGIC.len(), 0);
        let mut notes = &*self.notes;
        while let Some((length, footer, rest)) = noted(notes) {
            let footer = ParquetMetaDataReader::decode_metadata(footer)?;
            for group in footer.row_groups() {
                let moved = moved(group, at - MAGIC.len(), groups.len())?;
                rows += moved.num_rows();
                groups.push(moved);
            }
            at += length;
            notes = rest;
        }
        let whole = empty.file_metadata();
        let whole = FileMetaData::new(
            whole.version(),
            rows,
            whole.created_by().map(str::to_owned),
            whole.key_value_metadata().cloned(),
            whole.schema_descr_ptr(),
            whole.column_orders().cloned(),
        );
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, &ParquetMetaData::new(whole, groups)).finish()?;
        to.write_all(&footer)
    }
}

/// The pages and the footer of a file.
fn parts(file: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let cut = || {
        let (body, tail) = file
            .strip_prefix(MAGIC)?
            .strip_suffix(MAGIC)?
            .split_last_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*tail)).ok()?;
        body.split_at_checked(body.len().checked_sub(length)?)
    };
    cut().ok_or_else(|| io::Error::other("a row group is no Parquet file"))
}

/// Takes down a group: the lengths of its pages (64 bits) and of its footer (32 bits), and the footer.
fn note(notes: &mut Vec<u8>, pages: usize, footer: &[u8]) {
    notes.extend((pages as u64).to_le_bytes());
    notes.extend(
        u32::try_from(footer.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    notes.extend(footer);
}

/// The first group of these notes, and the notes behind it.
fn noted(notes: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let (pages, rest) = notes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let pages = usize::try_from(u64::from_le_bytes(*pages)).ok()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (footer, rest) = rest.split_at_checked(length)?;
    Some((pages, footer, rest))
}

/// The group, so many bytes further on.
fn moved(group: &RowGroupMetaData, by: usize, at: usize) -> Result<RowGroupMetaData, ParquetError> {
    let by = i64::try_from(by).unwrap_or(i64::MAX);
    let mut columns = Vec::new();
    for column in group.columns() {
        let dictionary = column.dictionary_page_offset().map(|offset| offset + by);
        let moved = column
            .clone()
            .into_builder()
            .set_data_page_offset(column.data_page_offset() + by)
            .set_dictionary_page_offset(dictionary);
        columns.push(moved.build()?);
    }
    let mut moved = group.clone().into_builder().set_column_metadata(columns);
    if let Some(offset) = group.file_offset() {
        moved = moved.set_file_offset(offset + by);
    }
    // The format has 16 bits for it.
    moved.set_ordinal(at.min(32_767) as i32).build()
}

fn write_cells(writer: &mut ColumnWriter<'_>, cells: &[Value]) -> Result<(), ParquetError> {
    let levels: Vec<i16> = cells
        .iter()
        .map(|cell| i16::from(!cell.is_null()))
        .collect();
    let levels = Some(&*levels);
    let present = cells.iter().filter(|cell| !cell.is_null());
    match writer {
        ColumnWriter::Int64ColumnWriter(writer) => {
            let values: Vec<i64> = present.filter_map(Value::as_i64).collect();
            writer.write_batch(&values, levels, None)?;
        }
        ColumnWriter::Int32ColumnWriter(writer) => {
            let values: Vec<i32> = present
                .filter_map(|cell| i32::try_from(cell.as_i64()?).ok())
                .collect();
            writer.write_batch(&values, levels, None)?;
        }
        ColumnWriter::DoubleColumnWriter(writer) => {
            let values: Vec<f64> = present.filter_map(Value::as_f64).collect();
            writer.write_batch(&values, levels, None)?;
        }
        ColumnWriter::ByteArrayColumnWriter(writer) => {
            let values: Vec<ByteArray> = present
                .map(|cell| match cell {
                    Value::String(text) => ByteArray::from(&**text),
                    other => ByteArray::from(other.to_string().into_bytes()),
                })
                .collect();
            writer.write_batch(&values, levels, None)?;
        }
        _ => return Err(ParquetError::General("a column of another type".to_owned())),
    }
    Ok(())
}
