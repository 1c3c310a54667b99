//! Keys that a program signs with: a key service, a machine behind a gateway, a smart card with a
//! tool of its own.
//!
//! The program gets the message on standard input and prints the signature: 64 bytes, or 128
//! hexadecimal digits. It is believed no further: its signature is checked with the public key.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::{KeyError, PublicKey, Signer};

/// Longest answer that is read: a signature in digits and some white space.
const ANSWER_LEN_MAX: u64 = 256;

/// A signer that runs a command of the shell for each signature.
#[derive(Debug)]
pub struct CommandKey {
    command: String,
    public: PublicKey,
}

impl CommandKey {
    /// The signer of this command, whose signatures are those of `public`.
    #[must_use]
    pub fn new(command: String, public: PublicKey) -> Self {
        Self { command, public }
    }
}

impl Signer for CommandKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let failed = |error: std::io::Error| KeyError::Command(error.to_string());
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(KeyError::Command("it has no pipes".into()));
        };
        let mut answer = Vec::new();
        let read = std::thread::scope(|scope| {
            // A program that does not read its input is told by its signature.
            scope.spawn(move || drop(stdin.write_all(message)));
            stdout.take(ANSWER_LEN_MAX + 1).read_to_end(&mut answer)
        });
        let status = child.wait().map_err(failed)?;
        read.map_err(failed)?;
        if !status.success() {
            return Err(KeyError::Command(status.to_string()));
        }
        signature(&answer).ok_or_else(|| {
            let len = answer.len();
            KeyError::Command(format!("{len} bytes are neither 64 bytes nor 128 digits"))
        })
    }
}

fn signature(answer: &[u8]) -> Option<[u8; 64]> {
    if let Ok(raw) = answer.try_into() {
        return Some(raw);
    }
    hex::decode(std::str::from_utf8(answer).ok()?.trim()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::sealed::FileKey;
    use super::super::sign_checked;
    use super::*;

    fn key(command: &str) -> (FileKey, CommandKey) {
        let file = FileKey::from_seed(&[5; 32]);
        let public = file.public().clone();
        (file, CommandKey::new(command.into(), public))
    }

    #[test]
    fn raw_bytes_and_digits_are_signatures() {
        let signed = key("").0.sign(b"message").expect("signed");
        let digits = hex::encode(signed);
        let octal: String = signed.iter().map(|byte| format!("\\{byte:03o}")).collect();
        for command in [format!("cat >/dev/null; echo {digits}"), format!("printf '{octal}'")] {
            let made = sign_checked(&key(&command).1, b"message").expect("signed");
            assert_eq!(made, signed);
        }
    }

    #[test]
    fn message_comes_on_standard_input() {
        // Only a command that saw the whole message prints the right signature.
        let message = vec![b'm'; 1 << 20];
        let digits = hex::encode(key("").0.sign(&message).expect("signed"));
        let command = format!("test $(wc -c) = 1048576 && echo {digits}");
        assert!(sign_checked(&key(&command).1, &message).is_ok());
    }

    #[test]
    fn failures_and_foreign_signatures_are_refused() {
        let sign = |command: &str| sign_checked(&key(command).1, b"message");
        let foreign = hex::encode(key("").0.sign(b"another").expect("signed"));
        assert!(matches!(sign(&format!("echo {foreign}")), Err(KeyError::WrongSignature)));
        for command in ["exit 3", "true", "echo 00", "cat /dev/zero", "no-such-program-at-all"] {
            assert!(matches!(sign(command), Err(KeyError::Command(_))), "{command}");
        }
    }
}
