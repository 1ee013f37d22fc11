//! The demo's screen: one line per thing that happened, with the time since the start, and the share of failed orders as a bar.

use std::io::IsTerminal;
use std::time::Duration;

use model::event::EventKind;
use model::repair::RepairOutcome;
use model::state::{JournalQuery, StateStore};
use model::time::Timestamp;

use super::shop::ShopState;
use crate::cli::table::sparkline;
use crate::listen::Addresses;

/// What is on the screen.
pub struct Screen {
    start: Timestamp,
    terminal: bool,
    ratios: Vec<f64>,
}

impl Screen {
    /// An empty one.
    pub fn new(start: Timestamp) -> Self {
        Screen { start, terminal: std::io::stdout().is_terminal(), ratios: Vec::new() }
    }

    /// Says what is about to be seen, and which clocks are shortened.
    pub fn introduce(&self, addresses: &Addresses, healthy_for: Duration) {
        println!(
            "\nA shop of five services sends spans and logs over OTLP to {}. In {} s a bad release goes out.",
            addresses.otlp_grpc,
            healthy_for.as_secs()
        );
        println!("Shortened for the demo: the rule looks at 30 s (as shipped: 5 min), the ladder's second step comes after 10 s (5 min).");
        println!("PagerDuty, Slack and SMS are local catchers. While it runs: http://{}/api/v1/alerts\n", addresses.http);
    }

    /// One thing that happened.
    pub fn line(&self, now: Timestamp, who: &str, text: &str) {
        self.wipe();
        let since = now.since(self.start).as_secs_f64();
        let colour = match who {
            "PagerDuty" | "SMS" => "\x1b[35m",
            "Slack" => "\x1b[36m",
            "alert" | "incident" => "\x1b[31m",
            "repair" => "\x1b[33m",
            _ => "\x1b[90m",
        };
        if self.terminal {
            println!("{since:6.1}s  {colour}{who:<10}\x1b[0m {text}");
        } else {
            println!("{since:6.1}s  {who:<10} {text}");
        }
    }

    fn wipe(&self) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
    }

    /// The share of failed orders now: a live line on a terminal.
    pub fn ratio(&mut self, ratio: Option<f64>, state: ShopState) {
        let Some(ratio) = ratio else { return };
        self.ratios.push(ratio);
        if !self.terminal {
            return;
        }
        use std::io::Write as _;
        let from = self.ratios.len().saturating_sub(60);
        let release = if state.bad_release { "2.4.1" } else { "2.4.0" };
        print!("\r\x1b[2K         failed orders {:5.1} % {} payments {release}", ratio * 100.0, sparkline(&self.ratios[from..]));
        // A terminal that is gone shows nothing; the story goes on.
        let _ = std::io::stdout().flush();
    }

    /// The journal's news since `seen`; returns the new place.
    pub async fn journal(&self, state: &dyn StateStore, seen: u64) -> anyhow::Result<u64> {
        let mut last = seen;
        for recorded in state.events(&JournalQuery { after: seen, ..JournalQuery::default() }).await? {
            last = recorded.seq;
            if let Some((who, text)) = words(&recorded.event.kind) {
                self.line(recorded.event.at, who, &text);
            }
        }
        Ok(last)
    }

    /// The end of the story.
    pub fn end(&self, now: Timestamp, path: &str, addresses: &Addresses) {
        self.wipe();
        println!("\nOver after {:.0} s. Failed orders, start to end:\n  {}", now.since(self.start).as_secs_f64(), sparkline(&self.ratios));
        println!("\nThe postmortem draft: {path}");
        println!("Ask the same Watchfire while it runs (`--stay`): watchfire --server http://{} incident show 1", addresses.http);
    }
}

/// What the story's reader wants to know of an event; what the catchers show anyway is left out.
fn words(kind: &EventKind) -> Option<(&'static str, String)> {
    match kind {
        EventKind::AlertFired { severity, summary, .. } => Some(("alert", format!("{severity} fires: {summary}"))),
        EventKind::AlertResolved { .. } => Some(("alert", "cleared".to_owned())),
        EventKind::IncidentOpened { number, title, .. } => Some(("incident", format!("#{number} opened: {title}"))),
        EventKind::IncidentResolved { reason } => Some(("incident", format!("resolved: {reason}"))),
        EventKind::LadderStepTaken { ladder, step, notify, people, .. } => {
            let whom = if people.is_empty() { notify.join(", ") } else { format!("{} by {}", people.join(", "), notify.join(", ")) };
            Some(("ladder", format!("{ladder}, step {}: {whom} (nobody has acknowledged)", step + 1)))
        }
        EventKind::RepairActed { rung, result, ok, .. } => {
            Some(("repair", format!("{rung}: {} ({})", if *ok { "done" } else { "failed" }, result.lines().next().unwrap_or(""))))
        }
        EventKind::RepairChecked { rung, cleared: true, .. } => {
            Some(("repair", format!("{rung}: the alert's own expression is false again: it helped")))
        }
        EventKind::RepairUndone { rung, .. } => Some(("repair", format!("{rung}: did not help, undone"))),
        EventKind::RepairFinished { outcome: RepairOutcome::HandedOver { reason }, .. } => {
            Some(("repair", format!("handed over: {reason}")))
        }
        EventKind::PostmortemDrafted { .. } => Some(("incident", "postmortem drafted".to_owned())),
        _ => None,
    }
}
