//! The client workflow of TUF 5.3 to 5.6: roots, timestamp, snapshot, top-level targets.
//!
//! Signatures, versions, digests and expiry are judged by `sigstore_tuf::TrustedMetadataSet`. This
//! file owns the order in which files are read, what is kept of them, the floors that outlive a
//! run, and what time expiry is judged by. Delegated roles are in `delegations.rs`.

use std::collections::BTreeMap;
use std::io;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sigstore_tuf::{MetaFile, Metadata, Root, Snapshot, Targets, TrustedMetadataSet};

use super::delegations::sound;
use super::refusal::{Refusal, of_core};
use crate::carrier::Carrier;
use crate::limits::{
    ROOT_LEN_MAX, ROOTS_MAX, ROOTS_PROBED, SNAPSHOT_LEN_MAX, TARGETS_LEN_MAX, TIMESTAMP_LEN_MAX,
};
use crate::provider;
use crate::state::{MemoryState, State};
use crate::time::{Clock, Times};

/// The field of timestamp metadata that says when it was made: RFC 3339, UTC.
pub const ISSUED: &str = "neap_issued";

/// One run against one carrier.
pub struct Workflow<'a> {
    carrier: &'a dyn Carrier,
    pub(super) state: &'a mut dyn State,
    pub(super) trusted: TrustedMetadataSet,
    pub(crate) times: Times,
    pub(crate) allowed_days: u32,
    /// Names of kept files that were damaged and are ignored.
    pub(crate) ignored: Vec<String>,
    /// Version of each role's file that this device has seen a snapshot name.
    floors: BTreeMap<String, u64>,
    /// Version of the newest snapshot that this device accepted.
    snapshot_floor: u64,
}

impl<'a> Workflow<'a> {
    /// A run that starts from the newest root that this device knows: the one it kept, or `pinned`
    /// which came with it.
    ///
    /// # Errors
    /// If there is neither, or what is kept cannot be read.
    pub fn open(
        carrier: &'a dyn Carrier,
        state: &'a mut dyn State,
        pinned: Option<&[u8]>,
        clock: Clock,
    ) -> Result<Self, Refusal> {
        provider::install();
        let mut ignored = Vec::new();
        let kept = load(state, "root.json")?;
        let kept = kept.and_then(|bytes| match TrustedMetadataSet::from_root(&bytes) {
            Ok(trusted) => Some(trusted),
            Err(_) => {
                ignored.push("root.json".to_owned());
                None
            }
        });
        let bad = |error| Refusal::BadRoot { why: of_core(error, "root").to_string() };
        let pinned = pinned.map(TrustedMetadataSet::from_root).transpose().map_err(bad)?;
        let trusted = newest_root(kept, pinned)?;
        let (times, damaged) = Times::new(clock, load(state, KNOWN_TIME)?.as_deref());
        if damaged {
            ignored.push(KNOWN_TIME.to_owned());
        }
        let (floors, snapshot_floor, allowed_days) = (BTreeMap::new(), 0, 0);
        Ok(Self { carrier, state, trusted, times, allowed_days, ignored, floors, snapshot_floor })
    }

    /// Reads and verifies roots, timestamp, snapshot and top-level targets; keeps each that was
    /// accepted. Files that are kept and still current are not read again.
    ///
    /// # Errors
    /// With the first thing that is not as it must be. What was accepted before stays kept.
    pub fn refresh(&mut self) -> Result<(), Refusal> {
        self.roots()?;
        self.check_root()?;
        self.seed()?;
        self.timestamp().map_err(|refusal| self.withheld(refusal))?;
        // The timestamp may have moved the time on.
        self.check_root()?;
        self.snapshot().map_err(|refusal| self.withheld(refusal))?;
        self.targets().map_err(|refusal| self.withheld(refusal))
    }

    /// Takes a timestamp from someone else, such as a peer that has a newer one than the carrier:
    /// from then on the carrier must be at least as new. Before [`Self::refresh`].
    ///
    /// # Errors
    /// If it is not signed as it must be. One that is older than what was seen changes nothing.
    pub fn observe_timestamp(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.seed()?;
        match self.accept_timestamp(bytes) {
            Err(Refusal::Rollback { .. }) => Ok(()),
            done => done,
        }
    }

