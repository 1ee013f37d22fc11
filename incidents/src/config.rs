//! The settings of incidents and postmortems: the `incidents:` part of the configuration file. In: YAML. Out: `Config`, and
//! from `check` one sentence for each setting that makes no sense.

use std::path::PathBuf;

use model::time::Span;
use serde::{Deserialize, Serialize};

use crate::postmortem::render;

/// The most that `changes_before` may be.
const LONGEST_LOOK_BACK: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// How incidents are correlated, announced, resolved and written up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Labels that alerts of one outage share. An alert joins the open incident whose values of these labels are the same; an
    /// alert that has none of them is grouped by `alertname`.
    pub group_by: Vec<String>,
    /// How long all alerts must have been quiet before an incident resolves by itself.
    pub resolve_after: Span,
    /// The receiver (one with channels, such as Slack's Web API) that opens a channel for each incident; none: no channel.
    pub chat_receiver: Option<String>,
    /// The provider's ids of the people on call, who are invited into each channel.
    pub chat_invite: Vec<String>,
    /// Whether acknowledgements, ladder steps, changes of severity and repairs are posted into the channel.
    pub chat_updates: bool,
    /// Receivers that get every status update.
    pub update_receivers: Vec<String>,
    /// A folder with `postmortem.md.hbs`, a Handlebars template that replaces the built-in one; none: the built-in one.
    pub templates_dir: Option<PathBuf>,
    /// How often the telemetry is asked for evidence before the postmortem is drafted without it.
    pub evidence_attempts: u32,
    /// How many error groups, slow traces and log groups a postmortem shows at most.
    pub evidence_items: usize,
    /// How long before an incident's start deployments are looked for, for its timeline and its postmortem.
    pub changes_before: Span,
    /// How long after an incident's end its review meeting begins.
    pub review_after: Span,
    /// How long the meeting lasts.
    pub review_length: Span,
    /// Receivers that get the invitation at once and a reminder when the meeting is due.
    pub review_receivers: Vec<String>,
    /// The organiser's mail address.
    pub review_organizer: Option<String>,
    /// The attendees' mail addresses.
    pub review_attendees: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            group_by: vec!["service_name".to_owned(), "service".to_owned()],
            resolve_after: Span::secs(0),
            chat_receiver: None,
            chat_invite: Vec::new(),
            chat_updates: true,
            update_receivers: Vec::new(),
            templates_dir: None,
            evidence_attempts: 5,
            evidence_items: 5,
            changes_before: Span::secs(24 * 3600),
            review_after: Span::secs(24 * 3600),
            review_length: Span::secs(3600),
            review_receivers: Vec::new(),
            review_organizer: None,
            review_attendees: Vec::new(),
        }
    }
}

impl Config {
    /// What is wrong, one sentence each; empty where all is well. Reads the template file, if one is named.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut say = |wrong: bool, text: String| {
            if wrong {
                problems.push(text);
            }
        };
        say(
            self.group_by.is_empty(),
            "incidents.group_by is empty: name at least one label, for example service_name, or every alert of a name would be one incident".into(),
        );
        say(
            self.chat_receiver.is_none() && !self.chat_invite.is_empty(),
            "incidents.chat_invite names people, but incidents.chat_receiver names no receiver that could open a channel: set it or empty the list".into(),
        );
        say(
            self.evidence_attempts == 0,
            "incidents.evidence_attempts is 0: use at least 1, or no postmortem would have any numbers".into(),
        );
        say(
            self.evidence_items == 0 || self.evidence_items > 100,
            format!("incidents.evidence_items is {}: use 1 to 100", self.evidence_items),
        );
        say(self.changes_before.0 > LONGEST_LOOK_BACK, format!("incidents.changes_before is {}: use at most 30d", self.changes_before));
        say(self.review_length.0.is_zero(), "incidents.review_length is 0: use for example 1h".into());
        let addresses = self.review_organizer.iter().map(|one| ("review_organizer", one));
        for (field, address) in addresses.chain(self.review_attendees.iter().map(|one| ("review_attendees", one))) {
            say(!is_mail_address(address), format!("incidents.{field}: `{address}` is not a mail address such as ana@example.org"));
        }
        if let Some(dir) = &self.templates_dir
            && let Err(error) = render::template(Some(dir))
        {
            problems.push(format!("incidents.templates_dir: {error}"));
        }
        problems
    }
}

fn is_mail_address(text: &str) -> bool {
    let clean = text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"<>,;:\"".contains(c));
    clean && text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine_and_mistakes_are_named() {
        assert_eq!(Config::default().check(), Vec::<String>::new());
        let wrong = Config {
            group_by: vec![],
            chat_invite: vec!["U1".into()],
            evidence_attempts: 0,
            evidence_items: 0,
            changes_before: Span::secs(31 * 86_400),
            review_attendees: vec!["nobody".into()],
            templates_dir: Some("/nowhere".into()),
            ..Config::default()
        };
        let problems = wrong.check();
        assert_eq!(problems.len(), 7, "{problems:#?}");
        assert!(problems.iter().any(|one| one.contains("`nobody` is not a mail address")));
        assert!(serde_json::from_str::<Config>(r#"{"grup_by":[]}"#).is_err());
    }
}
