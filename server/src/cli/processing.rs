//! `watchfire pipeline test`: what would be stored of a request, and what changed it. Reads the configuration and the input, nothing else.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use collector::pipeline::dry_run::{Report, dry_run};
use collector::pipeline::{Change, Pipeline, RecordTrace};
use model::time::{Clock, SystemClock};
use serde_json::{Map, Value};

use super::{Common, PipelineCommand, serve, table};

/// Columns that are the same in every row, or say when it was tried.
const DULL: [&str; 3] = ["tenant", "received", "retention_days"];

/// Runs the command.
pub fn run(common: &Common, command: &PipelineCommand) -> anyhow::Result<ExitCode> {
    let PipelineCommand::Test { input, format } = command;
    let config = serve::read_config(common)?;
    let pipeline = Pipeline::new(&config.pipeline)
        .map_err(|problems| anyhow::anyhow!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let bytes = read(input)?;
    let reports = dry_run(&config.collector, &pipeline, *format, &bytes, SystemClock.now()).with_context(|| input.display().to_string())?;
    if common.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        reports.iter().for_each(print);
        if let Some(wait) = pipeline.tail_wait() {
            println!(
                "\nTail sampling: spans wait {wait:?}, then their trace is kept or dropped as a whole; spans are shown as if it is kept."
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(input: &Path) -> anyhow::Result<Vec<u8>> {
    if input == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("standard input cannot be read")?;
        return Ok(bytes);
    }
    std::fs::read(input).with_context(|| format!("{} cannot be read", input.display()))
}

fn print(report: &Report) {
    for record in &report.records {
        print!("{}", told(record));
    }
    for table in &report.tables {
        println!("\n{} ({})", table.table, table.rows.len());
        for row in &table.rows {
            println!("  {}", line(row));
        }
    }
    println!();
    let tables = report.tables.iter().map(|table| vec![table.table.to_owned(), table.rows.len().to_string()]);
    table::print(&["TABLE", "ROWS"], tables.collect(), "Nothing would be stored.");
    if !report.redacted.is_empty() {
        println!("\nRedacted: {}.", report.redacted.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", "));
    }
    if let Some(rejected) = &report.rejected {
        println!("\nThe sender would be told: {rejected}.");
    }
}

/// A record and what became of it.
fn told(record: &RecordTrace) -> String {
    let mut out = format!("{} `{}`: {}", record.record, shown(&record.name), record.fate);
    if let Some(by) = &record.by {
        let _ = write!(out, " ({})", shown(by));
    }
    if record.weight != 1 {
        let _ = write!(out, ", stands for {}", record.weight);
    }
    out.push('\n');
    for step in &record.steps {
        let _ = writeln!(out, "  {}", shown(&step.by));
        for Change { field, before, after } in &step.changes {
            let side = |text: &Option<String>| text.as_deref().map_or("(absent)".to_owned(), |text| format!("`{}`", shown(text)));
            let _ = writeln!(out, "    {}: {} -> {}", shown(field), side(before), side(after));
        }
    }
    out
}

/// A row, without what says nothing.
fn line(row: &Map<String, Value>) -> String {
    let dull = |column: &str, value: &Value| DULL.contains(&column) || empty(value);
    let cells = row.iter().filter(|(column, value)| !dull(column, value));
    cells
        .map(|(column, value)| match value {
            Value::String(text) => format!("{column}={}", shown(text)),
            other => format!("{column}={}", shown(&other.to_string())),
        })
        .collect::<Vec<_>>()
        .join("  ")
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A text of a sender, fit for a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}
