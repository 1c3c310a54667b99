//! Cuts the power in every call that changes something, of publication and collection: a client
//! sees the release before or after, whole, and the same commands go on from what is left.

mod sample;

use neap_depot::depot::Depot;
use neap_depot::memory::{Fate, Memory};
use neap_depot::name::Name;
use neap_depot::store;
use sample::{Release, client, depot, image, publish, release, root};

/// Ways in which the unsynced parts of one cut are lost, at random, beside all and nothing.
const MIXED: u64 = 24;

/// What happens while the power fails: two releases, a change of the timestamp's key with the
/// first of them, files staged and unstaged, and a collection of what the first release held.
struct Story {
    second: Release,
    third: Release,
}

/// What was found.
#[derive(Debug, Default)]
struct Sweep {
    steps: u64,
    states: u64,
    failures: Vec<String>,
}

impl Story {
    fn new() -> Self {
        let shared = image(1, 70_000);
        let mut second = release(2, &[shared, image(3, 100), image(4, 90_000)], &["a", "b"]);
        second.publication.roots.push(root(2, "b"));
        let third = release(3, &[image(4, 90_000), image(5, 16_384)], &["b"]);
        Self { second, third }
    }

    /// The disk with the first release on it.
    fn before() -> Memory {
        let memory = Memory::default();
        let first = release(1, &[image(1, 70_000), image(2, 33_000), Vec::new()], &["a"]);
        let mut first = first;
        first.publication.roots.push(root(1, "a"));
        let depot = depot(&memory);
        let mut writer = depot.writer("first").expect("nobody else writes");
        publish(&mut writer, &first).expect("the first release is published");
        memory.after_cut(Fate::Lost)
    }

    /// Does what is still to be done; `told` is the version whose publication was reported done.
    fn go_on(&self, depot: &Depot, told: &mut u64) -> Result<(), String> {
        let mut writer = depot.writer("story").map_err(|error| error.to_string())?;
        let published = |depot: &Depot| depot.catalogue().0.timestamp;
        // A publication that was cut short after the switch is made again: its root may be missing.
        if published(depot) <= 2 {
            writer.stage("g.fleet.json", b"{}").map_err(|error| error.to_string())?;
            publish(&mut writer, &self.second)?;
            *told = 2;
            writer.unstage("g.fleet.json").map_err(|error| error.to_string())?;
        }
        publish(&mut writer, &self.third)?;
        *told = 3;
        writer.collect(1).map(|_| ()).map_err(|error| error.to_string())
    }

    fn sweep(&self, before: &Memory) -> Sweep {
        let mut sweep = Sweep::default();
        let whole = before.copy();
        self.go_on(&depot(&whole), &mut 0).expect("without a cut all is done");
        sweep.steps = whole.steps() - before.steps();
        for step in 0..sweep.steps {
            let cut = before.copy();
            cut.cut_at(before.steps() + step);
            let mut told = 1;
            let done = self.go_on(&depot(&cut), &mut told);
            assert!(done.is_err(), "step {step} is one of them");
            for fate in [Fate::Lost, Fate::Kept].into_iter().chain((0..MIXED).map(Fate::Mixed)) {
                let disk = cut.after_cut(fate);
                let judged = self.judge(&disk, told, step);
                match judged {
                    Ok(states) => sweep.states += states,
                    Err(why) => {
                        sweep.failures.push(format!("cut in step {step}, {fate:?}: {why}"));
                    }
                }
            }
        }
        sweep
    }

    /// What is on the disk must be a whole release, not older than what was reported done, and the
    /// same commands must come to their end on it, even if they are cut short once more. Gives how
    /// many states of the disk a client looked at.
    fn judge(&self, disk: &Memory, told: u64, seed: u64) -> Result<u64, String> {
        let mut states = 1;
        let seen = client(&depot(disk))?;
        if !(told..=3).contains(&seen) {
            return Err(format!("release {seen} is seen, {told} was published"));
        }
        let again = disk.copy();
        again.cut_at(seed * 7 % 23);
        let mut told = seen;
        if self.go_on(&depot(&again), &mut told).is_err() {
            let twice = again.after_cut(Fate::Mixed(seed));
            let seen = client(&depot(&twice)).map_err(|why| format!("second cut: {why}"))?;
            if seen < told {
                return Err(format!("second cut: {seen} is seen, {told} was published"));
            }
            states += 1;
        }
        self.finish(disk)?;
        Ok(states)
    }

    fn finish(&self, disk: &Memory) -> Result<(), String> {
        let depot = depot(disk);
        self.go_on(&depot, &mut 0).map_err(|why| format!("going on: {why}"))?;
        let seen = client(&depot)?;
        let report = depot.check(&mut |_| {}).map_err(|error| error.to_string())?;
        if seen != 3 || !report.findings.is_empty() {
            return Err(format!("in the end release {seen}, {:?}", report.findings));
        }
        Ok(())
    }
}

#[test]
fn no_cut_shows_a_client_less_than_a_whole_release() {
    let sweep = Story::new().sweep(&Story::before());
    println!(
        "{} cut points, {} states of the disk: {} failures",
        sweep.steps,
        sweep.states,
        sweep.failures.len()
    );
    assert_eq!(sweep.failures, Vec::<String>::new());
    assert!(sweep.steps > 60, "{} steps", sweep.steps);
}

/// The sweep is worth something only if it sees what goes wrong: here no sync does anything.
#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let before = Story::before();
    before.lie();
    let sweep = Story::new().sweep(&before);
    assert!(sweep.failures.len() > 10, "only {} failures", sweep.failures.len());
}

/// A reader that began before a publication finds all of the release that it began with.
#[test]
fn a_slow_reader_is_not_cut_off_by_publication_and_collection() {
    let memory = Story::before();
    let depot = depot(&memory);
    let name = Name::timestamp();
    let old = store::read(depot.store(), &name, 1 << 20).expect("read").expect("there");
    let mut writer = depot.writer("story").expect("nobody else writes");
    publish(&mut writer, &release(2, &[image(3, 100)], &["a"])).expect("published");
    assert_ne!(writer.collect(2).expect("collected").blobs, 0);
    // The slow reader has the old timestamp and reads all else now.
    let late = memory.copy();
    store::put(sample::depot(&late).store(), &name, &old).expect("put");
    assert_eq!(client(&sample::depot(&late)), Ok(1));
    assert_eq!(client(&depot), Ok(2));
    writer.collect(1).expect("collected");
    let late = memory.copy();
    store::put(sample::depot(&late).store(), &name, &old).expect("put");
    assert!(client(&sample::depot(&late)).is_err(), "it was kept that long and no longer");
}
