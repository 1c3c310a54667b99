//! Names of files in a depot: which there are, and what each of them is.
//!
//! Names are safe on FAT32 and exFAT: lower case, no reserved device, no dot or space at the end.
//! So two names that differ also differ where case is ignored.

use std::fmt;

use neap_engine::digest::Digest;

use crate::limits::{DEVICE_LEN_MAX, FILE_NAME_LEN_MAX, PART_COUNT_MAX};

/// A folder of a depot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// The depot itself.
    Top,
    /// What is signed and published.
    Metadata,
    /// What metadata names.
    Blobs,
    /// One folder for each device.
    Receipts,
    /// What one device signed.
    Device(Device),
    /// Metadata that is not signed by enough keys yet. Only on release servers.
    Staged,
}

/// A device's name as a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(String);

/// The name of one file, from the depot's top.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    folder: Folder,
    file: String,
}

/// What a file of a depot is, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// `N.root.json`.
    Root(u64),
    /// `timestamp.json`, the one file of the metadata that changes.
    Timestamp,
    /// `V.snapshot.json`.
    Snapshot(u64),
    /// `V.<role>.json`, with the role.
    Role(u64, String),
    /// A whole blob.
    Blob(Digest),
    /// A part of a blob too long for one file.
    Part(Digest, u64),
    /// The tree of a blob. It is written last: with it the blob is there.
    Tree(Digest),
    /// Something of a blob that is still coming.
    Partial(Digest),
    /// What a device signed, by its sequence number.
    Receipt(u64),
    /// Metadata on its way to being signed.
    Staged,
    /// Left by a writer that was cut short.
    Temporary,
    /// The lock of the one writer.
    Lock,
    /// What a depot took that takes only what it needs.
    Mirror,
    /// Not ours.
    Foreign,
}

impl Folder {
    /// Its path from the depot's top; empty for the top itself.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Top => String::new(),
            Self::Metadata => "metadata".into(),
            Self::Blobs => "blobs".into(),
            Self::Receipts => "receipts".into(),
            Self::Device(device) => format!("receipts/{}", device.0),
            Self::Staged => "staged".into(),
        }
    }

    /// What a file of this name is here. A name that is not spelled as we spell it is foreign.
    #[must_use]
    pub fn meaning(&self, file: &str) -> Meaning {
        if file.starts_with(TEMPORARY) && file.ends_with(TEMPORARY_END) {
            return Meaning::Temporary;
        }
        if !is_safe(file, FILE_NAME_LEN_MAX) {
            return Meaning::Foreign;
        }
        let meaning = match self {
            Self::Top => match file {
                LOCK => Some(Meaning::Lock),
                MIRROR => Some(Meaning::Mirror),
                _ => None,
            },
            Self::Metadata => metadata(file),
            Self::Blobs => blob(file),
            Self::Receipts => None,
            Self::Device(_) => file.strip_suffix(".cose").and_then(number).map(Meaning::Receipt),
            Self::Staged => file.ends_with(".json").then_some(Meaning::Staged),
        };
        meaning.unwrap_or(Meaning::Foreign)
    }
}

impl Device {
    /// A device of this name, if it can be a folder on any carrier.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        is_safe(name, DEVICE_LEN_MAX).then(|| Self(name.into()))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// A metadata file such as `3.root.json`, if it can be one on any carrier.
    #[must_use]
    pub fn metadata(file: &str) -> Option<Self> {
        Self::new(Folder::Metadata, file)
    }

    /// A staged file such as `g.fleet.json`, if it can be one.
    #[must_use]
    pub fn staged(file: &str) -> Option<Self> {
        Self::new(Folder::Staged, file)
    }

    /// The one metadata file that changes.
    #[must_use]
    pub fn timestamp() -> Self {
        Self { folder: Folder::Metadata, file: "timestamp.json".into() }
    }

    /// A whole blob.
    #[must_use]
    pub fn blob(digest: &Digest) -> Self {
        Self { folder: Folder::Blobs, file: digest.to_string() }
    }

