//! Pieces of a blob on their way from a source onto the shelf: whatever comes is verified first.

use std::io;

use bytes::Bytes;
use neap_engine::digest::Digest;

use crate::groups::Groups;
use crate::shelf::{Kept, Piece, Shelf};
use crate::slice::{SliceError, Splitter, Step};
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

    /// Takes bytes and keeps what they complete: which groups, and how it ended if it did.
    ///
    /// # Errors
    /// If our own depot fails: that is nobody's fault, and no other source helps.
    pub(super) async fn take(
        &mut self,
        chunks: &mut [Bytes],
    ) -> io::Result<(Groups, Option<Ended>)> {
        let mut batch = Batch::default();
        let longer = self.split(chunks, &mut batch);
        let (groups, wrong) = self.keep(batch).await?;
        Ok((groups, wrong.or(longer)))
    }

    /// Adds what these bytes complete to a batch; says if there are more than were asked for.
    pub(super) fn split(&mut self, chunks: &mut [Bytes], batch: &mut Batch) -> Option<Ended> {
        for chunk in chunks {
            let pushed =
                self.splitter.push::<SliceError>(&std::mem::take(chunk), &mut |step, bytes| {
                    if let Step::Group { .. } = step {
                        batch.len += bytes.len();
                    }
                    batch.pieces.push(Piece { step, bytes });
                    Ok(())
                });
            if let Err(error) = pushed {
                return Some((End::Wrong, error.to_string()));
            }
        }
        None
    }

    /// Verifies and keeps a batch: which groups, and how it ended if it did. What is polled does
    /// not borrow the taker, so that the next batch comes meanwhile.
    ///
    /// # Errors
    /// As [`Taker::take`].
    pub(super) fn keep(
        &self,
        batch: Batch,
    ) -> impl Future<Output = io::Result<(Groups, Option<Ended>)>> + use<> {
        let (shelf, blob) = (self.shelf.clone(), self.blob);
        async move {
            if batch.is_empty() {
                return Ok((Groups::default(), None));
            }
            let Kept { groups, wrong } = shelf.keep(blob, batch.pieces).await?;
            Ok((groups, wrong.map(|error| (End::Wrong, error.to_string()))))
        }
    }
}

/// Pieces that are neither verified nor kept yet.
#[derive(Default)]
pub(super) struct Batch {
    pieces: Vec<Piece>,
    /// Bytes of its groups.
    pub(super) len: usize,
}

impl Batch {
    /// Whether there is nothing to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}
