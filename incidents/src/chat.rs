//! What is posted into an incident's chat channel. In: the incident and an event. Out: text in the markdown of chat tools
//! (`*bold*`), with whatever came from outside made harmless. Never fails.

use model::event::{Actor, EventKind};
use model::incident::Incident;
use model::time::Timestamp;

use crate::timeline::{duration, sentence};

/// The longest text of a post, in characters.
const LONGEST: usize = 2_500;

/// Makes a text from outside harmless in chat markdown: no mentions, no links, no formatting, bounded.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(LONGEST) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '*' | '_' | '~' | '`' => {
                // A zero-width space keeps the sign and takes its meaning.
                out.push('\u{200b}');
                out.push(c);
            }
            '\r' | '\n' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

/// The channel's topic.
pub fn topic(incident: &Incident) -> String {
    let line = format!("{}: {}", incident.severity, incident.title);
    line.chars().take(250).collect()
}

/// The first post.
pub fn first_post(incident: &Incident, url: Option<&str>) -> String {
    let link = url.map(|url| format!("\n{url}")).unwrap_or_default();
    format!("*Incident {}* ({}): {}{link}", incident.number, incident.severity, harmless(&incident.title))
}

/// A post about one event.
pub fn update(actor: &Actor, kind: &EventKind) -> String {
    match actor {
        Actor::System { .. } => harmless(&sentence(kind)),
        Actor::User { .. } | Actor::Key { .. } | Actor::Chat { .. } | Actor::Provider { .. } => {
            format!("{} (by {})", harmless(&sentence(kind)), harmless(&actor.to_string()))
        }
    }
}

/// The last post before the channel is archived.
pub fn farewell(incident: &Incident, kind: &EventKind, now: Timestamp, url: Option<&str>) -> String {
    let clocks = incident.clocks;
    let end = clocks.resolved.unwrap_or(now);
    let acknowledged = match clocks.acknowledged {
        Some(at) => format!("acknowledged after {}", duration(at.since(clocks.detected))),
        None => "never acknowledged".to_owned(),
    };
    let drafted = matches!(kind, EventKind::IncidentResolved { .. });
    let link = url.filter(|_| drafted).map(|url| format!("\nPostmortem draft: {url}/postmortem")).unwrap_or_default();
    format!(
        "*Incident {}*: {}. It was detected {} after its start, {acknowledged}, and lasted {} from detection. This channel is archived now.{link}",
        incident.number,
        harmless(&sentence(kind)),
        duration(clocks.detected.since(clocks.started)),
        duration(end.since(clocks.detected)),
    )
}
