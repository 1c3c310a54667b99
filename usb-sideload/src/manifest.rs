//! `stick.json`: the number of a stick, and which of its blobs are encrypted.
//!
//! It is signed by nobody and believed by nobody: a wrong entry leads to bytes that are not those
//! of the digest that is signed.

use std::fmt;

use neap_depot::limits::BLOB_LEN_MAX;
use neap_engine::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::limits::{MANIFEST_LEN_MAX, SEALED_COUNT_MAX};

/// What `stick.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The number of the stick: 8 hexadecimal digits, drawn when it is first written.
    pub id: String,
    /// Its encrypted blobs, in order of what they hold and of who can open them.
    pub sealed: Vec<Sealed>,
}

/// A blob that is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The digest of what it holds: the one that is signed.
    pub blob: Digest,
    /// Bytes of that.
    pub len: u64,
    /// The digest of the encrypted blob: its name on the stick.
    pub sealed: Digest,
    /// Who can open it: the first 16 hexadecimal digits of BLAKE3 of the recipient's text.
    pub to: String,
}

/// Why bytes are no `stick.json`. Whoever had the stick can cause each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// More bytes than it may have.
    TooLong(u64),
    /// Not the JSON of one.
    Json(String),
    /// Of a form that this program does not know.
    Schema,
    /// A field out of bounds.
    Field(&'static str),
}

/// The file.
///
/// | field | is |
/// |-------|----|
/// | `schema` | `neap.stick.v1` |
/// | `id` | 8 hexadecimal digits in small letters |
/// | `sealed` | at most 4,096 entries, in order of `blob` and `to`, no two with both the same |
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    id: String,
    sealed: Vec<Entry>,
}

/// An encrypted blob.
///
/// | field | is |
/// |-------|----|
/// | `blob` | BLAKE3 of what it holds, 64 hexadecimal digits |
/// | `len` | bytes of that, at most 512 GiB |
/// | `sealed` | BLAKE3 of the encrypted file, 64 hexadecimal digits |
/// | `to` | the first 16 hexadecimal digits of BLAKE3 of the recipient's text |
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    blob: String,
    len: u64,
    sealed: String,
    to: String,
}

impl Manifest {
    /// The manifest of a new stick.
    #[must_use]
    pub fn new(id: [u8; 4]) -> Self {
        Self { id: hex::encode(id), sealed: Vec::new() }
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let entries = self.sealed.iter().map(|sealed| Entry {
            blob: sealed.blob.to_string(),
            len: sealed.len,
            sealed: sealed.sealed.to_string(),
            to: sealed.to.clone(),
        });
        let file = File { schema: SCHEMA.into(), id: self.id.clone(), sealed: entries.collect() };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("texts and numbers are JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let len = bytes.len() as u64;
        if len > MANIFEST_LEN_MAX {
            return Err(ManifestError::TooLong(len));
        }
        let file: File =
            serde_json::from_slice(bytes).map_err(|e| ManifestError::Json(e.to_string()))?;
        if file.schema != SCHEMA {
            return Err(ManifestError::Schema);
        }
        if !is_hex(&file.id, 8) {
            return Err(ManifestError::Field("id"));
        }
        if file.sealed.len() > SEALED_COUNT_MAX {
            return Err(ManifestError::Field("sealed"));
        }
        let sealed: Vec<_> = file.sealed.into_iter().map(Sealed::of).collect::<Result<_, _>>()?;
        if !sealed.windows(2).all(|two| two[0].key() < two[1].key()) {
            return Err(ManifestError::Field("blob"));
        }
        Ok(Self { id: file.id, sealed })
    }

    /// The encrypted blobs that hold this one.
    #[must_use]
    pub fn sealed(&self, blob: &Digest) -> &[Sealed] {
        let start = self.sealed.partition_point(|sealed| sealed.blob.0 < blob.0);
        let count = self.sealed[start..].iter().take_while(|sealed| sealed.blob == *blob).count();
        &self.sealed[start..start + count]
    }

    /// The one of them that this recipient can open.
    #[must_use]
    pub fn sealed_to(&self, blob: &Digest, to: &str) -> Option<&Sealed> {
        self.sealed(blob).iter().find(|sealed| sealed.to == to)
    }

    /// Enters an encrypted blob, in place of another that holds the same for the same recipient.
    ///
    /// # Errors
    /// If there are too many.
    pub fn enter(&mut self, entry: Sealed) -> Result<(), ManifestError> {
        match self.sealed.binary_search_by(|sealed| sealed.key().cmp(&entry.key())) {
            Ok(at) => self.sealed[at] = entry,
            Err(_) if self.sealed.len() >= SEALED_COUNT_MAX => {
                return Err(ManifestError::Field("sealed"));
            }
            Err(at) => self.sealed.insert(at, entry),
        }
        Ok(())
    }
}

impl Sealed {
    fn key(&self) -> (&[u8; 32], &str) {
        (&self.blob.0, &self.to)
    }

