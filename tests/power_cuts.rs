//! Power is cut at every write and flush of a run; each time the target must be made in the end.

use neap_sim::chain::{INTERVAL_WINDOWS, sweep};
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
