//! Why a device does not believe a carrier, in words for who stands beside it.

use std::error::Error;
use std::fmt;
use std::io;

use jiff::Timestamp;

use crate::time::{KnownTime, Source};

/// What stops a check. The carrier, or who wrote to it, causes all but the last four.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Too few of the keys that must sign a file have signed it.
    Threshold {
        /// The file.
        file: String,
        /// Whose keys must sign it.
        role: String,
        /// Valid signatures by different keys.
        valid: usize,
        /// Signatures needed.
        needed: usize,
    },
    /// A key signed a file twice: someone tries to be two people.
    SignedTwice {
        /// The file.
        file: String,
        /// The key's id.
        key: String,
    },
    /// A role says what it may not say.
    Role {
        /// The role.
        role: String,
        /// What it says.
        why: String,
    },
    /// Older than what this device saw before.
    Rollback {
        /// What is older: a role, or a role as the snapshot or timestamp names it.
        role: String,
        /// Version that this device saw.
        seen: u64,
        /// Version that the carrier has.
        offered: u64,
    },
    /// The snapshot no longer names a role that it named before.
    Removed {
        /// The role.
        role: String,
    },
    /// Files of different times put together.
    MixAndMatch {
        /// The file that does not belong.
        file: String,
        /// How it does not.
        why: String,
    },
    /// A root is missing though a later one is there.
    Withheld {
        /// The missing file.
        missing: String,
        /// The file that is there.
        found: String,
    },
    /// What a role says is no longer valid.
    Expired {
        /// The role.
        role: String,
        /// Until when it was valid.
        expires: Timestamp,
        /// The time that this was judged by, before the allowance.
        time: KnownTime,
        /// Days that the site may be stale.
        allowed_days: u32,
    },
    /// A file is not there.
    Missing {
        /// The file.
        file: String,
    },
    /// A file does not end where it must.
    TooLong {
        /// The file.
        file: String,
        /// Bytes it may have.
        len_max: u64,
    },
    /// A file is not what it should be; nobody signed it like that.
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// More roots than are followed in one run; those followed are kept.
    ManyRoots {
        /// The last one followed.
        version: u64,
    },
    /// The depot releases nothing to a group.
    UnknownGroup {
        /// The group.
        group: String,
    },
    /// The carrier cannot be read.
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// This device has no root to start from.
    NoRoot,
    /// The root that this device was given is not one, or belongs to another repository.
    BadRoot {
        /// What is wrong with it.
        why: String,
    },
    /// What this device remembers cannot be read or written.
    State {
        /// The file.
        name: String,
        /// What the system says.
        error: io::Error,
    },
}

