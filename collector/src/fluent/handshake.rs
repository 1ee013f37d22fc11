//! The greeting of the forward protocol where a shared key is set: HELO with a nonce, PING with a digest of it and the key, PONG with
//! ours. Pure. Fails: with what the PONG says to the sender.

use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::msgpack::{Head, head};

/// Why a sender is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    /// Not a PING.
    #[error("a PING was expected")]
    NoPing,
    /// Another key.
    #[error("shared_key mismatch")]
    Key,
}

/// What we call ourselves.
const HOST: &[u8] = b"watchfire";

fn text(to: &mut Vec<u8>, text: &[u8]) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    to.extend_from_slice(&[0xd9, length]);
    to.extend_from_slice(&text[..usize::from(length)]);
}

fn digest(salt: &[u8], host: &[u8], nonce: &[u8], key: &[u8]) -> String {
    let mut hash = Sha512::new();
    for part in [salt, host, nonce, key] {
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// `["HELO", {"nonce": ..., "auth": "", "keepalive": true}]`
pub(crate) fn helo(nonce: &[u8]) -> Vec<u8> {
    let mut message = vec![0x92];
    text(&mut message, b"HELO");
    message.push(0x83);
    text(&mut message, b"nonce");
    text(&mut message, nonce);
    text(&mut message, b"auth");
    text(&mut message, b"");
    text(&mut message, b"keepalive");
    message.push(0xc3);
    message
}

/// Checks `["PING", host, salt, digest, user, password]`; the PONG to answer with, and whether the sender may stay.
pub(crate) fn pong(ping: &[u8], nonce: &[u8], key: &str) -> (Vec<u8>, Result<(), Stranger>) {
    let checked = check(ping, nonce, key);
    let (outcome, reason, proof) = match &checked {
        Ok(salt) => (0xc3, String::new(), digest(salt, HOST, nonce, key.as_bytes())),
        Err(stranger) => (0xc2, stranger.to_string(), String::new()),
    };
    let mut message = vec![0x95];
    text(&mut message, b"PONG");
    message.push(outcome);
    text(&mut message, reason.as_bytes());
    text(&mut message, HOST);
    text(&mut message, proof.as_bytes());
    (message, checked.map(|_| ()))
}

/// The salt of a sender who knows the key.
fn check(ping: &[u8], nonce: &[u8], key: &str) -> Result<Vec<u8>, Stranger> {
    let mut rest = ping;
    let Ok(Head::Array(4..=8)) = head(&mut rest) else { return Err(Stranger::NoPing) };
    let mut next_text = || match head(&mut rest) {
        Ok(Head::Text(text)) => Ok(text),
        _ => Err(Stranger::NoPing),
    };
    if next_text()? != b"PING" {
        return Err(Stranger::NoPing);
    }
    let (host, salt, proof) = (next_text()?, next_text()?, next_text()?);
    let wanted = digest(salt, host, nonce, key.as_bytes());
    if bool::from(wanted.as_bytes().ct_eq(proof)) { Ok(salt.to_vec()) } else { Err(Stranger::Key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(key: &str) -> Vec<u8> {
        let mut message = vec![0x96];
        text(&mut message, b"PING");
        text(&mut message, b"client");
        text(&mut message, b"salt");
        text(&mut message, digest(b"salt", b"client", b"nonce", key.as_bytes()).as_bytes());
        text(&mut message, b"");
        text(&mut message, b"");
        message
    }

    #[test]
    fn who_knows_the_key_is_let_in_and_gets_our_proof() {
        let (answer, outcome) = pong(&ping("secret"), b"nonce", "secret");
        assert_eq!(outcome, Ok(()));
        let proof = digest(b"salt", b"watchfire", b"nonce", b"secret");
        assert!(answer.starts_with(b"\x95\xd9\x04PONG\xc3") && answer.ends_with(proof.as_bytes()));
    }

    #[test]
    fn who_does_not_is_told_so() {
        for (bytes, nonce, stranger) in [
            (ping("wrong"), &b"nonce"[..], Stranger::Key),
            (ping("secret"), b"another", Stranger::Key),
            (b"\x93\xa3tag\x01\x80".to_vec(), b"nonce", Stranger::NoPing),
            (b"\xc0".to_vec(), b"nonce", Stranger::NoPing),
            (Vec::new(), b"nonce", Stranger::NoPing),
            (ping("secret")[..20].to_vec(), b"nonce", Stranger::NoPing),
        ] {
            let (answer, outcome) = pong(&bytes, nonce, "secret");
            assert_eq!(outcome, Err(stranger));
            assert!(answer.starts_with(b"\x95\xd9\x04PONG\xc2"));
            assert!(!answer.windows(6).any(|window| window == b"secret"));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = pong(&bytes, b"nonce", "secret");
        }
    }
}
