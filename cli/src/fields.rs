//! What several verbs say about a patch in the same words.

use neap_engine::format::Header;
use neap_engine::format::frame::COLUMN_NAMES;
use serde_json::{Map, Value, json};

/// Names of the coders, by their number in a frame.
pub(crate) const CODERS: [&str; 3] = ["stored", "zstd", "cm"];

/// What the header says, as fields of an object.
pub(crate) fn of_header(header: &Header) -> Vec<(&'static str, Value)> {
    vec![
        ("patch_id", header.id.to_string().into()),
        ("patch_size", header.patch_size.into()),
        ("source_size", header.source_size.into()),
        ("source_root", header.source_root.to_string().into()),
        ("source_used", header.source_map.used_len().into()),
        ("target_size", header.target_size.into()),
        ("target_root", header.target_root.to_string().into()),
        ("layers", layers(header).into()),
        ("notes", notes(header)),
    ]
}

/// Names of the layers.
pub(crate) fn layers(header: &Header) -> Vec<&'static str> {
    let refs = header.refs.then_some("refs");
    refs.into_iter().chain(header.blocks.as_ref().map(|_| "unpack")).collect()
}

fn notes(header: &Header) -> Value {
    let mut notes = Map::new();
    if let Some(others) = header.estimates {
        let sizes = json!({
            "full": others.full,
            "xdelta3_class": others.delta,
            "block_reuse": others.blocks,
        });
        notes.insert("estimates".to_owned(), sizes);
    }
    notes.into()
}

/// An object of these fields, in this order.
pub(crate) fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// Where the bytes of a patch went, as its writer or a walk through it counted them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent<'a> {
    pub(crate) header: u64,
    pub(crate) columns: &'a [u64; COLUMN_NAMES.len()],
    pub(crate) literals: u64,
    pub(crate) mixed: u64,
}

impl Spent<'_> {
    /// Bytes by what they are for; of a patch of `patch_size` bytes, framing is what is left.
    pub(crate) fn parts(self, patch_size: u64) -> Vec<(&'static str, u64)> {
        let mut parts = vec![("header", self.header)];
        parts.extend(COLUMN_NAMES.into_iter().zip(*self.columns));
        parts.extend([("literals", self.literals), ("mixed", self.mixed)]);
        let known: u64 = parts.iter().map(|(_, len)| len).sum();
        parts.push(("framing", patch_size.saturating_sub(known)));
        parts
    }
}
