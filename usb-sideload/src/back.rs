//! The way back: what devices signed is written to the stick, and taken from it on shore.
//!
//! Receipts are added and never replaced. Encrypted ones lie in `sealed`, each under the BLAKE3 of
//! what it holds, so that the same one is never written twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;

use neap_depot::depot::Depot;
use neap_depot::limits::RECEIPT_LEN_MAX;
use neap_depot::name::{Device, Folder, Meaning};
use neap_depot::store::Kind;
use neap_trust::receipt::Receipt;

use crate::error::StickError;
use crate::limits::{
    BROUGHT_LEN_MAX, DEVICES_MAX, OPENED_LEN_MAX, RECEIPTS_MAX, SEALED_RECEIPT_LEN_MAX,
};
use crate::seal::{self, Identity, Recipient};
use crate::stick::{SEALED, Stick};

/// What was written to a stick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Devices whose receipts are on the stick now.
    pub devices: u64,
    /// Receipts that were written.
    pub written: u64,
    /// What was not written, and why.
    pub refused: Vec<String>,
}

/// A receipt that lies on a stick. Nobody verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose it says it is, by its place or, where it was encrypted, by itself.
    pub device: Device,
    /// Its number, likewise.
    pub sequence: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Whose receipts lie on a stick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    /// The devices, each with its encrypted receipts.
    pub devices: BTreeMap<Device, Vec<Sealed>>,
    /// What is no receipt, and why.
    pub refused: Vec<String>,
    /// Encrypted receipts that were not opened: no key was given, or they are for another.
    pub closed: u64,
}

/// An encrypted receipt that is of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// As it was opened.
    Opened(Found),
    /// The name of its file, to be opened again: [`OPENED_LEN_MAX`] of others are held.
    File(String),
}

/// What lies on a stick of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfDevice {
    /// Receipts, in order of their numbers.
    pub receipts: Vec<Found>,
    /// What is no receipt, and why.
    pub refused: Vec<String>,
    /// Whether this is all: past [`RECEIPTS_MAX`] and [`BROUGHT_LEN_MAX`] the rest is left out.
    pub is_all: bool,
}

/// Writes receipts of a depot to a stick, those that are not there yet. Where `to` is given, they
/// are encrypted.
///
/// # Errors
/// If the stick cannot be written.
pub fn give(depot: &Depot, stick: &Stick, to: Option<&Recipient>) -> Result<Given, StickError> {
    let listed = |what: &str, error| StickError::Io { what: what.to_owned(), error };
    let title = depot.store().title();
    let mut given = Given::default();
    let devices = depot.receipts().map_err(|error| listed(&title, error))?;
    if devices.is_empty() {
        return Ok(given);
    }
    let writer = stick.depot().writer("neap stick, writing receipts")?;
    let there = There::of(stick, &devices).map_err(|error| listed(stick.title(), error))?;
    for (device, numbers) in devices.into_iter().take(DEVICES_MAX) {
        given.devices += 1;
        let mut left = RECEIPTS_MAX;
        for number in numbers {
            if left == 0 {
                break;
            }
            let name = format!("receipts/{}/{number}.cose", device.as_str());
            let bytes = depot.receipt(&device, number);
            let bytes = match bytes.map_err(|error| StickError::of(&title, &name, error))? {
                Some(bytes) => bytes,
                None => continue,
            };
            if there.has(&device, number) {
                let found = stick.depot().receipt(&device, number);
                if !matches!(found, Ok(Some(found)) if found == bytes) {
                    let why = format!("{name}: something else has its number on the stick");
                    given.refused.push(why);
                }
                continue;
            }
            left -= 1;
            let failed = |error| StickError::of(stick.title(), &name, error);
            let Some(to) = to else {
                let kept = writer.keep_receipt(&device, number, &bytes).map_err(failed)?;
                given.written += u64::from(kept);
                continue;
            };
            let file = format!("{}.age", blake3::hash(&bytes).to_hex());
            if there.sealed.contains(&file) {
                continue;
            }
            if Receipt::claimed(&bytes).is_err() {
                given.refused.push(format!("{name}: no receipt"));
                continue;
            }
            let sealed = seal::seal_short(&bytes, to).map_err(failed)?;
            stick.raw().put(SEALED, &file, &sealed).map_err(failed)?;
            given.written += 1;
        }
    }
    Ok(given)
}

