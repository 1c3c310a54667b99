//! Who must say yes before a device is written: asked once, after all was verified and before the
//! first write.

use neap_trust::client::{Group, Offer};
use neap_trust::profile::Approval;

use crate::exit::Exit;
use crate::failure::Failure;

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// The group of the device, with the profile of its site.
    pub(super) group: &'a Group,
    /// What would be installed.
    pub(super) offer: &'a Offer,
    /// What would be written over, for people.
    pub(super) target: &'a str,
}

/// Who approved, for the receipt.
///
/// # Errors
/// Exit code 9: someone must approve, and nobody did.
pub(super) fn asked(question: &Question<'_>) -> Result<Vec<String>, Failure> {
    let Question { group, offer, target } = question;
    let profile = group.profile.as_ref();
    match profile.map(|profile| (profile.approval, &profile.site)) {
        Some((Approval::Crew, site)) => Err(Failure::new(
            Exit::ApprovalMissing,
            format!(
                "{target}: the crew of {site} must approve {} {} first",
                offer.custom.product, offer.custom.version
            ),
            "have the crew approve it, then run the same command again",
        )),
        Some((Approval::None, _)) | None => Ok(Vec::new()),
    }
}
