//! Encryption to one site or to shore, in the format of <https://age-encryption.org/v1>.
//!
//! An encrypted blob is an age file of the blob's tree and then its bytes, so that any 16 KiB of
//! what it holds can be verified without reading the rest.

use std::fmt;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::iter;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::ExposeSecret as _;
use age::stream::StreamReader;
use age::{Decryptor, Encryptor, x25519};
use neap_depot::blob::Blob;
use neap_depot::store::Object;

use crate::error::Closed;
use crate::limits::{IDENTITY_LEN_MAX, SEAL_HEADER_LEN_MAX, SEALED_RECEIPT_LEN_MAX};

/// Whom something is encrypted to: `age1…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    key: x25519::Recipient,
    text: String,
}

/// A key that opens what is encrypted to its recipient.
#[derive(Clone)]
pub struct Identity(x25519::Identity);

impl Recipient {
    /// The first 16 hexadecimal digits of BLAKE3 of its text: what `stick.json` names it by.
    #[must_use]
    pub fn short(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex()[..16].to_owned()
    }
}

impl FromStr for Recipient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = text.parse().map_err(|why| format!("no recipient `age1…`: {why}"))?;
        Ok(Self { key, text: text.to_owned() })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

impl Identity {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// Who encrypts to it.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        let key = self.0.to_public();
        Recipient { text: key.to_string(), key }
    }

    /// A file of it, as `age-keygen` writes it.
    #[must_use]
    pub fn file(&self) -> String {
        let secret = self.0.to_string();
        format!("# public key: {}\n{}\n", self.recipient(), secret.expose_secret())
    }

    /// Reads such a file: lines that begin with `#` do not count.
    ///
    /// # Errors
    /// If it holds no key, or more than one.
    pub fn of_file(text: &str) -> Result<Self, String> {
        if text.len() as u64 > IDENTITY_LEN_MAX {
            return Err(format!("more than {IDENTITY_LEN_MAX} bytes"));
        }
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        match (lines.next(), lines.next()) {
            (Some(line), None) => line
                .parse()
                .map(Self)
                .map_err(|_| "no key `AGE-SECRET-KEY-1…`, as `neap stick new-key` makes it".into()),
            (None, _) => Err("it holds no key".into()),
            (Some(_), Some(_)) => Err("it holds more than one key".into()),
        }
    }
}

/// Encrypts a blob with its tree.
///
/// # Errors
/// If the blob is damaged, or cannot be read or written.
pub fn seal(blob: &Blob, to: &Recipient, into: impl Write) -> io::Result<()> {
    let mut out = encryptor(to)?.wrap_output(BufWriter::new(into))?;
    let tree = blob.tree();
    tree.stream(0, tree.len(), &mut |bytes| out.write_all(bytes))?;
    io::copy(&mut blob.reader(), &mut out)?;
    out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.flush()
}

/// Encrypts a receipt.
///
/// # Errors
/// If it cannot be.
pub fn seal_short(bytes: &[u8], to: &Recipient) -> io::Result<Vec<u8>> {
    let mut out = encryptor(to)?.wrap_output(Vec::new())?;
    out.write_all(bytes)?;
    out.finish()
}

/// Why an encrypted receipt is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CannotOpen {
    /// It is encrypted to someone else.
    OtherKey,
    /// It is longer than an encrypted receipt can be.
    TooLong(u64),
    /// It is damaged, or not encrypted.
    Damaged(String),
}

impl fmt::Display for CannotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKey => f.write_str("it is encrypted to another key"),
            Self::TooLong(len) => {
                write!(f, "{len} bytes, at most {SEALED_RECEIPT_LEN_MAX} allowed")
            }
            Self::Damaged(why) => write!(f, "damaged: {why}"),
        }
    }
}

impl std::error::Error for CannotOpen {}

/// Opens an encrypted receipt.
///
/// # Errors
/// If it is damaged, too long, or encrypted to someone else.
pub fn open_short(bytes: &[u8], key: &Identity) -> Result<Vec<u8>, CannotOpen> {
    let len = bytes.len() as u64;
    if len > SEALED_RECEIPT_LEN_MAX {
        return Err(CannotOpen::TooLong(len));
    }
    let of = |error: age::DecryptError| match error {
        age::DecryptError::NoMatchingKeys => CannotOpen::OtherKey,
        other => CannotOpen::Damaged(other.to_string()),
    };
    let opened = Decryptor::new_buffered(bytes).map_err(of)?;
    let reader = opened.decrypt(iter::once(&key.0 as &dyn age::Identity)).map_err(of)?;
    let mut content = Vec::new();
    let read = reader.take(SEALED_RECEIPT_LEN_MAX).read_to_end(&mut content);
    read.map_err(|error| CannotOpen::Damaged(error.to_string()))?;
    Ok(content)
}

fn encryptor(to: &Recipient) -> io::Result<Encryptor> {
    let recipient = iter::once(&to.key as &dyn age::Recipient);
    Encryptor::with_recipients(recipient).map_err(|error| io::Error::other(error.to_string()))
}

/// A part of what an encrypted blob holds.
pub struct Opened {
    reader: Mutex<StreamReader<BufReader<Cipher>>>,
    offset: u64,
    len: u64,
}

