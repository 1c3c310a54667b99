//! A blob that is still coming, in any order: nothing is written that was not verified, and after
//! a cut nothing is assumed: what is there is hashed again.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use neap_engine::digest::Digest;

use crate::blob::{self, BlobError};
use crate::groups::Groups;
use crate::limits::{BLOB_LEN_MAX, GROUP_LEN};
use crate::name::Name;
use crate::store::Edit;
use crate::tree::{self, LEN_LEN, PAIR_LEN, Subtree};
use crate::writer::Writer;

/// The pairs and groups of a blob that came so far.
pub struct Partial<'a> {
    writer: &'a Writer<'a>,
    digest: Digest,
    len: u64,
    files: Arc<Files>,
    /// The way down to what was put last: what comes next lies beside it.
    path: Mutex<Vec<Node>>,
    /// Groups that were verified since this began, as they came or where they were found.
    there: Mutex<Groups>,
}

/// The files of a blob that is coming: for whoever makes them durable while more comes.
pub struct Files {
    data: Vec<(Name, Box<dyn Edit>)>,
    tree: Box<dyn Edit>,
    has_failed: Mutex<bool>,
}

/// A piece of a blob as it came from somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The pair of the subtree that has `groups` groups from the group `first`.
    Pair {
        /// The first group below it.
        first: u64,
        /// How many groups are below it.
        groups: u64,
        /// Its bytes.
        pair: &'a [u8; PAIR_LEN],
    },
    /// A group.
    Group {
        /// Its number.
        index: u64,
        /// Its bytes.
        bytes: &'a [u8],
    },
}

/// Pieces that are verified and not written yet.
#[derive(Default)]
struct Good<'a> {
    /// Where in the tree, in bytes.
    pairs: Vec<(u64, &'a [u8; PAIR_LEN])>,
    groups: Vec<(u64, &'a [u8])>,
}

/// A verified node of the tree.
#[derive(Clone, Copy)]
struct Node {
    at: Subtree,
    value: Value,
    /// The values of its halves, once its pair was seen.
    below: Option<(Value, Value)>,
}

/// A chaining value.
type Value = [u8; 32];

impl Writer<'_> {
    /// Begins a blob of a known length, or goes on with it.
    ///
    /// # Errors
    /// If it is too long, or the store is a bucket: [`io::ErrorKind::Unsupported`].
    pub fn partial(&self, digest: &Digest, len: u64) -> io::Result<Partial<'_>> {
        if len > BLOB_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let store = &*self.depot.store;
        let mut data = Vec::new();
        for (name, _) in blob::files(digest, len, self.depot.part_len) {
            let file = store.edit(&name.partial())?;
            data.push((name, file));
        }
        let tree = store.edit(&Name::tree(digest).partial())?;
        tree.write_at(tree::tree_len(len) - LEN_LEN as u64, &len.to_le_bytes())?;
        Ok(Partial {
            writer: self,
            digest: *digest,
            len,
            files: Arc::new(Files { data, tree, has_failed: Mutex::default() }),
            path: Mutex::default(),
            there: Mutex::default(),
        })
    }
}

