//! What the exit code says.

use std::process::ExitCode;

/// Every way a verb can end. Codes that are not here are reserved for verbs to come.
///
/// | code | name | when |
/// |-----:|------|------|
/// | 0 | ok | everything asked for was done and verified |
/// | 1 | error | what has no code of its own: a damaged patch, a device in use, no permission |
/// | 2 | usage | the command line makes no sense; nothing was written |
/// | 3 | nothing to do | everything is already as asked for |
/// | 5 | wrong source | the source is not the image the patch starts from; nothing was written |
/// | 6 | signature or role refused | a key may not sign this, or a signature is missing or wrong |
/// | 7 | rollback or freeze refused | older than what was seen, held back, or of different times |
/// | 8 | expired | what was to be published, signed or installed has expired |
/// | 9 | approval missing | a person was to agree and did not, or there was no one to ask |
/// | 10 | interrupted, resumable | the patch stopped coming; the same command goes on from there |
/// | 11 | budget would be exceeded | it would take more bytes than allowed; it was not started |
/// | 12 | no space or target too small | the target, or the disk of the journal or patch, is full |
/// | 13 | verification failed | what was read back or looked at is not as it should be |
/// | 14 | device I/O | a device failed to read or write |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    NothingToDo = 3,
    WrongSource = 5,
    Refused = 6,
    Rollback = 7,
    Expired = 8,
    ApprovalMissing = 9,
    Interrupted = 10,
    OverBudget = 11,
    NoSpace = 12,
    VerificationFailed = 13,
    DeviceIo = 14,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
