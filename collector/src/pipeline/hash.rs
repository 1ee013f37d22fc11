//! Keyed hashes of values: equal values stay equal, so that they can still be joined, and nobody without the key can tell or try
//! them. HMAC-SHA-256 (RFC 2104), cut to 128 bits. Pure.

use model::secret::Secret;
use sha2::{Digest, Sha256};

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// Hashes with one key.
#[derive(Clone)]
pub(crate) struct Hasher {
    inner: Sha256,
    outer: Sha256,
}

impl Hasher {
    /// With this key.
    pub(crate) fn new(key: &Secret) -> Self {
        let mut block = [0u8; BLOCK];
        let key = key.reveal().as_bytes();
        if key.len() > BLOCK {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let padded = |pad: u8| Sha256::new_with_prefix(block.map(|byte| byte ^ pad));
        Hasher { inner: padded(0x36), outer: padded(0x5C) }
    }
    /// 32 hexadecimal digits.
    pub(crate) fn hash(&self, value: &str) -> String {
        let inner = self.inner.clone().chain_update(value.as_bytes()).finalize();
        let outer = self.outer.clone().chain_update(inner).finalize();
        hex::encode(&outer[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4231, cut.
    #[test]
    fn it_is_hmac_sha_256() {
        let hash = |key: &[u8], text: &str| Hasher::new(&Secret::new(String::from_utf8(key.to_vec()).unwrap())).hash(text);
        assert_eq!(hash(&[0x0b; 20], "Hi There"), "b0344c61d8db38535ca8afceaf0bf12b");
        assert_eq!(hash(b"Jefe", "what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c7");
        assert_ne!(hash(b"a", "x"), hash(b"b", "x"));
        // A key longer than a block is hashed first; computed with Python's hmac.
        assert_eq!(hash(&[b'k'; 100], "x"), "8c1858bff6cf9cb73708b4b54f43bca6");
    }
}