/// What is on a stick already.
struct There {
    plain: BTreeSet<(Device, u64)>,
    sealed: BTreeSet<String>,
}

impl There {
    /// Of these devices: a stick may hold others without number.
    fn of(stick: &Stick, devices: &[(Device, Vec<u64>)]) -> io::Result<Self> {
        let mut plain = BTreeSet::new();
        for (device, ours) in devices.iter().take(DEVICES_MAX) {
            let numbers = numbers(stick, device)?;
            let numbers = numbers.into_iter().filter(|number| ours.binary_search(number).is_ok());
            plain.extend(numbers.map(|number| (device.clone(), number)));
        }
        Ok(Self { plain, sealed: sealed_files(stick)?.into_iter().collect() })
    }

    fn has(&self, device: &Device, number: u64) -> bool {
        self.plain.contains(&(device.clone(), number))
    }
}

/// The devices of which there are receipts on a stick, at most [`DEVICES_MAX`].
///
/// # Errors
/// If they cannot be listed.
pub fn devices(stick: &Stick) -> io::Result<Vec<Device>> {
    let entries = stick.depot().store().list(&Folder::Receipts)?;
    let devices = entries.iter().filter_map(|entry| Device::new(&entry.file));
    Ok(devices.take(DEVICES_MAX).collect())
}

/// The numbers of a device's receipts on a stick, in order, at most [`RECEIPTS_MAX`].
///
/// # Errors
/// If they cannot be listed.
pub fn numbers(stick: &Stick, device: &Device) -> io::Result<Vec<u64>> {
    let mut numbers = all_numbers(stick.depot(), device)?;
    numbers.truncate(RECEIPTS_MAX);
    Ok(numbers)
}

