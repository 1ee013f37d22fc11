//! The invitation to the review meeting: an iCalendar file (RFC 5545, method REQUEST) and a short letter. In: the postmortem. Out: texts.
//! Never fails.

use icalendar::{Calendar, Component, Event, EventLike, Property};

use super::Postmortem;
use crate::config::Config;

/// The .ics file. The same postmortem gives the same UID, so that a reminder changes the meeting and makes no second one.
pub fn calendar(postmortem: &Postmortem, config: &Config) -> String {
    let title = clean(&format!("Review of incident {}: {}", postmortem.number, postmortem.title));
    let mut event = Event::new();
    event
        .uid(&format!("{}@watchfire", postmortem.id))
        .timestamp(postmortem.created_at.to_chrono())
        .starts(postmortem.review_at.to_chrono())
        .ends(postmortem.review_at.plus(postmortem.review_length.0).to_chrono())
        .summary(&title)
        .description("The postmortem draft is attached. Goal: agree on causes and follow-ups, without blame.")
        .sequence(0);
    if let Some(organizer) = &config.review_organizer {
        event.append_property(Property::new("ORGANIZER", format!("mailto:{organizer}")));
    }
    for attendee in &config.review_attendees {
        let mut property = Property::new("ATTENDEE", format!("mailto:{attendee}"));
        property.add_parameter("ROLE", "REQ-PARTICIPANT").add_parameter("PARTSTAT", "NEEDS-ACTION").add_parameter("RSVP", "TRUE");
        event.append_multi_property(property);
    }
    let mut calendar = Calendar::empty();
    for (key, value) in
        [("VERSION", "2.0"), ("PRODID", "-//Watchfire//Incident review//EN"), ("CALSCALE", "GREGORIAN"), ("METHOD", "REQUEST")]
    {
        calendar.append_property(Property::new(key, value));
    }
    calendar.push(event.done());
    calendar.done().to_string()
}

/// The letter that goes with it.
pub fn letter(postmortem: &Postmortem, url: Option<&str>) -> String {
    let link = url.map(|url| format!("\nDraft: {url}/postmortem\n")).unwrap_or_default();
    format!(
        "Incident {}: {}\n\nThe review meeting begins at {} and lasts {}. The postmortem draft is attached; please add what only people know.\n{link}",
        postmortem.number,
        clean(&postmortem.title),
        postmortem.review_at,
        postmortem.review_length,
    )
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
