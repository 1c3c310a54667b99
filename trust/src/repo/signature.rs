//! Signature files: what one person's `sign` makes and `merge` takes. A few hundred bytes of JSON
//! that say which bytes were signed, by which key.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::{Envelope, malformed};
use super::error::RepoError;
use crate::key::{PublicKey, Signer, sign_checked};
use crate::limits::SIGNATURE_FILE_LEN_MAX;

/// What the files call themselves.
const SCHEMA: &str = "neap.signature.v1";

/// A signature over staged metadata. One that exists has verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureFile {
    /// The role that the metadata is of.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of the canonical bytes that were signed, in hexadecimal digits.
    pub digest: String,
    /// The key.
    pub key: PublicKey,
    /// The signature.
    pub signature: [u8; 64],
}

/// The file, member by member.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    digest: String,
    public: String,
    role: String,
    schema: String,
    signature: String,
    version: u64,
}

impl SignatureFile {
    /// Signs staged metadata.
    ///
    /// # Errors
    /// If the signer does not sign.
    pub fn make(role: &str, envelope: &Envelope, signer: &dyn Signer) -> Result<Self, RepoError> {
        Ok(Self {
            role: role.to_owned(),
            version: envelope.version(),
            digest: envelope.digest(),
            key: signer.public().clone(),
            signature: sign_checked(signer, envelope.canonical())?,
        })
    }

    /// Reads a file, called `file` in errors. Whether it signs what is staged is not seen here.
    ///
    /// # Errors
    /// If it is no signature file.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, RepoError> {
        let wrong = |why: &str| malformed(file, &format!("no signature file: {why}"));
        if bytes.len() > SIGNATURE_FILE_LEN_MAX {
            return Err(wrong("too long"));
        }
        let read: File =
            serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
        if read.schema != SCHEMA {
            return Err(wrong(&format!("its schema is not {SCHEMA}")));
        }
        let digest = digits::<32>(&read.digest).ok_or_else(|| wrong("no digest"))?;
        let public = digits(&read.public).ok_or_else(|| wrong("no public key"))?;
        let signature = digits(&read.signature).ok_or_else(|| wrong("no signature"))?;
        Ok(Self {
            role: read.role,
            version: read.version,
            digest: hex::encode(digest),
            key: PublicKey::new(public),
            signature,
        })
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let file = File {
            schema: SCHEMA.to_owned(),
            role: self.role.clone(),
            version: self.version,
            digest: self.digest.clone(),
            public: hex::encode(self.key.bytes()),
            signature: hex::encode(self.signature),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("text and numbers are JSON");
        bytes.push(b'\n');
        bytes
    }
}

impl fmt::Debug for SignatureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, version, digest, key, .. } = self;
        write!(f, "SignatureFile {{ {role} {version} {digest} {} }}", key.id())
    }
}

/// `N` bytes in lower-case hexadecimal digits, and in no other way.
fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = <[u8; N]>::try_from(hex::decode(text).ok()?).ok()?;
    (hex::encode(bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made() -> SignatureFile {
        let signer = crate::key::sealed::FileKey::from_seed(&[1; 32]);
        let envelope = Envelope::new(serde_json::json!({"version": 7})).expect("canonical");
        SignatureFile::make("g.fleet", &envelope, &signer).expect("signed")
    }

    #[test]
    fn files_are_read_as_they_were_written() {
        assert_eq!(SignatureFile::parse("a.sig", &made().bytes()).expect("read"), made());
    }

    #[test]
    fn members_that_are_missing_too_many_or_misspelt_are_refused() {
        let text = String::from_utf8(made().bytes()).expect("text");
        for (from, to) in [
            ("neap.signature.v1", "neap.signature.v2"),
            ("\"version\": 7", "\"version\": -7"),
            ("\"version\": 7", "\"version\": 7, \"more\": 1"),
            ("\"version\": 7", "\"version\": 7, \"version\": 8"),
            ("\"public\": \"", "\"public\": \"A"),
            ("\"role\"", "\"roll\""),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(SignatureFile::parse("a.sig", changed.as_bytes()).is_err(), "{to}");
        }
        let long = format!("{text}{}", " ".repeat(SIGNATURE_FILE_LEN_MAX));
        assert!(SignatureFile::parse("a.sig", long.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_come_back(bytes in any::<Vec<u8>>()) {
            if let Ok(read) = SignatureFile::parse("a.sig", &bytes) {
                prop_assert_eq!(SignatureFile::parse("a.sig", &read.bytes()).ok(), Some(read));
            }
        }

        #[test]
        fn any_changed_byte_is_refused_or_changes_what_is_read(at in 0_usize..600, to: u8) {
            let mut bytes = made().bytes();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            // Only white space between members has other spellings.
            let is_space = to.is_ascii_whitespace() && made().bytes()[at].is_ascii_whitespace();
            if !is_space {
                prop_assert_ne!(SignatureFile::parse("a.sig", &bytes).ok(), Some(made()));
            }
        }

        #[test]
        fn any_content_comes_back(role in "[ -~]{0,40}", version: u64, digest: [u8; 32],
                                  key: [u8; 32], signature: [u8; 64]) {
            let file = SignatureFile {
                role, version, digest: hex::encode(digest), key: PublicKey::new(key), signature,
            };
            prop_assert_eq!(SignatureFile::parse("a.sig", &file.bytes()).ok(), Some(file));
        }
    }
}
