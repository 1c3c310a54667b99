//! What a device remembers of a group's profile: what counts where a carrier does not show the
//! group, or not its profile. Whoever carries files can leave out any of them.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::offer::{CustomError, Offer};
use super::refusal::Refusal;
use super::role;
use super::workflow::load;
use crate::profile::Profile;
use crate::state::State;
use crate::target::{Kind, role_of};

/// What is kept of a group's profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptProfile {
    /// The last one that was read and verified, unless the group has none any more.
    pub profile: Option<Profile>,
    /// Whether the group's role, as it was accepted last, signs another one than that, which may
    /// ask for more; or cannot tell.
    pub is_outdated: bool,
}

/// What is kept of a group's profile.
///
/// # Errors
/// [`Refusal::State`]: if what is kept cannot be read.
pub fn kept_profile(state: &dyn State, group: &str) -> Result<KeptProfile, Refusal> {
    let bytes = load(state, &profile_name(group))?;
    let role = load(state, &format!("{}.json", role_of(group)))?;
    let profile = bytes.as_deref().and_then(|bytes| Profile::parse(bytes).ok());
    let Some(role) = role else {
        return Ok(KeptProfile { profile, is_outdated: bytes.is_some() });
    };
    let signed = match role::kept_targets(&role) {
        Some(targets) => signed_profile(group, &targets),
        None => Signed::Unknown,
    };
    Ok(match signed {
        Signed::None => KeptProfile::default(),
        Signed::Profile { sha256 } => {
            let is_it = |bytes: Vec<u8>| hex::encode(Sha256::digest(bytes)) == sha256;
            let is_outdated = profile.is_none() || !bytes.is_some_and(is_it);
            KeptProfile { profile, is_outdated }
        }
        Signed::Unknown => KeptProfile { profile, is_outdated: true },
    })
}

/// What the kept profile of a group is called in a state.
pub(super) fn profile_name(group: &str) -> String {
    format!("site-profile.{group}")
}

/// The profile that a role signs.
enum Signed {
    None,
    Profile {
        sha256: String,
    },
    /// There is one that this program does not understand.
    Unknown,
}

fn signed_profile(group: &str, targets: &BTreeMap<String, Result<Offer, CustomError>>) -> Signed {
    let folder = format!("g/{group}/site/");
    let of_site = |path: &String| path.starts_with(&folder);
    if targets.iter().any(|(path, target)| target.is_err() && of_site(path)) {
        return Signed::Unknown;
    }
    let offers = targets.values().filter_map(|target| target.as_ref().ok());
    current(offers).map_or(Signed::None, |offer| Signed::Profile { sha256: offer.sha256.clone() })
}

/// The profile that counts among what is offered: that of the highest number.
pub(super) fn current<'a>(offers: impl Iterator<Item = &'a Offer>) -> Option<&'a Offer> {
    let profiles = offers.filter(|offer| offer.custom.kind == Kind::SiteProfile);
    profiles.max_by_key(|offer| offer.custom.version.parse::<u32>().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::{Ask, check};
    use crate::fixture::Repository;
    use crate::state::MemoryState;
    use crate::time::{Clock, Timestamp};

    fn profile(days: u32) -> Value {
        json!({"neap_profile": 1, "site": "MV Aurora", "stale_days": days})
    }

    fn now() -> Timestamp {
        "2026-11-01T00:00:00Z".parse().expect("a time")
    }

    /// A device that accepted a profile for some days.
    fn device(repository: &mut Repository, days: u32) -> MemoryState {
        repository.group("bridge");
        repository.profile("bridge", 1, &profile(days));
        repository.publish(&["g.bridge", "targets"]);
        let mut state = MemoryState::default();
        accept(repository, &mut state);
        state
    }

    fn accept(repository: &Repository, state: &mut MemoryState) -> Option<Profile> {
        let root = repository.first_root();
        let clock = Clock { rtc: Some(now()), build: now() };
        let ask = Ask { groups: &["bridge"], root: Some(&root), clock, seen: None };
        let checked = check(&repository.files, state, &ask).expect("verified");
        checked.groups[0].profile.clone()
    }

    fn days(kept: &KeptProfile) -> (Option<u32>, bool) {
        (kept.profile.as_ref().map(|profile| profile.stale_days), kept.is_outdated)
    }

    fn kept(state: &MemoryState) -> (Option<u32>, bool) {
        days(&kept_profile(state, "bridge").expect("memory can be read"))
    }

    /// Cause: the kept profile was removed where a newer one was signed and not brought. Effect: a
    /// device that had known its site forgot it. Cure: it stays, and counts as outdated.
    #[test]
    fn profile_whose_newer_one_was_not_brought_is_kept_as_outdated() {
        let mut repository = Repository::new(now());
        assert_eq!(kept(&MemoryState::default()), (None, false));
        let mut state = device(&mut repository, 90);
        assert_eq!(kept(&state), (Some(90), false));
        repository.profile("bridge", 2, &profile(7));
        repository.publish(&["g.bridge"]);
        let blobs = std::mem::take(&mut repository.files.blobs);
        assert_eq!(accept(&repository, &mut state), None, "the one that counts is not there");
        assert_eq!(kept(&state), (Some(90), true));
        repository.files.blobs = blobs;
        assert!(accept(&repository, &mut state).is_some());
        assert_eq!(kept(&state), (Some(7), false));
    }

    #[test]
    fn profile_that_is_signed_and_not_kept_or_not_understood_is_outdated() {
        let mut repository = Repository::new(now());
        let whole = device(&mut repository, 90);
        let without = |name: &str| {
            let mut state = whole.clone();
            state.0.remove(name).expect("it was kept");
            kept(&state)
        };
        assert_eq!(without("site-profile.bridge"), (None, true));
        assert_eq!(without("g.bridge.json"), (Some(90), true));
        let with = |name: &str, bytes: &[u8]| {
            let mut state = whole.clone();
            state.0.insert(name.into(), bytes.into());
            kept(&state)
        };
        assert_eq!(with("site-profile.bridge", b"{}"), (None, true));
        assert_eq!(with("g.bridge.json", b"{}"), (Some(90), true));
        let role = String::from_utf8(whole.0["g.bridge.json"].clone()).expect("text");
        let later = role.replace("\"site-profile\"", "\"site-profile-2\"");
        assert_ne!(later, role);
        assert_eq!(with("g.bridge.json", later.as_bytes()), (Some(90), true));
    }

    #[test]
    fn profile_that_is_no_longer_signed_does_not_count() {
        let mut repository = Repository::new(now());
        repository.group("bridge");
        repository.publish(&["g.bridge", "targets"]);
        let mut state = MemoryState::default();
        assert_eq!(accept(&repository, &mut state), None);
        assert_eq!(kept(&state), (None, false));
        // A cut between the role and the removal of what it does not sign any more.
        let bytes = profile(90).to_string().into_bytes();
        state.0.insert("site-profile.bridge".into(), bytes);
        assert_eq!(kept(&state), (None, false));
    }
}