impl Opened {
    /// The `len` bytes from `offset` of what a blob holds.
    ///
    /// # Errors
    /// If the blob is damaged, is not encrypted, or is encrypted to someone else.
    pub fn new(sealed: Blob, key: &Identity, offset: u64, len: u64) -> io::Result<Self> {
        // A header is read to its end before it is judged.
        let end = Arc::new(AtomicU64::new(SEAL_HEADER_LEN_MAX + BUFFER_LEN as u64));
        let cipher = Cipher { blob: sealed, at: 0, end: Arc::clone(&end) };
        let wrong = |error: age::DecryptError| match error {
            age::DecryptError::Io(error) => error,
            age::DecryptError::NoMatchingKeys => Closed::OtherKey.into(),
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        };
        let opened = Decryptor::new_buffered(BufReader::with_capacity(BUFFER_LEN, cipher));
        let reader = opened.and_then(|o| o.decrypt(iter::once(&key.0 as &dyn age::Identity)));
        let mut reader = reader.map_err(wrong)?;
        end.store(u64::MAX, Ordering::Relaxed);
        // Its length is authentic only with its last chunk, which this reads. Past its end the
        // reader of `age` 0.12.1 panics: that must never be asked for.
        let found = reader.seek(SeekFrom::End(0))?;
        if offset.checked_add(len).is_none_or(|end| end > found) {
            let text = format!("it holds {found} bytes, and {len} at {offset} were promised");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Self { reader: Mutex::new(reader), offset, len })
    }
}

impl Object for Opened {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the reader is already, this costs nothing.
        reader.seek(SeekFrom::Start(self.offset + offset))?;
        reader.read_exact(bytes)
    }
}

/// The bytes of an encrypted blob, each verified against its own tree.
struct Cipher {
    blob: Blob,
    at: u64,
    /// Where reading ends, even if the blob does not.
    end: Arc<AtomicU64>,
}

impl Read for Cipher {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let end = self.end.load(Ordering::Relaxed);
        if self.at >= end && self.at < self.blob.len() {
            let text = format!("the header is longer than {SEAL_HEADER_LEN_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let left = self.blob.len().min(end).saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        self.blob.read_at(self.at, &mut into[..len])?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Cipher {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.blob.len().checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// What is read at once of an encrypted file: a group.
const BUFFER_LEN: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use neap_depot::depot::Depot;
    use neap_depot::directory::Directory;
    use neap_depot::memory::Memory;
    use neap_depot::writer::Present;

    use super::*;

    fn added(bytes: &[u8]) -> Blob {
        let depot = Depot::new(Box::new(Directory::new(Memory::default())));
        let writer = depot.writer("test").expect("free");
        let added = writer.add(&mut Cursor::new(bytes), Present::Verify).expect("added");
        depot.blob(&added.digest).expect("whole").expect("there")
    }

    #[test]
    fn what_was_sealed_is_opened_by_its_key_and_by_no_other() {
        let key = Identity::generate();
        for len in [0, 1, 65_535, 65_536, 65_537, 300_001] {
            let bytes: Vec<u8> = (0..len).map(|i: usize| (i / 7).to_le_bytes()[0]).collect();
            let blob = added(&bytes);
            let mut sealed = Vec::new();
            seal(&blob, &key.recipient(), &mut sealed).expect("sealed");
            let tree_len = blob.tree().len();
            let open = |key: &Identity| Opened::new(added(&sealed), key, tree_len, len as u64);
            let opened = open(&key).expect("opened");
            for (at, count) in [(0, len), (len / 2, len - len / 2), (len / 3, len / 3), (0, 0)] {
                let mut read = vec![0; count];
                opened.read_at(at as u64, &mut read).expect("read");
                assert_eq!(read, bytes[at..at + count], "{count} bytes at {at} of {len}");
            }
            assert!(opened.read_at(len as u64, &mut [0]).is_err());
            let refused = open(&Identity::generate()).err().expect("another key");
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
        }
    }

    #[test]
    fn keys_are_read_from_the_files_that_are_written() {
        let key = Identity::generate();
        let read = Identity::of_file(&key.file()).expect("a key");
        assert_eq!(read.recipient(), key.recipient());
        assert_eq!(key.recipient().to_string().parse(), Ok(key.recipient()));
        let twice = format!("{}{}", key.file(), key.file());
        for text in ["", "# only a comment\n", "AGE-SECRET-KEY-1X\n", &twice] {
            assert!(Identity::of_file(text).is_err(), "{text}");
        }
        assert!("age1x".parse::<Recipient>().is_err());
    }

    #[test]
    fn header_that_does_not_end_is_given_up() {
        let mut endless = b"age-encryption.org/v1\n".to_vec();
        while endless.len() < 3 << 20 {
            endless.extend_from_slice(b"-> X25519 AAAA\nAAAA\n");
        }
        let refused = Opened::new(added(&endless), &Identity::generate(), 0, 1).err();
        assert!(refused.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData));
        assert!(open_short(&endless, &Identity::generate()).is_err());
    }

    /// Cause: a list may promise more bytes than an encrypted file holds, and the reader of `age`
    /// 0.12.1 panics when it is read past its end. Effect: a stick could stop an import. Cure: the
    /// file's own length is asked first.
    #[test]
    fn file_that_holds_less_than_was_promised_is_refused() {
        let key = Identity::generate();
        let mut sealed = Vec::new();
        seal(&added(b"nine byte"), &key.recipient(), &mut sealed).expect("sealed");
        let open = |offset, len| Opened::new(added(&sealed), &key, offset, len);
        assert!(open(8, 9).is_ok());
        for (offset, len) in [(8, 10), (9, 9), (17, 1), (1 << 20, 1), (u64::MAX, 2)] {
            let refused = open(offset, len).err().expect("less is there");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
        }
        assert!(Opened::new(added(&sealed[..sealed.len() - 1]), &key, 0, 1).is_err());
    }

    #[test]
    fn receipts_are_sealed_and_opened() {
        let key = Identity::generate();
        let sealed = seal_short(b"a receipt", &key.recipient()).expect("sealed");
        assert_eq!(open_short(&sealed, &key).as_deref(), Ok(&b"a receipt"[..]));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            let opened = open_short(&altered, &key);
            assert!(opened.is_err(), "byte {at}");
        }
    }
}
