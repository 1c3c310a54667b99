//! The folder of an authority: one writer at a time, each file whole or not at all, and the ledger
//! before all that follows from it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use neap_trust::identity::issuer::{Issuer, Span};
use neap_trust::identity::ledger::{Denied, Ledger};
use neap_trust::identity::{Authority, Certificate, Crl, IdentityError, What};
use neap_trust::key::KeyError;
use neap_trust::limits::LEDGER_LEN_MAX;
use neap_trust::repo::changes::plain;

use super::NewList;
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::keyring::of_key;

/// The authority's certificate.
const AUTHORITY: &str = "ca.pem";
/// The ledger.
const LEDGER: &str = "ledger.json";
/// The list of revoked certificates, as it is published.
const CRL: &str = "fleet.crl";
/// The folder of certificates.
const CERTIFICATES: &str = "certificates";

/// An authority's folder.
pub(super) struct Folder {
    path: PathBuf,
    /// Held until this is dropped.
    _lock: Option<File>,
}

/// What is in it.
pub(super) struct Opened {
    pub(super) folder: Folder,
    pub(super) authority: Authority,
    pub(super) ledger: Ledger,
}

impl Folder {
    /// A folder to begin an authority in; one that has a ledger is refused.
    pub(super) fn begin(path: &Path) -> Result<Self, Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| of_io(path, &error))?;
        let folder = Self::locked(path)?;
        if path.join(LEDGER).exists() {
            let text = format!("{}: there is an authority already", path.display());
            let next = format!("neap ca list {}, or name another folder", path.display());
            return Err(Failure::new(Exit::Error, text, next));
        }
        match is_rest(path) {
            false => Ok(folder),
            true => Err(none(path)),
        }
    }

    fn locked(path: &Path) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(path.join("lock")).map_err(|error| of_io(path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                let text = format!("{}: another neap is changing it", path.display());
                Err(Failure::new(Exit::Error, text, "wait until it ends, then run this again"))
            }
            Err(TryLockError::Error(error)) => Err(of_io(path, &error)),
        }
    }

    /// Writes the ledger, and after it what follows from it. A cut between the two loses nothing:
    /// `issue` writes a certificate again, and `crl` makes a newer list.
    pub(super) fn save(
        &self,
        ledger: &Ledger,
        certificates: &[&Certificate],
        crl: Option<&Crl>,
    ) -> Result<Vec<PathBuf>, Failure> {
        self.write(LEDGER, &ledger.bytes(), 0o600)?;
        let recorded = |failure: Failure| Failure {
            state: "the ledger has it; not all files were written".into(),
            next: "make it possible, then `neap ca issue` with the same request, or `neap ca crl`"
                .into(),
            ..failure
        };
        if let Some(crl) = crl {
            self.write(CRL, crl.der(), 0o644).map_err(recorded)?;
        }
        let mut written = Vec::new();
        for certificate in certificates {
            let name =
                format!("{CERTIFICATES}/{}.{}.pem", certificate.device(), certificate.number());
            self.write(&name, certificate.pem().as_bytes(), 0o644).map_err(recorded)?;
            written.push(self.path.join(name));
        }
        Ok(written)
    }

    /// Writes the certificate of a new authority.
    pub(super) fn save_authority(&self, authority: &Authority) -> Result<(), Failure> {
        self.write(AUTHORITY, authority.pem().as_bytes(), 0o644)
    }

    /// Where the list of revoked certificates is.
    pub(super) fn crl_path(&self) -> PathBuf {
        self.path.join(CRL)
    }

    /// A failure about it.
    pub(super) fn failure(&self, error: IdentityError) -> Failure {
        of_identity(&self.path, error)
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        let place = self.path.join(name);
        whole(&place, bytes, mode).map_err(|error| of_io(&place, &error))
    }
}

impl Opened {
    /// An authority to look at.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        Self::of(Folder { path: path.to_owned(), _lock: None })
    }

    /// An authority to change; a second writer is refused.
    pub(super) fn change(path: &Path) -> Result<Self, Failure> {
        if !path.join(LEDGER).exists() {
            return Err(none(path));
        }
        Self::of(Folder::locked(path)?)
    }

    fn of(folder: Folder) -> Result<Self, Failure> {
        let place = folder.path.join(LEDGER);
        if !place.exists() {
            return Err(none(&folder.path));
        }
        let authority = authority(&folder.path.join(AUTHORITY))?;
        let bytes = limited(&place, LEDGER_LEN_MAX)?;
        let ledger = Ledger::parse(&bytes, &authority);
        let ledger = ledger.map_err(|error| of_identity(&place, error))?;
        Ok(Self { folder, authority, ledger })
    }

    /// A list of what is revoked now, counted in the ledger.
    pub(super) fn next_crl(
        &mut self,
        issuer: &Issuer<'_>,
        next: &NewList,
        now: Timestamp,
    ) -> Result<Crl, Failure> {
        let span = Span { from: now, until: next.next.at(now) };
        let number = self.ledger.next_crl();
        issuer.crl(number, span, &self.ledger.revoked()).map_err(|error| self.folder.failure(error))
    }

    /// Whether the file of the list is that of the ledger.
    pub(super) fn crl_is_current(&self) -> bool {
        let crl = list_of(&self.folder.crl_path(), &self.authority);
        crl.is_ok_and(|crl| crl.number() == self.ledger.crl_number())
    }
}