    /// Part `index` of a blob that is too long for one file.
    #[must_use]
    pub fn part(digest: &Digest, index: u64) -> Self {
        Self { folder: Folder::Blobs, file: format!("{digest}.{index:03}") }
    }

    /// The tree of a blob.
    #[must_use]
    pub fn tree(digest: &Digest) -> Self {
        Self { folder: Folder::Blobs, file: format!("{digest}.obao") }
    }

    /// A receipt.
    #[must_use]
    pub fn receipt(device: &Device, sequence: u64) -> Self {
        Self { folder: Folder::Device(device.clone()), file: format!("{sequence}.cose") }
    }

    /// The same file while it is still coming.
    #[must_use]
    pub fn partial(&self) -> Self {
        Self { folder: self.folder.clone(), file: format!("{}{PARTIAL}", self.file) }
    }

    /// The lock of the one writer.
    #[must_use]
    pub fn lock() -> Self {
        Self { folder: Folder::Top, file: LOCK.into() }
    }

    /// What a depot took that takes only what it needs.
    #[must_use]
    pub fn mirror() -> Self {
        Self { folder: Folder::Top, file: MIRROR.into() }
    }

    /// A file that a listing of `folder` gave.
    pub(crate) fn listed(folder: &Folder, file: &str) -> Self {
        Self { folder: folder.clone(), file: file.into() }
    }

    /// The folder it is in.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its name in the folder.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What it is.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        self.folder.meaning(&self.file)
    }

    fn new(folder: Folder, file: &str) -> Option<Self> {
        let known = folder.meaning(file) != Meaning::Foreign && !file.starts_with(TEMPORARY);
        known.then(|| Self { folder, file: file.into() })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.folder {
            Folder::Top => f.write_str(&self.file),
            ref folder => write!(f, "{}/{}", folder.path(), self.file),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A temporary file that a writer makes; which one is its own business.
pub(crate) fn temporary(number: u64) -> String {
    format!("{TEMPORARY}{number}{TEMPORARY_END}")
}

fn metadata(file: &str) -> Option<Meaning> {
    if file == "timestamp.json" {
        return Some(Meaning::Timestamp);
    }
    let (version, role) = file.strip_suffix(".json")?.split_once('.')?;
    let version = number(version).filter(|version| *version > 0)?;
    match role {
        "root" => Some(Meaning::Root(version)),
        "snapshot" => Some(Meaning::Snapshot(version)),
        "" | "timestamp" => None,
        role => Some(Meaning::Role(version, role.into())),
    }
}

fn blob(file: &str) -> Option<Meaning> {
    let hex = file.get(..HEX_LEN)?;
    let plain = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let digest = Digest::from_hex(hex).filter(|_| plain)?;
    let rest = &file[HEX_LEN..];
    if let Some(whole) = rest.strip_suffix(PARTIAL) {
        return data_or_tree(digest, whole).map(|_| Meaning::Partial(digest));
    }
    data_or_tree(digest, rest)
}

fn data_or_tree(digest: Digest, rest: &str) -> Option<Meaning> {
    match rest {
        "" => Some(Meaning::Blob(digest)),
        ".obao" => Some(Meaning::Tree(digest)),
        rest => {
            let index = rest.strip_prefix('.').filter(|digits| digits.len() == 3)?;
            let digits = index.bytes().all(|b| b.is_ascii_digit());
            let index: u64 = index.parse().ok().filter(|_| digits)?;
            (index < PART_COUNT_MAX).then_some(Meaning::Part(digest, index))
        }
    }
}

/// A number as we write it: no sign, no zeros before it.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Whether every file system we know takes this name and gives it back as it was.
fn is_safe(name: &str, len_max: usize) -> bool {
    let letters =
        name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'+' | b'-'));
    let stem = name.split('.').next().unwrap_or_default();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b != b'0'))
    };
    let reserved = RESERVED.contains(&stem) || numbered("com") || numbered("lpt");
    let ends = !name.starts_with('.') && !name.ends_with('.');
    (1..=len_max).contains(&name.len()) && letters && ends && !reserved
}

