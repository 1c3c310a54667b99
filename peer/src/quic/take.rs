//! Pieces of a blob on their way from a source onto the shelf: whatever comes is verified first.

use std::io;

use neap_engine::digest::Digest;

use crate::groups::Groups;
use crate::shelf::{Kept, Shelf};
use crate::slice::Splitter;
use crate::swarm::End;

/// Takes the slice of some groups of a blob.
pub(super) struct Taker<'a> {
    shelf: &'a Shelf,
    blob: Digest,
    splitter: Splitter,
}

/// How an answer ended, and why if that is to be said.
pub(super) type Ended = (End, String);

impl<'a> Taker<'a> {
    pub(super) fn new(shelf: &'a Shelf, (blob, len): (Digest, u64), groups: Groups) -> Self {
        Self { shelf, blob, splitter: Splitter::new(len, groups) }
    }

    /// Whether all of it came.
    pub(super) fn is_done(&self) -> bool {
        self.splitter.is_done()
    }

    /// Whether there is anything to keep.
    pub(super) fn has_pieces(&self) -> bool {
        self.splitter.has_pieces()
    }

    /// Bytes that can be kept.
    pub(super) fn complete(&self) -> usize {
        self.splitter.complete()
    }

    /// Takes bytes and keeps what they complete: which groups, and how it ended if it did.
    ///
    /// # Errors
    /// If our own depot fails: that is nobody's fault, and no other source helps.
    pub(super) async fn take(&mut self, bytes: &[u8]) -> io::Result<(Groups, Option<Ended>)> {
        let longer = self.split(bytes);
        let (groups, wrong) = self.keep().await?;
        Ok((groups, wrong.or(longer)))
    }

    /// Takes bytes, to be kept; says if there are more than were asked for.
    pub(super) fn split(&mut self, bytes: &[u8]) -> Option<Ended> {
        let pushed = self.splitter.push(bytes);
        pushed.err().map(|error| (End::Wrong, error.to_string()))
    }

    /// Verifies and keeps what is complete: which groups, and how it ended if it did. What is
    /// polled does not borrow the taker, so that more comes meanwhile.
    ///
    /// # Errors
    /// As [`Taker::take`].
    pub(super) fn keep(
        &mut self,
    ) -> impl Future<Output = io::Result<(Groups, Option<Ended>)>> + use<> {
        let (shelf, blob, pieces) = (self.shelf.clone(), self.blob, self.splitter.take());
        async move {
            if pieces.is_empty() {
                return Ok((Groups::default(), None));
            }
            let Kept { groups, wrong } = shelf.keep(blob, pieces).await?;
            Ok((groups, wrong.map(|error| (End::Wrong, error.to_string()))))
        }
    }
}
