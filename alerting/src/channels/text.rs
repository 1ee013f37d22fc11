//! Words that every channel uses: a headline, the severity in words and signs, cutting on a character's edge. Pure.

use model::message::{Notice, NoticeAlert, PageAction};
use model::severity::Severity;

/// At most `max` characters; what was cut is shown by `…`.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    if max > 0 {
        short.push('…');
    }
    short
}

/// A colour is never alone: the word stands beside it.
pub fn severity_word(severity: Severity) -> String {
    severity.as_str().to_uppercase()
}

/// The sign in Slack's notation.
pub fn sign(notice: &Notice) -> &'static str {
    match notice.action {
        PageAction::Resolve => ":white_check_mark:",
        PageAction::Acknowledge => ":eyes:",
        PageAction::Trigger => match notice.severity {
            Severity::Critical => ":red_circle:",
            Severity::High => ":large_orange_circle:",
            Severity::Warning => ":large_yellow_circle:",
            Severity::Info => ":large_blue_circle:",
        },
    }
}

/// What state the notice reports: `CRITICAL`, `ACKNOWLEDGED critical`, `RESOLVED critical`.
pub fn state_words(notice: &Notice) -> String {
    match notice.action {
        PageAction::Trigger => severity_word(notice.severity),
        PageAction::Acknowledge => format!("ACKNOWLEDGED {}", notice.severity),
        PageAction::Resolve => format!("RESOLVED {}", notice.severity),
    }
}

/// One line: state, incident number, title.
pub fn headline(notice: &Notice) -> String {
    let number = notice.incident_number.map_or(String::new(), |number| format!(" #{number}"));
    format!("[{}]{number} {}", state_words(notice), one_line(&notice.title))
}

/// Line breaks and other control characters become spaces: a title must not forge a header or a second line.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An alert's own sentence: its summary, else its name and labels.
pub fn alert_line(alert: &NoticeAlert) -> String {
    let summary = alert.annotations.get("summary").map(|text| one_line(text));
    let name = || alert.labels.get("alertname").unwrap_or("alert").to_owned();
    let state = if alert.resolved { "resolved" } else { "firing" };
    format!("{} ({state}, value {})", summary.unwrap_or_else(name), one_line(&alert.value))
}

/// The alerts of a notice, one a line, and why it is said.
pub fn lines(notice: &Notice, shown: usize) -> String {
    let mut lines: Vec<String> = notice.alerts.iter().take(shown).map(alert_line).collect();
    if notice.alerts.len() > shown {
        lines.push(format!("and {} more", notice.alerts.len() - shown));
    }
    if !notice.reason.is_empty() {
        lines.push(one_line(&notice.reason));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_counts_characters_and_never_splits_one() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut("🔥🔥🔥", 2), "🔥…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_title_stays_on_one_line() {
        assert_eq!(one_line("a\r\nBcc: x\u{7}"), "a  Bcc: x ");
    }
}
