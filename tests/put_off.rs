//! Copies that are put off: whoever makes them, and when, the target is the same, and so is the
//! error of a patch that is none.

use neap_engine::apply::{Applier, Filler, Want};
use neap_engine::diff::{Coder, Options};
use neap_engine::error::ApplyError;
use neap_sim::executable::{self, Arch};
use neap_sim::layered;
use neap_sim::pair::Pair;
use neap_sim::random::Random;

/// What an apply makes that puts off a copy where `puts_off` says so.
fn made(pair: &Pair, mut puts_off: impl FnMut() -> bool) -> Result<Vec<u8>, ApplyError> {
    let mut applier = Applier::new(pair.header.clone(), 0);
    let mut filler = Filler::default();
    let mut patch = &pair.patch[usize::try_from(pair.header.header_len).expect("it is short")..];
    let mut made = Vec::new();
    let read = |offset: u64, into: &mut [u8]| {
        let offset = usize::try_from(offset).expect("the source is in memory");
        into.copy_from_slice(&pair.source[offset..offset + into.len()]);
    };
    // What an earlier window left must not be seen.
    applier.reuse(vec![0xee; 1 << 16]);
    loop {
        match applier.want()? {
            Want::Patch(into) => {
                let (front, rest) = patch.split_at(into.len());
                into.copy_from_slice(front);
                patch = rest;
            }
            Want::Copy { .. } if puts_off() => applier.put_off(),
            Want::Copy { offset, into } | Want::Source { offset, into } => read(offset, into),
            Want::Write(mut window) => {
                while let Some((offset, into)) = filler.want(&mut window) {
                    read(offset, into);
                }
                let verified = window.verify()?;
                made.extend(verified.bytes());
                let mut buffer = verified.into_buffer();
                buffer.fill(0xee);
                applier.reuse(buffer);
            }
            Want::Sync(_) => {}
            Want::Done => return Ok(made),
        }
    }
}

/// Checks the target however copies are put off, and returns how many could be.
fn check(pair: &Pair, what: &str) -> u64 {
    let mut count = 0;
    let all = made(pair, || {
        count += 1;
        true
    });
    assert!(all.is_ok_and(|all| all == pair.target), "{what}, all put off");
    let mut random = Random::new(9);
    let some = made(pair, || random.below(2) == 0);
    assert!(some.is_ok_and(|some| some == pair.target), "{what}, some put off");
    assert!(made(pair, || false).is_ok_and(|none| none == pair.target), "{what}, none put off");
    count
}

#[test]
fn copies_that_are_put_off_are_made_as_at_once() {
    for arch in Arch::ALL {
        for coder in [Coder::Zstd, Coder::Cm] {
            let (source, target) = executable::images(arch, 800, 3);
            let memory = Options::MEMORY_MIN;
            let options = Options { effort: 3, memory, coder, ..Options::default() };
            let (pair, _) = layered::diffed(source, target, &options);
            let count = check(&pair, &format!("{arch:?} {coder:?}"));
            // A coder that learns from copies makes them all.
            assert_eq!(count > 0, coder == Coder::Zstd, "{count} copies could be put off");
        }
    }
    let counts = (0..40).map(|seed| check(&layered::by_hand(300_000, seed), &format!("{seed}")));
    assert!(counts.sum::<u64>() > 100);
}

#[test]
fn what_is_refused_does_not_depend_on_what_is_put_off() {
    let mut refused = 0;
    for seed in 0..40 {
        let pair = layered::with_unchecked_headers(300_000, seed);
        let [all, none] = [true, false].map(|puts_off| made(&pair, || puts_off));
        let error = |made: &Result<Vec<u8>, _>| made.as_ref().err().map(ToString::to_string);
        assert_eq!(error(&all), error(&none), "{seed}");
        refused += u32::from(all.is_err());
    }
    assert!(refused > 5, "{refused} are refused");
}
