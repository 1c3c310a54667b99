//! Public keys, their ids, and signers.
//!
//! - [`sealed`]: private keys as PKCS#8, sealed with a passphrase.
//! - [`key_file`]: those in files.
//! - [`uri`] and [`token`]: keys on PKCS#11 tokens.
//! - [`command`]: keys that a program signs with, such as those of a key service.

pub mod command;
pub mod error;
pub mod key_file;
pub mod sealed;
#[cfg(feature = "token")]
pub mod token;
pub mod uri;

use std::fmt;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePublicKey, EncodePublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use error::KeyError;

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
    /// If the token or the machine that holds the key does not sign.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError>;
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

    /// A key in the PEM form of RFC 8410, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// If it is no PEM, or a key of another kind, or one of small order.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|error| KeyError::NotAKey(format!("no Ed25519 public key in PEM: {error}")))?;
        if key.is_weak() {
            return Err(KeyError::NotAKey("a key of small order, which anybody can use".into()));
        }
        Ok(Self(key.to_bytes()))
    }

    /// The same key, if it is a point of the curve that not anybody can sign for.
    #[must_use]
    pub fn strong(self) -> Option<Self> {
        let is_strong = VerifyingKey::from_bytes(&self.0).is_ok_and(|key| !key.is_weak());
        is_strong.then_some(self)
    }

    /// The key in the PEM form of RFC 8410.
    ///
    /// # Errors
    /// If its bytes are no point of the curve.
    pub fn pem(&self) -> Result<String, KeyError> {
        let not_a_key = |error: &dyn fmt::Display| KeyError::NotAKey(error.to_string());
        let key = VerifyingKey::from_bytes(&self.0).map_err(|error| not_a_key(&error))?;
        key.to_public_key_pem(LineEnding::LF).map_err(|error| not_a_key(&error))
    }

    /// The key of a TUF key object, if it is an Ed25519 one in lower-case hexadecimal digits.
    #[must_use]
    pub fn from_tuf(key: &Value) -> Option<Self> {
        let is_ed25519 = key["keytype"] == "ed25519" && key["scheme"] == "ed25519";
        let public = key["keyval"]["public"].as_str().filter(|_| is_ed25519)?;
        let bytes: [u8; 32] = hex::decode(public).ok()?.try_into().ok()?;
        (hex::encode(bytes) == public).then_some(Self(bytes))
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

/// A signature over `message`, checked with the public key: a faulty signer must not pass.
///
/// # Errors
/// If the signer does not sign, or what it makes is not a signature of its key.
pub fn sign_checked(signer: &dyn Signer, message: &[u8]) -> Result<[u8; 64], KeyError> {
    let signature = signer.sign(message)?;
    match signer.public().verifies(message, &signature) {
        true => Ok(signature),
        false => Err(KeyError::WrongSignature),
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
    fn keys_come_back_from_pem_and_from_tuf() {
        let key = sealed::FileKey::from_seed(&[3; 32]).public().clone();
        assert_eq!(PublicKey::from_pem(&key.pem().expect("a key")).expect("PEM"), key);
        assert_eq!(PublicKey::from_tuf(&key.tuf()), Some(key.clone()));
        let mut upper = key.tuf();
        upper["keyval"]["public"] = hex::encode_upper(key.bytes()).into();
        assert_eq!(PublicKey::from_tuf(&upper), None);
    }

    #[test]
    fn keys_of_small_order_are_refused_and_verify_nothing() {
        let neutral = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
            -----END PUBLIC KEY-----\n";
        let refused = PublicKey::from_pem(neutral).expect_err("it is refused").to_string();
        assert!(refused.contains("small order"), "{refused}");
        // The neutral element signs anything for a lax verifier.
        let mut point = [0; 32];
        point[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!PublicKey::new(point).verifies(b"any", &signature));
    }
}
