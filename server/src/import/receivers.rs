//! Alertmanager's receivers as Watchfire's: one for each integration. In: YAML with the global settings. Out: blocks of YAML, and notes.

use super::tree::{Node, Notes};

/// A receiver of Watchfire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receiver {
    /// Its name.
    pub name: String,
    /// Its keys and values, `type` first, values as YAML.
    pub keys: Vec<(&'static str, String)>,
}

/// A receiver of Alertmanager.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Its name.
    pub name: String,
    /// The names of what became of it.
    pub members: Vec<String>,
    /// Whether anybody in it hears of ends.
    pub send_resolved: bool,
}

/// A text as YAML (JSON's texts are YAML's), in which nothing is taken for a variable.
pub(super) fn quoted(text: &str) -> String {
    plain(&serde_json::Value::String(text.to_owned()).to_string())
}

/// YAML in which nothing is taken for a variable.
pub(super) fn plain(yaml: &str) -> String {
    yaml.replace("${", "$${")
}

/// A secret that stands there, or in a file: one that cannot be read here is told when the configuration is checked.
fn secret(node: &Node, key: &str) -> Option<String> {
    node.text(key).map(quoted).or_else(|| Some(format!("${{file:{}}}", node.text(&format!("{key}_file"))?)))
}

const NO_TEXTS: &str = "Watchfire writes its own texts, or has no counterpart";
const NO_TYPE: &str = "Watchfire has no such receiver; a `webhook` to a relay may do";

