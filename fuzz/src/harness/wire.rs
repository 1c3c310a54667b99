//! What a peer can send: notices, requests and slices of any bytes, and a node's own files.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::LazyLock;

use neap_depot::limits::GROUP_LEN;
use neap_depot::tree::{self, Builder, PAIR_LEN};
use neap_engine::digest::Digest;
use neap_peer::budget::Meter;
use neap_peer::config::{Config, Layer};
use neap_peer::groups::Groups;
use neap_peer::limits::{FRAME_LEN_MAX, REQUEST_GROUPS_MAX};
use neap_peer::slice::{Decoder, SliceError, Step, Steps, Verified};
use neap_peer::wire::{
    Notice, Request, Status, decode_files, decode_receipts, encode_files, encode_receipts,
};

use super::choices::Choices;

/// A notice is refused, or spelled as we would have spelled it.
pub fn notice(bytes: &[u8]) {
    if bytes.len() > FRAME_LEN_MAX {
        return;
    }
    if let Some(head) = bytes.first_chunk()
        && let Ok(len) = Notice::frame_len(*head)
    {
        assert!((1..=FRAME_LEN_MAX).contains(&len), "a frame of {len} bytes");
    }
    let Ok(found) = Notice::decode(bytes) else { return };
    let frame = found.encode();
    let (head, body) = frame.split_first_chunk().expect("a frame has a length");
    assert_eq!(Notice::frame_len(*head), Ok(body.len()));
    assert_eq!(body, bytes, "{found:?}");
    assert_eq!(Notice::decode(body), Ok(found));
}

/// So are requests, lists of receipts and of files, and statuses.
pub fn request(bytes: &[u8]) {
    if let Ok(found) = Request::decode(bytes) {
        if let Request::Blob { groups, .. } = &found {
            assert!((1..=REQUEST_GROUPS_MAX).contains(&groups.count()), "{found:?}");
        }
        assert!(found.cost() > 0, "a request that costs nothing");
        assert_eq!(found.encode(), bytes, "{found:?}");
        assert_eq!(Request::decode(bytes), Ok(found));
    }
    if let Ok(found) = decode_receipts(bytes) {
        assert_eq!(encode_receipts(&found), bytes, "{found:?}");
    }
    if let Ok(found) = decode_files(bytes) {
        assert_eq!(encode_files(&found), bytes, "{found:?}");
    }
    if let Some(byte) = bytes.first()
        && let Ok(status) = Status::of(*byte)
    {
        assert_eq!(status.byte(), *byte);
    }
}

/// A blob with its tree.
struct Blob {
    bytes: Vec<u8>,
    tree: Vec<u8>,
    digest: Digest,
}

/// On the edges of groups and of trees.
const LENS: [usize; 8] = [0, 1, 16_383, 16_384, 16_385, 49_152, 100_000, 21 * GROUP_LEN + 5];

static BLOBS: LazyLock<Vec<Blob>> = LazyLock::new(|| LENS.into_iter().map(Blob::new).collect());

impl Blob {
    fn new(len: usize) -> Self {
        let bytes: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8 ^ (i % 13) as u8).collect();
        let (mut builder, mut tree) = (Builder::default(), Vec::new());
        builder.update(&bytes, &mut tree);
        let (digest, _) = builder.finish(&mut tree);
        Self { bytes, tree, digest }
    }

    fn group(&self, index: u64) -> &[u8] {
        let start = usize::try_from(index).expect("short") * GROUP_LEN;
        let end = (start + GROUP_LEN).min(self.bytes.len());
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn slice(&self, wanted: &Groups) -> Vec<u8> {
        let mut slice = Vec::new();
        for step in Steps::new(self.bytes.len() as u64, wanted.clone()) {
            match step {
                Step::Pair(at) => {
                    let offset = usize::try_from(at.pair_offset().expect("a pair"));
                    let offset = offset.expect("short");
                    slice.extend_from_slice(&self.tree[offset..offset + PAIR_LEN]);
                }
                Step::Group { index, .. } => slice.extend_from_slice(self.group(index)),
            }
        }
        slice
    }
}

