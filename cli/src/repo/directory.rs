//! A repository in a folder: its files, one writer at a time, each file whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use neap_trust::repo::changes::plain;
use neap_trust::repo::{Files, Repo, RepoError, Step};

use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::keyring::of_key;

/// The folder of a depot.
pub(crate) struct Directory {
    path: PathBuf,
    /// Held until this is dropped.
    lock: Option<File>,
}

impl Directory {
    /// To read.
    pub(crate) fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), lock: None }
    }

    /// To write; a second writer is refused.
    pub(crate) fn open_for_change(path: &Path) -> Result<Self, Failure> {
        let failed = |error: &io::Error| {
            let shown = path.display();
            Failure::new(io_exit(error), format!("{shown}: {error}"), format!("check {shown}"))
        };
        let file = path.join("staged/lock");
        let lock = fs::create_dir_all(path.join("staged"))
            .and_then(|()| OpenOptions::new().create(true).truncate(false).write(true).open(&file));
        let lock = lock.map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                let text = format!("{}: another neap is changing it", path.display());
                Err(Failure::new(Exit::Error, text, "wait until it ends, then run this again"))
            }
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// The repository in it.
    pub(crate) fn load(&self) -> Result<Repo, Failure> {
        Repo::load(self).map_err(|error| self.failure(error))
    }

    /// Writes what is staged.
    pub(crate) fn save(&self, repo: &Repo) -> Result<(), Failure> {
        let steps = repo.save_staged().map_err(|error| self.failure(error))?;
        self.apply(&steps)
    }

    /// Does these steps, each durable before the next.
    pub(crate) fn apply(&self, steps: &[Step]) -> Result<(), Failure> {
        assert!(self.lock.is_some(), "only who holds the lock writes");
        for (index, step) in steps.iter().enumerate() {
            let (path, done) = match step {
                Step::Write(path, bytes) => (path, self.write(path, bytes)),
                Step::Remove(path) => (path, self.remove(path)),
            };
            done.map_err(|error| Failure {
                state: match index {
                    0 => crate::failure::NOTHING_WRITTEN.into(),
                    _ => "some files were written; devices see what they saw before, or all".into(),
                },
                ..Failure::new(
                    io_exit(&error),
                    format!("{}: {error}", self.path.join(path).display()),
                    "make it possible, then run the same command again",
                )
            })?;
        }
        Ok(())
    }

    /// Writes a file whole: under another name first, then durable, then in its place.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.path.join(path);
        let folder = place.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder)?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.new"));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &place)?;
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A failure about this repository.
    pub(crate) fn failure(&self, error: RepoError) -> Failure {
        of_repo(&self.path.display().to_string(), error)
    }
}

impl Files for Directory {
    fn read(&self, path: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        read(&self.path.join(path), len_max)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        // Other systems leave files of their own, which begin with a dot, as ours in the making do.
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        Ok(names)
    }
}

/// A whole file of at most `len_max` bytes, if it is there.
pub(crate) fn read(path: &Path, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(len_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()).is_ok_and(|len| len <= len_max) {
        true => Ok(Some(bytes)),
        false => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("longer than {len_max} bytes")))
        }
    }
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
