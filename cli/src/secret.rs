//! Where passphrases and PINs come from: a file, the environment, or a terminal that does not show
//! what is typed. Never the command line, which others on the machine can read.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use neap_trust::key::KeyError;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Longest secret, in bytes.
const SECRET_LEN_MAX: u64 = 1024;

/// Where the secrets of keys are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Secrets {
    /// File whose first line is the passphrase [default: $NEAP_PASSPHRASE, else it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// File whose first line is the PIN of a token [default: $NEAP_PIN, else it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(crate) pin_file: Option<PathBuf>,
}

impl Secrets {
    /// The passphrase of a key that there is.
    pub(crate) fn passphrase(&self, of: &str) -> Result<Zeroizing<String>, KeyError> {
        match given(self.passphrase_file.as_deref(), "NEAP_PASSPHRASE")? {
            Some(passphrase) => Ok(passphrase),
            None => asked(&format!("passphrase of {of}: ")),
        }
    }

    /// The passphrase of a new key; one that is typed is typed twice.
    pub(crate) fn new_passphrase(&self, of: &str) -> Result<Zeroizing<String>, KeyError> {
        if let Some(passphrase) = given(self.passphrase_file.as_deref(), "NEAP_PASSPHRASE")? {
            return Ok(passphrase);
        }
        let passphrase = asked(&format!("new passphrase of {of}: "))?;
        match asked("the same once more: ")? == passphrase {
            true => Ok(passphrase),
            false => {
                let why = "the two passphrases differ";
                Err(KeyError::Io(io::Error::new(io::ErrorKind::InvalidInput, why)))
            }
        }
    }

    /// The PIN of a token; `source` is the file that its URI names.
    pub(crate) fn pin(
        &self,
        token: &str,
        source: Option<&Path>,
    ) -> Result<Zeroizing<String>, KeyError> {
        match given(self.pin_file.as_deref().or(source), "NEAP_PIN")? {
            Some(pin) => Ok(pin),
            None => asked(&format!("PIN of the token `{token}`: ")),
        }
    }
}

/// A secret from a file or else the environment, if either is given.
fn given(file: Option<&Path>, variable: &str) -> Result<Option<Zeroizing<String>>, KeyError> {
    if let Some(path) = file {
        let failed = |error: io::Error| {
            let kind = error.kind();
            KeyError::Io(io::Error::new(kind, format!("{}: {error}", path.display())))
        };
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_file() && found.mode() & 0o077 != 0 {
            let mode = found.mode() & 0o7777;
            let why = format!("permissions are {mode:04o}, and only the owner may read a secret");
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        return line(BufReader::new(file)).map(Some).map_err(failed);
    }
    Ok(env::var(variable).ok().map(Zeroizing::new))
}

/// A secret that is typed. Without a terminal there is none.
fn asked(prompt: &str) -> Result<Zeroizing<String>, KeyError> {
    let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else {
        return Err(KeyError::PassphraseNeeded);
    };
    let before = tcgetattr(&terminal).map_err(io::Error::from)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    (&terminal).write_all(prompt.as_bytes())?;
    tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(io::Error::from)?;
    let typed = line(BufReader::new(&terminal));
    tcsetattr(&terminal, OptionalActions::Flush, &before).map_err(io::Error::from)?;
    Ok(typed?)
}

/// The first line, without its end.
fn line(input: impl BufRead) -> io::Result<Zeroizing<String>> {
    // The whole length at once: growing would leave copies behind that are not zeroed.
    let len_max = usize::try_from(SECRET_LEN_MAX).expect("1 KiB fits any usize");
    let mut line = Zeroizing::new(String::with_capacity(len_max));
    input.take(SECRET_LEN_MAX).read_line(&mut line)?;
    let len = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(len);
    Ok(line)
}
