//! The index of a compressed file: for each block of its content, where a cluster starts.
//!
//! A *logical* cluster is as long as a block, mostly. It is a head, where a cluster of packed bytes
//! starts to unpack, or follows one. A cluster has the length of a logical one, unless the first
//! that follows its head tells how many blocks it has. Indexes are full, 8 bytes for each logical
//! cluster (`z_erofs_lcluster_index`), or compact, of two kinds of packs: 2 in 8 bytes or 16 in 32,
//! each with one address, from which those of all its heads are counted (`fs/erofs/zmap.c`).

use super::inode::Layout;
use super::{Inode, Parsed, Reader, Superblock, check, le16, le32, sum};

/// Length of the header before the index, in bytes.
const HEADER_LEN: usize = 8;

/// Between header and full index, in bytes.
const FULL_GAP: u64 = 8;

/// Length of an entry of a full index, in bytes.
const FULL_LEN: usize = 8;

/// Advice in the header.
const ADVICE_HALF: u16 = 0x1;
const ADVICE_LARGE: u16 = 0x2;
const ADVICE_INLINE: u16 = 0x8;
const ADVICE_FRAGMENT: u16 = 0x20;

/// In the header's last byte: the whole file is a fragment.
const WHOLE_FRAGMENT: u8 = 0x80;

/// In what follows a head: the rest is how many blocks the cluster has.
const HAS_COUNT: u32 = 1 << 11;

/// What is no number of a codec: the bytes are as they were.
pub(super) const STORED: u8 = u8::MAX;

/// Packed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cluster {
    /// Number of the codec.
    pub(super) codec: u8,
    /// Where they start in the image, in bytes.
    pub(super) offset: u64,
    /// Their length, in bytes, a multiple of the block's.
    pub(super) len: u64,
    /// How many plain bytes of the file they are, as far as it has them.
    pub(super) plain_len: u64,
}

/// What the index says of a logical cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// A cluster starts here: one that is stored, or one of the first or second codec. It unpacks
    /// to what is `skip` bytes behind the start of the logical cluster.
    Head { kind: Kind, skip: u64, block: u64 },
    /// It goes on; and how many blocks it has, where that is told.
    Follows { block_count: Option<u64> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stored,
    First,
    Second,
}

/// The packed clusters of a file, in its order.
pub(super) fn clusters(
    reader: &mut Reader<'_>,
    superblock: &Superblock,
    inode: &Inode,
) -> Parsed<Vec<Cluster>> {
    // Alignment counts from where the file system starts.
    let header_at = superblock.start + (inode.end - superblock.start).next_multiple_of(8);
    let header: [u8; HEADER_LEN] = reader.array(header_at)?;
    let advice = le16(&header, 4);
    if header[7] & WHOLE_FRAGMENT != 0 {
        return Ok(Vec::new());
    }
    let cluster_log2 = superblock.block_log2 + (header[7] & 15);
    check(cluster_log2 <= 20)?;
    let mut found = Clusters {
        superblock,
        codecs: [header[6] & 15, header[6] >> 4],
        cluster_log2,
        plain_len: inode.len,
        count: 0,
        found: Vec::new(),
        open: None,
    };
    let count = inode.len.div_ceil(1 << cluster_log2);
    let start = header_at + HEADER_LEN as u64;
    if inode.layout == Layout::Full {
        // The bit is that of an index of another kind here.
        check(advice & ADVICE_HALF == 0)?;
        read_full(reader, start + FULL_GAP, count, &mut found)?;
    } else {
        read_compact(reader, start, count, advice, &mut found)?;
    }
    let is_tail_elsewhere =
        advice & ADVICE_FRAGMENT != 0 || advice & ADVICE_INLINE != 0 && le16(&header, 2) != 0;
    if !is_tail_elsewhere {
        found.close(inode.len)?;
    }
    Ok(found.found)
}

/// A cluster whose head came.
struct Open {
    kind: Kind,
    block: u64,
    len: u64,
    /// Where its plain bytes start in the file.
    plain_at: u64,
}

