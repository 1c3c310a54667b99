//! What a search keeps while it looks.

use super::*;

/// Each empty frame kept a container, and an image can have one in 11 bytes.
#[test]
fn streams_without_blocks_are_not_kept() {
    let frame = [4, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 0, 0, 0, 0];
    let image = [frame.repeat(1000), vec![0; 64]].concat();
    let mut search = Search::new(&image, &[]);
    let candidates = scan::scan(&image, 0..image.len() as u64).expect("it is in memory");
    let found = look(Reader::new(&image, u64::MAX), &candidates[0]).0;
    assert_eq!(found.expect("it is a frame").container.len, frame.len() as u64);
    search.streams(&candidates).expect("it is in memory");
    assert!(search.containers.is_empty());
}

/// An archive is found entry by entry and known by its first one, so a second look at what stayed
/// packed took the others for an archive of their own, and its blocks were counted twice.
#[test]
fn entries_of_a_known_archive_are_not_found_again() {
    // An empty stored deflate block, and no name.
    let stream = [1, 0, 0, 0xff, 0xff];
    let header = [&b"PK\x03\x04\x14\0\0\0\x08\0"[..], &[0; 8], &[5, 0, 0, 0], &[0; 8]].concat();
    let entry = [&header[..], &stream].concat();
    let image = [entry.repeat(3), b"PK\x01\x02".to_vec(), vec![0; 512]].concat();
    let found = find(&image, &[]).expect("it is in memory");
    assert_eq!((found.containers.len(), found.blocks.len()), (1, 3));
    let fronts = found.containers.iter().map(|container| container.offset);
    let mut known: Vec<u64> = fronts.chain(found.blocks.iter().map(|block| block.offset)).collect();
    known.sort_unstable();
    assert_eq!(find(&image, &known).expect("it is in memory"), Found::default());
}