impl Partial<'_> {
    /// Verifies pieces, pairs before what is below them, and keeps those before the first one that
    /// is wrong: returns how many.
    ///
    /// # Errors
    /// If a piece comes before the pairs above it, or the store fails. Nothing is said then of what
    /// was kept.
    pub fn put<'p>(&self, pieces: impl IntoIterator<Item = Piece<'p>>) -> io::Result<usize> {
        let mut good = Good::default();
        let put = self.verify(pieces, &mut good).and_then(|count| {
            self.write(good)?;
            Ok(count)
        });
        // The way down may have pairs that were not written.
        put.inspect_err(|_| self.path().clear())
    }

    /// Keeps one pair, if the pairs above it came before: `false` if they did not.
    ///
    /// # Errors
    /// If it is not that pair, or there is no such subtree: [`BlobError::TreeDamaged`].
    pub fn put_pair(
        &self,
        first: u64,
        groups: u64,
        pair: &[u8; PAIR_LEN],
    ) -> Result<bool, BlobError> {
        let Some(offset) = self.verify_pair(first, groups, pair)? else { return Ok(false) };
        let written = self.files.tree.write_at(offset, pair);
        written.inspect_err(|_| self.path().clear())?;
        Ok(true)
    }

    /// How many pieces are right, up to the first one that is not.
    fn verify<'p>(
        &self,
        pieces: impl IntoIterator<Item = Piece<'p>>,
        good: &mut Good<'p>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for piece in pieces {
            let verified = match piece {
                Piece::Pair { first, groups, pair } => {
                    let offset = self.verify_pair(first, groups, pair);
                    offset.map(|offset| offset.map(|offset| good.pairs.push((offset, pair))))
                }
                Piece::Group { index, bytes } => {
                    let there = self.verify_group(index, bytes);
                    there.map(|there| there.map(|()| good.groups.push((index, bytes))))
                }
            };
            match verified {
                Ok(Some(())) => count += 1,
                Ok(None) => {
                    return Err(io::Error::other("a piece came before the pairs above it"));
                }
                Err(BlobError::Io(error)) => return Err(error),
                Err(_) => break,
            }
        }
        Ok(count)
    }

    /// Writes what was verified, neighbours at once.
    fn write(&self, mut good: Good<'_>) -> io::Result<()> {
        good.pairs.sort_unstable_by_key(|(offset, _)| *offset);
        let follows =
            |(before, _): &(u64, _), (next, _): &(u64, _)| before + PAIR_LEN as u64 == *next;
        for run in good.pairs.chunk_by(follows) {
            let pairs: Vec<&[u8]> = run.iter().map(|(_, pair)| &pair[..]).collect();
            self.files.tree.write_all_at(run[0].0, &pairs)?;
        }
        // Parts hold whole groups.
        let part_groups = self.writer.depot.part_len / GROUP_LEN as u64;
        let follows = |(before, _): &(u64, _), (next, _): &(u64, _)| {
            before + 1 == *next && !next.is_multiple_of(part_groups)
        };
        for run in good.groups.chunk_by(follows) {
            let groups: Vec<&[u8]> = run.iter().map(|(_, bytes)| *bytes).collect();
            let (file, inside) = self.place(run[0].0 * GROUP_LEN as u64);
            file.write_all_at(inside, &groups)?;
            let first = run[0].0;
            self.there().insert(first..first + run.len() as u64);
        }
        Ok(())
    }

    /// Where in the tree a pair belongs; nothing if the pairs above it did not come.
    fn verify_pair(
        &self,
        first: u64,
        groups: u64,
        pair: &[u8; PAIR_LEN],
    ) -> Result<Option<u64>, BlobError> {
        let wrong = || BlobError::TreeDamaged { offset: first.saturating_mul(GROUP_LEN as u64) };
        let Some(node) = self.node(first, groups)? else { return Ok(None) };
        let offset = node.at.pair_offset().ok_or_else(wrong)?;
        let below = tree::split(pair, &node.value, node.at.is_root).ok_or_else(wrong)?;
        if let Some(last) = self.path().last_mut().filter(|last| last.at == node.at) {
            last.below = Some(below);
        }
        Ok(Some(offset))
    }

    /// Nothing if the pairs above a group did not come.
    fn verify_group(&self, index: u64, bytes: &[u8]) -> Result<Option<()>, BlobError> {
        if index >= tree::groups(self.len) {
            let end = index.saturating_add(1).saturating_mul(GROUP_LEN as u64);
            return Err(BlobError::PastEnd { end, len: self.len });
        }
        let Some(Node { value, .. }) = self.node(index, 1)? else { return Ok(None) };
        let offset = index * GROUP_LEN as u64;
        let expected = (self.len - offset).min(GROUP_LEN as u64);
        if bytes.len() as u64 != expected || !tree::is_group(bytes, index, self.len, &value) {
            return Err(BlobError::Altered { offset, len: expected });
        }
        Ok(Some(()))
    }

    /// The node that has `groups` groups from the group `first` below it; nothing if the pairs
    /// above it did not come.
    fn node(&self, first: u64, groups: u64) -> Result<Option<Node>, BlobError> {
        let mut path = self.path();
        let is_in = |Node { at, .. }: &Node| {
            at.first <= first && first.saturating_add(groups) <= at.first + at.groups
        };
        while path.last().is_some_and(|node| !is_in(node)) {
            path.pop();
        }
        if path.is_empty() {
            path.push(Node { at: Subtree::whole(self.len), value: self.digest.0, below: None });
        }
        loop {
            let node = path.last_mut().expect("the root at least is there");
            if (node.at.first, node.at.groups) == (first, groups) {
                return Ok(Some(*node));
            }
            let offset = first.saturating_mul(GROUP_LEN as u64);
            let (left, right) = node.at.halves().ok_or(BlobError::TreeDamaged { offset })?;
            if node.below.is_none() {
                node.below = self.pair(&node.at, &node.value)?;
            }
            let Some(below) = node.below else { return Ok(None) };
            let (at, value) = if first < right.first { (left, below.0) } else { (right, below.1) };
            path.push(Node { at, value, below: None });
        }
    }

    fn path(&self) -> MutexGuard<'_, Vec<Node>> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn there(&self) -> MutexGuard<'_, Groups> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the groups of a subtree and all its pairs at once, if the pairs above it came before:
    /// nothing if they did not. Else the numbers of the groups that were wrong: they are not kept.
    ///
    /// # Errors
    /// If `pairs` are not those of this subtree: [`BlobError::TreeDamaged`]; nothing is kept then.
    ///
    /// # Panics
    /// If there are not as many pairs and bytes as the subtree has.
    pub fn put_subtree(
        &self,
        at: &Subtree,
        pairs: &[u8],
        bytes: &[u8],
    ) -> Result<Option<Vec<u64>>, BlobError> {
        let offset = at.first * GROUP_LEN as u64;
        let wrong = || BlobError::TreeDamaged { offset };
        let Some(Node { at, value, .. }) = self.node(at.first, at.groups)? else {
            return Ok(None);
        };
        let values = at.values(value, pairs);
        assert_eq!(bytes.len().div_ceil(GROUP_LEN).max(1), values.len(), "groups of a subtree");
        let values: Option<Vec<_>> = values.into_iter().collect();
        let values = values.ok_or_else(wrong)?;
        self.files.tree.write_at(at.base * PAIR_LEN as u64, pairs)?;
        let mut refused = Vec::new();
        let mut good: Range<usize> = 0..0;
        // An empty blob has one group, empty.
        let empty = bytes.is_empty().then_some(bytes);
        let groups =
            empty.into_iter().chain(bytes.chunks(GROUP_LEN)).zip((at.first..).zip(&values));
        for (group, (index, value)) in groups {
            if tree::is_group(group, index, self.len, value) {
                good.end += group.len();
                continue;
            }
            refused.push(index);
            self.write_across(offset, bytes, &good)?;
            good = good.end + group.len()..good.end + group.len();
        }
        self.write_across(offset, bytes, &good)?;
        let mut there = self.there();
        there.insert(at.first..at.first + at.groups);
        refused.iter().for_each(|index| there.remove(&(*index..*index + 1)));
        Ok(Some(refused))
    }

    /// Writes a part of `bytes`, which begin at `offset` of the blob, into the files of its data.
    fn write_across(&self, offset: u64, bytes: &[u8], part: &Range<usize>) -> io::Result<()> {
        let part_len = self.writer.depot.part_len;
        let (mut at, mut rest) = (offset + part.start as u64, &bytes[part.clone()]);
        while !rest.is_empty() {
            let (file, inside) = self.place(at);
            let room = usize::try_from(part_len - inside).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(room));
            file.write_at(inside, now)?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// The pair of a subtree as it was put, not verified again: who is given it does that. Nothing
    /// if it did not come.
    ///
    /// # Errors
    /// If the store fails.
    pub fn pair_at(&self, at: &Subtree) -> io::Result<Option<[u8; PAIR_LEN]>> {
        let Some(offset) = at.pair_offset() else { return Ok(None) };
        let mut pair = [0; PAIR_LEN];
        Ok(read_there(&*self.files.tree, offset, &mut pair)?.then_some(pair))
    }

    /// Fills `bytes` with groups from `first` on as they were put, not verified again.
    ///
    /// # Errors
    /// If they were never put, or the store fails.
    ///
    /// # Panics
    /// If there are no such groups.
    pub fn groups_at(&self, first: u64, bytes: &mut [u8]) -> io::Result<()> {
        let part_len = self.writer.depot.part_len;
        let (mut at, mut rest) = (first * GROUP_LEN as u64, bytes);
        while !rest.is_empty() {
            let (file, inside) = self.place(at);
            let room = usize::try_from(part_len - inside).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_mut(rest.len().min(room));
            file.read_at(inside, now)?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// What has still to come, in bytes. Reads and hashes all that came.
    ///
    /// # Errors
    /// If the store fails.
    pub fn missing(&self) -> Result<Vec<Range<u64>>, BlobError> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut lacks = |at: &Subtree| {
            let start = at.first * GROUP_LEN as u64;
            let end = (start + at.groups * GROUP_LEN as u64).min(self.len);
            match missing.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => missing.push(start..end),
            }
        };
        let (mut group, mut there) = (vec![0; GROUP_LEN], Groups::default());
        let mut open = vec![(Subtree::whole(self.len), self.digest.0)];
        while let Some((at, value)) = open.pop() {
            if let Some((left, right)) = at.halves() {
                match self.pair(&at, &value)? {
                    Some(below) => open.extend([(right, below.1), (left, below.0)]),
                    None => lacks(&at),
                }
                continue;
            }
            let offset = at.first * GROUP_LEN as u64;
            let len = usize::try_from(self.len - offset).unwrap_or(GROUP_LEN).min(GROUP_LEN);
            let (file, inside) = self.place(offset);
            let is_read = read_there(file, inside, &mut group[..len])?;
            if !is_read || !tree::is_group(&group[..len], at.first, self.len, &value) {
                lacks(&at);
                continue;
            }
            there.insert(at.first..at.first + 1);
        }
        *self.there() = there;
        Ok(missing)
    }

    /// Makes what came last through a power cut.
    ///
    /// # Errors
    /// If the store fails.
    pub fn sync(&self) -> io::Result<()> {
        self.files.sync()
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// Makes it a blob, once all of it is there and verified: `false` if something is missing.
    /// What was verified since this began is not read again: whoever reads the blob verifies it.
    /// [`Writer::hold`] then writes down that it came, once for all that do.
    ///
    /// # Errors
    /// If the store fails.
    pub fn finish(self) -> Result<bool, BlobError> {
        let is_there = self.there().covers(&(0..tree::groups(self.len)));
        if !is_there && !self.missing()?.is_empty() {
            return Ok(false);
        }
        self.sync()?;
        let store = &*self.writer.depot.store;
        for (name, _) in &self.files.data {
            store.promote(&name.partial(), name)?;
        }
        let tree = Name::tree(&self.digest);
        store.promote(&tree.partial(), &tree)?;
        Ok(true)
    }

    fn place(&self, offset: u64) -> (&dyn Edit, u64) {
        let part_len = self.writer.depot.part_len;
        let index = usize::try_from(offset / part_len).unwrap_or(usize::MAX);
        (&*self.files.data[index].1, offset % part_len)
    }

    /// The values below a subtree, if its pair came.
    fn pair(&self, at: &Subtree, value: &[u8; 32]) -> io::Result<Option<([u8; 32], [u8; 32])>> {
        let Some(offset) = at.pair_offset() else { return Ok(None) };
        let mut pair = [0; PAIR_LEN];
        let there = read_there(&*self.files.tree, offset, &mut pair)?;
        Ok(tree::split(&pair, value, at.is_root).filter(|_| there))
    }
}

impl Files {
    /// Makes what was written through a power cut. Once that has failed it fails for good: the
    /// system says only once that it could not write, and forgets what. It may yet show what it
    /// could not write; so whoever goes on reads from the disk what came.
    ///
    /// # Errors
    /// If the store fails, or did.
    pub fn sync(&self) -> io::Result<()> {
        // One at a time: else the error could go to whoever does not need it.
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_failed {
            return Err(io::Error::other("what was written before could not be made durable"));
        }
        let files = || self.data.iter().map(|(_, file)| file).chain([&self.tree]);
        // All of them: an error that is not asked for is told to whoever syncs next.
        let synced = files().map(|file| file.sync()).fold(Ok(()), io::Result::and);
        *has_failed = synced.is_err();
        if *has_failed {
            files().for_each(|file| file.forget().unwrap_or_default());
        }
        synced
    }
}

/// Reads what may not have been written yet.
fn read_there(file: &dyn Edit, offset: u64, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_at(offset, bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
