//! Micro-benches of the engine: hash, index and exact match, near match, code by both coders,
//! decode, apply.
//!
//! Everything runs in memory on made images, so that a change in one part shows in one number. Real
//! pairs are for the `compare` command.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use neap_engine::cm::{Decoder, Encoder, Guess};
use neap_engine::coder::LiteralEncoder;
use neap_engine::diff::Options;
use neap_engine::io::Source;
use neap_engine::io::drive;
use neap_engine::io::inspect::inspect;
use neap_engine::io::memory::{MemoryJournal, MemoryTarget, PatchBytes};
use neap_engine::{coder, diff, digest};

const MIB: usize = 1 << 20;

/// Bytes with the statistics of code: half of them drawn from few values.
fn image(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [low, high, ..] = state.to_le_bytes();
        if low & 1 == 0 { high & 0x0f } else { high }
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The same image after an update: four bytes differ in every `stride`, and it is shifted by 40.
fn update(image: &[u8], stride: usize) -> Vec<u8> {
    let mut updated = vec![0x90; 40];
    updated.extend(image);
    for at in (stride..updated.len() - 4).step_by(stride) {
        updated[at..at + 4].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    }
    updated
}

fn patch(source: &dyn Source, target: &dyn Source) -> Vec<u8> {
    let mut frames = Vec::new();
    let made = diff::diff(source, target, &options(), &mut frames, &|_| ());
    [made.expect("images in memory can be read").header_bytes, frames].concat()
}

/// Fast coding, so that the diffs time the matching.
fn options() -> Options {
    Options { effort: 1, ..Options::default() }
}

fn hash(c: &mut Criterion) {
    let window = image(MIB, 1);
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Bytes(MIB as u64));
    group.bench_function("window of 1 MiB", |b| {
        b.iter(|| digest::window(black_box(&window), MIB as u64, 4 * MIB as u64));
    });
    group.finish();
}

fn match_images(c: &mut Criterion) {
    let source = image(16 * MIB, 2);
    let mut group = c.benchmark_group("match");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(source.len() as u64));
    // Without a change only the index and the exact match have work.
    let cases = [("index, exact", source.clone()), ("near", update(&source, 512))];
    for (name, target) in cases {
        group.bench_with_input(BenchmarkId::from_parameter(name), &target, |b, target| {
            b.iter(|| patch(black_box(&source), target));
        });
    }
    group.finish();
}

fn code(c: &mut Criterion) {
    let raw = image(MIB, 3);
    let mut group = c.benchmark_group("code");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(MIB as u64));
    for level in [3, 19] {
        group.bench_function(format!("column, zstd {level}"), |b| {
            b.iter(|| coder::column(black_box(&raw), level));
        });
        group.bench_function(format!("literals, zstd {level}"), |b| {
            b.iter(|| LiteralEncoder::new(MIB, level).code(black_box(&raw)));
        });
    }
    group.finish();
}

/// Decoding by context mixing, in bytes that it decodes one by one: literals, and those of copies
/// in which one byte in eight differs from what was expected.
fn mix(c: &mut Criterion) {
    let made = image(MIB, 5);
    let mut guessed = made.clone();
    guessed.iter_mut().step_by(8).for_each(|byte| *byte = byte.wrapping_add(4));
    let guess = |at: usize| Guess {
        bytes: &guessed[at..at + PIECE],
        raw: &guessed[at..at + PIECE],
        fields: &[],
    };
    let mut encoder = Encoder::new();
    encoder.literals(&made);
    let literals = encoder.finish();
    encoder.restart();
    (0..MIB).step_by(PIECE).for_each(|at| encoder.copy(&guess(at), &made[at..at + PIECE]));
    let copies = encoder.finish();
    let mut out = vec![0; MIB];
    let mut group = c.benchmark_group("mix");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(MIB as u64));
    group.bench_function("literals", |b| {
        b.iter(|| {
            let mut decoder = Decoder::new();
            decoder.open(black_box(literals.clone()));
            decoder.literals(&mut out).expect("coded just before");
        });
    });
    group.bench_function("copies", |b| {
        b.iter(|| {
            let mut decoder = Decoder::new();
            decoder.open(black_box(copies.clone()));
            for at in (0..MIB).step_by(PIECE) {
                decoder.copy(&guess(at), &mut out[at..at + PIECE]).expect("coded just before");
            }
        });
    });
    group.finish();
}

/// Bytes of a copy coded at once.
const PIECE: usize = 64 << 10;

fn apply(c: &mut Criterion) {
    let source = image(16 * MIB, 4);
    let target = update(&source, 512);
    let patch = patch(&source, &target);
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Bytes(target.len() as u64));
    let checks = drive::Options { no_source_check: true, no_read_back: true, ..Default::default() };
    for (name, options) in [("all checks", drive::Options::default()), ("windows only", checks)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut made = MemoryTarget::default();
                let mut journal = MemoryJournal::default();
                let mut patch = PatchBytes::new(black_box(&patch));
                drive::apply(&mut patch, &source, &mut made, &mut journal, options, &|_| ())
                    .expect("a patch made just before applies");
                made.bytes.len()
            });
        });
    }
    group.finish();
    // Decoding alone, without a source.
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(patch.len() as u64));
    group.bench_function("walk all frames", |b| {
        b.iter(|| {
            inspect(&mut PatchBytes::new(black_box(&patch)), &|_| ())
                .expect("a patch made just before is sound")
        });
    });
    group.finish();
}

criterion_group!(benches, hash, match_images, code, mix, apply);
criterion_main!(benches);