/// Whatever is sent for whatever was asked: only right groups come out, and all of them only of
/// what was not touched.
pub fn slice(bytes: &[u8]) {
    let choices = &mut Choices::new(bytes);
    let blob = &BLOBS[choices.below(BLOBS.len())];
    let len = blob.bytes.len() as u64;
    let ranges = (0..choices.below(5)).map(|_| {
        let start = if choices.byte() < 8 { choices.number() } else { choices.number() % 24 };
        start..start.saturating_add(choices.number() % 24)
    });
    let wanted: Groups = ranges.collect::<Vec<Range<u64>>>().into_iter().collect();
    let right = blob.slice(&wanted);
    let (mut sent, told) =
        (right.clone(), if choices.byte() < 32 { choices.number() } else { len });
    for _ in 0..choices.below(4) {
        let at = (choices.word() * 37 + choices.word()) as usize % (sent.len() + 1);
        match choices.below(4) {
            0 => sent.truncate(at),
            1 => sent.extend_from_slice(choices.bytes(9)),
            2 => drop(sent.splice(at..at, choices.bytes(3).iter().copied())),
            _ => sent.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1),
        }
    }
    let (came, ended) = take(blob, told, &wanted, &sent, 1 + choices.word() as usize);
    if told == len {
        let mut there = wanted;
        there.remove(&(tree::groups(len)..u64::MAX));
        match ended {
            Ok(true) => assert_eq!((came, &sent), (there, &right), "not all of it, or more"),
            Ok(false) => assert_ne!(sent, right, "all came and it waits for more"),
            Err(error) => assert_ne!(sent, right, "{error}"),
        }
    }
}

/// Which groups come out, and whether that is all.
fn take(
    blob: &Blob,
    len: u64,
    wanted: &Groups,
    sent: &[u8],
    piece: usize,
) -> (Groups, Result<bool, SliceError>) {
    let mut decoder = Decoder::new(&blob.digest, len, wanted.clone());
    let mut came = Groups::default();
    // The slice of an empty blob is empty, and is complete once that much was pushed.
    for piece in std::iter::once(&[][..]).chain(sent.chunks(piece)) {
        let pushed = decoder.push::<SliceError>(piece, &mut |verified| {
            if let Verified::Group { index, bytes } = verified {
                assert_eq!(bytes, blob.group(index), "group {index} of {}", blob.bytes.len());
                assert!(wanted.contains(index) && !came.contains(index), "group {index}");
                came.insert(index..index + 1);
            }
            Ok(())
        });
        if let Err(error) = pushed {
            return (came, Err(error));
        }
    }
    (came, Ok(decoder.is_done()))
}

/// A configuration is refused or read, the same again, and laid over itself it says the same.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let layer = |text: &str| Layer { file: PathBuf::from("neap.toml"), text: text.to_owned() };
    let found = match Config::parse(&[layer(text)]) {
        Ok(found) => found,
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() <= text.len() + 4096, "a message of {} bytes", said.len());
            return;
        }
    };
    let defaults = Config::parse(&[]).expect("nothing at all is a configuration");
    assert!(defaults.links.keys().all(|name| found.links.contains_key(name)));
    assert!(found.links.iter().all(|(name, link)| *name == link.name));
    // Over a satellite, or at a price, nothing is free by mistake.
    let free = found.links.values().filter(|link| !link.metered);
    assert!(
        free.into_iter()
            .all(|link| { link.price.as_ref().is_none_or(|price| price.micros_per_mb() == 0) })
    );
    assert_eq!(Config::parse(&[layer(""), layer(text)]).as_ref(), Ok(&found));
}

/// A budget's file is refused or counts the same when it was stored again, whatever the check of it
/// says.
pub fn meter(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else { return };
    let sealed = if form % 2 == 0 { rest.to_vec() } else { sealed(rest).unwrap_or_default() };
    let Ok(mut found) = Meter::load(Some(&sealed)) else { return };
    let again = found.save().bytes;
    let mut once_more = Meter::load(Some(&again)).expect("what we store we read");
    assert_eq!(once_more.save().bytes, again);
    let later = "2026-11-26T12:00:00Z".parse().expect("a time");
    once_more.tick(later);
    let stored = once_more.save().bytes;
    assert!(Meter::load(Some(&stored)).is_ok(), "what moved on is read");
}

/// The file of these links and this day, its check put right.
fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let (day, links) = (value.get("latest_day")?, value.get("links")?);
    let file = |check: &str| {
        format!(r#"{{"neap_meter":1,"latest_day":{day},"links":{links},"check":"{check}"}}"#)
    };
    let check = Digest::of(file("").as_bytes()).to_string();
    Some(file(&check).into_bytes())
}
