//! Changes of a repository: each stages new metadata, of the version after what is published.
//! What was staged of a role before is built upon; its signatures go, since its bytes change.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::document::{DelegatedRole, Delegations, Envelope, NamedKey, RoleKeys, Root};
use super::document::{TargetFile, Targets};
use super::error::RepoError;
use super::{ROOT, Repo, SNAPSHOT, TARGETS, TIMESTAMP, When};
use crate::key::KeyId;
use crate::limits::{GROUP_LEN_MAX, PRODUCT_LEN_MAX, VERSION_LEN_MAX};
use crate::profile::Profile;
use crate::target::{Custom, Kind, Severity, paths_of, role_of};

/// Keys and threshold that a role shall have.
#[derive(Debug, Clone)]
pub struct RoleSetup {
    /// Its keys.
    pub keys: Vec<NamedKey>,
    /// How many of them must sign.
    pub threshold: usize,
}

/// The four top-level roles of a new repository.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Signs roots.
    pub root: RoleSetup,
    /// Says who signs for which group.
    pub targets: RoleSetup,
    /// Says which versions belong together.
    pub snapshot: RoleSetup,
    /// Says what is newest.
    pub timestamp: RoleSetup,
}

/// A change of the keys of a role.
#[derive(Debug, Clone, Default)]
pub struct KeyChange {
    /// Keys that it gets.
    pub add: Vec<NamedKey>,
    /// Keys that it loses.
    pub remove: Vec<KeyId>,
    /// Its threshold, if that changes.
    pub threshold: Option<usize>,
}

impl Repo {
    /// A new repository: root and targets of version 1, staged.
    ///
    /// # Errors
    /// If a role has no keys, one key twice, or a threshold that they cannot meet.
    pub fn init(setup: &Setup, when: &When) -> Result<Self, RepoError> {
        let mut root = Root::new(when.expires_of(ROOT));
        for (name, role) in [
            (ROOT, &setup.root),
            (TARGETS, &setup.targets),
            (SNAPSHOT, &setup.snapshot),
            (TIMESTAMP, &setup.timestamp),
        ] {
            let mut keys = RoleKeys { threshold: role.threshold, ..RoleKeys::default() };
            add_keys(name, &mut keys, &mut root.keys, &role.keys)?;
            root.roles.insert(name.to_owned(), keys);
        }
        let mut repo = Self::default();
        repo.staged.insert(ROOT.to_owned(), root.envelope()?);
        let targets = Targets::new(when.expires_of(TARGETS));
        repo.staged.insert(TARGETS.to_owned(), targets.envelope()?);
        Ok(repo)
    }

    /// Makes a group with these keys, or gives one that there is these keys instead of its own.
    ///
    /// # Errors
    /// If the name is none, or the keys cannot meet the threshold.
    pub fn set_group(
        &mut self,
        group: &str,
        setup: &RoleSetup,
        when: &When,
    ) -> Result<(), RepoError> {
        check_word("group", group, GROUP_LEN_MAX, |c| matches!(c, 'a'..='z' | '0'..='9' | '-'))
            .map_err(RepoError::Impossible)?;
        let name = role_of(group);
        if self.current(&name).is_some() && !self.is_delegated(&name)? {
            return Err(RepoError::Impossible(format!(
                "group {group} was removed, and devices remember its versions: take another name"
            )));
        }
        self.stage_targets(TARGETS, when, |targets| {
            let Delegations { keys, roles } = targets.delegations.get_or_insert_default();
            let mut role = RoleKeys { threshold: setup.threshold, ..RoleKeys::default() };
            add_keys(&name, &mut role, keys, &setup.keys)?;
            roles.retain(|role| role.name != name);
            let paths = vec![paths_of(group)];
            roles.push(DelegatedRole { name: name.clone(), keys: role, paths, terminating: true });
            roles.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(())
        })?;
        if self.next(&name).is_none() {
            self.stage_targets(&name, when, |_| Ok(()))?;
        }
        self.follow(when)
    }

