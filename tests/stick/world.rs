//! A shore with two releases, a stick that was there before, and a device that signs receipts.

use std::io::Cursor;

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::files::Files;
use neap_depot::memory::{Fate, Memory};
use neap_depot::name::Device;
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use neap_sim::random::Random;
use neap_trust::client::{Ask, Checked};
use neap_trust::device_key::file::{DeviceFileKey, Kind};
use neap_trust::fixture::Repository;
use neap_trust::receipt::{Carrier, Outcome, Receipt};
use neap_trust::state::MemoryState;
use neap_trust::time::{Clock, Source, Timestamp};
use neap_usb_sideload::clear::clear;
use neap_usb_sideload::export::{self, Wanted};
use neap_usb_sideload::paced::Paced;
use neap_usb_sideload::seal::Identity;
use neap_usb_sideload::stick::{Room, Stick};
use neap_usb_sideload::{back, import, recorder};
use serde_json::json;

/// Synced steps of these sticks, in bytes: a blob takes some.
const STEP_LEN: u64 = 20_000;

/// All that a story is told about.
pub(crate) struct World {
    pub(crate) seed: u64,
    /// The shore with both releases.
    pub(crate) second: Memory,
    first: Memory,
    root: Vec<u8>,
    /// What images are encrypted to, in every other world.
    key: Option<Identity>,
    /// Receipts of a device that the stick has visited before.
    earlier: Vec<Vec<u8>>,
    /// Receipts of the device that is visited now.
    own: Vec<Vec<u8>>,
}

/// A depot on a disk.
pub(crate) fn depot(memory: &Memory) -> Depot {
    Depot::new(Box::new(Directory::new(memory.clone())))
}

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().expect("a time")
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let memory = Memory::default();
        let mut repository = Repository::new(now());
        repository.group("fleet");
        release(&mut repository, &memory, 1, &mut random);
        repository.publish(&["g.fleet", "targets"]);
        publish(&repository, &memory);
        let first = memory.copy();
        release(&mut repository, &memory, 2, &mut random);
        repository.publish(&["g.fleet"]);
        publish(&repository, &memory);
        let (earlier, own) = (receipts("radar-1", 2), receipts("radar-7", 3));
        let key = (!seed.is_multiple_of(2)).then(Identity::generate);
        Self { seed, second: memory, first, root: repository.first_root(), key, earlier, own }
    }

    /// A stick with the first release, and the receipts of another device.
    pub(crate) fn stick(&self) -> Memory {
        let stick = Memory::default();
        exported(&self.first, stick.clone(), self).expect("nothing stops it");
        let there = depot(&stick);
        keep(&there, "radar-1", &self.earlier);
        stick.after_cut(Fate::Lost)
    }

    /// A device's depot with its receipts.
    pub(crate) fn home(&self) -> Memory {
        let home = Memory::default();
        keep(&depot(&home), "radar-7", &self.own);
        home.after_cut(Fate::Lost)
    }

    /// What a new device remembers.
    pub(crate) fn state(&self) -> MemoryState {
        MemoryState([("root.json".to_owned(), self.root.clone())].into())
    }

    /// Whether the receipts of the earlier visit are on a stick.
    pub(crate) fn has_receipts(&self, stick: &Memory) -> Result<(), String> {
        has(&depot(stick), "radar-1", &self.earlier)
    }

    /// Whether the device has its own receipts.
    pub(crate) fn has_own_receipts(&self, home: &Depot) -> Result<(), String> {
        has(home, "radar-7", &self.own)
    }

    /// Whether they are on the stick.
    pub(crate) fn has_own_receipts_on(&self, stick: &Memory) -> Result<(), String> {
        has(&depot(stick), "radar-7", &self.own)
    }
}

/// Adds an image and a document of a version to the depot and to the group's role.
fn release(repository: &mut Repository, memory: &Memory, version: u64, random: &mut Random) {
    let depot = depot(memory);
    let writer = depot.writer("world").expect("free");
    let sizes = [0, 1, 16_384, 16_385, 40_000, 70_000];
    for (name, kind) in [("full", "full"), ("sbom.json", "document")] {
        let size = sizes[random.index(sizes.len())];
        let mut bytes = random.bytes(size);
        bytes.extend_from_slice(format!("{name} {version}").as_bytes());
        let added = writer.add(&mut Cursor::new(&bytes), Present::Verify).expect("added");
        let path = format!("g/fleet/radar/{version}.0/{name}");
        let digest = added.digest.to_string();
        let mut custom = json!({
            "blake3": digest, "kind": kind, "product": "radar",
            "version": format!("{version}.0"), "severity": "low",
        });
        if kind == "full" {
            custom["to"] = digest.into();
            custom["to_len"] = added.len.into();
            custom["content"] = "image".into();
        }
        repository.target("fleet", &path, added.len, &added.sha256, custom);
    }
}

fn publish(repository: &Repository, memory: &Memory) {
    let depot = depot(memory);
    let writer = depot.writer("world").expect("free");
    let files: Vec<_> = repository.files.metadata.clone().into_iter().collect();
    writer.mirror(&files).expect("kept");
}

