//! The header of RFC 5424, behind `<priority>1 `. Pure. Fails: gives nothing where a part is not what the RFC says.

use std::borrow::Cow;

use super::message::Message;
use crate::record::{Attribute, Attributes};
use model::time::Timestamp;

/// Reads `TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]`.
pub(super) fn read(header: &str, limit: usize) -> Option<Message<'_>> {
    let mut rest = header;
    let mut part = || {
        let (part, after) = rest.split_once(' ')?;
        rest = after;
        (!part.is_empty()).then_some(part)
    };
    let (time_text, host, app, process, id) = (part()?, part()?, part()?, part()?, part()?);
    let time = match time_text {
        "-" => None,
        text => Some(text.parse::<Timestamp>().ok().and_then(|time| u64::try_from(time.nanos()).ok())?),
    };
    let mut data = Attributes::default();
    let rest = structured_data(rest, limit, &mut data)?;
    let text = match rest.strip_prefix(' ') {
        Some(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        None if rest.is_empty() => "",
        None => return None,
    };
    let nil = |part| Some(part).filter(|part| *part != "-");
    Some(Message {
        version: Some(1),
        time,
        time_text,
        host: nil(host),
        app: nil(app),
        process: nil(process),
        id: nil(id),
        data,
        text,
        ..Message::default()
    })
}

/// `-`, or elements one after the other; gives what follows them.
fn structured_data<'a>(text: &'a str, limit: usize, to: &mut Attributes<'a>) -> Option<&'a str> {
    if let Some(rest) = text.strip_prefix('-') {
        return Some(rest);
    }
    let mut rest = text.strip_prefix('[')?;
    loop {
        rest = element(rest, limit, to)?;
        match rest.strip_prefix('[') {
            Some(next) => rest = next,
            None => return Some(rest),
        }
    }
}

/// `id name="value" ...]`, behind its bracket.
fn element<'a>(text: &'a str, limit: usize, to: &mut Attributes<'a>) -> Option<&'a str> {
    let end = text.find([' ', ']', '=', '"']).filter(|end| *end > 0)?;
    let (id, mut rest) = text.split_at(end);
    if rest.starts_with(']') {
        // An element without parameters says that it is there.
        to.push(Attribute::text(format!("syslog.{id}"), ""), limit);
    }
    loop {
        if let Some(after) = rest.strip_prefix(']') {
            return Some(after);
        }
        rest = rest.strip_prefix(' ')?.trim_start_matches(' ');
        if rest.starts_with(']') {
            continue;
        }
        let (name, value) = rest.split_once("=\"")?;
        if name.is_empty() || name.contains([' ', ']', '"', '=']) {
            return None;
        }
        let (value, after) = quoted(value)?;
        to.push(Attribute::text(format!("syslog.{id}.{name}"), value), limit);
        rest = after;
    }
}

/// A value up to its quote; `\"`, `\\` and `\]` stand for the second character, any other backslash for itself.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                escaped @ ('"' | '\\' | ']') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(message: &Message<'_>) -> Vec<String> {
        message.data.list.iter().map(|pair| format!("{}={}", pair.key, pair.value.text())).collect()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let message =
            read("2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8", 9)
                .unwrap();
        assert_eq!(
            (message.host, message.app, message.process, message.id),
            (Some("mymachine.example.com"), Some("su"), None, Some("ID47"))
        );
        assert_eq!((message.time, message.text), (Some(1_065_910_455_003_000_000), "'su root' failed for lonvick on /dev/pts/8"));
        let message = read("2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.", 9).unwrap();
        assert_eq!((message.time, message.process), (Some(1_061_727_255_000_003_000), Some("8710")));
        let both = r#"2003-10-11T22:14:15.003Z m e - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"][examplePriority@32473 class="high"]"#;
        let message = read(both, 9).unwrap();
        assert_eq!(
            data(&message),
            [
                "syslog.exampleSDID@32473.iut=3",
                "syslog.exampleSDID@32473.eventSource=Application",
                "syslog.exampleSDID@32473.eventID=1011",
                "syslog.examplePriority@32473.class=high"
            ]
        );
        assert_eq!(message.text, "");
    }

    #[test]
    fn escapes_and_elements_without_parameters() {
        let message = read(r#"- - - - - [a x="q\"b\\s\]e\n"][b][c ] [not data]"#, 9).unwrap();
        assert_eq!(data(&message), [r#"syslog.a.x=q"b\s]e\n"#, "syslog.b="]);
        assert_eq!(message.text, "[not data]");
        let cut = read(r#"- - - - - [a x="1" y="2" z="3"]"#, 2).unwrap();
        assert_eq!((cut.data.list.len(), cut.data.cut), (2, 1));
    }

    #[test]
    fn what_is_not_the_rfc_is_nothing() {
        for text in [
            "",
            "-",
            "- - - - -",
            "- - - - - x",
            "- - - - - -x",
            "- - - - - [",
            "- - - - - [a",
            r#"- - - - - [a x]"#,
            r#"- - - - - [a x="1]"#,
            r#"- - - - - [a x="1\"#,
            r#"- - - - - [a x="1"]m"#,
            r#"- - - - - [=""]"#,
            "2003-10-11 - - - - - m",
            "1960-10-11T22:14:15Z - - - - - m",
            " - - - - - m",
        ] {
            assert!(read(text, 9).is_none(), "{text}");
        }
    }
}
