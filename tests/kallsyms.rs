//! Symbols of kernels: found by what follows from what, sent without what follows from the rest,
//! and the same again on the device.

use neap_engine::diff::{Coder, Options, Parts};
use neap_engine::io::drive;
use neap_engine::unpack::codec::{Methods, Rebuilt};
use neap_engine::unpack::{Block, Codec, find};
use neap_sim::kallsyms::{Layout, Symbol, symbols, tables};
use neap_sim::layered;
use neap_sim::random::Random;
use neap_sim::run::resumed;

const LAYOUTS: [(Layout, usize); 4] =
    [(Layout::Before, 8), (Layout::Before, 4), (Layout::Behind, 8), (Layout::Behind, 4)];

/// The tables, with other bytes on both sides.
fn image(symbols: &[Symbol], (layout, word): (Layout, usize), lead: usize) -> Vec<u8> {
    let mut random = Random::new(7);
    let mut image = random.bytes(lead);
    image.extend(tables(symbols, layout, word));
    image.extend(random.bytes(40_000));
    image
}

fn found(image: &[u8]) -> Vec<Block> {
    let found = find::find(&image.to_vec(), &[]).expect("memory can be read").blocks;
    found.into_iter().filter(|block| matches!(block.codec, Codec::Kallsyms(_))).collect()
}

/// The bytes of a block and what they unpack to.
fn unpacked(image: &[u8], block: Block) -> (Vec<u8>, Vec<u8>) {
    let start = usize::try_from(block.offset).expect("it is in memory");
    let len = usize::try_from(block.len).expect("it is in memory");
    let packed = image[start..start + len].to_vec();
    let plain = block.codec.unpack(&packed, len).expect("it unpacks");
    (packed, plain)
}

#[test]
fn symbols_of_each_layout_are_found_anywhere_and_packed_again() {
    for layout in LAYOUTS {
        for (count, lead) in [(4096, 0), (5000, 1), (6143, 70_001), (6144, 4), (6145, 8190)] {
            let image = image(&symbols(count, lead as u64), layout, lead);
            let blocks = found(&image);
            assert_eq!(blocks.len(), 1, "{layout:?}, {count}: {blocks:?}");
            let block = blocks[0];
            let Codec::Kallsyms(kallsyms) = block.codec else { unreachable!("they were chosen") };
            assert_eq!(kallsyms.count as usize, count);
            let (packed, plain) = unpacked(&image, block);
            let sequence = &plain[kallsyms.sequence as usize..][..3 * count];
            assert!(sequence.iter().all(|byte| *byte == 0));
            let rebuilt = Methods::default().find(block.codec, &packed, &plain);
            let Rebuilt { method, correction, .. } = rebuilt.expect("it is packed again");
            assert_eq!(method.pack(&plain, &correction, packed.len()), Ok(packed));
            assert_eq!(plain.len() as u64, block.len, "what is around it keeps its place");
        }
    }
}

/// A function that grew moves all behind it, and a symbol more is in front of half of the others.
#[test]
fn one_symbol_more_and_one_that_grew_change_little_of_what_is_sent() {
    let count = 6000;
    let old = symbols(count, 1);
    let mut new = old.clone();
    new[1000].0 += 16;
    new.insert(3000, (32, "tlock_more".into()));
    for layout in LAYOUTS {
        let [source, target] = [&old, &new].map(|symbols| image(symbols, layout, 4096));
        let [with, without] = [true, false].map(|unpack| {
            let parts = Parts { unpack, ..Parts::default() };
            let options = Options { effort: 3, coder: Coder::Zstd, parts, ..Options::default() };
            layered::diffed(source.clone(), target.clone(), &options).0
        });
        let blocks = with.header.blocks.as_ref().expect("it has blocks");
        let mut codecs = blocks.methods.iter().map(|method| method.codec());
        assert!(codecs.any(|codec| matches!(codec, Codec::Kallsyms(_))));
        for one_thread in [true, false] {
            let options = drive::Options { one_thread, ..drive::Options::default() };
            assert!(resumed(&with, 0, options).is_ok_and(|made| made == target), "{layout:?}");
        }
        assert_eq!(neap_reference::apply(&with.patch, &source).as_ref(), Ok(&target));
        let [with, without] = [with, without].map(|pair| pair.patch.len());
        println!("{layout:?}: {with} bytes, {without} with all of it");
        assert!(with * 4 < without, "{layout:?}: {with} bytes, {without} with all of it");
    }
}

#[test]
fn what_is_not_quite_symbols_is_not_found_and_never_panics() {
    for layout in LAYOUTS {
        let whole = image(&symbols(4500, 2), layout, 100);
        let block = found(&whole)[0];
        let Codec::Kallsyms(kallsyms) = block.codec else { unreachable!("they were chosen") };
        let places = [kallsyms.markers + 9, kallsyms.index + 301, kallsyms.sequence + 1];
        for place in places.map(u64::from) {
            let mut image = whole.clone();
            let at = usize::try_from(block.offset + place).expect("it is in memory");
            image[at] ^= 0x55;
            let is_rebuilt = found(&image).first().is_some_and(|block| {
                let (packed, plain) = unpacked(&image, *block);
                Methods::default().find(block.codec, &packed, &plain).is_some()
            });
            assert!(!is_rebuilt, "{layout:?}, {place}");
        }
        let mut random = Random::new(3);
        for _ in 0..200 {
            let mut image = whole.clone();
            image.truncate(1 + random.index(whole.len()));
            for _ in 0..random.index(6) {
                let at = random.index(image.len());
                image[at] = random.bytes(1)[0];
            }
            for block in found(&image) {
                let (packed, plain) = unpacked(&image, block);
                if let Some(rebuilt) = Methods::default().find(block.codec, &packed, &plain) {
                    let made = rebuilt.method.pack(&plain, &rebuilt.correction, packed.len());
                    assert_eq!(made, Ok(packed));
                }
            }
        }
    }
}
