//! What whoever had a stick can make of it: its list, its folders, what is encrypted, its code.

use std::io::Cursor;

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::files::Files;
use neap_depot::memory::Memory;
use neap_depot::store::{Edit, Object};
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use neap_trust::approval::{Approval, Asked, approved};
use neap_trust::device_key::DeviceSigner as _;
use neap_trust::device_key::file::{DeviceFileKey, Kind};
use neap_trust::fixture::identity::sealed_approval;
use neap_trust::receipt::Receipt;
use neap_usb_sideload::back;
use neap_usb_sideload::code::Code;
use neap_usb_sideload::manifest::Manifest;
use neap_usb_sideload::seal::{Identity, Opened, open_short};
use neap_usb_sideload::stick::Stick;

/// A key that is secret to nobody, so that seeds are encrypted to it.
pub const KEY: &str = "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZ9K4CN";

/// The key itself.
///
/// # Panics
/// Never: it is one.
#[must_use]
pub fn key() -> Identity {
    Identity::of_file(KEY).expect("it is a key")
}

/// Any bytes as `stick.json`: what is read is written and read again as the same.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let again = Manifest::parse(&manifest.bytes());
    assert_eq!(again.as_ref(), Ok(&manifest));
    for entry in &manifest.sealed {
        assert!(manifest.sealed(&entry.blob).contains(entry));
        assert_eq!(manifest.sealed_to(&entry.blob, &entry.to), Some(entry));
    }
}

/// The key of one who approves.
///
/// # Panics
/// Never: it is one.
#[must_use]
pub fn approver() -> DeviceFileKey {
    DeviceFileKey::from_seed(Kind::Ed25519, &[7; 32]).expect("it is a key")
}

/// Any bytes as an approval, and as what an approver signed: what is read is spelled as it would
/// have been signed, can be shown, and counts for its own image alone.
pub fn approval(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else { return };
    let key = approver();
    let keys = [key.device_key()];
    let is_sealed = form % 2 == 1;
    let whole = if is_sealed { sealed_approval(rest, &key) } else { rest.to_vec() };
    let verified = Approval::verify(&whole, &keys);
    let Ok(claimed) = Approval::claimed(&whole) else {
        assert!(verified.is_err());
        return;
    };
    let again = claimed.sign(&key).expect("what was read can be written");
    assert!(!is_sealed || (again == whole && verified.is_ok()));
    assert!(!claimed.approver.chars().any(char::is_control));
    let other = [claimed.to[0] ^ 1; 32];
    let asked = |to| Asked { to, device: Some("radar-7"), site: "Aurora", now: claimed.at };
    assert!(claimed.covers(&asked(&other)).is_err());
    let files = [("a".to_owned(), whole.clone()), ("b".to_owned(), whole)];
    let (who, refused) = approved(&files, &keys, 1, &asked(&claimed.to));
    assert_eq!(who.is_some(), refused.is_empty());
    assert_eq!(approved(&files, &keys, 2, &asked(&claimed.to)).0, None);
}

/// Any text as a code: what is read is shown and read again as the same.
pub fn code(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(code) = text.parse::<Code>() {
        assert_eq!(code.to_string().parse(), Ok(code), "{text}");
    }
    let code = Code::of(bytes, &[Digest::of(bytes)]);
    assert_eq!(code.to_string().parse(), Ok(code));
}

/// Any bytes as an encrypted receipt and as an encrypted blob: they are opened or refused, and no
/// more is given than was promised.
pub fn sealed(bytes: &[u8]) {
    let key = key();
    if let Ok(content) = open_short(bytes, &key) {
        assert!(content.len() < bytes.len());
    }
    let depot = Depot::new(Box::new(Directory::new(Memory::default())));
    let writer = depot.writer("fuzz").expect("nobody else writes");
    let added = writer.add(&mut Cursor::new(bytes), Present::Verify).expect("memory takes it");
    let blob = || depot.blob(&added.digest).expect("it is whole").expect("it is there");
    for (offset, len) in [(0, bytes.len() as u64), (7, 1), (1 << 40, 1 << 40)] {
        let Ok(opened) = Opened::new(blob(), &key, offset, len) else { continue };
        assert_eq!(opened.len(), len);
        let mut read = [0; 9];
        for at in [0, len / 2, len.saturating_sub(1), len] {
            let read = opened.read_at(at, &mut read);
            assert!(at.saturating_add(9) <= len || read.is_err(), "{at} of {len}");
        }
    }
}

/// Any names and contents in the folders of a stick: it is read within limits, and what is taken
/// for ours is what lies there.
pub fn tree(bytes: &[u8]) {
    let memory = Memory::default();
    for file in bytes.split(|byte| *byte == 0xFF) {
        let Some((choice, rest)) = file.split_first() else { continue };
        let folders =
            ["", "metadata", "METADATA", "blobs", "Blobs", "receipts", "receipts/a", "sealed"];
        let folder = folders[usize::from(*choice) % folders.len()];
        let mut parts = rest.splitn(2, |byte| *byte == 0xFE);
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).replace('/', "_");
        if name.is_empty() {
            continue;
        }
        memory.make_folder("receipts").expect("memory never fails");
        if !folder.is_empty() {
            memory.make_folder(folder).expect("memory never fails");
        }
        if let Ok(file) = memory.create(folder, &name) {
            file.write_at(0, parts.next().unwrap_or_default()).expect("memory never fails");
        }
    }
    let Ok(stick) = Stick::on(memory, Some(key())) else { return };
    drop(stick.code());
    if let Ok(groups) = stick.groups() {
        assert!(groups.iter().all(|group| group.len() <= 32));
    }
    for digest in stick.blobs().unwrap_or_default() {
        if let Ok(Some(blob)) = stick.depot().blob(&digest)
            && blob.len() <= 1 << 20
            && blob.check().is_ok_and(|checked| checked.is_good())
        {
            let mut content = vec![0; blob.len() as usize];
            blob.read_at(0, &mut content).expect("it was just good");
            assert_eq!(Digest::of(&content), digest);
        }
    }
    let Ok(brought) = back::brought(&stick, Some(&key())) else { return };
    for (device, sealed) in brought.devices {
        let Ok(of) = back::of_device(&device, sealed, &stick, Some(&key())) else { continue };
        for found in of.receipts {
            drop(Receipt::claimed(&found.bytes));
            assert!(found.bytes.len() <= 64 << 10);
        }
    }
}