/// Clusters that were found so far, and the one whose head came last.
struct Clusters<'a> {
    superblock: &'a Superblock,
    codecs: [u8; 2],
    cluster_log2: u8,
    plain_len: u64,
    /// How many entries there were.
    count: u64,
    found: Vec<Cluster>,
    open: Option<Open>,
}

impl Clusters<'_> {
    /// Adds the next entry.
    fn add(&mut self, entry: Entry) -> Parsed<()> {
        let plain_at = self.count << self.cluster_log2;
        self.count += 1;
        match entry {
            // What starts at the end of the file only marks that.
            Entry::Head { skip, .. } if plain_at + skip >= self.plain_len => {}
            Entry::Head { kind, skip, block } => {
                let plain_at = plain_at + skip;
                self.close(plain_at)?;
                // The address of a tail that is elsewhere means nothing: it is checked when used.
                self.open = Some(Open { kind, block, len: 1 << self.cluster_log2, plain_at });
            }
            Entry::Follows { block_count: Some(count) } => {
                if let Some(open) = &mut self.open {
                    open.len = count << self.superblock.block_log2;
                }
            }
            Entry::Follows { block_count: None } => {}
        }
        Ok(())
    }

    /// Ends the cluster whose head came last where its plain bytes end.
    fn close(&mut self, plain_end: u64) -> Parsed<()> {
        let Some(Open { kind, block, len, plain_at }) = self.open.take() else { return Ok(()) };
        let codec = match kind {
            // A tail that is a fragment has no blocks.
            _ if len == 0 => return Ok(()),
            Kind::Stored => STORED,
            Kind::First => self.codecs[0],
            Kind::Second => self.codecs[1],
        };
        let Superblock { start, len: all, block_log2, .. } = *self.superblock;
        let offset = self.superblock.block(block)?;
        check(sum(offset, len)? <= start + all)?;
        // More clusters than blocks cannot lie beside each other.
        check((self.found.len() as u64) < all >> block_log2)?;
        let plain_len = plain_end.saturating_sub(plain_at);
        self.found.push(Cluster { codec, offset, len, plain_len });
        Ok(())
    }
}

fn read_full(
    reader: &mut Reader<'_>,
    start: u64,
    count: u64,
    found: &mut Clusters<'_>,
) -> Parsed<()> {
    check(count <= reader.size() / FULL_LEN as u64)?;
    for index in 0..count {
        reader.spend(FULL_LEN as u64)?;
        let entry: [u8; FULL_LEN] = reader.array(start + index * FULL_LEN as u64)?;
        let kind = u32::from(le16(&entry, 0));
        found.add(match kind_of(kind) {
            Some(kind) => {
                let skip = u64::from(le16(&entry, 2));
                Entry::Head { kind, skip, block: u64::from(le32(&entry, 4)) }
            }
            None => follows(u32::from(le16(&entry, 4))),
        })?;
    }
    Ok(())
}

/// The kind of a head by the lowest two bits, none if it is no head.
fn kind_of(bits: u32) -> Option<Kind> {
    match bits & 3 {
        0 => Some(Kind::Stored),
        1 => Some(Kind::First),
        3 => Some(Kind::Second),
        _ => None,
    }
}

fn follows(bits: u32) -> Entry {
    let block_count = (bits & HAS_COUNT != 0).then(|| u64::from(bits & !HAS_COUNT));
    Entry::Follows { block_count }
}

fn read_compact(
    reader: &mut Reader<'_>,
    start: u64,
    count: u64,
    advice: u16,
    found: &mut Clusters<'_>,
) -> Parsed<()> {
    check(count <= reader.size())?;
    // Packs of 32 bytes start at a multiple of their length; those of 8 bytes go before and behind.
    let before = count.min((32 - (start - found.superblock.start) % 32) / 4 % 8);
    let halves = if advice & ADVICE_HALF == 0 { 0 } else { (count - before) / 16 * 16 };
    let is_large = advice & ADVICE_LARGE != 0;
    let mut at = start;
    for (pack, count) in [(FOURS, before), (HALVES, halves), (FOURS, count - before - halves)] {
        let mut left = count;
        while left > 0 {
            check(found.cluster_log2 <= pack.cluster_log2_max)?;
            reader.spend(pack.len as u64)?;
            let bytes = reader.bytes(at, pack.len)?;
            let there = left.min(pack.count as u64);
            for entry in pack
                .entries(bytes, found.cluster_log2, is_large)
                .take(usize::try_from(there).expect("a pack has few entries"))
            {
                found.add(entry)?;
            }
            left -= there;
            at += pack.len as u64;
        }
    }
    Ok(())
}

