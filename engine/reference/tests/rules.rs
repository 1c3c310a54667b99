//! The rules of `docs/format.md`, one by one: what keeps a rule is accepted by both appliers, its
//! neighbour that breaks it is refused by both.

mod common;

use common::{FrameScript, Parts, Run, Script, both, noise, put, sealed};
use neap_engine::coder::{self, LiteralEncoder};

/// An empty last block: the end of a zstd frame.
const LAST_BLOCK: [u8; 3] = [1, 0, 0];

/// Two frames that together show most of the format.
fn script() -> Script {
    let frame = |is_restart| FrameScript {
        coder: 1,
        is_restart,
        segments: vec![
            (noise(900, 3), Run::Copy(5000, 300)),
            (Vec::new(), Run::Zeros(70_000)),
            (vec![6; 50], Run::Copy(0, 4096)),
        ],
        islands: vec![(0, vec![1]), (298, vec![2, 3]), (4000, vec![5; 95])],
        refs: None,
    };
    Script::new(noise(10_000, 9), vec![frame(false), frame(true)])
}

/// What both answer when the second frame's parts are changed.
fn with(change: impl Fn(&mut Parts)) -> Result<Vec<u8>, String> {
    let script = script();
    let patch = script.patch_with(|index, parts| {
        if index == 1 {
            change(parts)
        }
    });
    both(&patch, &script.source)
}

/// What both answer when bytes of the header are set.
fn with_header(at: usize, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let script = script();
    let mut patch = script.patch();
    patch[at..at + bytes.len()].copy_from_slice(bytes);
    both(&sealed(patch, &script.source), &script.source)
}

/// What both answer when the header lists these layers and notes.
fn with_layers(entries: &[&[u8]]) -> Result<Vec<u8>, String> {
    let layers = entries.iter().map(|entry| entry.to_vec()).collect();
    let script = Script { layers, ..script() };
    both(&script.patch(), &script.source)
}

#[test]
fn script_of_these_tests_is_accepted() {
    let made = with(|_| {}).expect("nothing was changed");
    let source = script().source;
    assert_eq!(made.len(), 2 * (900 + 300 + 70_000 + 50 + 4096));
    // The first copy, with the first island and the second, which reaches into the next copy.
    assert_eq!(made[900], source[5000].wrapping_add(1));
    assert_eq!(made[901..1199], source[5001..5299]);
    assert_eq!(made[1199], source[5299].wrapping_add(2));
    assert_eq!(made[71_250], source[0].wrapping_add(3));
    assert_eq!(made[75_345], source[4095].wrapping_add(5));
}

#[test]
fn unknown_version_layer_and_coder_are_refused_by_number() {
    assert!(with_header(8, &[1, 0]).is_ok());
    assert!(with_header(8, &[2, 0]).expect_err("must be refused").contains("version is 2"));
    for id in [0, 3, 0x7f] {
        let refused = with_layers(&[&[id, 0, 0, 0]]).expect_err("must be refused");
        assert!(refused.contains(&format!("layer id is {id}")), "{refused}");
    }
    assert!(with(|parts| parts.coder = 3).expect_err("must be refused").contains("coder is 3"));
}

/// What the script makes.
fn script_target() -> Vec<u8> {
    with(|_| {}).expect("nothing was changed")
}

#[test]
fn note_changes_nothing_whether_it_is_known_or_not() {
    let plain = script_target();
    let estimates: &[u8] = &[0x00, 0x80, 4, 0, 0x90, 1, 9, 8];
    let unknown: &[u8] = &[0xff, 0xff, 3, 0, 1, 2, 3];
    for notes in [&[estimates][..], &[unknown], &[estimates, unknown]] {
        assert_eq!(with_layers(notes), Ok(plain.clone()), "{notes:?}");
    }
}

