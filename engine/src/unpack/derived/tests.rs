//! Trees and parity are those of veritysetup 2.6.1; hostile parameters are refused.

use proptest::prelude::*;
use sha2::Digest;

use super::{Derived, Fec, Hash, Verity};
use crate::unpack::Codec;

/// Bytes that anybody can make again.
fn data(len: usize) -> Vec<u8> {
    let len = u32::try_from(len).expect("it is small");
    (0..len).map(|index| (index.wrapping_mul(2_654_435_761) << 11).to_be_bytes()[0]).collect()
}

fn made(derived: &Derived, image: &[u8]) -> Vec<u8> {
    let made = derived.make(|offset, into: &mut [u8]| {
        let from = usize::try_from(offset).map_err(|_| offset)?;
        into.copy_from_slice(image.get(from..from + into.len()).ok_or(offset)?);
        Ok::<_, u64>(())
    });
    made.expect("it lies in the image")
}

fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tree(hash: Hash, is_padded: bool, log2: (u8, u8), count: u64, salt: &[u8]) -> Verity {
    let (data_block_log2, hash_block_log2) = log2;
    let (data_block_count, salt) = (count, salt.to_vec());
    let data_offset = 0;
    Verity {
        hash,
        is_padded,
        data_block_log2,
        hash_block_log2,
        data_offset,
        data_block_count,
        salt,
    }
}

#[test]
fn trees_are_those_of_veritysetup() {
    let bytes: Vec<u8> = (0..=255).collect();
    let trees = [
        (
            tree(Hash::Sha256, true, (12, 12), 301, &bytes[..32]),
            "fce3bc0cf760d95b0b785a05f331353dedbce40efd27c963876463b982ac21a5",
        ),
        (
            tree(Hash::Sha1, false, (10, 10), 300, &[]),
            "42d5b9d31edac094bd5460bea49bca48dc8c3e3be658065273a60d83c0ad72fd",
        ),
        (
            tree(Hash::Sha512, true, (9, 12), 300, &bytes),
            "6a151161882e60abdf12f96abffcab9411de24acd2ee09d0fa7d3e632dd1082a",
        ),
        (
            tree(Hash::Sha384, true, (12, 12), 2, &[0xff]),
            "89b9d402cd0413a64281847ed4b523a095fe44f3cf868d260b34aabf98772d55",
        ),
        (
            tree(Hash::Sha224, false, (9, 9), 300, &[0]),
            "482302bf0831e8dc607360943db2bd0cd8aa9f8a8164eb041bd81dfa9394b021",
        ),
    ];
    for (verity, expected) in trees {
        let image = data(usize::try_from(verity.data().end).expect("it is small"));
        let made = made(&Derived::Verity(verity.clone()), &image);
        assert_eq!(Some(made.len() as u64), verity.tree_len());
        assert_eq!(sha256(&made), expected, "{verity:?}");
    }
}

#[test]
fn parity_is_that_of_veritysetup() {
    let salt: Vec<u8> = (0..32).collect();
    let mut image = data(301 << 12);
    let tree = made(&Derived::Verity(tree(Hash::Sha256, true, (12, 12), 301, &salt)), &image);
    image.extend([0; 4096]);
    image.extend(tree);
    let parities = [
        (2, "117a1243579264aade970a0b013b881a2c5775430a9f02d5b8a7086792ffacfd"),
        (24, "c6d4bd63a5079f2cdff51b0528a79ad19be7338e3cbc676313e9187bc828bceb"),
    ];
    for (roots, expected) in parities {
        let ranges = vec![0..301 << 12, 302 << 12..306 << 12];
        let fec = Fec::new(roots, 12, ranges).expect("there is such parity");
        let whole = made(&Derived::Fec(fec.clone()), &image);
        assert_eq!(whole.len() as u64, fec.parity_len());
        assert_eq!(sha256(&whole), expected, "{roots} roots");
        // A part of the codes, as it is looked for.
        let mut part = vec![0; 100 * usize::from(roots)];
        fec.add_stripes(1000, &mut part, |offset, into: &mut [u8]| {
            let from = usize::try_from(offset).expect("it is small");
            into.copy_from_slice(&image[from..from + into.len()]);
            Ok::<_, ()>(())
        })
        .expect("it lies in the image");
        assert!(whole[1000 * usize::from(roots)..].starts_with(&part));
    }
}