fn receipts(device: &str, count: u64) -> Vec<Vec<u8>> {
    let key = DeviceFileKey::from_seed(Kind::Ed25519, &[7; 32]).expect("a key");
    let mut previous = None;
    let signed = (1..=count).map(|sequence| {
        let receipt = Receipt {
            device: device.into(),
            sequence,
            previous,
            hardware: String::new(),
            product: "radar".into(),
            version: "0.9".into(),
            from: None,
            to: None,
            read_back: None,
            outcome: Outcome::Inventory,
            exit: 0,
            detail: String::new(),
            at: now(),
            at_source: Source::Rtc,
            stale_s: 0,
            timestamp_version: 0,
            carrier: Carrier::Stick,
            carrier_id: String::new(),
            approvals: Vec::new(),
        };
        let bytes = receipt.sign(&key).expect("signed");
        previous = Some(Digest::of(&bytes).0);
        bytes
    });
    signed.collect()
}

fn keep(depot: &Depot, device: &str, receipts: &[Vec<u8>]) {
    let device = Device::new(device).expect("a name");
    let writer = depot.writer("world").expect("free");
    for (sequence, bytes) in (1..).zip(receipts) {
        writer.keep_receipt(&device, sequence, bytes).expect("kept");
    }
}

fn has(depot: &Depot, device: &str, receipts: &[Vec<u8>]) -> Result<(), String> {
    let device = Device::new(device).expect("a name");
    for (sequence, bytes) in (1..).zip(receipts) {
        let found = depot.receipt(&device, sequence).map_err(|error| error.to_string())?;
        if found.as_ref() != Some(bytes) {
            return Err(format!("receipt {sequence} of {} is lost", device.as_str()));
        }
    }
    Ok(())
}

fn ask(root: &[u8]) -> Ask<'_> {
    let clock = Clock { rtc: Some(now()), build: now() };
    Ask { groups: &["fleet"], root: Some(root), clock, seen: None }
}

/// Exports all that a shore has to a stick, as `neap stick export` does.
pub(crate) fn exported(shore: &Memory, stick: impl Files, world: &World) -> Result<(), String> {
    let shore = depot(shore);
    let stick = Stick::on(Paced::new(stick, STEP_LEN), None).map_err(|e| e.to_string())?;
    let verified = recorder::verified(&shore, &mut MemoryState::default(), &ask(&world.root));
    let verified = verified.map_err(|error| error.to_string())?;
    let mut metadata = export::roots(&shore).map_err(|error| error.to_string())?;
    metadata.extend(verified.files);
    let to = world.key.as_ref().map(Identity::recipient);
    let wanted = Wanted {
        needed: &verified.checked.groups[0].offers,
        welcome: &[],
        metadata: &metadata,
        timestamp: verified.checked.timestamp,
        root: &world.root,
        to: to.as_ref(),
        read_back: true,
    };
    clear(&stick, now()).map_err(|error| error.to_string())?;
    let room = Room { free: u64::MAX, cluster: 4096 };
    let draft = export::draft(&stick, &wanted, room).map_err(|error| error.to_string())?;
    let written = export::write(&shore, &stick, &draft, &mut |_| {});
    written.map(drop).map_err(|error| error.to_string())
}

/// Imports all that a stick has, as `neap stick import` does.
pub(crate) fn imported(
    stick: impl Files,
    home: &Depot,
    state: &mut MemoryState,
    world: &World,
) -> Result<(), String> {
    let stick = Stick::on(Paced::new(stick, STEP_LEN), world.key.clone());
    let stick = stick.map_err(|error| error.to_string())?;
    back::give(home, &stick, None).map_err(|error| error.to_string())?;
    let verified = recorder::verified(stick.depot(), state, &ask(&world.root));
    let verified = verified.map_err(|error| error.to_string())?;
    let writer = home.writer("world").map_err(|error| error.to_string())?;
    writer.begin_mirror().map_err(|error| error.to_string())?;
    for offer in &verified.checked.groups[0].offers {
        let digest = Digest::from_hex(&offer.custom.blake3).ok_or("no digest")?;
        if home.blob(&digest).is_ok_and(|there| there.is_some()) {
            continue;
        }
        let blob = stick.depot().blob(&digest).map_err(|error| error.to_string())?;
        let blob = blob.ok_or_else(|| format!("{} is not on the stick", offer.path))?;
        let taken = import::take(&blob, &writer, &mut |_| {}).map_err(|e| e.to_string())?;
        if !taken.is_whole {
            return Err(format!("{} is not whole: {taken:?}", offer.path));
        }
    }
    writer.mirror(&verified.files).map_err(|error| error.to_string())
}

/// The release that a device sees on a stick, whole.
pub(crate) fn release_on(stick: &Memory, world: &World) -> Result<u64, String> {
    let stick = Stick::on(stick.copy(), world.key.clone()).map_err(|error| error.to_string())?;
    release_of(stick.depot(), world)
}

/// The release that a device sees in a depot, whole.
pub(crate) fn release_of(depot: &Depot, world: &World) -> Result<u64, String> {
    let verified = recorder::verified(depot, &mut world.state(), &ask(&world.root));
    let Checked { groups, .. } = verified.map_err(|error| error.to_string())?.checked;
    for offer in &groups[0].offers {
        let digest = Digest::from_hex(&offer.custom.blake3).ok_or("no digest")?;
        let blob = depot.blob(&digest).map_err(|error| format!("{}: {error}", offer.path))?;
        let blob = blob.ok_or_else(|| format!("{} is missing", offer.path))?;
        let checked = blob.check().map_err(|error| error.to_string())?;
        if !checked.is_good() || checked.sha256 != offer.sha256 {
            return Err(format!("{} is not what is signed", offer.path));
        }
    }
    let versions = groups[0].offers.iter().filter_map(|offer| offer.custom.version.chars().next());
    let latest = versions.max().and_then(|digit| digit.to_digit(10)).ok_or("nothing is offered")?;
    Ok(latest.into())
}
