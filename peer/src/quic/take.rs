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
        let (mut pieces, mut new) = (Vec::new(), Groups::default());
        let mut wrong = None;
        for chunk in chunks {
            let pushed = self.decoder.push::<SliceError>(&std::mem::take(chunk), &mut |verified| {
                pieces.push(match verified {
                    Verified::Pair { first, groups, pair } => {
                        Piece::Pair { first, groups, pair: *pair }
                    }
                    Verified::Group { index, bytes } => {
                        new.insert(index..index + 1);
                        Piece::Group { index, bytes: bytes.to_vec() }
                    }
                });
                Ok(())
            });
            if let Err(error) = pushed {
                wrong = Some((End::Wrong, error.to_string()));
                break;
            }
        }
        if !pieces.is_empty()
            && let Err(error) = self.shelf.keep(self.blob, pieces).await
        {
            return (Groups::default(), Some((End::Lost, error.to_string())));
        }
        (new, wrong)
    }
}
