//! Taking blobs from a stick: range by range into a partial blob, then at once as a whole.
//!
//! A stick may be pulled at any moment, have a bad spot, or lie. What came and was verified stays,
//! and the next stick goes on from there: the same one, or any other that has what is missing.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use neap_depot::blob::{Blob, BlobError};
use neap_depot::limits::GROUP_LEN;
use neap_depot::partial::Partial;
use neap_depot::tree::{PAIR_LEN, Subtree};
use neap_depot::writer::Writer;

use crate::error::StickError;
use crate::limits::{ALTERED_GROUPS_MAX, RUN_GROUPS, SYNC_EVERY, UNREADABLE_MAX};

/// What came of one blob.
#[derive(Debug, Default)]
pub struct Taken {
    /// Bytes that were there before, from this stick or another.
    pub before: u64,
    /// Bytes that came now.
    pub came: u64,
    /// Bytes of it that this stick has wrong.
    pub altered: u64,
    /// Bytes of it that this stick could not give.
    pub unreadable: u64,
    /// Whether all of it is there now.
    pub is_whole: bool,
    /// What the system said where the stick stopped giving anything.
    pub gone: Option<io::Error>,
}

/// Takes what is missing of a blob. `told` is called with bytes as they come.
///
/// # Errors
/// If the depot cannot be written, or so much of the blob is wrong that it is another one.
pub fn take(
    blob: &Blob,
    writer: &Writer<'_>,
    told: &mut dyn FnMut(u64),
) -> Result<Taken, StickError> {
    let kept = |error: BlobError| StickError::Io { what: "the depot".into(), error: error.into() };
    let partial = writer.partial(blob.digest(), blob.len()).map_err(|e| kept(e.into()))?;
    let missing = partial.missing().map_err(kept)?;
    let lacks: u64 = missing.iter().map(|range| range.end - range.start).sum();
    let taken = Taken { before: blob.len() - lacks, ..Taken::default() };
    let files = Arc::clone(partial.files());
    let mut work = Work { blob, partial: &partial, missing, taken, unsynced: 0, failed: 0, told };
    let walked = work.walk();
    let mut taken = work.taken;
    let finished = walked.and_then(|()| partial.finish().map_err(kept));
    // What is whole was synced before it took its name.
    if !matches!(finished, Ok(true)) {
        files.sync().map_err(|e| kept(e.into()))?;
    }
    taken.is_whole = finished?;
    Ok(taken)
}

/// One blob that is coming.
struct Work<'a> {
    blob: &'a Blob,
    partial: &'a Partial<'a>,
    missing: Vec<Range<u64>>,
    taken: Taken,
    unsynced: u64,
    /// Reads that failed one after the other.
    failed: u64,
    told: &'a mut dyn FnMut(u64),
}

