//! What an export takes off a stick: what writers left that were cut short, and approvals that no
//! device counts any more. Before room is asked for, since both take some.

use std::io;

use neap_depot::name::{Folder, Meaning};
use neap_trust::approval::Approval;
use neap_trust::time::Timestamp;

use crate::error::StickError;
use crate::limits::APPROVALS_MAX;
use crate::stick::{APPROVALS, Room, SEALED, Stick, approval_file};

/// Removes what writers left that were cut short, and expired approvals: those that are whole under
/// the name that their bytes give them, and say themselves that they expired by `now`.
///
/// # Errors
/// If a folder cannot be listed or a file removed, or another program writes to the stick.
pub fn clear(stick: &Stick, now: Timestamp) -> Result<(), StickError> {
    // Where nothing is to go not even a lock is left.
    if past(stick, now)?.is_empty() {
        return Ok(());
    }
    let _writer = stick.depot().writer("neap stick export")?;
    for Past { folder, file, .. } in past(stick, now)? {
        let removed = stick.raw().discard(folder, &file);
        removed.map_err(|error| StickError::of(stick.title(), folder, error))?;
    }
    Ok(())
}

/// The room that there is once [`clear`] has been, as far as lengths tell.
///
/// # Errors
/// If a folder cannot be listed.
pub fn room_after(stick: &Stick, now: Timestamp, room: Room) -> Result<Room, StickError> {
    // A file system can say any length.
    let after = |free: u64, past: &Past| free.saturating_add(room.rounded(past.len));
    Ok(Room { free: past(stick, now)?.iter().fold(room.free, after), ..room })
}

/// A file that is to go.
struct Past {
    folder: &'static str,
    file: String,
    len: u64,
}

fn past(stick: &Stick, now: Timestamp) -> Result<Vec<Past>, StickError> {
    let mut past = Vec::new();
    for folder in ["", "metadata", "blobs", SEALED, APPROVALS] {
        let left = stick.raw().leftovers(folder, &is_left);
        let left = left.map_err(|error| StickError::of(stick.title(), folder, error))?;
        past.extend(left.into_iter().map(|left| Past { folder, file: left.file, len: left.len }));
    }
    let expired = expired(stick, now);
    past.extend(expired.map_err(|error| StickError::of(stick.title(), APPROVALS, error))?);
    Ok(past)
}

fn is_left(file: &str) -> bool {
    Folder::Blobs.meaning(file) == Meaning::Temporary
}

fn expired(stick: &Stick, now: Timestamp) -> io::Result<Vec<Past>> {
    let has_expired = |file: &str, bytes: &[u8]| {
        file == approval_file(bytes)
            && Approval::claimed(bytes).is_ok_and(|approval| approval.expires <= now)
    };
    let approvals = stick.approvals()?.into_iter().take(APPROVALS_MAX);
    let approvals = approvals.filter_map(|(path, bytes)| {
        let file = path.strip_prefix(APPROVALS)?.strip_prefix('/')?;
        let len = bytes.len() as u64;
        has_expired(file, &bytes).then(|| Past { folder: APPROVALS, file: file.to_owned(), len })
    });
    Ok(approvals.collect())
}

#[cfg(test)]
mod tests {
    use neap_depot::files::Files as _;
    use neap_depot::memory::Memory;
    use neap_depot::store::Edit as _;
    use neap_trust::approval::Scope;
    use neap_trust::device_key::file::{DeviceFileKey, Kind};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn approval(expires: &str) -> Vec<u8> {
        let approval = Approval {
            to: [7; 32],
            scope: Scope::Site("Aurora".into()),
            product: "radar".into(),
            version: "1.1".into(),
            approver: "master".into(),
            at: at("2026-11-01T00:00:00Z"),
            expires: at(expires),
        };
        let key = DeviceFileKey::from_seed(Kind::Ed25519, &[3; 32]).expect("a key");
        approval.sign(&key).expect("signed")
    }

    fn names(memory: &Memory, folder: &str) -> Vec<String> {
        let listed = memory.list(folder, 99).expect("listed").into_iter();
        let mut names: Vec<_> = listed.map(|entry| entry.file).collect();
        names.sort();
        names
    }

    #[test]
    fn expired_approvals_are_taken_away_and_no_others() {
        let memory = Memory::default();
        let stick = Stick::on(memory.clone(), None).expect("a stick");
        for expires in ["2026-11-15T00:00:00Z", "2026-11-15T00:00:01Z"] {
            stick.approve(&approval(expires)).expect("written");
        }
        let put = |name: &str, content: &[u8]| {
            let file = memory.create(APPROVALS, name).expect("new");
            file.write_at(0, content).expect("written");
        };
        // Expired, under a name that is not its own; and what is none.
        put("0123456789abcdef0123456789abcdef.cose", &approval("2026-11-02T00:00:00Z"));
        put("x.cose", b"expired long ago");
        let stick = Stick::on(memory.clone(), None).expect("a stick");
        clear(&stick, at("2026-11-15T00:00:00Z")).expect("cleared");
        let live = approval_file(&approval("2026-11-15T00:00:01Z"));
        let mut left = vec![live, "0123456789abcdef0123456789abcdef.cose".into(), "x.cose".into()];
        left.sort();
        assert_eq!(names(&memory, APPROVALS), left);
    }

    #[test]
    fn room_after_clearing_counts_what_goes_in_clusters_and_removes_nothing() {
        let memory = Memory::default();
        for folder in ["blobs", APPROVALS] {
            memory.make_folder(folder).expect("made");
        }
        let put = |folder: &str, file: &str, len: usize| {
            let file = memory.create(folder, file).expect("new");
            file.write_at(0, &vec![7; len]).expect("written");
        };
        put("blobs", "~1.tmp", 4097);
        put("blobs", "good", 100);
        // It may lie on the clusters of the good one: it stays.
        put("blobs", "~2.tmp", 100);
        let stick = Stick::on(memory.clone(), None).expect("a stick");
        stick.approve(&approval("2026-11-02T00:00:00Z")).expect("written");
        let (now, room) = (at("2026-11-03T00:00:00Z"), Room { free: 1000, cluster: 4096 });
        let after = room_after(&stick, now, room).expect("listed");
        assert_eq!(after, Room { free: 1000 + 3 * 4096, ..room });
        assert_eq!(names(&memory, "blobs"), ["good", "~1.tmp", "~2.tmp"]);
        clear(&stick, now).expect("cleared");
        assert_eq!(names(&memory, "blobs"), ["good", "~2.tmp"]);
        assert_eq!(names(&memory, APPROVALS), [""; 0]);
    }
}