/// A region that is accepted, with the parameters as a patch has them.
fn accepted() -> [(Codec, Vec<u8>, std::ops::Range<u64>); 2] {
    let verity = Derived::Verity(tree(Hash::Sha256, true, (12, 12), 301, &[1, 2, 3]));
    let fec = Fec::new(2, 12, vec![0..301 << 12, 302 << 12..306 << 12]).map(Derived::Fec);
    [(verity, 302 << 12), (fec.expect("there is such parity"), 306 << 12)].map(|(derived, at)| {
        let len = derived.region_len().expect("there is one");
        (derived.codec(), derived.encode(), at..at + len)
    })
}

#[test]
fn neighbours_of_accepted_parameters_are_refused() {
    for (codec, plain, region) in accepted() {
        let is_accepted = |plain: &[u8], region: std::ops::Range<u64>| {
            Derived::decode(codec, plain, region).is_ok()
        };
        let (start, end) = (region.start, region.end);
        assert!(is_accepted(&plain, region));
        // Longer, shorter, and before the end of what it is made from.
        assert!(!is_accepted(&plain, start..end + 1));
        assert!(!is_accepted(&plain, start..end - 1));
        let early = if codec == Codec::Fec { 306 << 12 } else { 301 << 12 };
        assert!(is_accepted(&plain, early..early + end - start));
        assert!(!is_accepted(&plain, early - 1..early - 1 + end - start));
        for len in 0..plain.len() {
            assert!(!is_accepted(&plain[..len], start..end), "{len} bytes");
        }
        assert!(!is_accepted(&[&plain[..], &[0]].concat(), start..end));
        // Where a byte of the parameters is, and a value that it cannot have.
        let wrong: &[(usize, u8)] = match codec {
            Codec::Fec => &[(0, 1), (0, 25), (1, 8), (1, 20), (2, 0), (2, 3), (12, 1), (18, 1)],
            _ => &[(0, 5), (1, 2), (2, 8), (2, 20), (3, 8), (3, 20), (11, 1), (19, 1), (21, 1)],
        };
        for (at, byte) in wrong {
            let mut plain = plain.clone();
            plain[*at] = *byte;
            assert!(!is_accepted(&plain, start..end), "byte {at} is {byte}");
        }
    }
}

proptest! {
    /// What is accepted lies before the region, makes all of it, and has one spelling.
    #[test]
    fn any_parameters_are_refused_or_make_the_region(
        is_fec: bool,
        changes in prop::collection::vec((0_usize..40, any::<u8>()), 0..4),
        shift in 0_u64..3,
    ) {
        let (codec, mut plain, region) = accepted()[usize::from(is_fec)].clone();
        for (at, byte) in changes {
            let len = plain.len();
            plain[at % len] = byte;
        }
        let end = region.end - region.start + (shift << 12) + region.start;
        let image = vec![7; usize::try_from(region.start).expect("it is small")];
        if let Ok(derived) = Derived::decode(codec, &plain, region.start..end) {
            prop_assert_eq!(derived.encode(), plain);
            prop_assert_eq!(made(&derived, &image).len() as u64, end - region.start);
        }
    }

    #[test]
    fn any_bytes_are_no_parameters_or_bounded_ones(
        plain in prop::collection::vec(any::<u8>(), 0..60),
        len in 1_u64..1 << 20,
        is_fec: bool,
    ) {
        let codec = if is_fec { Codec::Fec } else { Codec::Verity };
        if let Ok(derived) = Derived::decode(codec, &plain, 1 << 20..(1 << 20) + len) {
            prop_assert_eq!(derived.region_len(), Some(len));
        }
    }
}
