//! A stick is pulled, fails once, or reads a wrong byte once, or the power goes, in every call of
//! export, import and install: nothing that was good is lost, nothing wrong is installed, and the
//! next try goes on.
//!
//! `NEAP_STICK_POINTS=60000 cargo test --release -p neap-tests --test stick_sweep -- --nocapture`
//! sweeps ever new worlds until that many states were looked at; else it is a small sweep.

#[path = "stick/pulled.rs"]
mod pulled;
#[path = "stick/world.rs"]
mod world;

use std::collections::BTreeSet;

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::memory::{Fate, Memory};
use neap_engine::io::drive::{self, Options};
use neap_engine::io::file::PatchInput;
use neap_sim::machine::{Machine, Moment, Port};
use neap_sim::pair::Pair;
use neap_usb_sideload::patch::BlobInput;
use neap_usb_sideload::stick::Stick;
use pulled::{Cable, Pulled};
use world::{World, depot, exported, imported, release_on};

/// Ways in which what was not synced is lost, beside all and nothing.
const MIXED: u64 = 2;

/// States that one test looks at in a small sweep, of two worlds at the least: one whose images are
/// encrypted.
const SMALL: u64 = 700;

/// How many states this run wants of each of the three stories.
fn points() -> u64 {
    let asked = std::env::var("NEAP_STICK_POINTS").ok();
    asked.and_then(|text| text.parse::<u64>().ok()).map_or(SMALL, |all| all.div_ceil(3))
}

fn fates(seed: u64) -> impl Iterator<Item = Fate> {
    let mixed = (0..MIXED).map(move |n| Fate::Mixed(seed.wrapping_mul(31).wrapping_add(n)));
    [Fate::Lost, Fate::Kept].into_iter().chain(mixed)
}

/// What a sweep saw.
#[derive(Debug, Default)]
struct Tally {
    points: u64,
    failures: Vec<String>,
}

impl Tally {
    fn judge(&mut self, what: &str, judged: Result<(), String>) {
        self.points += 1;
        if let Err(why) = judged {
            self.failures.push(format!("{what}: {why}"));
        }
    }

    fn tell(&self, story: &str) {
        println!("{story}: {} states, {} failures", self.points, self.failures.len());
    }
}

/// Exports the second release onto a stick that has the first one, and receipts; something happens
/// to the stick in call after call.
fn sweep_export(world: &World, lies: bool, tally: &mut Tally) {
    let before = world.stick();
    if lies {
        before.lie();
    }
    for call in 0.. {
        let mut goes_on = false;
        for cable in Cable::all(call) {
            let disk = before.copy();
            let told = exported(&world.second, Pulled::new(disk.clone(), &cable), world);
            let done = told.is_ok();
            for fate in fates(call) {
                let left = disk.after_cut(fate);
                let judged = judge_stick(world, &left, done);
                let what = format!("world {}, export, call {call}, {fate:?}", world.seed);
                tally.judge(&what, judged);
            }
            goes_on |= cable.was_reached();
        }
        if !goes_on {
            return;
        }
    }
}

/// A device must see the first release or the second, whole; all receipts must be there; and the
/// next export must come to its end.
fn judge_stick(world: &World, left: &Memory, done: bool) -> Result<(), String> {
    is_whole(&depot(left))?;
    let seen = release_on(left, world)?;
    if done && seen != 2 {
        return Err(format!("release {seen} is seen, and the second was reported written"));
    }
    world.has_receipts(left)?;
    let again = left.copy();
    exported(&world.second, again.clone(), world).map_err(|why| format!("next export: {why}"))?;
    match release_on(&again, world)? {
        2 => world.has_receipts(&again),
        other => Err(format!("in the end release {other}")),
    }
}

/// Imports from a stick that something happens to in call after call, into a depot whose power goes
/// then too.
fn sweep_import(world: &World, tally: &mut Tally) {
    let full = world.stick();
    exported(&world.second, full.clone(), world).expect("nothing stops it");
    let full = full.after_cut(Fate::Lost);
    for call in 0.. {
        let mut goes_on = false;
        for cable in Cable::all(call) {
            let (disk, home) = (full.copy(), world.home());
            let mut state = world.state();
            let files = Pulled::new(disk.clone(), &cable);
            // Whether it came to its end says the next try.
            drop(imported(files, &depot(&home), &mut state, world));
            for fate in fates(call) {
                let (stick, home) = (disk.after_cut(fate), home.after_cut(fate));
                let judged = judge_home(world, &stick, &home, &mut state.clone());
                let what = format!("world {}, import, call {call}, {fate:?}", world.seed);
                tally.judge(&what, judged);
            }
            goes_on |= cable.was_reached();
        }
        if !goes_on {
            break;
        }
    }
    // The power of the device goes, and the stick stays in.
    for step in 0.. {
        let (disk, home) = (full.copy(), world.home());
        home.cut_at(home.steps() + step);
        let mut state = world.state();
        let done = imported(disk.clone(), &depot(&home), &mut state, world).is_ok();
        for fate in fates(step) {
            let judged = judge_home(world, &disk, &home.after_cut(fate), &mut state.clone());
            tally.judge(&format!("world {}, cut, step {step}, {fate:?}", world.seed), judged);
        }
        if done {
            return;
        }
    }
}

