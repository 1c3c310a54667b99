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
