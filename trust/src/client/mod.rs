//! What a device may install from a carrier, and that nobody tampered with, withheld or replayed
//! it. No function here asks a clock or the network: bytes come from a [`Carrier`], the time from a
//! [`Clock`], memory from a [`State`].

mod delegations;
pub mod directory;
mod kept;
mod offer;
mod refusal;
mod role;
mod staleness;
mod workflow;

use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub use kept::{KeptProfile, kept_profile};
pub use offer::{CustomError, Offer, RefusedTarget, is_group};
pub use refusal::Refusal;
pub use staleness::{Note, Staleness};
pub use workflow::{ISSUED, Shown, Workflow, shown};

use self::kept::profile_name;
use crate::carrier::Carrier;
use crate::limits::PROFILE_LEN_MAX;
use crate::profile::Profile;
use crate::state::State;
use crate::target::{paths_of, role_of};
use crate::time::Clock;

/// What a device asks of a carrier.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The device's groups: only their roles are read.
    pub groups: &'a [&'a str],
    /// The root that came with the device; needed until one is kept.
    pub root: Option<&'a [u8]>,
    /// What tells the time.
    pub clock: Clock,
    /// A newer timestamp that someone else showed: the carrier must be at least as new.
    pub seen: Option<&'a [u8]>,
}

/// What a carrier offers, all of it verified.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Version of the root.
    pub root: u64,
    /// Version of the timestamp.
    pub timestamp: u64,
    /// Version of the snapshot.
    pub snapshot: u64,
    /// What each group is offered, in the order asked for.
    pub groups: Vec<Group>,
    /// How old what is offered may be.
    pub staleness: Staleness,
    /// What someone should look at.
    pub notes: Vec<Note>,
}

/// What a group is offered.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Version of its role's metadata.
    pub version: u64,
    /// Until when that is valid.
    pub expires: Timestamp,
    /// What its devices may take, by path.
    pub offers: Vec<Offer>,
    /// What is signed and not understood.
    pub refused: Vec<RefusedTarget>,
    /// The profile of the site.
    pub profile: Option<Profile>,
}

/// Verifies what a carrier has for these groups and says what it offers them. Everything that was
/// accepted is kept in `state`, and so is the time.
///
/// # Errors
/// With the first thing that is not as it must be; [`Refusal::exit_code`] says of which class.
pub fn check(
    carrier: &dyn Carrier,
    state: &mut dyn State,
    ask: &Ask<'_>,
) -> Result<Checked, Refusal> {
    if let Some(group) = ask.groups.iter().find(|group| !is_group(group)) {
        return Err(Refusal::UnknownGroup { group: (*group).to_owned() });
    }
    let mut notes = Vec::new();
    let mut profiles = kept_profiles(state, ask.groups, &mut notes)?;
    let mut workflow = Workflow::open(carrier, state, ask.root, ask.clock)?;
    let kept = |group: &&str| profiles.get(*group).map(|stored| &stored.profile);
    workflow.allowed_days = allowed_days(ask.groups.iter().map(kept));
    if let Some(seen) = ask.seen {
        workflow.observe_timestamp(seen)?;
    }
    workflow.refresh()?;
    let mut groups = Vec::new();
    for name in ask.groups {
        let mut group = read_group(&mut workflow, name)?;
        let kept = profiles.remove(*name);
        group.profile = current_profile(&mut workflow, &group, kept, &mut notes)?;
        groups.push(group);
    }
    // A new profile may allow less than the one that this run began with.
    workflow.allowed_days = allowed_days(groups.iter().map(|group| group.profile.as_ref()));
    let (role, expires) = earliest(&workflow, &groups);
    if expires < workflow.now() {
        return Err(workflow.expired(role, expires));
    }
    workflow.keep_time(expires)?;
    notes.extend(workflow.ignored.drain(..).map(Note::StateDamaged));
    notes.extend(workflow.times.fault().map(Note::Clock));
    let staleness = Staleness::new(&workflow.times, expires, workflow.allowed_days);
    Ok(Checked {
        root: workflow.root().version,
        timestamp: workflow.timestamp_role().map_or(0, |timestamp| timestamp.version),
        snapshot: workflow.snapshot_role().map_or(0, |snapshot| snapshot.version),
        groups,
        staleness,
        notes,
    })
}

