//! Cryptography for the TUF client: Ed25519 alone, verified strictly.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256, Sha384, Sha512};
use sigstore_crypto::provider::{CryptoProvider, HashContext};
use sigstore_crypto::{Error, SigningScheme};
use sigstore_types::HashAlgorithm;

/// Makes the client verify with this provider; what the process installed before stays.
pub(crate) fn install() {
    // An error says that one is installed, and only this crate installs any.
    sigstore_crypto::install_default_provider(&Strict).ok();
}

/// Ed25519 by `verify_strict`: no keys of small order, no malleable signatures.
#[derive(Debug)]
struct Strict;

impl CryptoProvider for Strict {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        match algorithm {
            HashAlgorithm::Sha2256 => Ok(Box::new(Context(Sha256::new()))),
            HashAlgorithm::Sha2384 => Ok(Box::new(Context(Sha384::new()))),
            HashAlgorithm::Sha2512 => Ok(Box::new(Context(Sha512::new()))),
            other => Err(Error::UnsupportedAlgorithm(format!("hash {other:?}"))),
        }
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        public: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        if scheme != SigningScheme::Ed25519 {
            #[cfg(feature = "all-key-types")]
            return sigstore_crypto::aws_lc_provider().verify_raw(scheme, public, data, signature);
            #[cfg(not(feature = "all-key-types"))]
            return Err(Error::UnsupportedAlgorithm(format!("signatures {scheme:?}")));
        }
        let refused = |what: &str| Error::Verification(what.to_owned());
        let public = public.try_into().map_err(|_| refused("a key of another length"))?;
        let key =
            VerifyingKey::from_bytes(&public).map_err(|_| refused("no point of the curve"))?;
        let signature = Signature::from_slice(signature)
            .map_err(|_| refused("a signature of another length"))?;
        key.verify_strict(data, &signature).map_err(|_| refused("not by this key"))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        _: &[u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), Error> {
        Err(Error::UnsupportedAlgorithm(format!("prehashed {scheme:?}")))
    }
}

struct Context<H>(H);

impl<H: Digest + Send> HashContext for Context<H> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}
