//! A journal that is torn, stale, of another patch, or false is never believed.

use neap_engine::apply::Checkpoint;
use neap_engine::digest::Digest;
use neap_engine::io::drive::{Applied, Options};
use neap_engine::journal::{SLOT_LEN, Slot};
use neap_sim::machine::{Machine, Port};
use neap_sim::pair::{Pair, WINDOW};
use neap_sim::random::Random;
use neap_sim::run::Inputs;
use proptest::prelude::*;

/// Windows of the target in these tests; the last one is short.
const WINDOWS: u64 = 5;

/// A slot that holds nothing.
const EMPTY: [u8; SLOT_LEN] = [0; SLOT_LEN];

fn pair() -> Pair {
    let windows = usize::try_from(WINDOWS).expect("a few windows");
    Pair::new((windows - 1) * WINDOW + 123, 7)
}

fn claim(patch: Digest, sequence: u64, windows: u64) -> [u8; SLOT_LEN] {
    Slot { sequence, checkpoint: Checkpoint { patch, windows } }.encode()
}

/// Applies to a target of `len` bytes that is right up to window `right`, and checks what is made.
fn apply(pair: &Pair, right: u64, len: usize, slots: [[u8; SLOT_LEN]; 2]) -> Applied {
    let mut bytes = Random::new(right).bytes(pair.target.len());
    let right_len = bytes.len().min(usize::try_from(right).expect("a few windows") * WINDOW);
    bytes[..right_len].copy_from_slice(&pair.target[..right_len]);
    bytes.truncate(len);
    let mut machine = Machine::new(bytes, true, right);
    machine.set_slots(&slots);
    let port = Port::new(machine);
    let options = Options { checkpoint_len: WINDOW as u64, ..Options::default() };
    let result = Inputs::new(pair).apply(&port, options).result;
    let mut machine = port.machine();
    machine.cut_now();
    assert!(machine.target_disk().medium() == pair.target, "the target differs");
    assert!(machine.slots().is_none(), "the journal is still there");
    result.expect("a healthy machine makes the target")
}

#[test]
fn journal_that_tells_the_truth_is_used() {
    let pair = pair();
    for windows in 0..=WINDOWS {
        let slots = [claim(pair.header.id, 8, windows), EMPTY];
        let applied = apply(&pair, windows, usize::MAX, slots);
        assert_eq!((applied.windows_resumed, applied.journal_note), (windows, None));
    }
}

#[test]
fn journal_of_another_patch_is_not_believed() {
    let pair = pair();
    let slots = [claim(pair.header.id, 8, 3), claim(Digest::of(b"another"), 9, 5)];
    let applied = apply(&pair, WINDOWS, usize::MAX, slots);
    assert_eq!(applied.windows_resumed, 0);
    assert!(applied.journal_note.is_some_and(|note| note.contains("another patch")));
}

#[test]
fn journal_that_claims_more_than_the_target_holds_is_not_believed() {
    let pair = pair();
    for windows in [3, WINDOWS, WINDOWS + 1, u64::MAX] {
        let slots = [claim(pair.header.id, 8, windows), EMPTY];
        let applied = apply(&pair, 2, usize::MAX, slots);
        assert_eq!(applied.windows_resumed, 2);
        assert!(applied.journal_note.is_some_and(|note| note.contains("claimed more")));
    }
}

#[test]
fn journal_outlives_a_target_that_was_truncated() {
    let pair = pair();
    for (len, resumed) in [(0, 0), (WINDOW - 1, 0), (2 * WINDOW + 1, 2)] {
        let slots = [claim(pair.header.id, 8, WINDOWS), EMPTY];
        assert_eq!(apply(&pair, WINDOWS, len, slots).windows_resumed, resumed, "{len} bytes");
    }
}

#[test]
fn torn_record_leaves_the_one_before() {
    let pair = pair();
    for torn_at in 0..SLOT_LEN {
        let before = claim(pair.header.id, 6, 1);
        let mut torn = claim(pair.header.id, 8, 3);
        torn[torn_at..].copy_from_slice(&before[torn_at..]);
        let applied = apply(&pair, WINDOWS, usize::MAX, [torn, claim(pair.header.id, 7, 2)]);
        assert_eq!(applied.windows_resumed, 2, "torn at byte {torn_at}");
    }
}

#[test]
fn highest_sequence_number_is_no_dead_end() {
    // The next record's number was counted with a plain `+ 1`: a journal with the highest number
    // there is, as no program of ours writes, ended the apply in a panic. It now goes round to 0.
    let pair = pair();
    for sequence in [u64::MAX - 1, u64::MAX] {
        let slots = [EMPTY, claim(pair.header.id, sequence, 1)];
        assert_eq!(apply(&pair, 1, usize::MAX, slots).windows_resumed, 1);
    }
}

/// Any slot: a record of any patch with any claim, perhaps with some bytes changed, or any bytes.
fn any_slot(ours: Digest) -> impl Strategy<Value = [u8; SLOT_LEN]> {
    let patch = prop_oneof![Just(ours), Just(Digest::of(b"another"))];
    let sequence = prop_oneof![0..20_u64, Just(u64::MAX), any::<u64>()];
    let windows = prop_oneof![0..WINDOWS + 2, any::<u64>()];
    let record = (patch, sequence, windows).prop_map(|(p, s, w)| claim(p, s, w));
    let noise = any::<u64>().prop_map(|seed| {
        *Random::new(seed).bytes(SLOT_LEN).first_chunk().expect("so many were drawn")
    });
    let changes = proptest::collection::vec((0..SLOT_LEN, any::<u8>()), 0..3);
    (prop_oneof![4 => record, 1 => noise], changes).prop_map(|(mut slot, changes)| {
        changes.iter().for_each(|(at, difference)| slot[*at] ^= difference);
        slot
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn whatever_a_journal_holds_the_target_is_made(
        slots in [any_slot(pair().header.id), any_slot(pair().header.id)],
        right in 0..=WINDOWS,
        len in prop_oneof![Just(usize::MAX), 0..5 * WINDOW],
    ) {
        let applied = apply(&pair(), right, len, slots);
        prop_assert!(applied.windows_resumed <= right);
    }
}