type Keys = Vec<(&'static str, String)>;

fn pagerduty(one: &Node, global: Option<&Node>, notes: &mut Notes) -> Option<Keys> {
    let mut keys = vec![("type", "pagerduty".to_owned())];
    match secret(one, "routing_key") {
        Some(key) => keys.push(("routing_key", key)),
        None => {
            notes.say(
                one.line,
                "a pagerduty receiver without `routing_key` is left out: make an Events API v2 integration and give its key",
            );
            return None;
        }
    }
    let url = one.text("url").or_else(|| global?.text("pagerduty_url"));
    keys.extend(url.map(|url| ("url", quoted(url.trim_end_matches('/').trim_end_matches("/v2/enqueue")))));
    Some(keys)
}

fn slack(one: &Node, global: Option<&Node>, notes: &mut Notes) -> Option<Keys> {
    let Some(url) = secret(one, "api_url").or_else(|| secret(global?, "slack_api_url")) else {
        notes.say(
            one.line,
            "a slack receiver without `api_url` is left out: give the webhook's URL, or make a receiver of type `slack` with a token",
        );
        return None;
    };
    if let Some(channel) = one.get("channel") {
        notes.say(channel.line, "`channel` of a slack receiver is left out: a webhook posts into the channel that it was made for");
    }
    Some(vec![("type", "slack_webhook".to_owned()), ("url", url)])
}

fn webhook(one: &Node, notes: &mut Notes) -> Option<Keys> {
    let Some(url) = secret(one, "url") else {
        notes.say(one.line, "a webhook receiver without `url` is left out: write the URL into the configuration");
        return None;
    };
    let mut keys = vec![("type", "webhook".to_owned()), ("url", url)];
    if let Some(http) = one.get("http_config") {
        let authorization = http.get("authorization");
        let bearer = authorization.filter(|one| one.text("type").is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")));
        let token = bearer.and_then(|one| secret(one, "credentials")).or_else(|| secret(http, "bearer_token"));
        keys.extend(token.map(|token| ("bearer_token", token)));
        if let Some(authorization) = authorization {
            authorization.tell_rest("http_config.authorization", "only a bearer token can be carried over", notes);
        }
        http.tell_rest("http_config", "only a bearer token can be carried over", notes);
    }
    Some(keys)
}

fn mail(one: &Node, global: Option<&Node>, notes: &mut Notes) -> Option<Keys> {
    let get = |key: &str| one.text(key).or_else(|| global?.text(&format!("smtp_{key}")));
    let (Some(to), Some(from), Some(smarthost)) = (one.text("to"), get("from"), get("smarthost")) else {
        notes.say(one.line, "an email receiver without `to`, `from` or `smarthost` is left out: write them into the configuration");
        return None;
    };
    let (host, port) = smarthost.rsplit_once(':').unwrap_or((smarthost, "587"));
    let to: Vec<String> = to.split(',').map(|one| quoted(one.trim())).collect();
    let mut keys = vec![("type", "mail".to_owned()), ("host", quoted(host)), ("port", port.to_owned()), ("from", quoted(from))];
    keys.push(("to", format!("[{}]", to.join(", "))));
    keys.extend(get("auth_username").map(|name| ("username", quoted(name))));
    let password = secret(one, "auth_password").or_else(|| secret(global?, "smtp_auth_password"));
    keys.extend(password.map(|password| ("password", password)));
    if get("require_tls") == Some("false") {
        keys.push(("starttls", "false".to_owned()));
    }
    Some(keys)
}

fn opsgenie(one: &Node, global: Option<&Node>, notes: &mut Notes) -> Option<Keys> {
    let Some(key) = secret(one, "api_key").or_else(|| secret(global?, "opsgenie_api_key")) else {
        notes.say(one.line, "an opsgenie receiver without `api_key` is left out: give the integration's key");
        return None;
    };
    let url = one.text("api_url").or_else(|| global?.text("opsgenie_api_url"));
    let mut keys = vec![("type", "opsgenie".to_owned()), ("api_key", key)];
    keys.extend(url.map(|url| ("url", quoted(url.trim_end_matches('/')))));
    Some(keys)
}

fn telegram(one: &Node, global: Option<&Node>, notes: &mut Notes) -> Option<Keys> {
    let (Some(token), Some(chat)) = (secret(one, "bot_token"), one.text("chat_id")) else {
        notes.say(one.line, "a telegram receiver without `bot_token` or `chat_id` is left out: write them into the configuration");
        return None;
    };
    let url = one.text("api_url").or_else(|| global?.text("telegram_api_url"));
    let mut keys = vec![("type", "telegram".to_owned()), ("token", token), ("chat_id", quoted(chat))];
    keys.extend(url.map(|url| ("url", quoted(url.trim_end_matches('/')))));
    Some(keys)
}

/// Discord and Teams: whoever has the URL can post.
fn hook(kind: &str, one: &Node, notes: &mut Notes) -> Option<Keys> {
    let Some(url) = secret(one, "webhook_url") else {
        notes.say(one.line, format!("a {kind} receiver without `webhook_url` is left out: write the URL into the configuration"));
        return None;
    };
    Some(vec![("type", kind.to_owned()), ("url", url)])
}

/// The line of an integration that is not told of ends: here all of a receiver are told, or none. Mail and Slack are told only where they say so.
fn deaf(one: &Node, word: &str) -> Option<u64> {
    match one.get("send_resolved") {
        Some(wanted) => (wanted.as_text() == Some("false")).then_some(wanted.line),
        None => matches!(word, "email" | "slack").then_some(one.line),
    }
}

/// Reads `receivers`.
pub(super) fn read(root: &Node, notes: &mut Notes) -> (Vec<Receiver>, Vec<Group>) {
    let global = root.get("global");
    let (mut receivers, mut groups): (Vec<Receiver>, Vec<Group>) = (Vec::new(), Vec::new());
    for one in root.list("receivers") {
        let name = one.text("name").unwrap_or("unnamed").to_owned();
        let mut made: Vec<(String, Keys)> = Vec::new();
        let (mut silent, mut hearing) = (Vec::new(), 0);
        for (key, line, list) in one.pairs().filter(|(key, ..)| *key != "name") {
            let Some(word) = key.strip_suffix("_configs") else {
                notes.say(line, format!("`{key}` of receiver `{name}` is left out: Watchfire does not know it"));
                continue;
            };
            for integration in list.entries() {
                let untold = deaf(integration, word);
                let keys = match word {
                    "pagerduty" => pagerduty(integration, global, notes),
                    "slack" => slack(integration, global, notes),
                    "webhook" => webhook(integration, notes),
                    "email" => mail(integration, global, notes),
                    "opsgenie" => opsgenie(integration, global, notes),
                    "telegram" => telegram(integration, global, notes),
                    "discord" => hook("discord", integration, notes),
                    "msteamsv2" => hook("msteams", integration, notes),
                    _ => {
                        notes.say(integration.line, format!("a `{key}` entry of receiver `{name}` is left out: {NO_TYPE}"));
                        continue;
                    }
                };
                let article = if word.starts_with(['e', 'o']) { "an" } else { "a" };
                integration.tell_rest(&format!("{article} {word} receiver"), NO_TEXTS, notes);
                match untold.filter(|_| keys.is_some()) {
                    Some(line) => silent.push(line),
                    None => hearing += u32::from(keys.is_some()),
                }
                made.extend(keys.map(|keys| (word.to_owned(), keys)));
            }
        }
        let alone = made.len() == 1;
        let mut members = Vec::new();
        for (word, keys) in made {
            let base = if alone { name.clone() } else { format!("{name}-{word}") };
            let free = |candidate: &String| !receivers.iter().any(|known| known.name == *candidate);
            let name = std::iter::once(base.clone()).chain((2u32..).map(|number| format!("{base}-{number}"))).find(free).unwrap_or(base);
            members.push(name.clone());
            receivers.push(Receiver { name, keys });
        }
        let send_resolved = silent.is_empty() || hearing > 0;
        for line in silent.into_iter().filter(|_| send_resolved) {
            notes.say(
                line,
                "this one hears of ends too (`send_resolved: false`, as mail and Slack have it unless they say otherwise, is left out): others \
                 of the receiver do, and a route tells all of them or none",
            );
        }
        groups.push(Group { name, members, send_resolved });
    }
    if let Some(global) = global {
        global.tell_rest("`global`", "no receiver here needs it, or Watchfire has no counterpart", notes);
    }
    (receivers, groups)
}
