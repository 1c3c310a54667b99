//! Writing a stick: blobs, then what is encrypted, then metadata, the timestamp last. A cut at any
//! instant leaves the release that was there before or the new one, and all receipts.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use neap_depot::blob::Blob;
use neap_depot::depot::Depot;
use neap_depot::name::{Folder, Meaning, Name};
use neap_depot::store;
use neap_depot::tree;
use neap_depot::writer::{Present, Writer};
use neap_engine::digest::Digest;
use neap_trust::carrier::Carrier as _;
use neap_trust::client::{Offer, Refusal, Shown, shown};
use neap_trust::limits::{ROOT_LEN_MAX, TARGETS_LEN_MAX};
use neap_trust::target::Kind;

use crate::code::Code;
use crate::error::StickError;
use crate::limits::RESERVE_LEN;
use crate::manifest::{Manifest, Sealed};
use crate::readme;
use crate::seal::{self, Recipient};
use crate::stick::{MANIFEST, Room, Stick};

/// What is written, and what that takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The blobs of the release, in the order in which they are written.
    pub pieces: Vec<Piece>,
    /// The metadata files by name.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// Bytes that will be written, rounded up to clusters.
    pub write_len: u64,
    /// Whom images are encrypted to, if they are.
    pub to: Option<Recipient>,
    /// Whether blobs are read back from the medium.
    pub read_back: bool,
    /// Version of the timestamp.
    pub timestamp: u64,
    /// The root that what lies on the stick is judged by.
    pub root: Vec<u8>,
}

/// A blob that is to be on the stick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its path in the metadata.
    pub path: String,
    /// The blob.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is written encrypted.
    pub is_sealed: bool,
    /// Whether it is there already; its bytes are checked when the stick is written.
    pub is_there: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The code of the stick.
    pub code: Code,
    /// Its number.
    pub id: String,
    /// Blobs that were written.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a stick is to hold.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What must be there.
    pub needed: &'a [Offer],
    /// What may be there: as much of it as fits.
    pub welcome: &'a [Offer],
    /// Metadata files by name.
    pub metadata: &'a [(String, Vec<u8>)],
    /// Version of the timestamp among them.
    pub timestamp: u64,
    /// A root that is trusted: a timestamp that is on the stick counts if it is signed by whom this
    /// root, or one that follows it, names.
    pub root: &'a [u8],
    /// Whom images are encrypted to, if they are.
    pub to: Option<&'a Recipient>,
    /// Whether blobs are read back from the medium, and those that are there are read and checked.
    /// Without it what a bad stick did to them stays unseen until a device reads it.
    pub read_back: bool,
}

/// What to write, if there is room for it.
///
/// # Errors
/// If there is too little room for what is needed, or the stick holds a newer release.
pub fn draft(stick: &Stick, wanted: &Wanted<'_>, room: Room) -> Result<Draft, StickError> {
    let Wanted { timestamp, root, .. } = *wanted;
    not_newer(stick, timestamp, root)?;
    let rounded = |len: u64| room.rounded(len);
    let metadata = wanted.metadata.to_vec();
    // A folder's own clusters, the list of what is encrypted, and the text for people.
    let around = 8 * rounded(1);
    let write_len = metadata.iter().map(|(_, bytes)| rounded(bytes.len() as u64)).sum::<u64>();
    let (pieces, write_len) = (Vec::new(), write_len + around);
    let (to, read_back) = (wanted.to.cloned(), wanted.read_back);
    let root = root.to_vec();
    let mut draft = Draft { pieces, metadata, write_len, to, read_back, timestamp, root };
    let free = room.free.saturating_sub(RESERVE_LEN);
    let needed = wanted.needed.iter().map(|offer| (offer, true));
    for (offer, must) in needed.chain(wanted.welcome.iter().map(|offer| (offer, false))) {
        let piece = piece(stick, offer, wanted.to);
        let cost = match piece.is_there {
            true => 0,
            false => rounded(piece.len) + 2 * rounded(tree::tree_len(piece.len)),
        };
        if must || draft.write_len.saturating_add(cost) <= free {
            draft.write_len = draft.write_len.saturating_add(cost);
            draft.pieces.push(piece);
        }
    }
    match draft.write_len > free {
        true => Err(StickError::NoRoom { needed: draft.write_len + RESERVE_LEN, free: room.free }),
        false => Ok(draft),
    }
}

/// What is on a stick that is signed, if that is no newer than ours.
fn not_newer(stick: &Stick, ours: u64, root: &[u8]) -> Result<Shown, StickError> {
    let shown = shown(stick.depot(), root).map_err(|refusal| match refusal {
        Refusal::Unreadable { file, error } => {
            StickError::of(stick.title(), &format!("metadata/{file}"), error)
        }
        other => StickError::of(stick.title(), "metadata", io::Error::other(other.to_string())),
    })?;
    match shown.timestamp {
        Some(found) if found > ours => Err(StickError::Newer { found, ours }),
        _ => Ok(shown),
    }
}

