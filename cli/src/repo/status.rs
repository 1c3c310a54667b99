//! `neap repo status`: roles, versions, expiry, and which signatures are missing.

use jiff::Timestamp;
use neap_trust::repo::changes::plain;
use neap_trust::repo::{ROOT, Repo, RepoError, SNAPSHOT, TARGETS, TIMESTAMP};
use neap_trust::target::role_of;
use serde_json::{Value, json};

use super::Status;
use super::place::{self, of_repo};
use crate::failure::Failure;
use crate::outcome::Outcome;

pub(super) fn status(args: &Status) -> Result<Outcome, Failure> {
    let depot = crate::depot::open(&args.depot)?;
    let repo = place::load(&depot, &args.depot)?;
    let failed = |error| of_repo(&args.depot, error);
    let (text, roles) = shown(&repo, Timestamp::now()).map_err(failed)?;
    let (staged_text, staged) = of_staged(&repo).map_err(failed)?;
    let json = json!({"schema": "neap.repo-status.v1", "roles": roles, "staged": staged});
    Ok(Outcome { text: text + &staged_text, json })
}

/// What is published.
fn shown(repo: &Repo, now: Timestamp) -> Result<(String, Vec<Value>), RepoError> {
    let (mut text, mut fields) = (String::new(), Vec::new());
    let mut roles: Vec<String> = [ROOT, TARGETS, SNAPSHOT, TIMESTAMP].map(str::to_owned).into();
    roles.extend(repo.groups()?.iter().map(|group| role_of(group)));
    for role in roles {
        let Some(envelope) = repo.current(&role) else { continue };
        let expires = envelope.expires()?;
        let version = envelope.version();
        let is_expired = expires <= now;
        let authority = repo.authorities_now(&role)?.into_iter().next();
        let Some(authority) = authority else { continue };
        let threshold = authority.role.threshold;
        let keys: Vec<_> = authority.role.keyids.iter().map(|id| authority.title(id)).collect();
        let late = if is_expired { " EXPIRED" } else { "" };
        text += &format!(
            "{:<16} version {version:<5} until {expires}{late}  {threshold} of {}: {}\n",
            plain(&role),
            keys.len(),
            keys.join(", ")
        );
        let signed = authority.check(&role, envelope).is_ok();
        if !signed {
            text += &format!("{:<16} NOT signed by enough of its keys\n", plain(&role));
        }
        let ids: Vec<_> = authority.role.keyids.iter().collect();
        fields.push(json!({
            "role": role,
            "version": version,
            "expires": expires.to_string(),
            "expired": is_expired,
            "threshold": threshold,
            "keys": ids,
            "signed": signed,
        }));
    }
    Ok((text, fields))
}

/// What is staged, and whose signatures it lacks.
pub(super) fn of_staged(repo: &Repo) -> Result<(String, Vec<Value>), RepoError> {
    let (mut text, mut fields) = (String::new(), Vec::new());
    let (mut count, mut is_ready) = (0, true);
    for role in repo.staged_roles() {
        let Some(envelope) = repo.staged(role) else { continue };
        count += 1;
        let (version, digest) = (envelope.version(), envelope.digest());
        text += &format!("staged {:<16} version {version}, SHA-256 {digest}\n", plain(role));
        let mut needs = Vec::new();
        for progress in repo.progress(role)? {
            let (have, threshold) = (progress.signed.len(), progress.threshold);
            let lacks = threshold.saturating_sub(have);
            is_ready &= lacks == 0;
            text += &match lacks {
                0 => format!("  {}: signed by {}\n", progress.whose, progress.signed.join(", ")),
                _ => format!(
                    "  {}: {have} of {threshold} signatures; {lacks} missing, of {}\n",
                    progress.whose,
                    progress.missing.join(", ")
                ),
            };
            needs.push(json!({
                "by": progress.whose,
                "threshold": threshold,
                "signed": progress.signed,
                "missing": progress.missing,
                "lacks": lacks,
            }));
        }
        fields.push(json!({"role": role, "version": version, "sha256": digest, "needs": needs}));
    }
    text += match (count, is_ready) {
        (0, _) => "nothing is staged\n",
        (_, true) => "everything that is staged is signed: neap repo publish\n",
        (_, false) => "not all that is staged is signed\n",
    };
    Ok((text, fields))
}