/// The time, in whole seconds: certificates and lists have no parts of them.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn none(path: &Path) -> Failure {
    let text = format!("{}: there is no authority", path.display());
    match is_rest(path) {
        false => Failure::new(Exit::Error, text, "neap ca init begins one"),
        true => {
            let text = format!("{text}, but what one left: its {LEDGER} is lost");
            let next = format!("restore {LEDGER}: only it knows what was issued and revoked");
            Failure::new(Exit::Error, text, next)
        }
    }
}

/// Whether an authority was here: the ledger is written before these are. The authority's
/// certificate alone may be of an `init` that was cut short.
fn is_rest(path: &Path) -> bool {
    path.join(CRL).exists() || path.join(CERTIFICATES).exists()
}

/// Writes a file whole: under another name first, then durable, then in its place.
pub(crate) fn whole(place: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    // One that a cut left behind, or that somebody put there to lead elsewhere.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.create_new(true).write(true).mode(mode).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, place)) {
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// A whole file of at most so many bytes.
pub(crate) fn limited(path: &Path, len_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(len_max.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| of_io(path, &error))?;
    Ok(bytes)
}

/// An authority's certificate.
pub(crate) fn authority(path: &Path) -> Result<Authority, Failure> {
    let bytes = limited(path, What::Authority.file_len_max())?;
    Authority::read(&bytes).map_err(|error| of_identity(path, error))
}

/// A list that this authority signed.
pub(crate) fn list_of(path: &Path, authority: &Authority) -> Result<Crl, Failure> {
    let bytes = limited(path, What::Crl.file_len_max())?;
    authority.crl(&bytes).map_err(|error| of_identity(path, error))
}

/// A failure of the system about a file.
pub(super) fn of_io(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    Failure::new(io_exit(error), format!("{shown}: {error}"), format!("check {shown}"))
}

/// What the authority refuses, in the words of the command.
pub(crate) fn of_identity(path: &Path, error: IdentityError) -> Failure {
    let shown = path.display().to_string();
    let error = match error {
        IdentityError::Signer(error @ KeyError::Io(_)) => return of_key(&shown, error),
        error => error,
    };
    let exit = match &error {
        IdentityError::Denied(Denied::Already(_)) => Exit::NothingToDo,
        IdentityError::Denied(Denied::Full(..) | Denied::Unknown(_) | Denied::Ambiguous(_)) => {
            Exit::Error
        }
        IdentityError::Denied(_)
        | IdentityError::Signature(_)
        | IdentityError::Algorithm { .. }
        | IdentityError::Key(_)
        | IdentityError::Issuer
        | IdentityError::OtherKey => Exit::Refused,
        IdentityError::Validity(_) => Exit::Expired,
        _ => Exit::Error,
    };
    let next = match &error {
        IdentityError::Denied(Denied::OtherKey(_)) => {
            "if the device really has a new key, add --replace; the old certificate is revoked"
        }
        IdentityError::Denied(Denied::KeyRevoked(_)) => {
            "neap ca request with --new-key, on the device"
        }
        IdentityError::Denied(Denied::KeyOfOther(_)) => {
            "find out which device has the key; no two share one"
        }
        IdentityError::Denied(Denied::NotTheAllowedKey(_)) => {
            "compare the digest with what the device shows; neap ca allow changes what is allowed"
        }
        IdentityError::Denied(Denied::Already(_)) => "nothing",
        IdentityError::Denied(_) => "neap ca list shows what there is",
        IdentityError::Algorithm { .. } => "neap ca request --new-key makes a key that is taken",
        IdentityError::OtherKey => "give the key that the authority was begun with",
        IdentityError::Issuer | IdentityError::Signature(_) => {
            "check that it is of this fleet's authority"
        }
        IdentityError::Validity(_) => "give another --expires or --next, or begin a new authority",
        _ => "check where it came from; make it again",
    };
    // The text may hold words of a file that somebody made to deceive.
    Failure::new(exit, plain(&format!("{shown}: {error}")), next)
}
