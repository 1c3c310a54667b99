//! What metadata changes, in words: what a person reads before signing it.
//!
//! Texts in metadata may be made to deceive on a terminal, so they are shown without control
//! characters ([`plain`]).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::document::{Envelope, RoleKeys, Root, TargetFile, Targets};
use super::error::RepoError;
use super::{ROOT, Repo, SNAPSHOT, TARGETS, TIMESTAMP, title};
use crate::profile::{Approval, Profile};
use crate::target::{Content, Custom, Kind, Severity, paths_of};

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// A sentence.
    pub text: String,
    /// Whether it deserves a second look.
    pub is_warning: bool,
}

/// What the staged metadata of a role changes.
pub(super) fn describe(repo: &Repo, role: &str) -> Result<Vec<Change>, RepoError> {
    let Some(staged) = repo.staged(role) else { return Ok(Vec::new()) };
    let base = repo.current(role);
    let mut changes = Changes { list: Vec::new(), profiles: &repo.profiles };
    match role {
        ROOT => {
            let old = base.map(Envelope::root).transpose()?;
            changes.of_root(old.as_ref(), &staged.root()?);
        }
        _ => {
            let old = base.map(Envelope::targets).transpose()?;
            let new = staged.targets()?;
            changes.of_delegations(old.as_ref(), &new);
            match role.strip_prefix("g.") {
                Some(group) => {
                    changes.of_group(group, old.as_ref(), &new, &is_resigned(repo, role)?)
                }
                None if new.targets.is_empty() => {}
                None => changes.warn(
                    "this role would offer files itself, which neap never asks for: do not sign"
                        .to_owned(),
                ),
            }
        }
    }
    let expires = staged.expires()?;
    match base.map(Envelope::expires).transpose()? {
        Some(before) => changes.say(format!("It expires {expires}; before, {before}.")),
        None => changes.say(format!("It expires {expires}.")),
    }
    if changes.list.len() == 1 {
        changes.list.insert(0, Change { text: "Nothing else changes.".into(), is_warning: false });
    }
    Ok(changes.list)
}

/// Whether the signatures on what is published no longer suffice, and why it is signed anew.
fn is_resigned(repo: &Repo, role: &str) -> Result<bool, RepoError> {
    let Some(base) = repo.current(role) else { return Ok(false) };
    let authorities = repo.authorities(role)?;
    Ok(authorities.iter().any(|authority| authority.check(role, base).is_err()))
}

struct Changes<'a> {
    list: Vec<Change>,
    profiles: &'a BTreeMap<String, String>,
}

