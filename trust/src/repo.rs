//! The editor of a TUF repository: who may say what, and how that changes.
//!
//! All here takes bytes and times and returns the files to write, in order ([`Step`]); nothing
//! touches a disk. A change goes through four steps, of which only the last is seen by devices:
//! it is *staged* ([`edit`]), *signed* by people on their own machines, who see what it means
//! ([`request`], [`changes`]), *merged* (this file), and *published* ([`publish`]).
//!
//! - [`document`]: metadata as it is read and written.
//! - [`signature`]: the small file that a signature travels in.

pub mod changes;
mod crl;
pub mod document;
pub mod edit;
pub mod error;
pub mod publish;
pub mod request;
pub mod signature;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use jiff::Timestamp;
use serde_json::Value;

use crate::key::KeyId;
use crate::limits::{
    PROFILE_LEN_MAX, REQUEST_LEN_MAX, ROOT_COUNT_MAX, ROOT_LEN_MAX, SNAPSHOT_LEN_MAX,
    TARGETS_LEN_MAX, TIMESTAMP_LEN_MAX,
};
use crate::target::{Kind, role_of};
use document::{Envelope, NamedKey, RoleKeys, Root};
pub use error::RepoError;
use request::Request;
use signature::SignatureFile;

/// Folder of published metadata.
pub const METADATA: &str = "metadata";
/// Folder of what is not signed yet. It is never copied to carriers.
pub const STAGED: &str = "staged";
/// Folder of what metadata names.
pub const BLOBS: &str = "blobs";
/// The role that signs for roots.
pub const ROOT: &str = "root";
/// The role that says who signs for which group.
pub const TARGETS: &str = "targets";
/// The role that says which versions belong together.
pub const SNAPSHOT: &str = "snapshot";
/// The role that says what is newest.
pub const TIMESTAMP: &str = "timestamp";

/// The files of a release server's depot, by path from its top, with `/`.
pub trait Files {
    /// The whole file, or nothing if there is none.
    ///
    /// # Errors
    /// If it cannot be read or holds more than `len_max` bytes.
    fn read(&self, path: &str, len_max: u64) -> io::Result<Option<Vec<u8>>>;

    /// Names of the files in a folder; none if there is no such folder.
    ///
    /// # Errors
    /// If it cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
}

/// One file to write, whole and at once, or to remove. Each is durable before the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes at this path.
    Write(String, Vec<u8>),
    /// Remove the file at this path, if it is there.
    Remove(String),
}

/// A repository: what is published, and what is staged.
#[derive(Debug, Clone, Default)]
pub struct Repo {
    /// From version 1 on, without a gap.
    roots: Vec<Envelope>,
    timestamp: Option<Envelope>,
    snapshot: Option<Envelope>,
    /// `targets` and the roles of groups.
    published: BTreeMap<String, Envelope>,
    staged: BTreeMap<String, Envelope>,
    /// Roles that had a staged file when this was loaded.
    staged_files: BTreeSet<String>,
    /// Site profiles that roles offer next, by the SHA-256 that is signed: signers read them.
    profiles: BTreeMap<String, String>,
}

/// Keys that together decide about metadata: where `role`'s keys are among `keys`.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Such as `root 3`.
    pub whose: String,
    /// The keys and the threshold.
    pub role: RoleKeys,
    /// Key objects by id.
    pub keys: BTreeMap<String, Value>,
}

/// How far a role is signed, by one authority.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Who decides, such as `root 3`.
    pub whose: String,
    /// How many must sign.
    pub threshold: usize,
    /// Who has.
    pub signed: Vec<String>,
    /// Who may still.
    pub missing: Vec<String>,
}

