//! Private keys as PKCS#8 in PEM (RFC 5958, RFC 8410), sealed with a passphrase by PBES2
//! (RFC 8018): scrypt (RFC 7914) and AES-256-CBC, which `openssl pkey` reads.

use std::fmt;

use ed25519_dalek::pkcs8::KeypairBytes;
use ed25519_dalek::{Signer as _, SigningKey};
use pkcs8::der::SecretDocument;
use pkcs8::der::pem::{LineEnding, PemLabel};
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::{
    DecodePrivateKey, EncodePrivateKey, EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, pkcs5,
};
use zeroize::Zeroizing;

use super::{KeyError, PublicKey, Signer};
use crate::limits::{KEY_ROUNDS_MAX, KEY_SCRYPT_LEN_MAX, PASSPHRASE_CHARS_MIN};

/// Logarithm of scrypt's cost N. With 8 blocks it takes 16 MiB: openssl refuses more than 32.
const LOG_N: u8 = 14;
/// Blocks of scrypt.
const R: u32 = 8;
/// Passes of scrypt: what N may not cost in memory is made up for in time (OWASP, password
/// storage: N = 2^14, r = 8, p = 5).
const P: u32 = 5;

/// An Ed25519 private key in memory. It is zeroed when dropped and never shown.
pub struct FileKey {
    key: SigningKey,
    public: PublicKey,
}

impl FileKey {
    /// The key of this seed (RFC 8032, 5.1.5): 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::new(SigningKey::from_bytes(seed))
    }

    /// A new key.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut *seed)?;
        Ok(Self::from_seed(&seed))
    }

    /// A key from its PEM. The passphrase is asked for only where the key is sealed.
    ///
    /// # Errors
    /// If it is no Ed25519 key, or the passphrase is wrong or not given.
    pub fn from_pem(
        pem: &str,
        passphrase: &mut dyn FnMut() -> Result<Zeroizing<String>, KeyError>,
    ) -> Result<Self, KeyError> {
        let not_a_key = |why: &dyn fmt::Display| KeyError::NotAKey(format!("no PKCS#8 key: {why}"));
        let (label, document) = SecretDocument::from_pem(pem).map_err(|error| not_a_key(&error))?;
        let opened = match label {
            PrivateKeyInfoRef::PEM_LABEL => document,
            EncryptedPrivateKeyInfoRef::PEM_LABEL => {
                let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
                    .map_err(|error| not_a_key(&error))?;
                affordable(&sealed)?;
                sealed.decrypt(passphrase()?.as_bytes()).map_err(|_| KeyError::WrongPassphrase)?
            }
            other => return Err(not_a_key(&format!("`{other}` in its place"))),
        };
        let key = SigningKey::from_pkcs8_der(opened.as_bytes())
            .map_err(|error| KeyError::NotAKey(format!("no Ed25519 private key: {error}")))?;
        Ok(Self::new(key))
    }

    /// The key sealed with a passphrase, as PEM.
    ///
    /// # Errors
    /// If the passphrase is too short, or the system has no random bytes.
    pub fn seal(&self, passphrase: &str) -> Result<Zeroizing<String>, KeyError> {
        if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(KeyError::PassphraseShort(PASSPHRASE_CHARS_MIN));
        }
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        random(&mut salt)?;
        random(&mut iv)?;
        let own = "what we encode ourselves is well formed";
        let cost = scrypt::Params::new(LOG_N, R, P).expect(own);
        let cipher = Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).expect(own);
        // Version 1 of PKCS#8, without the public key: openssl 3.0 does not read the other.
        let bytes = KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        let document = bytes.to_pkcs8_der().expect(own);
        let info = PrivateKeyInfoRef::try_from(document.as_bytes()).expect(own);
        let sealed = info.encrypt_with_params(cipher, passphrase.as_bytes()).expect(own);
        Ok(sealed.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).expect(own))
    }

    fn new(key: SigningKey) -> Self {
        let public = PublicKey::new(key.verifying_key().to_bytes());
        Self { key, public }
    }
}

