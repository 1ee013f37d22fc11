//! Halves of surrogate pairs in JSON. What cuts a text after so many UTF-16 units (JavaScript's `slice`), or keeps bytes that are no text
//! (Python's `surrogateescape`), writes them as `\ud83d`, which JSON's grammar allows and no text can hold: as everywhere else they are
//! read as U+FFFD. In: a body. Out: the same with `\ufffd` in their place, which is as long. Never fails.

use std::borrow::Cow;

/// Length of `\uXXXX`.
const ESCAPE: usize = 6;

/// Which half an escape is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

/// The body without halves of pairs; itself where there are none.
pub(crate) fn mend(body: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = Cow::Borrowed(body);
    let mut at = 0;
    while let Some(found) = body[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        match half(&body[at..]) {
            // A backslash takes the next byte with it: `\\ud83d` is a backslash and letters.
            None => at += 2,
            Some(Half::High) if half(&body[at + ESCAPE..]) == Some(Half::Low) => at += 2 * ESCAPE,
            Some(Half::High | Half::Low) => {
                mended.to_mut()[at..at + ESCAPE].copy_from_slice(br"\ufffd");
                at += ESCAPE;
            }
        }
        if at >= body.len() {
            break;
        }
    }
    mended
}

/// The half that stands at the beginning.
fn half(bytes: &[u8]) -> Option<Half> {
    let [b'\\', b'u', b'd' | b'D', kind, c, d, ..] = bytes else { return None };
    let half = match kind {
        b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => Half::High,
        b'c'..=b'f' | b'C'..=b'F' => Half::Low,
        _ => return None,
    };
    (c.is_ascii_hexdigit() && d.is_ascii_hexdigit()).then_some(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        let mended = mend(json.as_bytes());
        assert_eq!(mended.len(), json.len());
        serde_json::from_slice(&mended).unwrap()
    }

    #[test]
    fn halves_become_the_replacement_character_and_pairs_stay() {
        for (json, expected) in [
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (r#""caf\udce9.txt""#, "caf\u{fffd}.txt"),
            (r#""\ud83d\ude00 \uD83D\uDE00""#, "\u{1f600} \u{1f600}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
            (r#""\\ud83d \\\ud83d""#, "\\ud83d \\\u{fffd}"),
            (r#""\ud7ff\ue000 plain""#, "\u{d7ff}\u{e000} plain"),
        ] {
            assert_eq!(text(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_well_is_not_copied() {
        for body in ["", "\\", "\\u", "{\"a\":\"\\\\ud83d \\n \\u00e9\"}", "\\ud83", "no escapes"] {
            assert!(matches!(mend(body.as_bytes()), Cow::Borrowed(same) if same == body.as_bytes()), "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_of_escapes_can_be_read(units in proptest::collection::vec(proptest::num::u16::ANY, 0..20), body in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let json: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            assert_eq!(text(&format!("\"{json}\"")), String::from_utf16_lossy(&units));
            assert_eq!(mend(&body).len(), body.len());
        }
    }
}
