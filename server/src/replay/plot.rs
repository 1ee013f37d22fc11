//! Alerts over time as text: a line for each rule. Pure.

use std::collections::BTreeMap;

use model::time::Timestamp;

use super::Raised;

/// `#` where an alert of the rule fires, `-` where one is pending, `<` where one was there before anybody looked, `.` else; one line for each rule that had alerts.
pub fn plot(alerts: &[Raised], from: Timestamp, to: Timestamp, width: usize) -> Vec<(String, String)> {
    let width = width.max(1);
    let span = to.since(from).as_nanos().max(1);
    let place = |at: Timestamp| usize::try_from(at.since(from).as_nanos() * width as u128 / span).unwrap_or(width).min(width - 1);
    let mut lines: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for alert in alerts {
        let line = lines.entry(&alert.name).or_insert_with(|| vec![b'.'; width]);
        let end = alert.ended.unwrap_or(to);
        for (mark, start, end) in [(b'-', Some(alert.pending), alert.fired.unwrap_or(end)), (b'#', alert.fired, end)] {
            let Some(start) = start.filter(|start| *start < end || mark == b'#') else { continue };
            for cell in &mut line[place(start)..=place(end)] {
                *cell = if *cell == b'#' { b'#' } else { mark };
            }
        }
        if alert.began_before {
            line[place(alert.pending)] = b'<';
        }
    }
    lines.into_iter().map(|(name, line)| (name.to_owned(), String::from_utf8_lossy(&line).into_owned())).collect()
}