fn piece(stick: &Stick, offer: &Offer, to: Option<&Recipient>) -> Piece {
    let digest = Digest::from_hex(&offer.custom.blake3).unwrap_or(Digest([0; 32]));
    let is_image = matches!(offer.custom.kind, Kind::Full | Kind::Delta);
    let to = to.filter(|_| is_image);
    let is_there = match to {
        None => blob_of(stick.depot(), &digest).is_some_and(|blob| blob.len() == offer.len),
        Some(to) => {
            let entry = stick.manifest().and_then(|m| m.sealed_to(&digest, &to.short()));
            entry.is_some_and(|entry| blob_of(stick.depot(), &entry.sealed).is_some())
        }
    };
    let (path, len, is_sealed) = (offer.path.clone(), offer.len, to.is_some());
    Piece { path, digest, len, is_sealed, is_there }
}

/// A blob that is there, as far as its lengths tell. One that cannot be read is written again.
fn blob_of(depot: &Depot, digest: &Digest) -> Option<Blob> {
    depot.blob(digest).ok().flatten()
}

/// All roots of a depot: a device that was offline for years follows them one by one.
///
/// # Errors
/// If they cannot be read.
pub fn roots(depot: &Depot) -> Result<Vec<(String, Vec<u8>)>, StickError> {
    let failed = |error| StickError::of(&depot.store().title(), "metadata", error);
    let mut roots = Vec::new();
    for entry in depot.store().list(&Folder::Metadata).map_err(failed)? {
        if let Meaning::Root(_) = Folder::Metadata.meaning(&entry.file) {
            let bytes = depot.metadata(&entry.file, ROOT_LEN_MAX).map_err(failed)?;
            roots.extend(bytes.map(|bytes| (entry.file, bytes)));
        }
    }
    Ok(roots)
}

/// Adds the metadata that was verified of one more group. A release that is published between two
/// groups gives the same name other bytes: then an older role would lie beside a newer snapshot.
///
/// # Errors
/// [`StickError::Published`]: it was published anew meanwhile.
pub fn join(
    metadata: &mut Vec<(String, Vec<u8>)>,
    files: Vec<(String, Vec<u8>)>,
) -> Result<(), StickError> {
    for (file, bytes) in files {
        match metadata.iter().find(|(known, _)| *known == file) {
            None => metadata.push((file, bytes)),
            Some((_, known)) if *known == bytes => {}
            Some(_) => return Err(StickError::Published { file }),
        }
    }
    Ok(())
}

/// Writes a draft to a stick. `told` is called with each piece that is done.
///
/// # Errors
/// If the stick cannot be written, or reads back otherwise. What it held before is still good.
pub fn write(
    depot: &Depot,
    stick: &Stick,
    draft: &Draft,
    told: &mut dyn FnMut(&Piece),
) -> Result<Written, StickError> {
    let writer = stick.depot().writer("neap stick export")?;
    let begun = writer.begin_mirror();
    begun.map_err(|error| StickError::of(stick.title(), "mirror.json", error))?;
    let manifest = match stick.manifest() {
        Some(manifest) => manifest.clone(),
        None => Manifest::new(number()?),
    };
    let mut job = Job { stick, writer, manifest, read_back: draft.read_back };
    let (mut blobs, mut bytes) = (0, 0);
    for piece in &draft.pieces {
        let blob = depot.blob(&piece.digest);
        let blob = blob.map_err(|error| StickError::Blob { digest: piece.digest, error })?;
        let missing = || {
            let file = format!("blobs/{}", piece.digest);
            StickError::of(&depot.store().title(), &file, io::ErrorKind::NotFound.into())
        };
        let blob = blob.ok_or_else(missing)?;
        let wrote = match draft.to.as_ref().filter(|_| piece.is_sealed) {
            None => job.plain(&blob, piece.len)?,
            Some(to) => job.sealed(&blob, to)?,
        };
        blobs += u64::from(wrote);
        bytes += if wrote { piece.len } else { 0 };
        told(piece);
    }
    job.put(MANIFEST, &job.manifest.bytes())?;
    job.put(readme::FILE, &readme::text(&job.manifest.id))?;
    job.disown(draft)?;
    job.metadata(&draft.metadata)?;
    let code = stick.code()?.ok_or_else(|| {
        StickError::of(stick.title(), "metadata/timestamp.json", io::ErrorKind::NotFound.into())
    })?;
    Ok(Written { code, id: job.manifest.id, blobs, bytes })
}

/// A number for a new stick.
fn number() -> Result<[u8; 4], StickError> {
    let mut id = [0; 4];
    getrandom::fill(&mut id).map_err(|error| {
        let (what, error) = ("random bytes".into(), io::Error::other(error.to_string()));
        StickError::Io { what, error }
    })?;
    Ok(id)
}

