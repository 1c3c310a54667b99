//! What a carrier can make of a depot: names, trees and metadata of any bytes.

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::files::Files;
use neap_depot::limits::GROUP_LEN;
use neap_depot::memory::Memory;
use neap_depot::name::{Device, Folder, Meaning, Name};
use neap_depot::store::Edit;
use neap_depot::tree::Builder;
use neap_engine::digest::Digest;

/// A name means one thing, and what is ours is the same on every carrier.
pub fn depot_names(bytes: &[u8]) {
    let file = String::from_utf8_lossy(bytes);
    let device = Device::new("a").expect("a name");
    for folder in [
        Folder::Top,
        Folder::Metadata,
        Folder::Blobs,
        Folder::Receipts,
        Folder::Device(device.clone()),
        Folder::Staged,
    ] {
        let again = match folder.meaning(&file) {
            Meaning::Foreign | Meaning::Temporary => continue,
            Meaning::Root(version) => format!("{version}.root.json"),
            Meaning::Snapshot(version) => format!("{version}.snapshot.json"),
            Meaning::Role(version, role) => format!("{version}.{role}.json"),
            Meaning::Timestamp => Name::timestamp().file().to_owned(),
            Meaning::Blob(digest) => Name::blob(&digest).file().to_owned(),
            Meaning::Part(digest, index) => Name::part(&digest, index).file().to_owned(),
            Meaning::Tree(digest) => Name::tree(&digest).file().to_owned(),
            Meaning::Receipt(sequence) => Name::receipt(&device, sequence).file().to_owned(),
            Meaning::Lock => Name::lock().file().to_owned(),
            Meaning::Mirror => Name::mirror().file().to_owned(),
            _ => file.to_string(),
        };
        assert_eq!(again, file, "{folder:?}");
        assert!(!file.chars().any(|c| c.is_uppercase() || c == '/'), "{file}");
        assert!(!file.starts_with('.') && !file.ends_with('.'), "{file}");
    }
}

/// Whatever the data and the tree of a blob are: what is read is right, or an error.
pub fn depot_tree(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    // Few bytes of input make a blob of several groups.
    let len = usize::from(*choice) * 1021;
    let data: Vec<u8> = (0..len).map(|i| (i >> 3) as u8).collect();
    let (mut builder, mut tree) = (Builder::default(), Vec::new());
    builder.update(&data, &mut tree);
    let (digest, _) = builder.finish(&mut tree);
    let mut found = data.clone();
    for edit in rest.chunks_exact(4) {
        let [which, high, low, mask] = edit else { continue };
        let at = usize::from(*high) << 8 | usize::from(*low);
        let file = if which & 1 == 0 { &mut tree } else { &mut found };
        match which >> 1 & 3 {
            0 => file.truncate(at),
            1 if at < 4096 => file.resize(at, *mask),
            _ => file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask),
        }
    }
    let memory = Memory::default();
    put(&memory, "blobs", &digest.to_string(), &found);
    put(&memory, "blobs", &format!("{digest}.obao"), &tree);
    let depot = Depot::new(Box::new(Directory::new(memory)));
    read_some(&depot, &digest, &data);
    let mut report = depot.check(&mut |_| {}).expect("memory can be listed");
    let writer = depot.writer("fuzz").expect("nobody else writes");
    writer.repair(&mut report).expect("memory can be written");
    if found == data {
        let blob = depot.blob(&digest).expect("the data is good").expect("it is there");
        assert!(blob.check().expect("memory can be read").is_good(), "repaired");
    }
}

fn read_some(depot: &Depot, digest: &Digest, data: &[u8]) {
    let Ok(Some(blob)) = depot.blob(digest) else { return };
    let len = blob.len();
    let step = GROUP_LEN as u64 / 2 + 1;
    for offset in (0..len).step_by(step as usize) {
        let mut bytes = vec![0; step.min(len - offset) as usize];
        if blob.read_at(offset, &mut bytes).is_ok() {
            let right = data.get(offset as usize..).and_then(|data| data.get(..bytes.len()));
            assert_eq!(Some(&bytes[..]), right, "at {offset}");
        }
    }
}

/// Whatever the metadata says: it is followed within limits, and what it names is kept.
pub fn depot_metadata(bytes: &[u8]) {
    let memory = Memory::default();
    let kept = Digest::of(b"kept");
    put(&memory, "blobs", &kept.to_string(), b"kept");
    put(&memory, "blobs", &format!("{kept}.obao"), &4_u64.to_le_bytes());
    let files = [
        ("metadata", "timestamp.json"),
        ("metadata", "1.snapshot.json"),
        ("metadata", "1.g.a.json"),
        ("metadata", "1.root.json"),
        ("staged", "g.a.json"),
    ];
    let mut is_named = false;
    for ((folder, file), content) in files.iter().zip(bytes.split(|byte| *byte == 0xFF)) {
        put(&memory, folder, file, content);
        let text = String::from_utf8_lossy(content);
        is_named |= *folder == "staged" && text.contains(&kept.to_string());
    }
    let depot = Depot::new(Box::new(Directory::new(memory)));
    let report = depot.check(&mut |_| {}).expect("memory can be listed");
    drop(report.findings.iter().map(|finding| finding.what.to_string()).collect::<Vec<_>>());
    let writer = depot.writer("fuzz").expect("nobody else writes");
    if writer.collect(1).is_ok() && is_named {
        assert!(depot.blob(&kept).expect("it is whole").is_some(), "it was named");
    }
}

fn put(memory: &Memory, folder: &str, file: &str, content: &[u8]) {
    memory.make_folder(folder).expect("memory never fails");
    let file = memory.create(folder, file).expect("it is new");
    file.write_at(0, content).expect("memory never fails");
}
