//! A shore with a signed release, the stick that it exports, and a device that visits it.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::memory::Memory;
use neap_depot::writer::Present;
use neap_engine::digest::Digest;
use neap_trust::client::Ask;
use neap_trust::fixture::Repository;
use neap_trust::state::MemoryState;
use neap_trust::time::{Clock, Timestamp};
use neap_usb_sideload::export::{self, Wanted};
use neap_usb_sideload::stick::{Room, Stick};
use neap_usb_sideload::{back, import, recorder};
use serde_json::json;

/// A depot with a release.
pub(crate) struct Shore {
    depot: Depot,
    root: Vec<u8>,
    /// The blob of the image, and its length.
    pub(crate) image: String,
    pub(crate) image_len: u64,
    /// Blobs of its documents.
    pub(crate) documents: Vec<String>,
}

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().expect("a time")
}

fn ask(root: &[u8]) -> Ask<'_> {
    let clock = Clock { rtc: Some(now()), build: now() };
    Ask { groups: &["fleet"], root: Some(root), clock, seen: None }
}

impl Shore {
    pub(crate) fn new() -> Self {
        let depot = Depot::new(Box::new(Directory::new(Memory::default())));
        let mut repository = Repository::new(now());
        repository.group("fleet");
        let mut blobs = BTreeMap::new();
        {
            let writer = depot.writer("shore").expect("free");
            for (name, kind, len) in [("full", "full", 3 << 20), ("sbom.json", "document", 9)] {
                let bytes: Vec<u8> = (0..len).map(|i: u32| (i / 77).to_le_bytes()[0]).collect();
                let added = writer.add(&mut Cursor::new(&bytes), Present::Verify).expect("added");
                let digest = added.digest.to_string();
                let mut custom = json!({
                    "blake3": digest, "kind": kind, "product": "radar", "version": "1.0",
                    "severity": "low",
                });
                if kind == "full" {
                    custom["to"] = digest.clone().into();
                    custom["to_len"] = added.len.into();
                    custom["content"] = "image".into();
                }
                let path = format!("g/fleet/radar/1.0/{name}");
                repository.target("fleet", &path, added.len, &added.sha256, custom);
                blobs.insert(name, (digest, added.len));
            }
            repository.publish(&["g.fleet", "targets"]);
            let files: Vec<_> = repository.files.metadata.clone().into_iter().collect();
            writer.mirror(&files).expect("kept");
        }
        let (image, image_len) = blobs["full"].clone();
        let documents = vec![blobs["sbom.json"].0.clone()];
        Self { depot, root: repository.first_root(), image, image_len, documents }
    }

    /// A folder with the stick that is exported for all groups.
    pub(crate) fn stick(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let stick = Stick::make(folder.path()).expect("a stick");
        let mut state = MemoryState::default();
        let verified = recorder::verified(&self.depot, &mut state, &ask(&self.root));
        let verified = verified.expect("the shore is honest");
        let mut metadata = export::roots(&self.depot).expect("read");
        metadata.extend(verified.files);
        let wanted = Wanted {
            needed: &verified.checked.groups[0].offers,
            welcome: &[],
            metadata: &metadata,
            timestamp: verified.checked.timestamp,
            root: &self.root,
            to: None,
            read_back: true,
        };
        let room = Room { free: 1 << 40, cluster: 4096 };
        let draft = export::draft(&stick, &wanted, room).expect("it fits");
        export::write(&self.depot, &stick, &draft, &mut |_| {}).expect("written");
        folder
    }
}

/// Does all that a device and the shore do with a stick, and gives its code; or the first refusal.
pub(crate) fn visit(place: &Path, shore: &Shore) -> Result<String, String> {
    let stick = Stick::open(place, None).map_err(|error| error.to_string())?;
    let brought = back::brought(&stick, None).map_err(|error| error.to_string())?;
    let mut refused = brought.refused.clone();
    for (device, sealed) in brought.devices {
        let of = back::of_device(&device, sealed, &stick, None);
        let of = of.map_err(|error| error.to_string())?;
        refused.extend(of.refused);
    }
    if let Some(why) = refused.first() {
        return Err(why.clone());
    }
    let code = stick.code().map_err(|error| error.to_string())?;
    stick.groups().map_err(|error| error.to_string())?;
    let verified =
        recorder::verified(stick.depot(), &mut MemoryState::default(), &ask(&shore.root));
    let verified = verified.map_err(|refusal| refusal.to_string())?;
    let home = Depot::new(Box::new(Directory::new(Memory::default())));
    let writer = home.writer("device").map_err(|error| error.to_string())?;
    for offer in &verified.checked.groups[0].offers {
        let digest = Digest::from_hex(&offer.custom.blake3).ok_or("no digest")?;
        let blob = stick.depot().blob(&digest).map_err(|error| error.to_string())?;
        let blob = blob.ok_or("a blob is missing")?;
        if blob.len() != offer.len {
            return Err("a blob is of another length".into());
        }
        let taken = import::take(&blob, &writer, &mut |_| {}).map_err(|e| e.to_string())?;
        if !taken.is_whole {
            return Err(format!("not whole: {taken:?}"));
        }
    }
    code.map(|code| code.to_string()).ok_or_else(|| "there is no code".into())
}