/// The numbers of a device's receipts in a depot, in order. No other device's are listed.
///
/// # Errors
/// If they cannot be listed.
pub fn all_numbers(depot: &Depot, device: &Device) -> io::Result<Vec<u64>> {
    let folder = Folder::Device(device.clone());
    let entries = depot.store().list(&folder)?;
    // One without content is what a pull can leave of a receipt on FAT: it is not there.
    let entries = entries.iter().filter(|entry| entry.len > 0);
    let numbers = entries.filter_map(|entry| match folder.meaning(&entry.file) {
        Meaning::Receipt(number) => Some(number),
        _ => None,
    });
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The encrypted receipts on a stick, by name. One without content is not there, as above.
fn sealed_files(stick: &Stick) -> io::Result<Vec<String>> {
    let entries = stick.raw().entries(SEALED)?.into_iter();
    let entries = entries.filter(|entry| entry.kind == Kind::File && entry.len > 0);
    Ok(entries.map(|entry| entry.file).filter(|file| sealed_name(file).is_some()).collect())
}

/// Whose receipts are on a stick; those of encrypted ones where a key is given, which opens each.
///
/// # Errors
/// If they cannot be listed.
pub fn brought(stick: &Stick, key: Option<&Identity>) -> Result<Brought, StickError> {
    brought_within(stick, key, OPENED_LEN_MAX)
}

fn brought_within(
    stick: &Stick,
    key: Option<&Identity>,
    opened_len_max: usize,
) -> Result<Brought, StickError> {
    let failed = |what: &str, error| StickError::of(stick.title(), what, error);
    let entries = stick.depot().store().list(&Folder::Receipts);
    let entries = entries.map_err(|error| failed("receipts", error))?;
    let devices = entries.iter().filter_map(|entry| Device::new(&entry.file));
    let devices = devices.map(|device| (device, Vec::new())).collect();
    let mut brought = Brought { devices, ..Brought::default() };
    let mut held = 0;
    for file in sealed_files(stick).map_err(|error| failed(SEALED, error))? {
        match key.ok_or(Closed::Other).and_then(|key| opened(stick, &file, key)) {
            Ok(found) => {
                let of_device = brought.devices.entry(found.device.clone()).or_default();
                held += found.bytes.len() + FOUND_LEN;
                let is_held = held <= opened_len_max;
                of_device.push(if is_held { Sealed::Opened(found) } else { Sealed::File(file) });
            }
            Err(Closed::Other) => brought.closed += 1,
            Err(Closed::Wrong(why)) => brought.refused.push(format!("{SEALED}/{file}: {why}")),
        }
    }
    Ok(brought)
}

/// What came of one device, with its encrypted receipts from [`Brought::devices`]. One device at a
/// time: what one has does not keep others from being read, and memory holds those of one.
///
/// # Errors
/// If they cannot be listed.
pub fn of_device(
    device: &Device,
    sealed: Vec<Sealed>,
    stick: &Stick,
    key: Option<&Identity>,
) -> Result<OfDevice, StickError> {
    let numbers = all_numbers(stick.depot(), device);
    let folder = format!("receipts/{}", device.as_str());
    let numbers = numbers.map_err(|error| StickError::of(stick.title(), &folder, error))?;
    let plain = numbers.into_iter().map(|sequence| {
        let name = format!("receipts/{}/{sequence}.cose", device.as_str());
        let why = |why: &dyn Display| Closed::Wrong(format!("{name}: {why}"));
        match stick.depot().receipt(device, sequence) {
            Ok(Some(bytes)) if bytes.len() as u64 > neap_trust::limits::RECEIPT_LEN_MAX => {
                Err(why(&"longer than a receipt"))
            }
            Ok(Some(bytes)) => Ok(Found { device: device.clone(), sequence, bytes }),
            Ok(None) => Err(Closed::Other),
            Err(error) => Err(why(&error)),
        }
    });
    let sealed = sealed.into_iter().filter_map(|sealed| match sealed {
        Sealed::Opened(found) => Some(Ok(found)),
        Sealed::File(file) => Some(opened(stick, &file, key?)),
    });
    let mut of = OfDevice { receipts: Vec::new(), refused: Vec::new(), is_all: true };
    let mut held = 0;
    // Anybody can put files among those that are not encrypted.
    for (index, read) in sealed.chain(plain).enumerate() {
        if index == RECEIPTS_MAX || held >= BROUGHT_LEN_MAX {
            of.is_all = false;
            break;
        }
        match read {
            Ok(found) => {
                held += found.bytes.len();
                of.receipts.push(found);
            }
            Err(Closed::Wrong(why)) => of.refused.push(why),
            Err(Closed::Other) => {}
        }
    }
    // Of two that have one number, the one that is not encrypted comes first.
    of.receipts.reverse();
    of.receipts.sort_by_key(|found| found.sequence);
    of.receipts.dedup();
    Ok(of)
}

/// Why an encrypted receipt is not read.
enum Closed {
    Other,
    Wrong(String),
}

fn opened(stick: &Stick, file: &str, key: &Identity) -> Result<Found, Closed> {
    let wrong = |why: &dyn Display| Closed::Wrong(why.to_string());
    let sealed = stick.raw().read(SEALED, file, SEALED_RECEIPT_LEN_MAX);
    let sealed = sealed.map_err(|error| wrong(&error))?;
    let sealed = sealed.ok_or_else(|| wrong(&"it is gone"))?;
    let bytes = seal::open_short(&sealed, key).map_err(|why| match why {
        seal::CannotOpen::OtherKey => Closed::Other,
        other => wrong(&other),
    })?;
    if sealed_name(file) != Some(blake3::hash(&bytes).to_hex().as_str()) {
        return Err(wrong(&"it does not hold what its name says"));
    }
    let receipt = Receipt::claimed(&bytes).map_err(|error| wrong(&error))?;
    let device = Device::new(&receipt.device);
    let device = device.ok_or_else(|| wrong(&"no folder can be named after its device"))?;
    if bytes.len() as u64 > RECEIPT_LEN_MAX {
        return Err(wrong(&"it is longer than a receipt"));
    }
    Ok(Found { device, sequence: receipt.sequence, bytes })
}

/// What is counted for each receipt that is held, beside its own bytes.
const FOUND_LEN: usize = size_of::<Found>() + 64;

/// The digest that an encrypted receipt is named by.
fn sealed_name(file: &str) -> Option<&str> {
    let digest = file.strip_suffix(".age")?;
    let is_hex = digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (digest.len() == 64 && is_hex).then_some(digest)
}

#[cfg(test)]
mod tests {
    use neap_depot::directory::Directory;
    use neap_depot::files::Files as _;
    use neap_depot::memory::Memory;
    use neap_depot::store::Edit as _;
    use neap_trust::device_key::file::{DeviceFileKey, Kind as KeyKind};
    use neap_trust::receipt::{Carrier, Outcome};
    use neap_trust::time::Source;

    use super::*;

    fn receipt(sequence: u64) -> Vec<u8> {
        let key = DeviceFileKey::from_seed(KeyKind::Ed25519, &[7; 32]).expect("a key");
        let receipt = Receipt {
            device: "radar-7".into(),
            sequence,
            previous: (sequence > 1).then_some([7; 32]),
            hardware: String::new(),
            product: "radar".into(),
            version: "1.0".into(),
            from: None,
            to: None,
            read_back: None,
            outcome: Outcome::Inventory,
            exit: 0,
            detail: String::new(),
            at: "2026-11-01T00:00:00Z".parse().expect("a time"),
            at_source: Source::Rtc,
            stale_s: 0,
            timestamp_version: 0,
            carrier: Carrier::Stick,
            carrier_id: String::new(),
            approvals: Vec::new(),
        };
        receipt.sign(&key).expect("signed")
    }

    fn home(numbers: &[u64]) -> Depot {
        let depot = Depot::new(Box::new(Directory::new(Memory::default())));
        let device = Device::new("radar-7").expect("a name");
        {
            let writer = depot.writer("test").expect("free");
            for number in numbers {
                writer.keep_receipt(&device, *number, &receipt(*number)).expect("kept");
            }
        }
        depot
    }

    /// All that lies on a stick.
    fn read(stick: &Stick, key: Option<&Identity>) -> (Vec<Found>, Vec<String>) {
        let brought = brought(stick, key).expect("listed");
        let (mut receipts, mut refused) = (Vec::new(), brought.refused.clone());
        for (device, sealed) in brought.devices {
            let of = of_device(&device, sealed, stick, key).expect("listed");
            receipts.extend(of.receipts);
            refused.extend(of.refused);
        }
        (receipts, refused)
    }

    #[test]
    fn receipts_are_added_once_and_found_again() {
        let stick = Stick::on(Memory::default(), None).expect("a stick");
        let given = give(&home(&[1, 2]), &stick, None).expect("written");
        assert_eq!((given.devices, given.written), (1, 2));
        let given = give(&home(&[1, 2, 3]), &stick, None).expect("written");
        assert_eq!(given.written, 1);
        let (found, _) = read(&stick, None);
        let numbers: Vec<_> = found.iter().map(|found| found.sequence).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(found[2].bytes, receipt(3));
    }

    /// Cause: a stick with FAT was pulled after a rename, whose entry had no length yet. Effect: an
    /// empty file kept the number, and the receipt never came onto the stick. Cure: it is written.
    #[test]
    fn receipt_without_content_is_not_there() {
        let memory = Memory::default();
        let device = Device::new("radar-7").expect("a name");
        for folder in ["receipts", "receipts/radar-7"] {
            memory.make_folder(folder).expect("made");
        }
        memory.create("receipts/radar-7", "2.cose").expect("made");
        let stick = Stick::on(memory, None).expect("a stick");
        assert_eq!(numbers(&stick, &device).expect("listed"), [] as [u64; 0]);
        assert_eq!(read(&stick, None), (vec![], vec![]));
        let given = give(&home(&[1, 2]), &stick, None).expect("written");
        assert_eq!((given.written, given.refused), (2, vec![]));
        assert_eq!(numbers(&stick, &device).expect("listed"), [1, 2]);
    }

    /// Cause: an encrypted receipt whose entry had no length yet when the stick was pulled counted
    /// as there. Effect: it never came onto the stick, and `collect` called it damaged each time.
    /// Cure: it is not there, and is written.
    #[test]
    fn encrypted_receipt_without_content_is_not_there() {
        let memory = Memory::default();
        memory.make_folder(SEALED).expect("made");
        let file = format!("{}.age", blake3::hash(&receipt(2)).to_hex());
        memory.create(SEALED, &file).expect("made");
        let stick = Stick::on(memory, None).expect("a stick");
        let key = Identity::generate();
        assert_eq!(brought(&stick, Some(&key)).expect("read"), Brought::default());
        let given = give(&home(&[1, 2]), &stick, Some(&key.recipient())).expect("written");
        assert_eq!((given.written, given.refused), (2, vec![]));
        let (found, refused) = read(&stick, Some(&key));
        assert_eq!((found.len(), refused), (2, vec![]));
    }

    #[test]
    fn what_has_the_number_of_a_receipt_and_is_another_is_named() {
        let stick = Stick::on(Memory::default(), None).expect("a stick");
        let device = Device::new("radar-7").expect("a name");
        {
            let writer = stick.depot().writer("test").expect("free");
            writer.keep_receipt(&device, 2, b"another").expect("kept");
        }
        let given = give(&home(&[1, 2]), &stick, None).expect("written");
        assert_eq!(given.written, 1);
        assert!(given.refused[0].starts_with("receipts/radar-7/2.cose:"), "{given:?}");
    }

    /// Cause: receipts of all devices on a stick were listed to write those of one. Effect: folders
    /// of others took memory without end, or stopped it. Cure: only the device's own are listed.
    #[test]
    fn folders_of_other_devices_are_not_listed_to_write_receipts_of_ours() {
        let memory = Memory::default();
        for folder in ["receipts", "receipts/other"] {
            memory.make_folder(folder).expect("made");
        }
        for number in 0..=crate::limits::ENTRIES_MAX {
            memory.create("receipts/other", &format!("{number}.cose")).expect("made");
        }
        let stick = Stick::on(memory, None).expect("a stick");
        assert_eq!(give(&home(&[1, 2]), &stick, None).expect("written").written, 2);
    }

    /// Cause: all receipts of a stick were read into memory. Effect: whoever had the stick chose
    /// how much that is. Cure: what is longer than a receipt is refused, and what is past a sum.
    #[test]
    fn receipts_that_are_too_long_or_too_many_are_refused_and_the_others_taken() {
        let device = Device::new("radar-7").expect("a name");
        let longest = usize::try_from(neap_trust::limits::RECEIPT_LEN_MAX).expect("short");
        let stick = Stick::on(Memory::default(), None).expect("a stick");
        {
            let writer = stick.depot().writer("test").expect("free");
            writer.keep_receipt(&device, 1, &receipt(1)).expect("kept");
            writer.keep_receipt(&device, 2, &vec![7; longest + 1]).expect("kept");
            writer.keep_receipt(&device, 3, &receipt(3)).expect("kept");
        }
        let (found, refused) = read(&stick, None);
        let numbers: Vec<_> = found.iter().map(|found| found.sequence).collect();
        assert_eq!(numbers, [1, 3]);
        assert_eq!(refused, ["receipts/radar-7/2.cose: longer than a receipt"]);
    }

    /// Files where a device's receipts lie, with high numbers.
    fn junk(memory: &Memory, device: &str, count: usize, content: &[u8]) {
        let folder = format!("receipts/{device}");
        for folder in ["receipts", &folder] {
            memory.make_folder(folder).expect("made");
        }
        for number in 0..count {
            let file = memory.create(&folder, &format!("{}.cose", number + 100)).expect("made");
            file.write_at(0, content).expect("written");
        }
    }

    /// Cause: a visit ended after so many bytes of receipts, in order of the devices' names.
    /// Effect: junk under one name hid the receipts of all devices behind it. Cure: each has its
    /// own bound, those of one device are held at a time, and one that has more is told.
    #[test]
    fn device_with_more_than_is_read_hides_no_other() {
        let longest = usize::try_from(neap_trust::limits::RECEIPT_LEN_MAX).expect("short");
        let device = |name: &str| Device::new(name).expect("a name");
        let memory = Memory::default();
        let fit = BROUGHT_LEN_MAX / longest;
        junk(&memory, "a", fit + 1, &vec![7; longest]);
        let stick = Stick::on(memory, None).expect("a stick");
        give(&home(&[1, 2]), &stick, None).expect("written");
        let brought = brought(&stick, None).expect("listed");
        assert_eq!(brought.devices.len(), 2);
        let of = |name: &str| of_device(&device(name), vec![], &stick, None).expect("listed");
        let junk = of("a");
        assert_eq!((junk.receipts.len(), junk.is_all), (fit, false));
        let good = of("radar-7");
        assert_eq!((good.receipts.len(), good.is_all), (2, true));
    }

    /// The same, for what is encrypted: it counts like all else.
    #[test]
    fn encrypted_receipts_count_toward_what_is_read_of_a_device() {
        let memory = Memory::default();
        junk(&memory, "radar-7", RECEIPTS_MAX - 2, b"junk");
        let stick = Stick::on(memory, None).expect("a stick");
        let key = Identity::generate();
        give(&home(&[1, 2, 3]), &stick, Some(&key.recipient())).expect("written");
        let device = Device::new("radar-7").expect("a name");
        let mut brought = brought(&stick, Some(&key)).expect("listed");
        let sealed = brought.devices.remove(&device).expect("it is its own");
        let of = of_device(&device, sealed, &stick, Some(&key)).expect("listed");
        assert_eq!((of.receipts.len(), of.is_all), (RECEIPTS_MAX, false));
        let numbers: Vec<_> = of.receipts.iter().take(3).map(|found| found.sequence).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn encrypted_receipts_are_opened_once_as_far_as_they_may_be_held() {
        let memory = Memory::default();
        let stick = Stick::on(memory.clone(), None).expect("a stick");
        let key = Identity::generate();
        give(&home(&[1, 2, 3]), &stick, Some(&key.recipient())).expect("written");
        let one = receipt(1).len() + FOUND_LEN;
        for held_count in 0..=4_usize {
            let brought = brought_within(&stick, Some(&key), held_count * one + one / 2);
            let brought = brought.expect("listed").devices.into_values().flatten();
            let held = brought.filter(|sealed| matches!(sealed, Sealed::Opened(_))).count();
            assert_eq!(held, held_count.min(3));
        }
        let all = brought_within(&stick, Some(&key), one + one / 2).expect("listed").devices;
        let (device, sealed) = all.into_iter().next().expect("of one device");
        let of = |sealed| of_device(&device, sealed, &stick, Some(&key)).expect("listed");
        assert_eq!(of(sealed.clone()).receipts.len(), 3);
        // The one that is held is not read again.
        for entry in memory.list(SEALED, 9).expect("listed") {
            memory.remove(SEALED, &entry.file).expect("removed");
        }
        let of = of(sealed);
        assert_eq!((of.receipts.len(), of.refused.len()), (1, 2), "{of:?}");
    }

    #[test]
    fn encrypted_receipts_are_for_shore_alone() {
        let memory = Memory::default();
        let stick = Stick::on(memory.clone(), None).expect("a stick");
        let key = Identity::generate();
        for _ in 0..2 {
            give(&home(&[1, 2]), &stick, Some(&key.recipient())).expect("written");
        }
        let stick = Stick::on(memory, None).expect("a stick");
        assert_eq!(stick.depot().receipts().expect("listed"), []);
        assert_eq!(brought(&stick, None).expect("read").closed, 2);
        let other = brought(&stick, Some(&Identity::generate())).expect("listed");
        assert_eq!((other.closed, other.devices.len()), (2, 0));
        let (ours, _) = read(&stick, Some(&key));
        assert_eq!(ours.len(), 2);
        assert_eq!(ours[1].bytes, receipt(2));
    }
}