#[test]
fn entry_of_the_layer_list_twice_or_out_of_order_is_refused() {
    let estimates: &[u8] = &[0x00, 0x80, 3, 0, 10, 9, 8];
    let unknown: &[u8] = &[0x01, 0x80, 0, 0];
    assert!(with_layers(&[estimates, unknown]).is_ok());
    assert!(with_layers(&[unknown, estimates]).is_err());
    assert!(with_layers(&[estimates, estimates]).is_err());
    assert!(with_layers(&[unknown, unknown]).is_err());
}

#[test]
fn entry_of_the_layer_list_with_the_wrong_length_is_refused() {
    assert!(with_layers(&[&[0x00, 0x80, 3, 0, 10, 9, 8]]).is_ok());
    assert!(with_layers(&[&[0x00, 0x80, 4, 0, 10, 9, 8, 0]]).is_err());
    assert!(with_layers(&[&[0x00, 0x80, 2, 0, 10, 9]]).is_err());
    // A number that is not in its shortest form.
    assert!(with_layers(&[&[0x00, 0x80, 4, 0, 10, 9, 0x88, 0]]).is_err());
    // Longer than all that follows.
    assert!(with_layers(&[&[0x01, 0x80, 0xff, 0xff]]).is_err());
}

#[test]
fn window_outside_its_bounds_is_refused() {
    assert!(with_header(10, &[15]).is_err());
    assert!(with_header(10, &[22]).is_err());
}

#[test]
fn restart_point_that_no_frame_starts_at_is_refused() {
    let mut script = script();
    let patch = script.patch();
    let first_len = {
        let header_len = u32::from_le_bytes([patch[12], patch[13], patch[14], patch[15]]);
        let at = usize::try_from(header_len).expect("32 bits");
        20 + u64::from(u32::from_le_bytes([patch[at], patch[at + 1], patch[at + 2], patch[at + 3]]))
    };
    let first_made = 900 + 300 + 70_000 + 50 + 4096;
    let mut answer = |restarts: &[(u64, u64)]| {
        script.restarts = Some(restarts.to_vec());
        both(&script.patch(), &script.source).is_ok()
    };
    let right = (first_len, first_made);
    assert!(answer(&[right]));
    // In the patch or in the target alone.
    assert!(!answer(&[(first_len, first_made - 1)]));
    assert!(!answer(&[(first_len - 1, first_made)]));
    // Inside the first frame, and inside the last one.
    assert!(!answer(&[(first_len - 1, first_made - 1), right]));
    assert!(!answer(&[right, (first_len + 1, first_made + 1)]));
    // Twice.
    assert!(!answer(&[right, right]));
}

#[test]
fn literal_stream_that_does_not_start_afresh_at_a_restart_point_is_refused() {
    let mut script = script();
    assert!(both(&script.patch(), &script.source).is_ok());
    script.restarts = Some(Vec::new());
    // Without the restart point, the second stream's first bytes are no blocks.
    assert!(both(&script.patch(), &script.source).is_err());
    script.frames[1].is_restart = false;
    assert!(both(&script.patch(), &script.source).is_ok());
}

#[test]
fn literal_stream_that_ends_is_refused() {
    assert!(with(|parts| parts.piece.extend([0, 0, 0])).is_ok(), "an empty block is a block");
    assert!(with(|parts| parts.piece.extend(LAST_BLOCK)).is_err());
}

#[test]
fn piece_of_literals_with_half_a_block_is_refused() {
    let raw_block = |len: u8| [vec![len << 3, 0, 0], noise(len.into(), 1)].concat();
    let more = |parts: &mut Parts, tail: &[u8], literals: u64| {
        parts.piece.extend(tail);
        put_literals(parts, literals);
    };
    assert!(with(|parts| more(parts, &raw_block(9), 9)).is_ok());
    assert!(with(|parts| more(parts, &raw_block(9)[..11], 8)).is_err());
    assert!(with(|parts| more(parts, &raw_block(9)[..2], 0)).is_err());
}

