//! Thousands of sites in virtual time, with members that lie and die and a link that fails: no
//! byte is lost or wrong, and each crosses the costly link about once. A seed replays a failure:
//!
//! ```text
//! NEAP_SEED=4711 cargo test --release -p neap-peer --test site -- --nocapture one_seed
//! NEAP_SITES=10000 cargo test --release -p neap-peer --test site
//! ```

#![allow(unreachable_pub, reason = "modules of a test have no public")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "site/random.rs"]
mod random;
#[path = "site/world.rs"]
mod world;

use neap_depot::limits::GROUP_LEN;
use random::Random;
use world::{Blob, Manner, Outcome, Setup, World, name};

/// Few enough for each test run; `NEAP_SITES` asks for more.
const SITES: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn calm(random: &mut Random) -> Setup {
    let members = 1 + random.index(8);
    let groups = 1 + random.below(60);
    Setup {
        members,
        groups,
        rate: 2.0 + random.below(40) as f64,
        manners: vec![Manner::Honest; members],
        shores: vec![Manner::Honest],
        outages: Vec::new(),
        kills: Vec::new(),
    }
}

fn stormy(random: &mut Random) -> Setup {
    let mut setup = calm(random);
    let lies = [Manner::Corrupts, Manner::Withholds, Manner::Boasts, Manner::Hogs];
    for manner in &mut setup.manners {
        if random.below(4) == 0 {
            *manner = lies[random.index(lies.len())];
        }
    }
    if random.below(4) == 0 {
        let lie = [Manner::Corrupts, Manner::Withholds][random.index(2)];
        setup.shores = vec![lie, Manner::Honest];
    }
    for _ in 0..random.below(3) {
        let from = random.below(30_000);
        setup.outages.push((from, from + 1 + random.below(30_000)));
    }
    for _ in 0..random.below(3) {
        let at = 500 + random.below(20_000);
        let member = random.index(setup.members);
        setup.kills.push((at, member, at + 100 + random.below(10_000)));
    }
    // One life at a time.
    setup.kills.sort_unstable();
    setup.kills.dedup_by(|later, earlier| later.1 == earlier.1 && later.0 <= earlier.2 + 3_500);
    setup
}

fn run(seed: u64, draw: impl Fn(&mut Random) -> Setup) -> (Setup, Outcome) {
    let mut random = Random::new(seed);
    let setup = draw(&mut random);
    let last = 1 + random.index(GROUP_LEN);
    let len = usize::try_from(setup.groups - 1).expect("few") * GROUP_LEN + last;
    let blob = Blob::new(len, &mut random);
    let outcome = World::new(setup.clone(), &blob, random).run();
    (setup, outcome)
}

fn check_storm(seed: u64) {
    let (setup, outcome) = run(seed, stormy);
    let told = format!("NEAP_SEED={seed}: {setup:?}\n{outcome:?}");
    assert!(!outcome.wrong, "a wrong byte was kept: {told}");
    assert!(outcome.complete_ms.is_some(), "a byte was lost: {told}");
    for (member, manner) in setup.manners.iter().enumerate() {
        let blamed = outcome.blamed.contains(&name(member));
        assert!(!blamed || *manner == Manner::Corrupts, "an honest member was blamed: {told}");
    }
}

#[test]
fn calm_sites_fetch_each_group_once_over_the_costly_link() {
    for seed in 0..number("NEAP_SITES").unwrap_or(SITES) / 3 {
        let (setup, outcome) = run(seed, calm);
        let told = format!("seed {seed}: {setup:?}\n{outcome:?}");
        assert!(outcome.complete_ms.is_some() && !outcome.wrong, "{told}");
        assert_eq!(outcome.crossed, setup.groups, "{told}");
    }
}

#[test]
fn stormy_sites_end_complete_and_right_and_blame_only_liars() {
    let seeds = number("NEAP_SITES").unwrap_or(SITES);
    (0..seeds).for_each(check_storm);
}

#[test]
fn one_seed_replays() {
    let seed = number("NEAP_SEED").unwrap_or(1);
    check_storm(seed);
    let twice = [run(seed, stormy), run(seed, stormy)];
    assert_eq!(format!("{:?}", twice[0].1), format!("{:?}", twice[1].1));
}
