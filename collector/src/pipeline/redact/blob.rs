//! Bytes: they are stored as base64, so a secret in them stands in no text that redaction sees. Tells, without reading far into what is
//! none, whether a text is the base64 of other text. In: any text. Out: what it stands for, where that is UTF-8. Never fails. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// No shorter base64 holds a secret: that of `pwd=x`. So much is looked at before all of a text is read, which tells nearly every other word.
const SHORTEST: usize = 8;

/// The text that stands behind base64 with its padding.
pub(super) fn decoded(base64: &str) -> Option<String> {
    if !may_hold_text(base64.as_bytes()) {
        return None;
    }
    String::from_utf8(STANDARD.decode(base64).ok()?).ok()
}

/// The base64 of a text.
pub(super) fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// Whether it begins as base64 of UTF-8 does; the last character of the beginning may be cut.
fn may_hold_text(base64: &[u8]) -> bool {
    if base64.len() < SHORTEST || !base64.len().is_multiple_of(4) {
        return false;
    }
    let mut bytes = [0; SHORTEST];
    let Ok(length) = STANDARD.decode_slice(&base64[..SHORTEST], &mut bytes) else { return false };
    std::str::from_utf8(&bytes[..length]).err().is_none_or(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_words_and_bytes() {
        for text in ["pwd=x", "pwd=xy", "pwd=xyz", "größer €5 🦀 und mehr", "a line\nand\u{0} another\t"] {
            assert_eq!(decoded(&encoded(text)).as_deref(), Some(text));
        }
        for bytes in
            [&[0xff, 0xfe, 0xfd, b'p', b'w', b'd', b'=', b'x'][..], &[b'a', b'b', b'c', b'd', b'e', b'f', 0xc3][..], &[0x80; 9][..]]
        {
            assert_eq!(decoded(&STANDARD.encode(bytes)), None, "{bytes:?}");
        }
        for word in ["", "GET", "checkout", "4bf92f3577b34da6a3ce929d0e0e4736", "cHdkPXg", "cHdk PXg=", "cHdkPXg=é", "cHdk=Xg=", "========"]
        {
            assert_eq!(decoded(word), None, "{word}");
        }
    }
}