impl Repo {
    /// Reads a repository.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or its roots do not follow on each other.
    pub fn load(files: &dyn Files) -> Result<Self, RepoError> {
        let mut repo = Self::default();
        let metadata = |name: &str, len_max| -> Result<Option<Envelope>, RepoError> {
            let path = format!("{METADATA}/{name}");
            match read(files, &path, len_max)? {
                Some(bytes) => Envelope::parse(&path, &bytes).map(Some),
                None => Ok(None),
            }
        };
        for version in 1..=ROOT_COUNT_MAX {
            match metadata(&format!("{version}.root.json"), ROOT_LEN_MAX)? {
                Some(root) => repo.roots.push(root),
                None => break,
            }
        }
        check_roots(&repo.roots)?;
        repo.timestamp = metadata("timestamp.json", TIMESTAMP_LEN_MAX)?;
        if let Some(timestamp) = &repo.timestamp {
            let listed = timestamp.listing(TIMESTAMP)?.meta;
            let version = listed.get("snapshot.json").map_or(0, |file| file.version);
            let name = format!("{version}.snapshot.json");
            let snapshot = metadata(&name, SNAPSHOT_LEN_MAX)?
                .ok_or_else(|| document::malformed(&name, "it is missing"))?;
            for (file, found) in snapshot.listing(SNAPSHOT)?.meta {
                let is_plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
                if !file.chars().all(is_plain) || file.contains("..") {
                    return Err(document::malformed(SNAPSHOT, "it names no metadata file"));
                }
                let name = format!("{}.{file}", found.version);
                let role = metadata(&name, TARGETS_LEN_MAX)?
                    .ok_or_else(|| document::malformed(&name, "it is missing"))?;
                repo.published.insert(file.trim_end_matches(".json").to_owned(), role);
            }
            repo.snapshot = Some(snapshot);
        }
        repo.load_staged(files)?;
        repo.load_profiles(files)?;
        match repo.roots.is_empty() && repo.staged.is_empty() {
            true => Err(RepoError::Missing),
            false => Ok(repo),
        }
    }

    fn load_staged(&mut self, files: &dyn Files) -> Result<(), RepoError> {
        let listed = files.list(STAGED).map_err(|error| RepoError::Io(STAGED.into(), error))?;
        for name in listed.iter().filter(|name| name.ends_with(".json")) {
            let path = format!("{STAGED}/{name}");
            let Some(bytes) = read(files, &path, REQUEST_LEN_MAX)? else { continue };
            let (role, envelope) = Request::envelope(&path, &bytes)?;
            if format!("{role}.json") != *name {
                return Err(document::malformed(&path, &format!("it is of role {role}")));
            }
            self.staged_files.insert(role.clone());
            // A publication that was cut short leaves what it published.
            let is_published =
                self.current(&role).is_some_and(|now| now.canonical() == envelope.canonical());
            if !is_published {
                self.staged.insert(role, envelope);
            }
        }
        Ok(())
    }

    fn load_profiles(&mut self, files: &dyn Files) -> Result<(), RepoError> {
        let mut profiles = BTreeMap::new();
        for group in self.groups()? {
            let Some(role) = self.next(&role_of(&group)) else { continue };
            for file in role.targets()?.targets.values() {
                let Some(custom) = file.custom().filter(|c| c.kind == Kind::SiteProfile) else {
                    continue;
                };
                // One that is not here, or is another, is not shown, and signers are told.
                let path = format!("{BLOBS}/{}", custom.blake3);
                let content = files.read(&path, PROFILE_LEN_MAX).ok().flatten();
                let content = content.and_then(|content| String::from_utf8(content).ok());
                let sha256 = file.hashes.get("sha256").cloned().unwrap_or_default();
                profiles.extend(content.map(|content| (sha256, content)));
            }
        }
        self.profiles = profiles;
        Ok(())
    }

    /// The files of what is staged, each with all that an offline signer needs to judge it.
    ///
    /// # Errors
    /// If what is staged makes no sense.
    pub fn save_staged(&self) -> Result<Vec<Step>, RepoError> {
        let mut steps = Vec::new();
        for role in self.staged.keys() {
            let bytes = Request::of(self, role)?.bytes();
            if u64::try_from(bytes.len()).map_or(true, |len| len > REQUEST_LEN_MAX) {
                return Err(RepoError::Impossible(format!(
                    "role {role} would be longer than any reader takes; withdraw old releases"
                )));
            }
            steps.push(Step::Write(staged_path(role), bytes));
        }
        let gone = self.staged_files.iter().filter(|role| !self.staged.contains_key(*role));
        steps.extend(gone.map(|role| Step::Remove(staged_path(role))));
        Ok(steps)
    }

    /// The published metadata of a role.
    #[must_use]
    pub fn current(&self, role: &str) -> Option<&Envelope> {
        match role {
            ROOT => self.roots.last(),
            SNAPSHOT => self.snapshot.as_ref(),
            TIMESTAMP => self.timestamp.as_ref(),
            _ => self.published.get(role),
        }
    }

    /// The staged metadata of a role.
    #[must_use]
    pub fn staged(&self, role: &str) -> Option<&Envelope> {
        self.staged.get(role)
    }

    /// Roles of which metadata is staged.
    pub fn staged_roles(&self) -> impl Iterator<Item = &str> {
        self.staged.keys().map(String::as_str)
    }

