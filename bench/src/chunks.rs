//! What a chunk store must send: the chunks of the target that the source does not have.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

/// Moves the chunks that only the target has from the store `target` to the store `wire`, and
/// returns their bytes. Chunks are `<first four digits>/<digest>.cacnk`, as casync names them.
///
/// # Errors
/// A store that cannot be read, or a chunk that cannot be moved.
pub fn take_new(source: &Path, target: &Path, wire: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    fs::create_dir_all(wire)?;
    for shelf in fs::read_dir(target)? {
        let shelf = shelf?;
        if !shelf.file_type()?.is_dir() {
            continue;
        }
        for chunk in fs::read_dir(shelf.path())? {
            let chunk = chunk?;
            if source.join(shelf.file_name()).join(chunk.file_name()).exists() {
                continue;
            }
            bytes += chunk.metadata()?.len();
            fs::create_dir_all(wire.join(shelf.file_name()))?;
            fs::rename(chunk.path(), wire.join(shelf.file_name()).join(chunk.file_name()))?;
        }
    }
    Ok(bytes)
}

/// One row of `zck_read_header --show-chunks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZchunkRow {
    /// The chunk's digest, in hex.
    pub digest: String,
    /// Where its compressed bytes start; of the first row this is the header's size.
    pub offset: u64,
    /// Its compressed bytes.
    pub size: u64,
}

/// The chunk rows of what `zck_read_header --show-chunks` prints.
#[must_use]
pub fn parse_zchunk(text: &str) -> Vec<ZchunkRow> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [index, digest, offset, size, _unpacked] = words[..] else { return None };
            index.parse::<u64>().ok()?;
            let (offset, size) = (offset.parse().ok()?, size.parse().ok()?);
            Some(ZchunkRow { digest: digest.to_owned(), offset, size })
        })
        .collect()
}

/// The bytes a client fetches of a zchunk file: its header, and the chunks the source has not.
/// A chunk that the target repeats is fetched once.
#[must_use]
pub fn zchunk_fetched(source: &[ZchunkRow], target: &[ZchunkRow]) -> u64 {
    let mut known: HashSet<&str> = source.iter().map(|row| row.digest.as_str()).collect();
    let header = target.first().map_or(0, |row| row.offset);
    let fresh = target.iter().filter(|row| known.insert(&row.digest)).map(|row| row.size);
    header + fresh.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "zchunk file\n\nHeader size: 11197\nChunk count: 3\n\
        No dictionary\n\n   Chunk Checksum  Start  Comp size  Size\n\
        \u{20}   0 0000  100  0  0\n    1 a14f  100  1060  1872\n    2 17ad  1160  26  43\n";

    #[test]
    fn only_rows_of_chunks_are_read() {
        let rows = parse_zchunk(PRINTED);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[2], ZchunkRow { digest: "17ad".to_owned(), offset: 1160, size: 26 });
    }

    #[test]
    fn fetched_is_the_header_and_each_unknown_chunk_once() {
        let mut target = parse_zchunk(PRINTED);
        assert_eq!(zchunk_fetched(&target[..2], &target), 100 + 26);
        assert_eq!(zchunk_fetched(&[], &target), 100 + 1060 + 26);
        target.push(target[2].clone());
        assert_eq!(zchunk_fetched(&[], &target), 100 + 1060 + 26);
    }

    #[test]
    fn chunks_the_source_has_stay_and_new_ones_are_moved() {
        let folder = std::env::temp_dir().join(format!("neap-chunks-{}", std::process::id()));
        for (store, chunk, text) in
            [("s", "ab/one", "1"), ("t", "ab/one", "1"), ("t", "cd/two", "22")]
        {
            let path = folder.join(store).join(chunk);
            fs::create_dir_all(path.parent().expect("has a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let bytes = take_new(&folder.join("s"), &folder.join("t"), &folder.join("w"));
        assert_eq!(bytes.expect("both stores are there"), 2);
        assert!(folder.join("w/cd/two").exists() && !folder.join("w/ab").exists());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
