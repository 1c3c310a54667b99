//! `neap repo add crl`: offers a group the list of a fleet's revoked certificates.

use neap_trust::repo::RepoError;
use neap_trust::repo::changes::plain;

use super::AddCrl;
use super::change::saved;
use super::directory::Directory;
use crate::ca;
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::outcome::Outcome;

pub(super) fn add(args: &AddCrl) -> Result<Outcome, Failure> {
    let authority = ca::authority(&args.ca)?;
    let crl = ca::list_of(&args.list, &authority)?;
    let directory = Directory::open_for_change(&args.depot)?;
    let mut repo = directory.load()?;
    let set = repo.set_crl(&args.group, authority.fleet(), &crl, &args.expiry.when());
    set.map_err(|error| match error {
        RepoError::Older(_) => {
            let text = plain(&format!("{}: {error}", args.list.display()));
            Failure::new(Exit::Rollback, text, "neap ca crl makes a newer one")
        }
        error => directory.failure(error),
    })?;
    // The blob first: nothing names it yet.
    let blob = format!("blobs/{}", blake3::hash(crl.der()).to_hex());
    directory.write(&blob, crl.der()).map_err(|error| {
        let shown = args.depot.join(&blob).display().to_string();
        Failure::new(io_exit(&error), format!("{shown}: {error}"), format!("check {shown}"))
    })?;
    saved(&directory, &repo, &args.depot)
}