    /// The metadata of a role that is staged, or else published.
    #[must_use]
    pub fn next(&self, role: &str) -> Option<&Envelope> {
        self.staged.get(role).or_else(|| self.current(role))
    }

    /// Groups that there are, or will be once what is staged is published.
    ///
    /// # Errors
    /// If `targets` is no targets metadata.
    pub fn groups(&self) -> Result<Vec<String>, RepoError> {
        let Some(targets) = self.next(TARGETS) else { return Ok(Vec::new()) };
        let roles = targets.targets()?.delegations.unwrap_or_default().roles;
        let groups = roles.iter().filter_map(|role| role.name.strip_prefix("g."));
        Ok(groups.map(str::to_owned).collect())
    }

    /// Who decides about metadata of a role that is next to be published: all of them must agree.
    ///
    /// # Errors
    /// If there is no such role.
    pub fn authorities(&self, role: &str) -> Result<Vec<Authority>, RepoError> {
        if role == ROOT {
            // The old keys hand over to the new ones, and both must want it (TUF 5.3.4).
            let old = self.roots.last().into_iter();
            let both = old.chain(self.staged.get(ROOT));
            return both.map(|root| of_root(&root.root()?, ROOT)).collect();
        }
        self.authority(role, |role| self.next(role)).map(|authority| vec![authority])
    }

    /// Who decided about what is published of a role.
    ///
    /// # Errors
    /// If there is no such role.
    pub fn authorities_now(&self, role: &str) -> Result<Vec<Authority>, RepoError> {
        if role == ROOT {
            let both = self.roots.iter().rev().take(2);
            return both.map(|root| of_root(&root.root()?, ROOT)).collect();
        }
        self.authority(role, |role| self.current(role)).map(|authority| vec![authority])
    }

    fn authority<'a>(
        &'a self,
        role: &str,
        of: impl Fn(&str) -> Option<&'a Envelope>,
    ) -> Result<Authority, RepoError> {
        let none = || RepoError::Impossible(format!("there is no role {role}"));
        if [TARGETS, SNAPSHOT, TIMESTAMP].contains(&role) {
            return of_root(&of(ROOT).ok_or_else(none)?.root()?, role);
        }
        let targets = of(TARGETS).ok_or_else(none)?.targets()?;
        let keys = targets.role(role).ok_or_else(none)?.keys.clone();
        let whose = format!("targets {}", targets.version);
        let known = targets.delegations.unwrap_or_default().keys;
        Ok(Authority { whose, role: keys, keys: known })
    }

    /// Forgets what is staged of a role.
    ///
    /// # Errors
    /// If nothing is.
    pub fn drop_staged(&mut self, role: &str) -> Result<(), RepoError> {
        let nothing = || RepoError::NothingToDo(format!("nothing of role {role} is staged"));
        self.staged.remove(role).map(drop).ok_or_else(nothing)
    }

    /// How far the metadata that is next of a role is signed.
    ///
    /// # Errors
    /// If there is no such role.
    pub fn progress(&self, role: &str) -> Result<Vec<Progress>, RepoError> {
        let authorities = self.authorities(role)?;
        let envelope = self.next(role);
        Ok(authorities.iter().map(|authority| authority.progress(envelope)).collect())
    }

    /// Adds signatures to what is staged: all of them, or none and the reason.
    ///
    /// # Errors
    /// If one is over other bytes, of a key that may not sign, or wrong.
    pub fn merge(&mut self, signatures: &[SignatureFile]) -> Result<(), RepoError> {
        let mut merged = self.staged.clone();
        for file in signatures {
            let role = &file.role;
            let Some(envelope) = merged.get_mut(role) else {
                return Err(match self.current(role) {
                    Some(now) if now.digest() == file.digest => RepoError::NothingToDo(format!(
                        "role {role} version {} is published already",
                        file.version
                    )),
                    _ => RepoError::OtherBytes(format!("nothing of role {role} is staged")),
                });
            };
            let digest = envelope.digest();
            if digest != file.digest {
                return Err(RepoError::OtherBytes(format!(
                    "the signature is over {} and staged is {digest}: role {role} was changed \
                     after it was signed",
                    file.digest
                )));
            }
            let id = file.key.id();
            if !self.authorities(role)?.iter().any(|authority| authority.role.has(&id)) {
                return Err(RepoError::WrongRole(id.to_string(), role.clone()));
            }
            if !file.key.verifies(envelope.canonical(), &file.signature) {
                let text = format!("what claims to be a signature of key {id} is none");
                return Err(RepoError::WrongSignature(text));
            }
            envelope.sign(&id, &file.signature);
        }
        self.staged = merged;
        Ok(())
    }
}