impl Changes<'_> {
    fn say(&mut self, text: String) {
        self.list.push(Change { text, is_warning: false });
    }

    fn warn(&mut self, text: String) {
        self.list.push(Change { text, is_warning: true });
    }

    fn of_root(&mut self, old: Option<&Root>, new: &Root) {
        if old.is_none() {
            self.say("You are about to make the first root of a new repository.".to_owned());
        }
        if !new.consistent_snapshot {
            self.warn("file names would not begin with versions: devices would refuse".to_owned());
        }
        for role in [ROOT, TARGETS, SNAPSHOT, TIMESTAMP] {
            let power = match role {
                ROOT => "decide who may sign anything at all",
                TARGETS => "decide who may sign for which group of devices",
                SNAPSHOT => "say which versions belong together",
                _ => "say which version is newest",
            };
            let before = old.and_then(|root| Some((root.roles.get(role)?, &root.keys)));
            let Some(after) = new.roles.get(role) else { continue };
            self.of_keys(role, power, before, (after, &new.keys));
        }
    }

    fn of_delegations(&mut self, old: Option<&Targets>, new: &Targets) {
        let none = BTreeMap::new();
        let keys = |targets: &Targets| {
            targets.delegations.as_ref().map_or(none.clone(), |all| all.keys.clone())
        };
        let old_keys = old.map(keys).unwrap_or_default();
        let new_keys = keys(new);
        for role in new.delegations.iter().flat_map(|all| &all.roles) {
            let group = role.name.strip_prefix("g.").unwrap_or_default();
            let shown = plain(group);
            if group.is_empty() || role.paths != [paths_of(group)] || !role.terminating {
                let (name, paths) = (plain(&role.name), plain(&role.paths.join(", ")));
                self.warn(format!("role {name} may name {paths}, which neap never asks for"));
            }
            let power = format!("say what devices of group `{shown}` install");
            let before = old.and_then(|old| old.role(&role.name)).map(|r| (&r.keys, &old_keys));
            let name = format!("group `{shown}`");
            self.of_keys(&name, &power, before, (&role.keys, &new_keys));
        }
        for role in old.iter().flat_map(|old| &old.delegations).flat_map(|all| &all.roles) {
            if new.role(&role.name).is_none() {
                let name = plain(role.name.strip_prefix("g.").unwrap_or(&role.name));
                self.warn(format!(
                    "group `{name}` is removed for good: nobody may sign for it any more, and its \
                     devices are offered nothing"
                ));
            }
        }
    }

    /// What changes in the keys of a role and their threshold.
    fn of_keys(
        &mut self,
        role: &str,
        power: &str,
        old: Option<(&RoleKeys, &BTreeMap<String, Value>)>,
        new: (&RoleKeys, &BTreeMap<String, Value>),
    ) {
        let (after, keys) = new;
        let (count, threshold) = (after.keyids.len(), after.threshold);
        let listed: Vec<_> = after.keyids.iter().map(|id| title(id, keys)).collect();
        let listed = listed.join(", ");
        let Some((before, old_keys)) = old else {
            self.say(format!("You are about to let {threshold} of these keys {power}: {listed}."));
            if threshold == 1 && count > 1 {
                self.warn(format!("each key of {role} alone may {power}"));
            }
            return;
        };
        for id in after.keyids.difference(&before.keyids) {
            let added = title(id, keys);
            self.warn(format!("key added to {role}: {added} may now help to {power}"));
        }
        for id in before.keyids.difference(&after.keyids) {
            let removed = title(id, old_keys);
            self.say(format!("Key removed from {role}: {removed} may no longer {power}."));
        }
        let was = before.threshold;
        if threshold < was {
            self.warn(format!(
                "threshold of {role} lowered from {was} to {threshold}: fewer people can {power}"
            ));
        } else if threshold > was {
            self.say(format!("Threshold of {role} raised from {was} to {threshold}."));
        }
        if after != before {
            self.say(format!("From then on, {threshold} of these keys {power}: {listed}."));
        }
    }

    fn of_group(&mut self, group: &str, old: Option<&Targets>, new: &Targets, resigned: &bool) {
        let none = BTreeMap::new();
        let before = old.map_or(&none, |old| &old.targets);
        // Which version an image is of: deltas name their sources by digest alone.
        let customs = before.values().chain(new.targets.values()).filter_map(TargetFile::custom);
        let versions: BTreeMap<_, _> =
            customs.filter_map(|c| Some((c.to.clone()?, c.version.clone()))).collect();
        let shown = plain(group);
        let added: Vec<_> =
            new.targets.iter().filter(|(path, file)| before.get(*path) != Some(*file)).collect();
        if !added.is_empty() {
            self.say(format!("You are about to let the devices of group `{shown}` install:"));
        }
        for (path, file) in added {
            self.of_file(group, path, file, &versions);
            if before.contains_key(path) {
                self.warn(format!("{} replaces a file of the same name", plain(path)));
            }
        }
        let gone: BTreeSet<_> = before.keys().filter(|p| !new.targets.contains_key(*p)).collect();
        for path in gone {
            self.say(format!("No longer offered: {}.", plain(path)));
        }
        if *resigned {
            self.warn(format!(
                "keys of group `{shown}` changed, and you sign for all that it offers: {} files",
                new.targets.len()
            ));
            for (path, file) in new.targets.iter().filter(|(p, f)| before.get(*p) == Some(*f)) {
                self.of_file(group, path, file, &versions);
            }
        }
    }

    fn of_file(
        &mut self,
        group: &str,
        path: &str,
        file: &TargetFile,
        versions: &BTreeMap<String, String>,
    ) {
        let size = human(file.length);
        let shown = plain(path);
        if let Err(why) = super::edit::check_target(group, path, file) {
            self.warn(format!("{shown}: {why}"));
        }
        let Some(custom) = file.custom() else {
            self.warn(format!("{shown}, {size}: it does not say what it is"));
            return;
        };
        self.say(format!("  {}; {size}", sentence(&custom, versions)));
        if let Some(advisory) = &custom.advisory {
            self.say(format!("    advisory: {}", plain(advisory)));
        }
        if custom.kind == Kind::SiteProfile {
            self.of_profile(file);
        }
    }

    /// What a site may do: said only of bytes that have the digest which is signed.
    fn of_profile(&mut self, file: &TargetFile) {
        let digest = file.hashes.get("sha256");
        let content = digest.and_then(|digest| self.profiles.get(digest)).filter(|content| {
            digest.is_some_and(|digest| *digest == hex::encode(Sha256::digest(content)))
        });
        match content.map(|content| Profile::parse(content.as_bytes())) {
            Some(Ok(profile)) => self.say(format!("    {}", allowed(&profile))),
            Some(Err(why)) => self.warn(format!("devices refuse this profile: {why}")),
            None => self.warn("what the profile allows is not in this file: do not sign".into()),
        }
    }
}

