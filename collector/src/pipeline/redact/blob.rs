//! Bytes: they are stored as base64, so a secret in them stands in no text that redaction sees. Tells, without reading far into what is
//! none, whether a text is the base64 of other text. In: any text. Out: what it stands for, where that is UTF-8. Never fails. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// No shorter base64 holds a secret: that of `pwd=x`.
const SHORTEST: usize = 8;
/// Of a byte that is no digit of base64.
const NONE: u8 = 0xff;
/// What digits are worth.
const DIGITS: [u8; 256] = digits();

const fn digits() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [NONE; 256];
    let mut at = 0;
    while at < alphabet.len() {
        table[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    table
}

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

/// Whether all groups are base64 of what may be UTF-8. Other words and ids are told by their first bytes, nearly always.
fn may_hold_text(base64: &[u8]) -> bool {
    if base64.len() < SHORTEST || !base64.len().is_multiple_of(4) {
        return false;
    }
    // How many bytes of a character are still to come.
    let mut missing = 0u32;
    // The last group may be padded: whoever decodes looks at it.
    base64[..base64.len() - 4].chunks_exact(4).all(|group| {
        let mut bits = 0u32;
        for digit in group {
            let worth = DIGITS[usize::from(*digit)];
            if worth == NONE {
                return false;
            }
            bits = (bits << 6) | u32::from(worth);
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        bytes.iter().all(|byte| {
            let (fits, then) = match (missing, *byte) {
                (0, 0..=0x7f) => (true, 0),
                (0, 0xc2..=0xdf) => (true, 1),
                (0, 0xe0..=0xef) => (true, 2),
                (0, 0xf0..=0xf4) => (true, 3),
                (1.., 0x80..=0xbf) => (true, missing - 1),
                _ => (false, 0),
            };
            missing = then;
            fits
        })
    })
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
