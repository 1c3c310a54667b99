//! Pieces of a blob on their way from a source onto the shelf: whatever comes is verified first.

use bytes::Bytes;
use neap_engine::digest::Digest;

use crate::groups::Groups;
use crate::shelf::{Piece, Shelf};
use crate::slice::{Decoder, SliceError, Verified};
use crate::swarm::End;

/// Takes the slice of some groups of a blob.
pub(super) struct Taker<'a> {
    shelf: &'a Shelf,
    blob: Digest,
    decoder: Decoder,
}

impl<'a> Taker<'a> {
    pub(super) fn new(shelf: &'a Shelf, (blob, len): (Digest, u64), groups: Groups) -> Self {
        Self { shelf, blob, decoder: Decoder::new(&blob, len, groups) }
    }

    /// Whether all of it came.
    pub(super) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Takes bytes and keeps what they complete: which groups, and how it ended if it did.
    pub(super) async fn take(&mut self, chunks: &mut [Bytes]) -> (Groups, Option<(End, String)>) {
        let mut batch = Batch::default();
        let wrong = self.verify(chunks, &mut batch);
        match self.keep(batch).await {
            Ok(new) => (new, wrong),
            Err(lost) => (Groups::default(), Some(lost)),
        }
    }

    /// Adds what these bytes complete to a batch; says what is wrong with them if anything is.
    pub(super) fn verify(
        &mut self,
        chunks: &mut [Bytes],
        batch: &mut Batch,
    ) -> Option<(End, String)> {
        let Batch { pieces, new, len } = batch;
        for chunk in chunks {
            let pushed = self.decoder.push::<SliceError>(&std::mem::take(chunk), &mut |verified| {
                pieces.push(match verified {
                    Verified::Pair { first, groups, pair } => {
                        Piece::Pair { first, groups, pair: *pair }
                    }
                    Verified::Group { index, bytes } => {
                        new.insert(index..index + 1);
                        *len += bytes.len();
                        Piece::Group { index, bytes: bytes.to_vec() }
                    }
                });
                Ok(())
            });
            if let Err(error) = pushed {
                return Some((End::Wrong, error.to_string()));
            }
        }
        None
    }

    /// Keeps a batch: which groups those are, or how it ended. What is polled does not borrow the
    /// taker, so that the next batch is verified meanwhile.
    pub(super) fn keep(
        &self,
        batch: Batch,
    ) -> impl Future<Output = Result<Groups, (End, String)>> + use<> {
        let (shelf, blob) = (self.shelf.clone(), self.blob);
        async move {
            if !batch.pieces.is_empty() {
                let kept = shelf.keep(blob, batch.pieces).await;
                kept.map_err(|error| (End::Lost, error.to_string()))?;
            }
            Ok(batch.new)
        }
    }
}

/// Pieces that were verified and are not kept yet.
#[derive(Default)]
pub(super) struct Batch {
    pieces: Vec<Piece>,
    new: Groups,
    /// Bytes of its groups.
    pub(super) len: usize,
}

impl Batch {
    /// Whether there is nothing to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}
