//! Incident channels: open, furnish (topic, invitations), find, archive. Every step may be repeated: a name that is taken is looked up and,
//! if it is the channel that an earlier attempt of ours made, used again; else a name with a suffix of our own is taken.

use std::time::Duration;

use model::time::Timestamp;
use serde_json::{Value, json};

use super::super::text::cut;
use super::super::{OpenedChannel, SendError};
use super::api::{Api, Refused, next_cursor};

const NAME: usize = 80;
const TOPIC: usize = 250;
const LIST_PAGES: usize = 10;
/// Slack's clock and ours may differ by so much.
const SKEW: Duration = Duration::from_secs(300);

/// What channel is wished for.
#[derive(Debug)]
pub struct Wish<'a> {
    /// `incident-42`
    pub name: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// User ids.
    pub invite: Vec<&'a str>,
    /// When the wish was written: an older channel of that name is another's.
    pub queued_at: Timestamp,
    /// Makes the name our own where the wished one is another's.
    pub suffix: String,
}

/// A channel in a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Room {
    /// Its id.
    pub id: String,
    name: String,
    creator: String,
    created: i64,
    archived: bool,
}

/// Lower-case letters, digits, `-` and `_`, at most 80.
pub fn channel_name(wish: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = wish.chars().map(fits).take(NAME).collect();
    if name.is_empty() { "incident".to_owned() } else { name }
}

/// Opens the channel, or finds the one that an earlier attempt opened.
pub async fn open(api: &Api, wish: &Wish<'_>, now: Timestamp) -> Result<OpenedChannel, SendError> {
    let name = channel_name(wish.name);
    if let Some(made) = create(api, &name, now).await? {
        return Ok(made);
    }
    if let Some(room) = find(api, &name, now).await?
        && is_ours(api, &room, wish, now).await?
    {
        return Ok(OpenedChannel { id: room.id, name: room.name });
    }
    let own: String = name.chars().take(NAME - 1 - wish.suffix.len()).collect();
    let own = format!("{own}-{}", wish.suffix);
    if let Some(made) = create(api, &own, now).await? {
        return Ok(made);
    }
    match find(api, &own, now).await? {
        Some(room) if !room.archived => Ok(OpenedChannel { id: room.id, name: room.name }),
        Some(_) | None => Err(SendError::last(format!("Slack says that {name} and {own} are taken: archive or rename one of them"))),
    }
}

/// `None` where the name is taken.
async fn create(api: &Api, name: &str, now: Timestamp) -> Result<Option<OpenedChannel>, SendError> {
    match api.try_call("conversations.create", &json!({"name": name, "is_private": false}), now).await {
        Ok(answer) => {
            let id =
                answer["channel"]["id"].as_str().ok_or_else(|| SendError::doubtful("conversations.create: no channel in the answer"))?;
            let name = answer["channel"]["name"].as_str().unwrap_or(name);
            Ok(Some(OpenedChannel { id: id.to_owned(), name: name.to_owned() }))
        }
        Err(Refused::Word(word)) if word == "name_taken" => Ok(None),
        Err(refused) => Err(refused.into()),
    }
}

/// An open channel by name.
pub async fn find(api: &Api, name: &str, now: Timestamp) -> Result<Option<Room>, SendError> {
    let mut cursor = String::new();
    for _ in 0..LIST_PAGES {
        let query = [("types", "public_channel,private_channel"), ("limit", "200"), ("cursor", &cursor)];
        let page = api.list("conversations.list", &query, now).await?;
        let rooms = page["channels"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(found) = rooms.iter().filter_map(room).find(|room| room.name == name) {
            return Ok(Some(found));
        }
        match next_cursor(&page) {
            Some(next) => cursor = next,
            None => break,
        }
    }
    Ok(None)
}

fn room(listed: &Value) -> Option<Room> {
    Some(Room {
        id: listed["id"].as_str()?.to_owned(),
        name: listed["name"].as_str()?.to_owned(),
        creator: listed["creator"].as_str().unwrap_or_default().to_owned(),
        created: listed["created"].as_i64().unwrap_or_default(),
        archived: listed["is_archived"].as_bool().unwrap_or_default(),
    })
}

/// Whether an earlier attempt of ours made it: by our own user, after the wish was written, and it is open.
async fn is_ours(api: &Api, room: &Room, wish: &Wish<'_>, now: Timestamp) -> Result<bool, SendError> {
    if room.archived || Timestamp::from_secs(room.created) < wish.queued_at.minus(SKEW) {
        return Ok(false);
    }
    let me = api.call("auth.test", &json!({}), now).await?;
    Ok(me["user_id"].as_str() == Some(room.creator.as_str()))
}

/// Topic and invitations. People who cannot be invited are left out: the channel is worth more than the full list.
pub async fn furnish(api: &Api, channel: &str, wish: &Wish<'_>, now: Timestamp) -> Result<(), SendError> {
    if !wish.topic.is_empty() {
        api.call("conversations.setTopic", &json!({"channel": channel, "topic": cut(wish.topic, TOPIC)}), now).await?;
    }
    let mut people = wish.invite.clone();
    people.sort_unstable();
    people.dedup();
    if people.is_empty() {
        return Ok(());
    }
    match invite(api, channel, &people.join(","), now).await? {
        None => Ok(()),
        Some(word) => {
            tracing::warn!(channel, error = word, "Slack refused the invitations as a whole; inviting one by one");
            for person in people.iter().filter(|_| people.len() > 1) {
                if let Some(word) = invite(api, channel, person, now).await? {
                    tracing::warn!(channel, person, error = word, "not invited");
                }
            }
            Ok(())
        }
    }
}

/// Slack's word where it refuses for good.
async fn invite(api: &Api, channel: &str, users: &str, now: Timestamp) -> Result<Option<String>, SendError> {
    match api.try_call("conversations.invite", &json!({"channel": channel, "users": users}), now).await {
        Ok(_) => Ok(None),
        Err(Refused::Word(word)) if matches!(word.as_str(), "already_in_channel" | "cant_invite_self") => Ok(None),
        Err(Refused::Word(word)) => match SendError::from(Refused::Word(word.clone())) {
            error @ SendError::Retry { .. } => Err(error),
            SendError::Final { .. } => Ok(Some(word)),
        },
        Err(Refused::Other(error)) => Err(error),
    }
}

/// Archives; done before is done.
pub async fn archive(api: &Api, channel: &str, now: Timestamp) -> Result<(), SendError> {
    match api.try_call("conversations.archive", &json!({"channel": channel}), now).await {
        Ok(_) => Ok(()),
        Err(Refused::Word(word)) if word == "already_archived" => Ok(()),
        Err(refused) => Err(refused.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_slack() {
        assert_eq!(channel_name("Incident 42: Tür"), "incident-42--t-r");
        assert_eq!(channel_name(&"x".repeat(200)).len(), 80);
        assert_eq!(channel_name(""), "incident");
    }
}