/// Adds a segment of literals alone.
fn put_literals(parts: &mut Parts, count: u64) {
    if count > 0 {
        parts.coded = Default::default();
        put(&mut parts.columns[0], count);
        put(&mut parts.columns[1], 0);
        parts.literals_len += count;
        parts.target_len += count;
    }
}

#[test]
fn piece_with_more_or_fewer_literals_than_its_frame_takes_is_refused() {
    let block = [9 << 3, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    assert!(with(|parts| parts.piece.extend(block)).is_err());
    assert!(with(|parts| put_literals(parts, 9)).is_err());
    // One piece that holds the literals of two frames.
    let mut script = script();
    script.frames[1].is_restart = false;
    let patch = script.patch_with(|index, parts| {
        let mut encoder = LiteralEncoder::new(1 << 14, 3);
        parts.piece = match index {
            0 => encoder.code(&[noise(900, 3), vec![6; 50], noise(900, 3), vec![6; 50]].concat()),
            _ => Vec::new(),
        };
    });
    assert!(both(&patch, &script.source).is_err());
}

#[test]
fn literal_stream_with_any_other_header_is_refused() {
    let set = |at: usize, byte: u8| with(move |parts| parts.piece[at] = byte);
    assert!(set(5, 13 << 3).is_ok(), "8 MiB");
    assert!(set(5, 13 << 3 | 1).is_err(), "9 MiB");
    assert!(set(4, 4).is_err(), "a checksum");
    assert!(set(0, 0x50).is_err(), "another magic");
}

#[test]
fn piece_without_literals_is_empty() {
    let script = Script::new(
        noise(10_000, 9),
        vec![FrameScript {
            coder: 1,
            segments: vec![(Vec::new(), Run::Copy(0, 10_000))],
            ..FrameScript::default()
        }],
    );
    let answer = |piece: &'static [u8]| {
        both(&script.patch_with(|_, parts| parts.piece = piece.to_vec()), &script.source).is_ok()
    };
    assert!(answer(&[]));
    assert!(!answer(&[0, 0, 0]));
    assert!(!answer(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0]));
}

#[test]
fn column_of_two_zstd_frames_is_refused() {
    let long = |parts: &mut Parts| {
        parts.columns[5] = vec![5; 98];
        parts.coded[5] = Some(coder::column(&parts.columns[5], 3));
    };
    assert!(with(long).is_ok());
    let tail = |tail: &'static [u8]| {
        with(move |parts| {
            long(parts);
            parts.coded[5].as_mut().expect("set above").extend(tail);
        })
    };
    assert!(tail(&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7]).is_err(), "a skippable frame");
    assert!(tail(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0]).is_err(), "an empty frame");
    assert!(tail(&[0]).is_err());
}

#[test]
fn segments_must_fill_their_frame() {
    assert!(with(|parts| parts.target_len += 1).is_err());
    assert!(with(|parts| parts.target_len -= 1).is_err());
    let add = |literals, run| {
        with(move |parts| {
            parts.coded = Default::default();
            put(&mut parts.columns[0], literals);
            put(&mut parts.columns[1], run);
            parts.target_len += run >> 1;
        })
    };
    assert!(add(0, 3).is_ok(), "one zero");
    assert!(add(0, 1).is_err(), "no zero");
    assert!(add(0, 0).is_err(), "nothing");
}

#[test]
fn run_of_nothing_behind_literals_takes_no_diagonal() {
    for run in [0, 1] {
        let made = with(|parts| {
            parts.coded = Default::default();
            put(&mut parts.columns[0], 1);
            put(&mut parts.columns[1], run);
            parts.literals_len += 1;
            parts.target_len += 1;
            parts.piece.extend([1 << 3, 0, 0, b'x']);
        });
        assert_eq!(made.expect("a segment of one literal").last(), Some(&b'x'));
    }
}

