//! What both ends of the coder promise each other.

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;

/// A part of a frame: literals, or a piece of a copy.
#[derive(Debug, Clone)]
enum Part {
    Literals(Vec<u8>),
    Copy { raw: Vec<u8>, bytes: Vec<u8>, fields: Vec<FieldMark>, target: Vec<u8> },
}

/// Bytes that repeat themselves, so that matches and clean spans are met.
fn bytes(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], len)
}

/// Bytes that differ here and there.
fn changed(bytes: &[u8], changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for (index, value) in changes.iter().filter(|_| !bytes.is_empty()) {
        changed[index.index(bytes.len())] = *value;
    }
    changed
}

fn copy_part() -> impl Strategy<Value = Part> {
    let changes = || proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let field = (0..12_u32, 0..9_u8, 1..9_u8, 0..32_u8, 0..50_u64);
    let fields = proptest::collection::vec(field, 0..60);
    (bytes(0..3000), changes(), changes(), fields).prop_map(|(raw, rewritten, missed, gaps)| {
        let bytes = changed(&raw, &rewritten);
        let target = changed(&bytes, &missed);
        let mut at = 0;
        let fields = gaps.into_iter().map(|(gap, skip, len, kind, address)| {
            let skip = if at == 0 { skip.min(len - 1) } else { 0 };
            let mark = FieldMark { at: at + gap, skip, len, kind, address };
            at += gap + u32::from(len - skip);
            mark
        });
        let end = bytes.len();
        let fields = fields.take_while(|mark| (mark.at as usize) < end).collect();
        Part::Copy { raw, bytes, fields, target }
    })
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![bytes(0..500).prop_map(Part::Literals), copy_part()]
}

fn segment() -> impl Strategy<Value = Segment> {
    let number = || prop_oneof![0..40_u64, 0..100_000_u64];
    let diagonal = prop_oneof![-20..20_i64, -200_000..200_000_i64, any::<i64>()];
    (number(), number(), any::<bool>(), diagonal).prop_map(|(literals, run, zeros, diagonal)| {
        Segment { literals: literals + u64::from(run == 0), run, zeros, diagonal }
    })
}

fn encode(encoder: &mut Encoder, segments: &[Segment], parts: &[Part]) -> Vec<u8> {
    encoder.segments(segments);
    for part in parts {
        match part {
            Part::Literals(bytes) => encoder.literals(bytes),
            Part::Copy { raw, bytes, fields, target } => {
                encoder.copy(&Guess { bytes, raw, fields }, target);
            }
        }
    }
    encoder.finish()
}

const LIMITS: SegmentLimits = SegmentLimits { count: 1 << 12, target_len: u64::MAX };

/// Decodes what has the shape of `parts`, literals in chunks of `chunk` bytes.
fn decode(
    decoder: &mut Decoder,
    coded: &[u8],
    parts: &[Part],
    chunk: usize,
) -> Result<(Vec<Segment>, Vec<Vec<u8>>), FormatError> {
    decoder.open(coded.to_vec());
    let (mut segments, mut made) = (Vec::new(), Vec::new());
    decoder.segments(&mut segments, LIMITS)?;
    for part in parts {
        match part {
            Part::Literals(bytes) => {
                let mut out = vec![0; bytes.len()];
                out.chunks_mut(chunk).try_for_each(|out| decoder.literals(out))?;
                made.push(out);
            }
            Part::Copy { raw, bytes, fields, .. } => {
                let mut out = vec![0; bytes.len()];
                decoder.copy(&Guess { bytes, raw, fields }, &mut out)?;
                made.push(out);
            }
        }
    }
    decoder.close()?;
    Ok((segments, made))
}

/// What a decoder gives back of a segment: one without a copy names no diagonal.
fn told(segments: &[Segment]) -> Vec<(u64, u64, bool, Option<i64>)> {
    let told = segments.iter().map(|segment| {
        let is_copy = segment.run > 0 && !segment.zeros;
        let zeros = segment.run > 0 && segment.zeros;
        (segment.literals, segment.run, zeros, is_copy.then_some(segment.diagonal))
    });
    told.collect()
}