/// Reads the role of a group and types its targets.
fn read_group(workflow: &mut Workflow<'_>, name: &str) -> Result<Group, Refusal> {
    let role = role_of(name);
    let fault = |why: String| Refusal::Role { role: role.clone(), why };
    let unknown = || Refusal::UnknownGroup { group: name.to_owned() };
    let delegation = workflow.delegation(&role)?.ok_or_else(unknown)?;
    let paths = delegation.paths.as_deref().unwrap_or_default();
    if delegation.path_hash_prefixes.is_some() || paths != [paths_of(name)] {
        return Err(fault(format!("is let sign for {paths:?}, and not for {:?}", paths_of(name))));
    }
    let signed = workflow.signed_role(&role)?.ok_or_else(unknown)?;
    let own = format!("g/{name}/");
    let mut group = Group {
        name: name.to_owned(),
        version: signed.version,
        expires: signed.expires,
        offers: Vec::new(),
        refused: Vec::new(),
        profile: None,
    };
    for (path, target) in signed.targets {
        if !path.starts_with(&own) {
            return Err(fault(format!("signs for {path}, and may sign for {own} only")));
        }
        match target {
            Ok(offer) => group.offers.push(offer),
            Err(why) => group.refused.push(RefusedTarget { path, why }),
        }
    }
    Ok(group)
}

/// A profile that was kept, and the digest of its bytes.
struct Stored {
    profile: Profile,
    sha256: String,
}

/// Profiles that were verified in earlier runs.
fn kept_profiles(
    state: &dyn State,
    groups: &[&str],
    notes: &mut Vec<Note>,
) -> Result<BTreeMap<String, Stored>, Refusal> {
    let mut profiles = BTreeMap::new();
    for group in groups {
        let name = profile_name(group);
        let loaded = state.load(&name);
        let loaded = loaded.map_err(|error| Refusal::State { name: name.clone(), error })?;
        let Some(bytes) = loaded else { continue };
        match Profile::parse(&bytes) {
            Ok(profile) => {
                let sha256 = hex::encode(Sha256::digest(&bytes));
                profiles.insert((*group).to_owned(), Stored { profile, sha256 });
            }
            Err(_) => notes.push(Note::StateDamaged(name)),
        }
    }
    Ok(profiles)
}

/// The profile that the group's role signs now: the kept one if it is that, else read and kept.
/// Where it cannot be had, the site may not be stale at all. What was kept stays, for
/// [`kept_profile`].
fn current_profile(
    workflow: &mut Workflow<'_>,
    group: &Group,
    kept: Option<Stored>,
    notes: &mut Vec<Note>,
) -> Result<Option<Profile>, Refusal> {
    let name = profile_name(&group.name);
    let failed = |name: &str, error| Refusal::State { name: name.to_owned(), error };
    let Some(offer) = kept::current(group.offers.iter()) else {
        if kept.is_some() {
            workflow.state().remove(&name).map_err(|error| failed(&name, error))?;
        }
        return Ok(None);
    };
    if let Some(kept) = kept.filter(|kept| kept.sha256 == offer.sha256) {
        return Ok(Some(kept.profile));
    }
    let found = workflow.carrier().document(&offer.custom.blake3, PROFILE_LEN_MAX);
    let bytes = match found {
        Ok(Some(bytes)) => bytes,
        Ok(None) | Err(_) => {
            notes.push(Note::ProfileMissing(offer.path.clone()));
            return Ok(None);
        }
    };
    let damaged = |why: String| Refusal::Damaged { file: offer.path.clone(), why };
    if hex::encode(Sha256::digest(&bytes)) != offer.sha256 {
        return Err(damaged("it is not the profile that was signed".into()));
    }
    let profile = Profile::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
    workflow.state().store(&name, &bytes).map_err(|error| failed(&name, error))?;
    Ok(Some(profile))
}

/// Days that the site may be stale: what all groups allow; one without a profile allows none.
fn allowed_days<'a>(profiles: impl Iterator<Item = Option<&'a Profile>>) -> u32 {
    profiles.map(|profile| profile.map_or(0, |profile| profile.stale_days)).min().unwrap_or(0)
}

/// The role that expires first, and when.
fn earliest(workflow: &Workflow<'_>, groups: &[Group]) -> (String, Timestamp) {
    let mut all = vec![("root".to_owned(), workflow.root().expires)];
    all.extend(workflow.timestamp_role().map(|role| ("timestamp".to_owned(), role.expires)));
    all.extend(workflow.snapshot_role().map(|role| ("snapshot".to_owned(), role.expires)));
    all.extend(workflow.targets_role("targets").map(|role| ("targets".to_owned(), role.expires)));
    all.extend(groups.iter().map(|group| (role_of(&group.name), group.expires)));
    all.into_iter().min_by_key(|(_, expires)| *expires).expect("there is always a root")
}
