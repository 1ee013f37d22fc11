//! Inserts that ClickHouse refuses for good: kept as files, with an explanation, until a person decides.

use std::io;
use std::path::Path;

use super::batchlog::Planned;
use super::file::write_whole;

/// Writes the bytes and the explanation; both are durable when this returns.
pub fn keep(dir: &Path, planned: &Planned, table: &str, bytes: &[u8], reason: &str) -> io::Result<()> {
    let name: String = planned.token.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let explanation = serde_json::json!({
        "table": table,
        "token": planned.token,
        "rows": planned.rows(),
        "arrived_from": planned.oldest(),
        "arrived_to": planned.newest(),
        "reason": reason,
        "what_to_do": format!(
            "these rows were accepted and are not in ClickHouse. Correct the cause, then send {name}.native again: \
             INSERT INTO {table} FORMAT Native with the setting insert_deduplication_token = '{}'. Delete both files afterwards.",
            planned.token
        ),
    });
    write_whole(&dir.join(format!("{name}.native")), bytes)?;
    write_whole(&dir.join(format!("{name}.json")), format!("{explanation:#}\n").as_bytes())
}

/// How many inserts are kept.
pub fn count(dir: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(dir)? {
        count += u64::from(entry?.path().extension().is_some_and(|extension| extension == "native"));
    }
    Ok(count)
}