fn targets(parts: &[Part]) -> Vec<Vec<u8>> {
    let target = |part: &Part| match part {
        Part::Literals(bytes) => bytes.clone(),
        Part::Copy { target, .. } => target.clone(),
    };
    parts.iter().map(target).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn decoder_makes_what_the_encoder_was_given(
        segments in proptest::collection::vec(segment(), 0..60),
        frames in proptest::collection::vec(proptest::collection::vec(part(), 0..6), 1..3),
        chunk in 1..600_usize,
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for parts in frames {
            let coded = encode(&mut encoder, &segments, &parts);
            let (list, made) = decode(&mut decoder, &coded, &parts, chunk).expect("it was coded");
            prop_assert_eq!(told(&list), told(&segments));
            prop_assert_eq!(made, targets(&parts));
        }
    }

    #[test]
    fn any_bytes_are_decoded_to_something_or_refused(
        coded in proptest::collection::vec(any::<u8>(), 0..300),
        parts in proptest::collection::vec(part(), 0..5),
    ) {
        let (mut decoder, limits) = (Decoder::new(), SegmentLimits { count: 50, target_len: 1000 });
        decoder.open(coded.clone());
        let mut list = Vec::new();
        let listed = decoder.segments(&mut list, limits);
        prop_assert!(list.len() <= 50);
        let len: u64 = list.iter().map(|one| one.literals + one.run).sum();
        prop_assert!(len <= 1000);
        if listed.is_ok() {
            // Whatever it makes, it ends.
            let made = decode(&mut Decoder::new(), &coded, &parts, 64);
            prop_assert!(made.is_err() || made.is_ok_and(|(_, made)| made.len() == parts.len()));
        }
    }
}

/// Bytes of a simple generator: the same on every machine.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(step).take(len).collect()
}

/// A frame that takes every path: clean and dirty spans, fields of all kinds, literals that can be
/// foretold and literals that cannot.
fn sample() -> (Vec<Segment>, Vec<Part>) {
    let raw: Vec<u8> = noise(1, 5000).iter().map(|byte| byte & 15).collect();
    let mut bytes = raw.clone();
    let field = |index: u32| {
        let kind = u8::try_from(index & 31).unwrap_or(0);
        let address = u64::from(index % 37) * 0x0101_0040;
        FieldMark { at: 12 * index, skip: 0, len: if kind == 6 { 8 } else { 4 }, kind, address }
    };
    let fields: Vec<_> = (0..400).map(field).collect();
    let mut target = bytes.clone();
    for (index, mark) in fields.iter().enumerate() {
        let at = mark.at as usize;
        bytes[at] = bytes[at].wrapping_add(9);
        target[at] = bytes[at];
        if index % 37 < 9 {
            target[at] = target[at].wrapping_add(8);
            target[at + 1] = target[at + 1].wrapping_add(1);
        }
    }
    target[4990] ^= 0x55;
    let text = b"the same words again and again, the same words ".repeat(20);
    let parts = vec![
        Part::Literals(text),
        Part::Copy { raw, bytes, fields, target },
        Part::Literals(noise(2, 6000)),
    ];
    let segment = |index: u64| Segment {
        literals: index % 5,
        run: 30 + index * index % 1000,
        zeros: index % 11 == 3,
        diagonal: [0, -70, 4096, (index * 977).cast_signed()][usize::from(index % 4 == 3) * 3],
    };
    ((0..300).map(segment).collect(), parts)
}

/// The digest of what the sample is coded to. It must never change within a format version, and
/// must be the same on machines of other byte orders and word sizes.
const SAMPLE_DIGEST: &str = "a3bb14078e9aa3fd659c0dfbd0a638d327be538b781252d854ad24869643d02f";

#[test]
fn sample_is_coded_to_the_same_bytes_on_every_machine() {
    let (segments, parts) = sample();
    let coded = encode(&mut Encoder::new(), &segments, &parts);
    assert_eq!(Digest::of(&coded).to_string(), SAMPLE_DIGEST, "{} bytes", coded.len());
    let (_, made) = decode(&mut Decoder::new(), &coded, &parts, 1000).expect("it was coded");
    assert_eq!(made, targets(&parts));
}

