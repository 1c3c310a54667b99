//! Keys by what the command line calls them: a file, a name in the folder of keys, a token's URI,
//! or a command that signs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use neap_trust::key::command::CommandKey;
use neap_trust::key::token::TokenKey;
use neap_trust::key::uri::{SCHEME, TokenUri};
use neap_trust::key::{KeyError, PublicKey, Signer, key_file};

use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::secret::Secrets;

/// How a key that a command signs with begins.
const COMMAND: &str = "exec:";

/// What `--key` takes, for its help.
pub(crate) const KEY_HELP: &str = "A private key: a file, a name that `neap key list` shows, \
    `pkcs11:token=…;object=…?module-path=…`, or `exec:FILE.pub:COMMAND`, where the command of the \
    shell gets the message on standard input and prints the signature";

/// A key that can sign. Its secret is asked for here.
pub(crate) fn signer(name: &str, secrets: &Secrets) -> Result<Box<dyn Signer>, Failure> {
    let failed = |error| of_key(name, error);
    if let Some(rest) = name.strip_prefix(COMMAND) {
        let Some((public, command)) = rest.split_once(':') else {
            return Err(failed(KeyError::NotAKey("expected `exec:FILE.pub:COMMAND`".into())));
        };
        return Ok(Box::new(CommandKey::new(command.to_owned(), self::public(public)?)));
    }
    let uri = match name.starts_with(SCHEME) {
        true => Some(name.to_owned()),
        false => stored_uri(name),
    };
    if let Some(uri) = uri {
        let uri = TokenUri::parse(&uri).map_err(failed)?;
        let mut pin = |token: &str| secrets.pin(token, uri.pin_source.as_deref());
        return Ok(Box::new(TokenKey::open(&uri, &mut pin).map_err(failed)?));
    }
    let path = found(name, "pem");
    let mut passphrase = || secrets.passphrase(&path.display().to_string());
    match key_file::read_private(&path, &mut passphrase) {
        Ok(key) => Ok(Box::new(key)),
        Err(error) => Err(of_key(&path.display().to_string(), error)),
    }
}

/// A public key: a file, or a name in the folder of keys.
pub(crate) fn public(name: &str) -> Result<PublicKey, Failure> {
    let path = found(name, "pub");
    key_file::read_public(&path).map_err(|error| of_key(&path.display().to_string(), error))
}

/// What people call a public key: the file's name without its end.
pub(crate) fn title(name: &str) -> String {
    let stem = Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.unwrap_or_default()
}

/// The folder of keys that have a name.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    if let Some(folder) = env::var_os("NEAP_KEYS") {
        return Ok(folder.into());
    }
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let config = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    config.map(|config| config.join("neap/keys")).ok_or_else(|| {
        Failure::new(
            Exit::Error,
            "there is no folder of keys: neither HOME nor NEAP_KEYS is set".into(),
            "set NEAP_KEYS, or name the file by --output",
        )
    })
}

/// The URI that is kept under a name.
fn stored_uri(name: &str) -> Option<String> {
    let is_name = !name.contains(['/', '.']) && !Path::new(name).exists();
    let path = folder().ok().filter(|_| is_name)?.join(format!("{name}.uri"));
    fs::read_to_string(path).ok().map(|uri| uri.trim().to_owned())
}

/// The file that a name means: itself, or one in the folder of keys.
fn found(name: &str, end: &str) -> PathBuf {
    let path = PathBuf::from(name);
    match folder() {
        Ok(folder) if !name.contains(['/', '.']) && !path.exists() => {
            folder.join(format!("{name}.{end}"))
        }
        _ => path,
    }
}

/// A failure about a key.
pub(crate) fn of_key(name: &str, error: KeyError) -> Failure {
    let exit = match &error {
        KeyError::Io(error) => io_exit(error),
        KeyError::WrongSignature => Exit::Refused,
        _ => Exit::Error,
    };
    let next = match &error {
        KeyError::TooOpen(_) => format!("chmod 600 {name}, and think of who may have read it"),
        KeyError::Exists => "name another, or move the old one away".into(),
        KeyError::PassphraseNeeded => {
            "give --passphrase-file or NEAP_PASSPHRASE (--pin-file or NEAP_PIN for a token), or \
             run it on a terminal"
                .into()
        }
        KeyError::WrongPassphrase => "try the passphrase again".into(),
        KeyError::PassphraseShort(_) => "choose a longer one: some words are easy to keep".into(),
        KeyError::Token(_) => "pkcs11-tool --list-objects --login   (shows what there is)".into(),
        KeyError::CommandLate { .. } => {
            "run the command by hand, with any file as its input, and see what it waits for".into()
        }
        KeyError::WrongSignature => {
            "the public key is another's, or the signer is broken: trust neither yet".into()
        }
        _ => format!("check {name}"),
    };
    Failure::new(exit, format!("{name}: {error}"), next)
}
