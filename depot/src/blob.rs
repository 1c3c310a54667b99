//! Blobs as readers see them: whatever comes out of one was verified against its digest.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::{error, fmt};

use neap_engine::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::limits::{GROUP_LEN, SUBTREE_GROUPS};
use crate::name::Name;
use crate::store::{Object, Store, Take};
use crate::tree::{self, LEN_LEN, PAIR_LEN, Subtree};

/// A blob that is there: its tree and all of its data, in the right lengths.
pub struct Blob {
    digest: Digest,
    len: u64,
    data: Data,
    tree: Box<dyn Object>,
    /// The values of the groups that were looked at last.
    values: Mutex<Option<Arc<Values>>>,
}

/// Reads a blob from its start, verified.
#[derive(Debug)]
pub struct Reader<'a> {
    blob: &'a Blob,
    offset: u64,
}

/// What is wrong with a blob. Any carrier can cause each of these.
#[derive(Debug)]
#[non_exhaustive]
pub enum BlobError {
    /// Its data is there and its tree is not: it was cut short while it was written.
    TreeMissing,
    /// Its tree cannot be one, or is not that of the digest from this offset of the blob on.
    TreeDamaged {
        /// Where the blob cannot be verified, in bytes.
        offset: u64,
    },
    /// Its data, or this part of a split one, is not there.
    DataMissing {
        /// Which part.
        index: u64,
    },
    /// Its data is not as long as the tree says.
    LengthDiffers {
        /// Bytes that are there.
        found: u64,
        /// Bytes that should be.
        expected: u64,
    },
    /// These bytes are not those of the digest.
    Altered {
        /// Where the group begins.
        offset: u64,
        /// Its length.
        len: u64,
    },
    /// What was asked for lies past the end.
    PastEnd {
        /// End of what was asked for.
        end: u64,
        /// Length of the blob.
        len: u64,
    },
    /// The store failed.
    Io(io::Error),
}

/// What a check of all of a blob found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Bytes of the data that are not those of the digest. Neighbours are joined.
    pub altered: Vec<Range<u64>>,
    /// Whether the tree has a fault. If the data has none, it can be rebuilt.
    pub tree_damaged: bool,
    /// SHA-256 of the data as it is, in hexadecimal.
    pub sha256: String,
}

impl Checked {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.altered.is_empty() && !self.tree_damaged
    }
}

/// Data of a blob: one file, or parts.
pub(crate) struct Data {
    parts: Vec<Box<dyn Object>>,
    part_len: u64,
}

struct Values {
    at: Subtree,
    pairs: Vec<u8>,
    values: Vec<Option<[u8; 32]>>,
}

impl Blob {
    /// Opens a blob, or says that there is none. Nothing but lengths is checked yet.
    pub(crate) fn open(
        store: &dyn Store,
        digest: &Digest,
        part_len: u64,
    ) -> Result<Option<Self>, BlobError> {
        let Some(tree) = store.open(&Name::tree(digest))? else {
            let first = [Name::blob(digest), Name::part(digest, 0)];
            return match (store.open(&first[0])?, store.open(&first[1])?) {
                (None, None) => Ok(None),
                _ => Err(BlobError::TreeMissing),
            };
        };
        let len = claimed_len(&*tree)?.ok_or(BlobError::TreeDamaged { offset: 0 })?;
        let data = Data::open(store, digest, len, part_len)?;
        Ok(Some(Self { digest: *digest, len, data, tree, values: Mutex::new(None) }))
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its length in bytes. It is proven only when the last byte has been read.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is the empty blob.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its tree, as `docs/depot.md` defines it, not verified: for transports.
    #[must_use]
    pub fn tree(&self) -> &dyn Object {
        &*self.tree
    }

    /// Lets what is read next come from the medium, not from memory.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn forget(&self) -> io::Result<()> {
        self.data.parts.iter().try_for_each(|part| part.forget())?;
        self.tree.forget()
    }

    /// Lets the medium begin to read what will be asked for next.
    pub fn ahead(&self, offset: u64, len: u64) {
        self.data.ahead(offset, len);
    }

    /// Gives bytes in order as they come, **not verified**: for transports whose receiver verifies.
    ///
    /// # Errors
    /// If the store fails, or `take` does.
    pub fn stream_unverified(&self, offset: u64, len: u64, take: &mut Take<'_>) -> io::Result<()> {
        self.data.stream(offset, len, take)
    }

