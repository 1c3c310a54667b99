//! Keys that devices sign receipts with: Ed25519, or P-256 where a TPM holds them.
//!
//! - [`mod@file`]: those in files.

pub mod file;

use std::fmt;

use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use sha2::{Digest, Sha256};

use crate::key::{PublicKey, Signer};

/// A device's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceKey {
    /// Ed25519, RFC 8032.
    Ed25519(PublicKey),
    /// ECDSA over P-256 with SHA-256, FIPS 186-5: TPM hardware has no Ed25519.
    P256(p256::ecdsa::VerifyingKey),
}

/// Signs for a device, wherever its private key is kept.
pub trait DeviceSigner {
    /// The public half.
    fn device_key(&self) -> DeviceKey;

    /// A signature: 64 bytes, for P-256 `r` and `s` of 32 bytes each (RFC 9053, 2.1).
    ///
    /// # Errors
    /// If what holds the key does not sign; the text says why.
    fn sign_receipt(&self, message: &[u8]) -> Result<[u8; 64], String>;
}

impl DeviceKey {
    /// A P-256 key of this SEC 1 point, compressed or not; nothing if it is none.
    #[must_use]
    pub fn p256(point: &[u8]) -> Option<Self> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(Self::P256)
    }

    /// A public key in the PEM form of RFC 5480 or RFC 8410.
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        let p256 = || p256::ecdsa::VerifyingKey::from_public_key_pem(pem).ok().map(Self::P256);
        PublicKey::from_pem(pem).ok().map(Self::Ed25519).or_else(p256)
    }

    /// SHA-256 over the public key as a certificate has it: 32 bytes, or the uncompressed point.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        match self {
            Self::Ed25519(key) => Sha256::digest(key.bytes()).into(),
            Self::P256(key) => Sha256::digest(key.to_sec1_point(false).as_bytes()).into(),
        }
    }

    /// The first 16 bytes of its digest.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(&self.digest()[..16]);
        id
    }

    /// The key as certificates have it (RFC 5280, 4.1.2.7); nothing if it is no point of the curve.
    #[must_use]
    pub fn der(&self) -> Option<Vec<u8>> {
        let document = match self {
            Self::Ed25519(key) => {
                let key = ed25519_dalek::VerifyingKey::from_bytes(key.bytes()).ok()?;
                ed25519_dalek::pkcs8::EncodePublicKey::to_public_key_der(&key).ok()?
            }
            Self::P256(key) => key.to_public_key_der().ok()?,
        };
        Some(document.into_vec())
    }

    /// What kind it is, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "Ed25519",
            Self::P256(_) => "P-256",
        }
    }

    /// A signature of P-256, `r` and `s` of 32 bytes each, as TLS and certificates have it
    /// (RFC 3279, 2.2.3); nothing if it cannot be one.
    #[must_use]
    pub fn p256_signature_der(signature: &[u8; 64]) -> Option<Vec<u8>> {
        let signature = p256::ecdsa::Signature::from_slice(signature).ok()?;
        Some(signature.to_der().as_bytes().to_vec())
    }

    /// Whether `signature` is of this key over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        match self {
            Self::Ed25519(key) => key.verifies(message, signature),
            Self::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

/// A signer of any kind, as that of a device.
pub struct OfSigner<'a>(pub &'a dyn Signer);

impl fmt::Debug for OfSigner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OfSigner").field(self.0.public()).finish()
    }
}

impl DeviceSigner for OfSigner<'_> {
    fn device_key(&self) -> DeviceKey {
        DeviceKey::Ed25519(self.0.public().clone())
    }

    fn sign_receipt(&self, message: &[u8]) -> Result<[u8; 64], String> {
        crate::key::sign_checked(self.0, message).map_err(|error| error.to_string())
    }
}
