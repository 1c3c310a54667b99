//! `neap repo add crl`: offers a group the list of a fleet's revoked certificates.

use neap_trust::repo::RepoError;
use neap_trust::repo::changes::plain;

use super::AddCrl;
use super::change::{add_blob, saved};
use super::place::{self, of_repo};
use crate::ca;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;

pub(super) fn add(args: &AddCrl) -> Result<Outcome, Failure> {
    let authority = ca::authority(&args.ca)?;
    let crl = ca::list_of(&args.list, &authority)?;
    let place = &args.depot;
    let depot = crate::depot::open(place)?;
    let mut writer = crate::depot::writer(&depot, place, "repo add crl")?;
    let mut repo = place::load(&depot, place)?;
    let set = repo.set_crl(&args.group, authority.fleet(), &crl, &args.expiry.when());
    set.map_err(|error| match error {
        RepoError::Older(_) => {
            let text = plain(&format!("{}: {error}", args.list.display()));
            Failure::new(Exit::Rollback, text, "neap ca crl makes a newer one")
        }
        error => of_repo(place, error),
    })?;
    add_blob(&writer, crl.der(), place)?;
    saved(&mut writer, &repo, place)
}