    /// Fills `bytes` with verified bytes from `offset`. Costs the groups that are touched and one
    /// piece of the tree.
    ///
    /// # Errors
    /// If a group or the tree above it is damaged; then `bytes` hold nothing of use.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), BlobError> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.len {
            return Err(BlobError::PastEnd { end, len: self.len });
        }
        let mut group = Vec::new();
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let index = at / GROUP_LEN as u64;
            let start = index * GROUP_LEN as u64;
            let skip = usize::try_from(at - start).unwrap_or(GROUP_LEN);
            let len = usize::try_from(self.len - start).unwrap_or(GROUP_LEN).min(GROUP_LEN);
            let is_whole = skip == 0 && rest.len() >= len;
            let wanted = match is_whole {
                // All whole ones at once, the last of the blob too.
                true if end == self.len => rest.len(),
                true => rest.len() / GROUP_LEN * GROUP_LEN,
                false => (len - skip).min(rest.len()),
            };
            let (now, later) = rest.split_at_mut(wanted);
            if is_whole {
                self.groups(index, now)?;
            } else {
                group.resize(len, 0);
                self.groups(index, &mut group)?;
                now.copy_from_slice(&group[skip..skip + wanted]);
            }
            at += wanted as u64;
            rest = later;
        }
        Ok(())
    }

    /// Reads it from its start, verified.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { blob: self, offset: 0 }
    }

    /// Reads all of it and says what is damaged.
    ///
    /// # Errors
    /// If the store fails.
    pub fn check(&self) -> Result<Checked, BlobError> {
        let mut hasher = blake3::Hasher::new();
        let mut sha256 = Sha256::new();
        self.data.each(self.len, |bytes| {
            hasher.update(bytes);
            sha256.update(bytes);
            Ok(())
        })?;
        let sha256 = hex::encode(sha256.finalize());
        if Digest(*hasher.finalize().as_bytes()) == self.digest {
            let tree_damaged = !self.is_tree_whole()?;
            return Ok(Checked { altered: Vec::new(), tree_damaged, sha256 });
        }
        let mut checked = Checked { sha256, ..Checked::default() };
        let mut group = vec![0; GROUP_LEN];
        for index in 0..tree::groups(self.len) {
            let start = index * GROUP_LEN as u64;
            let end = (start + GROUP_LEN as u64).min(self.len);
            let len = usize::try_from(end - start).unwrap_or(GROUP_LEN);
            match self.groups(index, &mut group[..len]) {
                Ok(()) => {}
                Err(BlobError::Io(error)) => return Err(error.into()),
                Err(BlobError::TreeDamaged { .. }) => checked.tree_damaged = true,
                Err(_) => match checked.altered.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => checked.altered.push(start..end),
                },
            }
        }
        // Where the tree is no witness, all that is known is that something is altered.
        if checked.altered.is_empty() {
            checked.altered.push(0..self.len);
        }
        Ok(checked)
    }

    /// Reads whole groups and verifies each.
    fn groups(&self, first: u64, bytes: &mut [u8]) -> Result<(), BlobError> {
        // Under a damaged tree no data need be read.
        self.value(first)?;
        self.data.read_at(first * GROUP_LEN as u64, bytes)?;
        for (index, group) in (first..).zip(bytes.chunks(GROUP_LEN)) {
            if !tree::is_group(group, index, self.len, &self.value(index)?) {
                let offset = index * GROUP_LEN as u64;
                return Err(BlobError::Altered { offset, len: group.len() as u64 });
            }
        }
        Ok(())
    }

    /// The verified value of a group.
    fn value(&self, index: u64) -> Result<[u8; 32], BlobError> {
        let values = self.values(index)?;
        let at = usize::try_from(index - values.at.first).unwrap_or(usize::MAX);
        let value = values.values.get(at).copied().flatten();
        value.ok_or(BlobError::TreeDamaged { offset: index * GROUP_LEN as u64 })
    }

    /// The pair of a subtree that has more than one group, **not verified**: for transports whose
    /// receiver verifies. Those near each other are read from the store at once.
    ///
    /// # Errors
    /// If the store fails, or the tree above is damaged.
    pub fn pair_unverified(&self, at: &Subtree) -> Result<Option<[u8; PAIR_LEN]>, BlobError> {
        let Some(offset) = at.pair_offset() else { return Ok(None) };
        let mut pair = [0; PAIR_LEN];
        if at.groups > SUBTREE_GROUPS {
            self.tree.read_at(offset, &mut pair)?;
            return Ok(Some(pair));
        }
        let values = self.values(at.first)?;
        let start = usize::try_from(offset - values.at.base * PAIR_LEN as u64);
        let start = start.expect("pairs of a cached subtree are few");
        pair.copy_from_slice(&values.pairs[start..start + PAIR_LEN]);
        Ok(Some(pair))
    }

    /// Verified values of the groups around one, from the tree.
    fn values(&self, index: u64) -> Result<Arc<Values>, BlobError> {
        let mut cached = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let has_it = |values: &&Arc<Values>| {
            (values.at.first..values.at.first + values.at.groups).contains(&index)
        };
        if let Some(values) = cached.as_ref().filter(has_it) {
            return Ok(Arc::clone(values));
        }
        let (mut at, mut value) = (Subtree::whole(self.len), self.digest.0);
        while at.groups > SUBTREE_GROUPS {
            let offset = at.pair_offset().expect("it has more than one group");
            let (left, right) = at.halves().expect("it has more than one group");
            let mut pair = [0; PAIR_LEN];
            self.tree.read_at(offset, &mut pair)?;
            let damaged = BlobError::TreeDamaged { offset: at.first * GROUP_LEN as u64 };
            let below = tree::split(&pair, &value, at.is_root).ok_or(damaged)?;
            (at, value) = if index < right.first { (left, below.0) } else { (right, below.1) };
        }
        let pairs = usize::try_from(at.groups - 1).expect("it is at most SUBTREE_GROUPS");
        let mut pairs = vec![0; pairs * PAIR_LEN];
        self.tree.read_at(at.base * PAIR_LEN as u64, &mut pairs)?;
        let values = Values { at, values: at.values(value, &pairs), pairs };
        Ok(Arc::clone(cached.insert(Arc::new(values))))
    }

    fn is_tree_whole(&self) -> Result<bool, BlobError> {
        let mut index = 0;
        while index < tree::groups(self.len) {
            let values = match self.values(index) {
                Err(BlobError::TreeDamaged { .. }) => return Ok(false),
                values => values?,
            };
            if values.values.iter().any(Option::is_none) {
                return Ok(false);
            }
            index = values.at.first + values.at.groups;
        }
        Ok(true)
    }
}

