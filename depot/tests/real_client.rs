//! The client that devices run looks at a depot at every write, rename and sync of publications
//! and of a collection, live and after a power cut there: it is never refused, and never sees less
//! than before. Publications are those of the editor, signed; a device that looks for the first
//! time and one that has looked before must agree.

mod sample;

use std::collections::BTreeMap;
use std::io::Cursor;

use neap_depot::depot::Depot;
use neap_depot::memory::{Fate, Memory};
use neap_depot::writer::{Present, Writer};
use neap_engine::digest::Digest;
use neap_trust::carrier::Carrier;
use neap_trust::client::{Ask, check};
use neap_trust::key::Signer;
use neap_trust::key::sealed::FileKey;
use neap_trust::limits::ROOT_LEN_MAX;
use neap_trust::repo::document::{NamedKey, TargetFile};
use neap_trust::repo::edit::{KeyChange, RoleSetup, Setup};
use neap_trust::repo::publish::OnlineExpiry;
use neap_trust::repo::signature::SignatureFile;
use neap_trust::repo::{ROOT, Repo, SNAPSHOT, TARGETS, TIMESTAMP, When};
use neap_trust::state::MemoryState;
use neap_trust::target::{Content, Custom, Kind, Severity};
use neap_trust::time::{Clock, Timestamp};
use sample::{depot, image};
use sha2::{Digest as _, Sha256};

/// How thorough a sweep is.
#[derive(Clone, Copy)]
struct Depth {
    /// Calls from one cut to the next.
    stride: usize,
    /// Ways in which the unsynced parts of one cut are lost, at random, beside all and nothing.
    mixed: u64,
}

/// Some seconds, in every run of the tests.
const SHORT: Depth = Depth { stride: 7, mixed: 2 };
/// Every call: some minutes.
const FULL: Depth = Depth { stride: 1, mixed: 24 };

const GROUP: &str = "g.fleet";

/// What a publication leads to.
struct Goal {
    root: u64,
    fleet: u64,
    /// The key of timestamp and snapshot that goes, if any, and the one that comes.
    online: Option<(Option<u8>, u8)>,
    /// The same of roots.
    offline: Option<(Option<u8>, u8)>,
    /// Keys that sign the new root, and those that sign online.
    root_keys: &'static [u8],
    online_keys: &'static [u8],
}

/// First both online keys sign while one takes the other's place: the new root must come after the
/// switch. Then one is added and signs alone: it must come before. Then there is no new root.
const GOALS: [Goal; 3] = [
    Goal {
        root: 2,
        fleet: 2,
        online: Some((Some(3), 5)),
        offline: None,
        root_keys: &[1, 2],
        online_keys: &[3, 5],
    },
    Goal {
        root: 3,
        fleet: 3,
        online: Some((None, 7)),
        offline: Some((Some(2), 4)),
        root_keys: &[1, 2, 4],
        online_keys: &[7],
    },
    Goal { root: 3, fleet: 4, online: None, offline: None, root_keys: &[], online_keys: &[5] },
];

/// What a device sees: versions of root, timestamp, snapshot and its group's role.
type Seen = [u64; 4];

/// A device: what it has seen, and what it keeps.
#[derive(Clone, Default)]
struct Device {
    seen: Seen,
    state: MemoryState,
}

impl Device {
    /// Looks at a depot, reads all that it is offered, and is not shown less than before.
    fn look(&mut self, depot: &Depot) -> Result<(), String> {
        let root = depot.metadata("1.root.json", ROOT_LEN_MAX).map_err(|e| e.to_string())?;
        let clock = Clock { rtc: Some(now()), build: now() };
        let ask = Ask { groups: &["fleet"], root: root.as_deref(), clock, seen: None };
        let checked = check(depot, &mut self.state, &ask).map_err(|refusal| refusal.to_string())?;
        let group = &checked.groups[0];
        let seen = [checked.root, checked.timestamp, checked.snapshot, group.version];
        if seen.iter().zip(&self.seen).any(|(now, before)| now < before) {
            return Err(format!("{seen:?} is seen, and {:?} was before", self.seen));
        }
        if group.profile.is_none() || !group.refused.is_empty() || !checked.notes.is_empty() {
            return Err(format!("without its profile: {:?}, {:?}", checked.notes, group.refused));
        }
        for offer in &group.offers {
            let digest = Digest::from_hex(&offer.custom.blake3).ok_or("no digest")?;
            let blob = depot.blob(&digest).map_err(|e| format!("{}: {e}", offer.path))?;
            let blob = blob.ok_or_else(|| format!("{}: there is no such blob", offer.path))?;
            if !blob.check().map_err(|error| error.to_string())?.is_good() {
                return Err(format!("{}: wrong content", offer.path));
            }
        }
        self.seen = seen;
        Ok(())
    }
}

