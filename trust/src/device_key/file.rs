//! Keys of devices as PKCS#8 in PEM. They are not sealed: a device has nobody to type a passphrase.

use std::fmt;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use pkcs8::der::pem::LineEnding;
use zeroize::Zeroizing;

use super::{DeviceKey, DeviceSigner};
use crate::key::sealed::random;
use crate::key::{KeyError, PublicKey};

/// Keys that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ed25519.
    Ed25519,
    /// P-256.
    P256,
}

/// A device's private key in memory. It is zeroed when dropped and never shown.
pub enum DeviceFileKey {
    /// Ed25519.
    Ed25519(ed25519_dalek::SigningKey),
    /// P-256.
    P256(p256::ecdsa::SigningKey),
}

/// Draws of a P-256 key: one in 2^32 is none, so two failures mean that the bytes are not random.
const DRAWS_MAX: usize = 4;

impl DeviceFileKey {
    /// The key of 32 random bytes, if they are one of this kind.
    #[must_use]
    pub fn from_seed(kind: Kind, seed: &[u8; 32]) -> Option<Self> {
        match kind {
            Kind::Ed25519 => Some(Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed))),
            Kind::P256 => p256::ecdsa::SigningKey::from_slice(seed).ok().map(Self::P256),
        }
    }

    /// A new key.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn generate(kind: Kind) -> Result<Self, KeyError> {
        for _ in 0..DRAWS_MAX {
            let mut seed = Zeroizing::new([0; 32]);
            random(&mut *seed)?;
            if let Some(key) = Self::from_seed(kind, &seed) {
                return Ok(key);
            }
        }
        Err(KeyError::NotAKey("the system's random bytes make no key".into()))
    }

    /// A key from its PEM, which is not sealed.
    ///
    /// # Errors
    /// If it is no key of Ed25519 or P-256.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self::P256(key));
        }
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(pem);
        let why = |_| KeyError::NotAKey("no private key of Ed25519 or P-256 in PEM".into());
        key.map(Self::Ed25519).map_err(why)
    }

    /// The key as PEM that `openssl pkey` reads.
    #[must_use]
    pub fn pem(&self) -> Zeroizing<String> {
        let pem = match self {
            Self::Ed25519(key) => {
                // Version 1 of PKCS#8, without the public key: openssl 3.0 does not read the other.
                let bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
                bytes.to_pkcs8_pem(LineEnding::LF)
            }
            Self::P256(key) => key.to_pkcs8_pem(LineEnding::LF),
        };
        pem.expect("what we encode ourselves is well formed")
    }
}

impl DeviceSigner for DeviceFileKey {
    fn device_key(&self) -> DeviceKey {
        match self {
            Self::Ed25519(key) => {
                DeviceKey::Ed25519(PublicKey::new(key.verifying_key().to_bytes()))
            }
            Self::P256(key) => DeviceKey::P256(*key.verifying_key()),
        }
    }

    fn sign_receipt(&self, message: &[u8]) -> Result<[u8; 64], String> {
        Ok(match self {
            Self::Ed25519(key) => key.sign(message).to_bytes(),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::signature::Signer::sign(key, message);
                signature.to_bytes().into()
            }
        })
    }
}

impl fmt::Debug for DeviceFileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeviceFileKey").field(&self.device_key()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_pem_and_are_never_shown() {
        for kind in [Kind::Ed25519, Kind::P256] {
            let key = DeviceFileKey::from_seed(kind, &[0xab; 32]).expect("a key");
            let back = DeviceFileKey::from_pem(&key.pem()).expect("PEM");
            assert_eq!(back.device_key(), key.device_key());
            let signature = back.sign_receipt(b"message").expect("signed");
            assert!(key.device_key().verifies(b"message", &signature));
            let shown = format!("{key:?}").to_lowercase();
            assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
            let new = DeviceFileKey::generate(kind).expect("made");
            assert_ne!(new.device_key(), key.device_key());
        }
        assert!(DeviceFileKey::from_pem("no key").is_err());
        assert!(DeviceFileKey::from_seed(Kind::P256, &[0xff; 32]).is_none());
    }
}