    /// What the carrier shows, as far as its roots can be followed.
    fn shown(mut self) -> Result<Shown, Refusal> {
        // Where a root is refused, how far it came is what its timestamp is judged by.
        if let Err(refusal @ Refusal::Unreadable { .. }) = self.follow() {
            return Err(refusal);
        }
        let timestamp = match self.read("timestamp.json", TIMESTAMP_LEN_MAX) {
            Err(refusal @ Refusal::Unreadable { .. }) => return Err(refusal),
            Err(_) => None,
            Ok(bytes) => {
                let is_signed = self.trusted.update_timestamp(&bytes, Timestamp::MIN).is_ok();
                self.trusted.timestamp().filter(|_| is_signed).map(|timestamp| timestamp.version)
            }
        };
        Ok(Shown { root: self.trusted.root().version, timestamp })
    }

    /// The root that is trusted now.
    #[must_use]
    pub fn root(&self) -> &Root {
        self.trusted.root()
    }

    /// The timestamp that is trusted now.
    #[must_use]
    pub fn timestamp_role(&self) -> Option<&sigstore_tuf::Timestamp> {
        self.trusted.timestamp()
    }

    /// The snapshot that is trusted now.
    #[must_use]
    pub fn snapshot_role(&self) -> Option<&Snapshot> {
        self.trusted.snapshot()
    }

    /// A targets role that was read: `targets`, or a delegated one.
    #[must_use]
    pub fn targets_role(&self, role: &str) -> Option<&Targets> {
        self.trusted.targets_role(role)
    }