    /// Removes a group: nobody signs for it from then on, and its devices are offered nothing. The
    /// snapshot goes on naming its last metadata, since devices refuse one in which a role is
    /// missing that they saw (TUF 5.5.5); for the same reason the name is not used again.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn remove_group(&mut self, group: &str, when: &When) -> Result<(), RepoError> {
        let name = self.group_role(group)?;
        self.stage_targets(TARGETS, when, |targets| {
            let roles = &mut targets.delegations.get_or_insert_default().roles;
            roles.retain(|role| role.name != name);
            Ok(())
        })?;
        self.staged.remove(&name);
        self.follow(when)
    }

    /// Changes the keys of a role.
    ///
    /// # Errors
    /// If there is no such role, it has not the keys that it shall lose, has those that it shall
    /// get, or could not meet its threshold.
    pub fn change_keys(
        &mut self,
        role: &str,
        change: &KeyChange,
        when: &When,
    ) -> Result<(), RepoError> {
        let edit = |keys: &mut RoleKeys, known: &mut BTreeMap<_, _>| {
            for id in &change.remove {
                if !keys.keyids.remove(id.as_str()) {
                    let text = format!("role {role} has no key {id}");
                    return Err(RepoError::NothingToDo(text));
                }
            }
            add_keys(role, keys, known, &change.add)?;
            keys.threshold = change.threshold.unwrap_or(keys.threshold);
            Ok(())
        };
        let none = || RepoError::Impossible(format!("there is no role {role}"));
        if [ROOT, TARGETS, SNAPSHOT, TIMESTAMP].contains(&role) {
            self.stage_root(when, |root| {
                edit(root.roles.get_mut(role).ok_or_else(none)?, &mut root.keys)
            })?;
        } else {
            self.stage_targets(TARGETS, when, |targets| {
                let Delegations { keys, roles } = targets.delegations.get_or_insert_default();
                let found = roles.iter_mut().find(|found| found.name == role);
                edit(&mut found.ok_or_else(none)?.keys, keys)
            })?;
        }
        self.follow(when)
    }

    /// Takes a key from every role that has it; `replacement` takes its place. Says from which.
    ///
    /// # Errors
    /// If no role has it, or one could not meet its threshold without it.
    pub fn revoke(
        &mut self,
        key: &KeyId,
        replacement: Option<&NamedKey>,
        when: &When,
    ) -> Result<Vec<String>, RepoError> {
        let mut roles: Vec<String> = [ROOT, TARGETS, SNAPSHOT, TIMESTAMP].map(str::to_owned).into();
        roles.extend(self.groups()?.iter().map(|group| role_of(group)));
        let mut with_key = Vec::new();
        for role in roles {
            if self.authority_next(&role)?.has(key) {
                with_key.push(role);
            }
        }
        if with_key.is_empty() {
            return Err(RepoError::NothingToDo(format!("no role has key {key}")));
        }
        for role in &with_key {
            let has = self.authority_next(role)?;
            let add: Vec<_> =
                replacement.filter(|new| !has.has(&new.key.id())).cloned().into_iter().collect();
            let left = has.keyids.len() - 1 + add.len();
            if left < has.threshold {
                return Err(RepoError::Impossible(format!(
                    "role {role} would have {left} keys and a threshold of {}",
                    has.threshold
                )));
            }
            let change = KeyChange { add, remove: vec![key.clone()], threshold: None };
            self.change_keys(role, &change, when)?;
        }
        Ok(with_key)
    }

    /// Stages a role as it is, with a later expiry.
    ///
    /// # Errors
    /// If there is no such role, or it is one that `publish` renews.
    pub fn renew(&mut self, role: &str, when: &When) -> Result<(), RepoError> {
        match role {
            ROOT => self.stage_root(when, |_| Ok(())),
            SNAPSHOT | TIMESTAMP => {
                let text = format!("role {role} is made anew whenever something is published");
                Err(RepoError::Impossible(text))
            }
            _ if self.next(role).is_none() || self.authorities(role).is_err() => {
                Err(RepoError::Impossible(format!("there is no role {role}")))
            }
            _ => self.stage_targets(role, when, |_| Ok(())),
        }
    }

    /// Offers files to the devices of a group.
    ///
    /// # Errors
    /// If there is no such group, or a path is not one that it may name.
    pub fn add_targets(
        &mut self,
        group: &str,
        files: BTreeMap<String, TargetFile>,
        when: &When,
    ) -> Result<(), RepoError> {
        for (path, file) in &files {
            check_target(group, path, file)
                .map_err(|why| RepoError::Impossible(format!("{path}: {why}")))?;
        }
        let role = self.group_role(group)?;
        self.stage_targets(&role, when, |targets| {
            targets.targets.extend(files);
            Ok(())
        })
    }

    /// Gives the site of a group's devices a new profile in place of the one before: the content of
    /// the blob, which must be in the depot before this is staged.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn set_profile(
        &mut self,
        group: &str,
        profile: &Profile,
        when: &When,
    ) -> Result<Vec<u8>, RepoError> {
        let content = profile.bytes();
        let role = self.group_role(group)?;
        let targets = self.next(&role).map(Envelope::targets).transpose()?;
        let old = targets.into_iter().flat_map(|targets| targets.targets);
        let is_profile =
            |file: &TargetFile| file.custom().map(|c| c.kind) == Some(Kind::SiteProfile);
        let old = old.filter(|(_, file)| is_profile(file));
        let old: Vec<String> = old.map(|(path, _)| path).collect();
        let number = |path: &String| path.split('/').nth(3).and_then(|number| number.parse().ok());
        let highest: u32 = old.iter().filter_map(number).max().unwrap_or(0);
        let custom = Custom {
            blake3: blake3::hash(&content).to_hex().to_string(),
            kind: Kind::SiteProfile,
            from: None,
            to: None,
            to_len: None,
            content: None,
            product: "site".to_owned(),
            version: highest.saturating_add(1).to_string(),
            security_epoch: 0,
            severity: Severity::None,
            sbom: None,
            advisory: None,
            hardware: Vec::new(),
            requires: Vec::new(),
        };
        let path = format!("g/{group}/site/{}/profile", custom.version);
        let sha256 = hex::encode(Sha256::digest(&content));
        let len = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let file = TargetFile::new(len, &sha256, &custom)?;
        self.remove_targets(group, &old, when)?;
        self.add_targets(group, BTreeMap::from([(path, file)]), when)?;
        self.profiles.insert(sha256, String::from_utf8_lossy(&content).into_owned());
        Ok(content)
    }

    /// Withdraws files from the devices of a group.
    ///
    /// # Errors
    /// If there is no such group or file.
    pub fn remove_targets(
        &mut self,
        group: &str,
        paths: &[String],
        when: &When,
    ) -> Result<(), RepoError> {
        let role = self.group_role(group)?;
        self.stage_targets(&role, when, |targets| {
            for path in paths {
                if targets.targets.remove(path).is_none() {
                    let text = format!("group {group} is not offered {path}");
                    return Err(RepoError::NothingToDo(text));
                }
            }
            Ok(())
        })
    }

    /// Whether published `targets` let somebody sign for a role.
    pub(super) fn is_delegated(&self, role: &str) -> Result<bool, RepoError> {
        let targets = self.current(TARGETS).map(Envelope::targets).transpose()?;
        Ok(targets.is_some_and(|targets| targets.role(role).is_some()))
    }

    pub(super) fn group_role(&self, group: &str) -> Result<String, RepoError> {
        match self.groups()?.iter().any(|known| known == group) {
            true => Ok(role_of(group)),
            false => Err(RepoError::Impossible(format!("there is no group {group}"))),
        }
    }

    fn authority_next(&self, role: &str) -> Result<RoleKeys, RepoError> {
        if role == ROOT {
            let root = self.next(ROOT).ok_or(RepoError::Missing)?.root()?;
            return Ok(root.roles.get(ROOT).cloned().unwrap_or_default());
        }
        let authorities = self.authorities(role)?;
        Ok(authorities.into_iter().next().map(|authority| authority.role).unwrap_or_default())
    }

    fn stage_root(
        &mut self,
        when: &When,
        edit: impl FnOnce(&mut Root) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let mut root = self.next(ROOT).ok_or(RepoError::Missing)?.root()?;
        edit(&mut root)?;
        root.drop_unused_keys();
        root.version = self.version_after(ROOT);
        root.expires = when.expires_of(ROOT);
        let envelope = root.envelope()?;
        self.stage(ROOT, envelope);
        Ok(())
    }

    pub(super) fn stage_targets(
        &mut self,
        role: &str,
        when: &When,
        edit: impl FnOnce(&mut Targets) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let next = self.next(role).map(Envelope::targets).transpose()?;
        let mut targets = next.unwrap_or_else(|| Targets::new(when.expires_of(role)));
        edit(&mut targets)?;
        targets.drop_unused_keys();
        targets.version = self.version_after(role);
        targets.expires = when.expires_of(role);
        let envelope = targets.envelope()?;
        self.stage(role, envelope);
        Ok(())
    }

    /// Stages metadata, unless the same is staged already, with signatures perhaps.
    fn stage(&mut self, role: &str, envelope: Envelope) {
        let same = |staged: &Envelope| staged.canonical() == envelope.canonical();
        if !self.staged.get(role).is_some_and(same) {
            self.staged.insert(role.to_owned(), envelope);
        }
    }

    fn version_after(&self, role: &str) -> u64 {
        self.current(role).map_or(1, |envelope| envelope.version().saturating_add(1))
    }

    /// After keys changed: what is published and would no longer be signed by enough of them is
    /// staged to be signed anew, and signatures of keys that lost their role go.
    fn follow(&mut self, when: &When) -> Result<(), RepoError> {
        let mut roles = vec![TARGETS.to_owned()];
        roles.extend(self.groups()?.iter().map(|group| role_of(group)));
        for role in roles {
            let authorities = self.authorities(&role)?;
            if let Some(staged) = self.staged.get_mut(&role) {
                let may = |id: &str| authorities.iter().any(|a| a.role.keyids.contains(id));
                staged.keep_signatures(may);
            } else if let Some(current) = self.current(&role)
                && authorities.iter().any(|authority| authority.check(&role, current).is_err())
            {
                self.stage_targets(&role, when, |_| Ok(()))?;
            }
        }
        Ok(())
    }
}

