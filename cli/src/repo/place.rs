//! A repository where it is kept: read by anyone, changed by the one writer of its depot.

use neap_depot::depot::Depot;
use neap_depot::publish::PublishError;
use neap_depot::writer::Writer;
use neap_trust::repo::changes::plain;
use neap_trust::repo::{Repo, RepoError, Step, staged_path};

use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::keyring::of_key;

/// The repository in a depot.
pub(crate) fn load(depot: &Depot, place: &str) -> Result<Repo, Failure> {
    Repo::load(depot).map_err(|error| of_repo(place, error))
}

/// Writes what is staged.
pub(crate) fn save(writer: &mut Writer<'_>, repo: &Repo, place: &str) -> Result<(), Failure> {
    let steps = repo.save_staged().map_err(|error| of_repo(place, error))?;
    take(writer, &steps, place)
}

/// Does what the editor wants done.
pub(crate) fn take(writer: &mut Writer<'_>, steps: &[Step], place: &str) -> Result<(), Failure> {
    writer.take(steps).map_err(|error| of_publish(&error, place))
}

/// The staged file of a role, for people.
pub(crate) fn request(place: &str, role: &str) -> String {
    format!("{}/{}", place.trim_end_matches('/'), staged_path(role))
}

fn of_publish(error: &PublishError, place: &str) -> Failure {
    let exit = match error {
        PublishError::Io(_, error) | PublishError::LockLost(error) => io_exit(error),
        _ => Exit::Error,
    };
    let next = match error {
        PublishError::Io(..) => "make it possible, then run the same command again".into(),
        PublishError::LockLost(_) | PublishError::Overtaken => {
            "neap repo status shows what there is now; then run the same command again".into()
        }
        _ => format!("neap depot fsck {place}   (names what is damaged or missing)"),
    };
    let state = match error {
        PublishError::Io(..) | PublishError::LockLost(_) | PublishError::Overtaken => {
            "some files may be written; devices see what they saw before, or all of it".into()
        }
        _ => crate::failure::NOTHING_WRITTEN.into(),
    };
    Failure { state, ..Failure::new(exit, plain(&format!("{place}: {error}")), next) }
}

/// What the editor refuses, in the words of the command.
pub(crate) fn of_repo(object: &str, error: RepoError) -> Failure {
    let error = match error {
        RepoError::Key(error) => return of_key(object, error),
        error => error,
    };
    let exit = match &error {
        RepoError::NothingToDo(_) => Exit::NothingToDo,
        RepoError::WrongRole(..)
        | RepoError::WrongSignature(_)
        | RepoError::OtherBytes(_)
        | RepoError::StaleBase(_)
        | RepoError::BelowThreshold { .. } => Exit::Refused,
        RepoError::Expired(_) => Exit::Expired,
        RepoError::Io(_, error) => io_exit(error),
        _ => Exit::Error,
    };
    let next = match &error {
        RepoError::Missing => "neap repo init begins one",
        RepoError::Exists => "neap repo status shows it",
        RepoError::NothingToDo(_) => "nothing",
        RepoError::WrongRole(..) => "neap repo status shows whose signatures are missing",
        RepoError::WrongSignature(_) => {
            "ask who made it; if nobody knows, suppose that somebody tries to deceive you"
        }
        RepoError::OtherBytes(_) => "sign the file that is staged now",
        RepoError::StaleBase(_) => {
            "neap repo drop forgets what is staged; then stage the change again"
        }
        RepoError::BelowThreshold { .. } => {
            "neap repo sign on the machines of those whose signatures are missing, then merge"
        }
        RepoError::Expired(_) => "stage it again with a later --expires, or `neap repo renew`",
        RepoError::Impossible(_) => "neap repo status shows what there is",
        _ => "neap repo status, once the file is as it should be",
    };
    // The text may hold words of a file that somebody made to deceive.
    Failure::new(exit, plain(&format!("{object}: {error}")), next)
}
