//! What was seen inside images, and what became of it: for people who build them.

use std::collections::BTreeMap;

use neap_engine::diff::{Count, Kind, Place, Seen, Tallies, Tally, Why};
use neap_engine::format::{Blocks, Header};
use neap_engine::unpack::Codec;
use neap_engine::unpack::find::NotFollowed;
use serde_json::{Value, json};

use crate::size::{exact, human};

/// What becomes of blocks that can be packed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The device packs them again.
    Patch,
    /// They are left as they are, although they could be.
    PlainPatch,
    /// Nothing yet: an image was looked at.
    Look,
}

impl Purpose {
    pub(crate) fn of(header: &Header) -> Self {
        if header.blocks.is_some() { Self::Patch } else { Self::PlainPatch }
    }
}

/// Kinds of containers that are printed; of all others there is a sum.
const KINDS_MAX: usize = 24;

/// Lines about what was seen inside an image.
pub(crate) fn text(seen: &Seen, purpose: Purpose) -> String {
    let mut text = String::new();
    for kind in seen.kinds.iter().take(KINDS_MAX) {
        text += &of_kind(seen, kind, purpose);
    }
    let others = seen.kinds.get(KINDS_MAX..).unwrap_or_default();
    if !others.is_empty() {
        let count: u64 = others.iter().map(|kind| kind.count.count).sum();
        let passed: u64 = others.iter().map(|kind| kind.codecs.passed().len).sum();
        let (count, passed) = (counted(count, "place"), human(passed));
        text += &format!("inside   others, told with --json: {count}, {passed} pass through\n");
    }
    text
}

/// Lines about containers of one kind: each by itself if they are few, otherwise in sum, with those
/// of which most passes through.
fn of_kind(seen: &Seen, kind: &Kind, purpose: Purpose) -> String {
    let names: Vec<_> = std::iter::once(kind.name).chain(seen.around(kind)).collect();
    let name = names.join(" in ");
    if kind.count.count <= kind.places.len() as u64 {
        let of = |place: &Place| {
            let Place { offset, len, codecs, .. } = place;
            let title = format!("inside   {name} at {}, {}\n", exact(*offset), human(*len));
            title + &tallies(codecs, &not_followed(place), purpose)
        };
        return kind.places.iter().map(of).collect();
    }
    let mut text =
        format!("inside   {} {name}, {}\n", exact(kind.count.count), human(kind.count.len));
    text += &tallies(&kind.codecs, &kind.not_followed, purpose);
    for place in kind.places.iter().filter(|place| place.passing_len() > 0) {
        let passing = human(place.passing_len());
        text += &format!("  most passes     at {}: {passing}\n", exact(place.offset));
    }
    text
}

/// A container that is not followed, by why, as those of a kind are counted.
fn not_followed(place: &Place) -> BTreeMap<NotFollowed, Count> {
    place.not_followed.map(|why| (why, Count { count: 1, len: place.len })).into_iter().collect()
}

/// Lines about what became of blocks, and what to do about those that pass through.
fn tallies(
    codecs: &Tallies,
    not_followed: &BTreeMap<NotFollowed, Count>,
    purpose: Purpose,
) -> String {
    let mut text = String::new();
    for (why, Count { count, len }) in not_followed {
        let (meaning, advice) = meaning_and_advice(*why);
        let places = counted(*count, "place");
        text += &format!("  {:<16}{} in {places} pass through, {meaning}\n", "", human(*len));
        text += &format!("  {:<16}advice: {advice}\n", "");
    }
    for (codec, Tally { unchanged, rebuilt, corrections_len, passed }) in &codecs.0 {
        let mut line = |count: &Count, meaning: &str| {
            if count.count > 0 {
                let blocks = counted(count.count, "block");
                text += &format!("  {codec:<16}{blocks}, {}: {meaning}\n", human(count.len));
            }
        };
        line(unchanged, "packed as in the source");
        let mut meaning = of_rebuilt(codec, purpose).to_owned();
        if *corrections_len > 0 && purpose != Purpose::PlainPatch {
            meaning += &format!(", with {} of corrections", human(*corrections_len));
        }
        line(rebuilt, &meaning);
        for (why, count) in passed {
            line(count, meaning_of(*why));
        }
        for advice in passed.keys().filter_map(|why| advice(*why, codec)) {
            text += &format!("  {codec:<16}advice: {advice}\n");
        }
    }
    text
}

/// What becomes of blocks of a codec that can be packed again.
fn of_rebuilt(codec: &str, purpose: Purpose) -> &'static str {
    match (purpose, codec) {
        (Purpose::PlainPatch, _) => "left as they are, since packing them again does not pay",
        (Purpose::Look, _) if is_derived(codec) => "can be computed again from the rest",
        (Purpose::Look, _) => "can be packed again",
        (Purpose::Patch, _) if is_derived(codec) => "left out, computed again on the device",
        (Purpose::Patch, "ext4 inodes") => "sent without checksums, which the device puts back",
        (Purpose::Patch, "kallsyms") => {
            "sent without what follows from the names, which the device puts back"
        }
        (Purpose::Patch, _) => "sent plain, packed again on the device",
    }
}

