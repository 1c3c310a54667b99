//! Roles that targets delegate to: of groups, and of any TUF repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sigstore_tuf::{DelegatedRole, Key, Metadata, RoleKeys, TargetFile, Targets};

use super::refusal::{Refusal, of_core};
use super::role::{RoleError, SignedRole, Signers};
use super::workflow::{Workflow, load, pinned_max, unpinned};
use crate::limits::{DELEGATIONS_MAX, TARGETS_LEN_MAX};

impl Workflow<'_> {
    /// Reads and verifies a role that `delegator` delegates to; `None` where the snapshot names no
    /// such role.
    ///
    /// # Errors
    /// If it is not as it must be.
    pub fn delegated(&mut self, role: &str, delegator: &str) -> Result<Option<&Targets>, Refusal> {
        let file = format!("{}.json", encoded(role));
        let now = self.now();
        if self.trusted.targets_role(role).is_some() {
            // Reached by another delegator before, it must satisfy this one as well.
            return match self.trusted.verify_delegated_targets(role, delegator, now) {
                Ok(_) => Ok(self.trusted.targets_role(role)),
                Err(error) => Err(self.refusal(error, &file)),
            };
        }
        let Some(pin) = self.pin(role) else { return Ok(None) };
        if let Some(kept) = load(self.state, &file)?
            && self.trusted.update_delegated_targets(&kept, role, delegator, now).is_ok()
        {
            return Ok(self.trusted.targets_role(role));
        }
        let name = self.versioned(&file, pin.version);
        let bytes = self.read(&name, pinned_max(&pin, TARGETS_LEN_MAX))?;
        let refused = self.trusted.update_delegated_targets(&bytes, role, delegator, now).err();
        if let Some(error) = refused {
            let is_signed = || self.is_signed_by(&bytes, role, delegator);
            return Err(self.judged(error, &name, &bytes, &pin, is_signed));
        }
        self.keep(&file, &bytes)?;
        Ok(self.trusted.targets_role(role))
    }

    /// Reads and verifies the role of a group, typing its targets; `None` where the snapshot does
    /// not name it.
    ///
    /// # Errors
    /// If it is not as it must be.
    pub(crate) fn signed_role(&mut self, role: &str) -> Result<Option<SignedRole>, Refusal> {
        let file = format!("{role}.json");
        let targets = self.trusted.targets_role("targets");
        let delegations = targets.and_then(|targets| targets.delegations.as_ref());
        let delegated = self.delegation(role)?;
        let (Some(pin), Some(delegations), Some(delegated)) =
            (self.pin(role), delegations, delegated)
        else {
            return Ok(None);
        };
        let of_role = delegated.keyids.iter().filter_map(|id| delegations.keys.get_key_value(id));
        let keys = of_role.map(|(id, key)| (id.clone(), key.clone())).collect();
        let signers = Signers { keys, needed: delegated.role_keys() };
        if let Some(kept) = load(self.state, &file)?
            && let Ok(read) = SignedRole::read(&file, &kept, Some(&pin), role, &signers)
            && read.expires >= self.now()
        {
            return Ok(Some(read));
        }
        let name = self.versioned(&file, pin.version);
        let bytes = self.read(&name, pinned_max(&pin, TARGETS_LEN_MAX))?;
        let read = match SignedRole::read(&name, &bytes, Some(&pin), role, &signers) {
            Ok(read) => read,
            Err(RoleError::Refused(refusal)) => return Err(refusal),
            Err(RoleError::Pin(why)) => {
                let is_signed = || SignedRole::read(&name, &bytes, None, role, &signers).is_ok();
                return Err(unpinned(why, &name, &bytes, &pin, is_signed));
            }
        };
        if read.expires < self.now() {
            return Err(self.expired(role.to_owned(), read.expires));
        }
        self.keep(&file, &bytes)?;
        Ok(Some(read))
    }

    /// Finds a target, walking delegations depth first in their order (TUF 5.6.7).
    ///
    /// # Errors
    /// If a role on the way is not as it must be.
    pub fn find(&mut self, path: &str) -> Result<Option<TargetFile>, Refusal> {
        let mut to_visit = vec![("targets".to_owned(), "root".to_owned())];
        let mut visited = BTreeSet::new();
        while let Some((role, delegator)) = to_visit.pop() {
            if visited.contains(&role) || visited.len() >= DELEGATIONS_MAX {
                continue;
            }
            let targets = match role.as_str() {
                "targets" => self.trusted.targets_role("targets"),
                _ => self.delegated(&role, &delegator)?,
            };
            let Some(targets) = targets else { continue };
            if let Some(found) = targets.target(path) {
                return Ok(Some(found.clone()));
            }
            let delegations = targets.delegations.iter().flat_map(|all| &all.roles);
            let mut children = Vec::new();
            for child in delegations {
                let matches = child.matches_path(path).map_err(|error| of_core(error, &role))?;
                if is_top_level(&child.name) || !matches {
                    continue;
                }
                children.push((child.name.clone(), role.clone()));
                if child.terminating {
                    to_visit.clear();
                    break;
                }
            }
            visited.insert(role);
            to_visit.extend(children.into_iter().rev());
        }
        Ok(None)
    }

    /// How top-level targets delegate to a role.
    ///
    /// # Errors
    /// If they do so twice, or a delegation takes the name of a top-level role.
    pub(crate) fn delegation(&self, role: &str) -> Result<Option<&DelegatedRole>, Refusal> {
        let targets = self.trusted.targets_role("targets");
        let delegations = targets.and_then(|targets| targets.delegations.as_ref());
        let all = delegations.map_or(&[][..], |delegations| &delegations.roles);
        let role_fault = |role: &str, why: &str| {
            Err(Refusal::Role { role: role.to_owned(), why: why.to_owned() })
        };
        if let Some(taken) = all.iter().find(|delegated| is_top_level(&delegated.name)) {
            return role_fault(&taken.name, "is delegated by targets, and is a top-level role");
        }
        let mut found = all.iter().filter(|delegated| delegated.name == role);
        let first = found.next();
        if found.next().is_some() {
            return role_fault(role, "is delegated twice");
        }
        if let (Some(first), Some(delegations)) = (first, delegations) {
            sound(&delegations.keys, &first.role_keys(), role)?;
        }
        Ok(first)
    }

    /// Whether a delegated role's file has the signatures that it needs.
    fn is_signed_by(&self, bytes: &[u8], role: &str, delegator: &str) -> bool {
        let delegations = self.trusted.targets_role(delegator).and_then(|d| d.delegations.as_ref());
        delegations.is_some_and(|delegations| {
            let delegated = delegations.roles.iter().find(|delegated| delegated.name == role);
            let parsed = Metadata::<Targets>::from_slice(bytes).ok().zip(delegated);
            parsed.is_some_and(|(own, delegated)| {
                own.verify_threshold(&delegations.keys, &delegated.role_keys(), role).is_ok()
            })
        })
    }
}