impl Authority {
    /// Refuses metadata with fewer valid signatures of distinct keys than the threshold.
    ///
    /// # Errors
    /// Then.
    pub fn check(&self, role: &str, envelope: &Envelope) -> Result<(), RepoError> {
        let count = envelope.signers(&self.role, &self.keys).len();
        match count >= self.role.threshold {
            true => Ok(()),
            false => Err(RepoError::BelowThreshold {
                role: role.to_owned(),
                count,
                threshold: self.role.threshold,
                authority: self.whose.clone(),
            }),
        }
    }

    /// How far metadata is signed.
    #[must_use]
    pub fn progress(&self, envelope: Option<&Envelope>) -> Progress {
        let signers = envelope.map(|envelope| envelope.signers(&self.role, &self.keys));
        let signers = signers.unwrap_or_default();
        let (signed, missing) = self.role.keyids.iter().partition(|id| signers.contains(*id));
        let titles = |ids: Vec<&String>| ids.into_iter().map(|id| self.title(id)).collect();
        Progress {
            whose: self.whose.clone(),
            threshold: self.role.threshold,
            signed: titles(signed),
            missing: titles(missing),
        }
    }

    /// What to call a key: its name and the first 16 digits of its id.
    #[must_use]
    pub fn title(&self, id: &str) -> String {
        title(id, &self.keys)
    }
}

/// What to call a key: its name and the first 16 digits of its id.
fn title(id: &str, keys: &BTreeMap<String, Value>) -> String {
    // 64 bits: of 32, somebody would make a key to look like another's.
    let short = id.get(..16).unwrap_or(id);
    let name = keys.get(id).and_then(NamedKey::from_tuf).map(|key| key.name).unwrap_or_default();
    match changes::plain(&name) {
        name if name.is_empty() => format!("key {short}"),
        name => format!("{name} ({short})"),
    }
}

fn of_root(root: &Root, role: &str) -> Result<Authority, RepoError> {
    let keys = root.roles.get(role).cloned();
    let keys = keys.ok_or_else(|| RepoError::Impossible(format!("there is no role {role}")))?;
    Ok(Authority { whose: format!("root {}", root.version), role: keys, keys: root.keys.clone() })
}

/// Refuses roots that do not follow on each other from the first: each is signed by the one before
/// it and by itself.
fn check_roots(roots: &[Envelope]) -> Result<(), RepoError> {
    for (index, root) in roots.iter().enumerate() {
        let file = format!("root {}", index + 1);
        if usize::try_from(root.version()).ok() != Some(index + 1) {
            return Err(document::malformed(&file, "it says that it has another version"));
        }
        of_root(&root.root()?, ROOT)?.check(&file, root)?;
        if let Some(before) = index.checked_sub(1).and_then(|before| roots.get(before)) {
            of_root(&before.root()?, ROOT)?.check(&file, root)?;
        }
    }
    Ok(())
}

fn read(files: &dyn Files, path: &str, len_max: u64) -> Result<Option<Vec<u8>>, RepoError> {
    files.read(path, len_max).map_err(|error| RepoError::Io(path.to_owned(), error))
}

/// Where the staged metadata of a role lies.
#[must_use]
pub fn staged_path(role: &str) -> String {
    format!("{STAGED}/{role}.json")
}

/// The id of a key as a text, if it is one: 64 hexadecimal digits, or the first of them.
#[must_use]
pub fn is_key(id: &KeyId, text: &str) -> bool {
    text.len() >= 8 && id.as_str().starts_with(&text.to_lowercase())
}

/// When a change is made and until when it shall be valid.
#[derive(Debug, Clone, Copy)]
pub struct When {
    /// The time of the change.
    pub now: Timestamp,
    /// When it expires; if not given, after the usual time of the role.
    pub expires: Option<Timestamp>,
}

impl When {
    /// When metadata of a role that is made now expires. Whole seconds, as TUF writes them.
    #[must_use]
    pub fn expires_of(&self, role: &str) -> Timestamp {
        let days: i64 = match role {
            // Vessels are gone for weeks: site profiles say how stale each may be.
            TIMESTAMP => 7,
            SNAPSHOT => 30,
            ROOT => 730,
            _ => 365,
        };
        let at = self.expires.map_or(self.now.as_second() + days * 86_400, Timestamp::as_second);
        Timestamp::from_second(at).unwrap_or(Timestamp::MAX)
    }
}