/// The same as a value: all kinds of containers, and what became of all blocks together.
pub(crate) fn json(seen: &Seen, header: Option<&Header>) -> Value {
    let kinds = seen.kinds.iter().map(|kind| {
        let places = kind.places.iter().map(|place| {
            json!({
                "offset": place.offset,
                "len": place.len,
                "not_followed": not_followed_json(&not_followed(place)),
                "codecs": codecs_json(&place.codecs),
            })
        });
        json!({
            "name": kind.name,
            "within": seen.around(kind).collect::<Vec<_>>(),
            "count": kind.count.count,
            "len": kind.count.len,
            "not_followed": not_followed_json(&kind.not_followed),
            "codecs": codecs_json(&kind.codecs),
            "places": places.collect::<Vec<_>>(),
        })
    });
    json!({
        "containers": kinds.collect::<Vec<_>>(),
        "codecs": codecs_json(&seen.codecs),
        "core_seconds": header.and_then(|header| header.blocks.as_ref()).map(core_seconds),
    })
}

fn not_followed_json(not_followed: &BTreeMap<NotFollowed, Count>) -> Value {
    let of = |(why, Count { count, len }): (&NotFollowed, &Count)| {
        let (meaning, advice) = meaning_and_advice(*why);
        json!({"count": count, "len": len, "why": meaning, "advice": advice})
    };
    not_followed.iter().map(of).collect()
}

fn codecs_json(codecs: &Tallies) -> Value {
    let count = |count: &Count| json!({"blocks": count.count, "len": count.len});
    let of = |(codec, tally): &(&'static str, Tally)| {
        let passed = tally.passed.iter().map(|(why, passed)| {
            let (meaning, advice) = (meaning_of(*why), advice(*why, codec));
            json!({"why": meaning, "blocks": passed.count, "len": passed.len, "advice": advice})
        });
        json!({
            "codec": codec,
            "unchanged": count(&tally.unchanged),
            "rebuilt": count(&tally.rebuilt),
            "corrections_len": tally.corrections_len,
            "passed": passed.collect::<Vec<_>>(),
        })
    };
    codecs.0.iter().map(of).collect()
}

/// The time that unpacking and packing take, as people say it.
pub(crate) fn cores(blocks: &Blocks) -> String {
    format!("{:.1} s of one core like those of a server", core_seconds(blocks))
}

/// The same in seconds, to the tenth.
pub(crate) fn core_seconds(blocks: &Blocks) -> f64 {
    (blocks.time().as_secs_f64() * 10.0).ceil() / 10.0
}

/// What a patch's blocks are, by codec: how many are packed again, their bytes as packed, and how
/// many of the source are unpacked.
pub(crate) fn of_header(header: &Header) -> Vec<(&'static str, Count, Count)> {
    let Some(blocks) = &header.blocks else { return Vec::new() };
    let Blocks { methods, source, levels } = blocks;
    let mut codecs: Vec<(&'static str, Count, Count)> = Vec::new();
    let mut add = |method: u32, len: u64, is_target: bool| {
        let name = methods[method as usize].codec().name();
        let index = codecs.iter().position(|(known, ..)| *known == name).unwrap_or_else(|| {
            codecs.push((name, Count::default(), Count::default()));
            codecs.len() - 1
        });
        let (_, packed, unpacked) = &mut codecs[index];
        let count = if is_target { packed } else { unpacked };
        count.count += 1;
        count.len += len;
    };
    levels.iter().flatten().for_each(|block| add(block.method, block.len, true));
    source.iter().for_each(|block| add(block.method, block.len, false));
    codecs
}

/// Whether blocks of this codec are computed from the rest of the target.
pub(crate) fn is_derived(codec: &str) -> bool {
    [Codec::Verity, Codec::Fec].iter().any(|derived| derived.name() == codec)
}

/// Why something is not followed, and what whoever builds the image can do.
fn meaning_and_advice(why: NotFollowed) -> (&'static str, &'static str) {
    match why {
        NotFollowed::Lzo => (
            "as lzo is not unpacked",
            "pack with another codec, as mksquashfs -comp zstd with libzstd 1.5.7 does",
        ),
        NotFollowed::Linked => (
            "as their blocks look back into others",
            "pack with blocks that stand for themselves, as lz4 -BI does",
        ),
        NotFollowed::Chunks => (
            "as their streams lie in several chunks",
            "write the stream of a picture as one IDAT chunk, as optimizers do",
        ),
    }
}

/// Why blocks pass through, as people say it.
fn meaning_of(why: Why) -> &'static str {
    match why {
        Why::SwitchedOff => "pass through, as --no-unpack says",
        Why::TooLarge => "pass through, since they take more memory than blocks may",
        Why::Unknown => "pass through, since no encoder that neap has comes near",
        Why::TooMany => "pass through, since so many others are unpacked",
    }
}