const LOCK: &str = "writer.lock";
const MIRROR: &str = "mirror.json";
const PARTIAL: &str = ".partial";
const TEMPORARY: &str = "~";
const TEMPORARY_END: &str = ".tmp";
const HEX_LEN: usize = 64;
/// What Windows takes for devices, with any extension.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(folder: &Folder, file: &str) -> Meaning {
        folder.meaning(file)
    }

    #[test]
    fn every_name_we_write_means_what_we_wrote() {
        let digest = Digest::of(b"a");
        let device = Device::new("ecdis-1").expect("safe");
        let cases = [
            (Name::blob(&digest), Meaning::Blob(digest)),
            (Name::part(&digest, 7), Meaning::Part(digest, 7)),
            (Name::tree(&digest), Meaning::Tree(digest)),
            (Name::blob(&digest).partial(), Meaning::Partial(digest)),
            (Name::tree(&digest).partial(), Meaning::Partial(digest)),
            (Name::part(&digest, 127).partial(), Meaning::Partial(digest)),
            (Name::receipt(&device, 12), Meaning::Receipt(12)),
            (Name::timestamp(), Meaning::Timestamp),
            (Name::lock(), Meaning::Lock),
            (Name::mirror(), Meaning::Mirror),
            (Name::metadata("3.root.json").expect("safe"), Meaning::Root(3)),
            (Name::metadata("9.snapshot.json").expect("safe"), Meaning::Snapshot(9)),
            (Name::metadata("4.g.fleet.json").expect("safe"), Meaning::Role(4, "g.fleet".into())),
            (Name::staged("g.fleet.json").expect("safe"), Meaning::Staged),
        ];
        for (name, meaning) in cases {
            assert_eq!(name.meaning(), meaning, "{name}");
            assert!(name.file().len() <= FILE_NAME_LEN_MAX, "{name}");
        }
        assert_eq!(of(&Folder::Blobs, &temporary(3)), Meaning::Temporary);
    }

    #[test]
    fn names_that_some_carrier_changes_are_foreign() {
        let hex = Digest::of(b"a").to_string();
        let upper = hex.to_uppercase();
        for file in [
            &*upper,
            "._a",
            &hex[1..],
            &format!("{hex}.0000"),
            &format!("{hex}.999"),
            &format!("{hex}.+01"),
            &format!("{hex}.partial.partial"),
            "a b",
            "é",
            "",
        ] {
            assert_eq!(of(&Folder::Blobs, file), Meaning::Foreign, "{file}");
        }
        for file in [
            "03.root.json",
            "0.root.json",
            "+3.root.json",
            "3.Root.json",
            "root.json",
            "con.json",
            "../3.root.json",
            "3.g/x.json",
            "3..json",
            "3.timestamp.json",
            "~3.json",
            "18446744073709551616.root.json",
        ] {
            assert_eq!(Name::metadata(file), None, "{file}");
        }
        for device in ["con", "com1", "a.", ".a", "A", "a/b", "..", "", &"a".repeat(65)] {
            assert_eq!(Device::new(device), None, "{device}");
        }
        assert!(Device::new("com10").is_some());
        assert!(Name::staged("~1.tmp").is_none());
    }

    proptest! {
        #[test]
        fn any_name_has_one_meaning_and_known_ones_are_written_back_the_same(file in ".{0,80}") {
            for folder in [Folder::Top, Folder::Metadata, Folder::Blobs, Folder::Staged] {
                match folder.meaning(&file) {
                    Meaning::Blob(d) => prop_assert_eq!(d.to_string(), &*file),
                    Meaning::Root(n) => prop_assert_eq!(format!("{n}.root.json"), &*file),
                    Meaning::Role(n, role) => prop_assert_eq!(format!("{n}.{role}.json"), &*file),
                    _ => {}
                }
            }
        }
    }
}
