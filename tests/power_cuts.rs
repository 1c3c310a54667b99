//! Power is cut at every write and flush of a run; each time the target must be made in the end.

use neap_sim::chain::{Chain, INTERVAL_WINDOWS};
use neap_sim::machine::Moment;
use neap_sim::pair::{Pair, WINDOW};

/// Target sizes around what windows and checkpoints end at, in bytes.
fn sizes() -> Vec<usize> {
    let interval = usize::try_from(INTERVAL_WINDOWS).expect("a few windows") * WINDOW;
    let edges = [WINDOW, interval, 2 * interval].map(|edge| [edge - 1, edge, edge + 1]);
    [&[0, 1], edges.as_flattened(), &[3 * interval + WINDOW / 3]].concat()
}

#[test]
fn every_power_cut_ends_in_the_target() {
    let seeds = 6;
    let mut cuts = 0;
    for size in sizes() {
        for seed in 0..seeds {
            cuts += sweep(&Pair::new(size, seed), seed);
        }
    }
    println!("{cuts} power cuts survived");
    assert!(cuts > 2000, "only {cuts} power cuts happened");
}

/// Cuts at every tick until a run has no more, and returns the count of cuts.
fn sweep(pair: &Pair, seed: u64) -> u64 {
    let mut cuts = 0;
    for tick in 0.. {
        let mut here = 0;
        for moment in Moment::ALL {
            let chain = Chain { tick, moment, seed: seed << 32 | tick };
            let survived = chain.run(pair);
            assert!(survived.is_ok(), "{chain:?}, {} bytes: {survived:?}", pair.target.len());
            here += survived.unwrap_or_default();
        }
        if here == 0 {
            return cuts;
        }
        cuts += here;
    }
    cuts
}