    /// Says that all that was read was believed, up to its earliest expiry: time moves on.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub(crate) fn keep_time(&mut self, expires: Timestamp) -> Result<(), Refusal> {
        let kept = self.times.to_keep(expires);
        if load(self.state, KNOWN_TIME)?.as_deref() == Some(&kept) {
            return Ok(());
        }
        self.keep(KNOWN_TIME, &kept)
    }

    /// The time that expiry is judged by.
    pub(crate) fn now(&self) -> Timestamp {
        self.times.effective(self.allowance())
    }

    /// What the device remembers.
    pub(crate) fn state(&mut self) -> &mut dyn State {
        self.state
    }

    /// What metadata is read from.
    pub(crate) fn carrier(&self) -> &dyn Carrier {
        self.carrier
    }

    fn allowance(&self) -> SignedDuration {
        crate::time::days(self.allowed_days)
    }

    /// Follows the chain of roots to its end. How far it came is kept even if it ends badly.
    fn roots(&mut self) -> Result<(), Refusal> {
        let first = self.trusted.root().version;
        let followed = self.follow();
        if self.trusted.root().version != first || load(self.state, "root.json")?.is_none() {
            let bytes = self.trusted.root_bytes().to_vec();
            self.keep("root.json", &bytes)?;
        }
        followed
    }

    fn follow(&mut self) -> Result<(), Refusal> {
        let counts = |root: &Root| {
            let mut roles = root.roles.iter();
            roles.try_for_each(|(role, keys)| sound(&root.keys, keys, role))
        };
        counts(self.trusted.root())?;
        for _ in 0..ROOTS_MAX {
            let Some(next) = self.trusted.root().version.checked_add(1) else { return Ok(()) };
            let name = format!("{next}.root.json");
            let Some(bytes) = self.read_if_there(&name, ROOT_LEN_MAX)? else { return Ok(()) };
            // A root that counts one key as two must not be the one that lets the next in.
            let mut candidate = self.trusted.clone();
            candidate.update_root(&bytes).map_err(|error| of_core(error, &name))?;
            counts(candidate.root())?;
            self.trusted = candidate;
        }
        Err(Refusal::ManyRoots { version: self.trusted.root().version })
    }

    fn check_root(&self) -> Result<(), Refusal> {
        let checked = self.trusted.check_root_expired(self.now());
        checked.map_err(|error| self.refusal(error, "root.json"))
    }

    /// Takes what was accepted in earlier runs as the floor: expired or not, the carrier must be at
    /// least as new. What a root has since revoked is no floor (TUF 5.3.11), so that versions which
    /// a stolen key ran up are forgotten with the key.
    fn seed(&mut self) -> Result<(), Refusal> {
        if self.trusted.timestamp().is_some() {
            return Ok(());
        }
        let timestamp = self.kept::<sigstore_tuf::Timestamp>("timestamp")?;
        let snapshot = self.kept::<Snapshot>("snapshot")?;
        if let Some((bytes, timestamp)) = &timestamp {
            match self.trusted.update_timestamp(bytes, Timestamp::MIN) {
                Ok(()) => self.times_of(timestamp, "timestamp.json")?,
                // The key was revoked, and with it what the snapshot's floor rests on.
                Err(_) => return Ok(()),
            }
        }
        let Some((bytes, _)) = snapshot else { return Ok(()) };
        if let Some(snapshot) = self.signed::<Snapshot>(&bytes, "snapshot") {
            self.snapshot_floor = snapshot.version;
            let named = snapshot.meta.into_iter().map(|(name, pin)| (name, pin.version));
            self.floors = named.collect();
        }
        // It fails where a run ended after its timestamp; the floors above hold all the same.
        match self.trusted.update_snapshot(&bytes, Timestamp::MIN) {
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A kept file, parsed; one that cannot be is ignored, and that is said.
    fn kept<T: sigstore_tuf::Role>(&mut self, role: &str) -> Result<Option<(Vec<u8>, T)>, Refusal> {
        let name = format!("{role}.json");
        let Some(bytes) = load(self.state, &name)? else { return Ok(None) };
        match Metadata::<T>::from_slice(&bytes) {
            Ok(parsed) => Ok(Some((bytes, parsed.into_signed()))),
            Err(_) => {
                self.ignored.push(name);
                Ok(None)
            }
        }
    }

    fn timestamp(&mut self) -> Result<(), Refusal> {
        let bytes = self.read("timestamp.json", TIMESTAMP_LEN_MAX)?;
        self.accept_timestamp(&bytes)
    }

    fn accept_timestamp(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let file = "timestamp.json";
        // Judged by its own issue time too, which counts once its signatures do.
        let mut candidate = self.trusted.clone();
        match candidate.update_timestamp(bytes, Timestamp::MIN) {
            Ok(()) => {}
            Err(sigstore_tuf::Error::EqualVersion { .. }) => return self.check_timestamp(),
            Err(error) => return Err(of_core(error, file)),
        }
        if let Some(timestamp) = candidate.timestamp().cloned() {
            self.times_of(&timestamp, file)?;
        }
        let checked = candidate.check_timestamp_expired(self.now());
        checked.map_err(|error| self.refusal(error, file))?;
        self.trusted = candidate;
        self.keep(file, bytes)
    }

    fn check_timestamp(&self) -> Result<(), Refusal> {
        let checked = self.trusted.check_timestamp_expired(self.now());
        checked.map_err(|error| self.refusal(error, "timestamp.json"))
    }

    /// Takes the issue time of a timestamp whose signatures were checked.
    fn times_of(&mut self, timestamp: &sigstore_tuf::Timestamp, file: &str) -> Result<(), Refusal> {
        let Some(value) = timestamp.extra.get(ISSUED) else { return Ok(()) };
        let issued = value.as_str().and_then(|text| text.strip_suffix('Z').and(text.parse().ok()));
        match issued {
            Some(issued) if issued <= timestamp.expires => {
                self.times.saw_issue(issued);
                Ok(())
            }
            _ => {
                let why = format!("{ISSUED} is {value}, not a time in UTC before it expires");
                Err(Refusal::Damaged { file: file.to_owned(), why })
            }
        }
    }

    fn snapshot(&mut self) -> Result<(), Refusal> {
        let pin = self.trusted.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
        let Some(pin) = pin.cloned() else {
            let why = "it names no snapshot".to_owned();
            return Err(Refusal::Damaged { file: "timestamp.json".into(), why });
        };
        if pin.version < self.snapshot_floor {
            let (role, seen) = ("snapshot".to_owned(), self.snapshot_floor);
            return Err(Refusal::Rollback { role, seen, offered: pin.version });
        }
        let now = self.now();
        if self.trusted.snapshot().is_some_and(|kept| kept.version == pin.version) {
            let checked = self.trusted.check_snapshot_expired(now);
            return checked.map_err(|error| self.refusal(error, "snapshot.json"));
        }
        let name = self.versioned("snapshot.json", pin.version);
        let bytes = self.read(&name, pinned_max(&pin, SNAPSHOT_LEN_MAX))?;
        let mut candidate = self.trusted.clone();
        if let Err(error) = candidate.update_snapshot(&bytes, now) {
            let signed = self.signed::<Snapshot>(&bytes, "snapshot");
            if let Some(signed) = signed.as_ref().filter(|signed| signed.version == pin.version) {
                self.check_floors(signed)?;
            }
            return Err(self.judged(error, &name, &bytes, &pin, || signed.is_some()));
        }
        if let Some(snapshot) = candidate.snapshot() {
            self.check_floors(snapshot)?;
        }
        self.trusted = candidate;
        self.keep("snapshot.json", &bytes)
    }

    /// No role that this device has seen may be older, or gone (TUF 5.5.5). The core checks this
    /// too, but only where the kept snapshot is the one that the kept timestamp names.
    fn check_floors(&self, snapshot: &Snapshot) -> Result<(), Refusal> {
        for (name, seen) in &self.floors {
            let role = || name.strip_suffix(".json").unwrap_or(name).to_owned();
            match snapshot.meta.get(name) {
                None => return Err(Refusal::Removed { role: role() }),
                Some(pin) if pin.version < *seen => {
                    let (role, seen, offered) = (role(), *seen, pin.version);
                    return Err(Refusal::Rollback { role, seen, offered });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn targets(&mut self) -> Result<(), Refusal> {
        let Some(pin) = self.pin("targets") else {
            let why = "it names no targets".to_owned();
            return Err(Refusal::Damaged { file: "snapshot.json".into(), why });
        };
        let now = self.now();
        if let Some(kept) = load(self.state, "targets.json")?
            && self.trusted.update_targets(&kept, now).is_ok()
        {
            return Ok(());
        }
        let name = self.versioned("targets.json", pin.version);
        let bytes = self.read(&name, pinned_max(&pin, TARGETS_LEN_MAX))?;
        let refused = self.trusted.update_targets(&bytes, now).err();
        if let Some(error) = refused {
            let is_signed = || self.signed::<Targets>(&bytes, "targets").is_some();
            return Err(self.judged(error, &name, &bytes, &pin, is_signed));
        }
        self.keep("targets.json", &bytes)
    }

    /// What a top-level role's file says, if it has the signatures that it needs.
    fn signed<T: sigstore_tuf::Role>(&self, bytes: &[u8], role: &str) -> Option<T> {
        let root = self.trusted.root();
        let parsed = Metadata::<T>::from_slice(bytes).ok()?;
        parsed.verify_threshold(&root.keys, root.role(role)?, role).ok()?;
        Some(parsed.into_signed())
    }

    /// What the core says of a file that a parent names.
    pub(super) fn judged(
        &self,
        error: sigstore_tuf::Error,
        file: &str,
        bytes: &[u8],
        pin: &MetaFile,
        is_signed: impl FnOnce() -> bool,
    ) -> Refusal {
        match error {
            sigstore_tuf::Error::IntegrityMismatch(why) => {
                unpinned(why, file, bytes, pin, is_signed)
            }
            other => self.refusal(other, file),
        }
    }

    /// What the core says, with the time that it was judged by.
    pub(crate) fn refusal(&self, error: sigstore_tuf::Error, file: &str) -> Refusal {
        match error {
            sigstore_tuf::Error::Expired { role, expires } => self.expired(role, expires),
            other => of_core(other, file),
        }
    }

    pub(crate) fn expired(&self, role: String, expires: Timestamp) -> Refusal {
        let (time, allowed_days) = (self.times.known(), self.allowed_days);
        Refusal::Expired { role, expires, time, allowed_days }
    }

    /// Tells a withheld root from wrong signatures: where later roots lie beyond a gap, the
    /// signatures are by keys that this device was kept from learning.
    fn withheld(&self, refusal: Refusal) -> Refusal {
        if !matches!(refusal, Refusal::Threshold { .. }) {
            return refusal;
        }
        let due = self.trusted.root().version.saturating_add(1);
        let later =
            (1..=ROOTS_PROBED).map(|step| format!("{}.root.json", due.saturating_add(step)));
        let is_there =
            |name: &String| matches!(self.carrier.metadata(name, ROOT_LEN_MAX), Ok(Some(_)));
        match later.into_iter().find(is_there) {
            Some(found) => Refusal::Withheld { missing: format!("{due}.root.json"), found },
            None => refusal,
        }
    }

    pub(super) fn pin(&self, role: &str) -> Option<MetaFile> {
        self.trusted.snapshot()?.meta.get(&format!("{role}.json")).cloned()
    }

    /// The name of a file where snapshots are consistent (TUF 6.2).
    pub(super) fn versioned(&self, file: &str, version: u64) -> String {
        match self.trusted.root().consistent_snapshot {
            true => format!("{version}.{file}"),
            false => file.to_owned(),
        }
    }

    pub(super) fn read(&self, name: &str, len_max: u64) -> Result<Vec<u8>, Refusal> {
        let found = self.read_if_there(name, len_max)?;
        found.ok_or_else(|| Refusal::Missing { file: name.to_owned() })
    }

    fn read_if_there(&self, name: &str, len_max: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let file = name.to_owned();
        match self.carrier.metadata(name, len_max) {
            // A carrier that does not keep to the limit is not believed either.
            Ok(Some(bytes)) if bytes.len() as u64 > len_max => {
                Err(Refusal::TooLong { file, len_max })
            }
            Ok(found) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Err(Refusal::TooLong { file, len_max })
            }
            Err(error) => Err(Refusal::Unreadable { file, error }),
        }
    }

    pub(super) fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
        let stored = self.state.store(name, bytes);
        stored.map_err(|error| Refusal::State { name: name.to_owned(), error })
    }
}

/// What a carrier has that is signed as it must be, expired or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Version of the last root that follows from the one that was trusted.
    pub root: u64,
    /// Version of the timestamp; nothing if there is none, or one that is not signed by whom that
    /// root names.
    pub timestamp: Option<u64>,
}

/// Looks at what a carrier has, from a root that is trusted on. Nothing is kept.
///
/// # Errors
/// If it cannot be read, or `root` is none.
pub fn shown(carrier: &dyn Carrier, root: &[u8]) -> Result<Shown, Refusal> {
    let clock = Clock { rtc: None, build: Timestamp::MIN };
    Workflow::open(carrier, &mut MemoryState::default(), Some(root), clock)?.shown()
}

/// Name of the kept time.
const KNOWN_TIME: &str = "known-time";

/// What a file is whose length, digest or version is not the one that was signed for: of another
/// time if its version differs or it was properly signed, else damaged.
pub(super) fn unpinned(
    why: String,
    file: &str,
    bytes: &[u8],
    pin: &MetaFile,
    is_signed: impl FnOnce() -> bool,
) -> Refusal {
    let file = file.to_owned();
    let parsed: Option<Value> = serde_json::from_slice(bytes).ok();
    let version = parsed.and_then(|value| value["signed"]["version"].as_u64());
    let why = match version {
        Some(version) if version != pin.version => {
            format!("it is version {version}, version {} is signed for", pin.version)
        }
        Some(_) if is_signed() => {
            "it is another file of the same version than the one signed for".to_owned()
        }
        _ => return Refusal::Damaged { file, why },
    };
    Refusal::MixAndMatch { file, why }
}

/// The newer of both. A device whose software came with a newer root starts from that.
fn newest_root(
    kept: Option<TrustedMetadataSet>,
    pinned: Option<TrustedMetadataSet>,
) -> Result<TrustedMetadataSet, Refusal> {
    match (kept, pinned) {
        (Some(kept), Some(pinned)) => {
            let (ours, given) = (kept.root(), pinned.root());
            if ours.version == given.version && ours != given {
                let why = format!("root {} is not the one this device has kept", given.version);
                return Err(Refusal::BadRoot { why });
            }
            Ok(if given.version > ours.version { pinned } else { kept })
        }
        (kept, pinned) => kept.or(pinned).ok_or(Refusal::NoRoot),
    }
}

pub(super) fn load(state: &dyn State, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
    state.load(name).map_err(|error| Refusal::State { name: name.to_owned(), error })
}

/// Bytes that a file may have: those signed for, where they are, within the limit.
pub(super) fn pinned_max(pin: &MetaFile, len_max: u64) -> u64 {
    pin.length.map_or(len_max, |len| len.min(len_max))
}
