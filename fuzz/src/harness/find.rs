//! Looking for packed blocks: whatever an image holds, those found are in it and beside each other.

use neap_engine::unpack::Codec;
use neap_engine::unpack::derived::Derived;
use neap_engine::unpack::find::{find, regions};

/// Blocks are in order, inside the image, and counted by their containers; regions are derived from
/// what lies before them.
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
    let mut end = 0;
    for region in regions(&image, &found).expect("memory can be read") {
        let start = region.block.offset;
        assert!(start >= end, "{region:?}");
        end = start + region.block.len;
        let plain = region.derived.encode();
        let again = Derived::decode(region.block.codec, &plain, start..end);
        assert_eq!(again, Ok(region.derived));
        let made = made(&again.expect("it is the same"), &image[..start as usize]);
        assert_eq!(made, image[start as usize..end as usize]);
    }
}

/// Parameters of a region, which are refused or make all of it from what lies before it.
pub fn derived(bytes: &[u8]) {
    let Some((&[kind, offset, len], plain)) = bytes.split_first_chunk() else { return };
    let codec = if kind & 1 == 0 { Codec::Verity } else { Codec::Fec };
    let (start, len) = (u64::from(offset) << 9, (1 + u64::from(len)) << 9);
    let Ok(derived) = Derived::decode(codec, plain, start..start + len) else { return };
    assert_eq!(derived.encode(), plain);
    assert_eq!(made(&derived, &vec![kind; start as usize]).len() as u64, len);
}

fn made(derived: &Derived, before: &[u8]) -> Vec<u8> {
    let made = derived.make(|offset, into: &mut [u8]| {
        let bytes = before.get(offset as usize..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(bytes.ok_or("it is not before the region")?);
        Ok::<_, &str>(())
    });
    made.expect("what is needed lies before the region")
}
