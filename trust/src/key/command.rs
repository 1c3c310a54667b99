//! Keys that a program signs with: a key service, a machine behind a gateway, a smart card with a
//! tool of its own.
//!
//! The program gets the message on standard input and prints the signature: 64 bytes, or 128
//! hexadecimal digits. It is believed no further: its signature is checked with the public key.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{KeyError, PublicKey, Signer};
use crate::limits::COMMAND_S_MAX;

/// Longest answer that is read: a signature in digits and some white space.
const ANSWER_LEN_MAX: u64 = 256;

/// From one look at whether the program has ended to the next.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A signer that runs a command of the shell for each signature.
#[derive(Debug)]
pub struct CommandKey {
    command: String,
    public: PublicKey,
    limit: Duration,
}

impl CommandKey {
    /// The signer of this command, whose signatures are those of `public`. A command that does not
    /// end within [`COMMAND_S_MAX`] is stopped; what it started in turn is not.
    #[must_use]
    pub fn new(command: String, public: PublicKey) -> Self {
        Self { command, public, limit: Duration::from_secs(COMMAND_S_MAX) }
    }

    /// What the program prints, once it has ended well.
    fn answer(&self, child: &mut Child, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |error: std::io::Error| KeyError::Command(error.to_string());
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(KeyError::Command("it has no pipes".into()));
        };
        let message = message.to_vec();
        // A program that does not read its input is told by its signature. These threads may
        // outlive the program: what it started may hold its pipes.
        thread::spawn(move || drop(stdin.write_all(&message)));
        let (tell, told) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.take(ANSWER_LEN_MAX + 1).read_to_end(&mut answer);
            // Nobody waits any more if it came too late.
            drop(tell.send(read.map(|_| answer)));
        });
        let late = || KeyError::CommandLate {
            command: self.command.clone(),
            limit_s: self.limit.as_secs(),
        };
        let end = Instant::now() + self.limit;
        let answer = told.recv_timeout(self.limit).map_err(|_| late())?.map_err(failed)?;
        loop {
            match child.try_wait().map_err(failed)? {
                Some(status) if status.success() => return Ok(answer),
                Some(status) => return Err(KeyError::Command(status.to_string())),
                None if Instant::now() >= end => return Err(late()),
                None => thread::sleep(LOOK_EVERY),
            }
        }
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
        let answer = self.answer(&mut child, message);
        if answer.is_err() {
            // It may have ended already; then there is nothing to stop.
            drop(child.kill());
            child.wait().map_err(failed)?;
        }
        let answer = answer?;
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

    #[test]
    fn command_that_does_not_end_in_time_is_stopped() {
        let digits = hex::encode(key("").0.sign(b"message").expect("signed"));
        for hung in [
            "exec sleep 60".to_owned(),
            // The answer is there, and the program is not done.
            format!("echo {digits}; exec >&-; exec sleep 60"),
            // Something that it started holds the pipe.
            format!("sleep 3 & echo {digits}"),
        ] {
            let (_, mut key) = key(&hung);
            key.limit = Duration::from_millis(300);
            let begun = Instant::now();
            let signed = sign_checked(&key, b"message");
            assert!(begun.elapsed() < Duration::from_secs(30), "it was not waited for");
            let is_late = matches!(&signed, Err(KeyError::CommandLate { command, .. })
                if *command == hung);
            assert!(is_late, "{signed:?}");
        }
    }
}
