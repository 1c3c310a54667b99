//! A stick, or a plain copy of one: where its depot is, and what lies beside it.

use std::io;
use std::path::{Path, PathBuf};

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::files::Files;
use neap_depot::name::{Folder, Meaning};
use neap_depot::posix::Posix;
use neap_depot::store::{Kind, Object as _};
use neap_engine::digest::Digest;
use neap_trust::carrier::Carrier as _;
use neap_trust::client::is_group;
use neap_trust::limits::{APPROVAL_LEN_MAX, TIMESTAMP_LEN_MAX};

use crate::code::Code;
use crate::error::StickError;
use crate::folded::Folded;
use crate::limits::{APPROVALS_MAX, ENTRIES_MAX, MANIFEST_LEN_MAX, STEP_LEN};
use crate::manifest::Manifest;
use crate::paced::Paced;
use crate::pulse::Call;
use crate::raw::Raw;
use crate::seal::Identity;
use crate::unsealed::Unsealed;

/// The folder of a stick that is ours, in any case.
pub const FOLDER: &str = "neap";

/// The file that says what is encrypted.
pub const MANIFEST: &str = "stick.json";

/// The folder of encrypted receipts.
pub const SEALED: &str = "sealed";

/// The folder of what people on site approved.
pub const APPROVALS: &str = "approvals";

/// A stick's depot, and the files that no other carrier has.
pub struct Stick {
    depot: Depot,
    raw: Box<dyn Raw>,
    manifest: Option<Manifest>,
    title: String,
}

/// Room on a stick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can be written.
    pub free: u64,
    /// What every file's length is rounded up to, in bytes.
    pub cluster: u64,
}

impl Room {
    /// Free bytes where nobody says how many.
    pub const UNKNOWN: u64 = u64::MAX;

    /// What a file of this length takes, in bytes.
    pub(crate) fn rounded(&self, len: u64) -> u64 {
        len.div_ceil(self.cluster).saturating_mul(self.cluster)
    }
}

impl Stick {
    /// Opens a stick that there is: its mount point, or a copy of the folder `neap` of one.
    ///
    /// # Errors
    /// If it is none, or cannot be read within limits.
    pub fn open(place: &Path, key: Option<Identity>) -> Result<Self, StickError> {
        match found(place)? {
            Some(files) => Self::on(Paced::new(files, STEP_LEN), key),
            None => Err(StickError::NoStick { place: place.to_path_buf() }),
        }
    }

    /// The same, to be written; where a mount point has no folder `neap` it gets one. A list of
    /// what is encrypted that is none is written anew.
    ///
    /// # Errors
    /// As [`Stick::open`], or if the folder cannot be made.
    pub fn make(place: &Path) -> Result<Self, StickError> {
        let files = match found(place)? {
            Some(files) => files,
            None => {
                let top = Posix::open(place).map_err(|error| StickError::at(place, error))?;
                top.make_folder(FOLDER).map_err(|error| StickError::at(place, error))?;
                top.below(FOLDER).map_err(|error| StickError::at(place, error))?
            }
        };
        let files = Folded::new(Paced::new(files, STEP_LEN));
        let manifest = match manifest_of(&files) {
            Err(StickError::Manifest { .. }) => None,
            Err(StickError::Io { error, .. }) if error.kind() == io::ErrorKind::FileTooLarge => {
                None
            }
            read => read?,
        };
        Ok(Self::with(files, manifest, None))
    }

    /// The stick whose folder `neap` these files are.
    ///
    /// # Errors
    /// If its list of what is encrypted is none.
    pub fn on(files: impl Files, key: Option<Identity>) -> Result<Self, StickError> {
        let files = Folded::new(files);
        let manifest = manifest_of(&files)?;
        Ok(Self::with(files, manifest, key))
    }

    fn with(files: Folded<impl Files>, manifest: Option<Manifest>, key: Option<Identity>) -> Self {
        let title = files.title();
        let below = Depot::new(Box::new(Directory::new(files.clone())));
        let shown = manifest.clone().unwrap_or_default();
        let depot = Depot::new(Box::new(Unsealed::new(below, shown, key)));
        Self { depot, raw: Box::new(files), manifest, title }
    }

    /// Its depot. What is encrypted is there like all else, if the key was given.
    #[must_use]
    pub fn depot(&self) -> &Depot {
        &self.depot
    }

    /// What lies beside its depot.
    #[must_use]
    pub fn raw(&self) -> &dyn Raw {
        &*self.raw
    }

    /// What is encrypted on it; nothing before it was first written.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Its number; empty before it was first written.
    #[must_use]
    pub fn id(&self) -> &str {
        self.manifest.as_ref().map_or("", |manifest| &manifest.id)
    }

