//! Publication: what is staged and fully signed becomes what devices see, by one last write.
//!
//! Files of new names come first; no reader looks at them before `timestamp.json` names them. A
//! new root is read before all else, so where it goes depends on what it would refuse:
//! [`Repo::publish`] puts it where every state in between is one that devices accept, if there is
//! such a place.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::document::{Envelope, Listing, MetaFile, Root};
use super::error::RepoError;
use super::{METADATA, ROOT, Repo, SNAPSHOT, Step, TARGETS, TIMESTAMP, When, of_root, staged_path};
use crate::key::Signer;

/// What a publication does.
#[derive(Debug)]
pub struct Publication {
    /// The files to write, in this order.
    pub steps: Vec<Step>,
    /// Roles and the versions of them that devices see afterwards.
    pub published: Vec<(String, u64)>,
    /// What to know about it.
    pub warnings: Vec<String>,
}

/// Until when the online roles shall be valid, where not for the usual time.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnlineExpiry {
    /// The snapshot.
    pub snapshot: Option<Timestamp>,
    /// The timestamp.
    pub timestamp: Option<Timestamp>,
}

impl Repo {
    /// Publishes what is staged. `signers` have the keys of snapshot and timestamp; while those
    /// change, give the old ones too.
    ///
    /// # Errors
    /// If anything is below its threshold, expired, or does not follow on what is published.
    pub fn publish(
        &self,
        signers: &[&dyn Signer],
        now: Timestamp,
        expiry: OnlineExpiry,
    ) -> Result<Publication, RepoError> {
        if self.staged.is_empty() {
            return Err(RepoError::NothingToDo("nothing is staged".to_owned()));
        }
        let root = self.check_staged(now)?;
        let mut current = self.published.clone();
        for (role, envelope) in self.staged.iter().filter(|(role, _)| *role != ROOT) {
            current.insert(role.clone(), envelope.clone());
        }
        let roots = [self.roots.last(), self.staged.get(ROOT)];
        let roots: Vec<Root> =
            roots.into_iter().flatten().map(Envelope::root).collect::<Result<_, _>>()?;
        let meta = current.iter().map(|(role, file)| (format!("{role}.json"), MetaFile::of(file)));
        let expires = When { now, expires: expiry.snapshot }.expires_of(SNAPSHOT);
        let version = self.version_of_next(SNAPSHOT);
        let snapshot = Listing::new(SNAPSHOT, version, expires, meta.collect()).envelope()?;
        let snapshot = signed(SNAPSHOT, snapshot, &roots, signers)?;
        let timestamp = self.timestamp_of(&snapshot, &roots, signers, now, expiry)?;

        let mut steps = Vec::new();
        let mut published = Vec::new();
        for (role, envelope) in &self.staged {
            published.push((role.clone(), envelope.version()));
            if role != ROOT {
                steps.push(versioned(role, envelope));
            }
        }
        steps.push(versioned(SNAPSHOT, &snapshot));
        let switch = Step::Write(format!("{METADATA}/timestamp.json"), timestamp.bytes());
        published.push((SNAPSHOT.to_owned(), snapshot.version()));
        published.push((TIMESTAMP.to_owned(), timestamp.version()));
        let mut warnings = self.late_groups(&current, now)?;
        match self.staged.get(ROOT) {
            None => steps.push(switch),
            Some(new) => {
                let targets = current.get(TARGETS).ok_or(RepoError::Missing)?;
                let after = [(TARGETS, targets), (SNAPSHOT, &snapshot), (TIMESTAMP, &timestamp)];
                let is_root_first = self.is_root_first(&root, &after, &mut warnings)?;
                let root = versioned(ROOT, new);
                steps.extend(if is_root_first { [root, switch] } else { [switch, root] });
            }
        }
        steps.extend(self.staged_files.iter().map(|role| Step::Remove(staged_path(role))));
        Ok(Publication { steps, published, warnings })
    }

    /// Signs a new timestamp over the snapshot that is published.
    ///
    /// # Errors
    /// If nothing is published, or the signers are too few.
    pub fn refresh(
        &self,
        signers: &[&dyn Signer],
        now: Timestamp,
        expiry: OnlineExpiry,
    ) -> Result<Publication, RepoError> {
        let (Some(root), Some(snapshot)) = (self.roots.last(), &self.snapshot) else {
            return Err(RepoError::NothingToDo("nothing is published yet".to_owned()));
        };
        if snapshot.expires()? <= now {
            let text = "the snapshot has expired too: renew a role and publish it";
            return Err(RepoError::Expired(text.to_owned()));
        }
        let timestamp = self.timestamp_of(snapshot, &[root.root()?], signers, now, expiry)?;
        let path = format!("{METADATA}/timestamp.json");
        Ok(Publication {
            steps: vec![Step::Write(path, timestamp.bytes())],
            published: vec![(TIMESTAMP.to_owned(), timestamp.version())],
            warnings: self.late_groups(&self.published, now)?,
        })
    }

