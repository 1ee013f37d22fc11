//! Names of what holds a secret as a whole: attributes, fields. A name counts where it is the last words of a key, whichever way the
//! key parts its words: `api_key` is that of `x-api-key`, `stripeApiKey` and `shop.API_KEY`, and not of `api_key_id` or `mapikey`. Pure.

/// Names beside the configured ones, where these hold all that are built in.
const FURTHER: [&str; 12] = [
    "token",
    "credential",
    "credentials",
    "cookies",
    "jwt",
    "accesskey",
    "signingkey",
    "encryptionkey",
    "passwordconfirmation",
    "jsessionid",
    "phpsessid",
    "sessid",
];

/// What ends with one of [`FURTHER`] and is no secret: places in lists, parts of languages.
const HARMLESS: [&str; 20] = [
    "pagetoken",
    "nexttoken",
    "continuationtoken",
    "paginationtoken",
    "synctoken",
    "canceltoken",
    "cancellationtoken",
    "stoptoken",
    "eostoken",
    "bostoken",
    "padtoken",
    "unexpectedtoken",
    "resumetoken",
    "cursortoken",
    "skiptoken",
    "deltatoken",
    "requesttoken",
    "clienttoken",
    "idempotencytoken",
    "devicetoken",
];

/// A name as it is compared: small letters without what parts them. `None` where nothing stays.
pub(super) fn plain(name: &str) -> Option<String> {
    let plain: String = name.chars().filter(|c| !u8::try_from(*c).is_ok_and(parts)).map(|c| c.to_ascii_lowercase()).collect();
    (!plain.is_empty()).then_some(plain)
}

/// The last letter, large or small, as a bit; other letters may share it.
#[inline]
pub(super) fn ending(name: &str) -> u32 {
    name.bytes().next_back().map_or(0, |last| 1 << (last & 31))
}

/// The last letters of [`FURTHER`].
pub(super) fn further_endings() -> u32 {
    FURTHER.iter().fold(0, |all, name| all | ending(name))
}

/// Whether a value under this key is a secret by one of [`FURTHER`]. Ids of sessions are none: most of them tell visits apart.
pub(super) fn further(key: &str) -> bool {
    FURTHER.iter().any(|name| ends(key, name)) && !harmless(key)
}

/// Whether the key ends with what is no secret.
pub(super) fn harmless(key: &str) -> bool {
    HARMLESS.iter().any(|name| ends(key, name))
}

/// Whether the key's last words are those of a plain name.
#[inline]
pub(super) fn ends(key: &str, name: &str) -> bool {
    let key = key.as_bytes();
    let mut at = key.len();
    for wanted in name.bytes().rev() {
        at = match key[..at].iter().rposition(|byte| !parts(*byte)) {
            Some(letter) if key[letter].to_ascii_lowercase() == wanted => letter,
            Some(_) | None => return false,
        };
    }
    begins_word(key, at)
}

/// What stands between words.
fn parts(byte: u8) -> bool {
    matches!(byte, b'_' | b'-' | b'.' | b'/' | b' ')
}

/// Whether a word begins there: behind what is no letter, or with a capital behind a small letter or before one (`dbToken`, `DBToken`).
fn begins_word(key: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).and_then(|before| key.get(before)) else { return true };
    let small = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_lowercase);
    let capital = key.get(at).is_some_and(u8::is_ascii_uppercase);
    (before.is_ascii() && !before.is_ascii_alphabetic()) || (capital && (small(Some(before)) || small(key.get(at + 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_last_words_of_a_key() {
        for (key, name) in [
            ("password", "password"),
            ("PASSWORD", "password"),
            ("userPassword", "password"),
            ("DBPassword", "password"),
            ("db_password", "password"),
            ("db.PASSWORD", "password"),
            ("oauth2Token", "token"),
            ("x-api-key", "api_key"),
            ("stripeApiKey", "api_key"),
            ("APIKey", "apikey"),
            ("http.request.header.Set-Cookie", "set_cookie"),
            ("my key", "my.key"),
        ] {
            let name = plain(name).unwrap();
            assert!(ends(key, &name) && ending(key) == ending(&name), "{key} {name}");
        }
        for (key, name) in [
            ("tokens", "token"),
            ("token_count", "token"),
            ("mytoken", "token"),
            ("MYTOKEN", "token"),
            ("password_changed_at", "password"),
            ("wörtoken", "token"),
            ("ötoken", "token"),
            ("word", "password"),
            ("", "token"),
            ("_", "token"),
        ] {
            assert!(!ends(key, &plain(name).unwrap()), "{key} {name}");
        }
        assert_eq!((plain("X-Api_Key").as_deref(), plain("_-. /")), (Some("xapikey"), None));
    }

    #[test]
    fn tokens_that_open_something_are_told_from_others() {
        for key in ["token", "apiToken", "user.credentials", "JSESSIONID", "cookies", "s3.accessKey"] {
            assert!(further(key), "{key}");
        }
        for key in [
            "next_page_token",
            "nextToken",
            "eos_token",
            "session.id",
            "session_id",
            "rum.sessionId",
            "resumeToken",
            "access_key_id",
            "jwt_issuer",
            "max_tokens",
        ] {
            assert!(!further(key), "{key}");
        }
        assert!(FURTHER.iter().chain(&HARMLESS).all(|name| plain(name).as_deref() == Some(*name)), "all are plain");
    }
}