impl Refusal {
    /// The exit code of a command that ends with it (`docs/exit-codes.md`).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Threshold { .. } | Self::SignedTwice { .. } | Self::Role { .. } => 6,
            Self::Rollback { .. }
            | Self::Removed { .. }
            | Self::MixAndMatch { .. }
            | Self::Withheld { .. } => 7,
            Self::Expired { .. } => 8,
            Self::Unreadable { error, .. } if is_interrupted(error) => 10,
            _ => 1,
        }
    }

    /// A word for programs: a metric's label, a field of JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Threshold { .. } => "threshold",
            Self::SignedTwice { .. } => "signed-twice",
            Self::Role { .. } => "role",
            Self::Rollback { .. } => "rollback",
            Self::Removed { .. } => "removed",
            Self::MixAndMatch { .. } => "mix-and-match",
            Self::Withheld { .. } => "withheld",
            Self::Expired { .. } => "expired",
            Self::Missing { .. } => "missing",
            Self::TooLong { .. } => "too-long",
            Self::Damaged { .. } => "damaged",
            Self::ManyRoots { .. } => "many-roots",
            Self::UnknownGroup { .. } => "unknown-group",
            Self::Unreadable { .. } => "unreadable",
            Self::NoRoot => "no-root",
            Self::BadRoot { .. } => "bad-root",
            Self::State { .. } => "state",
        }
    }

    /// What to do.
    #[must_use]
    pub fn next(&self) -> String {
        let fresh = "use a carrier that was written after the newest one this device has seen";
        match self {
            Self::Threshold { .. } | Self::SignedTwice { .. } | Self::Role { .. } => {
                "do not install from this carrier; tell whoever publishes releases".into()
            }
            Self::Rollback { .. } | Self::Removed { .. } | Self::MixAndMatch { .. } => fresh.into(),
            Self::Withheld { missing, .. } => {
                format!("copy all of metadata/ to the carrier again: {missing} must be there")
            }
            Self::Expired { time, .. } if time.source == Source::Rtc => {
                "check the device's clock; if it is right, bring a carrier written more recently"
                    .into()
            }
            Self::Expired { .. } => "bring a carrier that was written more recently".into(),
            Self::Missing { .. } | Self::TooLong { .. } | Self::Damaged { .. } => {
                "write the carrier again from the release server; check the medium".into()
            }
            Self::ManyRoots { .. } => "run the same command again: it goes on from there".into(),
            Self::UnknownGroup { .. } => "check the group's name, or the depot".into(),
            Self::Unreadable { error, .. } if is_interrupted(error) => {
                "run the same command again when the link is back".into()
            }
            Self::Unreadable { .. } => "check the carrier: is it plugged in and mounted?".into(),
            Self::NoRoot | Self::BadRoot { .. } => {
                "give the root that came with the device (--root)".into()
            }
            Self::State { .. } => "check the device's own storage".into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold { file, role, valid, needed } => {
                write!(f, "{file}: {valid} valid signatures by keys of {role}, {needed} needed")
            }
            Self::SignedTwice { file, key } => {
                write!(f, "{file}: key {key} signed twice, and each may sign once")
            }
            Self::Role { role, why } => write!(f, "role {role} {why}"),
            Self::Rollback { role, seen, offered } => write!(
                f,
                "{role} is version {offered}, older than version {seen} which this device has seen"
            ),
            Self::Removed { role } => {
                write!(f, "the snapshot no longer names role {role}, which this device has seen")
            }
            Self::MixAndMatch { file, why } => {
                write!(f, "{file}: {why}: files of different times were put together")
            }
            Self::Withheld { missing, found } => {
                write!(f, "{missing} is missing though {found} is there: a root is held back")
            }
            Self::Expired { role, expires, time, allowed_days } => {
                let KnownTime { at, source } = time;
                write!(f, "{role} was valid until {expires}, and it is {at} or later by {source}")?;
                match allowed_days {
                    0 => Ok(()),
                    days => write!(f, "; this site may be stale for {days} days, it is longer"),
                }
            }
            Self::Missing { file } => write!(f, "{file}: not on the carrier"),
            Self::TooLong { file, len_max } => {
                write!(f, "{file}: more than the {len_max} bytes it may have")
            }
            Self::Damaged { file, why } => write!(f, "{file}: damaged: {why}"),
            Self::ManyRoots { version } => {
                write!(f, "followed to root {version}, and there are more than one run follows")
            }
            Self::UnknownGroup { group } => write!(f, "nothing is released to group {group} here"),
            Self::Unreadable { file, error } => write!(f, "{file}: cannot be read: {error}"),
            Self::NoRoot => write!(f, "this device has no trusted root to start from"),
            Self::BadRoot { why } => write!(f, "the trusted root of this device: {why}"),
            Self::State { name, error } => {
                write!(f, "what this device remembers, {name}: {error}")
            }
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } | Self::State { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What the verifying core says of a file.
pub(crate) fn of_core(error: sigstore_tuf::Error, file: &str) -> Refusal {
    use sigstore_tuf::Error as Core;
    let file = file.to_owned();
    match error {
        Core::ThresholdNotMet { role, found, threshold } => {
            Refusal::Threshold { file, role, valid: found, needed: threshold }
        }
        Core::DuplicateSignature { key_id, .. } => Refusal::SignedTwice { file, key: key_id },
        Core::Rollback { role, trusted, new } => {
            Refusal::Rollback { role, seen: trusted, offered: new }
        }
        Core::BadRootVersion { trusted, new } => {
            let due = trusted.saturating_add(1);
            Refusal::MixAndMatch { file, why: format!("it is root {new}, root {due} is due") }
        }
        Core::UnknownRole(role) => {
            Refusal::Role { role, why: "is not one that its delegator names".into() }
        }
        other => Refusal::Damaged { file, why: chain(&other) },
    }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Whether the same read may succeed later.
fn is_interrupted(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::TimedOut
            | Kind::Interrupted
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::ConnectionRefused
            | Kind::NotConnected
            | Kind::NetworkUnreachable
            | Kind::HostUnreachable
            | Kind::NetworkDown
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
    )
}
