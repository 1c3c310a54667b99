//! Keys in files: private ones that only their owner can read, public ones that anybody can.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::sealed::FileKey;
use super::{KeyError, PublicKey};
use crate::limits::KEY_FILE_LEN_MAX;

/// Bits of group and others.
const OTHERS: u32 = 0o077;

/// Writes a private key. The file is there for its owner alone and is never overwritten.
///
/// # Errors
/// If there is a file of this name, or it cannot be written.
pub fn write_private(path: &Path, pem: &Zeroizing<String>) -> Result<(), KeyError> {
    write_new(path, pem.as_bytes(), 0o600)
}

/// Writes a public key, which is never overwritten either.
///
/// # Errors
/// If there is a file of this name, or it cannot be written.
pub fn write_public(path: &Path, key: &PublicKey) -> Result<(), KeyError> {
    write_new(path, key.pem()?.as_bytes(), 0o644)
}

/// Reads a private key; `passphrase` is asked only where it is sealed.
///
/// # Errors
/// If others can read the file, if it is no key, or if the passphrase does not open it.
pub fn read_private(
    path: &Path,
    passphrase: &mut dyn FnMut() -> Result<Zeroizing<String>, KeyError>,
) -> Result<FileKey, KeyError> {
    FileKey::from_pem(&read_secret(path)?, passphrase)
}

/// Reads the text of a private key of any kind.
///
/// # Errors
/// If others can read the file, or it is no text of a key's length.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o7777;
    match mode & OTHERS {
        0 => text(file),
        _ => Err(KeyError::TooOpen(mode)),
    }
}

/// Reads a public key.
///
/// # Errors
/// If it cannot be read or is no key.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyError> {
    PublicKey::from_pem(&text(File::open(path)?)?)
}

fn text(file: File) -> Result<Zeroizing<String>, KeyError> {
    // The whole length at once: growing would leave copies behind that are not zeroed.
    let len_max = usize::try_from(KEY_FILE_LEN_MAX).expect("16 KiB fit any usize") + 1;
    let mut text = Zeroizing::new(String::with_capacity(len_max));
    match file.take(KEY_FILE_LEN_MAX + 1).read_to_string(&mut text) {
        Ok(len) if len < len_max => Ok(text),
        Ok(_) => Err(KeyError::NotAKey(format!("longer than {KEY_FILE_LEN_MAX} bytes"))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(KeyError::NotAKey("no PEM: not even text".into()))
        }
        Err(error) => Err(error.into()),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        // Half a key is of no use, and this name is to be free for the next try.
        drop(fs::remove_file(path));
        return Err(error.into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::super::Signer;
    use super::*;

    fn passphrase() -> Result<Zeroizing<String>, KeyError> {
        Ok(Zeroizing::new("correct horse".to_owned()))
    }

    #[test]
    fn files_are_for_their_owner_and_are_refused_when_they_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.pem");
        let key = FileKey::from_seed(&[1; 32]);
        write_private(&path, &key.seal("correct horse").expect("sealed")).expect("written");
        let mode = fs::metadata(&path).expect("it is there").mode() & 0o777;
        assert_eq!(mode, 0o600);
        let read = read_private(&path, &mut passphrase).expect("read");
        assert_eq!(read.public(), key.public());

        let again = write_private(&path, &Zeroizing::new(String::new()));
        assert!(matches!(again, Err(KeyError::Exists)));
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            let refused = read_private(&path, &mut passphrase);
            assert!(matches!(refused, Err(KeyError::TooOpen(found)) if found == mode));
        }
    }

    #[test]
    fn openssl_reads_our_keys_and_we_read_its() {
        let folder = tempfile::tempdir().expect("a folder");
        let openssl = |arguments: &str| {
            let mut openssl = Command::new("openssl");
            let run = openssl.args(arguments.split(' ')).current_dir(&folder).output();
            let run = run.expect("openssl is installed");
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            run.stdout
        };
        let path = |name: &str| folder.path().join(name);
        let key = FileKey::from_seed(&[2; 32]);
        let pem = key.seal("correct horse").expect("sealed");
        write_private(&path("ours.pem"), &pem).expect("written");
        fs::write(path("pass"), "correct horse").expect("written");
        let public = openssl("pkey -in ours.pem -passin file:pass -pubout");
        assert_eq!(String::from_utf8_lossy(&public), key.public().pem().expect("a key"));

        openssl("genpkey -algorithm ed25519 -out plain.pem");
        fs::set_permissions(path("plain.pem"), fs::Permissions::from_mode(0o600)).expect("set");
        openssl("pkcs8 -topk8 -in plain.pem -scrypt -passout file:pass -out sealed.pem");
        fs::set_permissions(path("sealed.pem"), fs::Permissions::from_mode(0o600)).expect("set");
        openssl("pkey -in plain.pem -pubout -out theirs.pub");
        let theirs = read_public(&path("theirs.pub")).expect("read");
        for name in ["plain.pem", "sealed.pem"] {
            let read = read_private(&path(name), &mut passphrase).expect("read");
            assert_eq!(*read.public(), theirs, "{name}");
        }
        fs::write(path("message"), "message").expect("written");
        fs::write(path("signature"), key.sign(b"message").expect("signed")).expect("written");
        write_public(&path("ours.pub"), key.public()).expect("written");
        let check = "pkeyutl -verify -pubin -inkey ours.pub -rawin -in message -sigfile signature";
        openssl(check);
    }
}
