//! The list of a fleet's revoked certificates as a target of a group: one for each fleet, and never
//! an older one in place of a newer.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::document::{TargetFile, Targets};
use super::edit::check_target;
use super::error::RepoError;
use super::{Repo, When};
use crate::identity::{Crl, Fleet};
use crate::target::{CRL_PRODUCT, Custom, Kind, Severity};

impl Repo {
    /// Offers a group this list, in place of the one it has of this fleet.
    ///
    /// # Errors
    /// If there is no such group, or it has this list already, or a newer one.
    pub fn set_crl(
        &mut self,
        group: &str,
        fleet: &Fleet,
        crl: &Crl,
        when: &When,
    ) -> Result<(), RepoError> {
        let (path, file) = target(group, fleet, crl)?;
        check_target(group, &path, &file)
            .map_err(|why| RepoError::Impossible(format!("{path}: {why}")))?;
        let role = self.group_role(group)?;
        // What is published counts too: what is staged may have lost it.
        let published = self.current(&role).map(|envelope| envelope.targets()).transpose()?;
        let published = published.map(|targets| lists(&targets, group, fleet)).unwrap_or_default();
        self.stage_targets(&role, when, |targets| {
            let staged = lists(targets, group, fleet);
            let newest = published.iter().chain(&staged).max_by_key(|(number, _)| **number);
            if let Some((number, before)) = newest {
                let same = before.hashes == file.hashes;
                if *number == crl.number() && same && staged.contains_key(number) {
                    let text = format!("group {group} has list {number} of {fleet} already");
                    return Err(RepoError::NothingToDo(text));
                }
                if *number > crl.number() || (*number == crl.number() && !same) {
                    let text = format!(
                        "group {group} has list {number} of {fleet}, and this is {}",
                        crl.number()
                    );
                    return Err(RepoError::Older(text));
                }
            }
            for number in staged.keys() {
                targets.targets.remove(&path_of(group, fleet, *number));
            }
            targets.targets.insert(path, file);
            Ok(())
        })
    }
}

/// The lists of a fleet that a role has, by their number.
fn lists(targets: &Targets, group: &str, fleet: &Fleet) -> BTreeMap<u64, TargetFile> {
    let found = targets.targets.iter().filter_map(|(path, file)| {
        let version = file.custom().filter(|custom| custom.kind == Kind::Crl)?.version;
        let number = version.parse().ok()?;
        (*path == path_of(group, fleet, number)).then(|| (number, file.clone()))
    });
    found.collect()
}

fn path_of(group: &str, fleet: &Fleet, number: u64) -> String {
    format!("g/{group}/{CRL_PRODUCT}/{number}/{fleet}")
}

fn target(group: &str, fleet: &Fleet, crl: &Crl) -> Result<(String, TargetFile), RepoError> {
    let custom = Custom {
        blake3: blake3::hash(crl.der()).to_hex().to_string(),
        kind: Kind::Crl,
        from: None,
        to: None,
        to_len: None,
        content: None,
        product: CRL_PRODUCT.into(),
        version: crl.number().to_string(),
        security_epoch: 0,
        severity: Severity::None,
        sbom: None,
        advisory: None,
        hardware: Vec::new(),
        requires: Vec::new(),
    };
    let sha256 = hex::encode(Sha256::digest(crl.der()));
    let file = TargetFile::new(crl.der().len() as u64, &sha256, &custom)?;
    Ok((path_of(group, fleet, crl.number()), file))
}