/// Product, version, from and to, severity, hardware of a file, in one line.
fn sentence(custom: &Custom, versions: &BTreeMap<String, String>) -> String {
    let (product, version) = (plain(&custom.product), plain(&custom.version));
    let short = |digest: &str| plain(digest.get(..16).unwrap_or(digest));
    let image = |digest: &Option<String>| match digest {
        Some(digest) => match versions.get(digest) {
            Some(version) => format!("{} ({}…)", plain(version), short(digest)),
            None => format!("an image that is not here ({}…)", short(digest)),
        },
        None => "nothing".to_owned(),
    };
    let content = match custom.content {
        Some(Content::File) => "file",
        Some(Content::Tree) => "folder",
        _ => "image",
    };
    let what = match custom.kind {
        Kind::Full => format!("whole {content} {}", image(&custom.to)),
        Kind::Delta => format!("{content}, from {} to {}", image(&custom.from), image(&custom.to)),
        Kind::Document => "document".to_owned(),
        Kind::SiteProfile => "site profile".to_owned(),
        Kind::Crl => "list of revoked devices".to_owned(),
    };
    let hardware = match custom.hardware.is_empty() {
        true => "any hardware".to_owned(),
        false => format!("hardware {}", plain(&custom.hardware.join(", "))),
    };
    let mut text =
        format!("{product} {version}: {what}; severity {}; {hardware}", severity(custom.severity));
    if custom.security_epoch > 0 {
        text += &format!("; security epoch {}, nothing below it after", custom.security_epoch);
    }
    for needed in &custom.requires {
        text += &format!("; needs {} {}", plain(&needed.product), plain(&needed.version));
    }
    text
}

/// What a profile lets a site do, in one line.
fn allowed(profile: &Profile) -> String {
    let Profile { site, stale_days, approval, budget, .. } = profile;
    let approval = match approval {
        Approval::None => "nobody on site is asked",
        Approval::Crew => "the crew approves each update",
    };
    let site = plain(site);
    let mut text = format!(
        "site `{site}`: metadata counts for {stale_days} days after it expires; {approval}"
    );
    for (limit, of) in [
        (budget.update_bytes, "an update"),
        (budget.day_bytes, "a day"),
        (budget.month_bytes, "a month"),
    ] {
        text += &limit.map_or(String::new(), |len| format!("; at most {} {of}", human(len)));
    }
    text
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "none",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// A size with one decimal.
fn human(len: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut scale) = (0, 1_u64);
    while unit + 1 < units.len() && len / scale >= 1024 {
        (unit, scale) = (unit + 1, scale * 1024);
    }
    match unit {
        0 => format!("{len} bytes"),
        _ => format!("{}.{} {} ({len} bytes)", len / scale, len % scale * 10 / scale, units[unit]),
    }
}

/// A text without what a terminal acts on or shows out of order: control characters and marks of
/// direction are spelled out.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let is_mark = matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}');
        if c.is_control() || is_mark {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_steer_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Kb"), "a\\u{1b}[2Kb");
        assert_eq!(plain("1.5\u{202e}0.9"), "1.5\\u{202e}0.9");
        assert_eq!(plain("Brücke 1.5"), "Brücke 1.5");
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(human(1023), "1023 bytes");
        assert_eq!(human(1536), "1.5 KiB (1536 bytes)");
        assert_eq!(human(u64::MAX), "16777215.9 TiB (18446744073709551615 bytes)");
    }
}