/// Why a group's role may not offer this file, if it may not.
pub(super) fn check_target(group: &str, path: &str, file: &TargetFile) -> Result<(), String> {
    let parts: Vec<_> = path.split('/').collect();
    let ["g", of_group, product, version, name] = parts[..] else {
        return Err(format!("expected g/{group}/PRODUCT/VERSION/NAME"));
    };
    if of_group != group {
        return Err(format!("it is not of group {group}"));
    }
    let is_product = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    let is_version = |c: char| c.is_ascii_alphanumeric() || ".+~_-".contains(c);
    check_word("product", product, PRODUCT_LEN_MAX, is_product)?;
    check_word("version", version, VERSION_LEN_MAX, is_version)?;
    check_word("name", name, VERSION_LEN_MAX, is_version)?;
    let sha256 = file.hashes.get("sha256").and_then(|digits| hex::decode(digits).ok());
    if sha256.is_none_or(|digest| digest.len() != 32) {
        return Err("it has no SHA-256".to_owned());
    }
    let Some(custom) = file.custom() else { return Ok(()) };
    if custom.product != product || custom.version != version {
        return Err("its path and its description name different versions".to_owned());
    }
    if file.custom.as_ref().is_some_and(|value| value.to_string().len() > CUSTOM_LEN_MAX) {
        return Err(format!("its description is longer than {CUSTOM_LEN_MAX} bytes"));
    }
    Ok(())
}

/// Longest description of a file: an advisory of some pages.
const CUSTOM_LEN_MAX: usize = 64 << 10;

fn check_word(
    what: &str,
    word: &str,
    len_max: usize,
    may: impl Fn(char) -> bool,
) -> Result<(), String> {
    let is_dots = word == "." || word == "..";
    match (1..=len_max).contains(&word.len()) && word.chars().all(may) && !is_dots {
        true => Ok(()),
        false => Err(format!("`{}` is no {what}", super::changes::plain(word))),
    }
}

/// Adds keys to a role, and to those that are known. None may be there already: one key must not
/// count twice.
fn add_keys(
    role: &str,
    keys: &mut RoleKeys,
    known: &mut BTreeMap<String, serde_json::Value>,
    add: &[NamedKey],
) -> Result<(), RepoError> {
    let mut names: BTreeSet<_> = BTreeSet::new();
    for named in add {
        let id = named.key.id().to_string();
        if !keys.keyids.insert(id.clone()) || !names.insert(id.clone()) {
            return Err(RepoError::Impossible(format!(
                "role {role} would have key {id} twice, and one key counts once"
            )));
        }
        known.entry(id).or_insert_with(|| named.tuf());
    }
    Ok(())
}
