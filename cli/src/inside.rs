//! What was seen inside images, and what became of it: for people who build them.

use neap_engine::diff::{Count, Seen, Tally, Why};
use neap_engine::format::{Blocks, Header};
use neap_engine::unpack::Codec;
use neap_engine::unpack::find::{Container, NotFollowed};
use serde_json::{Value, json};

use crate::size::{exact, human};

/// Lines about what a diff saw inside the target.
pub(crate) fn text(seen: &Seen, header: &Header) -> String {
    let mut text = String::new();
    for (name, count, len) in containers(seen) {
        text += &format!("inside   {name}: {} in {} found\n", human(len), counted(count, "place"));
    }
    for (name, why, count, len) in not_followed(&seen.containers) {
        let (meaning, advice) = meaning_and_advice(why);
        let places = counted(count, "place");
        text += &format!("inside   {name}: {} in {places} pass through, {meaning}\n", human(len));
        text += &format!("  {name:<16}advice: {advice}\n");
    }
    for (codec, tally) in &seen.codecs {
        let Tally { unchanged, rebuilt, corrections_len, passed } = tally;
        let mut line = |count: &Count, meaning: &str| {
            if count.count > 0 {
                let blocks = counted(count.count, "block");
                text += &format!("  {codec:<16}{blocks}, {}: {meaning}\n", human(count.len));
            }
        };
        line(unchanged, "packed as in the source");
        let meaning = match *codec {
            _ if header.blocks.is_none() => {
                "left as they are, since packing them again does not pay"
            }
            _ if is_derived(codec) => "left out, computed again on the device",
            "ext4 inodes" => "sent without checksums, which the device puts back",
            "kallsyms" => "sent without what follows from the names, which the device puts back",
            _ => "sent plain, packed again on the device",
        };
        line(rebuilt, meaning);
        for (why, count) in passed {
            line(count, meaning_of(*why));
        }
        if *corrections_len > 0 && header.blocks.is_some() {
            text += &format!("  {codec:<16}{} of corrections\n", human(*corrections_len));
        }
        for advice in passed.keys().filter_map(|why| advice(*why, codec)) {
            text += &format!("  {codec:<16}advice: {advice}\n");
        }
    }
    if let Some(blocks) = &header.blocks {
        text += &format!("  applying takes about {} more\n", cores(blocks));
    }
    text
}

/// The same as a value.
pub(crate) fn json(seen: &Seen, header: &Header) -> Value {
    let containers = containers(seen).into_iter();
    let containers =
        containers.map(|(name, count, len)| json!({"name": name, "count": count, "len": len}));
    let count = |count: &Count| json!({"blocks": count.count, "len": count.len});
    let codecs = seen.codecs.iter().map(|(codec, tally)| {
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
    });
    let not_followed = not_followed(&seen.containers).into_iter().map(|(name, why, count, len)| {
        let (meaning, advice) = meaning_and_advice(why);
        json!({"name": name, "count": count, "len": len, "why": meaning, "advice": advice})
    });
    json!({
        "containers": containers.collect::<Vec<_>>(),
        "not_followed": not_followed.collect::<Vec<_>>(),
        "codecs": codecs.collect::<Vec<_>>(),
        "core_seconds": header.blocks.as_ref().map(core_seconds),
    })
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

/// Containers of one name together: how many, and their bytes.
fn containers(seen: &Seen) -> Vec<(&'static str, u64, u64)> {
    let mut together: Vec<(&'static str, u64, u64)> = Vec::new();
    for container in seen.containers.iter().filter(|container| container.block_count > 0) {
        match together.iter_mut().find(|(name, ..)| *name == container.name) {
            Some((_, count, len)) => (*count, *len) = (*count + 1, *len + container.len),
            None => together.push((container.name, 1, container.len)),
        }
    }
    together
}

/// What is not followed of containers of one name, and why: how many, and their bytes.
fn not_followed(seen: &[Container]) -> Vec<(&'static str, NotFollowed, u64, u64)> {
    let mut together: Vec<(&'static str, NotFollowed, u64, u64)> = Vec::new();
    for container in seen {
        let Some(why) = container.not_followed else { continue };
        let known =
            together.iter_mut().find(|(name, known, ..)| (*name, *known) == (container.name, why));
        match known {
            Some((.., count, len)) => (*count, *len) = (*count + 1, *len + container.len),
            None => together.push((container.name, why, 1, container.len)),
        }
    }
    together
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
        NotFollowed::Lzma => (
            "as far as files are packed with LZMA",
            "pack with another codec, as mkfs.erofs -zlz4hc does",
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
        (Why::TooLarge, "xz" | "lzma") => Some(
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
        (Why::Unknown, "xz" | "lzma") => Some("pack with a preset of xz (-0 to -9, -e)"),
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

    #[test]
    fn what_is_not_followed_is_counted_by_name_and_reason() {
        let of = |name, not_followed| {
            let (offset, len, block_count) = (0, 10, 0);
            Container { name, offset, len, block_count, not_followed }
        };
        let [lzo, chunks] = [NotFollowed::Lzo, NotFollowed::Chunks];
        let seen = [of("png", Some(chunks)), of("squashfs", Some(lzo)), of("png", Some(chunks))];
        let seen = [seen.to_vec(), vec![of("png", None)]].concat();
        assert_eq!(not_followed(&seen), [("png", chunks, 2, 20), ("squashfs", lzo, 1, 10)]);
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