/// A device that never looked, and this one: both accept the depot, and see the same.
fn both_look(device: &mut Device, disk: &Memory) -> Result<(), String> {
    let depot = depot(disk);
    let mut cold = Device::default();
    cold.look(&depot).map_err(|why| format!("a new device: {why}"))?;
    device.look(&depot).map_err(|why| format!("a device that knows: {why}"))?;
    match cold.seen == device.seen {
        true => Ok(()),
        false => Err(format!("a new device sees {:?}, another {:?}", cold.seen, device.seen)),
    }
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

fn when() -> When {
    When { now: now(), expires: None }
}

fn key(seed: u8) -> FileKey {
    FileKey::from_seed(&[seed; 32])
}

fn named(seed: u8) -> NamedKey {
    NamedKey { key: key(seed).public().clone(), name: format!("key-{seed}") }
}

fn role(seeds: &[u8], threshold: usize) -> RoleSetup {
    RoleSetup { keys: seeds.iter().map(|seed| named(*seed)).collect(), threshold }
}

fn replaced((gone, new): (Option<u8>, u8)) -> KeyChange {
    let remove = gone.iter().map(|seed| key(*seed).public().id()).collect();
    KeyChange { add: vec![named(new)], remove, threshold: None }
}

/// What version `number` of the group's role offers: an image that all share, its own, and a new
/// profile of the site.
fn files(number: u64) -> Vec<(String, Kind, Vec<u8>)> {
    let profile = format!(r#"{{"neap_profile":1,"site":"A","stale_days":{number}}}"#);
    let path = |name: &str| format!("g/fleet/{name}");
    vec![
        (path("p/1/full"), Kind::Full, image(1, 70_000)),
        (path(&format!("p/{number}.1/full")), Kind::Full, image(10 + number, 33_000)),
        (path(&format!("site/{number}/profile")), Kind::SiteProfile, profile.into_bytes()),
    ]
}

fn target(path: &str, kind: Kind, content: &[u8]) -> TargetFile {
    let mut parts = path.split('/').skip(2).map(str::to_owned);
    let mut part = || parts.next().expect("a path has five parts");
    let custom = Custom {
        blake3: Digest::of(content).to_string(),
        kind,
        from: None,
        to: Some(Digest::of(content).to_string()).filter(|_| kind == Kind::Full),
        to_len: Some(content.len() as u64).filter(|_| kind == Kind::Full),
        content: Some(Content::Image).filter(|_| kind == Kind::Full),
        product: part(),
        version: part(),
        security_epoch: 0,
        severity: Severity::Low,
        sbom: None,
        advisory: None,
        hardware: Vec::new(),
        requires: Vec::new(),
    };
    let sha256 = hex::encode(Sha256::digest(content));
    TargetFile::new(content.len() as u64, &sha256, &custom).expect("a target")
}

/// Adds blobs and stages that the group is offered them, and nothing else.
fn offer(writer: &Writer<'_>, repo: &mut Repo, number: u64) -> Result<(), String> {
    let mut targets = BTreeMap::new();
    for (path, kind, content) in files(number) {
        let added = writer.add(&mut Cursor::new(&content), Present::Verify);
        added.map_err(|error| error.to_string())?;
        targets.insert(path.clone(), target(&path, kind, &content));
    }
    let current = repo.current(GROUP).map(|role| role.targets().expect("targets"));
    let old = current.into_iter().flat_map(|role| role.targets.into_keys());
    let old: Vec<_> = old.filter(|path| !targets.contains_key(path)).collect();
    repo.remove_targets("fleet", &old, &when()).map_err(|error| error.to_string())?;
    repo.add_targets("fleet", targets, &when()).map_err(|error| error.to_string())
}

fn sign(repo: &mut Repo, role: &str, seeds: &[u8]) -> Result<(), String> {
    for seed in seeds {
        let envelope = repo.staged(role).ok_or_else(|| format!("{role} is not staged"))?;
        let file = SignatureFile::make(role, envelope, &key(*seed));
        let merged = file.and_then(|file| repo.merge(&[file]));
        merged.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Stages, and publishes what is staged, as the verbs do: from the files.
fn publish(writer: &mut Writer<'_>, depot: &Depot, repo: &Repo, keys: &[u8]) -> Result<(), String> {
    let steps = repo.save_staged().map_err(|error| error.to_string())?;
    writer.take(&steps).map_err(|error| error.to_string())?;
    let repo = Repo::load(depot).map_err(|error| error.to_string())?;
    let keys: Vec<_> = keys.iter().map(|seed| key(*seed)).collect();
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
    let done = repo.publish(&signers, now(), OnlineExpiry::default());
    let done = done.map_err(|error| error.to_string())?;
    assert_eq!(done.warnings, [""; 0]);
    writer.take(&done.steps).map_err(|error| error.to_string())
}

/// The disk with a first release on it.
fn before() -> Memory {
    let memory = Memory::default();
    let depot = depot(&memory);
    let setup = Setup {
        root: role(&[1, 2], 2),
        targets: role(&[1, 6], 2),
        snapshot: role(&[3], 1),
        timestamp: role(&[3], 1),
    };
    let mut writer = depot.writer("first").expect("nobody else writes");
    let mut repo = Repo::init(&setup, &when()).expect("a repository");
    repo.set_group("fleet", &role(&[1, 6], 2), &when()).expect("a group");
    offer(&writer, &mut repo, 1).expect("offered");
    for (role, seeds) in [(ROOT, &[1, 2]), (TARGETS, &[1, 6]), (GROUP, &[1, 6])] {
        sign(&mut repo, role, seeds).expect("signed");
    }
    publish(&mut writer, &depot, &repo, &[3]).expect("published");
    memory.after_cut(Fate::Lost)
}

/// Does what is still to be done, whatever was cut short; `told` is called with the disk whenever
/// something was reported done.
fn go_on(memory: &Memory, told: &mut dyn FnMut(&Memory)) -> Result<(), String> {
    let depot = depot(memory);
    let mut writer = depot.writer("story").map_err(|error| error.to_string())?;
    for goal in &GOALS {
        let mut repo = Repo::load(&depot).map_err(|error| error.to_string())?;
        let version = |repo: &Repo, role: &str| repo.current(role).map_or(0, |r| r.version());
        let is_root_due = version(&repo, ROOT) < goal.root;
        let is_fleet_due = version(&repo, GROUP) < goal.fleet;
        if !is_root_due && !is_fleet_due {
            // As a publication that was done finds what was left of it.
            let steps = repo.save_staged().map_err(|error| error.to_string())?;
            writer.take(&steps).map_err(|error| error.to_string())?;
            continue;
        }
        let staged: Vec<_> = repo.staged_roles().map(str::to_owned).collect();
        staged.iter().try_for_each(|role| repo.drop_staged(role)).map_err(|e| e.to_string())?;
        if is_root_due {
            let online = goal.online.iter().flat_map(|pair| [(TIMESTAMP, pair), (SNAPSHOT, pair)]);
            for (role, pair) in online.chain(goal.offline.iter().map(|pair| (ROOT, pair))) {
                let changed = repo.change_keys(role, &replaced(*pair), &when());
                changed.map_err(|error| error.to_string())?;
            }
            sign(&mut repo, ROOT, goal.root_keys)?;
        }
        if is_fleet_due {
            offer(&writer, &mut repo, goal.fleet)?;
            sign(&mut repo, GROUP, &[1, 6])?;
        }
        publish(&mut writer, &depot, &repo, goal.online_keys)?;
        told(memory);
    }
    let repo = Repo::load(&depot).map_err(|error| error.to_string())?;
    let fresh = repo.refresh(&[&key(7)], now(), OnlineExpiry::default());
    let fresh = fresh.map_err(|error| error.to_string())?;
    writer.take(&fresh.steps).map_err(|error| error.to_string())?;
    told(memory);
    writer.collect(1).map(|_| ()).map_err(|error| error.to_string())
}

#[derive(Debug, Default)]
struct Sweep {
    steps: u64,
    states: u64,
    failures: Vec<String>,
}

/// A device looks before each call that changes something, and follows all of it.
fn live(before: &Memory) -> Sweep {
    let whole = before.copy();
    go_on(&whole, &mut |_| {}).expect("without a cut all is done");
    let mut sweep = Sweep { steps: whole.steps() - before.steps(), ..Sweep::default() };
    let mut device = Device::default();
    for step in 0..=sweep.steps {
        let now = before.copy();
        now.cut_at(before.steps() + step);
        assert_eq!(go_on(&now, &mut |_| {}).is_ok(), step == sweep.steps, "step {step}");
        sweep.states += 1;
        // What readers see is all that was written, synced or not.
        if let Err(why) = both_look(&mut device, &now.after_cut(Fate::Kept)) {
            sweep.failures.push(format!("live, before step {step}: {why}"));
        }
    }
    sweep
}

/// The power fails in these calls, in so many ways.
fn cuts(before: &Memory, steps: u64, depth: Depth) -> Sweep {
    let mut sweep = Sweep { steps, ..Sweep::default() };
    let mut first = Device::default();
    both_look(&mut first, before).expect("the first release is whole");
    for step in (0..steps).step_by(depth.stride) {
        let cut = before.copy();
        cut.cut_at(before.steps() + step);
        // It looked whenever something was reported done, and knows of that.
        let mut device = first.clone();
        let mut refused = None;
        let mut told = |memory: &Memory| {
            refused = refused.take().or(device.look(&depot(memory)).err());
        };
        assert!(go_on(&cut, &mut told).is_err(), "step {step} is one of them");
        sweep.failures.extend(refused.map(|why| format!("told before step {step}: {why}")));
        for fate in [Fate::Lost, Fate::Kept].into_iter().chain((0..depth.mixed).map(Fate::Mixed)) {
            let disk = cut.after_cut(fate);
            match judge(&mut device.clone(), &disk, step) {
                Ok(states) => sweep.states += states,
                Err(why) => sweep.failures.push(format!("cut in step {step}, {fate:?}: {why}")),
            }
        }
    }
    sweep
}

/// What is on the disk is whole and no less than was told; so it is after a second cut; and the
/// same commands come to their end, followed by the device that looked at all of this.
fn judge(device: &mut Device, disk: &Memory, seed: u64) -> Result<u64, String> {
    both_look(device, disk)?;
    let again = disk.copy();
    again.cut_at(seed * 7 % 41);
    let mut twice = device.clone();
    let mut states = 1;
    if go_on(&again, &mut |_| {}).is_err() {
        let disk = again.after_cut(Fate::Mixed(seed));
        both_look(&mut twice, &disk).map_err(|why| format!("second cut: {why}"))?;
        states += 1;
    }
    go_on(disk, &mut |_| {}).map_err(|why| format!("going on: {why}"))?;
    both_look(device, disk).map_err(|why| format!("in the end: {why}"))?;
    let report = depot(disk).check(&mut |_| {}).map_err(|error| error.to_string())?;
    if device.seen[0] != 3 || device.seen[3] != 4 || !report.findings.is_empty() {
        return Err(format!("in the end {:?} is seen, {:?}", device.seen, report.findings));
    }
    Ok(states + 1)
}

fn tell(what: &str, sweep: &Sweep) {
    let Sweep { steps, states, failures } = sweep;
    println!("{what}: {steps} steps, {states} states of the disk: {} failures", failures.len());
}

#[test]
fn device_that_looks_meanwhile_is_never_refused_and_never_sees_less() {
    let sweep = live(&before());
    tell("live", &sweep);
    assert_eq!(sweep.failures, Vec::<String>::new());
    assert!(sweep.steps > 100, "{} steps", sweep.steps);
}

#[test]
fn device_that_looks_after_a_cut_is_never_refused_and_never_sees_less() {
    let before = before();
    let steps = live(&before).steps;
    let sweep = cuts(&before, steps, SHORT);
    tell("power cuts", &sweep);
    assert_eq!(sweep.failures, Vec::<String>::new());
}

/// `cargo test --release -p neap-depot --test real_client -- --ignored --nocapture`
#[test]
#[ignore = "the full sweep: some minutes"]
fn device_that_looks_after_any_cut_is_never_refused_and_never_sees_less() {
    let before = before();
    let steps = live(&before).steps;
    let sweep = cuts(&before, steps, FULL);
    tell("power cuts", &sweep);
    assert_eq!(sweep.failures, Vec::<String>::new());
}

/// The sweep is worth something only if it sees what goes wrong: here no sync does anything.
#[test]
fn disk_that_lies_about_syncs_is_caught() {
    let before = before();
    let steps = live(&before).steps;
    before.lie();
    let sweep = cuts(&before, steps, SHORT);
    assert!(sweep.failures.len() > 10, "only {} failures", sweep.failures.len());
}