impl Signer for FileKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        Ok(self.key.sign(message).to_bytes())
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Fills them with bytes that nobody can guess.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(bytes).map_err(|error| KeyError::Io(std::io::Error::other(error)))
}

/// Refuses key files that name a cost which would take this machine's memory or an hour.
fn affordable(sealed: &EncryptedPrivateKeyInfoRef<'_>) -> Result<(), KeyError> {
    let pkcs5::EncryptionScheme::Pbes2(parameters) = &sealed.encryption_algorithm else {
        return Err(KeyError::NotAKey("sealed by a scheme that is no longer safe".into()));
    };
    let is_affordable = match &parameters.kdf {
        Kdf::Scrypt(cost) => {
            let (n, r) = (cost.cost_parameter, u64::from(cost.block_size));
            let block = r.saturating_mul(128);
            let rounds = n.saturating_mul(u64::from(cost.parallelization)).saturating_mul(r);
            let is_small = n.saturating_mul(block) <= KEY_SCRYPT_LEN_MAX;
            // pkcs5 takes the logarithm without a look: of no power of two, 0 for one, it panics.
            n > 1 && n.is_power_of_two() && is_small && rounds <= KEY_ROUNDS_MAX
        }
        Kdf::Pbkdf2(cost) => u64::from(cost.iteration_count) <= KEY_ROUNDS_MAX,
        _ => false,
    };
    match is_affordable {
        true => Ok(()),
        false => Err(KeyError::NotAKey("opening it would cost more than any key should".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(passphrase: &str) -> impl FnMut() -> Result<Zeroizing<String>, KeyError> + use<> {
        let passphrase = Zeroizing::new(passphrase.to_owned());
        move || Ok(passphrase.clone())
    }

    #[test]
    fn sealed_key_opens_with_its_passphrase_alone() {
        let key = FileKey::from_seed(&[9; 32]);
        let pem = key.seal("correct horse").expect("sealed");
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        let opened = FileKey::from_pem(&pem, &mut given("correct horse")).expect("opened");
        assert_eq!(opened.public(), key.public());
        let signature = opened.sign(b"message").expect("signed");
        assert!(key.public().verifies(b"message", &signature));
        let refused = FileKey::from_pem(&pem, &mut given("correct house"));
        assert!(matches!(refused, Err(KeyError::WrongPassphrase)));
        assert_ne!(*pem, *key.seal("correct horse").expect("sealed"), "salt and IV are new");
    }

    #[test]
    fn short_passphrases_are_refused() {
        let refused = FileKey::from_seed(&[9; 32]).seal("seven77");
        assert!(matches!(refused, Err(KeyError::PassphraseShort(8))));
    }

    #[test]
    fn private_bytes_are_never_shown() {
        let key = FileKey::from_seed(&[0xab; 32]);
        let shown = format!("{key:?} {key:#?}").to_lowercase();
        assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
    }

    #[test]
    fn keys_of_other_kinds_and_costs_are_refused() {
        let never = &mut || -> Result<Zeroizing<String>, KeyError> {
            unreachable!("no passphrase is asked for")
        };
        for pem in ["", "-----BEGIN X-----\n-----END X-----\n", "no key"] {
            assert!(matches!(FileKey::from_pem(pem, never), Err(KeyError::NotAKey(_))), "{pem}");
        }
        // scrypt with N = 2^24 and r = 8 takes 16 GiB.
        let costly = costly_pem();
        let refused = FileKey::from_pem(&costly, never).expect_err("refused").to_string();
        assert!(refused.contains("cost"), "{refused}");
    }

    fn costly_pem() -> String {
        let cost = scrypt::Params::new(24, 8, 1).expect("allowed by scrypt");
        let cipher = Parameters::generate_scrypt_aes256cbc(cost, &[0; 16], [0; 16]).expect("made");
        let sealed = EncryptedPrivateKeyInfoRef {
            encryption_algorithm: cipher.into(),
            encrypted_data: pkcs8::der::asn1::OctetStringRef::new(&[0; 48]).expect("short"),
        };
        let document = SecretDocument::encode_msg(&sealed).expect("encoded");
        let pem = document.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF);
        pem.expect("encoded").to_string()
    }
}