/// A kind of pack of a compact index.
#[derive(Debug, Clone, Copy)]
struct Pack {
    /// In bytes; the last four are an address.
    len: usize,
    /// How many logical clusters it tells of.
    count: usize,
    /// Bits for each.
    bits: usize,
    /// Longest logical cluster, as log2 of bytes.
    cluster_log2_max: u8,
}

const FOURS: Pack = Pack { len: 8, count: 2, bits: 16, cluster_log2_max: 14 };
const HALVES: Pack = Pack { len: 32, count: 16, bits: 14, cluster_log2_max: 12 };

impl Pack {
    /// What a pack says.
    ///
    /// Where clusters are large, the address is that of the first cluster that starts or is counted
    /// here; else it is that of the block before.
    fn entries(
        self,
        bytes: &[u8],
        cluster_log2: u8,
        is_large: bool,
    ) -> impl Iterator<Item = Entry> {
        let address = u64::from(le32(bytes, self.len - 4));
        let mut block = if is_large { address } else { address + 1 };
        let low_bits = cluster_log2.max(12);
        let low_mask = (1_u32 << low_bits) - 1;
        // A head whose blocks are not counted yet.
        let mut is_open = false;
        (0..self.count).map(move |index| {
            let bit = index * self.bits;
            let value = le32(bytes, bit / 8) >> (bit % 8);
            if let Some(kind) = kind_of(value >> low_bits) {
                block += u64::from(is_open);
                is_open = true;
                let skip = u64::from(value & low_mask);
                return Entry::Head { kind, skip, block };
            }
            let entry = follows(value & low_mask);
            if let Entry::Follows { block_count: Some(count) } = entry {
                block += count;
                is_open = false;
            }
            entry
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pack of two entries of 16 bits and an address.
    fn fours(entries: [u16; 2], address: u32) -> Vec<u8> {
        let mut bytes = entries.map(u16::to_le_bytes).concat();
        bytes.extend(address.to_le_bytes());
        bytes
    }

    fn head(block: u64) -> Entry {
        Entry::Head { kind: Kind::First, skip: 0, block }
    }

    #[test]
    fn heads_of_small_clusters_are_counted_from_the_block_before() {
        let bytes = fours([1 << 12, 1 << 12], 9);
        let entries: Vec<_> = FOURS.entries(&bytes, 12, false).collect();
        assert_eq!(entries, [head(10), head(11)]);
        let bytes = fours([2 << 12 | 1, 1 << 12], 9);
        let entries: Vec<_> = FOURS.entries(&bytes, 12, false).collect();
        assert_eq!(entries, [Entry::Follows { block_count: None }, head(10)]);
    }

    #[test]
    fn large_cluster_before_a_head_is_counted() {
        let bytes = fours([2 << 12 | 1 << 11 | 5, 1 << 12], 100);
        let entries: Vec<_> = FOURS.entries(&bytes, 12, true).collect();
        assert_eq!(entries, [Entry::Follows { block_count: Some(5) }, head(105)]);
    }

    #[test]
    fn entries_of_fourteen_bits_are_read_across_bytes() {
        let mut bits = 0_u128;
        for index in 0..9 {
            bits |= (1_u128 << 12) << (14 * index);
        }
        let mut bytes = bits.to_le_bytes().to_vec();
        bytes.resize(28, 0);
        bytes.extend(6_u32.to_le_bytes());
        let entries: Vec<_> = HALVES.entries(&bytes, 12, false).collect();
        assert_eq!(entries[..9], (7..16).map(head).collect::<Vec<_>>());
        assert_eq!(entries[15], Entry::Head { kind: Kind::Stored, skip: 0, block: 22 });
    }
}
