//! Storage with a volatile cache in front: what a power cut keeps of it is a matter of chance.

use crate::random::Random;

/// Bytes that a device writes as one.
pub const SECTOR: usize = 512;

/// What is on the medium, and what only the cache holds.
#[derive(Debug, Clone)]
pub struct Disk {
    medium: Vec<u8>,
    cached: Vec<u8>,
    /// Writes since the last flush.
    pending: Vec<Pending>,
}

#[derive(Debug, Clone)]
struct Pending {
    offset: usize,
    bytes: Vec<u8>,
}

impl Disk {
    /// A disk that holds these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { cached: bytes.clone(), medium: bytes, pending: Vec::new() }
    }

    /// What a reader sees.
    #[must_use]
    pub fn cached(&self) -> &[u8] {
        &self.cached
    }

    /// What is on the medium whatever happens.
    #[must_use]
    pub fn medium(&self) -> &[u8] {
        &self.medium
    }

    /// Changes one byte of both, as a failing medium would.
    pub fn corrupt(&mut self, offset: usize, difference: u8) {
        self.medium[offset] ^= difference;
        self.cached[offset] ^= difference;
    }

    /// Writes into the cache, and grows what readers see where that is too short.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.resize(self.cached.len().max(offset + bytes.len()));
        self.cached[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.pending.push(Pending { offset, bytes: bytes.to_vec() });
    }

    /// Grows or shrinks what readers see; the medium follows at the next flush.
    pub fn resize(&mut self, len: usize) {
        self.cached.resize(len, 0);
    }

    /// Puts everything on the medium.
    pub fn flush(&mut self) {
        self.pending.clear();
        self.medium.clone_from(&self.cached);
    }

    /// Mixes old, new and garbage in one sector of the last write, which power failed under.
    pub fn tear(&mut self, random: &mut Random) {
        let Some(Pending { offset, bytes }) = self.pending.last_mut() else { return };
        let start = random.index(bytes.len()) / SECTOR * SECTOR;
        let end = bytes.len().min(start + SECTOR);
        let split = start + random.index(end - start + 1);
        let old = &self.medium[(*offset + split).min(self.medium.len())..];
        let old_len = old.len().min(end - split);
        bytes[split..split + old_len].copy_from_slice(&old[..old_len]);
        if random.happens(128) {
            let garbage = split + random.index(end - split + 1);
            random.fill(&mut bytes[split..garbage]);
        }
    }

    /// Drops the cache: each unflushed sector reaches the medium with chance `kept`, in 256ths,
    /// in any order, and so does a change of size.
    pub fn lose(&mut self, kept: u16, random: &mut Random) {
        if self.medium.len() != self.cached.len() && random.happens(kept) {
            self.medium.resize(self.cached.len(), 0);
        }
        while !self.pending.is_empty() {
            let next = random.index(self.pending.len());
            let Pending { offset, bytes } = self.pending.swap_remove(next);
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                let start = (offset + index * SECTOR).min(self.medium.len());
                let len = sector.len().min(self.medium.len() - start);
                if random.happens(kept) {
                    self.medium[start..start + len].copy_from_slice(&sector[..len]);
                }
            }
        }
        self.cached.clone_from(&self.medium);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushed_sectors_survive_and_others_as_chance_has_it() {
        let mut random = Random::new(1);
        for (kept, survivors) in [(0, 0..=0), (128, 20..=44), (256, 64..=64)] {
            let mut disk = Disk::new(vec![1; 128 * SECTOR]);
            disk.write(0, &[2; 64 * SECTOR]);
            disk.flush();
            disk.write(64 * SECTOR, &[3; 64 * SECTOR]);
            assert_eq!(disk.cached()[128 * SECTOR - 1], 3);
            disk.lose(kept, &mut random);
            assert_eq!(disk.cached()[..64 * SECTOR], [2; 64 * SECTOR]);
            let count = disk.cached().chunks(SECTOR).filter(|sector| sector[0] == 3).count();
            assert!(survivors.contains(&count), "{count} of 64 survived with chance {kept}");
        }
    }

    #[test]
    fn size_and_bytes_beyond_it_go_together() {
        let mut disk = Disk::new(Vec::new());
        disk.resize(3 * SECTOR);
        disk.write(SECTOR, &[1; SECTOR]);
        disk.lose(0, &mut Random::new(1));
        assert!(disk.cached().is_empty());
    }

    #[test]
    fn torn_sector_is_neither_old_nor_new() {
        let mut random = Random::new(2);
        let mixed = (0..100).filter(|_| {
            let mut disk = Disk::new(vec![1; SECTOR]);
            disk.write(0, &[2; SECTOR]);
            disk.tear(&mut random);
            disk.lose(256, &mut random);
            disk.cached().contains(&1) && disk.cached().contains(&2)
        });
        assert!(mixed.count() > 90);
    }
}