impl Work<'_> {
    /// From the root down to subtrees that are taken at once; pairs come before what is below.
    fn walk(&mut self) -> Result<(), StickError> {
        let mut open = vec![Subtree::whole(self.blob.len())];
        while let Some(at) = open.pop() {
            if self.taken.gone.is_some() {
                return Ok(());
            }
            if !self.is_missing(&at) {
                continue;
            }
            if at.groups <= RUN_GROUPS {
                self.run(&at)?;
            } else if self.pair(&at)?
                && let Some((left, right)) = at.halves()
            {
                open.extend([right, left]);
            }
        }
        Ok(())
    }

    fn range(&self, at: &Subtree) -> Range<u64> {
        let start = at.first * GROUP_LEN as u64;
        start..(start + at.groups * GROUP_LEN as u64).min(self.blob.len())
    }

    /// Bytes of a range that were missing when this began.
    fn lacks(&self, range: &Range<u64>) -> u64 {
        let inside = self.missing.iter().map(|missing| {
            missing.end.min(range.end).saturating_sub(missing.start.max(range.start))
        });
        inside.sum()
    }

    fn is_missing(&self, at: &Subtree) -> bool {
        let range = self.range(at);
        let overlaps = |m: &Range<u64>| m.start < range.end && range.start < m.end;
        self.missing.iter().any(overlaps)
    }

    /// Takes the pair of a large subtree: `false` if the stick has it wrong or not at all.
    fn pair(&mut self, at: &Subtree) -> Result<bool, StickError> {
        let mut pair = [0; PAIR_LEN];
        let Some(offset) = at.pair_offset() else { return Ok(true) };
        if let Err(error) = self.blob.tree().read_at(offset, &mut pair) {
            self.unreadable(at, error);
            return Ok(false);
        }
        match self.partial.put_pair(at.first, at.groups, &pair) {
            Ok(put) => Ok(put),
            Err(BlobError::TreeDamaged { .. }) => self.altered(at).map(|()| false),
            Err(error) => Err(self.kept(error)),
        }
    }

    /// Takes all groups of a small subtree.
    fn run(&mut self, at: &Subtree) -> Result<(), StickError> {
        let pairs = usize::try_from(at.groups - 1).unwrap_or_default() * PAIR_LEN;
        let mut pairs = vec![0; pairs];
        if let Err(error) = self.blob.tree().read_at(at.base * PAIR_LEN as u64, &mut pairs) {
            self.unreadable(at, error);
            return Ok(());
        }
        let range = self.range(at);
        let (bytes, unread) = self.read(&range);
        // The stick reads on while this is verified and written, and while all of it is synced.
        let is_step = self.unsynced + self.lacks(&range) >= SYNC_EVERY;
        self.blob.ahead(range.end, if is_step { SYNC_EVERY } else { range.end - range.start });
        let wrong = match self.partial.put_subtree(at, &pairs, &bytes) {
            Ok(Some(wrong)) => wrong,
            Ok(None) => return Ok(()),
            Err(BlobError::TreeDamaged { .. }) => return self.altered(at),
            Err(error) => return Err(self.kept(error)),
        };
        let lens = wrong.iter().map(|index| {
            let start = index * GROUP_LEN as u64;
            self.lacks(&(start..(start + GROUP_LEN as u64).min(self.blob.len())))
        });
        let wrong: u64 = lens.sum();
        // What was here before did not come now.
        let came = self.lacks(&range).saturating_sub(wrong);
        self.taken.came += came;
        self.taken.unreadable += unread.min(wrong);
        self.taken.altered += wrong.saturating_sub(unread);
        (self.told)(came);
        self.unsynced += came;
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.partial.sync().map_err(|error| self.kept(error.into()))?;
        }
        self.is_it()
    }

    /// The bytes of a range; what cannot be read is left as zeros, and how much that is.
    fn read(&mut self, range: &Range<u64>) -> (Vec<u8>, u64) {
        let len = range.end - range.start;
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        let mut take = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        if self.blob.stream_unverified(range.start, len, &mut take).is_ok() {
            self.failed = 0;
            return (bytes, 0);
        }
        // Group by group: around a bad spot all else is good.
        bytes.clear();
        let mut unread = 0;
        for start in range.clone().step_by(GROUP_LEN) {
            let now = (range.end - start).min(GROUP_LEN as u64);
            let before = bytes.len();
            let end = before + usize::try_from(now).unwrap_or_default();
            let mut take = |piece: &[u8]| {
                bytes.extend_from_slice(piece);
                Ok(())
            };
            let read = match self.taken.gone {
                None => self.blob.stream_unverified(start, now, &mut take),
                Some(_) => Err(io::ErrorKind::NotConnected.into()),
            };
            match read {
                Ok(()) => self.failed = 0,
                Err(error) => {
                    unread += now;
                    self.fail(error);
                    bytes.truncate(before);
                }
            }
            bytes.resize(end, 0);
        }
        (bytes, unread)
    }

    fn fail(&mut self, error: io::Error) {
        self.failed += 1;
        if self.failed >= UNREADABLE_MAX && self.taken.gone.is_none() {
            self.taken.gone = Some(error);
        }
    }

    fn unreadable(&mut self, at: &Subtree, error: io::Error) {
        let range = self.range(at);
        self.taken.unreadable += self.lacks(&range);
        self.fail(error);
    }

    fn altered(&mut self, at: &Subtree) -> Result<(), StickError> {
        let range = self.range(at);
        self.taken.altered += self.lacks(&range);
        self.is_it()
    }

    /// Gives up a blob of which too much is wrong.
    fn is_it(&self) -> Result<(), StickError> {
        let allowed = ALTERED_GROUPS_MAX * GROUP_LEN as u64 + self.taken.came;
        if self.taken.altered <= allowed {
            return Ok(());
        }
        let (offset, len) = (0, self.taken.altered);
        let error = BlobError::Altered { offset, len };
        Err(StickError::Blob { digest: *self.blob.digest(), error })
    }

    fn kept(&self, error: BlobError) -> StickError {
        StickError::Io { what: "the depot".into(), error: error.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use neap_depot::depot::Depot;
    use neap_depot::directory::Directory;
    use neap_depot::memory::Memory;
    use neap_depot::writer::Present;
    use neap_engine::digest::Digest;

    use super::*;

    fn depot(memory: &Memory) -> Depot {
        Depot::new(Box::new(Directory::new(memory.clone())))
    }

    fn with(bytes: &[u8]) -> (Memory, Digest) {
        let memory = Memory::default();
        let depot = depot(&memory);
        let writer = depot.writer("test").expect("free");
        let added = writer.add(&mut Cursor::new(bytes), Present::Verify).expect("added");
        drop(writer);
        (memory, added.digest)
    }

    fn image(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 333).to_le_bytes()[0]).collect()
    }

    fn take_from(stick: &Memory, digest: &Digest, to: &Depot) -> Result<Taken, StickError> {
        let from = depot(stick);
        let blob = from.blob(digest).expect("by its lengths").expect("it is there");
        let writer = to.writer("test").expect("free");
        take(&blob, &writer, &mut |_| {})
    }

    #[test]
    fn whole_blobs_of_every_size_are_taken() {
        let group = GROUP_LEN;
        let run = usize::try_from(RUN_GROUPS).expect("few") * group;
        for len in [0, 1, group - 1, group, group + 1, 2 * group + 1, run, run + 1, 3 * run + 77] {
            let bytes = image(len);
            let (stick, digest) = with(&bytes);
            let home = Memory::default();
            let to = depot(&home);
            let taken = take_from(&stick, &digest, &to).expect("taken");
            assert!(taken.is_whole, "{len}: {taken:?}");
            assert_eq!((taken.before, taken.came), (0, len as u64));
            let blob = to.blob(&digest).expect("whole").expect("there");
            assert!(blob.check().expect("read").is_good(), "{len}");
        }
    }

    #[test]
    fn two_sticks_with_different_bad_spots_make_a_whole() {
        let bytes = image(5 << 20);
        let (first, digest) = with(&bytes);
        let (second, _) = with(&bytes);
        let file = digest.to_string();
        first.flip("blobs", &file, 100);
        first.flip("blobs", &file, 3 << 20);
        second.flip("blobs", &file, 2 << 20);
        let home = Memory::default();
        let to = depot(&home);
        let taken = take_from(&first, &digest, &to).expect("in part");
        assert!(!taken.is_whole);
        assert_eq!(taken.altered, 2 * GROUP_LEN as u64);
        let taken = take_from(&second, &digest, &to).expect("the rest");
        assert!(taken.is_whole, "{taken:?}");
        // What was here before did not come again, though its run was read as a whole.
        assert_eq!(taken.before, (5 << 20) - 2 * GROUP_LEN as u64);
        assert_eq!((taken.came, taken.altered), (2 * GROUP_LEN as u64, 0));
    }

    #[test]
    fn blob_of_zeros_is_given_up_early() {
        let bytes = image(40 << 20);
        let (stick, digest) = with(&bytes);
        let file = digest.to_string();
        let held = stick.open_for_edit("blobs", &file);
        held.write_at(0, &vec![0; 40 << 20]).expect("written");
        let to = depot(&Memory::default());
        let refused = take_from(&stick, &digest, &to).expect_err("it is another blob");
        assert!(matches!(refused, StickError::Blob { .. }), "{refused}");
    }

    trait Editable {
        fn open_for_edit(&self, folder: &str, file: &str) -> Box<dyn neap_depot::store::Edit>;
    }

    impl Editable for Memory {
        fn open_for_edit(&self, folder: &str, file: &str) -> Box<dyn neap_depot::store::Edit> {
            use neap_depot::files::Files as _;
            Box::new(self.edit(folder, file).expect("it is there"))
        }
    }
}