impl Data {
    /// Opens all files of a blob's data, each as long as it must be.
    pub(crate) fn open(
        store: &dyn Store,
        digest: &Digest,
        len: u64,
        part_len: u64,
    ) -> Result<Self, BlobError> {
        let mut parts = Vec::new();
        for (index, (name, expected)) in files(digest, len, part_len).enumerate() {
            let missing = BlobError::DataMissing { index: index as u64 };
            let part = store.open(&name)?.ok_or(missing)?;
            if part.len() != expected {
                let before = index as u64 * part_len;
                return Err(BlobError::LengthDiffers { found: before + part.len(), expected: len });
            }
            parts.push(part);
        }
        Ok(Self { parts, part_len })
    }

    /// Fills `bytes` from `offset`, across parts.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let index = usize::try_from(offset / self.part_len).unwrap_or(usize::MAX);
            let part = self.parts.get(index).ok_or(io::ErrorKind::UnexpectedEof)?;
            let inside = offset % self.part_len;
            let left = part.len().checked_sub(inside).ok_or(io::ErrorKind::UnexpectedEof)?;
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (now, later) = rest.split_at_mut(len);
            part.read_at(inside, now)?;
            offset += len as u64;
            rest = later;
        }
        Ok(())
    }

    /// As [`Object::ahead`], in the part where the range begins.
    fn ahead(&self, offset: u64, len: u64) {
        let index = usize::try_from(offset / self.part_len).unwrap_or(usize::MAX);
        if let Some(part) = self.parts.get(index) {
            part.ahead(offset % self.part_len, len);
        }
    }

    /// Gives a range as it comes, across parts.
    fn stream(&self, offset: u64, len: u64, take: &mut Take<'_>) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut offset = offset;
        while offset < end {
            let index = usize::try_from(offset / self.part_len).unwrap_or(usize::MAX);
            let part = self.parts.get(index).ok_or(io::ErrorKind::UnexpectedEof)?;
            let inside = offset % self.part_len;
            let left = part.len().checked_sub(inside).filter(|left| *left > 0);
            let now = left.ok_or(io::ErrorKind::UnexpectedEof)?.min(end - offset);
            part.stream(inside, now, take)?;
            offset += now;
        }
        Ok(())
    }

    /// Gives all bytes, piece by piece.
    pub(crate) fn each(
        &self,
        len: u64,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.stream(0, len, &mut take)
    }
}

/// The files that a blob's data is in, with their lengths.
pub(crate) fn files(
    digest: &Digest,
    len: u64,
    part_len: u64,
) -> impl Iterator<Item = (Name, u64)> + use<> {
    let digest = *digest;
    let count = len.div_ceil(part_len).max(1);
    (0..count).map(move |index| {
        let name = if count == 1 { Name::blob(&digest) } else { Name::part(&digest, index) };
        (name, (len - index * part_len).min(part_len))
    })
}

/// The length that a tree claims, if it can be one.
pub(crate) fn claimed_len(tree: &dyn Object) -> io::Result<Option<u64>> {
    let Some(at) = tree.len().checked_sub(LEN_LEN as u64) else { return Ok(None) };
    let mut end = [0; LEN_LEN];
    tree.read_at(at, &mut end)?;
    Ok(tree::claimed_len(end, tree.len()))
}

impl Read for Reader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.blob.len - self.offset).unwrap_or(usize::MAX);
        let len = bytes.len().min(left);
        self.blob.read_at(self.offset, &mut bytes[..len]).map_err(io::Error::from)?;
        self.offset += len as u64;
        Ok(len)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.digest, self.len)
    }
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TreeMissing => f.write_str("it has no tree: it was cut short while written"),
            Self::TreeDamaged { offset } => write!(f, "its tree is damaged for byte {offset} on"),
            Self::DataMissing { index } => write!(f, "part {index} of its data is missing"),
            Self::LengthDiffers { found, expected } => {
                write!(f, "{found} bytes of data, {expected} expected")
            }
            Self::Altered { offset, len } => {
                write!(f, "the {len} bytes at {offset} are not those of its digest")
            }
            Self::PastEnd { end, len } => write!(f, "byte {end} is past its end at {len}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl error::Error for BlobError {}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}
