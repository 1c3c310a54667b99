//! Short files beside a depot: what a stick holds that no other carrier does.

use std::collections::BTreeMap;
use std::io;

use neap_depot::files::Files;
use neap_depot::store::{Edit, Kind, Listed, Object};

use crate::limits::{COMPARED_BYTES_MAX, COMPARED_COUNT_MAX, ENTRIES_MAX};

/// Whole short files in a folder.
pub trait Raw: Send + Sync {
    /// A file that is at most `len_max` bytes long; nothing if it is not there.
    ///
    /// # Errors
    /// If it is longer: [`io::ErrorKind::FileTooLarge`], without having read it.
    fn read(&self, folder: &str, file: &str, len_max: u64) -> io::Result<Option<Vec<u8>>>;

    /// Puts a file in place of what has its name: a cut leaves the old content or the new.
    ///
    /// # Errors
    /// If the stick is full, gone, or cannot be written.
    fn put(&self, folder: &str, file: &str, content: &[u8]) -> io::Result<()>;

    /// What is in a folder; nothing if it is not there.
    ///
    /// # Errors
    /// If there are too many entries, or it cannot be read.
    fn entries(&self, folder: &str) -> io::Result<Vec<Listed>>;

    /// What writers left in a folder that were cut short and that can be removed: files whose names
    /// say so, but for those that may share their clusters with a good file.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    fn leftovers(&self, folder: &str, is_left: &dyn Fn(&str) -> bool) -> io::Result<Vec<Listed>>;

    /// Removes a file.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn discard(&self, folder: &str, file: &str) -> io::Result<()>;
}