    /// What lies where approvals do, by name and in order of names. Nobody verified it. Files that
    /// are longer than an approval are empty here; those past the limit are left out.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn approvals(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut files: Vec<_> = self
            .raw
            .entries(APPROVALS)?
            .into_iter()
            .filter(|entry| entry.kind == Kind::File && !entry.file.starts_with(['.', '~']))
            .map(|entry| entry.file)
            .filter(|file| file.ends_with(".cose"))
            .collect();
        files.sort_unstable();
        files.truncate(APPROVALS_MAX);
        let mut found = Vec::new();
        for file in files {
            let bytes = match self.raw.read(APPROVALS, &file, APPROVAL_LEN_MAX) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
                Err(error) => return Err(error),
            };
            found.push((format!("{APPROVALS}/{file}"), bytes));
        }
        Ok(found)
    }

    /// Writes an approval, named by its digest: the path of it on the stick.
    ///
    /// # Errors
    /// If the stick cannot be written, or another program writes to it.
    pub fn approve(&self, approval: &[u8]) -> Result<String, StickError> {
        let _writer = self.depot.writer("neap stick approve")?;
        let file = approval_file(approval);
        let failed = |error| StickError::of(&self.title, APPROVALS, error);
        if self.approvals().map_err(failed)?.len() >= APPROVALS_MAX {
            let why = "no room for another one: remove those that have expired, as export does";
            return Err(failed(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        self.raw.put(APPROVALS, &file, approval).map_err(failed)?;
        Ok(format!("{APPROVALS}/{file}"))
    }

    /// Where it is, for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The groups whose roles lie on it, in order.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn groups(&self) -> io::Result<Vec<String>> {
        groups(&self.depot)
    }

    /// The blobs that lie on it, as they lie there, in order.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn blobs(&self) -> io::Result<Vec<Digest>> {
        let mut blobs = self.depot.blobs()?;
        blobs.sort_unstable_by_key(|digest| digest.0);
        blobs.dedup();
        Ok(blobs)
    }

    /// The code of what lies on it; nothing where there is no timestamp.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn code(&self) -> Result<Option<Code>, StickError> {
        let failed = |what: &'static str| move |error| StickError::of(&self.title, what, error);
        let timestamp = self.depot.metadata("timestamp.json", TIMESTAMP_LEN_MAX);
        let timestamp = timestamp.map_err(failed("metadata/timestamp.json"))?;
        let blobs = self.blobs().map_err(failed("blobs"))?;
        Ok(timestamp.map(|timestamp| Code::of(&timestamp, &blobs)))
    }
}

/// What is encrypted on a stick; nothing where it does not say.
fn manifest_of(files: &Folded<impl Files>) -> Result<Option<Manifest>, StickError> {
    let title = files.title();
    let bytes = Raw::read(files, "", MANIFEST, MANIFEST_LEN_MAX);
    let bytes = bytes.map_err(|error| StickError::of(&title, MANIFEST, error))?;
    let manifest = bytes.map(|bytes| Manifest::parse(&bytes)).transpose();
    manifest.map_err(|error| StickError::Manifest { title, error })
}

/// What the file of an approval is called.
pub(crate) fn approval_file(approval: &[u8]) -> String {
    format!("{}.cose", &blake3::hash(approval).to_hex()[..32])
}

