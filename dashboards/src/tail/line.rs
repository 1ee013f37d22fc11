//! A log line as people read it, out of the columns of a block. Pure. Bounded: long texts are cut, large blocks are not read to their end.

use std::collections::BTreeMap;

use model::columns::{Column, Dictionary, StringMaps, TableBlock};
use serde::Serialize;

/// The longest text of a line, in bytes; longer ones are cut, as in the console's list.
const LONGEST: usize = 4_000;
/// The most lines of one block.
const MOST: usize = 500;
/// About how many bytes of one block are read.
const BYTES: usize = 512 * 1024;

/// One line. Field names are those of the console's own lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    /// Nanoseconds since 1970, as text: they do not fit a JSON number everywhere.
    pub nanos: String,
    pub severity: u8,
    pub severity_text: String,
    pub service: String,
    pub body: String,
    /// Hexadecimal; empty where there is none.
    pub trace: String,
    pub span: String,
    pub attributes: BTreeMap<String, String>,
    pub resource: BTreeMap<String, String>,
}

fn text(bytes: &[u8]) -> String {
    let cut = bytes.get(..LONGEST).unwrap_or(bytes);
    String::from_utf8_lossy(cut).into_owned()
}

/// Hexadecimal, or nothing where all bytes are zero.
fn id(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) { String::new() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}

fn words(dictionary: &Dictionary) -> Vec<&[u8]> {
    dictionary.keys().iter().collect()
}

fn word(words: &[&[u8]], rows: &[u32], row: usize) -> String {
    rows.get(row).and_then(|at| words.get(*at as usize)).map_or_else(String::new, |bytes| text(bytes))
}

/// The pairs of the first `most` rows.
fn maps(maps: &StringMaps, most: usize) -> Vec<BTreeMap<String, String>> {
    let keys = words(&maps.keys);
    let mut pairs = maps.keys.rows().iter().zip(maps.values.iter());
    let mut begin = 0;
    let row = |end: &u64| {
        let count = end.saturating_sub(begin);
        begin = *end;
        let taken = pairs.by_ref().take(usize::try_from(count).unwrap_or(usize::MAX));
        taken.map(|(key, value)| (keys.get(*key as usize).map_or_else(String::new, |key| text(key)), text(value))).collect()
    };
    maps.ends.iter().take(most).map(row).collect()
}

/// Appends the lines of a block of `logs`; gives back how many were left out. A block of another shape has none.
pub(super) fn read(block: &TableBlock, into: &mut Vec<Line>) -> u64 {
    let column = |name: &str| block.table.position(name).and_then(|at| block.columns.get(at));
    let (
        Some(Column::Int64(ts)),
        Some(Column::UInt8(severity)),
        Some(Column::LowCardinality(severity_text)),
        Some(Column::LowCardinality(service)),
        Some(Column::String(body)),
        Some(Column::Fixed { bytes: traces, .. }),
        Some(Column::Fixed { bytes: spans, .. }),
        Some(Column::StringMap(attributes)),
        Some(Column::StringMap(resource)),
    ) = (
        column("ts"),
        column("severity_number"),
        column("severity_text"),
        column("service"),
        column("body"),
        column("trace_id"),
        column("span_id"),
        column("attributes"),
        column("resource"),
    )
    else {
        return 0;
    };
    let most = block.rows().min(MOST.saturating_sub(into.len()));
    let (levels, services) = (words(severity_text), words(service));
    let (attributes, resource) = (maps(attributes, most), maps(resource, most));
    let (mut read, mut size) = (0, 0);
    let rows = ts.iter().zip(severity).zip(body.iter()).zip(attributes.into_iter().zip(resource)).take(most).enumerate();
    for (row, (((at, severity), body), (attributes, resource))) in rows {
        if size > BYTES {
            break;
        }
        let line = Line {
            nanos: at.to_string(),
            severity: *severity,
            severity_text: word(&levels, severity_text.rows(), row),
            service: word(&services, service.rows(), row),
            body: text(body),
            trace: traces.get(row * 16..(row + 1) * 16).map_or_else(String::new, id),
            span: spans.get(row * 8..(row + 1) * 8).map_or_else(String::new, id),
            attributes,
            resource,
        };
        let pairs = line.attributes.iter().chain(&line.resource);
        size += line.body.len() + pairs.map(|(key, value)| key.len() + value.len()).sum::<usize>();
        into.push(line);
        read += 1;
    }
    (block.rows() - read) as u64
}
