//! Whole patches: applied at once, resumed at every window, and by the reference.

use std::collections::BTreeSet;

use neap_engine::apply::Checkpoint;
use neap_engine::digest::Digest;
use neap_engine::io::drive::{self, Applied, Options, Stopped};
use neap_engine::io::error::DriveError;
use neap_engine::io::memory::{MemoryJournal, PatchBytes};
use neap_engine::journal::Slot;
use neap_engine::limits::IMAGE_SIZE_MAX;
use neap_sim::layered;

use super::build;
use super::choices::Choices;
use super::seal;
use super::sparse::SparseTarget;

/// Any bytes are refused as a patch, or make what they promise.
pub fn patch_apply(bytes: &[u8]) {
    let source = build::image(200_001);
    let mut target = SparseTarget::default();
    let many_threads = bytes.len().is_multiple_of(8);
    let result = applied(bytes, source, &mut target, &mut MemoryJournal::default(), many_threads);
    holds(&result, &target);
}

/// Wrong contents with right digests around them are refused, or make what they promise.
pub fn patch_sealed(bytes: &[u8]) {
    let Some(mut patch) = seal::patch(&seal::sections(bytes)) else { return };
    let size = patch.get(24..).and_then(<[u8]>::first_chunk).map_or(0, |s| u64::from_le_bytes(*s));
    let source = build::source_of(size);
    seal::promise_what_is_made(&mut patch, source);
    agreed(&patch, source);
}

/// The engine and the reference accept the same patches, and make the same of them.
pub fn fast_vs_reference(bytes: &[u8]) {
    if bytes.len() % 8 == 7 {
        // Frames of all coders, with regions, as `cm` is not coded by a build with faults.
        let mut choices = Choices::new(bytes);
        let pair = layered::by_hand(1 + choices.word() as usize, choices.number());
        assert!(agreed(&pair.patch, &pair.source) == Some(pair.target), "the target differs");
        return;
    }
    let (patch, source) = build::patch(&mut Choices::new(bytes));
    agreed(&patch, source);
}

/// Applies a patch in every way there is; all must agree. Gives the target if there is one.
fn applied_every_way(patch: &[u8], source: &[u8]) -> Result<Vec<u8>, DriveError> {
    let mut target = SparseTarget::default();
    let result = applied(patch, source, &mut target, &mut MemoryJournal::default(), false);
    holds(&result, &target);
    let header = result.map_err(|stopped| stopped.error)?.header;
    let image = target.image().expect("an applied target has no holes");
    let count = header.target_windows.len() as u64;
    for windows in BTreeSet::from([1.min(count), count / 2, count]) {
        let mut journal = MemoryJournal::default();
        let checkpoint = Checkpoint { patch: header.id, windows };
        journal.slots[1] = Slot { sequence: 1, checkpoint }.encode();
        let mut resumed = SparseTarget::default();
        let done = target.windows.iter().take(windows as usize);
        resumed.windows.extend(done.map(|(offset, bytes)| (*offset, bytes.clone())));
        let result = applied(patch, source, &mut resumed, &mut journal, windows == 1);
        let applied = result.expect("a patch that was applied at once is applied when resumed");
        assert_eq!(applied.windows_resumed, windows);
        assert!(resumed.image().as_ref() == Some(&image), "resumed behind window {windows}");
    }
    Ok(image)
}

/// The engine and the reference agree on this patch. Gives the target if they accept it.
pub fn agreed(patch: &[u8], source: &[u8]) -> Option<Vec<u8>> {
    let made = applied_every_way(patch, source);
    // Such a target was not made, whether or not it can be.
    if is_large(patch) {
        return None;
    }
    let expected = neap_reference::apply(patch, source);
    match (expected, &made) {
        (Ok(expected), Ok(made)) => assert!(*made == expected, "the targets differ"),
        (expected, made) => assert!(
            expected.is_err() && made.is_err(),
            "one refuses; the reference: {:?}; the engine: {:?}",
            expected.err(),
            made.as_ref().err()
        ),
    }
    made.ok()
}

/// Whether the patch promises more than a [`SparseTarget`] keeps.
fn is_large(patch: &[u8]) -> bool {
    let header = drive::read_header(&mut PatchBytes::new(patch));
    header.is_ok_and(|header| header.target_size > SparseTarget::KEPT_MAX as u64)
}

fn applied(
    patch: &[u8],
    source: &[u8],
    target: &mut SparseTarget,
    journal: &mut MemoryJournal,
    many_threads: bool,
) -> Result<Applied, Stopped> {
    let options = Options { one_thread: !many_threads, ..Options::default() };
    let mut input = PatchBytes::new(patch);
    drive::apply(&mut input, &source.to_vec(), target, journal, options, &|_| {})
}

/// What must hold after any apply.
fn holds(result: &Result<Applied, Stopped>, target: &SparseTarget) {
    match result {
        Ok(applied) => {
            let header = &applied.header;
            assert!(header.target_size <= IMAGE_SIZE_MAX);
            assert_eq!(target.size, Some(header.target_size));
            let image = target.image().expect("an applied target has no holes");
            assert_eq!(image.len() as u64, header.target_size);
            assert_eq!(Digest::of(&image), header.target_root);
        }
        Err(stopped) => {
            assert!(stopped.wrote || !target.touched(), "said not to have written");
            assert!(!matches!(stopped.error, DriveError::ReadBackDiffers { .. }));
            assert!(!stopped.error.to_string().is_empty());
        }
    }
}
