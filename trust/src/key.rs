//! Public keys, their ids, and signers.

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An Ed25519 public key, RFC 8032: 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// The id of a key in TUF metadata: SHA-256 over the canonical JSON of the key (TUF 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

/// Signs, wherever its private key is kept: a file, a token, another machine.
pub trait Signer {
    /// The public half.
    fn public(&self) -> &PublicKey;

    /// An Ed25519 signature over `message`: 64 bytes.
    ///
    /// # Errors
    /// If the token or the machine that holds the key does not sign; the text says why.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], String>;
}

impl PublicKey {
    /// A key of these 32 bytes. Whether they are a point of the curve is seen when it verifies.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as TUF metadata has it (TUF 4.2).
    #[must_use]
    pub fn tuf(&self) -> Value {
        let public = hex::encode(self.0);
        json!({"keytype": "ed25519", "keyval": {"public": public}, "scheme": "ed25519"})
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        // Members are in order and there is nothing to escape: this is the canonical form.
        let public = hex::encode(self.0);
        let canonical = format!(
            r#"{{"keytype":"ed25519","keyval":{{"public":"{public}"}},"scheme":"ed25519"}}"#
        );
        KeyId(hex::encode(Sha256::digest(canonical)))
    }

    /// Whether `signature` is of this key over `message`. Strict: small-order keys and malleable
    /// signatures are refused.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
        })
    }
}

impl KeyId {
    /// 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_other_tuf_tools_compute() {
        crate::provider::install();
        let key = PublicKey::new([7; 32]);
        let tuf: sigstore_tuf::Key = serde_json::from_value(key.tuf()).expect("a TUF key");
        assert_eq!(tuf.key_id().expect("an id"), key.id().as_str());
    }

    #[test]
    fn keys_of_small_order_verify_nothing() {
        // The neutral element signs anything for a lax verifier.
        let mut point = [0; 32];
        point[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!PublicKey::new(point).verifies(b"any", &signature));
    }
}