impl<F: Files> Raw for F {
    fn read(&self, folder: &str, file: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(object) = self.open(folder, file)? else { return Ok(None) };
        let len = object.len();
        if len > len_max {
            let text = format!("{len} bytes, at most {len_max} allowed");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let mut content = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        object.read_at(0, &mut content)?;
        Ok(Some(content))
    }

    fn put(&self, folder: &str, file: &str, content: &[u8]) -> io::Result<()> {
        if !folder.is_empty() {
            self.make_folder(folder)?;
        }
        let mut left = 0..TEMPORARY_TRIES;
        let (name, temporary) = loop {
            // Those that are there were left by writers that were cut short.
            let name = format!("~stick{}.tmp", left.next().ok_or(io::ErrorKind::AlreadyExists)?);
            match self.create(folder, &name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => break (name, made?),
            }
        };
        temporary.write_at(0, content)?;
        temporary.sync()?;
        drop(temporary);
        self.rename(folder, &name, file)?;
        self.sync_folder(folder)
    }

    fn entries(&self, folder: &str) -> io::Result<Vec<Listed>> {
        self.list(folder, ENTRIES_MAX)
    }

    fn leftovers(&self, folder: &str, is_left: &dyn Fn(&str) -> bool) -> io::Result<Vec<Listed>> {
        let files = self.entries(folder)?.into_iter().filter(|entry| entry.kind == Kind::File);
        let (left, good): (Vec<_>, Vec<_>) = files.partition(|entry| is_left(&entry.file));
        let mut by_len: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for entry in good.into_iter().filter(|entry| entry.len > 0) {
            by_len.entry(entry.len).or_default().push(entry.file);
        }
        let mut allowed = Allowed { pairs: COMPARED_COUNT_MAX, bytes: COMPARED_BYTES_MAX };
        let mut alone = Vec::new();
        for entry in left {
            let like = by_len.get(&entry.len).map_or(&[][..], Vec::as_slice);
            if !may_share(self, folder, &entry.file, like, &mut allowed)? {
                alone.push(entry);
            }
        }
        Ok(alone)
    }

    fn discard(&self, folder: &str, file: &str) -> io::Result<()> {
        self.remove(folder, file)
    }
}

/// What may still be compared: whoever had the stick chooses what lies there.
struct Allowed {
    pairs: usize,
    bytes: u64,
}

/// Whether a leftover may be on the clusters of one of these good files of its length. A pull in
/// the middle of a rename on FAT leaves both names, and both lead to the same clusters: removing
/// one would take them from the other. One that was not compared may be.
fn may_share<F: Files>(
    files: &F,
    folder: &str,
    file: &str,
    like: &[String],
    allowed: &mut Allowed,
) -> io::Result<bool> {
    if like.is_empty() {
        return Ok(false);
    }
    let Some(left) = files.open(folder, file)? else { return Ok(false) };
    for good in like {
        if allowed.pairs == 0 || allowed.bytes == 0 {
            return Ok(true);
        }
        allowed.pairs -= 1;
        if let Some(good) = files.open(folder, good)?
            && is_same(&left, &good, &mut allowed.bytes)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two files of one length hold the same, with what was read taken off `allowed`. What
/// cannot be read is not the same.
fn is_same(one: &impl Object, other: &impl Object, allowed: &mut u64) -> bool {
    let (mut buffer, mut at) = ([vec![0; COMPARED_LEN], vec![0; COMPARED_LEN]], 0);
    while at < one.len() {
        let now = usize::try_from(one.len() - at).unwrap_or(COMPARED_LEN).min(COMPARED_LEN);
        let [a, b] = &mut buffer;
        let read = one.read_at(at, &mut a[..now]).and_then(|()| other.read_at(at, &mut b[..now]));
        if read.is_err() || a[..now] != b[..now] {
            return false;
        }
        at += now as u64;
        *allowed = allowed.saturating_sub(now as u64);
    }
    true
}

/// Bytes that are compared at once.
const COMPARED_LEN: usize = 64 << 10;

/// Files of writers that were cut short, passed over at most; an export removes them. Their names
/// are such that a depot takes for temporary, and its writer does not use.
const TEMPORARY_TRIES: u32 = 1000;

#[cfg(test)]
mod tests {
    use neap_depot::memory::Memory;

    use super::*;

    /// Cause: a stick with FAT that is pulled in the middle of a rename has the file under both
    /// names, on the same clusters. Effect: the next export removed the temporary name, and with it
    /// what the other one led to. Cure: a leftover that holds the same as another file stays.
    #[test]
    fn leftover_that_may_share_its_clusters_with_a_good_file_stays() {
        let memory = Memory::default();
        memory.make_folder("blobs").expect("made");
        let put = |file: &str, content: &[u8]| {
            let file = memory.create("blobs", file).expect("new");
            file.write_at(0, content).expect("written");
        };
        let long = vec![7; COMPARED_LEN + 1];
        let mut other = long.clone();
        other[COMPARED_LEN] = 8;
        put("good", &long);
        put("~1.tmp", &long);
        put("~2.tmp", &other);
        put("~3.tmp", &[]);
        put("empty", &[]);
        clear(&memory, "blobs");
        clear(&memory, "not there");
        let left: Vec<_> = memory.list("blobs", 9).expect("listed");
        let mut left: Vec<_> = left.into_iter().map(|entry| entry.file).collect();
        left.sort();
        assert_eq!(left, ["empty", "good", "~1.tmp"]);
    }

    /// Cause: each leftover was compared with every file of its length, and the folder was listed
    /// anew for each. Effect: whoever had the stick chose how long the next export takes. Cure: it
    /// is listed once, and so much is compared; what is past that stays.
    #[test]
    fn leftovers_that_would_take_too_many_comparisons_stay() {
        let memory = Memory::default();
        memory.make_folder("blobs").expect("made");
        let put = |file: &str, content: &[u8]| {
            let file = memory.create("blobs", file).expect("new");
            file.write_at(0, content).expect("written");
        };
        for index in 0..COMPARED_COUNT_MAX - 1 {
            put(&index.to_string(), b"good");
        }
        for index in 0..100 {
            put(&format!("~{index:02}.tmp"), b"left");
        }
        put("~more.tmp", b"of another length");
        clear(&memory, "blobs");
        let left = memory.list("blobs", ENTRIES_MAX).expect("listed").into_iter();
        let left: Vec<_> = left.map(|entry| entry.file).filter(|f| f.starts_with('~')).collect();
        assert_eq!(left.len(), 99, "one was compared with all, and no other");
        assert!(!left.contains(&"~more.tmp".into()) && !left.contains(&"~00.tmp".into()));
    }

    fn clear(memory: &Memory, folder: &str) {
        let left = memory.leftovers(folder, &|file| file.starts_with('~')).expect("listed");
        left.iter().for_each(|entry| memory.discard(folder, &entry.file).expect("removed"));
    }

    #[test]
    fn file_is_put_past_what_writers_left_that_were_cut_short() {
        let memory = Memory::default();
        memory.make_folder("a").expect("made");
        for index in 0..3 {
            memory.create("a", &format!("~stick{index}.tmp")).expect("new");
        }
        memory.put("a", "x", b"new").expect("put");
        assert_eq!(memory.read("a", "x", 9).expect("read").as_deref(), Some(&b"new"[..]));
    }
}
