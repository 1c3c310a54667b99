//! A target that says yes to any size but keeps no more than a test can afford.

use std::collections::BTreeMap;
use std::io;

use neap_engine::io::Target;
use neap_engine::window::Verified;

/// Keeps written windows, up to [`SparseTarget::KEPT_MAX`] bytes of them.
#[derive(Debug, Default)]
pub struct SparseTarget {
    /// What was written, by offset.
    pub windows: BTreeMap<u64, Vec<u8>>,
    /// The size asked for.
    pub size: Option<u64>,
    /// Whether windows that are there may be written again, as after a power cut.
    pub is_rewritten: bool,
    kept: usize,
}

impl SparseTarget {
    /// Bytes that it has room for, whatever it says.
    pub const KEPT_MAX: usize = 4 << 20;

    /// Whether anything was done to it.
    pub fn touched(&self) -> bool {
        self.size.is_some() || !self.windows.is_empty()
    }

    /// All windows as one image, if they lie side by side.
    pub fn image(&self) -> Option<Vec<u8>> {
        let mut image = Vec::new();
        for (offset, bytes) in &self.windows {
            if *offset != image.len() as u64 {
                return None;
            }
            image.extend(bytes);
        }
        Some(image)
    }
}

impl Target for SparseTarget {
    fn size(&self) -> u64 {
        u64::MAX
    }

    fn resize(&mut self, size: u64) -> io::Result<()> {
        self.size = Some(size);
        Ok(())
    }

    fn write(&mut self, window: &Verified) -> io::Result<()> {
        let end = window.offset() + window.bytes().len() as u64;
        assert!(self.size.is_some_and(|size| end <= size), "a window lies in the target");
        self.kept += window.bytes().len();
        if self.kept > Self::KEPT_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let before = self.windows.insert(window.offset(), window.bytes().to_vec());
        assert!(before.is_none() || self.is_rewritten, "no window is written twice in a run");
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read_back(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match self.windows.get(&offset) {
            Some(bytes) if bytes.len() == into.len() => into.copy_from_slice(bytes),
            // What was never written reads as something else than any image holds.
            _ => into.fill(0xa5),
        }
        Ok(())
    }

    fn read_written(&mut self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let before = self.windows.range(..=offset).next_back();
            let (start, bytes) = before.ok_or(io::ErrorKind::UnexpectedEof)?;
            let rest = bytes.get((offset - start) as usize..).filter(|rest| !rest.is_empty());
            let rest = rest.ok_or(io::ErrorKind::UnexpectedEof)?;
            let len = rest.len().min(into.len());
            into[..len].copy_from_slice(&rest[..len]);
            into = &mut into[len..];
            offset += len as u64;
        }
        Ok(())
    }
}