#[test]
fn columns_must_be_used_up() {
    for index in 0..6 {
        let answer = with(|parts| {
            parts.coded = Default::default();
            parts.columns[index].push(0);
        });
        assert!(answer.is_err(), "column {index}");
    }
}

#[test]
fn island_outside_the_copies_is_refused() {
    let last = |gap: u64, count: usize| {
        with(move |parts| {
            parts.coded = Default::default();
            put(&mut parts.columns[3], gap);
            put(&mut parts.columns[4], count as u64 - 1);
            parts.columns[5].extend(vec![1; count]);
        })
    };
    let islands = 1 + 298 + 2 + 4000 + 95;
    let left = 300 + 4096 - islands;
    assert_eq!(left, 0);
    assert!(last(0, 1).is_err());
    assert!(last(u64::MAX, 1).is_err());
    let shorter = |by: u8| {
        with(move |parts| {
            parts.coded = Default::default();
            *parts.columns[4].last_mut().expect("three islands") -= by;
            let len = parts.columns[5].len() - usize::from(by);
            parts.columns[5].truncate(len);
        })
    };
    assert!(shorter(1).is_ok());
}

#[test]
fn copy_one_byte_past_the_source_or_the_map_is_refused() {
    let copy = |offset: u64, len: u64, runs: &[(u64, u64)]| {
        let frame = FrameScript {
            segments: vec![(vec![1; 4], Run::Copy(offset, len))],
            ..FrameScript::default()
        };
        let script = Script { runs: runs.to_vec(), ..Script::new(noise(10_000, 9), vec![frame]) };
        both(&script.patch(), &script.source).is_ok()
    };
    assert!(copy(0, 10_000, &[(0, 3)]));
    assert!(!copy(0, 10_001, &[(0, 3)]));
    assert!(!copy(u64::MAX, 1, &[(0, 3)]), "one byte before the source");
    assert!(copy(0, 4096, &[(0, 1)]));
    assert!(!copy(0, 4097, &[(0, 1)]));
    assert!(copy(4096, 1, &[(1, 1)]));
    assert!(!copy(4095, 1, &[(1, 1)]));
    assert!(copy(8192, 1808, &[(0, 1), (2, 1)]));
    assert!(!copy(4095, 2, &[(0, 1), (2, 1)]));
    assert!(!copy(0, 1, &[(0, 4)]), "a run past the source");
    assert!(!copy(0, 1, &[(0, 1), (1, 1)]), "runs that touch");
    assert!(!copy(0, 1, &[(0, 0)]), "an empty run");
}

#[test]
fn source_that_differs_in_the_map_is_refused_and_elsewhere_is_not() {
    let mut script = script();
    script.runs = vec![(0, 2)];
    let patch = script.patch();
    let mut source = script.source.clone();
    assert!(both(&patch, &source).is_ok());
    source[8192] ^= 1;
    assert!(both(&patch, &source).is_ok(), "not used");
    source.push(0);
    assert!(both(&patch, &source).is_ok(), "a device may be larger");
    source[8191] ^= 1;
    assert!(both(&patch, &source).is_err(), "used");
    assert!(both(&patch, &script.source[..9999]).is_err(), "too small");
}

#[test]
fn bytes_left_over_and_bytes_missing_are_refused() {
    let script = script();
    let patch = script.patch();
    for len in (0..patch.len()).step_by(7).chain([patch.len() - 1]) {
        assert!(both(&patch[..len], &script.source).is_err(), "{len} bytes");
    }
    let size = |size: usize| {
        let mut patch = [&patch[..], &[0; 9]].concat();
        patch[16..24].copy_from_slice(&(size as u64).to_le_bytes());
        both(&sealed(patch, &script.source), &script.source).is_ok()
    };
    assert!(size(patch.len()), "what is behind is not of the patch");
    assert!(!size(patch.len() + 1));
    assert!(!size(patch.len() - 1));
}