/// A blob, encrypted, in a file without a name, and what it is called then.
fn encrypted(blob: &Blob, to: &Recipient) -> io::Result<(File, Digest)> {
    let mut file = tempfile::tempfile()?;
    seal::seal(blob, to, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file)?;
    Ok((file, Digest(*hasher.finalize().as_bytes())))
}

/// The one who writes to a stick.
struct Job<'a> {
    stick: &'a Stick,
    writer: Writer<'a>,
    manifest: Manifest,
    read_back: bool,
}

impl Job<'_> {
    /// Writes a blob as it is, and reads it back from the medium: whether it was not there.
    fn plain(&self, blob: &Blob, len: u64) -> Result<bool, StickError> {
        let digest = *blob.digest();
        if self.is_good(&digest, Some(len)) {
            return Ok(false);
        }
        let added = self.writer.add_known(&digest, len, &mut blob.reader(), Present::Verify);
        added.map_err(|error| StickError::Add { digest, error })?;
        match self.is_good(&digest, Some(len)) {
            true => Ok(true),
            false => Err(StickError::ReadBack { digest }),
        }
    }

    /// Writes a blob encrypted, and reads that back from the medium. The list names it before it is
    /// there: it is called otherwise each time it is made, and what a pull leaves of one that
    /// nothing names would lie there for good.
    fn sealed(&mut self, blob: &Blob, to: &Recipient) -> Result<bool, StickError> {
        let digest = *blob.digest();
        if let Some(there) = self.manifest.sealed_to(&digest, &to.short()) {
            if self.is_good(&there.sealed, None) {
                return Ok(false);
            }
            self.remove(&there.sealed)?;
        }
        let what = || format!("blob {digest}, being encrypted");
        let made = encrypted(blob, to);
        let (mut file, sealed) = made.map_err(|error| StickError::Io { what: what(), error })?;
        let len = blob.len();
        let entered = self.manifest.enter(Sealed { blob: digest, len, sealed, to: to.short() });
        let title = self.stick.title();
        entered.map_err(|error| StickError::Manifest { title: title.to_owned(), error })?;
        self.put(MANIFEST, &self.manifest.bytes())?;
        let added = self.writer.add(&mut file, Present::Verify);
        let added = added.map_err(|error| StickError::Add { digest, error })?;
        match added.digest == sealed && self.is_good(&sealed, None) {
            true => Ok(true),
            false => Err(StickError::ReadBack { digest: sealed }),
        }
    }

    /// Removes what is there of a blob that is not good.
    fn remove(&self, digest: &Digest) -> Result<(), StickError> {
        let store = self.stick.depot().store();
        let failed = |error| StickError::of(self.stick.title(), "blobs", error);
        for name in [Name::tree(digest), Name::blob(digest)] {
            store.delete(&name).map_err(failed)?;
        }
        for index in 0.. {
            let name = Name::part(digest, index);
            if store.open(&name).map_err(failed)?.is_none() {
                break;
            }
            store.delete(&name).map_err(failed)?;
        }
        store.settle(&Folder::Blobs).map_err(failed)
    }

    /// Whether a blob is there and, as far as it is to be read, reads well from the medium.
    fn is_good(&self, digest: &Digest, len: Option<u64>) -> bool {
        let Some(blob) = blob_of(self.stick.depot(), digest) else { return false };
        let reads_well =
            || blob.forget().is_ok() && blob.check().is_ok_and(|checked| checked.is_good());
        len.is_none_or(|len| blob.len() == len) && (!self.read_back || reads_well())
    }

    /// Puts a file beside the depot, unless it is there as it is.
    fn put(&self, file: &str, content: &[u8]) -> Result<(), StickError> {
        let failed = |error| StickError::of(self.stick.title(), file, error);
        let there = self.stick.raw().read("", file, content.len() as u64);
        if there.is_ok_and(|there| there.as_deref() == Some(content)) {
            return Ok(());
        }
        self.stick.raw().put("", file, content).map_err(failed)
    }

    /// Removes what nobody signed who may, and devices would stumble over: a timestamp, which would
    /// pass for newer here, too, and roots that do not follow from ours.
    fn disown(&self, draft: &Draft) -> Result<(), StickError> {
        let Shown { root, timestamp } = not_newer(self.stick, draft.timestamp, &draft.root)?;
        let store = self.stick.depot().store();
        let failed = |error| StickError::of(self.stick.title(), "metadata", error);
        for entry in store.list(&Folder::Metadata).map_err(failed)? {
            let is_forged = match Folder::Metadata.meaning(&entry.file) {
                Meaning::Root(version) => version > root,
                Meaning::Timestamp => timestamp.is_none(),
                _ => false,
            };
            let name = Name::metadata(&entry.file).filter(|_| is_forged);
            if let Some(name) = name {
                store.delete(&name).map_err(failed)?;
            }
        }
        store.settle(&Folder::Metadata).map_err(failed)
    }

    /// Writes metadata, the timestamp last, and reads all of it back from the medium.
    fn metadata(&self, files: &[(String, Vec<u8>)]) -> Result<(), StickError> {
        self.writer.mirror(files)?;
        let store = self.stick.depot().store();
        for (file, bytes) in files {
            let failed = |error| StickError::of(self.stick.title(), file, error);
            let name = Name::metadata(file).ok_or(io::ErrorKind::InvalidFilename);
            let name = name.map_err(|kind| failed(kind.into()))?;
            if let Some(object) = store.open(&name).map_err(failed)? {
                object.forget().map_err(failed)?;
            }
            let read = store::read(store, &name, TARGETS_LEN_MAX).map_err(failed)?;
            if read.as_ref() != Some(bytes) {
                let text = "what was written reads back otherwise: a bad stick";
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use neap_depot::directory::Directory;
    use neap_depot::files::Files as _;
    use neap_depot::memory::{Fate, Memory};
    use neap_trust::fixture::Repository;
    use neap_trust::time::Timestamp;

    use super::*;
    use crate::clear::clear;
    use crate::seal::Identity;

    /// A shore with one image, and what is to be on a stick for who has the key.
    fn shore(key: &Identity) -> (Depot, Draft) {
        let depot = Depot::new(Box::new(Directory::new(Memory::default())));
        let bytes: Vec<u8> = (0..40_000_u32).map(|i| (i / 77).to_le_bytes()[0]).collect();
        let writer = depot.writer("test").expect("free");
        let added = writer.add(&mut Cursor::new(&bytes), Present::Verify).expect("added");
        drop(writer);
        let mut repository = Repository::new("2026-11-01T00:00:00Z".parse().expect("a time"));
        repository.group("fleet");
        repository.publish(&["g.fleet", "targets"]);
        let metadata = repository.files.metadata.clone().into_iter().collect();
        let (digest, len) = (added.digest, added.len);
        let path = "g/fleet/radar/1.0/full".to_owned();
        let piece = Piece { path, digest, len, is_sealed: true, is_there: false };
        let to = Some(key.recipient());
        let timestamp = repository.signed["timestamp"]["version"].as_u64().expect("a number");
        let (pieces, root) = (vec![piece], repository.first_root());
        let read_back = true;
        let draft = Draft { pieces, metadata, write_len: 0, to, read_back, timestamp, root };
        (depot, draft)
    }

    fn export(depot: &Depot, memory: &Memory, draft: &Draft) -> Result<Written, StickError> {
        let stick = Stick::on(memory.clone(), None)?;
        clear(&stick, Timestamp::MIN)?;
        write(depot, &stick, draft, &mut |_| {})
    }

    /// Cause: an encrypted blob was entered in the list after it was read back, and is called
    /// otherwise each time. Effect: each pull in between left a whole copy that nothing named, and
    /// nothing removed. Cure: the list names it first, and what is not good there is removed.
    #[test]
    fn exports_that_are_cut_leave_no_copies_of_an_encrypted_image() {
        let key = Identity::generate();
        let (depot, draft) = shore(&key);
        let whole = Memory::default();
        export(&depot, &whole, &draft).expect("nothing stops it");
        let steps = whole.steps();
        for seed in 0..8 {
            let fate = |cut| if seed == 0 { Fate::Kept } else { Fate::Mixed(seed * 1000 + cut) };
            // One stick, pulled in each step of an export in turn.
            let mut stick = Memory::default();
            for cut in 0..steps {
                stick = stick.after_cut(fate(cut));
                stick.cut_at(cut);
                // As soon as the image is there, an export takes fewer steps, and comes to its end.
                let stopped = export(&depot, &stick, &draft).err();
                assert!(stopped.is_none_or(|error| error.io().is_some()));
                let once = stick.after_cut(fate(cut));
                export(&depot, &once, &draft).expect("it goes on");
                let blobs = once.list("blobs", 100).expect("listed");
                // A cut in the middle of a rename leaves both names of one file.
                let (left, blobs): (Vec<_>, Vec<_>) =
                    blobs.into_iter().partition(|entry| entry.file.starts_with('~'));
                assert_eq!(blobs.len(), 2, "seed {seed}, step {cut}: {blobs:?}");
                assert!(left.len() <= 2, "seed {seed}, step {cut}: {left:?}");
                let opened = Stick::on(once, Some(key.clone())).expect("a stick");
                let image = blob_of(opened.depot(), &draft.pieces[0].digest).expect("there");
                assert!(image.check().expect("read").is_good(), "seed {seed}, step {cut}");
            }
        }
    }
}