/// What is in the depot must be good, receipts must be on either side, and the next try must end.
fn judge_home(
    world: &World,
    stick: &Memory,
    home: &Memory,
    state: &mut neap_trust::state::MemoryState,
) -> Result<(), String> {
    let here = depot(home);
    is_whole(&here)?;
    is_whole(&depot(stick))?;
    world.has_receipts(stick)?;
    world.has_own_receipts(&here)?;
    imported(stick.clone(), &here, state, world).map_err(|why| format!("next import: {why}"))?;
    match release_on_depot(&here, world)? {
        2 => world.has_own_receipts_on(stick),
        other => Err(format!("in the end release {other}")),
    }
}

/// What `neap depot fsck` finds.
fn is_whole(depot: &Depot) -> Result<(), String> {
    let report = depot.check(&mut |_| {}).map_err(|error| error.to_string())?;
    match report.damage().next() {
        Some(damage) => Err(format!("{depot:?} is damaged: {}", damage.what)),
        None => Ok(()),
    }
}

fn release_on_depot(depot: &Depot, world: &World) -> Result<u64, String> {
    world::release_of(depot, world)
}

/// Installs from a stick that something happens to in call after call; and then on a machine whose
/// power goes.
fn sweep_install(seed: u64, tally: &mut Tally) {
    let pair = Pair::new(400_000 + usize::try_from(seed % 7).expect("small") * 33_333, seed);
    let memory = Memory::default();
    let home = Depot::new(Box::new(Directory::new(memory.clone())));
    let digest = {
        let writer = home.writer("sweep").expect("free");
        let mut input = std::io::Cursor::new(&pair.patch);
        writer.add(&mut input, neap_depot::writer::Present::Verify).expect("added").digest
    };
    let install = |cable: &Cable, port: &Port| -> Result<(), String> {
        let files = Pulled::new(memory.clone(), cable);
        let stick = Stick::on(files, None).map_err(|error| error.to_string())?;
        let blob = stick.depot().blob(&digest).map_err(|error| error.to_string())?;
        let blob = blob.ok_or("it is not there")?;
        let (mut target, mut journal) = (port.clone(), port.clone());
        let options = Options { one_thread: true, checkpoint_len: 65_536, ..Options::default() };
        let mut patch = PatchInput::pipe(BlobInput::new(blob));
        drive::apply(&mut patch, &pair.source, &mut target, &mut journal, options, &|_| {})
            .map(drop)
            .map_err(|stopped| stopped.error.to_string())
    };
    let finish = |port: &Port| -> Result<(), String> {
        port.machine().reboot();
        install(&Cable::default(), port).map_err(|why| format!("next install: {why}"))?;
        let mut machine = port.machine();
        match machine.target_disk().medium().starts_with(&pair.target) {
            true => Ok(()),
            false => Err("another image was installed".into()),
        }
    };
    let port = || Port::new(Machine::new(vec![0x5A; pair.target.len()], false, seed));
    for call in 0.. {
        let mut goes_on = false;
        for cable in Cable::all(call) {
            let port = port();
            // Whether it came to its end says the next try.
            drop(install(&cable, &port));
            tally.judge(&format!("pair {seed}, install, call {call}"), finish(&port));
            goes_on |= cable.was_reached();
        }
        if !goes_on {
            break;
        }
    }
    for tick in 0.. {
        let mut cut = false;
        for moment in Moment::ALL {
            let port = port();
            port.machine().cut_at(tick, moment);
            let done = install(&Cable::default(), &port).is_ok();
            cut |= !done;
            tally.judge(&format!("pair {seed}, tick {tick}, {moment:?}"), finish(&port));
        }
        if !cut {
            return;
        }
    }
}

#[test]
fn no_pull_of_an_export_loses_a_release_or_a_receipt() {
    let mut tally = Tally::default();
    for seed in 0.. {
        sweep_export(&World::new(seed), false, &mut tally);
        if seed >= 1 && tally.points >= points() {
            break;
        }
    }
    tally.tell("export");
    assert_eq!(tally.failures, Vec::<String>::new());
}

#[test]
fn no_pull_or_cut_of_an_import_damages_a_depot_or_loses_a_receipt() {
    let mut tally = Tally::default();
    for seed in 0.. {
        sweep_import(&World::new(seed), &mut tally);
        if seed >= 1 && tally.points >= points() {
            break;
        }
    }
    tally.tell("import");
    assert_eq!(tally.failures, Vec::<String>::new());
}

#[test]
fn no_pull_or_cut_of_an_install_makes_another_image() {
    let mut tally = Tally::default();
    for seed in 0.. {
        sweep_install(seed, &mut tally);
        if seed >= 1 && tally.points >= points() {
            break;
        }
    }
    tally.tell("install");
    assert_eq!(tally.failures, Vec::<String>::new());
}

/// The sweep is worth something only if it sees what goes wrong: here no sync does anything.
#[test]
fn stick_that_lies_about_syncs_is_caught() {
    let mut tally = Tally::default();
    sweep_export(&World::new(0), true, &mut tally);
    let kinds: BTreeSet<_> = tally.failures.iter().map(|why| why.len()).collect();
    assert!(tally.failures.len() > 10, "only {} failures, {kinds:?}", tally.failures.len());
}