    /// Refuses what is staged unless all of it may be published, and says which root is newest.
    fn check_staged(&self, now: Timestamp) -> Result<Root, RepoError> {
        for (role, envelope) in &self.staged {
            let base = self.current(role).map_or(0, Envelope::version);
            if Some(envelope.version()) != base.checked_add(1) {
                return Err(RepoError::StaleBase(format!(
                    "version {} of role {role} is staged, and version {base} is published",
                    envelope.version()
                )));
            }
            not_expired(role, envelope, now)?;
        }
        let root = self.next(ROOT).ok_or(RepoError::Missing)?;
        not_expired(ROOT, root, now)?;
        let targets = self.next(TARGETS).ok_or(RepoError::Missing)?;
        not_expired(TARGETS, targets, now)?;
        let mut roles = Vec::from_iter(self.staged.contains_key(ROOT).then(|| ROOT.to_owned()));
        roles.push(TARGETS.to_owned());
        let delegations = targets.targets()?.delegations.unwrap_or_default();
        roles.extend(delegations.roles.into_iter().map(|role| role.name));
        for role in &roles {
            let missing = || RepoError::Impossible(format!("role {role} has no metadata"));
            let envelope = self.next(role).ok_or_else(missing)?;
            for authority in self.authorities(role)? {
                authority.check(role, envelope)?;
            }
        }
        if let Some(role) = self.staged.keys().find(|role| !roles.contains(role)) {
            return Err(RepoError::Impossible(format!("nobody may sign for role {role}")));
        }
        root.root()
    }

    fn timestamp_of(
        &self,
        snapshot: &Envelope,
        roots: &[Root],
        signers: &[&dyn Signer],
        now: Timestamp,
        expiry: OnlineExpiry,
    ) -> Result<Envelope, RepoError> {
        let meta = BTreeMap::from([("snapshot.json".to_owned(), MetaFile::of(snapshot))]);
        let expires = When { now, expires: expiry.timestamp }.expires_of(TIMESTAMP);
        let version = self.version_of_next(TIMESTAMP);
        let timestamp = Listing::new(TIMESTAMP, version, expires, meta).issued(now).envelope()?;
        not_expired(TIMESTAMP, &timestamp, now)?;
        signed(TIMESTAMP, timestamp, roots, signers)
    }

    fn version_of_next(&self, role: &str) -> u64 {
        self.current(role).map_or(1, |envelope| envelope.version().saturating_add(1))
    }

    /// Whether the new root goes before the switch: devices accept then what they see in between.
    fn is_root_first(
        &self,
        new: &Root,
        after: &[(&str, &Envelope); 3],
        warnings: &mut Vec<String>,
    ) -> Result<bool, RepoError> {
        let Some(old) = self.roots.last() else { return Ok(true) };
        let old = old.root()?;
        let accepts = |root: &Root, role: &str, envelope: &Envelope| {
            of_root(root, role).is_ok_and(|authority| authority.check(role, envelope).is_ok())
        };
        let before = [TARGETS, SNAPSHOT, TIMESTAMP]
            .into_iter()
            .filter_map(|role| self.current(role).map(|envelope| (role, envelope)));
        if before.into_iter().all(|(role, envelope)| accepts(new, role, envelope)) {
            return Ok(true);
        }
        if after.iter().all(|(role, envelope)| accepts(&old, role, envelope)) {
            return Ok(false);
        }
        warnings.push(
            "devices that look while this is published are refused, and succeed at their next \
             try: keys change, and the old ones did not sign too"
                .to_owned(),
        );
        Ok(true)
    }

    /// Groups whose metadata has expired: devices of other groups do not care.
    fn late_groups(
        &self,
        current: &BTreeMap<String, Envelope>,
        now: Timestamp,
    ) -> Result<Vec<String>, RepoError> {
        let targets = current.get(TARGETS).ok_or(RepoError::Missing)?.targets()?;
        // No device follows the role of a group that was removed.
        let is_followed = |role: &str| role == TARGETS || targets.role(role).is_some();
        let mut warnings = Vec::new();
        for (role, envelope) in current.iter().filter(|(role, _)| is_followed(role)) {
            let expires = envelope.expires()?;
            if expires <= now {
                warnings.push(format!("role {role} expired at {expires}: renew it"));
            }
        }
        Ok(warnings)
    }
}

/// Signs with every signer whose key has the role in any of these roots; the last one's threshold
/// must be met.
fn signed(
    role: &str,
    mut envelope: Envelope,
    roots: &[Root],
    signers: &[&dyn Signer],
) -> Result<Envelope, RepoError> {
    for signer in signers {
        let id = signer.public().id();
        if roots.iter().any(|root| root.roles.get(role).is_some_and(|keys| keys.has(&id))) {
            let signature = crate::key::sign_checked(*signer, envelope.canonical())?;
            envelope.sign(&id, &signature);
        }
    }
    let newest = roots.last().ok_or(RepoError::Missing)?;
    of_root(newest, role)?.check(role, &envelope)?;
    Ok(envelope)
}

fn versioned(role: &str, envelope: &Envelope) -> Step {
    let version = envelope.version();
    Step::Write(format!("{METADATA}/{version}.{role}.json"), envelope.bytes())
}

fn not_expired(role: &str, envelope: &Envelope, now: Timestamp) -> Result<(), RepoError> {
    let expires = envelope.expires()?;
    match expires > now {
        true => Ok(()),
        false => {
            let version = envelope.version();
            let text = format!("role {role} version {version} expired at {expires}");
            Err(RepoError::Expired(text))
        }
    }
}
