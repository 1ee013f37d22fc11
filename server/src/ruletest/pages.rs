//! `delivery_test`: who hears of what, and when. Pure.

use model::message::{Message, PageAction};
use model::time::{Span, Timestamp};
use serde_saphyr::Spanned;

use super::diff;
use super::file::{DeliveryYaml, PageYaml};
use crate::simulate::Sent;

/// Everything that a message can be.
const KINDS: [&str; 7] = ["trigger", "acknowledge", "resolve", "chat_open", "chat_post", "chat_archive", "document"];

/// A message, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// When, from the start.
    pub at: Span,
    /// To whom.
    pub receiver: String,
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// The names of its alerts.
    pub alerts: Vec<String>,
    /// How bad.
    pub severity: Option<&'static str>,
    /// Which ladder it comes from.
    pub ladder: Option<String>,
    /// Which step, from 1.
    pub step: Option<u32>,
}

impl Page {
    /// Of a message that was sent.
    pub fn of(sent: &Sent, start: Timestamp) -> Self {
        let kind = match &sent.delivery.message {
            Message::Notice(notice) => match notice.action {
                PageAction::Trigger => "trigger",
                PageAction::Acknowledge => "acknowledge",
                PageAction::Resolve => "resolve",
            },
            Message::ChatOpen { .. } => "chat_open",
            Message::ChatPost { .. } => "chat_post",
            Message::ChatArchive { .. } => "chat_archive",
            Message::Document { .. } => "document",
        };
        let (at, receiver) = (Span(sent.at.since(start)), sent.delivery.receiver.clone());
        let mut page = Page { at, receiver, kind, alerts: Vec::new(), severity: None, ladder: None, step: None };
        if let Message::Notice(notice) = &sent.delivery.message {
            page.alerts = notice.alerts.iter().filter_map(|alert| alert.labels.get("alertname").map(str::to_owned)).collect();
            page.alerts.sort();
            page.alerts.dedup();
            page.severity = Some(notice.severity.as_str());
            page.ladder = notice.details.get("ladder").cloned();
            page.step = step(&notice.reason);
        }
        page
    }

    fn shown(&self) -> String {
        let mut text = format!("at {} to {}: {}", self.at, self.receiver, self.kind);
        if !self.alerts.is_empty() {
            text.push_str(&format!(" {}", self.alerts.join(", ")));
        }
        text.push_str(&self.severity.map_or_else(String::new, |severity| format!(" ({severity})")));
        text.push_str(&self.ladder.as_ref().map_or_else(String::new, |ladder| format!(", ladder {ladder}")));
        text.push_str(&self.step.map_or_else(String::new, |step| format!(", step {step}")));
        text
    }
}

/// The number in `page, step 2 of 3: ...`, which is how notices say it.
fn step(reason: &str) -> Option<u32> {
    let (_, rest) = reason.split_once(", step ")?;
    rest.split_once(" of ")?.0.parse().ok()
}

fn wanted(page: &PageYaml) -> String {
    let PageYaml { at, receiver, kind, alertname, severity, ladder, step } = page;
    let mut text = format!("at {at} to {receiver}: {kind}");
    text.push_str(&alertname.as_ref().map_or_else(String::new, |name| format!(" {name}")));
    text.push_str(&severity.as_ref().map_or_else(String::new, |severity| format!(" ({severity})")));
    text.push_str(&ladder.as_ref().map_or_else(String::new, |ladder| format!(", ladder {ladder}")));
    text.push_str(&step.as_ref().map_or_else(String::new, |step| format!(", step {step}")));
    text
}

fn fits(wanted: &PageYaml, page: &Page) -> bool {
    wanted.at == page.at
        && wanted.receiver == page.receiver
        && wanted.kind == page.kind
        && wanted.alertname.as_ref().is_none_or(|name| page.alerts.contains(name))
        && wanted.severity.as_deref().is_none_or(|severity| page.severity == Some(severity))
        && wanted.ladder.as_ref().is_none_or(|ladder| page.ladder.as_ref() == Some(ladder))
        && wanted.step.is_none_or(|step| page.step == Some(step))
}

/// Why the test fails, if it does. Nothing may be missing, nothing may be too much.
pub(super) fn check(test: &DeliveryYaml, sent: &[Sent], start: Timestamp, until: Span) -> Option<String> {
    let expected: Vec<&PageYaml> = test.exp_notifications.iter().flatten().map(|page: &Spanned<PageYaml>| &page.value).collect();
    if let Some(page) = expected.iter().find(|page| !KINDS.contains(&page.kind.as_str())) {
        return Some(format!("kind `{}` is unknown: use {}\n", page.kind, KINDS.join(", ")));
    }
    let got: Vec<Page> = sent.iter().map(|sent| Page::of(sent, start)).filter(|page| page.at <= until).collect();
    let (missing, extra) = diff::pair(&expected, &got, |wanted, page| fits(wanted, page));
    let missing: Vec<String> = missing.into_iter().map(|at| wanted(expected[at])).collect();
    let extra: Vec<String> = extra.into_iter().map(|at| got[at].shown()).collect();
    diff::lines(&missing, &extra)
}
