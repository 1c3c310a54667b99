//! Looking for packed blocks: whatever an image holds, those found are in it and beside each other.

use neap_engine::unpack::find::find;

/// Blocks are in order, inside the image, and counted by their containers.
pub fn unpack_find(bytes: &[u8]) {
    let image = bytes.to_vec();
    let found = find(&image, &[]).expect("memory can be read");
    let mut end = 0;
    for block in &found.blocks {
        assert!(block.offset >= end && block.len > 0, "{block:?}");
        end = block.offset + block.len;
    }
    assert!(end <= image.len() as u64, "{end}");
    let count: u64 = found.containers.iter().map(|container| container.block_count).sum();
    assert_eq!(count, found.blocks.len() as u64);
}