/// The groups whose roles lie in a depot, in order.
///
/// # Errors
/// If they cannot be listed.
pub fn groups(depot: &Depot) -> io::Result<Vec<String>> {
    let entries = depot.store().list(&Folder::Metadata)?;
    let groups = entries.iter().filter(|entry| entry.kind == Kind::File).filter_map(|entry| {
        match Folder::Metadata.meaning(&entry.file) {
            Meaning::Role(_, role) => role.strip_prefix("g.").map(str::to_owned),
            _ => None,
        }
    });
    let mut groups: Vec<_> = groups.filter(|group| is_group(group)).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

/// Room on the file system that a stick is mounted from. Some in user space do not say: then a full
/// one is noticed when it is written.
///
/// # Errors
/// If it cannot be asked.
pub fn room(place: &Path) -> io::Result<Room> {
    let found = rustix::fs::statvfs(place)?;
    let cluster = found.f_frsize.max(1);
    let free = match found.f_blocks {
        0 => Room::UNKNOWN,
        _ => found.f_bavail.saturating_mul(cluster),
    };
    Ok(Room { free, cluster })
}

/// Whether a stick that was written is plugged in here. One that was pulled may look as if it were
/// there and empty: Linux reads folders of FAT that it cannot read as folders without entries. So
/// something is read from the medium.
#[must_use]
pub fn is_there(place: &Path) -> bool {
    let _call = Call::begin();
    let read = || {
        let file = Folded::new(found(place).ok()??).open("", MANIFEST).ok()??;
        file.forget().ok()?;
        file.read_at(0, &mut [0]).ok()
    };
    read().is_some()
}

/// The folder that is ours, if there is one: `place/neap` in any case, or `place` itself.
fn found(place: &Path) -> Result<Option<Posix>, StickError> {
    let _call = Call::begin();
    let failed = |error| StickError::at(place, error);
    let top = Posix::open(place).map_err(failed)?;
    match top.below(FOLDER) {
        Ok(files) => return Ok(Some(files)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return Err(StickError::NotAFolder { place: place.join(FOLDER) }),
    }
    let entries = top.list("", ENTRIES_MAX).map_err(failed)?;
    let named = |name: &str| {
        let mut found = entries.iter().filter(|entry| entry.file.eq_ignore_ascii_case(name));
        (found.next(), found.next())
    };
    match named(FOLDER) {
        (Some(_), Some(_)) => Err(StickError::Twins { place: place.join(FOLDER) }),
        (Some(entry), None) if entry.kind == Kind::Folder => {
            top.below(&entry.file).map(Some).map_err(failed)
        }
        (Some(entry), None) => Err(StickError::NotAFolder { place: place.join(&entry.file) }),
        (None, _) => {
            // A copy of our folder has the list; others may have a folder named `receipts`, too.
            let is_ours =
                matches!(named(MANIFEST), (Some(entry), None) if entry.kind == Kind::File);
            Ok(is_ours.then_some(top))
        }
    }
}

impl std::fmt::Debug for Stick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stick({})", self.title)
    }
}

/// The path of a stick's folder, for messages.
#[must_use]
pub fn folder(place: &Path) -> PathBuf {
    place.join(FOLDER)
}

#[cfg(test)]
mod tests {
    use neap_depot::memory::Memory;
    use neap_depot::store::Edit as _;

    use super::*;
    use crate::limits::APPROVALS_MAX;

    /// Cause: a list of what is encrypted that cannot be read stopped each command. Effect: the
    /// message said to write the stick again, and that was stopped, too. Cure: it is written anew.
    #[test]
    fn stick_whose_list_is_none_can_be_written_again() {
        let long = vec![b' '; usize::try_from(MANIFEST_LEN_MAX).expect("short") + 1];
        for text in [&b""[..], b"{", &long] {
            let place = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(place.path().join(FOLDER)).expect("made");
            std::fs::write(place.path().join(FOLDER).join(MANIFEST), text).expect("written");
            let refused = Stick::open(place.path(), None).expect_err("it is none");
            assert!(refused.to_string().contains("stick.json: "), "{refused}");
            let stick = Stick::make(place.path()).expect("to be written");
            assert_eq!(stick.manifest(), None);
        }
    }

    #[test]
    fn approvals_are_found_in_any_case_within_bounds_and_what_is_too_long_is_not_read() {
        let memory = Memory::default();
        let stick = Stick::on(memory.clone(), None).expect("a stick");
        assert_eq!(stick.approvals().expect("read"), []);
        let path = stick.approve(b"agreed").expect("written");
        assert_eq!(stick.approve(b"agreed").expect("written"), path, "the same one once");
        assert_eq!(stick.approvals().expect("read"), [(path, b"agreed".to_vec())]);

        let memory = Memory::default();
        memory.make_folder("APPROVALS").expect("made");
        let put = |name: &str, content: &[u8]| {
            let file = memory.create("APPROVALS", name).expect("made");
            file.write_at(0, content).expect("written");
        };
        let len = usize::try_from(APPROVAL_LEN_MAX).expect("small");
        put("A.COSE", &vec![7; len]);
        put("b.cose", &vec![7; len + 1]);
        put("._b.cose", b"a scanning station's");
        put("c.txt", b"no approval");
        let stick = Stick::on(memory.clone(), None).expect("a stick");
        let found = stick.approvals().expect("read");
        let lens: Vec<_> = found.iter().map(|(name, bytes)| (&**name, bytes.len())).collect();
        assert_eq!(lens, [("approvals/a.cose", len), ("approvals/b.cose", 0)]);
        for number in 0..APPROVALS_MAX {
            put(&format!("{number}.cose"), b"x");
        }
        let stick = Stick::on(memory, None).expect("a stick");
        assert_eq!(stick.approvals().expect("read").len(), APPROVALS_MAX);
        assert!(stick.approve(b"one more").is_err(), "it would not be looked at");
    }
}