/// What whoever builds the image, or makes the patch, can do about blocks that pass through.
fn advice(why: Why, codec: &str) -> Option<&'static str> {
    // Of a stream whose end lies elsewhere as of others.
    let codec = codec.trim_end_matches(", cut");
    match (why, codec) {
        (Why::SwitchedOff | Why::TooMany, _) => None,
        (Why::TooLarge, "xz" | "lzma" | "lzma cluster") => Some(
            "pack with a smaller dictionary or in smaller blocks (xz --block-size), or allow more \
             by --unpack-memory",
        ),
        (Why::TooLarge, "dm-verity tree" | "FEC") => {
            Some("these are held whole: allow more by --unpack-memory")
        }
        (Why::TooLarge, _) => Some("pack in smaller pieces, or allow more by --unpack-memory"),
        (Why::Unknown, "zstd") => {
            Some("pack with libzstd 1.5.7, or with gzip, xz or lz4, whose encoders do not change")
        }
        (Why::Unknown, "xz" | "lzma" | "lzma cluster") => {
            Some("pack with a preset of xz (-0 to -9, -e)")
        }
        (Why::Unknown, "kallsyms") => {
            Some("a kernel's symbols are in an order of their own: nothing to be done")
        }
        (Why::Unknown, "ext4 inodes") => Some("some checksums are wrong: e2fsck finds out which"),
        (Why::Unknown, "lz4" | "lz4 clusters") => {
            Some("pack with the lz4 library, at one of its levels")
        }
        (Why::Unknown, "deflate" | "zlib") => Some("pack with zlib, at one of its levels"),
        (Why::Unknown, _) => Some("these were packed by an encoder we cannot follow"),
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", exact(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64, passed: u64) -> Place {
        let rebuilt = Count { count: 1, len: 1000 };
        let mut tally = Tally { rebuilt, ..Tally::default() };
        if passed > 0 {
            tally.passed.insert(Why::Unknown, Count { count: 1, len: passed });
        }
        let codecs = Tallies(vec![("deflate", tally)]);
        Place { offset, len: 2048, codecs, not_followed: None }
    }

    fn kind(count: u64, places: Vec<Place>) -> Kind {
        let count = Count { count, len: 2048 * count };
        let codecs = places.last().expect("there is one").codecs.clone();
        let (name, within, not_followed) = ("gzip", None, BTreeMap::new());
        Kind { name, within, count, codecs, not_followed, places }
    }

    #[test]
    fn few_containers_are_told_one_by_one_and_many_in_sum_with_the_worst() {
        let few = kind(2, vec![place(4096, 0), place(12_288, 5000)]);
        let many =
            Kind { within: Some(0), ..kind(3000, vec![place(4096, 0), place(12_288, 5000)]) };
        let seen = Seen { kinds: vec![few, many], ..Seen::default() };
        let told = text(&seen, Purpose::Patch);
        let titles: Vec<_> = told.lines().filter(|line| line.starts_with("inside")).collect();
        let expected = [
            "inside   gzip at 4,096, 2.0 KiB",
            "inside   gzip at 12,288, 2.0 KiB",
            "inside   3,000 gzip in gzip, 5.8 MiB",
        ];
        assert_eq!(titles, expected, "{told}");
        assert!(told.contains("most passes     at 12,288: 4.8 KiB"), "{told}");
        assert_eq!(told.matches("most passes").count(), 1, "{told}");
        assert!(told.contains("advice: pack with zlib"), "{told}");
    }

    #[test]
    fn what_is_told_is_bounded() {
        let kinds = (0..100).map(|_| kind(5000, vec![place(1, 7); 4])).collect();
        let seen = Seen { kinds, ..Seen::default() };
        let told = text(&seen, Purpose::Look);
        assert!(told.lines().count() < 250, "{told}");
        assert!(told.contains("others, told with --json: 380,000 places"), "{told}");
    }

    /// What --no-unpack=xz leaves out was told to be packed with a preset of xz.
    #[test]
    fn advice_is_about_why_blocks_pass() {
        assert_eq!(advice(Why::SwitchedOff, "xz"), None);
        let advices = [Why::TooLarge, Why::Unknown].map(|why| advice(why, "xz, cut"));
        let [too_large, unknown] = advices.map(Option::unwrap_or_default);
        assert!(too_large.contains("--unpack-memory") && !too_large.contains("preset"));
        assert!(unknown.contains("preset") && !unknown.contains("--unpack-memory"));
    }
}