/// Whether a role needs someone's signature, and each id stands for a key of its own. Ids are what
/// metadata calls keys; one key under two ids would let one person be two.
pub(super) fn sound(
    keys: &BTreeMap<String, Key>,
    signers: &RoleKeys,
    role: &str,
) -> Result<(), Refusal> {
    if signers.threshold == 0 {
        let why = "needs nobody's signature".to_owned();
        return Err(Refusal::Role { role: role.to_owned(), why });
    }
    let mut seen = BTreeMap::new();
    for id in &signers.keyids {
        let key = keys.get(id).and_then(|key| key.verification_key().ok());
        let Some(key) = key else { continue };
        if let Some(other) = seen.insert(key.as_bytes().to_vec(), id)
            && other != id
        {
            let why = format!("counts one key as two, under the ids {other} and {id}");
            return Err(Refusal::Role { role: role.to_owned(), why });
        }
    }
    Ok(())
}

fn is_top_level(role: &str) -> bool {
    ["root", "timestamp", "snapshot", "targets"].contains(&role)
}

/// The name of a role in file names: all but unreserved characters (RFC 3986 2.3) as `%XX`.
fn encoded(role: &str) -> String {
    let mut name = String::new();
    for byte in role.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                name.push(char::from(byte));
            }
            _ => drop(write!(name, "%{byte:02X}")),
        }
    }
    name
}