#[test]
fn damage_anywhere_is_refused() {
    let script = script();
    let patch = script.patch();
    for at in (0..patch.len()).step_by(11) {
        let mut patch = patch.clone();
        patch[at] ^= 0x10;
        assert!(both(&patch, &script.source).is_err(), "byte {at}");
    }
}

#[test]
fn target_that_is_not_as_promised_is_refused() {
    let mut script = script();
    script.frames.iter_mut().for_each(|frame| frame.coder = 0);
    let mut patch = script.patch();
    let header_len = u32::from_le_bytes([patch[12], patch[13], patch[14], patch[15]]);
    // Another literal, with the frame's digest made right and the target's left as they were.
    let header: Vec<u8> = patch[..usize::try_from(header_len).expect("32 bits")].to_vec();
    let at = patch.len() - 2;
    patch[at] ^= 1;
    let mut changed = sealed(patch, &script.source);
    assert!(both(&changed, &script.source).is_ok());
    changed[..header.len()].copy_from_slice(&header);
    assert!(both(&changed, &script.source).is_err());
}

/// What both answer to a frame with these columns of the layer `refs`, over 4096 bytes.
fn with_refs(regions: &[u64], moves: &[u64]) -> Result<Vec<u8>, String> {
    let column = |numbers: &[u64]| {
        let mut column = Vec::new();
        numbers.iter().for_each(|number| common::put(&mut column, *number));
        column
    };
    let refs = Some([column(regions), column(moves)]);
    let segments = vec![(Vec::new(), Run::Copy(0, 4096))];
    let frame = FrameScript { segments, refs, ..FrameScript::default() };
    let layers = vec![vec![1, 0, 0, 0]];
    let script = Script { layers, ..Script::new(noise(4096, 9), vec![frame]) };
    both(&script.patch(), &script.source)
}

#[test]
fn layer_refs_has_no_bytes_of_its_own_and_two_columns() {
    assert!(with_refs(&[], &[]).is_ok());
    assert!(with_layers(&[&[1, 0, 1, 0, 0]]).is_err());
    // Without the columns a frame is too short for it.
    assert!(with_layers(&[&[1, 0, 0, 0]]).is_err());
}

#[test]
fn regions_lie_in_the_source_and_are_listed_in_full() {
    assert!(with_refs(&[0, 4096, 0, 0], &[]).is_ok());
    assert!(with_refs(&[1, 4095, 0, 0], &[]).is_ok());
    for regions in [[0, 4097, 0, 0], [1, 4096, 0, 0], [4096, 1, 0, 0], [0, 0, 0, 0]] {
        assert!(with_refs(&regions, &[]).is_err(), "{regions:?}");
    }
    assert!(with_refs(&[0, 9, 0, 0, 7, 4080, 0, 0], &[]).is_ok());
    assert!(with_refs(&[0, 9, 0, 0, 7, 4081, 0, 0], &[]).is_err());
    assert!(with_refs(&[0, 9, 0], &[]).is_err());
    let biases = |count| [vec![0, 9, count, 0], vec![3; 16]].concat();
    assert!(with_refs(&biases(16), &[]).is_ok());
    assert!(with_refs(&[biases(17), vec![3]].concat(), &[]).is_err());
}

#[test]
fn moves_are_used_up_and_pass_no_last_address() {
    assert!(with_refs(&[0, 9, 0, 1], &[5, 6, 7]).is_ok());
    assert!(with_refs(&[0, 9, 0, 1], &[5, 6]).is_err());
    assert!(with_refs(&[0, 9, 0, 1], &[5, 6, 7, 8]).is_err());
    assert!(with_refs(&[0, 9, 0, 1], &[u64::MAX - 6, 6, 7]).is_ok());
    assert!(with_refs(&[0, 9, 0, 1], &[u64::MAX - 5, 6, 7]).is_err());
    assert!(with_refs(&[0, 9, 0, 2], &[9, u64::MAX - 9, 7, 1, 0, 7]).is_err());
}