    fn of(entry: Entry) -> Result<Self, ManifestError> {
        let digest = |text: &str, field| {
            let digest = Digest::from_hex(text).filter(|_| is_hex(text, 64));
            digest.ok_or(ManifestError::Field(field))
        };
        let blob = digest(&entry.blob, "blob")?;
        let sealed = digest(&entry.sealed, "sealed")?;
        if entry.len > BLOB_LEN_MAX {
            return Err(ManifestError::Field("len"));
        }
        if !is_hex(&entry.to, 16) {
            return Err(ManifestError::Field("to"));
        }
        Ok(Self { blob, len: entry.len, sealed, to: entry.to })
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "{len} bytes, at most {MANIFEST_LEN_MAX} allowed"),
            Self::Json(why) => write!(f, "not understood: {why}"),
            Self::Schema => write!(f, "of a form that this program does not know"),
            Self::Field(field) => write!(f, "the field `{field}` is out of bounds"),
        }
    }
}

impl std::error::Error for ManifestError {}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

const SCHEMA: &str = "neap.stick.v1";

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(of: &[u8]) -> Sealed {
        let to = "0123456789abcdef".to_owned();
        Sealed { blob: Digest::of(of), len: 7, sealed: Digest::of(&[of, b"!"].concat()), to }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut manifest = Manifest::new([1, 2, 3, 0xff]);
        for text in [&b"a"[..], b"b", b"c", b"a"] {
            manifest.enter(sealed(text)).expect("few");
        }
        assert_eq!(manifest.sealed.len(), 3);
        assert_eq!(Manifest::parse(&manifest.bytes()), Ok(manifest.clone()));
        let other = Sealed { to: "f".repeat(16), ..sealed(b"b") };
        manifest.enter(other.clone()).expect("few");
        assert_eq!(Manifest::parse(&manifest.bytes()), Ok(manifest.clone()));
        assert_eq!(manifest.sealed(&Digest::of(b"b")), [sealed(b"b"), other.clone()]);
        assert_eq!(manifest.sealed_to(&Digest::of(b"b"), &other.to), Some(&other));
        assert_eq!(manifest.sealed(&Digest::of(b"d")), []);
    }

    #[test]
    fn neighbours_of_a_manifest_are_refused() {
        let mut manifest = Manifest::new([0; 4]);
        manifest.enter(sealed(b"a")).expect("few");
        let good = String::from_utf8(manifest.bytes()).expect("text");
        for (from, to) in [
            ("stick.v1", "stick.v2"),
            ("\"00000000\"", "\"0000000\""),
            ("\"00000000\"", "\"0000000G\""),
            ("\"len\": 7", "\"len\": -7"),
            ("\"len\": 7", "\"len\": 549755813889"),
            ("\"len\": 7", "\"len\": 7, \"more\": 1"),
            ("0123456789abcdef", "0123456789ABCDEF"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            assert!(Manifest::parse(text.as_bytes()).is_err(), "{text}");
        }
        let twice = Manifest { sealed: vec![sealed(b"a"); 2], ..manifest };
        assert_eq!(Manifest::parse(&twice.bytes()), Err(ManifestError::Field("blob")));
        let long = vec![b' '; usize::try_from(MANIFEST_LEN_MAX).expect("short") + 1];
        assert!(matches!(Manifest::parse(&long), Err(ManifestError::TooLong(_))));
    }
}
