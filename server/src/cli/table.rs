//! Tables for people: plain on a pipe, drawn on a terminal. Severity and state are words first; colour only repeats them.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::presets::{NOTHING, UTF8_HORIZONTAL_ONLY};
use comfy_table::{Cell, Color, ContentArrangement, Table};
use model::time::{Span, Timestamp};

/// Prints a table; an empty one says what `empty` says.
pub fn print(headers: &[&str], rows: Vec<Vec<String>>, empty: &str) {
    if rows.is_empty() {
        println!("{empty}");
        return;
    }
    let terminal = std::io::stdout().is_terminal();
    let mut table = Table::new();
    table.load_style(if terminal { UTF8_HORIZONTAL_ONLY } else { NOTHING });
    table.set_content_arrangement(if terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled });
    table.set_header(headers.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|text| shown(text)).map(|text| if terminal { coloured(text) } else { Cell::new(text) }));
    }
    println!("{table}");
}

/// The longest text of a cell, in characters; `--json` has all of it.
const LONGEST: usize = 500;

/// A text as a cell may show it. Summaries and labels come from outside: their control characters could drive the terminal, and one of
/// thousands of characters would make every line as wide.
fn shown(text: &str) -> String {
    let plain = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c });
    plain.chain((text.chars().count() > LONGEST).then_some('…')).collect()
}

fn coloured(text: String) -> Cell {
    let color = match text.as_str() {
        "critical" | "dead" | "BAD" | "firing" | "regressed" => Some(Color::Red),
        "high" | "open" => Some(Color::Magenta),
        "warning" | "pending" | "acknowledged" => Some(Color::Yellow),
        "resolved" | "done" | "ok" => Some(Color::Green),
        _ => None,
    };
    let cell = Cell::new(text);
    match color {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

/// `5m ago`, to the two largest units.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", short(now.since(at)))
}

/// A duration to its two largest units: `1h5m`.
pub fn short(duration: Duration) -> String {
    let secs = duration.as_secs();
    let rounded = match secs {
        0 => Duration::from_millis(duration.as_millis() as u64),
        1..=3_599 => Duration::from_secs(secs),
        3_600..=86_399 => Duration::from_secs(secs / 60 * 60),
        _ => Duration::from_secs(secs / 3_600 * 3_600),
    };
    Span(rounded).to_string()
}

/// A line of bars for values over time, scaled from 0 (or the least value below 0) to the largest.
pub fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((0.0f64, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let width = (high - low).max(f64::MIN_POSITIVE);
    values.iter().map(|value| if value.is_finite() { BARS[(((value - low) / width * 7.0).round() as usize).min(7)] } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_drives_no_terminal_and_stays_in_its_column() {
        assert_eq!(shown("a\u{1b}[31m\nb\u{7}"), "a [31m b ");
        assert_eq!(shown(&"ä".repeat(9_000)).chars().count(), LONGEST + 1);
        assert_eq!(shown("short"), "short");
    }

    #[test]
    fn durations_are_short_and_bars_scale() {
        assert_eq!(short(Duration::from_secs(3_999)), "1h6m");
        assert_eq!(short(Duration::from_secs(61)), "1m1s");
        assert_eq!(sparkline(&[0.0, 1.0, f64::NAN, 0.5]), "▁█ ▅");
    }
}