#[test]
fn restart_forgets_all() {
    let (segments, parts) = sample();
    let mut encoder = Encoder::new();
    let first = encode(&mut encoder, &segments, &parts);
    let learned = encode(&mut encoder, &segments, &parts);
    assert!(learned.len() < first.len(), "the second time is easier");
    encoder.restart();
    assert_eq!(encode(&mut encoder, &segments, &parts), first);
    let mut decoder = Decoder::new();
    assert!(decode(&mut decoder, &first, &parts, 99).is_ok());
    assert!(decode(&mut decoder, &learned, &parts, 99).is_ok());
    decoder.restart();
    let (_, made) = decode(&mut decoder, &first, &parts, 99).expect("it was coded");
    assert_eq!(made, targets(&parts));
}

#[test]
fn code_that_is_cut_short_or_too_long_is_refused() {
    let (segments, parts) = sample();
    let coded = encode(&mut Encoder::new(), &segments, &parts);
    let ends = |coded: &[u8]| decode(&mut Decoder::new(), coded, &parts, 99).map(|_| ());
    assert_eq!(ends(&coded), Ok(()));
    assert!(ends(&coded[..coded.len() - 9]).is_err());
    for byte in [0, 1] {
        let longer = [&coded[..], &[byte]].concat();
        let refused = ends(&[&longer[..], &[byte; 4]].concat());
        assert_eq!(refused, Err(FormatError::TrailingBytes("coded frame")));
    }
}

#[test]
fn segments_beyond_the_limits_are_refused() {
    let segments = [Segment { literals: 5, run: 5, zeros: true, diagonal: 0 }; 10];
    let coded = encode(&mut Encoder::new(), &segments, &[]);
    let listed = |count, target_len| {
        let mut decoder = Decoder::new();
        decoder.open(coded.clone());
        decoder.segments(&mut Vec::new(), SegmentLimits { count, target_len })
    };
    assert_eq!(listed(10, 100), Ok(()));
    assert!(matches!(listed(9, 100), Err(FormatError::OutOfBounds { .. })));
    assert_eq!(listed(10, 99), Err(FormatError::SegmentPastFrame));
    let empty = encode(&mut Encoder::new(), &[Segment::default()], &[]);
    let mut decoder = Decoder::new();
    decoder.open(empty);
    assert_eq!(decoder.segments(&mut Vec::new(), LIMITS), Err(FormatError::EmptySegment));
}

#[test]
fn noise_grows_by_less_than_one_in_a_thousand() {
    let noise = blake_noise(400_000);
    let coded = encode(&mut Encoder::new(), &[], &[Part::Literals(noise)]);
    assert!(coded.len() < 400_400, "{} bytes", coded.len());
}

/// Bytes that no model foretells.
fn blake_noise(len: usize) -> Vec<u8> {
    let mut noise = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

/// What is wrong about one field that points to a thing is expected of the next one.
#[test]
fn error_of_a_thing_is_paid_once() {
    let len = 64_000;
    let noise = blake_noise(len);
    let part = |things: u32| {
        let fields: Vec<_> = (0..4000)
            .map(|index| {
                let address = u64::from(index % things) << 20;
                FieldMark { at: 16 * index, skip: 0, len: 4, kind: 1, address }
            })
            .collect();
        let mut target = noise.clone();
        for (mark, thing) in fields.iter().zip((0..things).cycle()) {
            let field = &mut target[mark.at as usize..][..4];
            let word = u32::from_le_bytes([field[0], field[1], field[2], field[3]]);
            field.copy_from_slice(&word.wrapping_add(thing * 7919 % 60_000).to_le_bytes());
        }
        Part::Copy { raw: noise.clone(), bytes: noise.clone(), fields, target }
    };
    let [few, many] = [20, 4000].map(|things| encode(&mut Encoder::new(), &[], &[part(things)]));
    assert!(few.len() * 20 < many.len(), "{} bytes, {} bytes", few.len(), many.len());
}

/// What learns from clean spans looks a byte ahead; here there is none to look at.
#[test]
fn copy_of_nothing_is_coded() {
    let part = Part::Copy { raw: vec![], bytes: vec![], fields: vec![], target: vec![] };
    let coded = encode(&mut Encoder::new(), &[], std::slice::from_ref(&part));
    let (_, made) = decode(&mut Decoder::new(), &coded, &[part], 9).expect("it was coded");
    assert_eq!(made, [[]; 1]);
}
